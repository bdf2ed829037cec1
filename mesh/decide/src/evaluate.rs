//! Whole decisions as plain, comparable data: what tests, `explain` and the simulator ask for.
//!
//! These are the stages that the proxy runs one by one, and nothing else.
use std::time::Duration;

use serde::Serialize;
use weft_ir::{EndpointAddress, RouteOrigin, RuleName, ServiceKey, ServicePort};
use weft_model::{Port, SpiffeId, WorkloadRef};

use crate::{
    Answers, Circumstances, Destination, Edited, FieldEdits, Normal, OwnAnswer, Refusal, RequestHead, Routed, Routing,
    Snapshot, Turn, normalize, permit, permit_answer, permit_outbound, permit_request, pick_with, route, route_tcp,
};

/// The random draws of a decision, kept in its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Draws {
    /// For the weighted split, and the value of an affinity cookie that is made up: uniform.
    pub split: u64,
    /// For the pick: the round-robin cursor, or uniform where endpoints are drawn.
    pub pick: u64,
}

/// What becomes of an outbound request or connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Decision {
    /// It goes to an endpoint.
    Forwarded(Box<Forwarded>),
    /// Its route answers it, and nobody is asked.
    Answered(Box<Answered>),
    /// The control plane must be asked first.
    Needs(Destination),
    /// It goes nowhere.
    Refused(Refusal),
}

/// What a route answers by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// The service port that the client addressed.
    pub service: ServiceKey,
    /// The route that took it.
    pub route: RouteOrigin,
    /// The answer.
    pub answer: OwnAnswer,
}

/// Where a request or connection goes, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forwarded {
    /// The service port that the client addressed.
    pub service: ServiceKey,
    /// The route that took it; `None` for TCP.
    pub route: Option<RouteOrigin>,
    /// The cluster that it chose.
    pub cluster: ServiceKey,
    /// The endpoint's workload; `None` for what is known by its address alone.
    pub workload: Option<WorkloadRef>,
    /// Why it is this one ([`Why`](crate::Why)).
    pub picked_by: String,
    /// The endpoint's address.
    #[serde(serialize_with = "address")]
    pub address: EndpointAddress,
    /// The identity that the endpoint must prove; `None` where the connection is not secured.
    pub identity: Option<SpiffeId>,
    /// The target that is forwarded: path and query; `None` for TCP.
    pub target: Option<String>,
    /// The Host that is forwarded; `None` for TCP.
    pub host: Option<String>,
    /// How long it may take in all.
    pub timeout: Option<Duration>,
    /// How long it may stand still, where its route says so.
    pub idle_timeout: Option<Duration>,
    /// How long it may take in all with a tunnel that it opens, where its route says so.
    pub stream_timeout: Option<Duration>,
    /// How long one try of it may take, where its route says so.
    pub try_timeout: Option<Duration>,
    /// What becomes of its header fields.
    pub request_fields: Edited,
    /// What becomes of its answer's.
    pub answer_fields: Edited,
    /// The `set-cookie` field that its answer gets, for affinity.
    pub set_cookie: Option<String>,
    /// The clusters that get copies of it.
    pub mirrors: Vec<ServiceKey>,
}

/// What becomes of an inbound connection or request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum InboundDecision {
    /// It reaches the application.
    Accepted(Accepted),
    /// It does not.
    Refused(Refusal),
}

/// What an inbound connection or request reaches, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// The service port that was called.
    pub service: ServicePort,
    /// The application's port.
    pub port: Port,
    /// The rule that allows it.
    pub rule: Option<RuleName>,
    /// The target that the application sees: path and query; `None` for TCP.
    pub target: Option<String>,
    /// The Host that the application sees; `None` for TCP.
    pub host: Option<String>,
}

/// Decides an outbound HTTP request, in its first try while nothing is ejected.
pub fn evaluate_outbound(snapshot: &Snapshot, head: &RequestHead<'_>, draws: Draws) -> Decision {
    evaluate_outbound_in(snapshot, head, draws, &Circumstances::default())
}

/// Decides an outbound HTTP request under given circumstances.
pub fn evaluate_outbound_in(
    snapshot: &Snapshot,
    head: &RequestHead<'_>,
    draws: Draws,
    circumstances: &Circumstances,
) -> Decision {
    match normalize(snapshot.scope(), head) {
        Ok(request) => {
            let (routing, turn) = (route(snapshot, &request, draws.split), circumstances.turn(draws.pick));
            finish(routing, Some((&request, draws.split)), &turn)
        }
        Err(cause) => Decision::Refused(cause.into()),
    }
}

