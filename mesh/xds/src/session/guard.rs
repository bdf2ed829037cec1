//! The wipe guard: a server that comes back empty, from an older copy, or as another store takes nothing away before a
//! person has confirmed it. Both ends keep it: the server by what a client names and it does not know, the client as
//! the last defence by how much of a type a response would take.
use std::collections::{BTreeMap, BTreeSet};

use weft_ir::{ResourceKey, ResourceType};
use weft_model::Revision;

use super::MAX_NAMES;

/// The server's end, for one stream: what its client holds of another history, and keeps until a person confirms.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    seen: Option<Revision>,
    elsewhere: bool,
    held: BTreeSet<ResourceKey>,
    awaited: BTreeSet<ResourceKey>,
}

impl Guard {
    /// A stream's guard: `seen` is the highest revision that its client names, `own` the server's.
    pub fn new(seen: Option<Revision>, own: &Revision) -> Self {
        let elsewhere = seen.as_ref().is_some_and(|seen| is_elsewhere(seen, own));
        Self { seen, elsewhere, held: BTreeSet::new(), awaited: BTreeSet::new() }
    }

    /// Whether the client has seen another store, or a later state of this one, and nobody has confirmed that it may
    /// lose what it has from there.
    pub fn is_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// The highest revision that the client has named.
    pub fn seen(&self) -> Option<&Revision> {
        self.seen.as_ref()
    }

    /// The client holds this key and the server does not know it.
    pub fn claimed_unknown(&mut self, key: ResourceKey) {
        // As the session bounds what a client may name; what is beyond is refused there.
        if self.elsewhere && self.held.len() < 2 * MAX_NAMES {
            self.held.insert(key);
        }
    }

    /// The client holds this key and the server does not know it, but would by the client's registration, which it has
    /// not heard since it started. In whatever history: it is not told to be gone, nor is it what a confirmation is about.
    pub fn claimed_unregistered(&mut self, key: ResourceKey) {
        if self.awaited.len() < 2 * MAX_NAMES {
            self.awaited.insert(key);
        }
    }

    /// The server knows this key now: from here on it may go like any other of its own.
    pub fn appeared(&mut self, key: &ResourceKey) {
        self.held.remove(key);
        self.awaited.remove(key);
    }

    /// Whether the absence of this key is not told.
    pub fn holds(&self, key: &ResourceKey) -> bool {
        self.held.contains(key) || self.awaited.contains(key)
    }

    /// What would go with a confirmation, ordered.
    pub fn held(&self) -> &BTreeSet<ResourceKey> {
        &self.held
    }

    /// How many keys' absence is not told.
    pub fn len(&self) -> usize {
        self.held.len() + self.awaited.len()
    }

    /// Whether everything is told as it is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the client comes from another history and would lose nothing of what it has named so far, so that nobody
    /// need be asked. What it has not named yet is not in that: the client is told how much was, and judges by what it
    /// knows to hold ([`Client::settle`](super::Client::settle)).
    pub fn is_lossless(&self) -> bool {
        self.elsewhere && self.is_empty()
    }

    /// A person has confirmed: what was held may go, but for what comes back with a registration. Every type is to be
    /// looked at again.
    pub fn confirm(&mut self) {
        self.elsewhere = false;
        self.held.clear();
    }
}

/// Whether a client that has seen `seen` stands in another history than a server at `own`: another epoch, or a later
/// state of the same one.
pub fn is_elsewhere(seen: &Revision, own: &Revision) -> bool {
    seen.epoch() != own.epoch() || own.is_behind(seen)
}

/// The client's end, over all its streams.
#[derive(Debug, Default)]
pub(super) struct LastDefence {
    /// The highest revision of the history that what is held comes from.
    revision: Option<Revision>,
    /// What the server says while that is another history.
    elsewhere: Option<Revision>,
    /// How many names of each type were held when the server became another.
    base: BTreeMap<ResourceType, usize>,
    /// How many names of a type such a server has taken away.
    taken: BTreeMap<ResourceType, usize>,
    /// The epoch that was confirmed on the present stream: what its server said just before is still to arrive.
    accepted: Option<String>,
    /// What the present stream's server said to be gone, and is kept.
    withheld: BTreeSet<ResourceKey>,
}

