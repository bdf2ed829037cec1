//! The data planes of the cast, each fed from one compiler over the wire, host by host on demand.
use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, mpsc},
    task::spawn_local,
    time::timeout,
};
use weft_certs::{Authority, TrustBundles};
use weft_compile::Compiler;
use weft_decide::{Assembler, Output, Update};
use weft_harness::DEADLINE;
use weft_ir::{Dialect, Listener, Resource, ResourceKey, ResourceType, View};
use weft_proxy::dataplane::{Bound, Dataplane, Event, Settings};
use weft_xds::{decode, encode, type_url};

use crate::{
    application::{self, Visits},
    cast::{CALLED, CAST, Member, OTHER_DOMAIN, OWN_DOMAIN, Place, names},
    configuration::{Configuration, Objects},
    dice::valid,
    record::{Log, Record, Records},
};

/// The data planes and what stands in for their control plane.
pub(crate) struct Mesh {
    /// One for each of the cast, in its order.
    pub(crate) planes: Vec<Plane>,
    /// Where the called ones are reached.
    pub(crate) places: Vec<Place>,
    /// What reached the applications.
    pub(crate) visits: Visits,
    written: Arc<Notify>,
    control: Rc<RefCell<Control>>,
}

/// One data plane.
pub(crate) struct Plane {
    /// Whose it is.
    pub(crate) member: &'static Member,
    /// Where its application sends requests.
    pub(crate) address: SocketAddr,
    /// What it has recorded and nobody has compared yet.
    pub(crate) records: RefCell<Records>,
    log: Log,
    dataplane: Rc<Dataplane>,
}

impl Mesh {
    /// Starts everything; nothing is configured yet.
    pub(crate) async fn start() -> Self {
        let (visits, written) = (Visits::default(), Arc::new(Notify::new()));
        let [own, other] = [OWN_DOMAIN, OTHER_DOMAIN]
            .map(|domain| Authority::create(valid(domain), SystemTime::now()).expect("an authority"));
        let mut bundles = TrustBundles::from(own.bundle().expect("a bundle"));
        bundles.replace(other.bundle().expect("a bundle")).expect("the first bundle of its domain");
        let control = Rc::new(RefCell::new(Control::new()));
        let (mut planes, mut places) = (Vec::new(), Vec::new());
        for (place, member) in CAST.iter().enumerate() {
            let (plane, bound, events) = Plane::start(member, &written);
            let authority = if member.domain == OWN_DOMAIN { &own } else { &other };
            let issued = authority.issue(&member.identity(), Duration::from_secs(86_400), SystemTime::now());
            plane.dataplane.publish_identity(&issued.expect("an SVID"), &bundles).expect("a usable SVID");
            if place < CALLED {
                let inbound = bound.inbound.expect("an inbound listener").0;
                let mut ports = [weft_model::Port::HTTP; 2];
                for port in &mut ports {
                    *port = application::serve(&visits).await.expect("an application");
                }
                places.push(Place { inbound, ports });
            }
            control.borrow_mut().feed(member, &plane.dataplane);
            spawn_local(answer(Rc::clone(&control), place, events));
            planes.push(plane);
        }
        Self { planes, places, visits, written, control }
    }

    /// Brings a configuration to every data plane.
    pub(crate) fn configure(&self, configuration: &Configuration) {
        self.control.borrow_mut().configure(configuration);
    }

    /// Waits until every request that was answered has its records: of data plane number n, `asked[n]` outbound ones,
    /// and for each that was answered by a peer one of that peer.
    pub(crate) async fn collect(&self, asked: &[usize]) {
        let collected = timeout(DEADLINE, async {
            loop {
                for plane in &self.planes {
                    plane.log.drain_to(&mut plane.records.borrow_mut());
                }
                let whole =
                    self.planes.iter().zip(asked).all(|(plane, count)| plane.records.borrow().outbound.len() >= *count);
                if whole && self.called() >= self.carried() && self.copied() {
                    return;
                }
                self.written.notified().await;
            }
        });
        assert!(
            collected.await.is_ok(),
            "records are missing: {asked:?} were asked, {} carried and {} called",
            self.carried(),
            self.called()
        );
    }

