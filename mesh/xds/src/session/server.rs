//! The server's end of one stream.
use std::{collections::BTreeMap, sync::Arc};

use weft_ir::{Dialect, ResourceKey, ResourceType, View};
use weft_proto::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource},
    google::{protobuf::Any, rpc::Status},
    weft::Rejections,
};

use super::{
    Found, Heard, Lookup, MAX_NAMES, MAX_RESPONSE_BYTES, Rejection, ServerCounts, Violation, WILDCARD, check_name,
    partial, shorten,
    subscription::{Known, Name, Outstanding, Sent, Subscriptions},
};
use crate::{Encoded, Version, codec::unpack_details, resource_type, type_url};

/// One client's stream: what it subscribed to, what it holds, what is to be sent.
///
/// Drive it so: feed each message to [`request`](Self::request) and each change to [`changed`](Self::changed), and after
/// either take messages from [`respond`](Self::respond) until it gives none. At most one response a type is
/// unacknowledged; changes meanwhile are folded into the next. Additions go in make-before-break order (clusters and
/// their endpoints before whatever may name them), removals in reverse and after every addition.
#[derive(Debug)]
pub struct Server {
    endpoints_follow_clusters: bool,
    types: BTreeMap<ResourceType, Subscriptions>,
    nonces: u64,
    counts: ServerCounts,
}

impl Server {
    /// A new stream of a client with this view.
    pub fn new(view: &View) -> Self {
        // A changed cluster takes effect in Envoy only when its load assignment comes again.
        let endpoints_follow_clusters = match view.dialect {
            Dialect::Weft => false,
        };
        Self { endpoints_follow_clusters, types: BTreeMap::new(), nonces: 0, counts: ServerCounts::default() }
    }

    /// Takes one message: subscriptions, and the answer to a response.
    ///
    /// # Errors
    /// A message that breaks the protocol or its bounds; the stream is to be closed.
    pub fn request(&mut self, request: DeltaDiscoveryRequest) -> Result<Heard, Violation> {
        let DeltaDiscoveryRequest {
            node: _, // the caller's: it decides the view
            type_url,
            resource_names_subscribe,
            resource_names_unsubscribe,
            resource_locators_subscribe,
            resource_locators_unsubscribe,
            initial_resource_versions,
            response_nonce,
            error_detail,
        } = request;
        if !resource_locators_subscribe.is_empty() || !resource_locators_unsubscribe.is_empty() {
            return Err(Violation::Unsupported("subscribing by locator"));
        }
        let resource_type =
            resource_type(&type_url).ok_or_else(|| Violation::UnknownType(shorten(&type_url, 256).to_owned()))?;
        let first = !self.types.contains_key(&resource_type);
        let heard = if first { Heard::default() } else { self.answer(resource_type, &response_nonce, error_detail) };

        resource_names_unsubscribe.iter().for_each(|name| self.unsubscribe(resource_type, name));
        for name in &resource_names_subscribe {
            self.subscribe(resource_type, name)?;
        }
        if first {
            // The older way to say `*`: a first request of these types that names nothing.
            let implied = matches!(resource_type, ResourceType::Listener | ResourceType::Cluster);
            if implied && resource_names_subscribe.is_empty() {
                self.types.entry(resource_type).or_default().subscribe_all();
            }
            self.claim(resource_type, initial_resource_versions)?;
        }
        Ok(heard)
    }

