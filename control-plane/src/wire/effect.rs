//! Bodies that say whether objects are in effect.
use serde::{Deserialize, Serialize};

use super::{Elsewhere, ObjectItem, WorkloadItem};

/// How far an object has come; of several proxies the worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EffectState {
    /// Every proxy that uses it decides by it.
    InEffect,
    /// Some do not yet.
    Awaited,
    /// Some keep what the mesh no longer has: the control plane came back with another epoch or an older revision, and
    /// nobody has confirmed the removals.
    RemovalHeld,
    /// It is not sent to some, which do not know what it needs.
    HeldBack,
    /// Some refused it, and go on with what they had.
    Rejected,
    /// No proxy uses it: nothing is known of its effect.
    Unused,
}

impl EffectState {
    /// All, from the best to the worst; `Unused` is none of these.
    pub const ALL: [Self; 6] =
        [Self::InEffect, Self::Awaited, Self::RemovalHeld, Self::HeldBack, Self::Rejected, Self::Unused];

    /// As metrics name it: the API's name in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InEffect => "in_effect",
            Self::Awaited => "awaited",
            Self::RemovalHeld => "removal_held",
            Self::HeldBack => "held_back",
            Self::Rejected => "rejected",
            Self::Unused => "unused",
        }
    }
}

/// Whether an object is in effect. A proxy is *concerned* if it is connected and holds or asked for a resource that was
/// made from the object; the object is in effect there when every worker decides from the newest of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectEffect {
    /// How far it has come.
    pub state: EffectState,
    /// At how many proxies it is in effect.
    pub effective: u64,
    /// How many it concerns.
    pub proxies: u64,
    /// The one that waits longest; where none waits, the one that took longest, if it changed since the control plane
    /// started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest: Option<SlowProxy>,
    /// The proxies where it is not in effect, the longest first; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingProxy>,
    /// How many more there are.
    #[serde(default)]
    pub unnamed: u64,
}

impl ObjectEffect {
    /// Whether there is nothing to wait for.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, EffectState::InEffect | EffectState::Unused)
    }

    /// The same, with every age at zero: what a watcher is told a change of.
    #[must_use]
    pub fn without_ages(&self) -> Self {
        let mut steady = self.clone();
        steady.slowest = None;
        for it in &mut steady.waiting {
            (it.age_ms, it.silent_ms) = (0, it.silent_ms.map(|_| 0));
        }
        steady.waiting.sort_by(|one, other| one.workload.cmp(&other.workload));
        steady
    }
}

/// A proxy and a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlowProxy {
    /// Its workload, `namespace/name`.
    pub workload: String,
    /// How long it waits, or took, in milliseconds.
    pub age_ms: u64,
}

/// A proxy where an object is not in effect, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingProxy {
    /// Its workload, `namespace/name`.
    pub workload: String,
    /// The resource that is not in effect, by type and name; the worst of several.
    pub resource: String,
    /// How long it waits, in milliseconds.
    pub age_ms: u64,
    /// For how long it has said nothing, where that is longer than it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// Why it rejected the resource, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// What it does not know and the resource needs: it is not sent there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// What of the object is kept there until a person confirms the removals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Elsewhere>,
}

/// An object's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// `Kind namespace/name`.
    pub object: String,
    /// Who may change it.
    pub owner: String,
    /// The revision at which it was last changed; empty for a workload that registered itself.
    pub revision: String,
    /// Whether it is in effect.
    #[serde(flatten)]
    pub effect: ObjectEffect,
}

/// The status of objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusList {
    /// The store's revision.
    pub revision: String,
    /// The objects, ordered by kind, namespace and name.
    pub items: Vec<ObjectStatus>,
}

/// Objects to wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaitRequest {
    /// Each `Kind namespace/name`.
    pub objects: Vec<String>,
    /// How long to wait at most, in milliseconds; 0 to say what is now.
    #[serde(default)]
    pub timeout_ms: u64,
}

/// What was waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitResponse {
    /// Whether every object exists and is in effect at every proxy that uses it.
    pub in_effect: bool,
    /// The status of each; those that do not exist are left out.
    pub items: Vec<ObjectStatus>,
}

/// What happened to what is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WatchKind {
    /// It is there: from the start, or new.
    Added,
    /// The object is another.
    Changed,
    /// Its status is another.
    Status,
    /// It is gone.
    Deleted,
}

/// One line of a watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchEvent {
    /// What happened.
    pub event: WatchKind,
    /// To which object: `Kind namespace/name`.
    pub name: String,
    /// The object as it is stored, unless it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<ObjectItem>,
    /// Its status, unless it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ObjectStatus>,
    /// The workload, where workloads are watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadItem>,
}

impl WatchEvent {
    /// That there is something of that name.
    pub fn of(name: &str) -> Self {
        Self { event: WatchKind::Added, name: name.to_owned(), item: None, status: None, workload: None }
    }
}
