//! What is written is read back, and nothing that is written by others takes the reader down or passes it unread.
mod strategies;

use proptest::prelude::*;
use prost::{Message, Name};
use weft_ir::{Dialect, Resource, ResourceType, View};
use weft_proto::envoy::config::{
    cluster::v3::Cluster, core::v3::Metadata, endpoint::v3::ClusterLoadAssignment, listener::v3::Listener,
    listener::v3::filter, route::v3::VirtualHost, route::v3::route::Action,
};
use weft_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use weft_proto::{google::protobuf::Any, weft::ResourceMetadata};
use weft_xds::{Encoded, Rejected, decode, encode, type_url, version};

const WEFT: View = View { dialect: Dialect::Weft };

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(resource in strategies::resource()) {
        let encoded = encode(&resource, &WEFT);
        prop_assert_eq!(&encoded.key, &resource.key());
        prop_assert_eq!(read(&encoded), Ok(resource.clone()));
        prop_assert_eq!(encoded.version, version(&resource, &WEFT));
    }

    #[test]
    fn a_resource_is_not_read_under_another_name(resource in strategies::resource()) {
        let encoded = encode(&resource, &WEFT);
        let wrong = decode(type_url(encoded.key.resource_type), &format!("{}x", encoded.key.name), &encoded.bytes);
        prop_assert!(wrong.is_err());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for resource_type in ResourceType::ALL {
            let _ = decode(type_url(resource_type), "outbound", &bytes);
        }
    }

    #[test]
    fn mutated_bytes_do_not_panic(
        resource in strategies::resource(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
    ) {
        let encoded = encode(&resource, &WEFT);
        let mut bytes = encoded.bytes.to_vec();
        for (at, value, kind) in changes {
            if bytes.is_empty() { break; }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => { bytes.remove(at); }
                _ => bytes.insert(at, value),
            }
        }
        if let Ok(read) = decode(type_url(encoded.key.resource_type), &encoded.key.name, &bytes) {
            prop_assert_eq!(read.key(), encoded.key);
        }
    }

    #[test]
    fn versions_tell_different_items_apart(one in strategies::resource(), other in strategies::resource()) {
        prop_assert_eq!(version(&one, &WEFT) == version(&other, &WEFT), one == other);
    }
}

/// One resource of each type.
fn samples() -> Vec<Resource> {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    ResourceType::ALL
        .into_iter()
        .map(|resource_type| {
            let of_type = strategies::resource().prop_filter("type", move |it| match it {
                Resource::VirtualHost(host) => resource_type == it.resource_type() && !host.routes.is_empty(),
                Resource::Endpoints(it) => resource_type == ResourceType::Endpoints && !it.endpoints.is_empty(),
                Resource::Listener(listener) => {
                    let inbound = matches!(&listener.body, weft_ir::ListenerBody::Inbound(it) if !it.chains.is_empty());
                    resource_type == it.resource_type() && inbound
                }
                _ => resource_type == it.resource_type(),
            });
            of_type.new_tree(&mut runner).unwrap().current()
        })
        .collect()
}

fn read(encoded: &Encoded) -> Result<Resource, Rejected> {
    decode(type_url(encoded.key.resource_type), &encoded.key.name, &encoded.bytes)
}

fn sample(resource_type: ResourceType) -> Encoded {
    encode(samples().iter().find(|it| it.resource_type() == resource_type).unwrap(), &WEFT)
}

/// Changes a sample's message, and returns why it is rejected.
fn rejection<M: Message + Default>(resource_type: ResourceType, change: impl FnOnce(&mut M)) -> Rejected {
    let encoded = sample(resource_type);
    let mut message = M::decode(&*encoded.bytes).unwrap();
    change(&mut message);
    let bytes = message.encode_to_vec();
    decode(type_url(resource_type), &encoded.key.name, &bytes).unwrap_err()
}

#[test]
fn a_field_that_is_not_read_is_named() {
    let rejected =
        rejection(ResourceType::Cluster, |it: &mut Cluster| it.connection_pool_per_downstream_connection = true);
    assert_eq!(rejected.field, "connection_pool_per_downstream_connection");
    let rejected = rejection(ResourceType::Endpoints, |it: &mut ClusterLoadAssignment| {
        it.endpoints[0].priority = 1;
    });
    assert_eq!(rejected.field, "endpoints[0].priority");
    let rejected = rejection(ResourceType::VirtualHost, |it: &mut VirtualHost| {
        it.routes[0].stat_prefix = "web".into();
    });
    assert_eq!(rejected.field, "routes[0].stat_prefix");
    let rejected = rejection(ResourceType::Listener, |it: &mut Listener| it.transparent = Some(Default::default()));
    assert_eq!(rejected.field, "transparent");
}

