//! The one evaluator: what a proxy does with a connection or a request, as pure functions over a [`Snapshot`].
//!
//! The proxy, `verify`, `explain` and the simulator all come here. Time and randomness are arguments ([`Draws`]), so a
//! decision can be replayed from a record. The outbound path is, in this order and enforced by its types:
//!
//! [`normalize()`] → [`route()`] → [`permit_outbound`] → [`pick()`]
//!
//! and the inbound path [`Snapshot::chain`] → [`permit()`] for bytes, [`normalize()`] → [`permit_request`] for each request. Each stage takes the
//! value of the one before it. There is no [`Picked`] without a [`Permit`], and a `Permit` is made in one module only:
//!
//! ```compile_fail,E0451
//! // A permit cannot be made outside of the module that checks for it.
//! let forged = weft_decide::Permit { rule: None, sealed: () };
//! ```
//!
//! ```compile_fail,E0308
//! // An endpoint is picked for what was permitted, not for what was merely routed.
//! fn skip(routed: weft_decide::Routed<'_>) {
//!     let _ = weft_decide::pick(routed, 0);
//! }
//! ```
//!
//! ```compile_fail,E0451
//! // Nor can one be passed on to another request.
//! fn reuse<'s>(permit: weft_decide::Permit<'s>, routed: weft_decide::Routed<'s>) {
//!     let forged = weft_decide::Permitted { routed, permit };
//! }
//! ```
//!
//! Beside the path stand the machines that keep a failing part from taking the rest with it. Their numbers hold for the
//! whole proxy: [`Shares`] (how many at once), [`Budget`] (how many repetitions) and [`Circuit`] (when nothing) are
//! shared by workers without a lock or a message; [`Ejector`] (which endpoints not) decides on the control thread from
//! what [`Streak`]s report, and [`Checks`] by asking them. [`Repeats`] says whether one request is tried again. What a pick owes to them ([`Turn`]) is
//! kept in its record as [`Circumstances`], so that it can be replayed ([`evaluate_outbound_in`]).
//!
//! Everything borrows from the snapshot: a decision touches no reference count, so workers share no cache line for it.
mod access;
mod affinity;
mod backoff;
mod breaker;
mod budget;
mod checks;
mod cors;
mod deadline;
mod detect;
mod edits;
mod ejection;
mod evaluate;
mod ewma;
mod grpc;
mod health;
mod hop;
mod lease;
mod maglev;
mod mirror;
mod nearness;
mod normalize;
mod outcome;
mod permit;
mod pick;
mod pressure;
mod refusal;
mod rendezvous;
mod renewal;
mod retry;
mod rewrite;
mod route;
mod smooth;
mod snapshot;
mod success_rate;
mod trace;
mod warming;

pub use affinity::{SetCookie, cookie};
pub use backoff::Backoff;
pub use breaker::{Admission, Circuit, CircuitState, Probe, Tripped};
pub use budget::{Budget, Purse};
pub use checks::{Checked, Checks, Due};
pub use deadline::{Time, read_deadline, read_grpc_timeout, write_deadline, write_grpc_timeout};
pub use detect::{Detection, Hello, MAX_PREFIX, detect};
pub use edits::{Edited, FieldEdits};
pub use ejection::{Ejected, Ejector, Report, Streak};
pub use evaluate::{
    Accepted, Answered, Decision, Draws, Forwarded, InboundDecision, evaluate_inbound, evaluate_outbound,
    evaluate_outbound_in, evaluate_tcp, evaluate_tcp_in,
};
pub use ewma::PeakEwma;
pub use grpc::{GRPC_UNKNOWN, grpc_status, is_grpc_failure};
pub use health::{Health, HealthCheck};
pub use hop::{Hop, Left};
pub use lease::{Held, Lease, Shares};
pub use nearness::Nearness;
pub use normalize::{Authority, BadRequest, KeptRequest, MAX_TARGET, Normal, RequestHead, Target, normalize};
pub use outcome::{Outcome, Proof, Verdict};
pub use permit::{
    Admitted, Denied, Permit, Permitted, PermittedAnswer, may_call, permit, permit_answer, permit_outbound,
    permit_request, repermit,
};
pub use pick::{Circumstances, Cold, Loads, Picked, PickedBy, Turn, Upstream, Why, pick, pick_with};
pub use pressure::{Growth, Pressure, Resource, Usage};
pub use refusal::{Destination, LimitKind, Refusal};
pub use renewal::Renewal;
pub use retry::{Attempted, NoRepeat, PROVEN_REPEATS, Repeats};
pub use rewrite::{OwnAnswer, Rewritten};
pub use route::{Answers, Mirrored, Routed, Routing, route, route_mirrored, route_tcp};
pub use snapshot::{
    Applied, Assembler, Chain, ClusterEntry, HostEntry, Lookup, Output, Rejected, Scope, Snapshot, TcpEntry, Unusable,
    Update, check,
};

pub use success_rate::{Counts, Tally};
pub use trace::{TraceParent, request_id};
pub use warming::{Newcomers, Warming};

#[cfg(test)]
mod testing;
