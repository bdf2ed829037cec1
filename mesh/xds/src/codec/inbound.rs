//! The inbound listener: one filter chain for each service port, chosen by the server name of the TLS hello.
use weft_ir::{Access, AccessRule, Inbound, InboundChain, Listener, ServicePort};
use weft_model::{Host, Port, Protocol, WorkloadRef};
use weft_proto::{
    envoy::{
        config::{
            core::v3::TrafficDirection,
            listener::v3::{self as wire, Filter, FilterChain, FilterChainMatch},
        },
        extensions::filters::network::http_connection_manager::v3::HttpConnectionManager,
    },
    weft,
};

use super::{
    access,
    common::{annotate, annotation, origin, parse, read_origin, required, text},
    fault::{Fault, Within, expect, fault, nothing_left},
    filters::{
        HTTP, TCP, application, expect_same, inbound_http, network_filter, only, open_filter, read_tcp_proxy,
        tcp_proxy, tls_inspector,
    },
    tls,
};

/// How many service ports a workload may stand behind.
const MAX_CHAINS: usize = 1_000;

/// The listener without its name and metadata. A hello that no chain names is refused: there is no default chain.
pub(super) fn encode(inbound: &Inbound) -> wire::Listener {
    let Inbound { workload: _, chains } = inbound;
    wire::Listener {
        filter_chains: chains.iter().map(encode_chain).collect(),
        listener_filters: vec![tls_inspector()],
        traffic_direction: TrafficDirection::Inbound.into(),
        ..wire::Listener::default()
    }
}

/// Reads the chains out of the listener of that name.
pub(super) fn decode(name: &str, message: &mut wire::Listener) -> Result<Inbound, Fault> {
    let workload = workload(name).ok_or_else(|| fault("name", "it is not inbound/<namespace>/<workload>"))?;
    expect("listener_filters", &std::mem::take(&mut message.listener_filters), &vec![tls_inspector()])?;
    let chains = std::mem::take(&mut message.filter_chains);
    if chains.len() > MAX_CHAINS {
        return Err(fault("filter_chains", format!("there are more than {MAX_CHAINS}")));
    }
    let chains = chains.into_iter().enumerate();
    let chains = chains.map(|(at, chain)| decode_chain(chain).within(format_args!("filter_chains[{at}]")));
    let chains: Vec<_> = chains.collect::<Result<_, _>>()?;
    if !chains.is_sorted_by(|a, b| a.service < b.service) {
        return Err(fault("filter_chains", "each service port stands once, in ascending order"));
    }
    let mut names: Vec<&str> = chains.iter().map(|chain| chain.sni.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
        return Err(fault("filter_chains", "two have the same server name"));
    }
    Ok(Inbound { workload, chains })
}

fn workload(name: &str) -> Option<WorkloadRef> {
    let (namespace, workload) = name.strip_prefix("inbound/")?.split_once('/')?;
    let workload = WorkloadRef { namespace: namespace.parse().ok()?, name: workload.parse().ok()? };
    (Listener::inbound_name(&workload) == name).then_some(workload)
}

fn encode_chain(chain: &InboundChain) -> FilterChain {
    let InboundChain { sni, service, host, protocol, application_port, access: Access { policies, rules } } = chain;
    let name = service.to_string();
    let filters = match protocol {
        Protocol::Http | Protocol::Http2 => {
            let access = access::encode_http(rules);
            vec![network_filter(HTTP, &inbound_http((&name, host.as_str(), *application_port), access))]
        }
        Protocol::Tcp => {
            let last = network_filter(TCP, &tcp_proxy(&name, &application(*application_port)));
            access::encode(rules).into_iter().chain([last]).collect()
        }
    };
    FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            server_names: vec![sni.clone()],
            transport_protocol: "tls".to_owned(),
            ..FilterChainMatch::default()
        }),
        filters,
        metadata: Some(annotate(&weft::InboundChain {
            service: name.clone(),
            host: host.to_string(),
            protocol: protocol_name(*protocol).to_owned(),
            application_port: application_port.get().into(),
            policies: policies.iter().map(|policy| origin(policy, 0, 0)).collect(),
        })),
        transport_socket: Some(tls::downstream(*protocol)),
        name,
        ..FilterChain::default()
    }
}

