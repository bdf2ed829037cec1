//! What a client keeps beside what it is sent: where only additions are meant, and where an absence is not confirmed.
use std::sync::Arc;

use weft_ir::{Endpoints, Inbound, InboundChain, Listener, ListenerBody, Resource};

/// What is in effect when `sent` adds to `held`: all of both, and `sent`'s word on an endpoint of both. `None` where
/// that is as `held`, or where the two are not endpoints.
pub fn added_to(held: Option<&Resource>, sent: &Resource) -> Option<Resource> {
    let Resource::Endpoints(sent) = sent else { return None };
    let Some(Resource::Endpoints(held)) = held else { return Some(Resource::Endpoints(Arc::clone(sent))) };
    let workload = |endpoint: &weft_ir::Endpoint| endpoint.instance().map(|instance| instance.workload.clone());
    let place = |endpoint: &weft_ir::Endpoint| (workload(endpoint), endpoint.address);
    let missing = held.endpoints.iter().filter(|old| !sent.endpoints.iter().any(|new| place(new) == place(old)));
    let mut endpoints: Vec<_> = sent.endpoints.iter().chain(missing).cloned().collect();
    endpoints.sort_by_key(place);
    let whole = Endpoints { endpoints, ..Endpoints::clone(sent) };
    (whole != **held).then(|| Resource::Endpoints(whole.into()))
}

/// What is in effect of `sent` while absence counts for nothing: an inbound listener keeps the chains that it had and
/// `sent` lacks, and of the others the rules of policies that `sent` no longer names. What `sent` says itself holds at
/// once, whatever it refuses. `None` where that is as `sent`.
pub fn kept_with(held: &Resource, sent: &Resource) -> Option<Resource> {
    let (Resource::Listener(held), Resource::Listener(sent)) = (held, sent) else { return None };
    let (ListenerBody::Inbound(before), ListenerBody::Inbound(now)) = (&held.body, &sent.body) else { return None };
    let mut chains: Vec<_> = now
        .chains
        .iter()
        .map(|chain| match before.chains.iter().find(|it| it.service == chain.service) {
            Some(before) => with_rules_of(before, chain),
            None => chain.clone(),
        })
        .collect();
    let lost = before.chains.iter().filter(|it| !now.chains.iter().any(|chain| chain.service == it.service));
    chains.extend(lost.cloned());
    chains.sort_by(|a, b| a.service.cmp(&b.service));
    if chains == now.chains {
        return None;
    }
    let body = ListenerBody::Inbound(Inbound { chains, ..now.clone() });
    Some(Resource::Listener(Listener { body, ..Listener::clone(sent) }.into()))
}

/// The chain with the rules of the policies that `before` names and it does not.
fn with_rules_of(before: &InboundChain, chain: &InboundChain) -> InboundChain {
    let mut chain = chain.clone();
    let absent: Vec<_> = before.access.policies.iter().filter(|it| !chain.access.policies.contains(it)).collect();
    let rules = before.access.rules.iter().filter(|rule| absent.contains(&&rule.name.policy));
    chain.access.rules.extend(rules.cloned());
    chain.access.rules.sort_by(|a, b| {
        let denies = |rule: &weft_ir::AccessRule| rule.action == weft_model::AccessAction::Deny;
        denies(b).cmp(&denies(a)).then_with(|| a.name.cmp(&b.name))
    });
    chain.access.policies.extend(absent.into_iter().cloned());
    chain.access.policies.sort();
    chain
}

#[cfg(test)]
mod tests {
    use weft_ir::{Access, AccessRule, Caller, Endpoint, EndpointAddress, Health, Instance, Peer, RuleName};
    use weft_model::{AccessAction, Kind, ObjectRef, Port, Protocol, WorkloadRef};

    use super::*;

    fn workload(name: &str) -> WorkloadRef {
        WorkloadRef { namespace: "shop".parse().unwrap(), name: name.parse().unwrap() }
    }

