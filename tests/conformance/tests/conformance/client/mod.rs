//! Clients of the subject.
pub(crate) mod frames;
pub(crate) mod http1;
pub(crate) mod http2;

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;

use crate::{case::ClientTls, text::Seen, tls::Authority, wire::Stream};

/// A connection to the subject.
pub(crate) enum Client {
    H1(http1::Client),
    H2(http2::Client),
    Frames(frames::Client),
}

impl Client {
    /// Connects and, where `by` has the word `tls`, secures the connection.
    pub(crate) async fn connect(address: SocketAddr, by: &str, tls: &ClientTls, authority: &Authority) -> Result<Self> {
        let socket = TcpStream::connect(address).await.context("the subject takes no connection")?;
        socket.set_nodelay(true)?;
        let mut facts = Vec::new();
        let mut stream: Box<dyn Stream> = Box::new(socket);
        let mut words: Vec<_> = by.split(' ').collect();
        if words.first() == Some(&"tls") {
            words.remove(0);
            let (connector, name) = authority.connector(tls)?;
            let secured = connector.connect(name, stream).await.context("the handshake failed")?;
            let session = secured.get_ref().1;
            facts.push(("@alpn".to_owned(), session.alpn_protocol().map(crate::text::text).unwrap_or_default()));
            let certificate = session.peer_certificates().and_then(|chain| chain.first());
            facts.push(("@certificate".to_owned(), certificate.map(|it| authority.name_of(it)).unwrap_or_default()));
            stream = Box::new(secured);
        }
        Ok(match words.first().copied().unwrap_or("h1") {
            "h1" => Self::H1(http1::Client::new(stream, facts)),
            "h2" => Self::H2(http2::Client::connect(stream, facts).await?),
            "frames" => Self::Frames(frames::Client::connect(stream).await?),
            other => bail!("a client speaks h1, h2 or frames, not {other:?}"),
        })
    }
}

/// A connection's end without an answer, as cases write it.
pub(crate) fn ended(how: &str) -> Seen {
    Seen { first: how.to_owned(), ..Seen::default() }
}
