//! The load on what is replaced: HTTP/1.1, gRPC and TCP, by the clock.
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::time::timeout;
use weft_harness::{
    Connection, Pool, echoed,
    grpc::{self, Client},
    process::Sidecar,
};

/// Requests, calls and connections a second.
pub(crate) const RATE: u32 = 1_000;
/// What has not been answered by then is lost.
const LATE: Duration = Duration::from_secs(10);

/// Where the load goes: the listeners of the caller's sidecar of the moment, and a gRPC client of it.
#[derive(Clone)]
pub(crate) struct Target {
    outbound: SocketAddr,
    stock: SocketAddr,
    ratings: Client,
}

impl Target {
    pub(crate) async fn at(web: &Sidecar) -> Self {
        let (outbound, stock) = (web.outbound().unwrap(), web.tcp("shop/stock:9000").unwrap());
        let ratings = Client::connect(outbound, "ratings.shop:50051").await.unwrap();
        Self { outbound, stock, ratings }
    }
}

/// The methods that change something, in turn.
pub(crate) const CHANGES: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// HTTP/1.1, every fifth of a method that changes something ([`CHANGES`]), which nobody may send twice.
    Request,
    /// HTTP/1.1 to an application that closes connections without notice, every third a POST.
    Careless,
    Call,
    /// Ten questions and answers in a second.
    Stream,
    Tcp,
}

impl Kind {
    const fn of(number: u64) -> Self {
        match number % 100 {
            0 | 20 | 40 | 60 | 80 => Self::Tcp,
            50 => Self::Stream,
            10 | 30 | 70 => Self::Careless,
            rest if rest % 10 == 5 => Self::Call,
            _ => Self::Request,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Request | Self::Careless => "HTTP/1.1",
            Self::Call => "gRPC calls",
            Self::Stream => "gRPC streams",
            Self::Tcp => "TCP",
        }
    }
}

/// How one ended.
enum Ended {
    Answered,
    /// A POST that its application cut.
    UpstreamClosed,
    Lost(String),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

/// A load, and what has come of it.
pub(crate) struct Load {
    target: Mutex<Target>,
    pool: Pool,
    came: Mutex<Came>,
}

#[derive(Default)]
struct Came {
    kinds: BTreeMap<&'static str, usize>,
    upstream_closed: usize,
    lost: Vec<String>,
}

/// What has come of it.
pub(crate) struct Outcome {
    /// How many of each kind.
    pub(crate) kinds: String,
    /// POSTs that their application cut.
    pub(crate) upstream_closed: usize,
    /// What was lost, and why.
    pub(crate) lost: Vec<String>,
}

impl Load {
    pub(crate) fn new(target: Target) -> Arc<Self> {
        Arc::new(Self { target: Mutex::new(target), pool: Pool::default(), came: Mutex::default() })
    }

    /// From now on it goes there.
    pub(crate) fn aim(&self, target: Target) {
        *self.target.lock().unwrap() = target;
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let mut came = self.came.lock().unwrap();
        let kinds: Vec<_> = came.kinds.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let lost = std::mem::take(&mut came.lost);
        Outcome { kinds: kinds.join(", "), upstream_closed: came.upstream_closed, lost }
    }

    /// Sends one and notes what came of it.
    pub(crate) async fn one(self: Arc<Self>, number: u64) {
        let kind = Kind::of(number);
        let target = self.target.lock().unwrap().clone();
        let exchange = async {
            match kind {
                // What is left of five and of ten belongs to other kinds.
                Kind::Request => self.request(&target, "reviews", number, method(number)).await,
                // Numbers of this kind are tens.
                Kind::Careless => {
                    let method = if (number / 10).is_multiple_of(3) { "POST" } else { "GET" };
                    self.request(&target, "careless", number, method).await
                }
                Kind::Call => call(target.ratings.clone()).await,
                Kind::Stream => converse(target.ratings.clone()).await,
                Kind::Tcp => self.connection(&target).await,
            }
        };
        let ended = timeout(LATE, exchange).await.unwrap_or_else(|_| Ended::Lost(format!("nothing within {LATE:?}")));
        let mut came = self.came.lock().unwrap();
        *came.kinds.entry(kind.name()).or_default() += 1;
        match ended {
            Ended::Answered => {}
            Ended::UpstreamClosed => came.upstream_closed += 1,
            Ended::Lost(why) => came.lost.push(format!("{kind:?} {number}: {why}")),
        }
    }

    async fn request(&self, target: &Target, host: &str, number: u64, method: &str) -> Ended {
        match self.exchange(target, host, number, method).await {
            Ok(ended) => ended,
            Err(error) => error.into(),
        }
    }

    async fn exchange(&self, target: &Target, host: &str, number: u64, method: &str) -> io::Result<Ended> {
        let mut address = target.outbound;
        let mut connection = match self.pool.take(address).await {
            Ok(connection) => connection,
            // The sidecar was replaced between the look and the call: nothing was sent.
            Err(error) => {
                let now = self.target.lock().unwrap().outbound;
                if now == address {
                    return Err(error);
                }
                address = now;
                Connection::open(address).await?
            }
        };
        let head = format!("{method} /{number} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        connection.send(head.as_bytes()).await?;
        let reply = connection.receive().await?;
        if reply.header("connection") != Some("close") {
            self.pool.keep(address, connection);
        }
        let text = reply.text();
        Ok(match reply.status {
            200 => Ended::Answered,
            502 if method == "POST" && host == "careless" && text.contains("the upstream") => Ended::UpstreamClosed,
            status => Ended::Lost(format!("{method} was answered {status}: {}", text.trim())),
        })
    }

    /// One connection: the server's greeting, and our bytes back.
    async fn connection(&self, target: &Target) -> Ended {
        let mut answer = echoed(target.stock, b"ping").await;
        let now = self.target.lock().unwrap().stock;
        if answer.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) && now != target.stock {
            answer = echoed(now, b"ping").await;
        }
        match answer {
            Ok(answer) if answer == b"hello\nping" => Ended::Answered,
            Ok(answer) => Ended::Lost(format!("{answer:?} came back")),
            Err(error) => error.into(),
        }
    }
}

fn method(number: u64) -> &'static str {
    if number % 5 != 1 {
        return "GET";
    }
    CHANGES[usize::try_from(number / 5).unwrap() % CHANGES.len()]
}

async fn call(mut client: Client) -> Ended {
    match client.unary("/shop.Reviews/Get", grpc::text("book")).await {
        Ok(text) if text == "review of book" => Ended::Answered,
        other => Ended::Lost(format!("{other:?}")),
    }
}

/// The stream ends by the application's own status once it was asked ten times.
async fn converse(mut client: Client) -> Ended {
    let questions = stream::iter(0..10).then(|number| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        number.to_string()
    });
    let mut answers = match client.echo(questions).await {
        Ok(answers) => answers,
        Err(status) => return Ended::Lost(format!("refused: {status}")),
    };
    for number in 0..10 {
        match answers.message().await {
            Ok(Some(text)) if text == format!("echo {number}") => {}
            other => return Ended::Lost(format!("the answer to {number} was {other:?}")),
        }
    }
    match answers.message().await {
        Err(status) if status.message() == "no more" => Ended::Answered,
        other => Ended::Lost(format!("it ended with {other:?}")),
    }
}
