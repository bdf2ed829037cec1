//! What is asked of one connected socket.
use std::{
    io,
    task::{Context, Waker},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use socket2::SockRef;
use tokio::net::TcpStream;

/// Makes the coming close of `stream` a reset (RST) instead of an orderly end (`SO_LINGER` 0), so that a peer cannot take
/// what it has read for the whole.
///
/// # Errors
/// What the system says of the option.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Whether nothing has arrived on `stream`: no byte, no end, no error. An unused connection that is not quiet must not be
/// used again.
///
/// The answer is the kernel's at the time of the call (one `recv` with `MSG_PEEK`), not tokio's last poll.
pub fn is_quiet(stream: &TcpStream) -> bool {
    let mut byte = [0u8; 1];
    matches!(recv(stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT), Err(Errno::AGAIN))
}

/// Whether tokio knows of something to read on `stream`; costs no system call and may lag behind the kernel.
pub fn is_ready(stream: &TcpStream) -> bool {
    stream.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}
