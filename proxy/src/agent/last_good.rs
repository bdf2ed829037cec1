//! The last good configuration on disk, so that it outlives the proxy's own restart (invariant 6): one file that holds
//! the resources in effect as they stand on the wire. No secret is among them.
use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use prost::Message;
use tokio::{task, time};
use weft_ir::{Dialect, Resource, ResourceKey, View};
use weft_proto::{
    envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource as WireResource},
    google::protobuf::Any,
};
use weft_xds::{Version, decode, encode, type_url};

use super::{
    shared::Shared,
    state_dir::{LAST_GOOD, StateDir},
};

/// The largest file that is read: far above what one workload uses.
const MAX_BYTES: u64 = 64 << 20;
/// How long changes are gathered before they are written.
const GATHER: Duration = Duration::from_millis(500);
const VIEW: View = View { dialect: Dialect::Weft };

/// A configuration as it was in effect.
#[derive(Debug, Default)]
pub(super) struct LastGood {
    /// The revision that it was of; empty for none.
    pub(super) revision: String,
    pub(super) resources: Vec<(ResourceKey, Version, Resource)>,
}

/// Reads the file. What cannot be read any more, such as after a change of version, is left out and asked for again.
pub(super) fn load(state: &StateDir) -> LastGood {
    let response = match read(state) {
        Ok(Some(response)) => response,
        Ok(None) => return LastGood::default(),
        Err(error) => {
            tracing::warn!(%error, "the last good configuration is not used");
            return LastGood::default();
        }
    };
    let DeltaDiscoveryResponse { system_version_info: revision, resources, .. } = response;
    let resources = resources.into_iter().filter_map(|wire| {
        let name = wire.name.clone();
        resource(wire)
            .inspect_err(|reason| tracing::warn!(name, reason, "a resource of the last good configuration is not used"))
            .ok()
    });
    LastGood { revision, resources: resources.collect() }
}

fn read(state: &StateDir) -> io::Result<Option<DeltaDiscoveryResponse>> {
    let file = match File::open(state.file(LAST_GOOD)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    DeltaDiscoveryResponse::decode(&*bytes).map(Some).map_err(io::Error::other)
}

fn resource(wire: WireResource) -> Result<(ResourceKey, Version, Resource), String> {
    let Any { type_url, value } = wire.resource.ok_or("it is empty")?;
    let version = Version::parse(&wire.version).map_err(|error| error.to_string())?;
    let resource = decode(&type_url, &wire.name, &value).map_err(|rejected| rejected.reason)?;
    weft_decide::check(&resource).map_err(|unusable| unusable.to_string())?;
    Ok((resource.key(), version, resource))
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

fn write(shared: &Shared, state: &StateDir) -> Result<(), weft_certs::files::FileError> {
    let (revision, resources) = {
        let config = shared.config();
        let resources: Vec<_> =
            config.resources().map(|(version, resource)| (version.clone(), resource.clone())).collect();
        (config.revision().map(ToString::to_string).unwrap_or_default(), resources)
    };
    let resources = resources.iter().map(|(version, resource)| {
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
        system_version_info: revision,
        resources: resources.collect(),
        ..DeltaDiscoveryResponse::default()
    };
    state.write(LAST_GOOD, &response.encode_to_vec())
}
