//! What stands behind the subject: servers in this process that do what a case's script says and keep what they got.
mod http1;
mod http2;

pub(crate) use http2::{headers, listed, reason, send};

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};

use crate::{
    DEADLINE,
    case::UpstreamPlan,
    text::{Message, Seen},
    tls::Authority,
    wire::Stream,
};

/// What all upstreams of a scene got, in the order in which it came.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<Seen>>,
    changed: Notify,
    /// Which case it is.
    case: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One upstream: what it is to do and what happened at it.
pub(crate) struct State {
    name: String,
    recorder: Arc<Recorder>,
    script: Mutex<VecDeque<Message>>,
    always: Mutex<Option<Message>>,
    health: Mutex<Message>,
    connections: AtomicUsize,
    open: AtomicUsize,
    moved: AtomicUsize,
    hang_up: Notify,
}

impl State {
    /// What to do with the next request.
    fn next(&self, path: &str) -> (Message, bool) {
        if path.starts_with("/healthz") || path.starts_with("/grpc.health.v1.Health/") {
            return (lock(&self.health).clone(), false);
        }
        let next = lock(&self.script).pop_front().or_else(|| lock(&self.always).clone());
        let usual = || Message {
            first: "200".to_owned(),
            fields: vec![("x-upstream".to_owned(), self.name.clone())],
            body: Some(self.name.clone()),
            ..Message::default()
        };
        (next.unwrap_or_else(usual), true)
    }

    /// Keeps what came in that case; in a later one nobody asks for it.
    fn keep(&self, case: usize, mut seen: Seen) {
        if case != self.case() {
            return;
        }
        seen.first = format!("{} {}", self.name, seen.first);
        lock(&self.recorder.seen).push(seen);
        self.recorder.changed.notify_waiters();
    }

    /// The case that is being played.
    fn case(&self) -> usize {
        self.recorder.case.load(Ordering::Relaxed)
    }

    /// The peer of a request of that case went away.
    fn keep_gone(&self, case: usize) {
        self.keep(case, Seen { first: "gone".to_owned(), ..Seen::default() });
    }
}

