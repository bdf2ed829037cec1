//! The client's end, over as many streams as it takes.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use weft_ir::{Resource, ResourceKey, ResourceType};
use weft_model::Revision;
use weft_proto::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource},
    },
    google::rpc::Status,
    weft::{Rejection as WireRejection, Rejections},
};

use super::{Rejection, WILDCARD, check_name, guard::LastDefence, node, partial, shorten};
use crate::{Version, codec::pack_detail, decode, resource_type, type_url};

/// `google.rpc.Code.INVALID_ARGUMENT`.
const INVALID_ARGUMENT: i32 = 3;

/// How long a reason in a NACK may be, in bytes.
const REASON_BYTES: usize = 512;

/// What one response changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// New or changed resources.
    pub added: Vec<(Resource, Version)>,
    /// What is gone, and what was asked for and does not exist.
    pub removed: Vec<ResourceKey>,
    /// What only adds to the resource of its name that is held: see [`added_to`](crate::added_to). Where that makes a
    /// difference, [`Client::amended`] is to be told.
    pub partial: Vec<Resource>,
    /// What is gone on a server of another history, and is kept until a person confirms.
    pub withheld: Vec<ResourceKey>,
    /// What could not be taken; what was there before stays.
    pub rejected: Vec<Rejection>,
}

/// What a client has received so far, over all its streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCounts {
    /// Responses.
    pub responses: u64,
    /// Resources in them.
    pub resources: u64,
    /// Resources that came in the version that was already held: resent without need.
    pub unchanged: u64,
    /// Resources that are no longer, or were never, subscribed to: dropped.
    pub unsolicited: u64,
    /// Resources that were rejected.
    pub rejected: u64,
    /// Streams.
    pub streams: u64,
}

/// A client: its subscriptions, and the version of each resource that it holds. The resources themselves are the
/// caller's.
///
/// Drive it so: [`connected`](Self::connected) when a stream opens; feed each message to [`response`](Self::response)
/// and apply the [`Update`]; after each of these and after every change of subscription take messages from
/// [`request`](Self::request) until it gives none. When a stream breaks, nothing is lost: the next
/// [`connected`](Self::connected) names what is held.
#[derive(Debug)]
pub struct Client {
    node: Node,
    types: BTreeMap<ResourceType, Interest>,
    answers: VecDeque<Answer>,
    connected: bool,
    introduced: bool,
    guard: LastDefence,
    /// How many names of what is held were told to the present stream's server.
    named: u64,
    counts: ClientCounts,
}

/// One type.
#[derive(Debug, Default)]
struct Interest {
    wildcard: bool,
    names: BTreeMap<Arc<str>, Held>,
    /// A request of this type went out on this stream.
    opened: bool,
    subscribe: BTreeSet<Arc<str>>,
    unsubscribe: BTreeSet<Arc<str>>,
}

/// One name: subscribed to, or held by the wildcard.
#[derive(Debug)]
struct Held {
    explicit: bool,
    version: Option<Version>,
}

/// The answer to one response: an ACK, or a NACK with its cause.
#[derive(Debug)]
struct Answer {
    type_url: String,
    nonce: String,
    error: Option<Status>,
}

impl Client {
    /// A client that holds nothing and is not connected. `node` says who it is; this version's features and the highest
    /// revision seen are added to its metadata.
    pub fn new(node: Node) -> Self {
        Self {
            node,
            types: BTreeMap::new(),
            answers: VecDeque::new(),
            connected: false,
            introduced: false,
            guard: LastDefence::default(),
            named: 0,
            counts: ClientCounts::default(),
        }
    }

    /// Subscribes to a name. Returns whether that is new.
    pub fn subscribe(&mut self, key: &ResourceKey) -> bool {
        let interest = self.types.entry(key.resource_type).or_default();
        let held = interest.names.entry(Arc::clone(&key.name)).or_insert(Held { explicit: false, version: None });
        if std::mem::replace(&mut held.explicit, true) {
            return false;
        }
        interest.unsubscribe.remove(&key.name);
        interest.subscribe.insert(Arc::clone(&key.name));
        true
    }

    /// Subscribes to everything of a type that the server has for this client.
    pub fn subscribe_all(&mut self, resource_type: ResourceType) {
        let interest = self.types.entry(resource_type).or_default();
        if !std::mem::replace(&mut interest.wildcard, true) {
            interest.subscribe.insert(WILDCARD.into());
        }
    }

