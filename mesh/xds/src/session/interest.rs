//! Which streams a changed resource concerns: one index over all streams of a server, so that a change is brought to
//! those alone.
use std::collections::{BTreeMap, BTreeSet};

use weft_ir::{ResourceKey, ResourceType};
use weft_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::{Lookup, Server, WILDCARD};
use crate::resource_type;

/// From a resource to the streams whose sessions may have something to say when it changes. `S` names a stream.
///
/// A stream that is not named for a key is owed nothing when it changes: its [`Server`] says the same whether it was told
/// of the change or not. Feed each request to [`heard`](Self::heard) once the session has taken it and before the next
/// [`Server::respond`], so that what changes between a look-up and its answer is told. What a wildcard stands for is read
/// with each request that speaks of it; where it may change otherwise, `heard` is to be fed its names then, and
/// [`Server::recheck`] its type.
#[derive(Clone, Debug)]
pub struct Interests<S> {
    streams: BTreeMap<ResourceKey, BTreeSet<S>>,
    keys: BTreeMap<S, BTreeSet<ResourceKey>>,
}

impl<S> Default for Interests<S> {
    fn default() -> Self {
        Self { streams: BTreeMap::new(), keys: BTreeMap::new() }
    }
}

impl<S: Ord + Copy> Interests<S> {
    /// Has a stream be told of a key's changes, or not.
    pub fn set(&mut self, stream: S, key: &ResourceKey, interested: bool) {
        if interested {
            if self.keys.entry(stream).or_default().insert(key.clone()) {
                self.streams.entry(key.clone()).or_default().insert(stream);
            }
        } else if self.keys.get_mut(&stream).is_some_and(|keys| keys.remove(key)) {
            self.leave(stream, key);
        }
    }

    /// Takes in what a request has changed: `named` are the keys that it [names](named), `server` the session that has
    /// taken it. `keeps` tells of further keys that the stream must hear of whatever it subscribes to.
    pub fn heard(
        &mut self,
        stream: S,
        named: &BTreeSet<ResourceKey>,
        (server, lookup): (&Server, &impl Lookup),
        keeps: impl Fn(&ResourceKey) -> bool,
    ) {
        for key in named {
            self.set(stream, key, server.is_concerned(key, lookup) || keeps(key));
        }
    }

    /// The stream has ended.
    pub fn forget(&mut self, stream: S) {
        for key in self.keys.remove(&stream).unwrap_or_default() {
            self.leave(stream, &key);
        }
    }

    /// The streams that these changes concern, each with those that do.
    pub fn concerned<'a>(
        &self,
        changed: impl IntoIterator<Item = &'a ResourceKey>,
    ) -> BTreeMap<S, Vec<&'a ResourceKey>> {
        let mut concerned: BTreeMap<S, Vec<_>> = BTreeMap::new();
        for key in changed {
            for stream in self.streams.get(key).into_iter().flatten() {
                concerned.entry(*stream).or_default().push(key);
            }
        }
        concerned
    }

    fn leave(&mut self, stream: S, key: &ResourceKey) {
        if let Some(streams) = self.streams.get_mut(key) {
            streams.remove(&stream);
            if streams.is_empty() {
                self.streams.remove(key);
            }
        }
    }
}

/// The keys that a request is about: what it subscribes to, unsubscribes from and claims to hold, with what a wildcard
/// stands for to this client.
pub fn named(request: &DeltaDiscoveryRequest, lookup: &impl Lookup) -> BTreeSet<ResourceKey> {
    let Some(resource_type) = resource_type(&request.type_url) else { return BTreeSet::new() };
    let subscribed = &request.resource_names_subscribe;
    let listed = subscribed.iter().chain(&request.resource_names_unsubscribe);
    let wildcard = listed.clone().any(|name| name == WILDCARD) || may_imply_wildcard(resource_type, request);
    let listed = listed.chain(request.initial_resource_versions.keys()).filter(|name| *name != WILDCARD);
    let mut named: BTreeSet<_> = listed.map(|name| ResourceKey::new(resource_type, name.as_str())).collect();
    if wildcard {
        named.extend(lookup.wildcard(resource_type).into_iter().map(|name| ResourceKey { resource_type, name }));
    }
    named
}

/// Whether a request may be the older way to ask for everything: a first one that names nothing.
fn may_imply_wildcard(resource_type: ResourceType, request: &DeltaDiscoveryRequest) -> bool {
    let implied = matches!(resource_type, ResourceType::Listener | ResourceType::Cluster);
    implied && request.resource_names_subscribe.is_empty() && request.response_nonce.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ResourceKey {
        ResourceKey::new(ResourceType::Cluster, name)
    }

    #[test]
    fn a_change_names_the_interested_streams_alone_and_nothing_is_kept_of_one_that_ended() {
        let mut interests = Interests::default();
        let (a, b) = (key("a"), key("b"));
        for (stream, key) in [(1, &a), (2, &a), (2, &b), (3, &b)] {
            interests.set(stream, key, true);
        }
        interests.set(3, &b, false);
        assert_eq!(interests.concerned([&a, &b]), [(1, vec![&a]), (2, vec![&a, &b])].into());
        interests.forget(2);
        assert_eq!(interests.concerned([&a, &b]), [(1, vec![&a])].into());
        interests.forget(1);
        interests.forget(3);
        assert!(interests.streams.is_empty() && interests.keys.is_empty(), "{interests:?}");
    }
}
