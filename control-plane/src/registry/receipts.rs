//! A proxy's word on each resource.
use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;
use weft_ir::ResourceKey;
use weft_proto::weft::Receipt;
use weft_xds::{Version, resource_type, type_url};

use super::shorten;
use crate::{
    effect::{Held, Wanted},
    wire::RejectedResource,
};

/// How many resources are kept of one proxy. Further ones count as not in effect.
const MAX_RECEIPTS: usize = 20_000;
/// How long a proxy may take to tell the whole on a new stream.
const RETELLING: Duration = Duration::from_secs(1);

/// The last word on each resource.
#[derive(Debug, Default)]
pub(super) struct Told {
    held: BTreeMap<ResourceKey, Held>,
    /// What was told on the former stream, until it is told again, and when that stream was left.
    former: Option<(Instant, BTreeMap<ResourceKey, Held>)>,
    /// Until when what was told there counts.
    retelling: Option<Instant>,
}

impl Told {
    /// Takes a receipt. Returns what it is of; one of a type or with a version that this control plane does not know says
    /// nothing to it.
    pub(super) fn take(&mut self, receipt: Receipt, now: Instant) -> Option<ResourceKey> {
        let Receipt { type_url, name, version, rejected } = receipt;
        let key = ResourceKey::new(resource_type(&type_url)?, shorten(name));
        self.note(&key, &version, rejected, now);
        Some(key)
    }

    fn note(&mut self, key: &ResourceKey, version: &str, rejected: String, now: Instant) {
        if version.is_empty() && rejected.is_empty() {
            self.held.remove(key);
            return;
        }
        if self.held.len() >= MAX_RECEIPTS && !self.held.contains_key(key) {
            return;
        }
        let version = Version::parse(version).ok().filter(|version| !version.as_str().is_empty());
        let former = self.former.as_mut().and_then(|(_, former)| former.remove(key)).and_then(|held| held.in_effect);
        let held = self.held.entry(key.clone()).or_default();
        if !rejected.is_empty() {
            held.rejected = Some((version, shorten(rejected)));
            return;
        }
        let Some(version) = version else { return };
        held.rejected = None;
        // Told again on a new stream, it is in effect since it was told first.
        let known = held.in_effect.take().or(former).filter(|(known, _)| *known == version);
        held.in_effect = known.or(Some((version, now)));
    }

    /// A new stream tells the whole: what is not told again soon is not held.
    pub(super) fn again(&mut self, now: Instant) {
        self.former = Some((now, std::mem::take(&mut self.held)));
        self.retelling = Some(now + RETELLING);
    }

    /// Whether what was told on the former stream has just ceased to count. Says so once.
    pub(super) fn end_retelling(&mut self, now: Instant) -> bool {
        self.retelling.take_if(|until| now >= *until).is_some()
    }

    /// The word on those of what is wanted that there is one on.
    pub(super) fn among(&self, wanted: &Wanted, now: Instant) -> BTreeMap<ResourceKey, Held> {
        let former = self.former.as_ref().filter(|(left, _)| now < *left + RETELLING).map(|(_, former)| former);
        let mut found = BTreeMap::new();
        for told in former.into_iter().chain([&self.held]) {
            match wanted {
                Wanted::All => found.extend(told.iter().map(|(key, held)| (key.clone(), held.clone()))),
                Wanted::Keys(keys) => {
                    found.extend(keys.iter().filter_map(|key| Some((key.clone(), told.get(key)?.clone()))));
                }
            }
        }
        found
    }

    /// What the proxy rejected and has not taken another version of.
    pub(super) fn rejected(&self) -> Vec<RejectedResource> {
        let rejected = self.held.iter().filter_map(|(key, held)| Some((key, &held.rejected.as_ref()?.1)));
        let item = |(key, reason): (&ResourceKey, &String)| RejectedResource {
            type_url: type_url(key.resource_type).to_owned(),
            name: key.name.to_string(),
            reason: reason.clone(),
        };
        rejected.map(item).collect()
    }
}

#[cfg(test)]
mod tests {
    use weft_ir::ResourceType;

    use super::*;

    fn receipt(version: &str, rejected: &str) -> Receipt {
        Receipt {
            type_url: type_url(ResourceType::Cluster).to_owned(),
            name: "local/shop/web:80".to_owned(),
            version: version.to_owned(),
            rejected: rejected.to_owned(),
        }
    }

    #[test]
    fn a_rejection_leaves_what_is_in_effect_and_the_next_version_ends_it() {
        let (mut told, now) = (Told::default(), Instant::now());
        let key = ResourceKey::new(ResourceType::Cluster, "local/shop/web:80");
        let held = |told: &Told| told.held.get(&key).cloned();
        let version = |text| Version::parse(text).unwrap();
        told.take(receipt("1", ""), now);
        told.take(receipt("2", "no"), now);
        let both = held(&told).unwrap();
        assert_eq!(both.in_effect, Some((version("1"), now)));
        assert_eq!(both.rejected, Some((Some(version("2")), "no".to_owned())));
        assert_eq!(told.rejected()[0].reason, "no");
        told.take(receipt("3", ""), now);
        assert_eq!(held(&told), Some(Held { in_effect: Some((version("3"), now)), rejected: None }));
        told.take(receipt("", ""), now);
        assert_eq!(held(&told), None);
        told.take(Receipt { type_url: "unknown".to_owned(), ..receipt("1", "") }, now);
        assert!(told.held.is_empty());
    }

    #[test]
    fn what_is_told_again_on_a_new_stream_is_in_effect_since_it_was_told_first() {
        let (mut told, first) = (Told::default(), Instant::now());
        let key = ResourceKey::new(ResourceType::Cluster, "local/shop/web:80");
        let keys = Wanted::Keys([key.clone()].into());
        told.take(receipt("1", ""), first);
        let left = first + Duration::from_secs(60);
        told.again(left);
        assert!(told.among(&keys, left).contains_key(&key), "the whole has not been told yet");
        assert!(told.among(&keys, left + RETELLING).is_empty(), "it was not told again");
        assert!(told.among(&Wanted::All, left).contains_key(&key));
        told.take(receipt("1", ""), left);
        let held = told.among(&keys, left + RETELLING).remove(&key).unwrap();
        assert_eq!(held.in_effect.map(|(_, since)| since), Some(first));
    }
}
