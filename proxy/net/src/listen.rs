//! Listening sockets: one a worker on one address, so that the kernel spreads connections and no worker hands one over.
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{LocalAddr, alive::notice_death};

/// How many connections may wait to be accepted on one socket; the kernel's own bound (`somaxconn`) cuts it.
const BACKLOG: i32 = 4096;

/// Listening sockets on one address, in non-blocking mode.
#[derive(Debug)]
pub struct Listeners {
    /// The address that all of them share, with the port that the system chose where 0 was asked for.
    pub address: LocalAddr,
    /// One socket for each worker.
    pub sockets: Vec<TcpListener>,
}

/// Binds `count` (at least one) listening sockets to `address`.
///
/// With several, each has `SO_REUSEPORT`; the first decides the port. That option would also let another process of the
/// same user share a fixed port silently, so a fixed port is first bound without it, which fails if it is taken.
///
/// # Errors
/// What the system says: the address is taken, not ours, or not permitted.
pub fn listen(address: SocketAddr, count: usize) -> io::Result<Listeners> {
    let shared = count > 1;
    if shared && address.port() != 0 {
        bind(address, false)?;
    }
    let first = bind(address, shared)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind(address, true)?);
    }
    Ok(Listeners { address: LocalAddr(address), sockets })
}

/// As [`listen`], but where the system is to choose the port (port 0), `former`'s is taken again if it is on the same
/// address and still free: who restarts is found where it was.
///
/// # Errors
/// As [`listen`].
pub fn listen_again(former: Option<SocketAddr>, address: SocketAddr, count: usize) -> io::Result<Listeners> {
    let same = former.filter(|former| address.port() == 0 && former.ip() == address.ip());
    match same.map(|former| listen(former, count)) {
        Some(Ok(listeners)) => Ok(listeners),
        Some(Err(_)) | None => listen(address, count),
    }
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without it, connections in TIME_WAIT keep a restarted proxy from its own port.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    notice_death(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sockets_of_one_call_share_the_port_that_the_system_chose() {
        let listeners = listen("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_eq!(listeners.sockets.len(), 3);
        assert_ne!(listeners.address.0.port(), 0);
        for socket in &listeners.sockets {
            assert_eq!(socket.local_addr().unwrap(), listeners.address.0);
        }
    }

    #[test]
    fn a_taken_port_is_an_error_even_where_sharing_would_be_possible() {
        let first = listen("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = listen(first.address.0, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_former_port_is_taken_again_where_it_is_free_and_the_system_is_to_choose() {
        let any = "127.0.0.1:0".parse().unwrap();
        let former = listen(any, 1).unwrap().address.0;
        let again = listen_again(Some(former), any, 2).unwrap();
        assert_eq!(again.address.0, former);
        let other = listen_again(Some(former), any, 1).unwrap();
        assert_ne!(other.address.0, former, "the port is taken");
        let elsewhere = listen_again(Some(former), "127.0.0.2:0".parse().unwrap(), 1).unwrap();
        assert_eq!(elsewhere.address.0.ip().to_string(), "127.0.0.2");
        assert_eq!(listen_again(Some(former), former, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn no_socket_is_bound_twice_for_one_worker() {
        let first = listen("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        assert_eq!(listen(first.address.0, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
