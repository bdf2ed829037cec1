//! The only place where a [`Permit`] is made.
use serde::Serialize;
use weft_ir::{AccessRule, InboundChain, RuleName};
use weft_model::{AccessAction, Name, Namespace, ObjectRef, SpiffeId};

use crate::{
    Answers, Chain, KeptRequest, Normal, OwnAnswer, Routed, Snapshot,
    access::{self, Asked},
};

/// How many rules a refusal names that allow the caller something else.
const MAX_TOLD: usize = 4;

/// Proof that access was checked, of one chain or route. It cannot be made or changed outside of this module.
#[derive(Clone, Copy, Debug)]
pub struct Permit<'s> {
    rule: Option<&'s RuleName>,
    sealed: (),
}

impl<'s> Permit<'s> {
    /// The rule that allowed it; `None` on the outbound side, which nothing narrows.
    pub fn rule(&self) -> Option<&'s RuleName> {
        let Self { rule, sealed: () } = *self;
        rule
    }
}

/// Why a caller is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum Denied {
    /// No policy selects the workload, so nobody may call it.
    #[error("no AccessPolicy selects {namespace}/{service}")]
    NoPolicy {
        /// The called service's namespace.
        namespace: Namespace,
        /// The called service.
        service: Name,
    },
    /// Policies select the workload and none of their rules allows this caller.
    #[error("no rule allows {caller} to call {namespace}/{service}{}, which {} selects", other(others), list(policies))]
    NoRule {
        /// The caller.
        caller: SpiffeId,
        /// The called service's namespace.
        namespace: Namespace,
        /// The called service.
        service: Name,
        /// The policies that select the workload, ordered.
        policies: Vec<ObjectRef>,
        /// Rules that allow the caller other requests: the first few.
        others: Vec<RuleName>,
    },
    /// A deny rule matches.
    #[error("{rule} denies {caller} to call {namespace}/{service}, which {} selects", list(policies))]
    Rule {
        /// The caller.
        caller: SpiffeId,
        /// The called service's namespace.
        namespace: Namespace,
        /// The called service.
        service: Name,
        /// The rule.
        rule: Box<RuleName>,
        /// The policies that select the workload, ordered.
        policies: Vec<ObjectRef>,
    },
}

fn list(policies: &[ObjectRef]) -> String {
    policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn other(rules: &[RuleName]) -> String {
    match rules {
        [] => String::new(),
        rules => {
            let names: Vec<_> = rules.iter().map(ToString::to_string).collect();
            format!(" by this request (other requests: {})", names.join(", "))
        }
    }
}

/// A connection that may use an inbound chain.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<'s> {
    chain: &'s InboundChain,
    permit: Permit<'s>,
}

impl<'s> Admitted<'s> {
    /// The chain.
    pub fn chain(&self) -> &'s InboundChain {
        self.chain
    }

    /// What allows it.
    pub fn permit(&self) -> Permit<'s> {
        self.permit
    }
}

/// A routed request or connection that may go out.
#[derive(Clone, Copy, Debug)]
pub struct Permitted<'s> {
    routed: Routed<'s>,
    permit: Permit<'s>,
}

impl<'s> Permitted<'s> {
    /// What was permitted.
    pub fn routed(&self) -> &Routed<'s> {
        &self.routed
    }

    /// What allows it.
    pub fn permit(&self) -> Permit<'s> {
        self.permit
    }
}

/// A request that may have its route's own answer.
#[derive(Clone, Copy, Debug)]
pub struct PermittedAnswer<'s> {
    answers: Answers<'s>,
    permit: Permit<'s>,
}

impl PermittedAnswer<'_> {
    /// What allows it.
    pub fn permit(&self) -> Permit<'_> {
        self.permit
    }

    /// The answer.
    pub fn answer(&self, request: &Normal<'_>) -> OwnAnswer {
        self.answers.answer(request)
    }
}

/// Whether `caller` may open a connection to an inbound chain that carries bytes: no deny rule matches and an allow rule
/// does. Deny wins whatever the order.
///
/// # Errors
/// Who refuses: no policy at all, no rule, or the deny rule.
pub fn permit<'s>(chain: Chain<'s>, caller: &SpiffeId) -> Result<Admitted<'s>, Denied> {
    judge(chain, caller, None)
}

