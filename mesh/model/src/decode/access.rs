//! AccessPolicy's `spec`.
mod requests;

use std::collections::HashMap;

use super::{
    fields::{Context, Field, Fields, shorten},
    target,
};
use crate::{
    AccessAction, AccessPolicy, AccessRule, AccountName, Callers, Code, Meta, Name, Namespace, Port, SpiffeId,
    TargetKind,
};

const MAX_RULES: usize = 256;
const MAX_CALLERS: usize = 1024;
const MAX_PORTS: usize = 256;

/// The forms that an entry of `from` may have.
const FORMS: &str =
    "write one of `anyone: true`, `identity: spiffe://…`, `namespace: …`, `namespace: …` with `account: …`";

pub(super) fn decode(cx: &mut Context, meta: Option<Meta>, spec: &Field<'_>) -> Option<AccessPolicy> {
    let allowed = [TargetKind::Mesh, TargetKind::Namespace, TargetKind::Service];
    let mut fields = Fields::open(cx, spec)?;
    let targets =
        fields.required(cx, "targetRefs").map(|targets| target::decode(cx, meta.as_ref(), &targets, &allowed));
    let rules = fields.take("rules").map(|rules| self::rules(cx, &rules)).unwrap_or_default();
    fields.finish(cx);
    Some(AccessPolicy { meta: meta?, targets: targets?, rules })
}

fn rules(cx: &mut Context, field: &Field<'_>) -> Vec<AccessRule> {
    let mut first = HashMap::new();
    let mut rules = Vec::new();
    for item in field.items(cx, 0..=MAX_RULES) {
        let Some(rule) = rule(cx, &item) else { continue };
        if let Some(name) = &rule.name
            && let Some(line) = first.insert(name.clone(), item.node.line)
        {
            let field = Field { node: item.node, path: item.path.key("name") };
            let found = format!("the rule name {:?} stands twice", name.as_str());
            field.report(cx, Code::Duplicate, found, Some(format!("the first is on line {line}")));
        }
        rules.push(rule);
    }
    rules
}

fn rule(cx: &mut Context, item: &Field<'_>) -> Option<AccessRule> {
    let mut fields = Fields::open(cx, item)?;
    let name = fields.take("name").and_then(|name| name.parsed::<Name>(cx));
    let actions = [("Allow", AccessAction::Allow), ("Deny", AccessAction::Deny)];
    let action = fields.required(cx, "action").and_then(|action| action.choice(cx, &actions));
    let from = fields.required(cx, "from").map(|from| {
        let items = from.items(cx, 1..=MAX_CALLERS);
        items.iter().filter_map(|item| callers(cx, item)).collect::<Vec<_>>()
    });
    let ports = fields.take("ports").map(|ports| self::ports(cx, &ports)).unwrap_or_default();
    let matches = fields.take("matches").map(|matches| requests::decode(cx, &matches)).unwrap_or_default();
    fields.finish(cx);
    Some(AccessRule { name, action: action?, from: from?, ports, matches })
}

fn callers(cx: &mut Context, item: &Field<'_>) -> Option<Callers> {
    let mut fields = Fields::open(cx, item)?;
    let anyone = fields.take("anyone");
    let identity = fields.take("identity");
    let namespace = fields.take("namespace");
    let account = fields.take("account");
    fields.finish(cx);
    match (anyone, identity, namespace, account) {
        (Some(anyone), None, None, None) => {
            if anyone.boolean(cx)? {
                return Some(Callers::Anyone);
            }
            anyone.invalid(cx, "`anyone: false` matches nobody", FORMS);
            None
        }
        (None, Some(identity), None, None) => self::identity(cx, &identity).map(Callers::Identity),
        (None, None, Some(namespace), account) => {
            let namespace = namespace.parsed::<Namespace>(cx);
            let account = account.map(|account| account.parsed::<AccountName>(cx));
            Some(match account {
                None => Callers::Namespace(namespace?),
                Some(account) => Callers::Account(namespace?, account?),
            })
        }
        (None, None, None, Some(_)) => {
            let hint = "an account is named with its namespace".to_owned();
            cx.report(
                item.node.line,
                &item.path.key("namespace"),
                Code::MissingField,
                "the field is required",
                Some(hint),
            );
            None
        }
        (None, None, None, None) => {
            item.report(cx, Code::MissingField, "the entry names no caller", Some(FORMS.to_owned()));
            None
        }
        _ => {
            item.invalid(cx, "the entry has more than one form", FORMS);
            None
        }
    }
}

fn identity(cx: &mut Context, field: &Field<'_>) -> Option<SpiffeId> {
    let text = field.text(cx)?;
    let parsed = text.parse::<SpiffeId>();
    if let Err(error) = &parsed {
        let found = format!("{:?} is not a SPIFFE ID: {error}", shorten(text));
        field.invalid(cx, found, "write spiffe://<trust domain>/ns/<namespace>/sa/<account>");
    }
    parsed.ok()
}

fn ports(cx: &mut Context, field: &Field<'_>) -> Vec<Port> {
    let mut first = HashMap::new();
    let mut ports = Vec::new();
    // An empty list would mean every port, the opposite of what it says.
    for item in field.items(cx, 1..=MAX_PORTS) {
        let Some(port) = item.port(cx) else { continue };
        if let Some(line) = first.insert(port, item.node.line) {
            let hint = format!("the first is on line {line}");
            item.report(cx, Code::Duplicate, format!("the port {port} stands twice"), Some(hint));
        }
        ports.push(port);
    }
    ports
}
