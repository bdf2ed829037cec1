//! RDS: a named set of virtual hosts, each of which comes on demand.
use weft_ir::RouteConfiguration;
use weft_proto::envoy::config::route::v3 as wire;

use super::{
    common::{ads, required, same_name, text},
    fault::{Fault, expect, nothing_left},
    metadata::read_resource_metadata,
};

pub(super) fn encode(configuration: &RouteConfiguration) -> wire::RouteConfiguration {
    let RouteConfiguration { name } = configuration;
    wire::RouteConfiguration {
        name: name.clone(),
        vhds: Some(wire::Vhds { config_source: Some(ads()) }),
        // A backend's changes of header fields come after its rule's, and win.
        most_specific_header_mutations_wins: true,
        ..wire::RouteConfiguration::default()
    }
}

pub(super) fn decode(name: &str, mut message: wire::RouteConfiguration) -> Result<RouteConfiguration, Fault> {
    let own = text("name", std::mem::take(&mut message.name))?;
    same_name("name", &own, name)?;
    let wire::Vhds { config_source } = required("vhds", message.vhds.take())?;
    expect("vhds.config_source", &required("vhds.config_source", config_source)?, &ads())?;
    read_resource_metadata(message.metadata.take())?;
    // Where nothing changes header fields it says nothing, so its absence is read too.
    message.most_specific_header_mutations_wins = false;
    nothing_left(&message)?;
    Ok(RouteConfiguration { name: own })
}
