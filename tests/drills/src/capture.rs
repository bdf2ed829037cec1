//! Every packet of a pod's network namespace, looked at for what must not be seen.
use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read},
    iter,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use socket2::{Domain, Protocol, Socket, Type};
use weft_harness::process::Place;

/// `ETH_P_ALL` (linux/if_ether.h) in network order: frames of every protocol.
const EVERY_PROTOCOL: i32 = 0x0300;
const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const TCP: u8 = 6;

/// A capture that runs until it is ended.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    task: JoinHandle<std::io::Result<Captured>>,
}

/// What was captured of TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Segments with payload from or to the ports of the mesh.
    pub mesh: usize,
    /// Those of them that hold one of the words.
    pub plain: usize,
    /// Segments elsewhere that hold one: the capture sees what there is to see.
    pub elsewhere: usize,
}

impl Capture {
    /// Captures everything at a place, and looks for these words; the ports of the mesh are those of the addresses.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(place: &Place, mesh: &[SocketAddr], words: &'static [&'static [u8]]) -> Result<Self> {
        let open = || Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(EVERY_PROTOCOL)));
        let socket = place.act(open)?;
        let socket = socket.context("a socket for packets")?;
        socket.set_recv_buffer_size(16 << 20)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let ports: BTreeSet<u16> = mesh.iter().map(SocketAddr::port).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = std::thread::spawn(move || {
            let (mut captured, mut frame) = (Captured::default(), vec![0; 1 << 17]);
            while !stopped.load(Ordering::Relaxed) {
                match (&socket).read(&mut frame) {
                    Ok(length) => captured.look(frame.get(..length).unwrap_or_default(), &ports, words),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(captured)
        });
        Ok(Self { stop, task })
    }

    /// Ends it and says what it has seen.
    ///
    /// # Errors
    /// What the system said.
    pub fn end(self) -> Result<Captured> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.task.join().map_err(|_| anyhow!("the capture has ended early"))??)
    }
}

impl iter::Sum for Captured {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        let both = |one: Self, other: Self| Self {
            mesh: one.mesh + other.mesh,
            plain: one.plain + other.plain,
            elsewhere: one.elsewhere + other.elsewhere,
        };
        all.fold(Self::default(), both)
    }
}

impl Captured {
    fn look(&mut self, frame: &[u8], mesh: &BTreeSet<u16>, words: &[&[u8]]) {
        let Some((ports, payload)) = segment(frame) else { return };
        if payload.is_empty() {
            return;
        }
        let of_mesh = ports.iter().any(|port| mesh.contains(port));
        let found = words.iter().any(|word| payload.windows(word.len()).any(|window| window == *word));
        self.mesh += usize::from(of_mesh);
        self.plain += usize::from(of_mesh && found);
        self.elsewhere += usize::from(!of_mesh && found);
    }
}

/// The ports and the payload of a TCP segment over IPv4 (RFC 791 §3.1, RFC 9293 §3.1).
fn segment(frame: &[u8]) -> Option<([u16; 2], &[u8])> {
    if frame.get(ETHERNET - 2..ETHERNET)? != IPV4 {
        return None;
    }
    let packet = frame.get(ETHERNET..)?;
    let number = |bytes: &[u8], at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let (header, length) = (usize::from(packet.first()? & 0x0f) * 4, usize::from(number(packet, 2)?));
    if *packet.get(9)? != TCP {
        return None;
    }
    // A segment above 64 KiB that loopback did not cut tells no length.
    let packet = if length == 0 { packet } else { packet.get(..length)? };
    let segment = packet.get(header..)?;
    let payload = segment.get(usize::from(segment.get(12)? >> 4) * 4..)?;
    Some(([number(segment, 0)?, number(segment, 2)?], payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(40 + payload.len()).unwrap().to_be_bytes();
        let ethernet = [&[0; 12][..], &IPV4].concat();
        let internet = [&[0x45, 0][..], &length, &[0, 0, 0, 0, 64, TCP, 0, 0], &[127, 0, 0, 1, 127, 0, 0, 1]].concat();
        let tcp = [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 8], &[0x50, 0], &[0; 6]].concat();
        [ethernet, internet, tcp, payload.to_vec()].concat()
    }

    #[test]
    fn a_word_is_told_by_whether_it_is_at_a_port_of_the_mesh() {
        let (mesh, words) = (BTreeSet::from([15_006]), [&b"HTTP/1.1"[..]]);
        let mut captured = Captured::default();
        for (from, to, payload) in [
            (40_000, 15_006, &b"\x17\x03\x03 something sealed"[..]),
            (15_006, 40_000, b""),
            (40_000, 80, b"GET / HTTP/1.1\r\n"),
            (40_000, 81, b"nothing"),
            (15_006, 40_000, b"HTTP/1.1 200 OK"),
        ] {
            captured.look(&frame(from, to, payload), &mesh, &words);
        }
        assert_eq!(captured, Captured { mesh: 2, plain: 1, elsewhere: 1 });
    }

    #[test]
    fn no_frame_that_is_cut_short_is_read_beyond_its_end() {
        let whole = frame(1, 2, b"HTTP/1.1");
        for length in 0..whole.len() {
            assert!(segment(&whole[..length]).is_none(), "{length} bytes");
        }
        assert_eq!(segment(&whole), Some(([1, 2], &b"HTTP/1.1"[..])));
    }
}
