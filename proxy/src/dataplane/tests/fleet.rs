//! A caller and several instances of one service, each with its own sidecar and an application that does as it is told.
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle, time::timeout};
use weft_ir::{Cluster, Peer as Endpoint, Resource, Route};
use weft_model::{Locality, Protocol};

use super::{
    http2,
    mesh::{PATIENCE, Peer, Side, authority, identity, inbound, outbound, snapshot},
};
use crate::dataplane::ClusterState;

pub(super) const GET: &str = "GET / HTTP/1.1\r\nHost: reviews\r\n\r\n";
pub(super) const CLUSTER: &str = "local/shop/reviews:80";

/// Instead of a status: answer 200 once it is released.
pub(super) const HOLD: u16 = 1;
/// Instead of a status: 503 that asks to be left alone for a minute.
pub(super) const LATER: u16 = 2;
/// Instead of a status: 503 that asks to be left alone for a second.
pub(super) const SOON: u16 = 4;

/// Instead of a status: a good head, a part of its body, and the end of the connection.
pub(super) const CUT: u16 = 3;

/// One instance.
pub(super) struct Instance {
    pub(super) side: Side,
    /// What its proxy serves.
    pub(super) chain: Resource,
    /// The status that it answers with, [`HOLD`], [`LATER`], [`SOON`] or [`CUT`].
    pub(super) mode: Arc<AtomicU16>,
    /// Its weight from the next time that it is published.
    pub(super) weight: u32,
    /// Its place from the next time that it is published.
    pub(super) locality: Locality,
    hits: Arc<AtomicUsize>,
    held: Arc<Semaphore>,
    serving: JoinHandle<()>,
}

impl Instance {
    /// How many requests its application has got.
    pub(super) fn hits(&self) -> usize {
        self.hits.load(SeqCst)
    }

    /// Waits until its application has got as many.
    pub(super) async fn has_hits(&self, count: usize) {
        eventually("hits", async || self.hits() >= count).await;
        assert_eq!(self.hits(), count);
    }

