//! The data plane: workers that accept connections and carry requests and bytes, deciding from snapshots.
//!
//! [`Dataplane::start`] binds the listeners and starts the workers; [`Dataplane::publish`] and
//! [`Dataplane::publish_identity`] give them what they decide from; nothing is served before both have come. Every
//! method of the handle is for the control thread: none is called on the data path.
mod edge;
mod event;
mod settings;

pub use edge::EdgeSummary;
pub use event::Event;
pub use settings::{Bound, Settings, StartError, Timeouts};
