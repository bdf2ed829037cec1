//! The wire's types: weft's own messages, generated, and the xDS v3 types in use. No logic.

/// `weft.v1`: the Agent stream, the certificate service, and what weft adds to xDS resources.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::large_enum_variant,
    reason = "generated; the .proto files hold the documentation"
)]
pub mod weft {
    tonic::include_proto!("weft.v1");
}

/// `weft.demo.v1`: the prices service of the demo's shop, an application like any other to the mesh.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    reason = "generated; the .proto file holds the documentation"
)]
pub mod demo {
    tonic::include_proto!("weft.demo.v1");
}

pub use envoy_types::pb::{envoy, google, xds};

/// The type URL prefix of every packed message.
pub const TYPE_PREFIX: &str = "type.googleapis.com/";
