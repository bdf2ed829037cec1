//! LDS: what a proxy accepts. A listener has no address: which socket it binds is the proxy's own choice.
use weft_ir::{Feature, Listener, ListenerBody, OutboundTcp, ServiceKey};
use weft_proto::envoy::config::{
    core::v3::TrafficDirection,
    listener::v3::{self as wire, FilterChain},
};

use super::{
    common::{parse, same_name, text},
    fault::{Fault, Within, expect, fault, nothing_left},
    filters::{
        HTTP, TCP, network_filter, only, open_filter, outbound_http, read_outbound_http, read_tcp_proxy, tcp_proxy,
    },
    inbound,
    metadata::{read_resource_metadata, resource_metadata},
};

pub(super) fn encode(listener: &Listener, needs: impl IntoIterator<Item = Feature>) -> wire::Listener {
    let Listener { name, body, origins } = listener;
    let outbound = |filter| wire::Listener {
        filter_chains: vec![FilterChain { filters: vec![filter], ..FilterChain::default() }],
        traffic_direction: TrafficDirection::Outbound.into(),
        ..wire::Listener::default()
    };
    let message = match body {
        ListenerBody::OutboundHttp { route_configuration } => {
            outbound(network_filter(HTTP, &outbound_http(route_configuration)))
        }
        ListenerBody::OutboundTcp(OutboundTcp { cluster }) => {
            outbound(network_filter(TCP, &tcp_proxy(name, &cluster.to_string())))
        }
        ListenerBody::Inbound(it) => inbound::encode(it),
    };
    wire::Listener {
        name: name.clone(),
        stat_prefix: name.clone(),
        metadata: resource_metadata(needs, origins, None),
        ..message
    }
}

pub(super) fn decode(name: &str, mut message: wire::Listener) -> Result<Listener, Fault> {
    let own = text("name", std::mem::take(&mut message.name))?;
    same_name("name", &own, name)?;
    expect("stat_prefix", &std::mem::take(&mut message.stat_prefix), &own)?;
    let (origins, service) = read_resource_metadata(message.metadata.take())?;
    expect("metadata.service", &service.as_str(), &"")?;
    let direction = TrafficDirection::try_from(std::mem::take(&mut message.traffic_direction));
    let body = match direction {
        Ok(TrafficDirection::Outbound) => {
            let chain = only("filter_chains", std::mem::take(&mut message.filter_chains))?;
            decode_outbound(&own, chain).within("filter_chains[0]")?
        }
        Ok(TrafficDirection::Inbound) => ListenerBody::Inbound(inbound::decode(&own, &mut message)?),
        Ok(TrafficDirection::Unspecified) | Err(_) => {
            return Err(fault("traffic_direction", "it must be INBOUND or OUTBOUND"));
        }
    };
    nothing_left(&message)?;
    Ok(Listener { name: own, body, origins })
}

fn decode_outbound(name: &str, mut chain: FilterChain) -> Result<ListenerBody, Fault> {
    let filter = only("filters", std::mem::take(&mut chain.filters))?;
    nothing_left(&chain)?;
    let body = || match filter.name.as_str() {
        HTTP => {
            let route_configuration = read_outbound_http(&open_filter(filter, HTTP)?)?;
            expect("name", &name, &Listener::OUTBOUND)?;
            Ok(ListenerBody::OutboundHttp { route_configuration })
        }
        TCP => {
            let cluster: ServiceKey = parse("cluster", &read_tcp_proxy(open_filter(filter, TCP)?)?)?;
            expect("cluster", &name, &Listener::outbound_name(&cluster).as_str())?;
            Ok(ListenerBody::OutboundTcp(OutboundTcp { cluster }))
        }
        _ => Err(fault("name", "only the HTTP connection manager and the TCP proxy are read")),
    };
    body().within("filters[0]")
}
