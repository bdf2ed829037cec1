//! Access rules as network RBAC filters: one that denies, then one that allows.
use std::collections::{BTreeMap, HashMap};

use weft_ir::{AccessRule, Caller, RuleName};
use weft_model::{AccessAction, Namespace, SpiffeId, TrustDomain};
use weft_proto::envoy::{
    config::{
        listener::v3::Filter,
        rbac::v3::{
            Permission, Policy, Principal, Rbac, permission::Rule, principal::Authenticated, principal::Identifier,
            rbac::Action,
        },
    },
    extensions::filters::network::rbac::v3::Rbac as RbacFilter,
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};

use super::{
    common::{parse, read_kind, safe_regex, shorten},
    fault::{Fault, Within, expect, fault, nothing_left},
    filters::{network_filter, open_filter},
};

const NAME: &str = "envoy.filters.network.rbac";

/// The filters of a chain's rules. The allowing one stands always: without a policy that matches it refuses, so that no
/// rule means that nobody may call. The denying one stands where there is something to deny.
pub(super) fn encode(rules: &[AccessRule]) -> Vec<Filter> {
    let deny = policies(rules, AccessAction::Deny);
    let deny = (!deny.is_empty()).then(|| filter(Action::Deny, deny));
    deny.into_iter().chain([filter(Action::Allow, policies(rules, AccessAction::Allow))]).collect()
}

/// Reads the rules back, and returns the filters that follow them.
pub(super) fn decode(filters: Vec<Filter>) -> Result<(Vec<AccessRule>, Vec<Filter>), Fault> {
    let mut filters = filters.into_iter().peekable();
    let mut rules = Vec::new();
    let mut at = 0;
    let mut last = None;
    while let Some(next) = filters.next_if(|filter| filter.name == NAME) {
        let (action, mut group) = decode_filter(next).within(format_args!("filters[{at}]"))?;
        let in_order = match (last, action) {
            (None, _) => true,
            (Some(AccessAction::Deny), AccessAction::Allow) => true,
            (Some(_), _) => false,
        };
        if !in_order {
            return Err(fault(&format!("filters[{at}]"), "one denying filter, then one allowing is expected"));
        }
        rules.append(&mut group);
        last = Some(action);
        at += 1;
    }
    // An absent filter is not an absent permission: without it Envoy lets everyone in.
    if last != Some(AccessAction::Allow) {
        return Err(fault("filters", "an RBAC filter that allows is missing"));
    }
    Ok((rules, filters.collect()))
}

fn policies(rules: &[AccessRule], action: AccessAction) -> HashMap<String, Policy> {
    let rules = rules.iter().filter(|rule| rule.action == action);
    rules.map(|AccessRule { name, action: _, callers }| (name.to_string(), policy(callers))).collect()
}

fn filter(action: Action, policies: HashMap<String, Policy>) -> Filter {
    network_filter(
        NAME,
        &RbacFilter {
            rules: Some(Rbac { action: action.into(), policies, ..Rbac::default() }),
            stat_prefix: "access".to_owned(),
            ..RbacFilter::default()
        },
    )
}

fn decode_filter(filter: Filter) -> Result<(AccessAction, Vec<AccessRule>), Fault> {
    let mut message: RbacFilter = open_filter(filter, NAME)?;
    message.stat_prefix.clear();
    let Some(mut rules) = message.rules.take() else { return Err(fault("rules", "it is missing")) };
    nothing_left(&message)?;
    let action = match Action::try_from(std::mem::take(&mut rules.action)) {
        Ok(Action::Allow) => AccessAction::Allow,
        Ok(Action::Deny) => AccessAction::Deny,
        Ok(Action::Log) | Err(_) => return Err(fault("rules.action", "only ALLOW and DENY are read")),
    };
    let policies = std::mem::take(&mut rules.policies);
    nothing_left(&rules).within("rules")?;
    if action == AccessAction::Deny && policies.is_empty() {
        return Err(fault("rules.policies", "a filter that denies nothing is not read"));
    }
    let mut group = BTreeMap::new();
    for (name, policy) in policies {
        let callers = decode_policy(policy).within(format_args!("rules.policies[{:?}]", shorten(&name)))?;
        let parsed = rule_name(&name).within("rules.policies")?;
        group.insert(parsed, callers);
    }
    Ok((action, group.into_iter().map(|(name, callers)| AccessRule { name, action, callers }).collect()))
}