    /// Ends a subscription. Returns whether there was one; what was held under it is forgotten.
    pub fn unsubscribe(&mut self, key: &ResourceKey) -> bool {
        let Some(interest) = self.types.get_mut(&key.resource_type) else { return false };
        if interest.names.get(&key.name).is_none_or(|held| !held.explicit) {
            return false;
        }
        interest.names.remove(&key.name);
        interest.subscribe.remove(&key.name);
        interest.unsubscribe.insert(Arc::clone(&key.name));
        self.guard.release(key);
        true
    }

    /// Notes what is held from an earlier run (the last-good cache), before the first stream. It counts only where the
    /// key is subscribed to, by name or by wildcard; returns whether it is.
    pub fn restore(&mut self, key: &ResourceKey, version: Version) -> bool {
        let Some(interest) = self.types.get_mut(&key.resource_type) else { return false };
        match interest.names.get_mut(&key.name) {
            Some(held) => held.version = Some(version),
            None if interest.wildcard => {
                interest.names.insert(Arc::clone(&key.name), Held { explicit: false, version: Some(version) });
            }
            None => return false,
        }
        true
    }

    /// Notes the highest revision seen in an earlier run, before the first stream.
    pub fn restore_revision(&mut self, revision: &Revision) {
        self.guard.restore(revision);
    }

    /// A stream is open: the first requests name every subscription and everything that is held.
    pub fn connected(&mut self) {
        self.connected = true;
        self.introduced = false;
        self.answers.clear();
        self.guard.connected();
        self.named = 0;
        self.counts.streams += 1;
        self.types.values_mut().for_each(|interest| interest.opened = false);
    }

