//! What open loops are made of: the clock, and the connections that a client keeps between its requests.
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::sleep_until,
};

use crate::{Connection, process::Place};

/// Starts what `each` makes of a number and the moment at which it is due, so many times a second, whatever has become of
/// what was started before; returns how many they were once it was told to stop and the last has ended.
pub async fn open_loop<F>(rate: u32, stop: Arc<AtomicBool>, mut each: impl FnMut(u64, Instant) -> F) -> u64
where
    F: Future<Output = ()> + Send + 'static,
{
    let (started, mut under_way, mut number) = (Instant::now(), JoinSet::new(), 0);
    loop {
        let due = started + Duration::from_nanos(number * 1_000_000_000 / u64::from(rate.max(1)));
        sleep_until(due.into()).await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        under_way.spawn(each(number, due));
        number += 1;
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
    number
}

/// HTTP/1.1 connections that have nothing under way, and where they lead.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    place: Place,
    idle: Arc<Mutex<Vec<(SocketAddr, Connection)>>>,
}

impl Pool {
    /// One whose connections are made from a place.
    pub fn at(place: &Place) -> Self {
        Self { place: place.clone(), ..Self::default() }
    }

    /// A kept connection that leads there and that nobody has closed, else a new one. Those that lead elsewhere go.
    ///
    /// # Errors
    /// What the system says of a new one.
    pub async fn take(&self, address: SocketAddr) -> io::Result<Connection> {
        let kept = {
            let mut idle = self.lock();
            idle.retain(|(leads, _)| *leads == address);
            std::iter::from_fn(|| idle.pop()).map(|(_, connection)| connection).find(Connection::is_idle)
        };
        match kept {
            Some(connection) => Ok(connection),
            None => Connection::open_from(&self.place, address).await,
        }
    }

    /// Keeps one on which nothing is under way.
    pub fn keep(&self, address: SocketAddr, connection: Connection) {
        self.lock().push((address, connection));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(SocketAddr, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes back on a TCP connection of its own on which these bytes are sent and no more.
///
/// # Errors
/// What the system says.
pub async fn echoed(address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}