/// Reads `<kind> <namespace>/<name> rule <number>`.
fn rule_name(text: &str) -> Result<RuleName, Fault> {
    let parts = || {
        let (kind, rest) = text.split_once(' ')?;
        let (namespace, rest) = rest.split_once('/')?;
        let (name, rule) = rest.split_once(" rule ")?;
        let policy = weft_model::ObjectRef {
            kind: read_kind(kind)?,
            namespace: namespace.parse().ok()?,
            name: name.parse().ok()?,
        };
        Some(RuleName { policy, rule: rule.parse().ok()? })
    };
    let name = parts().filter(|name| name.to_string() == text);
    name.ok_or_else(|| fault("", format!("{:?} is not a rule's name", shorten(text))))
}

fn policy(callers: &[Caller]) -> Policy {
    Policy {
        permissions: vec![Permission { rule: Some(Rule::Any(true)) }],
        principals: callers.iter().map(principal).collect(),
        ..Policy::default()
    }
}

fn decode_policy(mut policy: Policy) -> Result<Vec<Caller>, Fault> {
    let permissions = std::mem::take(&mut policy.permissions);
    expect("permissions", &permissions, &vec![Permission { rule: Some(Rule::Any(true)) }])?;
    let principals = std::mem::take(&mut policy.principals);
    nothing_left(&policy)?;
    if principals.is_empty() {
        return Err(fault("principals", "there is none"));
    }
    let callers = principals.into_iter().enumerate();
    callers.map(|(at, it)| decode_principal(it).within(format_args!("principals[{at}]"))).collect()
}

/// Whom a caller is on the wire: someone authenticated, by the URI in the certificate.
fn principal(caller: &Caller) -> Principal {
    let pattern = match caller {
        Caller::Anyone => None,
        Caller::Identity(id) => Some(MatchPattern::Exact(id.to_string())),
        Caller::Namespace(domain, namespace) => Some(MatchPattern::SafeRegex(safe_regex(&accounts(domain, namespace)))),
    };
    let principal_name =
        pattern.map(|pattern| StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() });
    Principal { identifier: Some(Identifier::Authenticated(Authenticated { principal_name })) }
}

fn decode_principal(principal: Principal) -> Result<Caller, Fault> {
    let Some(Identifier::Authenticated(Authenticated { principal_name })) = principal.identifier else {
        return Err(fault("authenticated", "it is missing, and only it is read"));
    };
    let Some(mut matcher) = principal_name else { return Ok(Caller::Anyone) };
    let pattern = matcher.match_pattern.take();
    nothing_left(&matcher).within("authenticated.principal_name")?;
    match pattern {
        Some(MatchPattern::Exact(id)) => {
            Ok(Caller::Identity(parse::<SpiffeId>("authenticated.principal_name.exact", &id)?))
        }
        Some(MatchPattern::SafeRegex(mut matcher)) => {
            let regex = std::mem::take(&mut matcher.regex);
            nothing_left(&matcher).within("authenticated.principal_name.safe_regex")?;
            of_namespace(&regex).ok_or_else(|| {
                fault("authenticated.principal_name.safe_regex", "only that of a namespace's accounts is read")
            })
        }
        Some(_) | None => Err(fault("authenticated.principal_name", "only exact and safe_regex are read")),
    }
}

/// Every account of a namespace. A trust domain's dots are the only characters of it that mean more than themselves.
fn accounts(domain: &TrustDomain, namespace: &Namespace) -> String {
    format!("spiffe://{}/ns/{namespace}/sa/[^/]+", domain.as_str().replace('.', r"\."))
}

fn of_namespace(regex: &str) -> Option<Caller> {
    let (domain, rest) = regex.strip_prefix("spiffe://")?.split_once("/ns/")?;
    let domain: TrustDomain = domain.replace(r"\.", ".").parse().ok()?;
    let namespace: Namespace = rest.strip_suffix("/sa/[^/]+")?.parse().ok()?;
    (accounts(&domain, &namespace) == regex).then_some(Caller::Namespace(domain, namespace))
}
