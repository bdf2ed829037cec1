//! Access rules as RBAC filters: one that denies, then one that allows. Of connections where bytes are carried, of requests
//! where HTTP is spoken, since there each request is judged by itself and refused with an answer.
use std::collections::{BTreeMap, HashMap};

use weft_ir::{AccessRule, Caller, RequestMatch, RuleName};
use weft_model::{AccessAction, Namespace, SpiffeId, TrustDomain};
use weft_proto::envoy::{
    config::{
        listener::v3::Filter,
        rbac::v3::{Policy, Principal, Rbac, principal::Authenticated, principal::Identifier, rbac::Action},
    },
    extensions::filters::{
        http::rbac::v3::Rbac as HttpRbac,
        network::{http_connection_manager::v3::HttpFilter, rbac::v3::Rbac as NetworkRbac},
    },
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};

use super::{
    common::{parse, read_kind, safe_regex, shorten},
    fault::{Fault, Within, fault, nothing_left},
    filters::{http_filter, network_filter, open_filter, open_http_filter},
    permission,
};

const NETWORK: &str = "envoy.filters.network.rbac";
const HTTP: &str = "envoy.filters.http.rbac";
const STAT_PREFIX: &str = "access";

/// The filters of a chain that carries bytes. The allowing one stands always: without a policy that matches it refuses, so
/// that no rule means that nobody may call. The denying one stands where there is something to deny.
pub(super) fn encode(rules: &[AccessRule]) -> Vec<Filter> {
    // What a rule says of requests is not seen here: see `weft_decide::permit`.
    let seen = rules.iter().filter(|rule| rule.requests.is_empty() || rule.action == AccessAction::Deny);
    let rules: Vec<_> = seen.map(|rule| AccessRule { requests: Vec::new(), ..rule.clone() }).collect();
    let filter = |rules| {
        network_filter(
            NETWORK,
            &NetworkRbac { rules: Some(rules), stat_prefix: STAT_PREFIX.to_owned(), ..NetworkRbac::default() },
        )
    };
    groups(&rules).into_iter().map(filter).collect()
}

/// The filters of a chain that speaks HTTP, in the same order.
pub(super) fn encode_http(rules: &[AccessRule]) -> Vec<HttpFilter> {
    let filter = |rules| http_filter(HTTP, &HttpRbac { rules: Some(rules), ..HttpRbac::default() });
    groups(rules).into_iter().map(filter).collect()
}

/// Reads the rules of connections back, and returns the filters that follow them.
pub(super) fn decode(filters: Vec<Filter>) -> Result<(Vec<AccessRule>, Vec<Filter>), Fault> {
    let (ours, rest) = leading(filters, |filter| filter.name == NETWORK);
    let rules = read(ours, |filter| {
        let mut message: NetworkRbac = open_filter(filter, NETWORK)?;
        message.stat_prefix.clear();
        let rules = message.rules.take();
        nothing_left(&message)?;
        rules.ok_or_else(|| fault("rules", "it is missing"))
    })?;
    match rules.iter().position(|rule| !rule.requests.is_empty()) {
        Some(_) => Err(fault("filters", "a rule about requests, where bytes are carried")),
        None => Ok((rules, rest)),
    }
}

/// Reads the rules of requests back, and returns the filters that follow them.
pub(super) fn decode_http(filters: Vec<HttpFilter>) -> Result<(Vec<AccessRule>, Vec<HttpFilter>), Fault> {
    let (ours, rest) = leading(filters, |filter| filter.name == HTTP);
    let rules = read(ours, |filter| {
        let mut message: HttpRbac = open_http_filter(filter, HTTP)?;
        let rules = message.rules.take();
        nothing_left(&message)?;
        rules.ok_or_else(|| fault("rules", "it is missing"))
    })?;
    Ok((rules, rest))
}

fn groups(rules: &[AccessRule]) -> Vec<Rbac> {
    let group = |action: AccessAction, as_action: Action| Rbac {
        action: as_action.into(),
        policies: policies(rules, action),
        ..Rbac::default()
    };
    let deny = group(AccessAction::Deny, Action::Deny);
    let deny = (!deny.policies.is_empty()).then_some(deny);
    deny.into_iter().chain([group(AccessAction::Allow, Action::Allow)]).collect()
}

fn policies(rules: &[AccessRule], action: AccessAction) -> HashMap<String, Policy> {
    let rules = rules.iter().filter(|rule| rule.action == action);
    rules.map(|rule| (rule.name.to_string(), policy(rule))).collect()
}

/// The filters as long as they are ours, and the others.
fn leading<F>(filters: Vec<F>, is_ours: impl Fn(&F) -> bool) -> (Vec<F>, Vec<F>) {
    let mut filters = filters.into_iter().peekable();
    let ours = std::iter::from_fn(|| filters.next_if(&is_ours)).collect();
    (ours, filters.collect())
}

fn read<F>(filters: Vec<F>, open: impl Fn(F) -> Result<Rbac, Fault>) -> Result<Vec<AccessRule>, Fault> {
    let (mut rules, mut last) = (Vec::new(), None);
    for (at, filter) in filters.into_iter().enumerate() {
        let (action, mut group) = open(filter).and_then(decode_rules).within(format_args!("filters[{at}]"))?;
        let in_order = matches!((last, action), (None, _) | (Some(AccessAction::Deny), AccessAction::Allow));
        if !in_order {
            return Err(fault(&format!("filters[{at}]"), "one denying filter, then one allowing is expected"));
        }
        rules.append(&mut group);
        last = Some(action);
    }
    // An absent filter is not an absent permission: without it Envoy lets everyone in.
    if last != Some(AccessAction::Allow) {
        return Err(fault("filters", "an RBAC filter that allows is missing"));
    }
    Ok(rules)
}

fn decode_rules(mut rules: Rbac) -> Result<(AccessAction, Vec<AccessRule>), Fault> {
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
        let said = decode_policy(policy).within(format_args!("rules.policies[{:?}]", shorten(&name)))?;
        let parsed = rule_name(&name).within("rules.policies")?;
        group.insert(parsed, said);
    }
    let rule = |(name, (callers, requests))| AccessRule { name, action, callers, requests };
    Ok((action, group.into_iter().map(rule).collect()))
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

fn policy(AccessRule { name: _, action: _, callers, requests }: &AccessRule) -> Policy {
    Policy {
        permissions: permission::encode(requests),
        principals: callers.iter().map(principal).collect(),
        ..Policy::default()
    }
}

fn decode_policy(mut policy: Policy) -> Result<(Vec<Caller>, Vec<RequestMatch>), Fault> {
    let requests = permission::decode(std::mem::take(&mut policy.permissions))?;
    let principals = std::mem::take(&mut policy.principals);
    nothing_left(&policy)?;
    if principals.is_empty() {
        return Err(fault("principals", "there is none"));
    }
    let callers = principals.into_iter().enumerate();
    let callers = callers.map(|(at, it)| decode_principal(it).within(format_args!("principals[{at}]")));
    Ok((callers.collect::<Result<_, _>>()?, requests))
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