    fn endpoints(instances: &[(&str, u16, Health)]) -> Resource {
        let endpoint = |(name, port, health): &(&str, u16, Health)| Endpoint {
            peer: Peer::Instance(Instance {
                workload: workload(name),
                identity: "spiffe://weft.local/ns/shop/sa/one".parse().unwrap(),
                network: "default".parse().unwrap(),
                cluster: "local".parse().unwrap(),
            }),
            address: EndpointAddress::Socket(([127, 0, 0, 1], *port).into()),
            locality: weft_model::Locality::default(),
            weight: 1,
            health: *health,
        };
        let name = "local/shop/web:80".parse().unwrap();
        Resource::Endpoints(Endpoints { name, endpoints: instances.iter().map(endpoint).collect() }.into())
    }

    #[test]
    fn additions_take_nothing_away_and_a_moved_instance_stands_at_both_places() {
        use Health::{Draining, Healthy};
        let held = endpoints(&[("a", 1, Healthy), ("b", 2, Healthy)]);
        assert_eq!(added_to(Some(&held), &endpoints(&[("a", 1, Healthy)])), None);
        assert_eq!(added_to(Some(&held), &endpoints(&[])), None);
        let more = added_to(Some(&held), &endpoints(&[("b", 2, Draining), ("b", 3, Healthy), ("c", 4, Healthy)]));
        let all = [("a", 1, Healthy), ("b", 2, Draining), ("b", 3, Healthy), ("c", 4, Healthy)];
        assert_eq!(more, Some(endpoints(&all)));
        assert_eq!(added_to(None, &held), Some(held));
    }

    fn policy(name: &str) -> ObjectRef {
        ObjectRef { kind: Kind::AccessPolicy, namespace: "shop".parse().unwrap(), name: name.parse().unwrap() }
    }

    /// A listener with chains by service, each with policies that have one rule each.
    fn listener(chains: &[(&str, &[(&str, AccessAction)])]) -> Resource {
        let chain = |(service, policies): &(&str, &[(&str, AccessAction)])| {
            let rule = |(name, action): &(&str, AccessAction)| AccessRule {
                name: RuleName { policy: policy(name), rule: 0 },
                action: *action,
                callers: vec![Caller::Anyone],
                requests: Vec::new(),
            };
            let mut rules: Vec<_> = policies.iter().map(rule).collect();
            rules.sort_by_key(|rule| rule.action != AccessAction::Deny);
            let mut policies: Vec<_> = policies.iter().map(|(name, _)| policy(name)).collect();
            policies.sort();
            InboundChain {
                sni: format!("80.{service}"),
                service: format!("local/shop/{service}:80").parse().unwrap(),
                host: format!("{service}.shop.svc.cluster.local").parse().unwrap(),
                protocol: Protocol::Http,
                application_port: Port::HTTP,
                access: Access { policies, rules },
            }
        };
        let chains = chains.iter().map(chain).collect();
        let body = ListenerBody::Inbound(Inbound { workload: workload("web-0"), chains });
        Resource::Listener(Listener { name: "inbound/shop/web-0".into(), body, origins: Vec::new() }.into())
    }

    #[test]
    fn an_absent_policy_or_service_narrows_nothing_and_a_present_rule_does() {
        use AccessAction::{Allow, Deny};
        let held = listener(&[("stock", &[("s", Allow)]), ("web", &[("a", Allow), ("b", Allow)])]);
        assert_eq!(kept_with(&held, &held), None);
        assert_eq!(kept_with(&held, &listener(&[])), Some(held.clone()), "an empty store");
        // `a` is gone; `b` now denies: that holds at once.
        let sent = listener(&[("web", &[("b", Deny)])]);
        let expected = listener(&[("stock", &[("s", Allow)]), ("web", &[("a", Allow), ("b", Deny)])]);
        assert_eq!(kept_with(&held, &sent), Some(expected));
        // What is new beside all that was there is as it is sent.
        let sent = listener(&[("stock", &[("s", Allow)]), ("web", &[("a", Allow), ("b", Allow), ("c", Deny)])]);
        assert_eq!(kept_with(&held, &sent), None);
    }
}
