//! The proxy's own control side, on one separate control thread: certificates, the ADS and Agent streams, the admin
//! and status interfaces, drain.
pub mod bootstrap;
pub mod join;

mod admin;
mod ads;
mod advice;
mod agent_stream;
mod bound;
mod certificates;
mod channel;
mod config;
mod control;
mod effects;
mod guard;
mod health;
mod http;
mod identity;
mod last_good;
mod lifecycle;
mod options;
mod overload;
mod pem;
mod ports;
mod proxy;
mod receipts;
mod recover;
mod registration;
mod run;
mod shared;
mod source;
mod state_dir;
mod status;

pub use bound::Bound;
pub use last_good::{InvalidLastGood, LastGood};
pub use lifecycle::NotAdmitted;
pub use options::{AccessLog, Options};
pub use proxy::{NotReady, Proxy, StartError};
pub use run::{Application, Args, Bytes, InvalidArgument, KeyValue, Listen, run};
