//! The control plane: a store of objects, a certificate authority, xDS and Agent streams for proxies, an admin API.
//!
//! [`ControlPlane::start`] runs one inside the calling process (several may run side by side: nothing is global);
//! [`run()`] is what the binaries call. Proxies are served on one TLS port (delta ADS, `weft.v1.AgentService`,
//! `weft.v1.CertificateService`), people and programs on an HTTPS port with JSON bodies ([`wire`]).
mod advice;
mod args;
mod audit;
mod authority;
mod config;
mod effect;
mod faults;
mod follow;
mod labels;
mod metrics;
mod recovery;
mod registry;
mod removals;
mod run;
mod running;
mod serve;
mod state;
mod tokens;
mod wakes;

pub mod client;
pub mod wire;

pub use args::{Args, SEALING_KEY_VARIABLE};
pub use authority::OpenAuthorityError;
pub use config::{Config, SealingKeySource, default_names};
pub use run::{RunError, run};
pub use running::{ControlPlane, Running, StartError};
