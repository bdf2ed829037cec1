//! The load: by the clock, whatever has become of what was sent before.
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{StreamExt, stream};
use tokio::{task::JoinHandle, time::timeout};
use tonic::Code;
use weft_harness::{
    Connection, Pool, Reply, echoed, eventually,
    grpc::{Client, text},
    open_loop,
    process::Sidecar,
};

use crate::mesh::COOKIE;

/// Requests, calls and connections a second.
const RATE: u32 = 200;
/// What is not answered by then has failed.
const LATE: Duration = Duration::from_secs(10);
/// Users who come with the cookie that their first answer set.
pub(crate) const USERS: usize = 24;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP with `x-canary: always`.
    Canary,
    /// HTTP with the cookie of this user.
    User(usize),
    /// HTTP without either; every other one a POST.
    Plain,
    /// A unary gRPC call.
    Call,
    /// A streaming gRPC call, both ways.
    Stream,
    /// A TCP connection.
    Tcp,
}

impl Kind {
    /// Of each twenty: two TCP connections, four gRPC calls, three canaries, three plain requests, eight of users.
    fn of(number: u64) -> Self {
        match number % 20 {
            0 | 10 => Self::Tcp,
            1 | 8 | 15 => Self::Call,
            6 => Self::Stream,
            2 | 9 | 16 => Self::Canary,
            3 | 12 | 18 => Self::Plain,
            other => Self::User((number / 20 * 20 + other) as usize % USERS),
        }
    }
}

/// One that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) kind: Kind,
    /// Whether it came on a connection of its own.
    pub(crate) fresh: bool,
    /// When it began.
    pub(crate) began: Instant,
    /// When its answer was whole.
    pub(crate) ended: Instant,
    /// Who answered (`v1-0`; of gRPC and TCP nothing), or why nobody did as expected.
    pub(crate) answer: Result<String, String>,
}

/// The caller's side.
pub(crate) struct Load {
    outbound: SocketAddr,
    stock: SocketAddr,
    calls: Client,
    pool: Pool,
    cookies: Vec<String>,
    sent: Mutex<Vec<Sent>>,
}

impl Load {
    /// Waits until everything answers, and lets each user come for the first time.
    pub(crate) async fn new(web: &Sidecar) -> Result<Self> {
        let (outbound, stock) = (web.outbound()?, web.tcp("shop/stock:9000")?);
        let calls = Client::connect(outbound, "ratings.shop:50051").await?;
        let mut cookies = Vec::new();
        for user in 0..USERS {
            let first = eventually("a user's first answer", async || {
                let reply = Connection::open(outbound).await.ok()?.get("reviews", "/", &[]).await.ok()?;
                (reply.status == 200).then_some(reply)
            });
            let cookie = first.await.header("set-cookie").and_then(|it| it.split(';').next()).map(str::to_owned);
            let cookie = cookie.filter(|it| it.starts_with(COOKIE));
            cookies.push(cookie.with_context(|| format!("user {user} gets no cookie"))?);
        }
        let load = Self { outbound, stock, calls, pool: Pool::default(), cookies, sent: Mutex::default() };
        for kind in [Kind::Canary, Kind::Call, Kind::Stream, Kind::Tcp] {
            eventually("an answer of each kind", async || load.ask(kind, 0, true).await.ok()).await;
        }
        Ok(load)
    }

    /// Starts it; it runs until it is ended.
    pub(crate) fn start(self: &Arc<Self>) -> Running {
        let (stop, load) = (Arc::new(AtomicBool::new(false)), Arc::clone(self));
        let each = move |number, _| Arc::clone(&load).one(number);
        let task = tokio::spawn(open_loop(RATE, Arc::clone(&stop), each));
        Running { load: Arc::clone(self), stop, task, started: Instant::now() }
    }

