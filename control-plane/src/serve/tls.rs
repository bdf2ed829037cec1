//! Accepting TLS connections: no error of one connection ends the loop, and nobody holds it up.
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;
use tracing::{debug, warn};
use weft_certs::{tls::peer_identity, verify::not_after_of};

use super::{peer::Peer, strangers::Strangers};
use crate::{authority::ServerConfigs, metrics::Metrics};

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How many handshakes run at a time; further connections wait in the kernel's queue.
const HANDSHAKES: usize = 1_024;

/// The most connections of the gRPC port: a proxy has one or two.
const MAX_CONNECTIONS: usize = 32_768;

/// The most connections of clients without certificate on the gRPC port.
const MAX_STRANGERS: usize = 256;

/// The longest wait for a certificate's end without a look at the clock.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How long accepting pauses when the system is out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// The places of a port whose connections stay.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    strangers: Strangers,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(MAX_CONNECTIONS)), strangers: Strangers::new(MAX_STRANGERS) }
    }
}

/// A connection whose handshake is done.
pub(crate) struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    /// Ends when the connection is to be closed.
    unwelcome: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Held until the connection is dropped.
    place: Option<OwnedSemaphorePermit>,
}

impl TlsConnection {
    /// Gives it a place; `None` where there is none.
    fn seated(mut self, places: &Places) -> Option<Self> {
        self.place = Some(places.all.clone().try_acquire_owned().ok()?);
        if self.peer.identity.is_none() {
            let stranger = places.strangers.admit();
            self.unwelcome = Some(Box::pin(stranger.clone().unwelcome()));
            self.peer.stranger = Some(stranger);
        } else if let Some(end) = self.certificate_end() {
            self.unwelcome = Some(Box::pin(ended(end)));
        }
        Some(self)
    }
}

impl TlsConnection {
    /// Until when the peer's certificate is valid.
    fn certificate_end(&self) -> Option<SystemTime> {
        let leaf = self.stream.get_ref().1.peer_certificates()?.first()?;
        not_after_of(leaf).ok()
    }
}

/// Waits until that time of day: what a certificate has proven is not believed any longer, so its streams end with it,
/// and the proxy opens them again by the renewed one if it has not done so before.
async fn ended(end: SystemTime) {
    while let Ok(left) = end.duration_since(SystemTime::now()) {
        // In parts, so that a clock that was set is noticed.
        sleep(left.min(LONGEST_SLEEP)).await;
    }
}

impl Connected for TlsConnection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, unwelcome, .. } = self.get_mut();
        if unwelcome.as_mut().is_some_and(|unwelcome| unwelcome.as_mut().poll(cx).is_ready()) {
            // A future that has ended is not polled again: whoever reads on hears the same.
            *unwelcome = Some(Box::pin(std::future::poll_fn(|_| Poll::Ready(()))));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(stream).poll_read(cx, buf)
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
/// With `places`, what finds none is closed, and strangers are held to what they may.
pub(crate) async fn accept(
    listener: TcpListener,
    configs: watch::Receiver<ServerConfigs>,
    choose: fn(&ServerConfigs) -> Arc<ServerConfig>,
    metrics: Arc<Metrics>,
    places: Option<Arc<Places>>,
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
        let (metrics, places, connections) = (metrics.clone(), places.clone(), connections.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE, handshake(stream, address, config)).await {
                Ok(Ok(connection)) => {
                    let seated = match places {
                        Some(places) => connection.seated(&places),
                        None => Some(connection),
                    };
                    match seated {
                        // A send error means that the server stops.
                        Some(connection) => drop(connections.send(Ok(connection)).await),
                        None => {
                            warn!(%address, "there are too many connections: this one is closed");
                            metrics.connection_refused();
                        }
                    }
                }
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
    let peer = Peer { address, identity, stranger: None };
    Ok(TlsConnection { stream, peer, unwelcome: None, place: None })
}
