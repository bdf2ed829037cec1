//! An object on disk: JSON with the object in its Kubernetes form.
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_model::{Owner, Source, Stored, decode::decode as decode_objects, encode::to_json};

/// The fields' order is the order on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    owner: String,
    created: u64,
    modified: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    source: Option<Source>,
    object: Value,
}

pub(super) fn encode(stored: &Stored) -> Vec<u8> {
    let Stored { object, owner, created, modified, source } = stored;
    let record = Record {
        owner: owner.to_string(),
        created: *created,
        modified: *modified,
        source: source.clone(),
        object: to_json(object),
    };
    // Text keys and plain values only: there is nothing in it that JSON cannot hold.
    serde_json::to_vec(&record).unwrap_or_default()
}

/// Reads an object back; the error says what is wrong with the bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Stored, String> {
    let Record { owner, created, modified, source, object } =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let decoded = decode_objects("store", &object.to_string());
    if let Some(error) = decoded.diagnostics.into_iter().find(|diagnostic| diagnostic.is_error()) {
        return Err(error.to_string());
    }
    let mut objects = decoded.objects.into_iter();
    match (objects.next(), objects.next()) {
        (Some((object, _)), None) => Ok(Stored { object, owner: Owner(owner.into()), created, modified, source }),
        _ => Err("it does not hold exactly one object".to_owned()),
    }
}