    /// Has these keys looked at again: they changed, appeared or went. A key that nobody here subscribed to costs a
    /// look-up. A listener's key has the wildcard's set read again as well.
    pub fn changed<'a>(&mut self, keys: impl IntoIterator<Item = &'a ResourceKey>) {
        for key in keys {
            if let Some(subscriptions) = self.types.get_mut(&key.resource_type) {
                subscriptions.wildcard_stale |= subscriptions.wildcard;
                subscriptions.touch(&key.name);
            }
        }
    }

    /// Has everything of a type looked at again: after a registration changed what the wildcard yields, or when what
    /// was [unsettled](Found::Unsettled) has settled.
    pub fn recheck(&mut self, resource_type: ResourceType) {
        if let Some(subscriptions) = self.types.get_mut(&resource_type) {
            subscriptions.touch_all();
        }
    }

    /// The next message to send, if there is one now.
    pub fn respond(&mut self, lookup: &impl Lookup) -> Option<DeltaDiscoveryResponse> {
        for (resource_type, subscriptions) in &mut self.types {
            settle(*resource_type, subscriptions, lookup);
        }
        let unsent = |it: &Self, types: &[ResourceType]| {
            types.iter().any(|it_type| it.types.get(it_type).is_some_and(|it| !it.sends.is_empty()))
        };
        // Whatever names a cluster waits until the last of them is on its way; endpoints never wait, because Envoy
        // acknowledges a cluster only once it has them.
        let upstreams = [ResourceType::Cluster, ResourceType::Endpoints];
        for resource_type in ResourceType::ALL {
            let held_back = !upstreams.contains(&resource_type) && unsent(self, &upstreams);
            let Some(it) = self.types.get(&resource_type) else { continue };
            let has_word = it.answer_due || (!it.sends.is_empty() && !held_back);
            if it.outstanding.is_none() && has_word {
                return Some(self.send(resource_type, held_back, lookup));
            }
        }
        if unsent(self, &ResourceType::ALL) {
            return None;
        }
        for resource_type in ResourceType::ALL.into_iter().rev() {
            let Some(it) = self.types.get(&resource_type) else { continue };
            if !it.removals.is_empty() {
                return if it.outstanding.is_none() { Some(self.remove(resource_type, lookup)) } else { None };
            }
        }
        None
    }

    /// Whether the client has said yes or no to everything that there is for it, as of the last
    /// [`respond`](Self::respond).
    pub fn has_answered_all(&self) -> bool {
        self.types.values().all(|it| {
            let nothing_to_say = it.dirty.is_empty() && it.sends.is_empty() && it.removals.is_empty();
            it.outstanding.is_none() && nothing_to_say && !it.answer_due && !it.wildcard_stale
        })
    }

    /// Whether the client subscribed to a key, by name or by wildcard.
    pub fn subscribes(&self, key: &ResourceKey) -> bool {
        let name = self.types.get(&key.resource_type).and_then(|it| it.names.get(&key.name));
        name.is_some_and(Name::is_wanted)
    }

    /// Whether the client subscribed to everything that there is for it of a type.
    pub fn subscribes_to_all(&self, resource_type: ResourceType) -> bool {
        self.types.get(&resource_type).is_some_and(|it| it.wildcard)
    }

    /// Whether a change of this key may give this stream something to say.
    pub fn is_concerned(&self, key: &ResourceKey, lookup: &impl Lookup) -> bool {
        self.types.get(&key.resource_type).is_some_and(|it| {
            it.names.contains_key(&key.name) || (it.wildcard && lookup.wildcard(key.resource_type).contains(&key.name))
        })
    }

    /// What the stream has done so far.
    pub fn counts(&self) -> ServerCounts {
        self.counts
    }

    fn subscribe(&mut self, resource_type: ResourceType, name: &str) -> Result<(), Violation> {
        if name == WILDCARD {
            self.types.entry(resource_type).or_default().subscribe_all();
            return Ok(());
        }
        check_name(name)?;
        let known = self.types.get(&resource_type).is_some_and(|it| it.names.contains_key(name));
        if !known && self.types.values().map(|it| it.names.len()).sum::<usize>() >= MAX_NAMES {
            return Err(Violation::TooManyNames);
        }
        self.types.entry(resource_type).or_default().subscribe(name);
        Ok(())
    }

    fn unsubscribe(&mut self, resource_type: ResourceType, name: &str) {
        let Some(subscriptions) = self.types.get_mut(&resource_type) else { return };
        if name == WILDCARD { subscriptions.unsubscribe_all() } else { subscriptions.unsubscribe(name) }
    }

    fn claim(
        &mut self,
        resource_type: ResourceType,
        versions: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Violation> {
        let others: usize = self.types.values().map(|it| it.names.len()).sum();
        let subscriptions = self.types.entry(resource_type).or_default();
        for (at, (name, version)) in versions.into_iter().enumerate() {
            check_name(&name)?;
            if others + at >= 2 * MAX_NAMES {
                return Err(Violation::TooManyNames);
            }
            let version = Version::parse(&version)
                .map_err(|_| Violation::VersionLength { name: shorten(&name, 256).to_owned() })?;
            subscriptions.claim(&name, version);
            self.counts.claimed += 1;
        }
        Ok(())
    }

    fn answer(&mut self, resource_type: ResourceType, nonce: &str, error: Option<Status>) -> Heard {
        let Some(subscriptions) = self.types.get_mut(&resource_type) else { return Heard::default() };
        if nonce.is_empty() {
            return Heard::default();
        }
        let Some(outstanding) = subscriptions.outstanding.take_if(|it| it.nonce == nonce) else {
            self.counts.stale += 1;
            return Heard::default();
        };
        let rejected = match error {
            Some(error) => refuse(resource_type, subscriptions, outstanding.sent, &error),
            None => Vec::new(),
        };
        self.counts.rejected += rejected.len() as u64;
        Heard { answered: true, rejected }
    }

    /// Sends as much of a type's additions as fits; nothing but an empty answer if they are `held_back`.
    fn send(&mut self, resource_type: ResourceType, held_back: bool, lookup: &impl Lookup) -> DeltaDiscoveryResponse {
        let mut response = self.open(resource_type, lookup);
        let Some(it) = self.types.get_mut(&resource_type) else { return response };
        it.answer_due = false;
        let (mut sent, mut bytes) = (Vec::new(), 0);
        while !held_back && let Some(name) = it.sends.first().cloned() {
            let Some(subscribed) = it.names.get_mut(&name) else {
                it.sends.remove(&name);
                continue;
            };
            let key = ResourceKey { resource_type, name: Arc::clone(&name) };
            let found = if subscribed.is_wanted() { lookup.find(&key) } else { Found::Absent };
            let size = name.len() + found.encoded().map_or(0, |encoded| encoded.bytes.len());
            if bytes > 0 && bytes + size > MAX_RESPONSE_BYTES {
                break;
            }
            bytes += size;
            it.sends.remove(&name);
            if let Some((version, before)) = say(subscribed, &name, &found, &mut response, &mut self.counts) {
                sent.push(Sent { name: Arc::clone(&name), version, before });
            }
            if !subscribed.is_wanted() {
                it.names.remove(&name);
            }
        }
        if self.endpoints_follow_clusters && resource_type == ResourceType::Cluster {
            self.follow(&sent);
        }
        self.await_answer(resource_type, &response, sent);
        response
    }

    /// Has the load assignments of sent clusters sent again, unchanged or not.
    fn follow(&mut self, sent: &[Sent]) {
        let Some(endpoints) = self.types.get_mut(&ResourceType::Endpoints) else { return };
        for Sent { name, version, before: _ } in sent {
            if version.is_some()
                && let Some(it) = endpoints.names.get_mut(name)
            {
                it.known = Known::Nothing;
                endpoints.touch(name);
            }
        }
    }

    fn remove(&mut self, resource_type: ResourceType, lookup: &impl Lookup) -> DeltaDiscoveryResponse {
        let mut response = self.open(resource_type, lookup);
        let Some(it) = self.types.get_mut(&resource_type) else { return response };
        let mut sent = Vec::new();
        for name in std::mem::take(&mut it.removals) {
            let Some(subscribed) = it.names.get_mut(&name) else { continue };
            subscribed.repeats(None);
            let before = std::mem::replace(&mut subscribed.known, Known::Absent);
            if !subscribed.is_wanted() {
                it.names.remove(&name);
            }
            self.counts.removals += 1;
            response.removed_resources.push(name.to_string());
            sent.push(Sent { name, version: None, before });
        }
        self.await_answer(resource_type, &response, sent);
        response
    }

    fn open(&mut self, resource_type: ResourceType, lookup: &impl Lookup) -> DeltaDiscoveryResponse {
        self.nonces += 1;
        self.counts.responses += 1;
        DeltaDiscoveryResponse {
            system_version_info: lookup.revision(),
            type_url: type_url(resource_type).to_owned(),
            nonce: self.nonces.to_string(),
            ..DeltaDiscoveryResponse::default()
        }
    }

    fn await_answer(&mut self, resource_type: ResourceType, response: &DeltaDiscoveryResponse, sent: Vec<Sent>) {
        if let Some(it) = self.types.get_mut(&resource_type) {
            it.outstanding = Some(Outstanding { nonce: response.nonce.clone(), sent });
        }
    }
}

