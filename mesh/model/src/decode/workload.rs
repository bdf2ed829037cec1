//! Workload's `spec`.
use std::{collections::BTreeMap, net::SocketAddr};

use super::fields::{Context, Field, Fields, shorten};
use crate::{ClusterName, Locality, Meta, NetworkName, Port, PortName, TrustDomain, Workload};

pub(super) fn decode(cx: &mut Context, meta: Option<Meta>, spec: &Field<'_>) -> Option<Workload> {
    let mut fields = Fields::open(cx, spec)?;
    let account = fields.required(cx, "serviceAccount").and_then(|account| account.parsed(cx));
    let address = fields.required(cx, "address").and_then(|address| self::address(cx, &address));
    let ports = fields.take("ports").map(|ports| self::ports(cx, &ports)).unwrap_or_default();
    let locality = match fields.take("locality") {
        Some(locality) => self::locality(cx, &locality),
        None => Some(Locality::default()),
    };
    let network = match fields.take("network") {
        Some(network) => network.parsed(cx),
        None => Some(NetworkName::default_network()),
    };
    let cluster = match fields.take("cluster") {
        Some(cluster) => cluster.parsed(cx),
        None => Some(ClusterName::local()),
    };
    let trust_domain = fields.take("trustDomain").and_then(|domain| trust_domain(cx, &domain));
    let weight = match fields.take("weight") {
        Some(weight) => weight.integer(cx, 1..=1_000_000),
        None => Some(1),
    };
    let draining = flag(cx, &mut fields, "draining");
    let unhealthy = flag(cx, &mut fields, "unhealthy");
    fields.finish(cx);
    Some(Workload {
        meta: meta?,
        account: account?,
        address: address?,
        ports,
        locality: locality?,
        network: network?,
        cluster: cluster?,
        trust_domain,
        weight: weight?,
        draining: draining?,
        unhealthy: unhealthy?,
    })
}

/// A flag that is off where it is not written.
fn flag(cx: &mut Context, fields: &mut Fields<'_>, name: &'static str) -> Option<bool> {
    match fields.take(name) {
        Some(flag) => flag.boolean(cx),
        None => Some(false),
    }
}

fn address(cx: &mut Context, field: &Field<'_>) -> Option<SocketAddr> {
    let text = field.text(cx)?;
    let hint = "write an IP address and a port, such as 10.0.0.7:15006 or [fd00::7]:15006";
    let Ok(address) = text.parse::<SocketAddr>() else {
        field.invalid(cx, format!("{:?} is not an address with a port", shorten(text)), hint);
        return None;
    };
    let ip = address.ip();
    let reachable = address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast();
    if !reachable {
        field.invalid(cx, format!("{text:?} is no address that a connection could go to"), hint);
        return None;
    }
    Some(address)
}

fn trust_domain(cx: &mut Context, field: &Field<'_>) -> Option<TrustDomain> {
    let text = field.text(cx)?;
    let parsed = text.parse::<TrustDomain>();
    if let Err(error) = &parsed {
        let found = format!("{:?} is not a valid trust domain: {error}", shorten(text));
        field.invalid(cx, found, "write a name such as weft.local");
    }
    parsed.ok()
}

fn ports(cx: &mut Context, field: &Field<'_>) -> BTreeMap<PortName, Port> {
    let mut ports = BTreeMap::new();
    for (entry, value) in field.entries(cx) {
        let name = entry.key.parse::<PortName>();
        if let Err(error) = &name {
            value.invalid(cx, error.to_string(), "write `name: number`, such as `http: 8080`");
        }
        if let (Ok(name), Some(port)) = (name, value.port(cx)) {
            ports.insert(name, port);
        }
    }
    ports
}

fn locality(cx: &mut Context, field: &Field<'_>) -> Option<Locality> {
    let mut fields = Fields::open(cx, field)?;
    let region = fields.take("region").and_then(|region| region.parsed(cx));
    let zone = fields.take("zone").and_then(|zone| zone.parsed(cx));
    let sub_zone = fields.take("subZone").and_then(|sub_zone| sub_zone.parsed(cx));
    fields.finish(cx);
    Some(Locality { region, zone, sub_zone })
}
