//! An open-loop load: requests are sent when they are due, whether or not earlier ones were answered, and latency counts
//! from when a request was due.
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{task::JoinHandle, time::timeout};
use weft_harness::{
    Connection, Pool, Reply, open_loop,
    process::{Place, Sidecar},
};

/// How long a request waits for its answer before it counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is sent where.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where it comes from.
    pub place: Place,
    /// The caller's outbound listener.
    pub outbound: SocketAddr,
    /// The service.
    pub host: String,
    /// Requests a second.
    pub rate: u32,
    /// One request in so many comes on a connection of its own; 0 for none.
    pub fresh: u32,
    /// One request in so many is a POST with a body; 0 for none.
    pub posts: u32,
    /// What methods, connections and ids are drawn from.
    pub seed: u64,
}

impl Load {
    /// 200 requests a second, a tenth on new connections, a fifth of them POSTs.
    ///
    /// # Errors
    /// That the caller has no outbound listener.
    pub fn new(caller: &Sidecar, host: &str, seed: u64) -> Result<Self> {
        Ok(Self::at(caller.place(), caller.outbound()?, host, seed))
    }

    /// The same, from a place to an address.
    pub fn at(place: &Place, outbound: SocketAddr, host: &str, seed: u64) -> Self {
        Self { place: place.clone(), outbound, host: host.to_owned(), rate: 200, fresh: 10, posts: 5, seed }
    }

    /// At another rate.
    #[must_use]
    pub fn rate(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    /// Starts it; it runs until it is ended.
    pub fn start(self) -> Running {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<Sent>>>::default());
        let task = tokio::spawn(self.run(Arc::clone(&stop), Arc::clone(&sent)));
        Running { stop, sent, task, started: Instant::now() }
    }

    async fn run(self, stop: Arc<AtomicBool>, sent: Arc<Mutex<Vec<Sent>>>) {
        let (mut draws, pool) = (StdRng::seed_from_u64(self.seed), Pool::at(&self.place));
        open_loop(self.rate, stop, |number, due| {
            let mut one_in = |count: u32| count > 0 && draws.random_range(0..count) == 0;
            let (fresh, post) = (one_in(self.fresh), one_in(self.posts));
            let request = Request { id: format!("{:x}-{number}", self.seed), post, fresh, due };
            let (load, pool, sent) = (self.clone(), pool.clone(), Arc::clone(&sent));
            async move {
                let outcome = load.ask(&request, &pool).await;
                let Request { id, post, due, .. } = request;
                let record = Sent { id, post, due, latency: due.elapsed(), outcome };
                sent.lock().unwrap_or_else(PoisonError::into_inner).push(record);
            }
        })
        .await;
    }

    async fn ask(&self, request: &Request, pool: &Pool) -> Outcome {
        let exchange = async {
            let mut connection = match request.fresh {
                true => Connection::open_from(&self.place, self.outbound).await?,
                false => pool.take(self.outbound).await?,
            };
            let (method, body) = if request.post { ("POST", "twelve bytes") } else { ("GET", "") };
            let (id, host, length) = (&request.id, &self.host, body.len());
            let text = format!("{method} /{id} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n{body}");
            connection.send(text.as_bytes()).await?;
            let reply = connection.receive().await?;
            Ok::<_, io::Error>((reply, connection))
        };
        match timeout(PATIENCE, exchange).await {
            Ok(Ok((reply, connection))) => {
                if !request.fresh {
                    pool.keep(self.outbound, connection);
                }
                Outcome::of(&reply)
            }
            Ok(Err(error)) => Outcome::Unanswered(error.to_string()),
            Err(_) => Outcome::Unanswered(format!("nothing within {PATIENCE:?}")),
        }
    }
}

struct Request {
    id: String,
    post: bool,
    fresh: bool,
    due: Instant,
}

/// One request that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its id, which is its path.
    pub id: String,
    /// Whether it was a POST.
    pub post: bool,
    /// When it was due.
    pub due: Instant,
    /// From then to the end of its answer.
    pub latency: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer of the application, with its status.
    Answered(u16),
    /// An answer of the mesh itself, with its status and text.
    Refused(u16, String),
    /// No answer, and why.
    Unanswered(String),
}

impl Outcome {
    fn of(reply: &Reply) -> Self {
        match reply.header("x-weft-decision") {
            Some(_) => Self::Refused(reply.status, reply.text()),
            None => Self::Answered(reply.status),
        }
    }
}

/// A load that runs.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Sent>>>,
    task: JoinHandle<()>,
    /// When it began.
    pub started: Instant,
}

impl Running {
    /// Ends it, waits for what is under way, and says what came of all.
    pub async fn end(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        // It ends by itself: nothing in it panics.
        let _ended = self.task.await;
        let mut sent = std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner));
        sent.sort_by_key(|it| it.due);
        Report { sent }
    }
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every request, in the order in which they were due.
    pub sent: Vec<Sent>,
}

