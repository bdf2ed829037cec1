//! Applications that keep a log of the ids that they were asked for, and that fail on demand.
use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use weft_harness::{Connection, process::Place, read_head};

/// How an application behaves from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It answers 200.
    Serve,
    /// It answers 200 after so long.
    Delay(Duration),
    /// It takes requests and never answers.
    Silent,
    /// It sends so many bytes of an answer and resets the connection.
    ResetAfter(usize),
    /// It answers 200 with a body of so many bytes.
    Large(usize),
    /// It answers with this status.
    Status(u16),
}

/// An application on the loopback interface of its pod; it runs until it is dropped.
#[derive(Debug)]
pub struct Backend {
    /// Its name, which is the body of each answer.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    name: String,
    place: Place,
    mode: Mutex<Mode>,
    log: Mutex<HashMap<String, Vec<Instant>>>,
    /// Where it forwards each request to before it answers: the outbound listener of its sidecar, and the host.
    next: Mutex<Option<(SocketAddr, String)>>,
}

impl Backend {
    /// Starts one on a port of the system's choice.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(place: &Place, name: &str) -> io::Result<Self> {
        let listener = place.listen((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            name: name.to_owned(),
            place: place.clone(),
            mode: Mutex::new(Mode::Serve),
            log: Mutex::default(),
            next: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    // Descriptors have run out, or a client was gone at once: the next one is served again.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let state = Arc::clone(&shared);
                // A client that goes away in the middle is not the application's concern.
                tokio::spawn(async move { state.connection(stream).await.is_ok() });
            }
        });
        Ok(Self { name: name.to_owned(), address, state, task })
    }

    /// Behaves so from the next request on.
    pub fn set(&self, mode: Mode) {
        *lock(&self.state.mode) = mode;
    }

    /// Forwards each request to `host` by the outbound listener of its sidecar, and passes the answer's status on.
    pub fn calls(&self, outbound: SocketAddr, host: &str) {
        *lock(&self.state.next) = Some((outbound, host.to_owned()));
    }

    /// How often each id was asked for.
    pub fn seen(&self) -> HashMap<String, usize> {
        lock(&self.state.log).iter().map(|(id, times)| (id.clone(), times.len())).collect()
    }

    /// How many requests came, repetitions included.
    pub fn requests(&self) -> usize {
        lock(&self.state.log).values().map(Vec::len).sum()
    }

    /// How many requests came after a moment.
    pub fn since(&self, moment: Instant) -> usize {
        lock(&self.state.log).values().flatten().filter(|at| **at > moment).count()
    }

    /// How many requests came between two moments.
    pub fn between(&self, from: Instant, to: Instant) -> usize {
        lock(&self.state.log).values().flatten().filter(|at| **at >= from && **at < to).count()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    async fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::new();
        while let Some(head) = read_head(&mut stream, &mut buffer).await? {
            let length = header(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
            read_body(&mut stream, &mut buffer, length).await?;
            let mut line = head.lines().next().unwrap_or_default().split(' ');
            let (method, path) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
            lock(&self.log).entry(path.trim_start_matches('/').to_owned()).or_default().push(Instant::now());
            let mode = *lock(&self.mode);
            let next = lock(&self.next).clone();
            let status = match next {
                Some((outbound, host)) => {
                    let next = Connection::open_from(&self.place, outbound).await;
                    forward(next, &host, method, path, length).await.unwrap_or(502)
                }
                None => 200,
            };
            match mode {
                Mode::Serve => answer(&mut stream, status, &self.name).await?,
                Mode::Large(bytes) => large(&mut stream, bytes).await?,
                Mode::Status(status) => answer(&mut stream, status, &self.name).await?,
                Mode::Delay(time) => {
                    tokio::time::sleep(time).await;
                    answer(&mut stream, status, &self.name).await?;
                }
                Mode::Silent => return std::future::pending().await,
                Mode::ResetAfter(bytes) => {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 2 * bytes);
                    stream.write_all(head.as_bytes()).await?;
                    stream.write_all(&vec![b'x'; bytes]).await?;
                    stream.flush().await?;
                    return reset(stream);
                }
            }
        }
        Ok(())
    }
}

async fn answer(stream: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let length = body.len();
    stream.write_all(format!("HTTP/1.1 {status} -\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes()).await
}

/// A long answer, of which no more is held here than is being written.
async fn large(stream: &mut TcpStream, bytes: usize) -> io::Result<()> {
    const PART: [u8; 16 << 10] = [b'x'; 16 << 10];
    stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n").as_bytes()).await?;
    let mut left = bytes;
    while left > 0 {
        let part = PART.get(..left.min(PART.len())).unwrap_or_default();
        stream.write_all(part).await?;
        left -= part.len();
    }
    Ok(())
}

/// The next hop's status.
async fn forward(next: io::Result<Connection>, host: &str, method: &str, path: &str, length: usize) -> io::Result<u16> {
    let mut next = next?;
    let body = "x".repeat(length);
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n{body}");
    next.send(request.as_bytes()).await?;
    Ok(next.receive().await?.status)
}

/// Closes a connection by RST.
fn reset(stream: TcpStream) -> io::Result<()> {
    let stream = stream.into_std()?;
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok(())
}

async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> io::Result<()> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    buffer.drain(..length);
    Ok(())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