/// Puts one name's word into a response. Returns the version that is sent and what the client held before; `None` where
/// there is nothing to say after all.
fn say(
    subscribed: &mut Name,
    name: &str,
    found: &Found,
    response: &mut DeltaDiscoveryResponse,
    counts: &mut ServerCounts,
) -> Option<(Option<Version>, Known)> {
    let adds = matches!(found, Found::Partial(_)) && matches!(subscribed.known, Known::Version(_));
    let known = match found {
        Found::Resource(encoded) | Found::Partial(encoded) => {
            counts.resources += 1;
            counts.bytes += encoded.bytes.len() as u64;
            response.resources.push(wire_resource(name, encoded, adds));
            if adds {
                subscribed.add(encoded);
                return Some((Some(encoded.version.clone()), subscribed.known.clone()));
            }
            counts.resent += u64::from(subscribed.repeats(Some(&encoded.version)));
            Known::Version(encoded.version.clone())
        }
        Found::Absent => {
            counts.removals += 1;
            response.removed_resources.push(name.to_owned());
            Known::Absent
        }
        // It became so since it was looked at: what the client has stays.
        Found::Unsettled => return None,
    };
    let version = found.encoded().map(|encoded| encoded.version.clone());
    Some((version, std::mem::replace(&mut subscribed.known, known)))
}

