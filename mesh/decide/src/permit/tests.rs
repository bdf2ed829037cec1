use weft_ir::{Access, Caller};
use weft_model::Kind;

use super::*;
use crate::testing::{chain, held, identity, inbound, object, rule, scope};

fn policies(names: &[&str]) -> Vec<ObjectRef> {
    names.iter().map(|name| object(Kind::AccessPolicy, name)).collect()
}

#[test]
fn a_workload_that_no_policy_selects_refuses_everyone_and_says_so() {
    let chain = held("stock", Access::default());
    let denied = permit(chain.get(), &identity("web")).unwrap_err();
    assert_eq!(denied.to_string(), "no AccessPolicy selects shop/stock");
}

#[test]
fn what_no_rule_allows_is_refused_with_the_policies_that_select_the_workload() {
    let allow = rule("one", 0, AccessAction::Allow, vec![Caller::Identity(identity("catalog"))]);
    let chain = held("stock", Access { policies: policies(&["one", "two"]), rules: vec![allow] });
    let denied = permit(chain.get(), &identity("web")).unwrap_err().to_string();
    assert!(denied.contains("AccessPolicy shop/one, AccessPolicy shop/two"), "{denied}");
    assert!(denied.contains("spiffe://weft.local/ns/shop/sa/web"), "{denied}");
}

#[test]
fn an_allow_rule_is_named_by_the_permit() {
    let rules = vec![
        rule("one", 0, AccessAction::Allow, vec![Caller::Identity(identity("catalog"))]),
        rule("one", 1, AccessAction::Allow, vec![Caller::Identity(identity("a")), Caller::Identity(identity("web"))]),
    ];
    let chain = held("stock", Access { policies: policies(&["one"]), rules });
    let admitted = permit(chain.get(), &identity("web")).unwrap();
    assert_eq!(admitted.permit().rule().unwrap().to_string(), "AccessPolicy shop/one rule 1");
    assert_eq!(admitted.chain().service, chain.get().ir().service);
}

#[test]
fn a_deny_rule_wins_wherever_it_stands() {
    let allow = rule("one", 0, AccessAction::Allow, vec![Caller::Anyone]);
    let deny = rule("two", 3, AccessAction::Deny, vec![Caller::Identity(identity("web"))]);
    for rules in [vec![allow.clone(), deny.clone()], vec![deny, allow]] {
        let chain = held("stock", Access { policies: policies(&["one", "two"]), rules });
        let denied = permit(chain.get(), &identity("web")).unwrap_err();
        assert!(matches!(&denied, Denied::Rule { rule, .. } if rule.rule == 3), "{denied}");
        assert!(denied.to_string().contains("AccessPolicy shop/two rule 3 denies"), "{denied}");
        assert!(permit(chain.get(), &identity("catalog")).is_ok());
    }
}

#[test]
fn a_namespace_of_another_trust_domain_is_another_namespace() {
    let caller = Caller::Namespace("weft.local".parse().unwrap(), "shop".parse().unwrap());
    let allow = rule("one", 0, AccessAction::Allow, vec![caller]);
    let chain = held("stock", Access { policies: policies(&["one"]), rules: vec![allow] });
    assert!(permit(chain.get(), &identity("web")).is_ok());
    assert!(permit(chain.get(), &"spiffe://other/ns/shop/sa/web".parse().unwrap()).is_err());
    assert!(permit(chain.get(), &"spiffe://weft.local/ns/shop2/sa/web".parse().unwrap()).is_err());
}

#[test]
fn an_open_connection_ends_by_the_policies_that_are_there_and_never_by_what_is_absent() {
    let allow = |account| rule("one", 0, AccessAction::Allow, vec![Caller::Identity(identity(account))]);
    let deny = rule("two", 0, AccessAction::Deny, vec![Caller::Anyone]);
    let access = |rules| Access { policies: policies(&["one"]), rules };
    let later = |chains: Option<Access>| {
        let chains = chains.map(|access| inbound(vec![chain("stock", access)]));
        Snapshot::complete(scope(), "8", chains).unwrap()
    };
    let sni = chain("stock", Access::default()).sni;
    for (access, goes_on) in [
        (None, true),
        (Some(Access::default()), true),
        (Some(access(vec![allow("web")])), true),
        (Some(access(vec![allow("cart")])), false),
        (Some(access(Vec::new())), false),
        (Some(access(vec![deny, allow("web")])), false),
    ] {
        assert_eq!(repermit(&later(access.clone()), &sni, &identity("web"), None).is_ok(), goes_on, "{access:?}");
    }
}
