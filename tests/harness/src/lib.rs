//! A whole mesh inside one test process: a control plane, sidecars, and applications, on loopback with ports of the
//! system's choice. What is started is real: the same code paths as the binaries, over sockets and TLS. Where a test needs
//! processes that can be killed, [`process`] has the same parts as such.
mod application;
pub mod grpc;
mod http;
mod mesh;
pub mod objects;
mod pace;
pub mod process;
mod results;
mod sidecar;
pub mod store;

use std::time::{Duration, Instant};

pub use application::{Application, Seen, read_head};
pub use http::{Connection, Reply};
pub use mesh::Mesh;
pub use pace::{Pool, echoed, open_loop};
pub use results::record;
pub use sidecar::{Plan, Sidecar};

/// How long anything is waited for before a test fails: far beyond what it takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Tries until `attempt` gives something.
///
/// # Panics
/// After [`DEADLINE`], naming what was awaited.
pub async fn eventually<T>(awaited: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{awaited} did not come about within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
