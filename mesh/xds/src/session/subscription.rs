//! What one stream knows of one type: who is subscribed, what the client holds, and what is still to be said.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_ir::Resource;

use crate::{Encoded, Version, decode, type_url};

/// How many refused versions are remembered for a name; the oldest is forgotten first.
const REFUSED: usize = 8;

/// What the client holds under a name, as far as the server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It waits for an answer.
    Nothing,
    /// It was told that there is no such resource.
    Absent,
    /// This version.
    Version(Version),
}

/// One name.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// Subscribed to by name.
    pub(super) explicit: bool,
    /// Covered by the wildcard. A name that is neither is said goodbye to, then forgotten.
    pub(super) wildcard: bool,
    pub(super) known: Known,
    /// Versions that the client has rejected: never sent again unless it asks anew.
    refused: Vec<Version>,
    /// The version that the client came with, for the count of what is resent without need.
    claimed: Option<Version>,
    /// What was sent as additions to the version that the client holds.
    additions: Vec<Arc<Encoded>>,
}

impl Name {
    pub(super) fn new(explicit: bool, wildcard: bool, known: Known) -> Self {
        Self { explicit, wildcard, known, refused: Vec::new(), claimed: None, additions: Vec::new() }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.explicit || self.wildcard
    }

    fn claim(&mut self, version: Version) {
        self.claimed = Some(version.clone());
        self.known = Known::Version(version);
    }

    /// Notes that something is sent under this name, and returns whether it is the very version that the client came
    /// with. What it came with counts until the first word of ours: going back to it later is a change.
    pub(super) fn repeats(&mut self, version: Option<&Version>) -> bool {
        let claimed = self.claimed.take();
        // After additions the client may hold more than what it came with.
        let added = !std::mem::take(&mut self.additions).is_empty();
        claimed.is_some() && claimed.as_ref() == version && !added
    }

    /// Notes that this was sent as an addition.
    pub(super) fn add(&mut self, part: &Arc<Encoded>) {
        self.additions.retain(|former| !is_part(former, part));
        self.additions.push(Arc::clone(part));
    }

    /// Whether the client holds this version, and no addition to it that is not part of it.
    pub(super) fn has(&self, encoded: &Encoded) -> bool {
        self.known == Known::Version(encoded.version.clone())
            && self.additions.iter().all(|part| is_part(part, encoded))
    }

    /// Whether these additions say nothing new: the client holds that very version, or was sent them.
    pub(super) fn has_added(&self, part: &Encoded) -> bool {
        self.known == Known::Version(part.version.clone())
            || self.additions.last().is_some_and(|last| last.version == part.version)
    }

    pub(super) fn has_refused(&self, version: &Version) -> bool {
        self.refused.contains(version)
    }

    /// The client asks anew: it may have dropped what it held (xDS, "resource_names_subscribe"), so whatever there is
    /// is sent, also what it refused before.
    fn ask_anew(&mut self) {
        self.known = Known::Nothing;
        self.refused.clear();
        self.claimed = None;
        self.additions.clear();
    }

    /// The client refused `version`, and holds again what it held before it was sent.
    pub(super) fn refuse(&mut self, version: &Version, before: Known) {
        if self.known == Known::Version(version.clone()) {
            // Where it had been told that there is nothing, it has since seen something: that it is gone is news again.
            self.known = if before == Known::Absent { Known::Nothing } else { before };
        }
        if !self.has_refused(version) {
            if self.refused.len() == REFUSED {
                self.refused.remove(0);
            }
            self.refused.push(version.clone());
        }
    }
}

/// Whether every endpoint of `part` stands in `whole`.
fn is_part(part: &Encoded, whole: &Encoded) -> bool {
    let read = |it: &Encoded| decode(type_url(it.key.resource_type), &it.key.name, &it.bytes);
    match (read(part), read(whole)) {
        (Ok(Resource::Endpoints(part)), Ok(Resource::Endpoints(whole))) => {
            part.endpoints.iter().all(|endpoint| whole.endpoints.contains(endpoint))
        }
        _ => false,
    }
}

/// A response that was sent and not yet answered.
#[derive(Clone, Debug)]
pub(super) struct Outstanding {
    pub(super) nonce: String,
    pub(super) sent: Vec<Sent>,
}

