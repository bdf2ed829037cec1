//! The data plane: workers that accept connections and carry requests and bytes, deciding from snapshots.
//!
//! [`Dataplane::start`] binds the listeners and starts the workers; [`Dataplane::publish`] and
//! [`Dataplane::publish_identity`] give them what they decide from; nothing is served before both have come. Every
//! method of the handle is for the control thread: none is called on the data path.
//!
//! The two paths, `inbound.rs` and `outbound.rs`, read from top to bottom as the stages of the design. All decisions are
//! `weft-decide`'s; here is what they are carried out with.
mod alarm;
mod attempts;
mod bell;
mod carry;
mod edge;
mod event;
mod expose;
mod gate;
mod handle;
mod histogram;
mod inbound;
mod job;
mod ledger;
mod metrics;
mod mirror;
mod outbound;
mod pool;
mod progress;
mod record;
mod refusals;
mod relay;
mod resilience;
mod respond;
mod serve;
mod settings;
mod strangers;
#[cfg(test)]
mod tests;
mod tls;
mod upstream;
mod watch;
mod worker;

pub mod http;
pub mod http2;

pub use edge::EdgeSummary;
pub use event::Event;
pub use handle::Dataplane;
pub use progress::Progress;
pub use resilience::{CheckCounts, ClusterState, EjectedEndpoint, LimitState, UnhealthyEndpoint};
pub use settings::{Bound, Http10, InvalidServeHttp10, Limits, ServeHttp10, Settings, StartError, Timeouts, Unbound};
pub use tls::Identity;
