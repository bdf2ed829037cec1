//! CDS: how one service port is reached.
use std::collections::HashMap;

use weft_ir::{Cluster, Feature, Security};
use weft_model::Protocol;
use weft_proto::{
    envoy::{
        config::{
            cluster::v3::{
                self as wire,
                cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
            },
            core::v3::{Http1ProtocolOptions, Http2ProtocolOptions},
        },
        extensions::upstreams::http::v3::{
            HttpProtocolOptions,
            http_protocol_options::{
                ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
            },
        },
    },
    google::protobuf::Any,
};

use super::{
    balance::{self, Chosen, Standard},
    breaking,
    common::{ads, duration, pack, parse, read_duration, required, same_name, unpack},
    ejection,
    fault::{Fault, Within, expect, fault, nothing_left},
    health_check,
    metadata::{OfCluster, cluster_metadata, read_cluster_metadata},
    tls,
};

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

pub(super) fn encode(cluster: &Cluster, needs: impl IntoIterator<Item = Feature>) -> wire::Cluster {
    let Cluster {
        name,
        protocol,
        security,
        balance: _,
        near_first: _,
        slow_start: _,
        connect_timeout,
        limits,
        breaker,
        ejection,
        health_check,
        origins,
    } = cluster;
    let transport_socket = match security {
        Security::Mesh { sni } => Some(tls::upstream(sni, *protocol)),
        Security::Plain => None,
    };
    let (Standard { policy, config, common }, balancing) = balance::encode(cluster);
    let breaker = breaker.as_ref().map(breaking::encode_breaker);
    wire::Cluster {
        name: name.to_string(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(eds()),
        connect_timeout: Some(duration(*connect_timeout)),
        lb_policy: policy.into(),
        lb_config: config,
        common_lb_config: common,
        circuit_breakers: breaking::encode_limits(limits),
        health_checks: health_check.iter().map(health_check::encode).collect(),
        outlier_detection: ejection.as_ref().map(ejection::encode),
        transport_socket,
        typed_extension_protocol_options: protocol_options(*protocol),
        metadata: cluster_metadata(needs, origins, OfCluster { breaker, balancing }),
        ..wire::Cluster::default()
    }
}

pub(super) fn decode(name: &str, mut message: wire::Cluster) -> Result<Cluster, Fault> {
    let own = std::mem::take(&mut message.name);
    same_name("name", &own, name)?;
    expect(
        "type",
        &message.cluster_discovery_type.take(),
        &Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
    )?;
    expect("eds_cluster_config", &message.eds_cluster_config.take(), &Some(eds()))?;
    let connect_timeout = required("connect_timeout", message.connect_timeout.take())?;
    let connect_timeout = read_duration("connect_timeout", connect_timeout)?;
    if connect_timeout.is_zero() {
        return Err(fault("connect_timeout", "it must be above zero"));
    }
    let limits = breaking::decode_limits(message.circuit_breakers.take()).within("circuit_breakers")?;
    let ejection = message.outlier_detection.take().map(ejection::decode).transpose();
    let ejection = ejection.within("outlier_detection")?;
    let health_check = health_check::decode_all(std::mem::take(&mut message.health_checks))?;
    let (sni, protocol) = tls::read_upstream(message.transport_socket.take())?;
    expect_protocol_options(std::mem::take(&mut message.typed_extension_protocol_options), protocol)?;
    let (origins, OfCluster { breaker, balancing }) = read_cluster_metadata(message.metadata.take())?;
    let Chosen { balance, near_first, slow_start } = balance::decode(&mut message, balancing)?;
    let breaker = breaker.map(breaking::decode_breaker).transpose().within("metadata.breaker")?;
    nothing_left(&message)?;
    Ok(Cluster {
        name: parse("name", &own)?,
        protocol,
        security: Security::Mesh { sni },
        balance,
        near_first,
        slow_start,
        connect_timeout,
        limits,
        breaker,
        ejection,
        health_check,
        origins,
    })
}

fn eds() -> EdsClusterConfig {
    EdsClusterConfig { eds_config: Some(ads()), ..EdsClusterConfig::default() }
}

/// The version of HTTP said outright; nothing for a cluster of opaque bytes. A weft sidecar speaks to another what its
/// client speaks; readers that translate nothing speak what the application does.
fn protocol_options(protocol: Protocol) -> HashMap<String, Any> {
    match http_options(protocol) {
        Some(options) => HashMap::from([(HTTP_OPTIONS.to_owned(), pack(&options))]),
        None => HashMap::new(),
    }
}

fn expect_protocol_options(mut found: HashMap<String, Any>, protocol: Protocol) -> Result<(), Fault> {
    let field = "typed_extension_protocol_options";
    match (http_options(protocol), found.remove(HTTP_OPTIONS)) {
        (Some(options), Some(any)) => expect(HTTP_OPTIONS, &unpack(any).within(field)?, &options).within(field)?,
        (None, None) => {}
        (Some(_), None) => return Err(fault(field, "HTTP is announced by ALPN and not said here")),
        (None, Some(_)) => return Err(fault(field, "it is set on a cluster of opaque bytes")),
    }
    if found.is_empty() { Ok(()) } else { Err(fault(field, "it has an entry that this version does not read")) }
}

fn http_options(protocol: Protocol) -> Option<HttpProtocolOptions> {
    let version = match protocol {
        Protocol::Http => ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()),
        Protocol::Http2 => ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default()),
        Protocol::Tcp => return None,
    };
    Some(HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(version),
        })),
        ..HttpProtocolOptions::default()
    })
}
