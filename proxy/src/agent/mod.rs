//! The proxy's own control side, on one separate control thread: certificates, the ADS and Agent streams, the admin
//! and status interfaces, drain.
pub mod bootstrap;
pub mod join;
mod options;
mod proxy;
mod run;

pub use options::{AccessLog, Options};
pub use proxy::{Bound, NotReady, Proxy, StartError};
pub use run::{Args, run};
