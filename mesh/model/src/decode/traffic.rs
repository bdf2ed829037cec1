//! TrafficPolicy's `spec`.
use super::{
    fields::{Context, Field, Fields},
    target,
};
use crate::{Balancing, Meta, TargetKind, TrafficPolicy};

pub(super) fn decode(cx: &mut Context, meta: Option<Meta>, spec: &Field<'_>) -> Option<TrafficPolicy> {
    let allowed = [TargetKind::Mesh, TargetKind::Namespace, TargetKind::Service, TargetKind::HttpRoute];
    let mut fields = Fields::open(cx, spec)?;
    let targets =
        fields.required(cx, "targetRefs").map(|targets| target::decode(cx, meta.as_ref(), &targets, &allowed));
    let balancing = fields.take("balancing").and_then(|balancing| {
        let mut fields = Fields::open(cx, &balancing)?;
        let policy = fields.required(cx, "policy");
        fields.finish(cx);
        policy?.choice(cx, &[("RoundRobin", Balancing::RoundRobin)])
    });
    let request_timeout = fields.take("timeouts").and_then(|timeouts| {
        let mut fields = Fields::open(cx, &timeouts)?;
        let request = fields.take("request").and_then(|request| request.duration(cx));
        fields.finish(cx);
        request
    });
    fields.finish(cx);
    Some(TrafficPolicy { meta: meta?, targets: targets?, balancing, request_timeout })
}