impl LastDefence {
    pub(super) fn revision(&self) -> Option<&Revision> {
        self.revision.as_ref()
    }

    pub(super) fn elsewhere(&self) -> Option<&Revision> {
        self.elsewhere.as_ref()
    }

    pub(super) fn withheld(&self) -> &BTreeSet<ResourceKey> {
        &self.withheld
    }

    /// A revision of an earlier run.
    pub(super) fn restore(&mut self, revision: &Revision) {
        if self.revision.as_ref().is_none_or(|seen| !is_elsewhere(seen, revision)) {
            self.revision = Some(revision.clone());
        }
    }

    /// The next stream names everything that is held, and is told anew what of it is gone.
    pub(super) fn connected(&mut self) {
        self.withheld.clear();
        self.accepted = None;
    }

    /// Takes what a response says that it is of; a text that is not a revision says nothing. `held` counts what is held
    /// of each type: a client that holds nothing has nothing to lose.
    pub(super) fn heard(&mut self, said: &str, held: impl FnOnce() -> BTreeMap<ResourceType, usize>) {
        let Ok(said) = said.parse::<Revision>() else { return };
        if self.accepted.as_deref() == Some(said.epoch()) {
            // Never back: the stream's server stands at the confirmed revision or beyond.
            if self.revision.as_ref().is_none_or(|seen| !said.is_behind(seen)) {
                self.adopt(said);
            }
            return;
        }
        if self.revision.as_ref().is_none_or(|seen| !is_elsewhere(seen, &said)) {
            return self.adopt(said);
        }
        if self.elsewhere.is_none() {
            self.base = held();
            if self.base.values().all(|count| *count == 0) {
                return self.adopt(said);
            }
        }
        self.elsewhere = Some(said);
    }

    /// Whether removing `losses` of the `held` names of a type is put off: it would take more than half of what was
    /// held when the server became another. If not, they are counted as taken.
    pub(super) fn withholds(&mut self, resource_type: ResourceType, held: usize, losses: &[ResourceKey]) -> bool {
        if self.elsewhere.is_none() || losses.is_empty() {
            return false;
        }
        let taken = self.taken.entry(resource_type).or_default();
        let base = self.base.get(&resource_type).copied().unwrap_or_default().min(held + *taken);
        if (*taken + losses.len()) * 2 > base {
            self.withheld.extend(losses.iter().cloned());
            return true;
        }
        *taken += losses.len();
        false
    }

    /// The server has a resource of this name after all, or the client no longer wants it.
    pub(super) fn release(&mut self, key: &ResourceKey) {
        self.withheld.remove(key);
    }

    /// A person has confirmed a server's history at this revision. Returns what is gone with that: nothing where the
    /// word is of another server than the one that said so.
    pub(super) fn confirm(&mut self, revision: &Revision) -> BTreeSet<ResourceKey> {
        let of_another = self.elsewhere.as_ref().is_some_and(|said| said.epoch() != revision.epoch());
        self.adopt(revision.clone());
        self.accepted = Some(revision.epoch().to_owned());
        if of_another { BTreeSet::new() } else { std::mem::take(&mut self.withheld) }
    }

    /// The server of this revision has nothing less than what this client has named to it: its history is taken for the
    /// client's own. Returns whether it is: not where it is another server's word, or something is withheld after all.
    pub(super) fn settle(&mut self, revision: &Revision) -> bool {
        let of_it = self.elsewhere.as_ref().is_some_and(|said| said.epoch() == revision.epoch());
        if !of_it || !self.withheld.is_empty() {
            return false;
        }
        self.adopt(revision.clone());
        self.accepted = Some(revision.epoch().to_owned());
        true
    }

