//! AccessPolicy, and how policies name their targets.
use serde::Serialize;

use crate::{
    AccountName, HeaderMatch, Host, HttpMethod, Kind, Meta, Name, Namespace, ObjectRef, PathMatch, Port, SpiffeId,
};

/// What a policy applies to. The most specific target wins field by field: rule, route, service, namespace, mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PolicyTarget {
    /// What kind of thing.
    pub kind: TargetKind,
    /// Its namespace: the policy's own, except for `Mesh`, which has none and may be targeted from the root namespace
    /// (`weft-system`) only.
    pub namespace: Option<Namespace>,
    /// Its name: the namespace's for `Namespace`, `mesh` for `Mesh`.
    pub name: Name,
    /// The rule of a route, by its name.
    pub section: Option<Name>,
}

/// The kinds of thing that policies target, the least specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TargetKind {
    /// Everything.
    Mesh,
    /// Everything in the policy's namespace.
    Namespace,
    /// One Service of the policy's namespace.
    Service,
    /// One HTTPRoute of the policy's namespace, or one rule of it. Not for an AccessPolicy.
    HttpRoute,
    /// One GRPCRoute of the policy's namespace, or one rule of it. Not for an AccessPolicy.
    GrpcRoute,
}

impl TargetKind {
    /// Whether it is a kind of route, whose rules can be targeted by their names.
    pub const fn is_route(self) -> bool {
        matches!(self, Self::HttpRoute | Self::GrpcRoute)
    }
}

impl PolicyTarget {
    /// The object that is targeted, if it is one.
    pub fn object(&self) -> Option<ObjectRef> {
        let kind = match self.kind {
            TargetKind::Service => Kind::Service,
            TargetKind::HttpRoute => Kind::HttpRoute,
            TargetKind::GrpcRoute => Kind::GrpcRoute,
            TargetKind::Mesh | TargetKind::Namespace => return None,
        };
        Some(ObjectRef { kind, namespace: self.namespace.clone()?, name: self.name.clone() })
    }
}

/// Who may call the workloads that it selects. A workload that no policy selects refuses every caller; a selected one
/// allows what an allow rule matches and no deny rule matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AccessPolicy {
    /// Name, namespace, labels.
    pub meta: Meta,
    /// Whose workloads it selects; at least one of kind Service, Namespace or Mesh.
    pub targets: Vec<PolicyTarget>,
    /// The rules; none means that nobody may call.
    pub rules: Vec<AccessRule>,
}

/// One rule of an [`AccessPolicy`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AccessRule {
    /// Its name, unique in the policy, where it has one.
    pub name: Option<Name>,
    /// Whether a match allows or denies.
    pub action: AccessAction,
    /// Which callers it matches; at least one.
    pub from: Vec<Callers>,
    /// On which Service ports; empty for all.
    pub ports: Vec<Port>,
    /// Which requests it matches: any of these; empty for every request and every connection.
    pub matches: Vec<AccessMatch>,
}

/// Requests that a rule is about: all parts must match, and there is at least one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AccessMatch {
    /// One of these methods; empty for all but CONNECT, which opens a tunnel and must be named to be allowed.
    pub methods: Vec<HttpMethod>,
    /// On the normalized path, without the query.
    pub path: Option<PathMatch>,
    /// One of these hosts, in any of the ways to write a service's; empty for all.
    pub hosts: Vec<Host>,
    /// On headers, each name at most once.
    pub headers: Vec<HeaderMatch>,
}

/// Whether a rule's match allows or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum AccessAction {
    /// Allows, unless a deny rule matches too.
    Allow,
    /// Denies, whatever else matches.
    Deny,
}

/// A set of callers, each proven by its certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Callers {
    /// Anyone with an identity of a trusted domain.
    Anyone,
    /// Exactly this identity.
    Identity(SpiffeId),
    /// Every account of a namespace of the mesh's own trust domain.
    Namespace(Namespace),
    /// One account of a namespace of the mesh's own trust domain.
    Account(Namespace, AccountName),
}