    /// Stops everything; what is still recorded then was not asked for.
    pub(crate) async fn stop(self) -> Vec<Records> {
        let mut rest = Vec::new();
        self.control.borrow_mut().subscribers.clear();
        self.planes.iter().for_each(|plane| plane.dataplane.drain());
        for Plane { dataplane, log, records, .. } in self.planes {
            let dataplane = Rc::into_inner(dataplane).expect("the only handle");
            timeout(DEADLINE, dataplane.stopped()).await.expect("a drained data plane");
            let mut records = records.into_inner();
            log.drain_to(&mut records);
            rest.push(records);
        }
        rest
    }

    fn called(&self) -> usize {
        self.planes.iter().map(|plane| plane.records.borrow().called()).sum()
    }

    /// Whether every copy has its records: one of who sent it, and where that was answered by a peer, one of that peer.
    fn copied(&self) -> bool {
        let sum = |count: &dyn Fn(&Records) -> usize| -> usize {
            self.planes.iter().map(|plane| count(&plane.records.borrow())).sum()
        };
        let made = sum(&|records| records.outbound.values().map(Record::mirrors).sum());
        let sent = sum(&|records| records.count_copies(|record| record.text("direction") == Some("outbound")));
        let answered = sum(&|records| {
            let by_peer = |record: &Record| record.text("direction") == Some("outbound") && record.status().is_some();
            records.count_copies(by_peer)
        });
        let came = sum(&|records| records.count_copies(|record| record.text("direction") == Some("inbound")));
        sent >= made && came >= answered
    }

    fn carried(&self) -> usize {
        let carried = |plane: &Plane| {
            let records = plane.records.borrow();
            let answered = |outcome: Option<&str>| outcome == Some("complete");
            records.outbound.values().filter(|record| answered(record.text("outcome"))).count()
        };
        self.planes.iter().map(carried).sum()
    }
}

impl Plane {
    fn start(member: &'static Member, written: &Arc<Notify>) -> (Self, Bound, mpsc::Receiver<Event>) {
        let log = Log::new(written);
        let mut settings = Settings::new(format!("{}-{}", member.namespace, member.name), "pairs");
        settings.inbound = Some(([127, 0, 0, 1], 0).into());
        settings.outbound = Some(([127, 0, 0, 1], 0).into());
        settings.access_log = Some(Box::new(log.clone()));
        // Nothing here fails for lack of time, however busy the machine is.
        settings.timeouts.on_demand = DEADLINE;
        settings.timeouts.application_connect = DEADLINE;
        settings.timeouts.drain_accept = Duration::ZERO;
        let (sender, events) = mpsc::channel(1024);
        let (dataplane, bound) = Dataplane::start(settings, sender).expect("a data plane");
        let address = bound.outbound.as_ref().expect("an outbound listener").0;
        let plane = Self { member, address, records: RefCell::default(), log, dataplane: Rc::new(dataplane) };
        (plane, bound, events)
    }
}

/// Answers what a data plane asks for.
async fn answer(control: Rc<RefCell<Control>>, place: usize, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Need(destination) => control.borrow_mut().ask(place, destination),
            Event::Drained => return,
        }
    }
}

/// A compiler that sees one configuration after the other, and what its subscribers have been told.
struct Control {
    compiler: Compiler,
    objects: Objects,
    /// Every resource as it came off the wire.
    served: BTreeMap<ResourceKey, Resource>,
    revision: String,
    subscribers: Vec<Subscriber>,
}

/// What stands between the control plane and a data plane.
struct Subscriber {
    member: &'static Member,
    assembler: Assembler,
    dataplane: Rc<Dataplane>,
}

