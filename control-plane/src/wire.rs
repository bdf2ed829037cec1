//! The admin API's JSON bodies, read by the server and by its clients. Field names are camelCase.
//!
//! | method and path | body | answer |
//! |---|---|---|
//! | `GET /v1/objects?kind=&namespace=&name=` | | [`ObjectList`] |
//! | `POST /v1/apply` | [`ApplyRequest`] | [`ApplyResponse`], or 422 with [`Refusal`] |
//! | `DELETE /v1/objects/{kind}/{namespace}/{name}?dryRun=` | | [`Deleted`], or 422 with [`Refusal`] |
//! | `GET /v1/objects/{kind}/{namespace}/{name}/status` | | [`ObjectStatus`] |
//! | `GET /v1/statuses?kind=&namespace=&name=` | | [`StatusList`] |
//! | `POST /v1/wait` | [`WaitRequest`] | [`WaitResponse`] |
//! | `GET /v1/watch?kind=&namespace=&name=` | | JSON lines, each a [`WatchEvent`] |
//! | `POST /v1/tokens` | [`TokenRequest`] | [`TokenResponse`] |
//! | `POST /v1/ca/rotate` | | [`CaRotated`] |
//! | `GET /v1/recovery` | | [`RecoveryList`] |
//! | `POST /v1/recovery/revocations` | [`RecoveryRevocation`] | [`RecoveryRevoked`] |
//! | `GET /v1/workloads` | | [`WorkloadList`] |
//! | `GET /v1/workloads/{namespace}/{name}/proxy?path=` | | the proxy's own JSON |
//! | `GET /v1/edges` | | [`EdgeList`] |
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/removals` | | [`Removals`] |
//! | `POST /v1/removals/confirm` | [`ConfirmRequest`] | [`Confirmed`], or 409 where the epoch is another |
//! | `GET /metrics` | | Prometheus text |
//!
//! Every request carries `authorization: Bearer <token>`; every failure is an [`ApiError`].
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_model::{Diagnostic, Source};

mod effect;

pub use effect::{
    EffectState, ObjectEffect, ObjectStatus, SlowProxy, StatusList, WaitRequest, WaitResponse, WaitingProxy,
    WatchEvent, WatchKind,
};

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiError {
    /// What, where, why.
    pub error: String,
    /// What to do.
    pub hint: String,
}

/// Objects with the revision at which they were read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectList {
    /// The store's revision.
    pub revision: String,
    /// The objects, ordered by kind, namespace and name.
    pub items: Vec<ObjectItem>,
}

/// One stored object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectItem {
    /// The object in its Kubernetes form.
    pub object: Value,
    /// Who may change it.
    pub owner: String,
    /// The store's number when it was created.
    pub created: u64,
    /// The store's number when it was last changed.
    pub modified: u64,
    /// Where it was read from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<Source>,
}

/// Documents to apply, all or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// YAML or JSON texts, each of one or several objects.
    pub documents: Vec<Document>,
    /// Whether to say only what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// One text with the name of the file that it was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// The file's name for diagnostics; `-` for standard input.
    pub file: String,
    /// The text.
    pub text: String,
}

/// What an apply did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResponse {
    /// The revision that holds the changes.
    pub revision: String,
    /// One entry an object, in the order of the documents.
    pub changes: Vec<ObjectChange>,
    /// What is worth knowing.
    pub warnings: Vec<Diagnostic>,
}

/// What happened to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    /// `Kind namespace/name`.
    pub object: String,
    /// What happened.
    pub change: ChangeKind,
}

/// What an apply does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ChangeKind {
    /// It was not there.
    Created,
    /// It was there and differs now.
    Updated,
    /// It was there as written; nothing was stored.
    Unchanged,
}

/// Why an apply was refused; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Everything that was found, errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
}

/// An object is gone, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// The revision that no longer holds it; the present one where nothing was done.
    pub revision: String,
    /// What is worth knowing: above all, who still names the object.
    #[serde(default)]
    pub warnings: Vec<Diagnostic>,
}

/// A join token to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// The namespace of the identity that it is bound to.
    pub namespace: String,
    /// The account of the identity that it is bound to.
    pub account: String,
    /// How long it is valid, in seconds, 1 to 600 (600 where nothing is said).
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
    /// The labels that workloads of the identity may carry from then on, with those of its earlier tokens. A workload
    /// that registers with another is refused: by its labels a Service chooses whom its traffic goes to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A join token that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenResponse {
    /// The join file's content: see `weft_certs::JoinFile`. A secret.
    pub join_file: Value,
}

/// The intermediate certificate was renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaRotated {
    /// The SHA-256 of the root, which stays.
    pub root_sha256: String,
    /// The SHA-256 of the intermediate that signed before; what it signed stays good.
    pub former_sha256: String,
    /// The SHA-256 of the intermediate that signs now.
    pub intermediate_sha256: String,
    /// Until when it is valid, RFC 3339.
    pub not_after: String,
}

/// Whose recovery to revoke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecoveryRevocation {
    /// The account's namespace.
    pub namespace: String,
    /// The account.
    pub account: String,
}

/// No certificate that an identity was given up to a time is good for recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryRevoked {
    /// Whose.
    pub identity: String,
    /// Up to when, RFC 3339.
    pub up_to: String,
}

/// What is remembered of recoveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryList {
    /// How long after its expiry a certificate may be used for recovery.
    pub window_seconds: u64,
    /// The expired certificates that were used; each is forgotten once it is too old to be used again.
    pub used: Vec<RecoveryUsed>,
    /// The identities whose recovery was revoked.
    pub revoked: Vec<RecoveryRevoked>,
}

/// An expired certificate that was used for recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryUsed {
    /// Its serial number.
    pub serial: String,
    /// Whose it was.
    pub identity: String,
    /// When, RFC 3339.
    pub at: String,
}

/// The workloads that have registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadList {
    /// The workloads, ordered by namespace and name.
    pub items: Vec<WorkloadItem>,
}

/// One registered workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadItem {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its account.
    pub account: String,
    /// Its SPIFFE ID.
    pub identity: String,
    /// Where peers reach it; empty for one that only calls.
    pub address: String,
    /// Whether it is up.
    pub state: WorkloadState,
    /// Why its application takes no connections, in its proxy's words; absent where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its proxy's version.
    pub version: String,
    /// Whether its Agent stream is open.
    pub connected: bool,
    /// For how long its proxy has said nothing though its stream is open, where that is longer than it should, in
    /// milliseconds: it is stopped, stuck, or cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// The highest revision that its proxy has seen; empty before it has said one.
    pub revision: String,
    /// Whether everything that it uses is in effect: every worker of it decides by what the mesh has now.
    pub in_effect: bool,
    /// How many resources it uses: it holds or asked for them.
    #[serde(default)]
    pub resources: u64,
    /// How many of them are in effect.
    #[serde(default)]
    pub resources_in_effect: u64,
    /// Whether it has read, and taken or rejected, all that its ADS stream had for it. That says nothing of its workers:
    /// [`in_effect`](Self::in_effect) does.
    pub acknowledged: bool,
    /// How many resources its present ADS stream was sent.
    pub resources_sent: u64,
    /// How many resources its present ADS stream was sent in a version that it already held. Zero unless something is
    /// wrong.
    pub resent: u64,
    /// The revision of another history that its proxy holds to, where this control plane stands in another: another
    /// epoch, or an older state of the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_to: Option<String>,
    /// How many removals are held back from it, or kept by it, until a person confirms them.
    #[serde(default)]
    pub removals_held: u64,
    /// What they are of, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Elsewhere>,
    /// What its proxy rejected and still holds an older version of (or nothing), with its own words.
    pub rejected: Vec<RejectedResource>,
    /// The addresses that its listeners are bound to, by listener name.
    pub listeners: BTreeMap<String, String>,
    /// How long its proxy served its last good configuration after its start, before it reached the control plane, in
    /// milliseconds; `None` where it started without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good_ms: Option<u64>,
}

/// Where a registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkloadState {
    /// It takes work.
    Registered,
    /// It finishes what it has.
    Draining,
    /// Its application takes no connections: peers do not choose it until it does.
    Unhealthy,
    /// Its lease has run out.
    Expired,
}

/// A resource that a proxy refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedResource {
    /// The resource's type URL.
    pub type_url: String,
    /// Its name.
    pub name: String,
    /// Why, in the proxy's words.
    pub reason: String,
}

/// The latest summaries of who calls whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeList {
    /// One entry for each caller, service and destination, in that order.
    pub items: Vec<EdgeItem>,
}

/// One edge as its caller saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeItem {
    /// The caller, `namespace/name`.
    pub workload: String,
    /// The service port as the caller addressed it.
    pub service: String,
    /// The service port as the route chose.
    pub destination: String,
    /// Requests (connections where `tcp`) in the last second that had any.
    pub requests: u64,
    /// Of these, those that failed.
    pub failures: u64,
    /// Median latency in that second, in microseconds.
    pub latency_us_p50: u64,
    /// 99th percentile of the latency in that second, in microseconds.
    pub latency_us_p99: u64,
    /// Answers by status class in that second: index 1 for 1xx to 5 for 5xx; 0 for no answer.
    pub status_classes: Vec<u64>,
    /// Whether the edge carries TCP connections.
    pub tcp: bool,
    /// How long ago that second ended, in milliseconds.
    pub age_ms: u64,
    /// Requests since the control plane or the caller's stream started.
    pub requests_total: u64,
    /// Failures since then.
    pub failures_total: u64,
    /// Bytes sent since then.
    pub bytes_sent_total: u64,
    /// Bytes received since then.
    pub bytes_received_total: u64,
    /// Answers by status class since then.
    pub status_classes_total: Vec<u64>,
}

/// The control plane in one look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The store's revision.
    pub revision: String,
    /// The mesh's trust domain.
    pub trust_domain: String,
    /// The DNS suffix of services.
    pub mesh_domain: String,
    /// The cluster's name.
    pub cluster: String,
    /// The proxies with an open stream.
    pub proxies: ProxyCount,
    /// xDS resources sent since the control plane started.
    pub resources_sent: u64,
    /// Of these, those that the client already held in the same version. Zero unless something is wrong.
    pub resources_resent: u64,
    /// The proxies that hold to another history than this control plane's; removals are held back from them.
    #[serde(default)]
    pub elsewhere: Vec<Elsewhere>,
    /// When it started, RFC 3339.
    pub started: String,
    /// Its version.
    pub version: String,
    /// What is wrong with the objects in force: they were accepted once, and stay in force as far as they go.
    #[serde(default)]
    pub warnings: Vec<Diagnostic>,
    /// The workloads whose proxies say nothing though their streams are open, `namespace/name`.
    #[serde(default)]
    pub silent: Vec<String>,
    /// How many objects there are in each state.
    #[serde(default)]
    pub objects: BTreeMap<EffectState, u64>,
}

/// How many proxies are there, and how far they have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyCount {
    /// With an open ADS stream.
    pub connected: u64,
    /// Of these, those whose workers decide by the newest of everything that they use.
    pub in_effect: u64,
    /// Of these, those that have read, and taken or rejected, all that their streams had for them.
    pub acknowledged: u64,
}

/// A proxy that has seen another epoch than this control plane's, or a later revision of the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Elsewhere {
    /// The workload, `namespace/name`.
    pub workload: String,
    /// The highest revision that it has seen.
    pub revision: String,
    /// Whether that is of another epoch; otherwise it is a later state of this one.
    pub other_epoch: bool,
    /// How many removals are held back from it.
    pub held: u64,
    /// What is held back, by type and name; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
}

impl Elsewhere {
    /// Why removals are held, what they are of, and what to do; without the workload.
    pub fn text(&self) -> String {
        let Self { workload: _, revision, other_epoch, held, resources } = self;
        let came = if *other_epoch { "another epoch" } else { "an older revision" };
        let mut named = resources.join(", ");
        let more = held.saturating_sub(resources.len() as u64);
        if more > 0 && !named.is_empty() {
            named.push_str(&format!(" and {more} more"));
        }
        let named = if named.is_empty() { String::new() } else { format!(": {named}") };
        format!(
            "removal held: the control plane came back with {came} (the proxy has seen {revision}){named}; confirm with \
             `weft confirm-removals`"
        )
    }
}

/// What proxies hold and this control plane does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removals {
    /// The store's revision.
    pub revision: String,
    /// The store's epoch, which a confirmation names.
    pub epoch: String,
    /// What would go, ordered by type and name.
    pub items: Vec<HeldRemoval>,
    /// The proxies that hold to another history, ordered.
    pub proxies: Vec<Elsewhere>,
}

/// One resource, or a part of one, that would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldRemoval {
    /// The kind of resource: `cluster`, `endpoints`, `virtual host`, …
    pub resource_type: String,
    /// The resource's name.
    pub name: String,
    /// Which part of it would go; empty for the whole.
    #[serde(default)]
    pub part: String,
    /// From which workloads' proxies, `namespace/name`.
    pub proxies: Vec<String>,
}

/// A confirmation that proxies may lose what this control plane does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfirmRequest {
    /// The store's epoch, as [`Removals`] named it: a confirmation is valid for that epoch.
    pub epoch: String,
}

/// What a confirmation came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirmed {
    /// The store's epoch.
    pub epoch: String,
    /// How many proxies were told; others are told when they come.
    pub told: u64,
}