    async fn one(self: Arc<Self>, number: u64) {
        let kind = Kind::of(number);
        // Of HTTP and gRPC every tenth; a TCP connection is one by itself.
        let fresh = kind == Kind::Tcp || (number / 20 + number).is_multiple_of(10);
        let began = Instant::now();
        let answer = timeout(LATE, self.ask(kind, number, fresh)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("nothing within {LATE:?}")));
        let sent = Sent { kind, fresh, began, ended: Instant::now(), answer };
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
    }

    async fn ask(&self, kind: Kind, number: u64, fresh: bool) -> Result<String, String> {
        match kind {
            Kind::Canary => self.get("x-canary: always\r\n", number, fresh).await,
            Kind::User(user) => self.get(&format!("cookie: {}\r\n", self.cookies[user]), number, fresh).await,
            Kind::Plain => self.get("", number, fresh).await,
            Kind::Call | Kind::Stream => {
                let client = match fresh {
                    true => Client::connect(self.outbound, "ratings.shop:50051").await.map_err(|e| e.to_string())?,
                    false => self.calls.clone(),
                };
                if kind == Kind::Call { call(client).await } else { converse(client).await }
            }
            Kind::Tcp => {
                let answer = echoed(self.stock, b"any?\n").await.map_err(|error| error.to_string())?;
                if answer == b"hello\nany?\n" { Ok(String::new()) } else { Err(format!("{answer:?} came back")) }
            }
        }
    }

    async fn get(&self, fields: &str, number: u64, fresh: bool) -> Result<String, String> {
        let method = if fields.is_empty() && number.is_multiple_of(2) { "POST" } else { "GET" };
        let head = format!("{method} /{number} HTTP/1.1\r\nHost: reviews\r\n{fields}Content-Length: 0\r\n\r\n");
        let exchange = async {
            let mut connection = match fresh {
                true => Connection::open(self.outbound).await?,
                false => self.pool.take(self.outbound).await?,
            };
            connection.send(head.as_bytes()).await?;
            let reply = connection.receive().await?;
            if !fresh && reply.header("connection") != Some("close") {
                self.pool.keep(self.outbound, connection);
            }
            Ok::<Reply, io::Error>(reply)
        };
        match exchange.await {
            Ok(reply) if reply.status == 200 => Ok(reply.text()),
            Ok(reply) => Err(format!("{method} was answered {}: {}", reply.status, reply.text().trim())),
            Err(error) => Err(format!("{method}: {error}")),
        }
    }
}

async fn call(mut client: Client) -> Result<String, String> {
    match client.unary("/shop.Reviews/Get", text("book")).await {
        Ok(answer) if answer == "review of book" => Ok(String::new()),
        other => Err(format!("a call was answered {other:?}")),
    }
}

/// Three questions, half a second apart in all, each with its answer, and the status behind them.
async fn converse(mut client: Client) -> Result<String, String> {
    let questions = stream::iter(["a", "b", "c"]).then(|text| async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        text.to_owned()
    });
    let mut answers = client.echo(questions).await.map_err(|status| format!("a stream was refused: {status}"))?;
    for expected in ["echo a", "echo b", "echo c"] {
        match answers.message().await {
            Ok(Some(text)) if text == expected => {}
            other => return Err(format!("a stream was answered {other:?}")),
        }
    }
    match answers.message().await {
        Err(status) if status.code() == Code::OutOfRange => Ok(String::new()),
        other => Err(format!("a stream ended with {other:?}")),
    }
}

/// A load that runs.
pub(crate) struct Running {
    load: Arc<Load>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<u64>,
    pub(crate) started: Instant,
}

impl Running {
    /// Ends it, waits for what is under way, and says what came of all.
    pub(crate) async fn end(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let count = self.task.await.unwrap();
        let sent = std::mem::take(&mut *self.load.sent.lock().unwrap_or_else(PoisonError::into_inner));
        assert_eq!(sent.len() as u64, count, "each has come to an end");
        sent
    }
}