    fn adopt(&mut self, revision: Revision) {
        self.revision = Some(revision);
        self.elsewhere = None;
        self.base.clear();
        self.taken.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(text: &str) -> Revision {
        text.parse().unwrap()
    }

    fn keys(names: &[&str]) -> Vec<ResourceKey> {
        names.iter().map(|name| ResourceKey::new(ResourceType::VirtualHost, *name)).collect()
    }

    #[test]
    fn revisions_grow_within_a_history_and_another_is_not_adopted_unasked() {
        let mut it = LastDefence::default();
        for (said, seen, elsewhere) in [
            ("e/all=9", "e/all=9", None),
            ("e/all=10", "e/all=10", None),
            ("e/all=9", "e/all=10", Some("e/all=9")),
            ("nonsense", "e/all=10", Some("e/all=9")),
            ("f/all=2", "e/all=10", Some("f/all=2")),
            ("e/all=10", "e/all=10", None),
        ] {
            it.heard(said, || [(ResourceType::Cluster, 1)].into());
            assert_eq!(it.revision(), Some(&revision(seen)), "{said}");
            assert_eq!(it.elsewhere(), elsewhere.map(revision).as_ref(), "{said}");
        }
        let mut it = LastDefence::default();
        it.heard("e/all=1", BTreeMap::new);
        it.heard("f/all=2", BTreeMap::new);
        assert_eq!((it.revision(), it.elsewhere()), (Some(&revision("f/all=2")), None), "it held nothing");
    }

    #[test]
    fn more_than_half_of_a_type_is_kept_however_it_is_portioned() {
        let mut it = LastDefence::default();
        let held = || [(ResourceType::VirtualHost, 4), (ResourceType::Cluster, 2)].into();
        it.heard("e/all=5", held);
        assert!(!it.withholds(ResourceType::VirtualHost, 4, &keys(&["a", "b", "c", "d"])), "in its own history");
        it.heard("f/all=1", held);
        assert!(!it.withholds(ResourceType::VirtualHost, 4, &keys(&["a"])));
        assert!(!it.withholds(ResourceType::VirtualHost, 3, &keys(&["b"])), "half is not more than half");
        assert!(it.withholds(ResourceType::VirtualHost, 2, &keys(&["c"])));
        assert!(!it.withholds(ResourceType::Cluster, 2, &keys(&["c"])), "each type is counted by itself");
        assert_eq!(it.withheld().len(), 1);
        assert_eq!(it.confirm(&revision("f/all=1")), keys(&["c"]).into_iter().collect());
        assert_eq!((it.elsewhere(), it.withheld().len()), (None, 0));
    }

    #[test]
    fn a_server_holds_what_it_does_not_know_until_it_appears_or_a_person_confirms() {
        let [a, b] = keys(&["a", "b"]).try_into().unwrap();
        let mut home = Guard::new(Some(revision("e/all=5")), &revision("e/all=5"));
        home.claimed_unknown(a.clone());
        assert!(!home.holds(&a) && !home.is_elsewhere());
        for own in ["e/all=4", "f/all=9"] {
            let mut guard = Guard::new(Some(revision("e/all=5")), &revision(own));
            [&a, &b].into_iter().for_each(|key| guard.claimed_unknown(key.clone()));
            assert!(guard.is_elsewhere() && guard.holds(&a) && guard.holds(&b), "{own}");
            guard.appeared(&a);
            assert!(!guard.holds(&a) && guard.holds(&b));
            guard.confirm();
            assert!(!guard.is_elsewhere() && guard.held().is_empty());
        }
        assert!(!Guard::new(None, &revision("e/all=1")).is_elsewhere());
    }

    #[test]
    fn what_comes_back_with_a_registration_is_neither_offered_nor_taken() {
        let [a, b] = keys(&["a", "b"]).try_into().unwrap();
        for own in ["e/all=5", "e/all=4", "f/all=9"] {
            let mut guard = Guard::new(Some(revision("e/all=5")), &revision(own));
            guard.claimed_unregistered(a.clone());
            guard.claimed_unknown(b.clone());
            assert!(guard.holds(&a) && !guard.held().contains(&a) && !guard.is_lossless(), "{own}");
            guard.appeared(&b);
            assert!(!guard.is_lossless(), "{own}: it has not registered");
            guard.confirm();
            assert!(guard.holds(&a), "{own}: a confirmation is not about it");
            guard.appeared(&a);
            assert!(guard.is_empty(), "{own}");
        }
        let mut guard = Guard::new(Some(revision("e/all=5")), &revision("f/all=1"));
        assert!(guard.is_lossless() && guard.is_elsewhere());
        guard.claimed_unknown(b);
        assert!(!guard.is_lossless(), "also where it is named late");
        assert!(!Guard::new(Some(revision("e/all=5")), &revision("e/all=5")).is_lossless());
    }
}
