//! IR ↔ xDS messages, one file for each kind of resource.
mod access;
mod affinity;
mod balance;
mod breaking;
mod changes;
mod cluster;
mod common;
mod cors;
mod ejection;
mod endpoints;
mod fault;
mod filters;
mod health_check;
mod inbound;
mod listener;
mod metadata;
mod mirror;
mod permission;
mod retry;
mod rewrite;
mod route;
mod route_configuration;
mod tls;
mod virtual_host;

use std::sync::Arc;

use prost::Message;
use weft_ir::{Dialect, Resource, ResourceKey, ResourceType, View};
use weft_proto::{TYPE_PREFIX, google::protobuf::Any, weft};

use crate::{Version, resource_type, version};
use common::parse_message;
use fault::{Fault, fault};

/// The largest resource that is read, in bytes.
pub const MAX_RESOURCE_BYTES: usize = 4 * 1024 * 1024;

/// A resource as it goes on the wire, shared by every subscriber of its view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What names it.
    pub key: ResourceKey,
    /// Its version in this view.
    pub version: Version,
    /// The message of its type; [`type_url`](crate::type_url) of `key.resource_type` says which.
    pub bytes: Arc<[u8]>,
}

/// Why a resource was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {field}: {reason}")]
pub struct Rejected {
    /// The resource's name.
    pub name: String,
    /// The field's path in the message: `routes[2].match.path`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Writes a resource for a view.
pub fn encode(resource: &Resource, view: &View) -> Encoded {
    let bytes = match view.dialect {
        Dialect::Weft => match resource {
            Resource::Cluster(it) => cluster::encode(it, resource.needs()).encode_to_vec(),
            Resource::Endpoints(it) => endpoints::encode(it).encode_to_vec(),
            Resource::Listener(it) => listener::encode(it, resource.needs()).encode_to_vec(),
            Resource::RouteConfiguration(it) => route_configuration::encode(it).encode_to_vec(),
            Resource::VirtualHost(it) => virtual_host::encode(it, resource.needs()).encode_to_vec(),
        },
    };
    Encoded { key: resource.key(), version: version(resource, view), bytes: bytes.into() }
}

/// Reads a resource of a type under the name that its wrapper gives it. Every field that is set must be one that is
/// read; every need must be a known feature.
///
/// # Errors
/// The first thing that is wrong with it. Nothing in `bytes` makes this panic.
pub fn decode(type_url: &str, name: &str, bytes: &[u8]) -> Result<Resource, Rejected> {
    read(type_url, name, bytes).map_err(|Fault { field, reason }| Rejected { name: name.to_owned(), field, reason })
}

fn read(type_url: &str, name: &str, bytes: &[u8]) -> Result<Resource, Fault> {
    let Some(resource_type) = resource_type(type_url) else {
        return Err(fault("@type", format!("{:?} is not a known resource type", common::shorten(type_url))));
    };
    if bytes.len() > MAX_RESOURCE_BYTES {
        return Err(fault("", format!("it has {} bytes, more than {MAX_RESOURCE_BYTES}", bytes.len())));
    }
    Ok(match resource_type {
        ResourceType::Cluster => Resource::Cluster(cluster::decode(name, parse_message(bytes)?)?.into()),
        ResourceType::Endpoints => Resource::Endpoints(endpoints::decode(name, parse_message(bytes)?)?.into()),
        ResourceType::Listener => Resource::Listener(listener::decode(name, parse_message(bytes)?)?.into()),
        ResourceType::RouteConfiguration => {
            Resource::RouteConfiguration(route_configuration::decode(name, parse_message(bytes)?)?.into())
        }
        ResourceType::VirtualHost => Resource::VirtualHost(virtual_host::decode(name, parse_message(bytes)?)?.into()),
    })
}

/// A message of weft's own that travels packed.
pub(crate) trait WeftMessage: Message + Default {
    /// Its name in `weft.v1`.
    const NAME: &'static str;
}

macro_rules! weft_messages {
    ($($name:ident),*) => {$(
        impl WeftMessage for weft::$name {
            const NAME: &'static str = stringify!($name);
        }
    )*};
}

weft_messages!(Endpoint, InboundChain, Rejections, ResourceMetadata, Route);

fn weft_type_url<M: WeftMessage>() -> String {
    format!("{TYPE_PREFIX}weft.v1.{}", M::NAME)
}

/// Packs one of weft's messages.
pub(crate) fn pack_detail<M: WeftMessage>(message: &M) -> Any {
    Any { type_url: weft_type_url::<M>(), value: message.encode_to_vec() }
}

/// The messages of that type among packed ones; what does not parse is passed over.
pub(crate) fn unpack_details<M: WeftMessage>(packed: &[Any]) -> Vec<M> {
    let url = weft_type_url::<M>();
    packed.iter().filter(|any| any.type_url == url).filter_map(|any| M::decode(any.value.as_slice()).ok()).collect()
}
