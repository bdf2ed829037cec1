//! The proxy's word on which resources are in effect, gathered until the Agent stream sends it.
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;
use weft_ir::ResourceKey;
use weft_proto::weft::Receipt;
use weft_xds::{Rejection, Version, type_url};

/// Receipts that wait: the latest for each resource.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    waiting: Mutex<BTreeMap<ResourceKey, Receipt>>,
    added: Notify,
}

impl Receipts {
    pub(super) fn add(&self, receipts: impl IntoIterator<Item = (ResourceKey, Receipt)>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(receipts);
        self.added.notify_one();
    }

    /// Waits until there may be some.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    /// Takes those that wait.
    pub(super) fn take(&self) -> Vec<Receipt> {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_values().collect()
    }
}

/// A resource is in effect in that version.
pub(super) fn in_effect(key: &ResourceKey, version: &Version) -> (ResourceKey, Receipt) {
    (key.clone(), Receipt { version: version.to_string(), ..receipt(key) })
}

/// A resource is gone.
pub(super) fn removed(key: &ResourceKey) -> (ResourceKey, Receipt) {
    (key.clone(), receipt(key))
}

/// A resource was rejected.
pub(super) fn rejected(rejection: &Rejection) -> (ResourceKey, Receipt) {
    let Rejection { key, version, reason } = rejection;
    let version = version.as_ref().map(ToString::to_string).unwrap_or_default();
    (key.clone(), Receipt { version, rejected: reason.clone(), ..receipt(key) })
}

fn receipt(key: &ResourceKey) -> Receipt {
    Receipt {
        type_url: type_url(key.resource_type).to_owned(),
        name: key.name.to_string(),
        version: String::new(),
        rejected: String::new(),
    }
}
