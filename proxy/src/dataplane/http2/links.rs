//! A worker's HTTP/2 connections to upstreams: which of them takes a request, and who makes the next.
use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::{sync::Notify, time};
use weft_decide::Pressure;

use super::{
    config,
    link::{Lease, Link, Start},
    prefixed::Prefixed,
};
use crate::dataplane::{
    gate::Gate,
    pool::{Belongs, Proven, Whom},
    resilience::{Connection, Look, Places},
    respond::{Ending, Failure},
    tls::Io,
};

/// How many connections lead to one endpoint under one identity, where one does not take enough streams; beyond them
/// requests wait for one another.
const MAX_LINKS: usize = 8;

/// How often connections that were unused for too long are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// Where connections lead, and to whom.
pub(super) type Place<'a> = (SocketAddr, Proven<'a>);

/// All of them.
#[derive(Default)]
pub(in crate::dataplane) struct Links {
    groups: RefCell<HashMap<SocketAddr, Vec<Group>>>,
    filled: Notify,
}

/// Those to one endpoint under one identity and name.
struct Group {
    whom: Whom,
    links: Vec<Rc<Link>>,
    connecting: Option<Rc<Connecting>>,
    places: Rc<Places>,
}

impl Group {
    /// Whether nothing leads there, and nobody waits for it.
    fn is_over(&self) -> bool {
        self.links.is_empty() && self.connecting.is_none() && !self.places.are_wanted()
    }
}

/// A connection that is being made, and that several requests may wait for.
#[derive(Default)]
struct Connecting {
    failed: RefCell<Option<Failure>>,
}

/// What one request has waited for: it fails with the connection that it was to go over.
#[derive(Default)]
pub(super) struct Joined(Option<Rc<Connecting>>);

impl Links {
    /// A place on a connection that is there, or what became of the one that was waited for.
    pub(super) fn look(&self, (address, proven): Place<'_>, joined: &mut Joined) -> Look<Result<Lease, Failure>> {
        if let Some(failure) = joined.0.take().and_then(|connecting| connecting.failed.borrow().clone()) {
            return Look::Found(Err(failure));
        }
        self.with_group((address, proven), |group| {
            group.links.retain(|link| link.is_open());
            if let Some(link) = group.links.iter().find(|link| link.has_room()) {
                return Look::Found(Ok(Lease::of(link.clone())));
            }
            if let Some(connecting) = &group.connecting {
                joined.0 = Some(connecting.clone());
                return Look::Wait;
            }
            if group.links.len() < MAX_LINKS { Look::Nothing } else { Look::Wait }
        })
    }

    /// Who tells those who wait for a place.
    pub(super) fn places(&self, place: Place<'_>) -> Rc<Places> {
        self.with_group(place, |group| group.places.clone())
    }

    /// Makes a connection for all who wait, and takes a place on it. To be called where a look has found nothing, in the
    /// same turn. Dropped before it is done, one of those who wait makes the next.
    ///
    /// # Errors
    /// What `connect` says.
    pub(super) async fn make(
        self: &Rc<Self>,
        (address, proven): Place<'_>,
        start: Start<'_>,
        connection: Option<Connection>,
        connect: impl AsyncFnOnce() -> Result<Io, Failure>,
    ) -> Result<Lease, Failure> {
        let connecting = Rc::<Connecting>::default();
        self.with_group((address, proven), |group| group.connecting = Some(connecting.clone()));
        let making = Making { links: self, place: (address, proven), connecting };
        let opened = match connect().await {
            Ok(io) => config::connect(Prefixed::from(io)).await.map_err(|error| {
                Failure::new(Ending::UpstreamGone, format!("the upstream takes no HTTP/2 connection: {error}"))
            }),
            Err(failure) => Err(failure),
        };
        let opened = opened.inspect_err(|failure| {
            *making.connecting.failed.borrow_mut() = Some(failure.clone());
        })?;
        let home = Rc::downgrade(self);
        let link = Link::begin(opened, start, (home, address), self.places((address, proven)), connection);
        // In front of those who wait for it.
        let lease = Lease::of(link.clone());
        self.with_group((address, proven), |group| group.links.push(link));
        self.filled.notify_one();
        Ok(lease)
    }

    fn with_group<T>(&self, (address, proven): Place<'_>, work: impl FnOnce(&mut Group) -> T) -> T {
        let mut groups = self.groups.borrow_mut();
        let at_address = groups.entry(address).or_default();
        match at_address.iter_mut().find(|group| group.whom.is(proven)) {
            Some(group) => work(group),
            None => {
                let mut group =
                    Group { whom: proven.kept(), links: Vec::new(), connecting: None, places: Rc::default() };
                let done = work(&mut group);
                at_address.push(group);
                done
            }
        }
    }

    /// Closes the connection of a cluster that was unused for longest; whether there was one.
    pub(in crate::dataplane) fn evict(&self, cluster: &Belongs) -> bool {
        let mut groups = self.groups.borrow_mut();
        let its = groups.values_mut().flatten().filter(|group| group.whom.belongs(cluster));
        let unused = its.flat_map(|group| {
            let links = &mut group.links;
            let oldest = links.iter().enumerate().filter_map(|(at, link)| Some((at, link.unused()?)));
            oldest.max_by_key(|(_, unused)| *unused).map(|(at, unused)| (unused, at, links))
        });
        let Some((_, at, links)) = unused.max_by_key(|(unused, ..)| *unused) else { return false };
        links.remove(at);
        true
    }

    /// Lets go of a connection: once nothing is under way on it, it is closed.
    pub(super) fn forget(&self, address: SocketAddr, link: &Rc<Link>) {
        let mut groups = self.groups.borrow_mut();
        for group in groups.get_mut(&address).into_iter().flatten() {
            group.links.retain(|its| !Rc::ptr_eq(its, link));
        }
    }

    /// Takes no more streams on any of them: they were proven by a certificate or against bundles that are in force no
    /// more. What is under way on them goes on.
    pub(in crate::dataplane) fn clear(&self) {
        for group in self.groups.borrow_mut().values_mut().flatten() {
            group.links.clear();
        }
    }

    /// Closes what is unused for too long; holds no timer while there is nothing.
    pub(in crate::dataplane) async fn sweep_in_time(self: Rc<Self>, gate: Arc<Gate>) {
        loop {
            self.filled.notified().await;
            loop {
                time::sleep(SWEEP).await;
                if !self.sweep(gate.pressure()) {
                    break;
                }
            }
        }
    }

    /// Closes what is unused for too long; whether any is left.
    fn sweep(&self, pressure: Pressure) -> bool {
        let mut groups = self.groups.borrow_mut();
        groups.retain(|_, groups| {
            groups.retain_mut(|group| {
                group.links.retain(|link| link.is_open() && !link.is_stale(pressure));
                !group.is_over()
            });
            !groups.is_empty()
        });
        !groups.is_empty()
    }
}

/// A connection in the making, until it is there, has failed, or is given up.
struct Making<'a> {
    links: &'a Links,
    place: Place<'a>,
    connecting: Rc<Connecting>,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.links.with_group(self.place, |group| {
            group.connecting = None;
            group.places.all();
        });
    }
}
