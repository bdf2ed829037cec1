//! The proxy's own control side, on one separate control thread: certificates, the ADS and Agent streams, the admin
//! and status interfaces, drain.
pub mod bootstrap;
mod bound;
pub mod join;
mod options;
mod proxy;
mod run;
mod state_dir;

pub use bound::Bound;
pub use options::{AccessLog, Options};
pub use proxy::{NotReady, Proxy, StartError};
pub use run::{Application, Args, InvalidArgument, KeyValue, run};
