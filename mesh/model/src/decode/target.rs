//! `targetRefs` of policies.
use std::collections::HashMap;

use super::fields::{Context, Field, Fields, shorten};
use crate::{Code, Meta, Name, Namespace, PolicyTarget, TargetKind};

/// The most targets of a policy, as of the Gateway API's own policies.
const MAX_TARGETS: usize = 16;

/// What the policy's targets may be.
const KINDS: [(&str, TargetKind); 5] = [
    ("Mesh", TargetKind::Mesh),
    ("Namespace", TargetKind::Namespace),
    ("Service", TargetKind::Service),
    ("HTTPRoute", TargetKind::HttpRoute),
    ("GRPCRoute", TargetKind::GrpcRoute),
];

/// The targets of a policy; those of a kind that is not in `allowed` are reported.
pub(super) fn decode(
    cx: &mut Context,
    meta: Option<&Meta>,
    field: &Field<'_>,
    allowed: &[TargetKind],
) -> Vec<PolicyTarget> {
    let choices: Vec<_> = KINDS.into_iter().filter(|(_, kind)| allowed.contains(kind)).collect();
    let mut first = HashMap::new();
    let mut targets = Vec::new();
    for item in field.items(cx, 1..=MAX_TARGETS) {
        let Some(target) = target(cx, meta, &item, &choices) else { continue };
        if let Some(line) = first.insert(target.clone(), item.node.line) {
            item.report(cx, Code::Duplicate, "the target stands twice", Some(format!("the first is on line {line}")));
        }
        targets.push(target);
    }
    targets
}

fn target(
    cx: &mut Context,
    meta: Option<&Meta>,
    item: &Field<'_>,
    choices: &[(&'static str, TargetKind)],
) -> Option<PolicyTarget> {
    let mut fields = Fields::open(cx, item)?;
    let group = fields.take("group");
    let kind_field = fields.required(cx, "kind");
    let kind = kind_field.as_ref().and_then(|kind| kind.choice(cx, choices));
    let name_field = fields.take("name");
    let section_field = fields.take("sectionName");
    if let Some(namespace) = fields.take_unknown("namespace") {
        let hint = "remove it: a policy targets its own namespace only";
        namespace.report(cx, Code::UnknownField, "a target has no namespace", Some(hint.to_owned()));
    }
    if kind.is_none_or(|kind| kind == TargetKind::Service || kind.is_route()) && name_field.is_none() {
        fields.missing(cx, "name", None);
    }
    fields.finish(cx);
    let name = name_field.as_ref().map(|name| name.parsed::<Name>(cx));
    let section = section_field.as_ref().map(|section| section.parsed::<Name>(cx));
    let kind = kind?;
    check_group(cx, group.as_ref(), kind);
    if let Some(section) = &section_field
        && !kind.is_route()
    {
        let hint = "remove it: only a route's rule is named by sectionName";
        section.report(
            cx,
            Code::UnsupportedField,
            "weft does not implement sections of this kind",
            Some(hint.to_owned()),
        );
    }
    let section = section.flatten();
    let own = meta?.namespace.clone();
    match kind {
        TargetKind::Mesh => {
            if own != Namespace::system() {
                let found = format!("a policy in namespace {own} cannot target the mesh");
                kind_field?.invalid(cx, found, "move the policy to the namespace weft-system");
            }
            let name = fixed_name(cx, name_field.as_ref(), name, "mesh", "the mesh's name is `mesh`")?;
            Some(PolicyTarget { kind, namespace: None, name, section: None })
        }
        TargetKind::Namespace => {
            let hint = "a policy targets its own namespace only";
            let name = fixed_name(cx, name_field.as_ref(), name, own.as_str(), hint)?;
            Some(PolicyTarget { kind, namespace: Some(own), name, section: None })
        }
        TargetKind::Service | TargetKind::HttpRoute | TargetKind::GrpcRoute => {
            Some(PolicyTarget { kind, namespace: Some(own), name: name??, section })
        }
    }
}

/// The name of a target that has only one; a finding where another is written.
fn fixed_name(
    cx: &mut Context,
    field: Option<&Field<'_>>,
    written: Option<Option<Name>>,
    only: &str,
    hint: &str,
) -> Option<Name> {
    let written = match written {
        Some(written) => written?,
        None => return only.parse().ok(),
    };
    if written.as_str() != only
        && let Some(field) = field
    {
        field.invalid(cx, format!("{:?} is not {only:?}", shorten(written.as_str())), hint);
    }
    Some(written)
}

/// The group may be left out, because the kind tells it.
fn check_group(cx: &mut Context, field: Option<&Field<'_>>, kind: TargetKind) {
    let expected = match kind {
        TargetKind::Mesh => "weft.dev",
        TargetKind::Namespace | TargetKind::Service => "",
        TargetKind::HttpRoute | TargetKind::GrpcRoute => "gateway.networking.k8s.io",
    };
    if let Some(field) = field
        && let Some(text) = field.text(cx)
        && text != expected
    {
        let found = format!("the kind is not of the group {:?}", shorten(text));
        field.invalid(cx, found, &format!("write `group: {expected:?}`"));
    }
}
