//! Noticing peers that are gone without a word: a machine that lost power, a network that drops what it once carried.
use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};

/// How long a connection is silent before its peer is asked whether it is there (Linkerd: 10 s; Envoy and HAProxy: not at
/// all unless told to; Linux: 2 h).
const IDLE: Duration = Duration::from_secs(60);

/// How long an answer is waited for before the peer is asked again (Linux: 75 s).
const INTERVAL: Duration = Duration::from_secs(30);

/// How often it is asked in vain before it counts as gone: [`GONE`] after its last word.
const PROBES: u32 = 8;

/// How long a peer may leave what it was sent unacknowledged (`TCP_USER_TIMEOUT`; Linkerd: 30 s, gRPC: 20 s, Linux: about
/// 15 min of repetitions). The kernel also ends a connection whose peer keeps its window closed for as long, so it is not
/// shorter than a receiver may reasonably pause; and it overrules the number of probes, so that both come to the same.
const GONE: Duration = Duration::from_secs(60 + 30 * 8);

/// Makes the kernel end a TCP connection whose peer is gone without a word. On a listening socket it holds for what is
/// accepted from it: Linux copies the options, so that accepting costs no further call.
///
/// # Errors
/// What the system says of the options.
pub(crate) fn notice_death<'s>(socket: impl Into<SockRef<'s>>) -> io::Result<()> {
    let socket = socket.into();
    let asked = TcpKeepalive::new().with_time(IDLE).with_interval(INTERVAL).with_retries(PROBES);
    socket.set_tcp_keepalive(&asked)?;
    socket.set_tcp_user_timeout(Some(GONE))
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{connect, listen};

    fn assert_notices(stream: &TcpStream) {
        let socket = SockRef::from(stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(GONE));
    }

    #[tokio::test]
    async fn accepted_and_connected_sockets_notice_that_their_peer_is_gone() {
        let mut listeners = listen("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let listener = TcpListener::from_std(listeners.sockets.remove(0)).unwrap();
        let connected = connect(listeners.address.0, Duration::from_secs(10)).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_notices(&connected);
        assert_notices(&accepted);
    }

    #[test]
    fn probes_and_unacknowledged_bytes_give_a_peer_the_same_time() {
        assert_eq!(IDLE + INTERVAL * PROBES, GONE);
    }
}