fn decode_chain(mut chain: FilterChain) -> Result<InboundChain, Fault> {
    let service: ServicePort = parse("name", &chain.name)?;
    let annotated = required("metadata", annotation(chain.metadata.take()).within("metadata")?)?;
    let weft::InboundChain { service: its, host, protocol, application_port, policies } = annotated;
    expect("metadata.service", &its, &chain.name)?;
    let host: Host = parse("metadata.host", &host)?;
    let port = u16::try_from(application_port).ok().and_then(Port::new);
    let port = port.ok_or_else(|| fault("metadata.application_port", "it must be a number from 1 to 65535"))?;
    let policies = policies.into_iter().enumerate().map(|(at, it)| match read_origin(it) {
        Ok((policy, 0, 0)) => Ok(policy),
        Ok(_) => Err(fault(&format!("metadata.policies[{at}]"), "a whole object is expected")),
        Err(wrong) => Err(wrong).within(format_args!("metadata.policies[{at}]")),
    });
    let policies = policies.collect::<Result<_, _>>()?;

    let sni = decode_match(required("filter_chain_match", chain.filter_chain_match.take())?)?;
    let filters = std::mem::take(&mut chain.filters);
    let name = std::mem::take(&mut chain.name);
    let spoken = [Protocol::Http, Protocol::Tcp, Protocol::Http2].into_iter().find(|it| protocol_name(*it) == protocol);
    let spoken = spoken.ok_or_else(|| fault("metadata.protocol", "it is not http, http2 or tcp"))?;
    let rules = decode_filters(filters, spoken, (&name, &host, port))?;
    tls::expect_downstream(chain.transport_socket.take(), spoken)?;
    nothing_left(&chain)?;
    let access = Access { policies, rules };
    Ok(InboundChain { sni, service, host, protocol: spoken, application_port: port, access })
}

/// Reads the rules, and checks the filter that hands on to the application: what it is and where to must be what the
/// metadata says.
fn decode_filters(
    filters: Vec<Filter>,
    spoken: Protocol,
    (name, host, port): (&str, &Host, Port),
) -> Result<Vec<AccessRule>, Fault> {
    match spoken {
        Protocol::Http | Protocol::Http2 => {
            let mut manager: HttpConnectionManager = open_filter(only("filters", filters)?, HTTP)?;
            let within = "filters[0].typed_config.http_filters";
            let (rules, rest) = access::decode_http(std::mem::take(&mut manager.http_filters)).within(within)?;
            manager.http_filters = rest;
            let expected = inbound_http((name, host.as_str(), port), Vec::new());
            expect_same(&manager, &expected).within("filters[0]")?;
            Ok(rules)
        }
        Protocol::Tcp => {
            let (rules, rest) = access::decode(filters)?;
            let last = open_filter(only("filters", rest)?, TCP).within("filters[last]")?;
            expect("cluster", &read_tcp_proxy(last)?, &application(port)).within("filters[last]")?;
            Ok(rules)
        }
    }
}

fn decode_match(mut message: FilterChainMatch) -> Result<String, Fault> {
    let sni = only("filter_chain_match.server_names", std::mem::take(&mut message.server_names))?;
    let transport = std::mem::take(&mut message.transport_protocol);
    expect("filter_chain_match.transport_protocol", &transport.as_str(), &"tls")?;
    nothing_left(&message).within("filter_chain_match")?;
    text("filter_chain_match.server_names", sni)
}

const fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Tcp => "tcp",
        Protocol::Http2 => "http2",
    }
}
