//! Sockets and bytes: listening, connecting, ending, and copying between two streams.
//!
//! Everything here is safe: the options come from socket2 and rustix, the readiness from tokio.
mod address;
mod alive;
mod connect;
mod listen;
mod relay;
mod scratch;
mod socket;

pub use address::{LocalAddr, PeerAddr};
pub use connect::{ConnectError, connect};
pub use listen::{Listeners, listen, listen_again};
pub use relay::{Relay, RelayEnd, Relayed, Side};
pub use scratch::with_scratch;
pub use socket::{is_quiet, is_ready, reset_on_close};
