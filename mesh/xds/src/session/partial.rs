//! The mark of a resource that only adds to what its reader holds, in the metadata of its wrapper.
use weft_proto::{
    envoy::config::core::v3::Metadata,
    google::protobuf::{Struct, Value, value::Kind},
};

const KEY: &str = "weft.v1";
const PARTIAL: &str = "partial";

/// The mark.
pub(super) fn mark() -> Metadata {
    let value = Value { kind: Some(Kind::BoolValue(true)) };
    let fields = Struct { fields: [(PARTIAL.to_owned(), value)].into() };
    Metadata { filter_metadata: [(KEY.to_owned(), fields)].into(), ..Metadata::default() }
}

/// Whether a wrapper's metadata is the mark; an error where it is anything else, which this version does not read.
pub(super) fn is_marked(metadata: Option<Metadata>) -> Result<bool, String> {
    match metadata {
        None => Ok(false),
        Some(metadata) if metadata == mark() => Ok(true),
        Some(_) => Err("metadata: it is set to what this version does not read".to_owned()),
    }
}