/// Decides an outbound TCP connection to a service port's listener, in its first try while nothing is ejected.
pub fn evaluate_tcp(snapshot: &Snapshot, service: &ServiceKey, draws: Draws) -> Decision {
    evaluate_tcp_in(snapshot, service, draws, &Circumstances::default())
}

/// Decides an outbound TCP connection under given circumstances.
pub fn evaluate_tcp_in(
    snapshot: &Snapshot,
    service: &ServiceKey,
    draws: Draws,
    circumstances: &Circumstances,
) -> Decision {
    finish(route_tcp(snapshot, service), None, &circumstances.turn(draws.pick))
}

/// Decides an inbound connection of `caller` whose hello names `server_name`; with `head`, a request on it.
pub fn evaluate_inbound(
    snapshot: &Snapshot,
    server_name: &str,
    caller: &SpiffeId,
    head: Option<&RequestHead<'_>>,
) -> InboundDecision {
    let Some(chain) = snapshot.chain(server_name) else {
        return InboundDecision::Refused(Refusal::Misdirected { server_name: server_name.to_owned() });
    };
    // A request that has no canonical form never gets as far as policy.
    let request = match head.map(|head| normalize(snapshot.scope(), head)).transpose() {
        Ok(request) => request,
        Err(cause) => return InboundDecision::Refused(cause.into()),
    };
    let judged = match &request {
        Some(request) => permit_request(chain, caller, request),
        None => permit(chain, caller),
    };
    match judged {
        Ok(admitted) => InboundDecision::Accepted(Accepted {
            service: admitted.chain().service.clone(),
            port: admitted.chain().application_port,
            rule: admitted.permit().rule().cloned(),
            target: request.as_ref().map(|request| request.target.to_string()),
            host: request.map(|request| request.host.into_owned()),
        }),
        Err(denied) => InboundDecision::Refused(denied.into()),
    }
}

/// A request comes with the draw that it was routed by.
fn finish(routing: Routing<'_>, routed_by: Option<(&Normal<'_>, u64)>, turn: &Turn<'_>) -> Decision {
    let request = routed_by.map(|(request, _)| request);
    let routed = match routing {
        Routing::Routed(routed) => routed,
        Routing::Answers(answers) => return answered(answers, request),
        Routing::Needs(destination) => return Decision::Needs(destination),
        Routing::Refused(refusal) => return Decision::Refused(refusal),
    };
    let answer_fields = request.map(|request| routed.answer_edits(request).told()).unwrap_or_default();
    let rewritten = request.map(|request| (routed.rewritten(request), request.target.query));
    match pick_with(permit_outbound(routed), turn) {
        Ok(picked) => Decision::Forwarded(Box::new(Forwarded {
            service: routed.service().clone(),
            route: routed.origin().cloned(),
            cluster: picked.cluster().name.clone(),
            workload: picked.endpoint().instance().map(|instance| instance.workload.clone()),
            picked_by: picked.why().to_string(),
            address: picked.address(),
            identity: picked.upstream().identity().cloned(),
            target: rewritten.as_ref().map(|(rewritten, query)| match query {
                Some(query) => format!("{}?{query}", rewritten.path),
                None => rewritten.path.to_string(),
            }),
            host: rewritten.map(|(rewritten, _)| rewritten.host.into_owned()),
            timeout: routed.timeout(),
            idle_timeout: routed.idle_timeout(),
            stream_timeout: routed.stream_timeout(),
            try_timeout: routed.try_timeout(),
            request_fields: FieldEdits::of(routed.request_changes()).told(),
            answer_fields,
            set_cookie: routed.set_cookie().map(|cookie| cookie.to_string()),
            mirrors: routed_by.map(|(_, split)| mirrors(routed, split)).unwrap_or_default(),
        })),
        Err(refusal) => Decision::Refused(refusal),
    }
}

fn mirrors(routed: Routed<'_>, split: u64) -> Vec<ServiceKey> {
    routed.mirrors(split).map(|to| to.cluster().clone()).collect()
}

fn answered(answers: Answers<'_>, request: Option<&Normal<'_>>) -> Decision {
    let (service, route) = (answers.service().clone(), answers.origin().clone());
    let permitted = permit_answer(answers);
    match request {
        Some(request) => Decision::Answered(Box::new(Answered { service, route, answer: permitted.answer(request) })),
        // A connection has no route that could answer.
        None => Decision::Refused(Refusal::NotInMesh { destination: Destination::Service(service) }),
    }
}

fn address<S: serde::Serializer>(address: &EndpointAddress, serializer: S) -> Result<S::Ok, S::Error> {
    match address {
        EndpointAddress::Socket(socket) => serializer.collect_str(socket),
    }
}

#[cfg(test)]
mod tests;