impl Control {
    fn new() -> Self {
        let mut control = Self {
            compiler: Compiler::new(names()),
            objects: Objects::new(),
            served: BTreeMap::new(),
            revision: String::new(),
            subscribers: Vec::new(),
        };
        let first: Vec<_> = control.compiler.keys().cloned().collect();
        for key in &first {
            control.encode(key);
        }
        control
    }

    fn feed(&mut self, member: &'static Member, dataplane: &Rc<Dataplane>) {
        let (assembler, _) = Assembler::new(member.scope(), []);
        let mut subscriber = Subscriber { member, assembler, dataplane: Rc::clone(dataplane) };
        let outbound = ResourceKey::new(ResourceType::Listener, Listener::OUTBOUND);
        subscriber.tell(
            self.served.get(&outbound).cloned().map(Update::Present).into_iter().collect(),
            &self.served,
            "",
        );
        self.subscribers.push(subscriber);
    }

    fn configure(&mut self, configuration: &Configuration) {
        let gone = self.objects.keys().filter(|key| !configuration.objects.contains_key(*key));
        let gone: Vec<_> = gone.map(|key| (key.clone(), None)).collect();
        let there = configuration.objects.iter().map(|(key, stored)| (key.clone(), Some(Arc::clone(stored))));
        let changed = self.compiler.apply(gone.into_iter().chain(there));
        self.objects = configuration.objects.clone();
        self.revision = configuration.revision.clone();
        for key in &changed.updated {
            self.encode(key);
        }
        for key in &changed.removed {
            self.served.remove(key);
        }
        let updates = |key: &ResourceKey| match self.served.get(key) {
            Some(resource) => Update::Present(resource.clone()),
            None => Update::Removed(key.clone()),
        };
        for subscriber in &mut self.subscribers {
            let own = Listener::inbound_name(&subscriber.member.workload());
            let subscriptions = subscriber.assembler.subscriptions();
            let concerns = |key: &&ResourceKey| match key.resource_type {
                ResourceType::Listener => *key.name == *own || *key.name == *Listener::OUTBOUND,
                _ => subscriptions.contains(*key),
            };
            let told = changed.removed.iter().chain(&changed.updated).filter(concerns).map(updates).collect();
            subscriber.tell(told, &self.served, &self.revision);
        }
    }

    fn ask(&mut self, place: usize, destination: weft_decide::Destination) {
        let Some(subscriber) = self.subscribers.get_mut(place) else { return };
        let output = subscriber.assembler.ask(destination);
        subscriber.finish(output, &self.served, &self.revision);
    }

    fn encode(&mut self, key: &ResourceKey) {
        let resource = self.compiler.resource(key).expect("a resource that changed");
        let encoded = encode(resource, &View { dialect: Dialect::Weft });
        let decoded = decode(type_url(key.resource_type), &encoded.key.name, &encoded.bytes);
        let decoded = decoded.unwrap_or_else(|error| panic!("{error}: {resource:?}"));
        self.served.insert(key.clone(), decoded);
    }
}

impl Subscriber {
    fn tell(&mut self, updates: Vec<Update>, served: &BTreeMap<ResourceKey, Resource>, revision: &str) {
        let output = self.assembler.apply(updates, revision);
        self.finish(output, served, revision);
    }

    /// Answers subscriptions until there are no more, and publishes what came of it.
    fn finish(&mut self, mut output: Output, served: &BTreeMap<ResourceKey, Resource>, revision: &str) {
        loop {
            assert!(output.rejected.is_empty(), "{:?}", output.rejected);
            if output.subscribe.is_empty() {
                break;
            }
            let answers = output.subscribe.iter().map(|key| match served.get(key) {
                Some(resource) => Update::Present(resource.clone()),
                None => Update::Removed(key.clone()),
            });
            output = self.assembler.apply(answers, revision);
        }
        self.dataplane.publish(Arc::clone(self.assembler.snapshot()));
    }
}
