//! AccessPolicies: which rules hold for which chain.
use weft_ir::{Access, Caller};
use weft_model::{AccessAction, Kind};

use crate::support::{Mesh, service, workload};

fn policy(namespace: &str, name: &str, target: &str, rules: &str) -> String {
    format!(
        "
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{targetRefs: [{{{target}}}], rules: [{rules}]}}
"
    )
}

fn access(mesh: &Mesh) -> Access {
    mesh.inbound("shop/web-1").chains[0].access.clone()
}

const SERVICE: &str = "group: '', kind: Service, name: web";

#[test]
fn rules_of_every_selecting_policy_hold_with_denials_first() {
    let mut mesh = Mesh::of(&(service("web") + &workload("web", 1)));
    mesh.put(&policy("shop", "b", SERVICE, "{action: Allow, from: [{namespace: shop, account: cart}]}"));
    mesh.put(&policy(
        "shop",
        "a",
        "group: '', kind: Namespace, name: shop",
        "{action: Allow, from: [{namespace: shop}, {anyone: true}]}, {action: Deny, from: [{namespace: lab}]}",
    ));
    let everywhere = "group: weft.dev, kind: Mesh, name: mesh";
    mesh.put(&policy("weft-system", "m", everywhere, "{action: Deny, from: [{identity: 'spiffe://x/y'}]}"));
    let access = access(&mesh);
    let policies: Vec<_> = access.policies.iter().map(ToString::to_string).collect();
    assert_eq!(policies, ["AccessPolicy shop/a", "AccessPolicy shop/b", "AccessPolicy weft-system/m"]);
    let rules: Vec<_> = access.rules.iter().map(|rule| (rule.action, rule.name.to_string())).collect();
    let expected = [
        (AccessAction::Deny, "AccessPolicy shop/a rule 1"),
        (AccessAction::Deny, "AccessPolicy weft-system/m rule 0"),
        (AccessAction::Allow, "AccessPolicy shop/a rule 0"),
        (AccessAction::Allow, "AccessPolicy shop/b rule 0"),
    ];
    assert_eq!(rules, expected.map(|(action, name)| (action, name.to_owned())));
    let cart = Caller::Identity("spiffe://weft.local/ns/shop/sa/cart".parse().unwrap());
    assert_eq!(access.rules[3].callers, [cart]);
    assert_eq!(access.rules[2].callers.len(), 2);
}

#[test]
fn a_policy_without_a_rule_for_the_port_still_selects() {
    let mut mesh = Mesh::of(&(service("web") + &workload("web", 1)));
    mesh.put(&policy("shop", "a", SERVICE, "{action: Allow, from: [{anyone: true}], ports: [81]}"));
    let access = access(&mesh);
    assert_eq!((access.policies.len(), access.rules.len()), (1, 0));
}

#[test]
fn a_policy_of_one_service_does_not_open_another_with_the_same_workloads() {
    let second = service("admin").replace("app: admin", "app: web");
    let mut mesh = Mesh::of(&(service("web") + &second + &workload("web", 1)));
    mesh.put(&policy("shop", "a", SERVICE, "{action: Allow, from: [{anyone: true}]}"));
    let chains = mesh.inbound("shop/web-1").chains;
    let open: Vec<_> = chains.iter().map(|chain| (chain.service.service.as_str(), chain.access.rules.len())).collect();
    assert_eq!(open, [("admin", 0), ("web", 1)]);
}

#[test]
fn a_policy_goes_with_its_last_rule() {
    let mut mesh = Mesh::of(&(service("web") + &workload("web", 1)));
    mesh.put(&policy("shop", "a", SERVICE, "{action: Allow, from: [{anyone: true}]}"));
    let changed = mesh.delete(Kind::AccessPolicy, "shop", "a");
    let keys: Vec<_> = changed.updated.iter().map(ToString::to_string).collect();
    assert_eq!(keys, ["listener inbound/shop/web-1"]);
    assert!(access(&mesh).policies.is_empty());
}
