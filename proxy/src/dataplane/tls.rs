//! Mesh TLS on both sides, and the one stream type that everything above reads and writes.
use std::{
    cell::RefCell,
    collections::HashMap,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{ClientConfig, ServerConfig};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{client, server};
use weft_certs::{
    Svid, TrustBundles,
    tls::{ClientAuth, Connector, TlsError, server_config},
};
use weft_model::SpiffeId;

use super::gate::Outgoing;

/// The ALPN protocols of mesh TLS (DESIGN §6).
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";
const TCP: &[u8] = b"weft-tcp";

/// What is spoken inside mesh TLS: what the client spoke, whatever the application does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wire {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Opaque bytes.
    Tcp,
}

impl Wire {
    /// Its ALPN name (RFC 7301).
    pub(super) const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => HTTP1,
            Self::Http2 => HTTP2,
            Self::Tcp => TCP,
        }
    }

    /// What an ALPN name stands for.
    pub(super) fn of_alpn(name: &[u8]) -> Option<Self> {
        [Self::Http1, Self::Http2, Self::Tcp].into_iter().find(|wire| wire.alpn() == name)
    }
}

/// What this workload proves itself by, and whom it trusts.
#[derive(Clone, Debug)]
pub struct Identity {
    id: SpiffeId,
    server: Arc<ServerConfig>,
    http1: Connector,
    http2: Connector,
    tcp: Connector,
}

impl Identity {
    /// The identity of an SVID, with the bundles that peers are checked against.
    ///
    /// # Errors
    /// rustls does not take the certificate or key.
    pub fn new(svid: &Svid, bundles: &TrustBundles) -> Result<Self, TlsError> {
        Ok(Self {
            id: svid.id().clone(),
            server: server_config(svid, bundles, ClientAuth::Required, &[HTTP2, HTTP1, TCP])?,
            http1: Connector::new(svid, bundles, &[HTTP1])?,
            http2: Connector::new(svid, bundles, &[HTTP2])?,
            tcp: Connector::new(svid, bundles, &[TCP])?,
        })
    }

    /// Whose it is.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }
}

/// The most client configurations that one worker keeps of one identity.
const MAX_CLIENTS: usize = 4096;

/// One worker's view of an identity: client configurations are made once for each peer identity.
#[derive(Debug)]
pub(super) struct LocalIdentity {
    identity: Arc<Identity>,
    clients: RefCell<HashMap<(Wire, SpiffeId), Arc<ClientConfig>>>,
}

impl LocalIdentity {
    pub(super) fn new(identity: Arc<Identity>) -> Self {
        Self { identity, clients: RefCell::default() }
    }

    /// The configuration for peers that connect to us.
    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.identity.server.clone()
    }

    /// The configuration for an upstream that must be `peer`.
    pub(super) fn client(&self, wire: Wire, peer: &SpiffeId) -> Arc<ClientConfig> {
        let connector = match wire {
            Wire::Http1 => &self.identity.http1,
            Wire::Http2 => &self.identity.http2,
            Wire::Tcp => &self.identity.tcp,
        };
        let mut clients = self.clients.borrow_mut();
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.entry((wire, peer.clone())).or_insert_with(|| connector.for_identity(peer)).clone()
    }
}

/// A connected stream, plain or secured. The secured ones are boxed: their state is large, and a plain connection must
/// not pay for it.
pub(crate) enum Io {
    /// From the local application.
    Plain(TcpStream),
    /// To the local application, or to an endpoint of a cluster that is not secured, with its place among the connections
    /// that we make.
    Unsecured { tcp: TcpStream, _place: Outgoing },
    /// From a peer.
    Server(Box<server::TlsStream<TcpStream>>),
    /// To a peer, with its place among the connections that we make.
    Client { tls: Box<client::TlsStream<TcpStream>>, _place: Outgoing },
}

impl Io {
    /// The socket below.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) | Self::Unsecured { tcp, .. } => tcp,
            Self::Server(tls) => tls.get_ref().0,
            Self::Client { tls, .. } => tls.get_ref().0,
        }
    }

    /// Whether the end of its stream is authenticated (close_notify, RFC 8446 §6.1).
    pub(super) fn is_secure(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Unsecured { .. } => false,
            Self::Server(_) | Self::Client { .. } => true,
        }
    }
}

macro_rules! each {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Plain($io) | Io::Unsecured { tcp: $io, .. } => $call,
            Io::Server($io) => $call,
            Io::Client { tls: $io, .. } => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}
