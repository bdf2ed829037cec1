//! The weft proxy: the data plane beside a workload, and the control side that configures it.
pub mod agent;
pub mod dataplane;

pub use agent::{Options, Proxy};