/// Whether `caller` may make a request of an inbound chain: no deny rule matches it and an allow rule does. Deny wins
/// whatever the order.
///
/// # Errors
/// Who refuses: no policy at all, no rule, or the deny rule.
pub fn permit_request<'s>(chain: Chain<'s>, caller: &SpiffeId, request: &Normal<'_>) -> Result<Admitted<'s>, Denied> {
    judge(chain, caller, Some(request))
}

fn judge<'s>(chain: Chain<'s>, caller: &SpiffeId, request: Option<&Normal<'_>>) -> Result<Admitted<'s>, Denied> {
    let InboundChain { service, access, .. } = chain.ir();
    let namespace = || service.namespace.clone();
    let service = || service.service.clone();
    if access.policies.is_empty() {
        return Err(Denied::NoPolicy { namespace: namespace(), service: service() });
    }
    let request = request.map(|request| Asked::of(request, chain.lane()));
    let of_caller = |action| {
        let rules = chain.rules().filter(move |(rule, _)| rule.action == action);
        rules.filter(|(rule, _)| rule.callers.iter().any(|callers| callers.matches(caller)))
    };
    let first = |action| of_caller(action).find(|(rule, patterns)| access::matches(rule, patterns, request.as_ref()));
    if let Some((rule, _)) = first(AccessAction::Deny) {
        return Err(Denied::Rule {
            caller: caller.clone(),
            namespace: namespace(),
            service: service(),
            rule: Box::new(rule.name.clone()),
            policies: access.policies.clone(),
        });
    }
    match first(AccessAction::Allow) {
        Some((rule, _)) => Ok(Admitted { chain: chain.ir(), permit: Permit { rule: Some(&rule.name), sealed: () } }),
        None => Err(Denied::NoRule {
            caller: caller.clone(),
            namespace: namespace(),
            service: service(),
            policies: access.policies.clone(),
            others: of_caller(AccessAction::Allow).take(MAX_TOLD).map(|(rule, _)| rule.name.clone()).collect(),
        }),
    }
}

/// Whether there may be a connection or request of `caller` that a chain permits, whatever it would have to ask for.
pub fn may_call(chain: &InboundChain, caller: &SpiffeId) -> bool {
    let any = |is: fn(&AccessRule) -> bool| {
        let mut rules = chain.access.rules.iter().filter(|rule| is(rule));
        rules.any(|rule| rule.callers.iter().any(|callers| callers.matches(caller)))
    };
    any(|rule| rule.action == AccessAction::Allow)
        && !any(|rule| rule.action == AccessAction::Deny && rule.requests.is_empty())
}

/// Whether an open connection may go on under a later snapshot: the question that [`permit`] or, for what a request has
/// opened, [`permit_request`] answered when it began, put again. What is not there narrows nothing (a chain that is gone, a
/// workload that no policy selects any more): it may have been lost rather than taken away, and refuses new connections
/// only.
///
/// # Errors
/// The policies that are there and do not allow it.
pub fn repermit(
    snapshot: &Snapshot,
    server_name: &str,
    caller: &SpiffeId,
    opened_by: Option<&KeptRequest>,
) -> Result<(), Denied> {
    let Some(chain) = snapshot.chain(server_name) else { return Ok(()) };
    let judged = match opened_by {
        Some(request) => request.read(|request| judge(chain, caller, Some(request)).map(drop)),
        None => judge(chain, caller, None).map(drop),
    };
    match judged {
        Ok(()) | Err(Denied::NoPolicy { .. }) => Ok(()),
        Err(denied @ (Denied::NoRule { .. } | Denied::Rule { .. })) => Err(denied),
    }
}

/// Permits what goes out. The called side decides who may call it; nothing narrows the calling side yet.
pub fn permit_outbound(routed: Routed<'_>) -> Permitted<'_> {
    Permitted { routed, permit: Permit { rule: None, sealed: () } }
}

/// Permits a route's own answer, as what goes out.
pub fn permit_answer(answers: Answers<'_>) -> PermittedAnswer<'_> {
    PermittedAnswer { answers, permit: Permit { rule: None, sealed: () } }
}

#[cfg(test)]
mod tests;
