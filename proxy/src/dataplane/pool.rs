//! A worker's unused upstream connections.
use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{self, Instant},
};
use weft_ir::{Cluster, Security, ServiceKey};
use weft_model::SpiffeId;
use weft_net::{is_quiet, is_ready};

use super::{gate::Gate, http::Conn, resilience::Connection};

/// The most unused connections to one endpoint under one identity and name.
const MAX_IDLE: usize = 64;

/// How often connections that were unused for too long, or that the other side has closed, are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// For how long tokio's word is taken that nothing has arrived; after it the kernel is asked.
const FRESH: Duration = Duration::from_millis(100);

/// To whom a connection leads, beside its address. Part of the pool's key: an endpoint that comes to be somebody else's
/// must not be reached over a connection that was proven for the former one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proven<'a> {
    /// Whoever listens there: the local application.
    Application,
    /// A peer of the mesh, under the server name by which it was reached.
    Mesh { identity: &'a SpiffeId, server_name: &'a str },
    /// Whoever listens there, for a cluster whose connections are not secured.
    Plain { cluster: &'a ServiceKey },
}

impl Proven<'_> {
    /// What is kept of it with a connection.
    pub(super) fn kept(self) -> Whom {
        match self {
            Self::Application => Whom::Application,
            Self::Mesh { identity, server_name } => Whom::Mesh(identity.clone(), server_name.into()),
            Self::Plain { cluster } => Whom::Plain(cluster.clone()),
        }
    }
}

/// To whom a kept connection leads: see [`Proven`].
pub(super) enum Whom {
    Application,
    Mesh(SpiffeId, Box<str>),
    Plain(ServiceKey),
}

impl Whom {
    pub(super) fn is(&self, proven: Proven<'_>) -> bool {
        match (self, proven) {
            (Self::Application, Proven::Application) => true,
            (Self::Mesh(its, name), Proven::Mesh { identity, server_name }) => {
                its == identity && **name == *server_name
            }
            (Self::Plain(its), Proven::Plain { cluster }) => its == cluster,
            _ => false,
        }
    }

    /// Whether it is one of a cluster's.
    pub(super) fn belongs(&self, cluster: &Belongs) -> bool {
        match (self, cluster) {
            (Self::Mesh(_, its), Belongs::ServerName(name)) => **its == **name,
            (Self::Plain(its), Belongs::Cluster(name)) => its == name,
            _ => false,
        }
    }
}

/// By what a cluster's connections are known.
pub(super) enum Belongs {
    ServerName(String),
    Cluster(ServiceKey),
}

impl Belongs {
    pub(super) fn to(cluster: &Cluster) -> Self {
        match &cluster.security {
            Security::Mesh { sni } => Self::ServerName(sni.clone()),
            Security::Plain => Self::Cluster(cluster.name.clone()),
        }
    }
}

struct Group {
    whom: Whom,
    /// How long one may be unused.
    bound: Duration,
    unused: Vec<Unused>,
}

/// An upstream connection, and the right to it where the cluster limits them.
pub(super) struct Upstream {
    pub(super) conn: Conn,
    pub(super) connection: Option<Connection>,
}

struct Unused {
    upstream: Upstream,
    since: Instant,
}

/// The pool.
#[derive(Default)]
pub(super) struct Pool {
    groups: RefCell<HashMap<SocketAddr, Vec<Group>>>,
    filled: Notify,
}

impl Pool {
    /// The most recently used connection that is still quiet.
    pub(super) fn take(&self, address: SocketAddr, proven: Proven<'_>) -> Option<Upstream> {
        let mut groups = self.groups.borrow_mut();
        let group = groups.get_mut(&address)?.iter_mut().find(|group| group.whom.is(proven))?;
        while let Some(Unused { upstream, since }) = group.unused.pop() {
            let (age, tcp) = (since.elapsed(), upstream.conn.tcp());
            if age < group.bound && !is_ready(tcp) && (age < FRESH || is_quiet(tcp)) {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection for later.
    pub(super) fn put(&self, address: SocketAddr, proven: Proven<'_>, bound: Duration, upstream: Upstream) {
        // Where others wait for a connection, it makes room.
        if upstream.connection.as_ref().is_some_and(|connection| !connection.local().may_rest()) {
            return;
        }
        let local = upstream.connection.as_ref().map(|connection| connection.local().clone());
        let mut groups = self.groups.borrow_mut();
        let was_empty = groups.is_empty();
        let at_address = groups.entry(address).or_default();
        let unused = Unused { upstream, since: Instant::now() };
        match at_address.iter_mut().find(|group| group.whom.is(proven)) {
            Some(group) if group.unused.len() < MAX_IDLE => group.unused.push(unused),
            Some(_) => {}
            None => at_address.push(Group { whom: proven.kept(), bound, unused: vec![unused] }),
        }
        if was_empty {
            self.filled.notify_one();
        }
        if let Some(local) = local {
            local.rested();
        }
    }

    /// Closes the connection of a cluster that was unused for longest; whether there was one.
    pub(super) fn evict(&self, cluster: &Belongs) -> bool {
        let oldest = {
            let mut groups = self.groups.borrow_mut();
            let its = |group: &&mut Group| group.whom.belongs(cluster);
            let groups = groups.values_mut().flatten().filter(its).filter(|group| !group.unused.is_empty());
            let group = groups.min_by_key(|group| group.unused.first().map(|unused| unused.since));
            group.map(|group| group.unused.remove(0))
        };
        oldest.is_some()
    }

    /// Closes every unused connection: they were proven by a certificate or against bundles that are in force no more.
    pub(super) fn clear(&self) {
        self.groups.borrow_mut().clear();
    }

    /// Closes what is unused for too long or was closed by the other side; holds no timer while the pool is empty.
    pub(super) async fn sweep(self: Rc<Self>, gate: Arc<Gate>) {
        loop {
            self.filled.notified().await;
            while !self.groups.borrow().is_empty() {
                time::sleep(SWEEP).await;
                let pressure = gate.pressure();
                self.groups.borrow_mut().retain(|_, groups| {
                    groups.retain_mut(|group| {
                        let bound = pressure.idle(group.bound);
                        group.unused.retain(|it| it.since.elapsed() < bound && is_quiet(it.upstream.conn.tcp()));
                        !group.unused.is_empty()
                    });
                    !groups.is_empty()
                });
            }
        }
    }
}
