//! A caller's plain HTTP/1.1 client: it sends whatever bytes it is given, on one connection for as long as that lives.
use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use weft_harness::DEADLINE;

use crate::application::filterable;

/// A client of one outbound listener.
pub(crate) struct Client {
    to: SocketAddr,
    open: Option<(TcpStream, SocketAddr)>,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// The value of `set-cookie`.
    pub(crate) cookie: Option<String>,
    /// The value of `location`.
    pub(crate) location: Option<String>,
    /// The fields that filters may change.
    pub(crate) fields: Vec<(String, String)>,
    /// The value of `x-weft-decision`.
    pub(crate) decision: Option<String>,
    /// The body.
    pub(crate) body: String,
    /// From which of the client's addresses it was asked for.
    pub(crate) peer: SocketAddr,
}

impl Client {
    /// A client that has not connected yet.
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self { to, open: None, buffer: Vec::new() }
    }

    /// Sends a request and reads the answer to it. `to_head`: it has no body.
    pub(crate) async fn ask(&mut self, request: &[u8], to_head: bool) -> io::Result<Reply> {
        let asked = timeout(DEADLINE, self.exchange(request, to_head));
        asked.await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no whole answer came")))
    }

    async fn exchange(&mut self, request: &[u8], to_head: bool) -> io::Result<Reply> {
        let (mut stream, peer) = match self.open.take() {
            Some(open) => open,
            None => {
                let stream = TcpStream::connect(self.to).await?;
                stream.set_nodelay(true)?;
                let address = stream.local_addr()?;
                (stream, address)
            }
        };
        stream.write_all(request).await?;
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more(&mut stream).await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end);
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, head.clone());
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).ok_or_else(invalid)?;
        let length = match field("content-length").and_then(|text| text.parse::<usize>().ok()) {
            _ if to_head || status == 204 => 0,
            length => length.ok_or_else(invalid)?,
        };
        while self.buffer.len() < length {
            self.more(&mut stream).await?;
        }
        let body = String::from_utf8_lossy(&self.buffer[..length]).into_owned();
        self.buffer.drain(..length);
        if field("connection").is_some_and(|value| value == "close") {
            self.buffer.clear();
        } else {
            self.open = Some((stream, peer));
        }
        let fields = filterable(head.lines().skip(1).filter_map(|line| line.split_once(':')));
        let (cookie, location, decision) = (field("set-cookie"), field("location"), field("x-weft-decision"));
        Ok(Reply { status, cookie, location, fields, decision, body, peer })
    }

    async fn more(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        match stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended")),
            _ => Ok(()),
        }
    }
}
