//! Applications for tests.
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// An application that runs until it is dropped.
#[derive(Debug)]
pub struct Application {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    status: Arc<AtomicU16>,
    task: JoinHandle<()>,
}

/// The status of an application that does not answer.
const SILENT: u16 = 0;

/// One request as the application got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The request line's first two parts, joined by a space.
    pub line: String,
    /// The whole head as text, with the line.
    pub head: String,
}

impl Application {
    /// An HTTP/1.1 server that answers each request with 200 and `name` as its body, and remembers the heads.
    ///
    /// # Panics
    /// Where no port can be bound.
    pub async fn http(name: &'static str) -> Self {
        Self::http_at("127.0.0.1:0".parse().expect("an address"), name).await
    }

    /// The same at an address that is known: where one listened that has ended.
    ///
    /// # Panics
    /// Where the address cannot be bound.
    pub async fn http_at(address: SocketAddr, name: &'static str) -> Self {
        Self::serve(address, move |stream, seen, status| async move {
            // A client that goes away in the middle is not the application's concern.
            let _gone = answer(stream, name, usize::MAX, &seen, &status).await;
        })
        .await
    }

    /// The same, but it closes each connection without notice once it has answered so many requests on it, and so late
    /// that the next request meets the close: what was sent is neither answered nor remembered.
    ///
    /// # Panics
    /// Where no port can be bound.
    pub async fn careless(name: &'static str, requests: usize) -> Self {
        Self::serve("127.0.0.1:0".parse().expect("an address"), move |stream, seen, status| async move {
            let _gone = answer(stream, name, requests, &seen, &status).await;
        })
        .await
    }

    /// From now on HTTP requests are answered with this status.
    pub fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// From now on HTTP requests are read and not answered.
    pub fn fall_silent(&self) {
        self.answer_with(SILENT);
    }

    /// A TCP server that says `greeting` first, then returns every byte, then closes its half.
    ///
    /// # Panics
    /// Where no port can be bound.
    pub async fn echo(greeting: &'static str) -> Self {
        Self::serve("127.0.0.1:0".parse().expect("an address"), move |mut stream: TcpStream, _, _| async move {
            let echo = async {
                stream.write_all(greeting.as_bytes()).await?;
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await?;
                writer.shutdown().await
            };
            let _gone: io::Result<()> = echo.await;
        })
        .await
    }

    /// What the application has got so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn serve<F>(
        address: SocketAddr,
        connection: impl Fn(TcpStream, Arc<Mutex<Vec<Seen>>>, Arc<AtomicU16>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound address");
        let seen = Arc::default();
        let remembered = Arc::clone(&seen);
        let status = Arc::new(AtomicU16::new(200));
        let told = Arc::clone(&status);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&remembered), Arc::clone(&told)));
            }
        });
        Self { address, seen, status, task }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut stream: TcpStream,
    name: &str,
    requests: usize,
    seen: &Mutex<Vec<Seen>>,
    status: &AtomicU16,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut answered) = (Vec::new(), 0);
    while let Some(head) = read_head(&mut stream, &mut buffer).await? {
        if answered == requests {
            return Ok(());
        }
        answered += 1;
        let line = head.lines().next().unwrap_or_default().rsplit_once(' ').map_or("", |(line, _)| line).to_owned();
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(Seen { line, head });
        let (length, status) = (name.len(), status.load(Ordering::SeqCst));
        if status == SILENT {
            return std::future::pending().await;
        }
        stream.write_all(format!("HTTP/1.1 {status} OK\r\ncontent-length: {length}\r\n\r\n{name}").as_bytes()).await?;
    }
    Ok(())
}

/// The next head of a request on a connection, its last empty line included; `None` where the connection ends before. What
/// comes behind it stays in the buffer.
///
/// # Errors
/// What the system says.
pub async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(at) = buffer.windows(4).position(|it| it == b"\r\n\r\n") {
            let rest = buffer.split_off(at + 4);
            let head = std::mem::replace(buffer, rest);
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