impl Report {
    /// The requests that are lost: without an answer, or with a 5xx of the mesh's own.
    pub fn lost(&self) -> Vec<&Sent> {
        let lost = |outcome: &Outcome| match outcome {
            Outcome::Answered(_) => false,
            Outcome::Refused(status, _) => *status >= 500,
            Outcome::Unanswered(_) => true,
        };
        self.sent.iter().filter(|it| lost(&it.outcome)).collect()
    }

    /// How many were answered with a status below 400.
    pub fn succeeded(&self) -> usize {
        self.sent.iter().filter(|it| matches!(it.outcome, Outcome::Answered(status) if status < 400)).count()
    }

    /// What the lost ones ended with, each text with its count.
    pub fn causes(&self) -> String {
        let mut causes: HashMap<String, usize> = HashMap::new();
        for lost in self.lost() {
            let text = match &lost.outcome {
                Outcome::Answered(status) => status.to_string(),
                Outcome::Refused(status, text) => format!("{status} {}", text.lines().next().unwrap_or_default()),
                Outcome::Unanswered(text) => text.clone(),
            };
            *causes.entry(text).or_default() += 1;
        }
        let mut causes: Vec<_> = causes.into_iter().map(|(text, count)| format!("{count} × {text}")).collect();
        causes.sort();
        causes.truncate(5);
        causes.join(", ")
    }

    /// The part that was due between two moments.
    pub fn between(&self, from: Instant, to: Instant) -> Self {
        Self { sent: self.sent.iter().filter(|it| it.due >= from && it.due < to).cloned().collect() }
    }

    /// The latency below which this share of the requests lies, in thousandths.
    pub fn latency(&self, per_mille: usize) -> Duration {
        let mut latencies: Vec<_> = self.sent.iter().map(|it| it.latency).collect();
        latencies.sort_unstable();
        let at = (latencies.len() * per_mille / 1000).min(latencies.len().saturating_sub(1));
        latencies.get(at).copied().unwrap_or_default()
    }

    /// How many of the POSTs, or of the other requests, were seen more than once by the applications.
    pub fn doubled<'a>(&self, backends: impl IntoIterator<Item = &'a crate::Backend>, posts: bool) -> usize {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for backend in backends {
            for (id, count) in backend.seen() {
                *seen.entry(id).or_default() += count;
            }
        }
        self.sent.iter().filter(|it| it.post == posts && seen.get(&it.id).is_some_and(|count| *count > 1)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backend;

    fn sent(outcome: Outcome, millis: u64) -> Sent {
        Sent { id: "a".into(), post: false, due: Instant::now(), latency: Duration::from_millis(millis), outcome }
    }

    #[test]
    fn what_the_mesh_refuses_or_leaves_unanswered_is_lost_and_an_applications_error_is_not() {
        let report = Report {
            sent: vec![
                sent(Outcome::Answered(200), 1),
                sent(Outcome::Answered(503), 2),
                sent(Outcome::Refused(403, "no".into()), 3),
                sent(Outcome::Refused(503, "no endpoint".into()), 4),
                sent(Outcome::Unanswered("reset".into()), 5),
            ],
        };
        assert_eq!((report.lost().len(), report.succeeded()), (2, 1));
        assert_eq!(report.causes(), "1 × 503 no endpoint, 1 × reset");
        assert_eq!((report.latency(500), report.latency(1000)), (Duration::from_millis(3), Duration::from_millis(5)));
    }

    #[tokio::test]
    async fn requests_go_when_they_are_due_though_none_is_answered() {
        let backend = Backend::start(&Place::default(), "silent").unwrap();
        backend.set(crate::Mode::Silent);
        let load = Load { posts: 2, ..Load::at(&Place::default(), backend.address, "silent", 7) };
        let running = load.start();
        let deadline = Instant::now() + Duration::from_secs(20);
        while backend.requests() < 40 {
            assert!(Instant::now() < deadline, "{} requests came", backend.requests());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(backend);
        drop(running);
    }

    #[tokio::test]
    async fn each_id_is_seen_once_and_a_repeated_one_is_found() {
        let backend = Backend::start(&Place::default(), "one").unwrap();
        let running = Load::at(&Place::default(), backend.address, "one", 7).start();
        let deadline = Instant::now() + Duration::from_secs(20);
        while backend.requests() < 40 {
            assert!(Instant::now() < deadline, "{} requests came", backend.requests());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let report = running.end().await;
        assert_eq!((report.lost().len(), report.succeeded()), (0, report.sent.len()));
        assert_eq!(report.doubled([&backend], true) + report.doubled([&backend], false), 0);
        let mut connection = Connection::open(backend.address).await.unwrap();
        let first = &report.sent[0];
        connection.get("one", &format!("/{}", first.id), &[]).await.unwrap();
        assert_eq!(report.doubled([&backend], first.post), 1);
    }
}