/// Sorts what is to be looked at again into what is to be sent, what is to be removed, and what is as the client has it.
fn settle(resource_type: ResourceType, subscriptions: &mut Subscriptions, lookup: &impl Lookup) {
    if std::mem::take(&mut subscriptions.wildcard_stale) {
        subscriptions.cover(&lookup.wildcard(resource_type));
    }
    for name in std::mem::take(&mut subscriptions.dirty) {
        let Some(it) = subscriptions.names.get(&name) else { continue };
        let key = ResourceKey { resource_type, name };
        let found = if it.is_wanted() { lookup.find(&key) } else { Found::Absent };
        let name = key.name;
        match (found, &it.known) {
            (Found::Unsettled, _) => {}
            (Found::Resource(encoded), _) if it.has(&encoded) => {}
            (Found::Partial(encoded), _) if it.has_added(&encoded) => {}
            (Found::Resource(encoded) | Found::Partial(encoded), _) if it.has_refused(&encoded.version) => {}
            (Found::Resource(_) | Found::Partial(_), _) => _ = subscriptions.sends.insert(name),
            (Found::Absent, Known::Version(_)) => _ = subscriptions.removals.insert(name),
            (Found::Absent, Known::Nothing) => _ = subscriptions.sends.insert(name),
            (Found::Absent, Known::Absent) if !it.is_wanted() => subscriptions.forget(&name),
            (Found::Absent, Known::Absent) => {}
        }
    }
}

/// Notes what a client refused: what its details name, or, where they name nothing, the whole response.
fn refuse(
    resource_type: ResourceType,
    subscriptions: &mut Subscriptions,
    sent: Vec<Sent>,
    error: &Status,
) -> Vec<Rejection> {
    let details: Vec<_> =
        unpack_details::<Rejections>(&error.details).into_iter().flat_map(|it| it.rejections).collect();
    let mut rejected = Vec::new();
    for Sent { name, version, before } in sent {
        let named = details.iter().find(|detail| *detail.name == *name);
        let reason = match named {
            Some(detail) => &detail.reason,
            None if details.is_empty() => &error.message,
            None => continue,
        };
        if let (Some(version), Some(it)) = (&version, subscriptions.names.get_mut(&name)) {
            it.refuse(version, before);
            subscriptions.touch(&name);
        }
        let reason = shorten(reason, 1024).to_owned();
        rejected.push(Rejection { key: ResourceKey { resource_type, name }, version, reason });
    }
    rejected
}

fn wire_resource(name: &str, encoded: &Encoded, adds: bool) -> WireResource {
    WireResource {
        name: name.to_owned(),
        version: encoded.version.to_string(),
        resource: Some(Any { type_url: type_url(encoded.key.resource_type).to_owned(), value: encoded.bytes.to_vec() }),
        metadata: adds.then(partial::mark),
        ..WireResource::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has the same for every name, in one version.
    struct Same;

    impl Lookup for Same {
        fn find(&self, key: &ResourceKey) -> Found {
            let version = Version::parse("1").unwrap_or_else(|_| unreachable!("it is short"));
            Found::Resource(Arc::new(Encoded { key: key.clone(), version, bytes: [0].into() }))
        }

        fn wildcard(&self, _: ResourceType) -> Vec<Arc<str>> {
            Vec::new()
        }

        fn revision(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn a_changed_cluster_brings_its_endpoints_along_where_the_client_warms_clusters() {
        let weft = Server::new(&View { dialect: Dialect::Weft });
        let mut server = Server { endpoints_follow_clusters: true, ..weft };
        let subscribe = |server: &mut Server, resource_type| {
            let type_url = type_url(resource_type).to_owned();
            let resource_names_subscribe = vec!["a".to_owned()];
            let request = DeltaDiscoveryRequest { type_url, resource_names_subscribe, ..Default::default() };
            server.request(request).unwrap();
        };
        subscribe(&mut server, ResourceType::Endpoints);
        let endpoints = server.respond(&Same).unwrap();
        let (type_url, response_nonce) = (endpoints.type_url, endpoints.nonce);
        server.request(DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() }).unwrap();
        assert_eq!(server.respond(&Same), None);

        subscribe(&mut server, ResourceType::Cluster);
        let wave: Vec<_> = std::iter::from_fn(|| server.respond(&Same)).map(|it| it.type_url).collect();
        assert_eq!(wave, [ResourceType::Cluster, ResourceType::Endpoints].map(crate::type_url));
    }
}
