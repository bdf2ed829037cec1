//! Connecting within a bound of time.
use std::{io, net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, time};

use crate::alive::notice_death;

/// Why no connection was made. Nothing was written, so whatever was to be sent may be sent elsewhere.
#[derive(Debug)]
pub enum ConnectError {
    /// The bound passed first.
    Timeout(Duration),
    /// The system refused, or the peer did.
    Io(io::Error),
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timeout(bound) => write!(f, "no connection within {bound:?}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Timeout(_) => None,
            Self::Io(error) => Some(error),
        }
    }
}

/// Connects to `address` within `bound`, without Nagle's delay; a peer that is gone without a word is noticed.
///
/// # Errors
/// The bound passed, or the system's or the peer's refusal.
pub async fn connect(address: SocketAddr, bound: Duration) -> Result<TcpStream, ConnectError> {
    let stream = match time::timeout(bound, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(ConnectError::Io)?,
        Err(_) => return Err(ConnectError::Timeout(bound)),
    };
    stream.set_nodelay(true).and_then(|()| notice_death(&stream)).map_err(ConnectError::Io)?;
    Ok(stream)
}
