//! A small HTTP/1.1 client with kept-alive connections: what the demo's services and its load speak with.
use std::{cell::RefCell, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header::HOST,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::failure::{Failure, While};

const MAX_BODY: usize = 16 * 1024 * 1024;
const CALL: Duration = Duration::from_secs(10);

/// A client of one address.
pub(crate) struct Client {
    address: SocketAddr,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
}

/// A whole answer.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Whether a call may use a kept-alive connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Takes an idle connection where there is one, and keeps it.
    Kept,
    /// Opens a connection for this call alone.
    Fresh,
}

impl Client {
    /// A client of `address`, with no connection yet.
    pub(crate) const fn new(address: SocketAddr) -> Self {
        Self { address, idle: RefCell::new(Vec::new()) }
    }

    /// `GET http://<host><path>` with further headers.
    pub(crate) async fn fetch(
        &self,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        reuse: Reuse,
    ) -> Result<Reply, Failure> {
        match timeout(CALL, self.exchange(host, path, headers, reuse)).await {
            Ok(reply) => reply,
            Err(_) => Err(Failure::new(format!("http://{host}{path} did not answer within 10 s"))),
        }
    }

    async fn exchange(&self, host: &str, path: &str, headers: &[(&str, &str)], reuse: Reuse) -> Result<Reply, Failure> {
        let calling = format_args!("call http://{host}{path} by {}", self.address).to_string();
        let mut kept = if reuse == Reuse::Kept { self.idle.borrow_mut().pop() } else { None };
        loop {
            let request = headers
                .iter()
                .fold(Request::get(path).header(HOST, host), |request, (name, value)| request.header(*name, *value));
            let request = request.body(Full::default()).while_(&calling)?;
            let reused = kept.is_some();
            let mut sender = match kept.take() {
                Some(sender) => sender,
                None => self.connect().await.while_(&calling)?,
            };
            let answer = match sender.send_request(request).await {
                // The other side closed the idle connection before it saw the request.
                Err(error) if reused && error.is_canceled() => continue,
                answer => answer.while_(&calling)?,
            };
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await.while_(&calling)?.to_bytes();
            if reuse == Reuse::Kept && sender.ready().await.is_ok() {
                self.idle.borrow_mut().push(sender);
            }
            return Ok(Reply { status: head.status, headers: head.headers, body });
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Box<dyn std::error::Error>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