#[test]
fn an_unknown_need_rejects_any_resource_with_metadata() {
    let needs = |metadata: &mut Option<Metadata>| {
        let message = ResourceMetadata { needs: vec!["teleport".into()], ..ResourceMetadata::default() };
        let any =
            Any { type_url: "type.googleapis.com/weft.v1.ResourceMetadata".into(), value: message.encode_to_vec() };
        *metadata =
            Some(Metadata { typed_filter_metadata: [("weft.v1".to_owned(), any)].into(), ..Metadata::default() });
    };
    let all = [
        rejection(ResourceType::Cluster, |it: &mut Cluster| needs(&mut it.metadata)),
        rejection(ResourceType::Listener, |it: &mut Listener| needs(&mut it.metadata)),
        rejection(ResourceType::VirtualHost, |it: &mut VirtualHost| needs(&mut it.metadata)),
        rejection(ResourceType::Endpoints, |it: &mut ClusterLoadAssignment| needs(&mut it.endpoints[0].metadata)),
        rejection(
            ResourceType::RouteConfiguration,
            |it: &mut weft_proto::envoy::config::route::v3::RouteConfiguration| {
                needs(&mut it.metadata);
            },
        ),
    ];
    for rejected in all {
        assert!(rejected.reason.contains("teleport"), "{rejected}");
    }
}

#[test]
fn an_inbound_chain_without_its_access_filter_is_rejected() {
    let rejected = rejection(ResourceType::Listener, |it: &mut Listener| {
        let filters = &mut it.filter_chains[0].filters;
        filters.retain(|filter| filter.name != "envoy.filters.network.rbac");
        // Where HTTP is spoken it stands inside.
        for filter in filters {
            let Some(filter::ConfigType::TypedConfig(any)) = &mut filter.config_type else { continue };
            if any.type_url == HttpConnectionManager::type_url() {
                let mut manager = HttpConnectionManager::decode(&*any.value).unwrap();
                manager.http_filters.retain(|filter| filter.name != "envoy.filters.http.rbac");
                any.value = manager.encode_to_vec();
            }
        }
    });
    assert!(rejected.reason.contains("RBAC"), "{rejected}");
}

#[test]
fn an_inbound_chain_that_asks_for_no_certificate_is_rejected() {
    let rejected = rejection(ResourceType::Listener, |it: &mut Listener| it.filter_chains[0].transport_socket = None);
    assert_eq!(rejected.field, "filter_chains[0].transport_socket");
}

#[test]
fn weights_of_zero_and_regexes_that_do_not_compile_are_rejected() {
    let rejected = rejection(ResourceType::Endpoints, |it: &mut ClusterLoadAssignment| {
        it.endpoints[0].lb_endpoints[0].load_balancing_weight = Some(Default::default());
    });
    assert_eq!(rejected.field, "endpoints[0].lb_endpoints[0].load_balancing_weight");
    for regex in ["(", "a{1000}{1000}", "(?=a)", &"a".repeat(1025)] {
        let rejected = rejection(ResourceType::VirtualHost, |it: &mut VirtualHost| {
            let specifier = weft_proto::envoy::config::route::v3::route_match::PathSpecifier::SafeRegex(
                weft_proto::envoy::r#type::matcher::v3::RegexMatcher { regex: regex.to_owned(), engine_type: None },
            );
            it.routes[0].r#match.as_mut().unwrap().path_specifier = Some(specifier);
        });
        assert_eq!(rejected.field, "routes[0].match.safe_regex.regex");
    }
}

#[test]
fn a_timeout_of_none_is_written_as_zero() {
    let encoded = sample(ResourceType::VirtualHost);
    let resource = read(&encoded).unwrap();
    let Resource::VirtualHost(host) = resource else { panic!("a virtual host") };
    let mut host = (*host).clone();
    for route in &mut host.routes {
        route.timeout = None;
        let cluster = "local/shop/web:80".parse().unwrap();
        let share = weft_ir::WeightedCluster { cluster, weight: 1, refusal: None, headers: None };
        route.action = weft_ir::RouteAction::Forward(vec![share]);
    }
    let encoded = encode(&Resource::VirtualHost(host.into()), &WEFT);
    let message = VirtualHost::decode(&*encoded.bytes).unwrap();
    let Some(Action::Route(action)) = &message.routes[0].action else { panic!("a route") };
    assert_eq!(action.timeout, Some(Default::default()));
}

#[test]
fn a_resource_over_four_mebibytes_is_not_read() {
    let bytes = vec![0; weft_xds::MAX_RESOURCE_BYTES + 1];
    let rejected = decode(type_url(ResourceType::Cluster), "local/shop/web:80", &bytes).unwrap_err();
    assert!(rejected.reason.contains("more than"), "{rejected}");
}