    /// Lets one held request be answered.
    pub(super) fn release(&self) {
        self.held.add_permits(1);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// `web` and the instances of `reviews`, which answer with their number and the length of the request's body.
pub(super) struct Fleet {
    pub(super) web: Side,
    pub(super) instances: Vec<Instance>,
}

impl Fleet {
    /// As many instances, and a caller with as many workers, whose cluster and route `tune` has set.
    pub(super) async fn start(count: usize, workers: usize, tune: impl Fn(&mut Cluster, &mut Route)) -> Self {
        Self::speaking(Protocol::Http, count, workers, tune).await
    }

    /// The same, whose applications speak `protocol`; over HTTP/2 they answer as `http2::peers::serve` says.
    pub(super) async fn speaking(
        protocol: Protocol,
        count: usize,
        workers: usize,
        tune: impl Fn(&mut Cluster, &mut Route),
    ) -> Self {
        let authority = authority();
        let mut instances = Vec::new();
        for number in 0..count {
            let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let side = Side::start("server", |_| {}).with_identity(&authority, "reviews");
            let port = application.local_addr().unwrap();
            let chain = inbound("reviews:80", protocol, port, Some(&["web"]));
            side.dataplane.publish(snapshot([chain.clone()]));
            let (mode, hits, held) = (Arc::new(AtomicU16::new(200)), Arc::default(), Arc::new(Semaphore::new(0)));
            let told = (Arc::clone(&mode), Arc::clone(&hits), Arc::clone(&held));
            let serving = match protocol {
                Protocol::Http2 => tokio::spawn(http2::serve(application, number, told)),
                Protocol::Http | Protocol::Tcp => tokio::spawn(serve(application, number, told)),
            };
            instances.push(Instance {
                side,
                chain,
                mode,
                weight: 1,
                locality: Locality::default(),
                hits,
                held,
                serving,
            });
        }
        let web = Side::start("web", |settings| settings.workers = workers).with_identity(&authority, "web");
        let fleet = Self { web, instances };
        fleet.publish(0..count, tune);
        fleet
    }

    /// Gives the caller these instances alone.
    pub(super) fn publish(&self, instances: impl IntoIterator<Item = usize>, tune: impl Fn(&mut Cluster, &mut Route)) {
        let endpoints = instances.into_iter().map(|number| (number, self.instances[number].side.inbound()));
        self.publish_at(endpoints, tune);
    }

    /// Gives the caller the workloads `server-<number>` at these addresses.
    pub(super) fn publish_at(
        &self,
        addresses: impl IntoIterator<Item = (usize, SocketAddr)>,
        tune: impl Fn(&mut Cluster, &mut Route),
    ) {
        let (numbers, endpoints): (Vec<_>, Vec<_>) =
            addresses.into_iter().map(|(number, address)| (number, (address, identity("reviews")))).unzip();
        let mut resources = outbound("reviews:80", Protocol::Http, None, &endpoints);
        let mut route = None;
        for resource in &mut resources {
            if let Resource::VirtualHost(host) = resource {
                route = Some(Arc::make_mut(host).routes.remove(0));
            }
        }
        let mut route = route.unwrap();
        for resource in &mut resources {
            if let Resource::Cluster(cluster) = resource {
                tune(Arc::make_mut(cluster), &mut route);
            }
            if let Resource::Endpoints(endpoints) = resource {
                for (endpoint, number) in Arc::make_mut(endpoints).endpoints.iter_mut().zip(&numbers) {
                    let Endpoint::Instance(called) = &mut endpoint.peer else { panic!("{endpoint:?}") };
                    called.workload.name = format!("server-{number}").parse().unwrap();
                    if let Some(instance) = self.instances.get(*number) {
                        (endpoint.weight, endpoint.locality) = (instance.weight, instance.locality.clone());
                    }
                }
            }
        }
        for resource in &mut resources {
            if let Resource::VirtualHost(host) = resource {
                Arc::make_mut(host).routes.push(route.clone());
            }
        }
        self.web.dataplane.publish(snapshot(resources));
    }

    pub(super) async fn client(&self) -> Peer {
        Peer::connect(self.web.outbound()).await
    }

    /// The status of one answer to a request on a connection of its own, and its body.
    pub(super) async fn ask(&self, request: &str) -> (u16, String) {
        let (head, body) = self.client().await.ask(request).await;
        (status(&head), body)
    }

    /// What the caller's proxy says of the cluster.
    pub(super) fn state(&self) -> ClusterState {
        self.web.dataplane.clusters().remove(0)
    }

    /// Waits until it says so.
    pub(super) async fn says(&self, what: &str, so: impl Fn(&ClusterState) -> bool) {
        eventually(what, async || so(&self.state())).await;
    }
}

/// Waits until something is so.
pub(super) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}: it never came to that");
}

pub(super) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"))
}

/// What an application is told, and tells: its mode, its hits, and who may be answered.
pub(super) type Told = (Arc<AtomicU16>, Arc<AtomicUsize>, Arc<Semaphore>);

async fn serve(application: TcpListener, number: usize, (mode, hits, held): Told) {
    loop {
        let (stream, _) = application.accept().await.unwrap();
        let (mode, hits, held) = (mode.clone(), hits.clone(), held.clone());
        tokio::spawn(async move {
            let mut peer = Peer::over(stream);
            while let Some((_, body)) = peer.request().await {
                hits.fetch_add(1, SeqCst);
                let (status, more) = match mode.load(SeqCst) {
                    HOLD => {
                        held.acquire().await.unwrap().forget();
                        (200, "")
                    }
                    LATER => (503, "Retry-After: 60\r\n"),
                    SOON => (503, "Retry-After: 1\r\n"),
                    CUT => {
                        peer.send("HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nab").await;
                        return;
                    }
                    421 => (421, "X-Weft-Unprocessed: forged\r\n"),
                    status => (status, ""),
                };
                let body = format!("{number} {}", body.len());
                let length = body.len();
                peer.send(format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{more}\r\n{body}")).await;
            }
        });
    }
}
