//! The wipe guard's side of the agent: what is kept of resources that are sent with less, and what is told of it.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::watch;
use weft_ir::{InboundChain, ListenerBody, Resource, ResourceKey};
use weft_model::Revision;
use weft_proto::weft::{HeldRemovals, HeldResource};
use weft_xds::{Version, kept_with, type_url};

/// How many kept resources are named to the control plane.
const NAMED: usize = 1_000;

/// The resources of which more is in effect than was sent.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// What was in effect when the control plane became another.
    before: BTreeMap<ResourceKey, Resource>,
    /// What was sent since, with its version.
    sent: BTreeMap<ResourceKey, (Version, Resource)>,
}

impl Kept {
    /// What comes into effect of a resource while absence counts for nothing; `held` is what is in effect.
    /// `None` where that is the resource as it was sent.
    pub(super) fn keep(&mut self, held: Option<Resource>, version: &Version, sent: &Resource) -> Option<Resource> {
        let key = sent.key();
        let before = self.before.get(&key).cloned().or(held)?;
        let kept = kept_with(&before, sent);
        if kept.is_some() {
            self.before.insert(key.clone(), before);
            self.sent.insert(key, (version.clone(), sent.clone()));
        } else {
            self.sent.remove(&key);
        }
        kept
    }

    /// Whether everything is in effect as it was sent.
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Ends it: everything comes into effect as it was sent.
    pub(super) fn end(&mut self) -> Vec<(ResourceKey, Version, Resource)> {
        self.before.clear();
        let sent = std::mem::take(&mut self.sent);
        sent.into_iter().map(|(key, (version, resource))| (key, version, resource)).collect()
    }

    /// A key is not wanted any more.
    pub(super) fn forget(&mut self, key: &ResourceKey) {
        self.before.remove(key);
        self.sent.remove(key);
    }

    fn parts(&self) -> impl Iterator<Item = HeldResource> {
        self.sent.iter().flat_map(|(key, (_, sent))| {
            let parts = self.before.get(key).map(|before| missing(before, sent)).unwrap_or_default();
            parts.into_iter().map(|part| HeldResource { part, ..held(key) })
        })
    }
}

/// Which chains and policies of `before` are not in `sent`.
fn missing(before: &Resource, sent: &Resource) -> BTreeSet<String> {
    let chains = |resource: &Resource| -> Vec<InboundChain> {
        let Resource::Listener(listener) = resource else { return Vec::new() };
        let ListenerBody::Inbound(inbound) = &listener.body else { return Vec::new() };
        inbound.chains.clone()
    };
    let now = chains(sent);
    let mut missing = BTreeSet::new();
    for chain in chains(before) {
        match now.iter().find(|it| it.service == chain.service) {
            None => _ = missing.insert(format!("the service port {}", chain.service)),
            Some(now) => {
                let gone = chain.access.policies.iter().filter(|it| !now.access.policies.contains(it));
                missing.extend(gone.map(ToString::to_string));
            }
        }
    }
    missing
}

fn held(key: &ResourceKey) -> HeldResource {
    let type_url = type_url(key.resource_type).to_owned();
    HeldResource { type_url, name: key.name.to_string(), part: String::new() }
}

/// The control plane's word on what is kept against it.
#[derive(Clone, Debug)]
pub(super) enum Word {
    /// A person has confirmed its history at this revision.
    Confirmed(Revision),
    /// At this revision it has nothing less than this many resources, which it was named.
    NothingLost(Revision, u64),
}

/// What the guard keeps now, for whoever tells it.
#[derive(Debug, Default)]
pub(super) struct Guarded {
    state: watch::Sender<Arc<HeldRemovals>>,
    word: watch::Sender<Option<Word>>,
}

impl Guarded {
    /// Tells what is kept: `withheld` removals, and parts of what was sent.
    pub(super) fn tell<'a>(
        &self,
        revision: Option<&Revision>,
        elsewhere: Option<&Revision>,
        withheld: impl Iterator<Item = &'a ResourceKey>,
        kept: &Kept,
    ) {
        let text = |revision: Option<&Revision>| revision.map(ToString::to_string).unwrap_or_default();
        let resources: Vec<_> = withheld.map(held).chain(kept.parts()).take(NAMED).collect();
        let state = match elsewhere {
            Some(_) => HeldRemovals { revision: text(revision), elsewhere: text(elsewhere), resources },
            None => HeldRemovals { resources, ..HeldRemovals::default() },
        };
        metrics::gauge!("weft_removal_guard_active").set(u8::from(elsewhere.is_some()));
        metrics::gauge!("weft_removals_held").set(u32::try_from(state.resources.len()).unwrap_or(u32::MAX));
        self.state.send_if_modified(|current| {
            let changed = **current != state;
            if changed {
                if current.elsewhere != state.elsewhere && !state.elsewhere.is_empty() {
                    let (held, told) = (&state.revision, &state.elsewhere);
                    tracing::warn!(
                        held,
                        told,
                        "the control plane stands in another history: nothing is removed for it"
                    );
                }
                *current = Arc::new(state);
            }
            changed
        });
    }

    /// What is kept now, and as that changes.
    pub(super) fn state(&self) -> watch::Receiver<Arc<HeldRemovals>> {
        self.state.subscribe()
    }

    /// What is to be known of it, for people; `None` where there is nothing.
    pub(super) fn text(&self) -> Option<String> {
        let state = self.state.borrow();
        if state.elsewhere.is_empty() {
            return None;
        }
        let held = match state.resources.len() {
            0 => String::new(),
            count => format!(" ({count} withheld by this proxy)"),
        };
        Some(format!(
            "holding to revision {}: the control plane is at {}, another store or an older state; what it does not \
             have is not removed{held} before `weft confirm-removals`",
            state.revision, state.elsewhere
        ))
    }

    /// Takes the control plane's word.
    pub(super) fn hear(&self, word: Word) {
        self.word.send_replace(Some(word));
    }

    /// Its words as they come; the last counts.
    pub(super) fn words(&self) -> watch::Receiver<Option<Word>> {
        self.word.subscribe()
    }
}
