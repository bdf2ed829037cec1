//! Accepting TLS connections: no error of one connection ends the loop, and nobody holds it up.
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;
use tracing::{debug, warn};
use weft_certs::tls::peer_identity;

use super::peer::Peer;
use crate::{authority::ServerConfigs, metrics::Metrics};

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How many handshakes run at a time; further connections wait in the kernel's queue.
const HANDSHAKES: usize = 1_024;

/// How long accepting pauses when the system is out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection whose handshake is done.
pub(crate) struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

impl Connected for TlsConnection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Accepts and hands on, until nobody takes connections any more. `choose` takes the configuration from those in force.
pub(crate) async fn accept(
    listener: TcpListener,
    configs: watch::Receiver<ServerConfigs>,
    choose: fn(&ServerConfigs) -> Arc<ServerConfig>,
    metrics: Arc<Metrics>,
    connections: mpsc::Sender<io::Result<TlsConnection>>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = handshakes.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = connections.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "accepting a connection failed");
                sleep(PAUSE).await;
                continue;
            }
        };
        let config = choose(&configs.borrow());
        let (metrics, connections) = (metrics.clone(), connections.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE, handshake(stream, address, config)).await {
                // A send error means that the server stops.
                Ok(Ok(connection)) => drop(connections.send(Ok(connection)).await),
                Ok(Err(error)) => {
                    debug!(%address, %error, "a handshake failed");
                    metrics.handshake_failed();
                }
                Err(_) => {
                    debug!(%address, "a handshake took too long");
                    metrics.handshake_failed();
                }
            }
            drop(permit);
        });
    }
}

async fn handshake(stream: TcpStream, address: SocketAddr, config: Arc<ServerConfig>) -> io::Result<TlsConnection> {
    stream.set_nodelay(true)?;
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let identity = peer_identity(stream.get_ref().1);
    Ok(TlsConnection { stream, peer: Peer { address, identity } })
}
