//! The last good configuration, so that it outlives the proxy's own restart (invariant 6): the resources in effect, as
//! they stand on the wire. No secret is among them.
use std::{sync::Arc, time::Duration};

use prost::Message;
use tokio::{task, time};
use weft_ir::{Dialect, Resource, View};
use weft_proto::{
    envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource as WireResource},
    google::protobuf::Any,
};
use weft_xds::{Version, decode, encode, type_url};

use super::{
    shared::Shared,
    state_dir::{LAST_GOOD, StateDir, StateError},
};

/// How long changes are gathered before they are written.
const GATHER: Duration = Duration::from_millis(500);
const VIEW: View = View { dialect: Dialect::Weft };

/// A configuration as it was in effect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastGood {
    /// The revision that it was of; empty for none.
    pub revision: String,
    /// Each resource with its version.
    pub resources: Vec<(Version, Resource)>,
}

/// Bytes that are no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds no configuration: {0}")]
pub struct InvalidLastGood(String);

impl LastGood {
    /// Reads what [`encode`](Self::encode) wrote. A resource that cannot be used any more, such as after a change of
    /// weft's version, is left out with a warning: it is asked for again.
    ///
    /// # Errors
    /// The bytes are no protobuf message of that kind.
    pub fn decode(content: &[u8]) -> Result<Self, InvalidLastGood> {
        let response = DeltaDiscoveryResponse::decode(content).map_err(|error| InvalidLastGood(error.to_string()))?;
        let DeltaDiscoveryResponse { system_version_info: revision, resources, .. } = response;
        let resources = resources.into_iter().filter_map(|wire| {
            let name = wire.name.clone();
            let warn =
                |reason: &String| tracing::warn!(name, reason, "a resource of the last good configuration is not used");
            resource(wire).inspect_err(warn).ok()
        });
        Ok(Self { revision, resources: resources.collect() })
    }

    /// The bytes that are kept.
    pub fn encode(&self) -> Vec<u8> {
        let resources = self.resources.iter().map(|(version, resource)| {
            let encoded = encode(resource, &VIEW);
            let type_url = type_url(encoded.key.resource_type).to_owned();
            WireResource {
                name: encoded.key.name.to_string(),
                version: version.to_string(),
                resource: Some(Any { type_url, value: encoded.bytes.to_vec() }),
                ..WireResource::default()
            }
        });
        let response = DeltaDiscoveryResponse {
            system_version_info: self.revision.clone(),
            resources: resources.collect(),
            ..DeltaDiscoveryResponse::default()
        };
        response.encode_to_vec()
    }
}

fn resource(wire: WireResource) -> Result<(Version, Resource), String> {
    let Any { type_url, value } = wire.resource.ok_or("it is empty")?;
    let version = Version::parse(&wire.version).map_err(|error| error.to_string())?;
    let resource = decode(&type_url, &wire.name, &value).map_err(|rejected| rejected.reason)?;
    weft_decide::check(&resource).map_err(|unusable| unusable.to_string())?;
    Ok((version, resource))
}

/// Takes what the state directory holds. What is not to be used is put aside, and why is told where readiness is.
pub(super) fn load(shared: &Shared, state: &StateDir) -> LastGood {
    let refused = |why: &dyn std::fmt::Display| {
        shared.lifecycle.note_refused_state(format!("the last good configuration is not used: {why}"));
    };
    let kept = match state.load(LAST_GOOD) {
        Ok(Some(kept)) => kept,
        Ok(None) => return LastGood::default(),
        Err(why) => {
            match &why {
                StateError::Kept { .. } => state.put_aside(LAST_GOOD, &why),
                // It can be read after the next start, perhaps: it stays until there is something newer.
                StateError::File(_) => tracing::error!(%why, "the last good configuration is not used"),
            }
            refused(&why);
            return LastGood::default();
        }
    };
    match LastGood::decode(&kept.content) {
        Ok(last_good) => {
            if !last_good.resources.is_empty() {
                shared.source.restored(kept.at);
            }
            last_good
        }
        Err(why) => {
            state.put_aside(LAST_GOOD, &why);
            refused(&why);
            LastGood::default()
        }
    }
}

/// Writes the configuration in force after each change, for as long as the task lives.
pub(super) async fn keep(shared: Arc<Shared>, state: Arc<StateDir>) {
    loop {
        shared.config_changed.notified().await;
        time::sleep(GATHER).await;
        let (shared, state) = (Arc::clone(&shared), Arc::clone(&state));
        // Encoding and the disk may take their time: the streams go on meanwhile.
        let written = task::spawn_blocking(move || write(&shared, &state)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last good configuration could not be kept"),
            Err(_) => tracing::warn!("the last good configuration could not be kept: writing it panicked"),
        }
    }
}

fn write(shared: &Shared, state: &StateDir) -> Result<(), StateError> {
    let last_good = {
        let config = shared.config();
        let resources = config.resources().map(|(version, resource)| (version.clone(), resource.clone())).collect();
        LastGood { revision: config.revision().map(ToString::to_string).unwrap_or_default(), resources }
    };
    state.keep(LAST_GOOD, &last_good.encode())
}