/// The upstreams of a scene; dropped, they end.
pub(crate) struct Upstreams {
    recorder: Arc<Recorder>,
    states: BTreeMap<String, Arc<State>>,
    /// Where each listens.
    pub(crate) addresses: BTreeMap<String, SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Upstreams {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Upstreams {
    /// Starts servers by their plans.
    pub(crate) async fn start(plans: &BTreeMap<String, UpstreamPlan>, authority: &Authority) -> Result<Self> {
        let recorder = Arc::new(Recorder::default());
        let mut all = Self { recorder, states: BTreeMap::new(), addresses: BTreeMap::new(), tasks: Vec::new() };
        for (name, plan) in plans {
            let state = Arc::new(State {
                name: name.clone(),
                recorder: Arc::clone(&all.recorder),
                script: Mutex::default(),
                always: Mutex::default(),
                health: Mutex::new(Message::parse("200")?),
                connections: AtomicUsize::new(0),
                open: AtomicUsize::new(0),
                moved: AtomicUsize::new(0),
                hang_up: Notify::new(),
            });
            let listener = TcpListener::bind("127.0.0.1:0").await.context("an upstream's port")?;
            all.addresses.insert(name.clone(), listener.local_addr()?);
            all.states.insert(name.clone(), Arc::clone(&state));
            if plan.absent {
                continue;
            }
            let acceptor = plan.tls.as_ref().map(|plan| authority.acceptor(plan)).transpose()?;
            all.tasks.push(tokio::spawn(listen(listener, plan.clone(), acceptor, state)));
        }
        Ok(all)
    }

    fn state(&self, name: &str) -> Result<&State> {
        self.states.get(name).map(AsRef::as_ref).with_context(|| format!("there is no upstream {name:?}"))
    }

    /// Forgets scripts and what was seen, for the next case.
    pub(crate) fn begin(&self) -> Result<()> {
        self.recorder.case.fetch_add(1, Ordering::Relaxed);
        for state in self.states.values() {
            lock(&state.script).clear();
            *lock(&state.always) = None;
            *lock(&state.health) = Message::parse("200")?;
        }
        self.forget();
        Ok(())
    }

    /// Forgets what was seen.
    pub(crate) fn forget(&self) {
        lock(&self.recorder.seen).clear();
        for state in self.states.values() {
            state.moved.store(0, Ordering::Relaxed);
        }
    }

    /// What an upstream does with its next requests.
    pub(crate) fn script(&self, name: &str, actions: &[String]) -> Result<()> {
        let actions: Result<VecDeque<_>> = actions.iter().map(|action| Message::parse(action)).collect();
        *lock(&self.state(name)?.script) = actions?;
        Ok(())
    }

    /// What an upstream does with all requests from now on.
    pub(crate) fn always(&self, name: &str, action: &str) -> Result<()> {
        *lock(&self.state(name)?.always) = Some(Message::parse(action)?);
        Ok(())
    }

    /// What an upstream answers to health checks.
    pub(crate) fn health(&self, name: &str, action: &str) -> Result<()> {
        *lock(&self.state(name)?.health) = Message::parse(action)?;
        Ok(())
    }

    /// Ends an upstream's connections.
    pub(crate) fn hang_up(&self, name: &str) -> Result<()> {
        self.state(name)?.hang_up.notify_waiters();
        Ok(())
    }

    /// How many connections an upstream has open.
    pub(crate) fn open(&self, name: &str) -> Result<usize> {
        Ok(self.state(name)?.open.load(Ordering::Relaxed))
    }

    /// How many bytes of bodies an upstream has sent or taken since the step began.
    pub(crate) fn moved(&self, name: &str) -> Result<usize> {
        Ok(self.state(name)?.moved.load(Ordering::Relaxed))
    }

    /// What was seen until now.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.recorder.seen).clone()
    }

    /// Waits until that many messages were seen.
    pub(crate) async fn await_seen(&self, count: usize) -> Result<Vec<Seen>> {
        let enough = async {
            loop {
                let changed = self.recorder.changed.notified();
                if lock(&self.recorder.seen).len() >= count {
                    return;
                }
                let _ = timeout(Duration::from_millis(20), changed).await;
            }
        };
        let waited = timeout(DEADLINE, enough).await;
        let seen = self.seen();
        let shown: Vec<_> = seen.iter().map(Seen::shown).collect();
        ensure!(
            waited.is_ok(),
            "the upstreams got {} messages, not {count}:\n    {}",
            seen.len(),
            shown.join("\n    ")
        );
        Ok(seen)
    }
}

async fn listen(
    listener: TcpListener,
    plan: UpstreamPlan,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    state: Arc<State>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let _ = socket.set_nodelay(true);
        let (plan, acceptor, state) = (plan.clone(), acceptor.clone(), Arc::clone(&state));
        connections.spawn(async move {
            state.open.fetch_add(1, Ordering::Relaxed);
            let _ = serve(socket, &plan, acceptor, &state).await;
            state.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// One connection, from its first byte to its last.
async fn serve(
    socket: TcpStream,
    plan: &UpstreamPlan,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    state: &Arc<State>,
) -> Result<()> {
    let number = state.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let mut facts = vec![("@connection".to_owned(), number.to_string())];
    let Some(acceptor) = acceptor else {
        // A reset at the end of the case's script is a reset of the socket, which a stream in a box no longer allows.
        let raw = socket2::SockRef::from(&socket).try_clone()?;
        return speak(Box::new(socket), Some(raw), plan, facts, state).await;
    };
    let secured = match timeout(DEADLINE, acceptor.accept(socket)).await? {
        Ok(secured) => secured,
        Err(error) => {
            state.keep(state.case(), Seen { first: format!("handshake {error}"), fields: facts, ..Seen::default() });
            bail!("{error}");
        }
    };
    let session = secured.get_ref().1;
    let protocol = session.alpn_protocol().map(crate::text::text).unwrap_or_default();
    facts.push(("@sni".to_owned(), session.server_name().unwrap_or_default().to_owned()));
    facts.push(("@alpn".to_owned(), protocol));
    facts.push(("@certificates".to_owned(), session.peer_certificates().map_or(0, <[_]>::len).to_string()));
    facts.push(("@tls".to_owned(), format!("{:?}", session.protocol_version().context("a version")?)));
    speak(Box::new(secured), None, plan, facts, state).await
}

async fn speak(
    stream: Box<dyn Stream>,
    raw: Option<socket2::Socket>,
    plan: &UpstreamPlan,
    facts: crate::text::Fields,
    state: &Arc<State>,
) -> Result<()> {
    let hang_up = state.hang_up.notified();
    let conversation = async {
        match plan.speaks.as_str() {
            "h1" => http1::serve(stream, raw, facts, state).await,
            "h2" => http2::serve(stream, facts, state).await,
            "tcp" => http1::echo(stream, facts, state).await,
            other => bail!("an upstream speaks h1, h2 or tcp, not {other:?}"),
        }
    };
    tokio::select! {
        ended = conversation => ended,
        () = hang_up => Ok(()),
    }
}