    /// The stream is gone. Until the next there is nothing to send.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.answers.clear();
    }

    /// The next message to send, if there is one now.
    pub fn request(&mut self) -> Option<DeltaDiscoveryRequest> {
        if !self.connected {
            return None;
        }
        let mut request = match self.answers.pop_front() {
            Some(Answer { type_url, nonce, error }) => DeltaDiscoveryRequest {
                type_url,
                response_nonce: nonce,
                error_detail: error,
                ..DeltaDiscoveryRequest::default()
            },
            None => {
                let mut waiting = self.types.iter().filter(|(_, interest)| interest.has_word());
                let resource_type = *waiting.next()?.0;
                DeltaDiscoveryRequest { type_url: type_url(resource_type).to_owned(), ..Default::default() }
            }
        };
        if let Some(interest) = resource_type(&request.type_url).and_then(|it| self.types.get_mut(&it)) {
            interest.speak(&mut request);
            self.named += request.initial_resource_versions.len() as u64;
        }
        if !std::mem::replace(&mut self.introduced, true) {
            request.node = Some(node::describe(&self.node, self.guard.revision()));
        }
        Some(request)
    }

    /// Takes one message. Each resource is judged by itself: what is good is in the update, what is not is named in the
    /// NACK, and what was held under its name stays.
    pub fn response(&mut self, response: DeltaDiscoveryResponse) -> Update {
        self.checked_response(response, |_| Ok(()))
    }

    /// [`response`](Self::response), where each resource must also pass `check`: what its reader asks beyond what the
    /// wire's types say, such as that its regular expressions compile. What does not pass is rejected with that text.
    pub fn checked_response(
        &mut self,
        response: DeltaDiscoveryResponse,
        check: impl Fn(&Resource) -> Result<(), String>,
    ) -> Update {
        self.counts.responses += 1;
        let DeltaDiscoveryResponse {
            system_version_info,
            resources,
            type_url,
            removed_resources,
            removed_resource_names,
            nonce,
            control_plane: _, // for people only
            resource_errors,
        } = response;
        let Some(resource_type) = resource_type(&type_url) else {
            let message = format!("{:?} is not a known resource type", shorten(&type_url, 256));
            self.answers.push_back(Answer { type_url, nonce, error: Some(status(message, &[])) });
            return Update::default();
        };
        let unread = !removed_resource_names.is_empty() || !resource_errors.is_empty();
        let types = &self.types;
        self.guard.heard(&system_version_info, || types.iter().map(|(it, interest)| (*it, interest.held())).collect());
        let mut update = Update::default();
        for resource in resources {
            self.take(resource_type, &type_url, resource, &check, &mut update);
        }
        self.lose(resource_type, &removed_resources, &mut update);
        self.counts.rejected += update.rejected.len() as u64;
        let error = match update.rejected.first() {
            Some(first) => {
                let count = update.rejected.len();
                Some(status(format!("{count} rejected, the first: {}: {}", first.key, first.reason), &update.rejected))
            }
            None if unread => Some(status("removed_resource_names and resource_errors are not read".to_owned(), &[])),
            None => None,
        };
        self.answers.push_back(Answer { type_url, nonce, error });
        update
    }

    /// Whether a key is subscribed to by name.
    pub fn subscribes(&self, key: &ResourceKey) -> bool {
        let held = self.types.get(&key.resource_type).and_then(|interest| interest.names.get(&key.name));
        held.is_some_and(|held| held.explicit)
    }

    /// What is held, in which version.
    pub fn held(&self) -> impl Iterator<Item = (ResourceKey, &Version)> {
        self.types.iter().flat_map(|(resource_type, interest)| {
            let versions = interest.names.iter().filter_map(|(name, held)| Some((name, held.version.as_ref()?)));
            versions.map(|(name, version)| (ResourceKey::new(*resource_type, Arc::clone(name)), version))
        })
    }

    /// The highest revision that a server has named, of the history that what is held comes from: that of another store,
    /// or of an older copy, is not taken for it before a person has [confirmed](Self::confirm) it.
    pub fn revision(&self) -> Option<&Revision> {
        self.guard.revision()
    }

    /// What the server says while it stands in another history than what is held.
    pub fn elsewhere(&self) -> Option<&Revision> {
        self.guard.elsewhere()
    }

    /// What such a server has said to be gone on this stream, and is kept all the same.
    pub fn withheld(&self) -> impl Iterator<Item = &ResourceKey> {
        self.guard.withheld().iter()
    }

    /// A person has confirmed that what the server does not have at this revision may go. Returns what goes now.
    pub fn confirm(&mut self, revision: &Revision) -> Vec<ResourceKey> {
        let gone = self.guard.confirm(revision);
        gone.into_iter().filter(|key| self.remove(key)).collect()
    }

    /// The server says that at this revision it has nothing less than the `named` names that this client came with. Where
    /// those are all that it holds from before this stream, nothing can be lost: the server's history is taken for its own,
    /// and nobody need confirm that. Returns whether it is.
    pub fn settle(&mut self, revision: &Revision, named: u64) -> bool {
        let has_named_all = self.connected
            && self.named == named
            && self.types.values().all(|interest| interest.opened || interest.held() == 0);
        has_named_all && self.guard.settle(revision)
    }

    /// What is in effect under a key is not the version that was sent: it was put together with what was held before.
    /// The next stream asks for the whole.
    pub fn amended(&mut self, key: &ResourceKey) {
        self.set_version(key, Version::amended());
    }

    /// The version that was sent is in effect after all.
    pub fn mended(&mut self, key: &ResourceKey, version: Version) {
        self.set_version(key, version);
    }

    /// What was received so far.
    pub fn counts(&self) -> ClientCounts {
        self.counts
    }

    fn take(
        &mut self,
        resource_type: ResourceType,
        url: &str,
        wire: WireResource,
        check: &impl Fn(&Resource) -> Result<(), String>,
        update: &mut Update,
    ) {
        self.counts.resources += 1;
        let name = wire.name.clone();
        let Some(interest) = self.types.get_mut(&resource_type) else {
            self.counts.unsolicited += 1;
            return;
        };
        if !interest.wildcard && !interest.names.contains_key(name.as_str()) {
            self.counts.unsolicited += 1;
            return;
        }
        let version = Version::parse(&wire.version);
        let checked = read(url, wire).and_then(|(resource, adds)| check(&resource).map(|()| (resource, adds)));
        let taken = checked.and_then(|(resource, adds)| match &version {
            Ok(version) => Ok((resource, adds, version.clone())),
            Err(long) => Err(format!("version: {long}")),
        });
        match taken {
            Ok((resource, true, _)) => update.partial.push(resource),
            Ok((resource, false, version)) => {
                self.guard.release(&resource.key());
                let held = interest.names.entry(name.into()).or_insert(Held { explicit: false, version: None });
                if held.version.replace(version.clone()).as_ref() == Some(&version) {
                    self.counts.unchanged += 1;
                }
                update.added.push((resource, version));
            }
            Err(reason) => {
                let key = ResourceKey::new(resource_type, name);
                update.rejected.push(Rejection { key, version: version.ok(), reason });
            }
        }
    }

    /// Takes what the server says that there is not, but for what the guard withholds.
    fn lose(&mut self, resource_type: ResourceType, names: &[String], update: &mut Update) {
        let Some(interest) = self.types.get(&resource_type) else { return };
        let is_held = |name: &str| interest.names.get(name).is_some_and(|held| held.version.is_some());
        let held = interest.held();
        let keys = names.iter().map(|name| ResourceKey::new(resource_type, name.as_str()));
        let (losses, answers): (Vec<_>, Vec<_>) = keys.partition(|key| is_held(&key.name));
        if self.guard.withholds(resource_type, held, &losses) {
            update.withheld = losses;
            update.removed.extend(answers.into_iter().filter(|key| self.remove(key)));
        } else {
            let gone = names.iter().map(|name| ResourceKey::new(resource_type, name.as_str()));
            update.removed.extend(gone.filter(|key| self.remove(key)));
        }
    }

    /// Forgets what is held under a key; whether anybody wants to know.
    fn remove(&mut self, key: &ResourceKey) -> bool {
        let Some(interest) = self.types.get_mut(&key.resource_type) else { return false };
        let Some(held) = interest.names.get_mut(&key.name) else { return false };
        held.version = None;
        if !held.explicit {
            interest.names.remove(&key.name);
        }
        true
    }

    fn set_version(&mut self, key: &ResourceKey, version: Version) {
        let held = self.types.get_mut(&key.resource_type).and_then(|interest| interest.names.get_mut(&key.name));
        if let Some(held) = held.filter(|held| held.version.is_some()) {
            held.version = Some(version);
        }
    }
}