/// One entry of a response.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) name: Arc<str>,
    /// `None` for a removal.
    pub(super) version: Option<Version>,
    /// What the client held until then.
    pub(super) before: Known,
}

/// One type of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscriptions {
    pub(super) wildcard: bool,
    /// The wildcard's set is to be read again.
    pub(super) wildcard_stale: bool,
    /// A wildcard subscription is answered even when there is nothing to send: a client may wait for it to get ready.
    pub(super) answer_due: bool,
    pub(super) names: BTreeMap<Arc<str>, Name>,
    /// Names to be looked at again. Each name is in at most one of the three sets.
    pub(super) dirty: BTreeSet<Arc<str>>,
    /// Names whose resource, or first word that there is none, is to be sent.
    pub(super) sends: BTreeSet<Arc<str>>,
    /// Names of resources that the client holds and that are gone.
    pub(super) removals: BTreeSet<Arc<str>>,
    pub(super) outstanding: Option<Outstanding>,
}

impl Subscriptions {
    /// Has a name looked at again.
    pub(super) fn touch(&mut self, name: &str) {
        if let Some((name, _)) = self.names.get_key_value(name) {
            let name = Arc::clone(name);
            self.sends.remove(&name);
            self.removals.remove(&name);
            self.dirty.insert(name);
        }
    }

    /// Has every name looked at again.
    pub(super) fn touch_all(&mut self) {
        self.sends.clear();
        self.removals.clear();
        self.dirty = self.names.keys().cloned().collect();
        self.wildcard_stale = self.wildcard;
    }

    pub(super) fn subscribe_all(&mut self) {
        self.wildcard = true;
        self.wildcard_stale = true;
        self.answer_due = true;
    }

    pub(super) fn unsubscribe_all(&mut self) {
        self.wildcard = false;
        self.answer_due = false;
        let gone: Vec<_> = self.names.iter().filter(|(_, it)| !it.explicit).map(|(name, _)| Arc::clone(name)).collect();
        gone.iter().for_each(|name| self.forget(name));
        self.names.values_mut().for_each(|it| it.wildcard = false);
    }

    pub(super) fn subscribe(&mut self, name: &str) {
        let name: Arc<str> = name.into();
        let it = self.names.entry(Arc::clone(&name)).or_insert_with(|| Name::new(true, false, Known::Nothing));
        it.explicit = true;
        it.ask_anew();
        self.touch(&name);
    }

    pub(super) fn unsubscribe(&mut self, name: &str) {
        let Some(it) = self.names.get_mut(name) else { return };
        it.explicit = false;
        if self.wildcard {
            // The client drops it, and cannot know whether the wildcard covers it: it is owed the resource, or the word
            // that there is none for it, lest a response under way be taken for the wildcard's.
            it.ask_anew();
            self.touch(name);
        } else {
            self.forget(name);
        }
    }

    /// What the client says that it holds from an earlier stream.
    pub(super) fn claim(&mut self, name: &str, version: Version) {
        match self.names.get_mut(name) {
            Some(it) => it.claim(version),
            None if self.wildcard => {
                let name: Arc<str> = name.into();
                let mut it = Name::new(false, true, Known::Nothing);
                it.claim(version);
                self.names.insert(Arc::clone(&name), it);
                self.dirty.insert(name);
            }
            // Neither subscribed nor covered: the client will drop it by itself.
            None => {}
        }
    }

    /// Brings the names that the wildcard covers up to date.
    pub(super) fn cover(&mut self, current: &[Arc<str>]) {
        let current: BTreeSet<&Arc<str>> = current.iter().collect();
        for name in &current {
            match self.names.get_mut(*name) {
                Some(it) if it.wildcard => {}
                Some(it) => {
                    it.wildcard = true;
                    self.touch(name);
                }
                None => {
                    self.names.insert(Arc::clone(name), Name::new(false, true, Known::Nothing));
                    self.touch(name);
                }
            }
        }
        let left = self.names.iter().filter(|(name, it)| it.wildcard && !current.contains(name));
        let left: Vec<_> = left.map(|(name, _)| Arc::clone(name)).collect();
        for name in left {
            if let Some(it) = self.names.get_mut(&name) {
                it.wildcard = false;
            }
            self.touch(&name);
        }
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.names.remove(name);
        self.dirty.remove(name);
        self.sends.remove(name);
        self.removals.remove(name);
    }
}
