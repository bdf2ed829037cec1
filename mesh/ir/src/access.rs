//! Who may call: what AccessPolicies compile to for one inbound chain.
use std::fmt;

use serde::Serialize;
use weft_model::{AccessAction, Host, HttpMethod, ObjectRef, PathMatch, SpiffeId, TrustDomain};

use crate::HeaderMatch;

/// The access rules of one inbound chain. Deny beats allow; no match refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Access {
    /// The policies that select the workload, ordered; a refusal names them, or says that there are none.
    pub policies: Vec<ObjectRef>,
    /// Their rules for this chain's port, deny rules first, each group ordered by name.
    pub rules: Vec<AccessRule>,
}

/// One rule: it matches what one of its callers asks for, if that is one of its requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AccessRule {
    /// Which rule of which policy this is.
    pub name: RuleName,
    /// What a match does.
    pub action: AccessAction,
    /// Whom it matches; at least one.
    pub callers: Vec<Caller>,
    /// Which requests it matches, any of these; empty for all, and for connections that carry something else.
    pub requests: Vec<RequestMatch>,
}

/// Requests that a rule is about: all parts must match.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RequestMatch {
    /// One of these methods; empty for all (to be allowed, a CONNECT must be named).
    pub methods: Vec<HttpMethod>,
    /// On the normalized path without its query.
    pub path: Option<PathMatch>,
    /// One of these hosts, in full ([`MeshNames::full_host`](crate::MeshNames::full_host)), ordered; empty for all.
    pub hosts: Vec<Host>,
    /// On headers, ordered by name.
    pub headers: Vec<HeaderMatch>,
}

/// A rule's name for people: `AccessPolicy shop/stock rule 0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RuleName {
    /// The policy.
    pub policy: ObjectRef,
    /// The rule's place in it, from zero.
    pub rule: u32,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.policy, self.rule)
    }
}

/// A set of identities.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Caller {
    /// Anyone whose certificate a trusted bundle vouches for.
    Anyone,
    /// Exactly this identity.
    Identity(SpiffeId),
    /// Every identity of a trust domain whose path starts with `/ns/<namespace>/sa/`.
    Namespace(TrustDomain, weft_model::Namespace),
}

impl Caller {
    /// Whether `id` is one of this set.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Anyone => true,
            Self::Identity(identity) => identity == id,
            Self::Namespace(domain, namespace) => id.is_of(domain) && id.is_in_namespace(namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_of_one_trust_domain_is_not_that_of_another() {
        let own = TrustDomain::default_domain();
        let shop = Caller::Namespace(own, "shop".parse().unwrap());
        for (id, matches) in [
            ("spiffe://weft.local/ns/shop/sa/web", true),
            ("spiffe://weft.local/ns/shopping/sa/web", false),
            ("spiffe://other.local/ns/shop/sa/web", false),
            ("spiffe://weft.local/ns/shop", false),
        ] {
            let id: SpiffeId = id.parse().unwrap();
            assert_eq!(shop.matches(&id), matches, "{id}");
            assert!(Caller::Anyone.matches(&id) && Caller::Identity(id.clone()).matches(&id));
        }
    }
}