impl Interest {
    /// How many names it holds a version of.
    fn held(&self) -> usize {
        self.names.values().filter(|held| held.version.is_some()).count()
    }

    fn has_word(&self) -> bool {
        if self.opened {
            !self.subscribe.is_empty() || !self.unsubscribe.is_empty()
        } else {
            self.wildcard || self.names.values().any(|held| held.explicit)
        }
    }

    /// Adds to a request what the server does not know yet of this type.
    fn speak(&mut self, request: &mut DeltaDiscoveryRequest) {
        let text = |name: &Arc<str>| name.to_string();
        if std::mem::replace(&mut self.opened, true) {
            request.resource_names_subscribe = std::mem::take(&mut self.subscribe).iter().map(text).collect();
            request.resource_names_unsubscribe = std::mem::take(&mut self.unsubscribe).iter().map(text).collect();
            return;
        }
        self.subscribe.clear();
        self.unsubscribe.clear();
        let explicit = self.names.iter().filter(|(_, held)| held.explicit).map(|(name, _)| text(name));
        request.resource_names_subscribe =
            self.wildcard.then(|| WILDCARD.to_owned()).into_iter().chain(explicit).collect();
        let held = self.names.iter().filter_map(|(name, held)| Some((text(name), held.version.as_ref()?.to_string())));
        request.initial_resource_versions = held.collect();
    }
}

/// Reads the resource inside its wrapper, and whether it only adds to what is held.
fn read(url: &str, wire: WireResource) -> Result<(Resource, bool), String> {
    let WireResource { name, resource_name, aliases, version: _, resource, ttl, cache_control, metadata } = wire;
    check_name(&name).map_err(|violation| violation.to_string())?;
    let unread = [
        ("resource_name", resource_name.is_some()),
        ("aliases", !aliases.is_empty()),
        ("ttl", ttl.is_some()),
        ("cache_control", cache_control.is_some()),
    ];
    if let Some((field, _)) = unread.into_iter().find(|(_, set)| *set) {
        return Err(format!("{field}: it is set, and this version does not read it"));
    }
    let adds = partial::is_marked(metadata)?;
    let any = resource.ok_or("resource: it is missing")?;
    if any.type_url != url {
        return Err(format!("resource: its type is {:?}", shorten(&any.type_url, 256)));
    }
    let resource = decode(url, &name, &any.value);
    resource.map(|it| (it, adds)).map_err(|rejected| format!("{}: {}", rejected.field, rejected.reason))
}

fn status(message: String, rejected: &[Rejection]) -> Status {
    let rejections = rejected.iter().map(|rejection| WireRejection {
        name: rejection.key.name.to_string(),
        version: rejection.version.as_ref().map(ToString::to_string).unwrap_or_default(),
        reason: shorten(&rejection.reason, REASON_BYTES).to_owned(),
    });
    let rejections = Rejections { rejections: rejections.collect() };
    let details = if rejected.is_empty() { Vec::new() } else { vec![pack_detail(&rejections)] };
    Status { code: INVALID_ARGUMENT, message: shorten(&message, 2 * REASON_BYTES).to_owned(), details }
}
