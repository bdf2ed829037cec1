//! The run: round after round of configurations, each asked by the whole cast at once, then compared.
use std::{collections::BTreeMap, ops::Range};

use futures::future::join_all;
use weft_decide::Snapshot;

use crate::{
    cast::{CAST, Member},
    client::{Client, Reply},
    compare::{Observed, Snapshots},
    configuration::Configuration,
    copies::Copies,
    coverage::{Agreed, Coverage},
    dice::Dice,
    plane::Mesh,
    record::Record,
    requests::Request,
};

/// How many requests a configuration is asked.
const REQUESTS: u64 = 40;

/// How many configurations are compared together: records come in batches, which are not worth waiting for one by one.
const ROUND: u64 = 25;

/// How often a data plane is asked whether it has a configuration, before it counts as never getting it.
const PROBES: u64 = 100;

/// A request and its answer.
struct Asked {
    /// Who of the cast asked.
    caller: usize,
    /// Which of the round's configurations it was made for.
    revision: String,
    request: Request,
    reply: Reply,
    /// Whether it is one of the pairs: not a probe.
    counts: bool,
}

/// The configurations of a round by their revisions.
struct Round(BTreeMap<String, Configuration>);

impl Snapshots for Round {
    fn outbound(&self, revision: &str, caller: &Member) -> Option<&Snapshot> {
        let configuration = match revision {
            "" => self.0.values().next(),
            revision => self.0.get(revision),
        };
        configuration.map(|configuration| configuration.outbound(caller.namespace))
    }

    fn inbound(&self, revision: &str, called: &Member) -> Option<&Snapshot> {
        self.0.get(revision).map(|configuration| configuration.inbound(&called.workload()))
    }
}

/// Those of the cast that share an identity. They ask one after the other, so that the records of whom they call, which
/// tell callers by their identity, stand in the order in which they asked.
struct Lane(Vec<(usize, Client)>);

/// Compares that many pairs.
pub(crate) async fn run(seed: u64, pairs: u64) -> Coverage {
    let mesh = Mesh::start().await;
    let mut lanes = lanes(&mesh);
    let (mut coverage, mut compared, mut number) = (Coverage::default(), 0, 0);
    let mut carried_over = BTreeMap::new();
    while compared < pairs {
        let mut round = Round(std::mem::take(&mut carried_over));
        let mut asked: Vec<Vec<Asked>> = lanes.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUND {
            let count = REQUESTS.min(pairs - compared);
            if count == 0 {
                break;
            }
            let mut dice = Dice::new(seed, number);
            let configuration = Configuration::generate(&mut dice, number, &mesh.places);
            mesh.configure(&configuration);
            let requests = requests(&mut dice, &configuration, compared..compared + count);
            let asking =
                lanes.iter_mut().zip(&mut asked).map(|(lane, asked)| lane.ask(&configuration, &requests, asked));
            join_all(asking).await;
            compared += count;
            number += 1;
            coverage.drawn(&configuration);
            round.0.insert(configuration.revision.clone(), configuration);
        }
        let of_plane = |plane| asked.iter().flatten().filter(|asked| asked.caller == plane).count();
        mesh.collect(&(0..CAST.len()).map(of_plane).collect::<Vec<_>>()).await;
        compare(seed, &mesh, &round, asked, &mut coverage);
        // A probe of the next round may still be decided from the last configuration of this one.
        carried_over = round.0.into_iter().filter(|(_, it)| it.number + 1 == number).collect();
    }
    drop(lanes);
    for (member, rest) in CAST.iter().zip(mesh.stop().await) {
        let called = rest.inbound.values().flat_map(BTreeMap::values);
        let copies = rest.copies.values().flat_map(BTreeMap::values);
        let unexpected: Vec<_> = rest.outbound.values().chain(called).chain(copies).collect();
        assert!(unexpected.is_empty(), "{} has records that nobody asked for: {unexpected:#?}", member.workload());
    }
    coverage
}

fn lanes(mesh: &Mesh) -> Vec<Lane> {
    let mut lanes: BTreeMap<String, Lane> = BTreeMap::new();
    for (caller, plane) in mesh.planes.iter().enumerate() {
        let lane = lanes.entry(plane.member.identity().to_string()).or_insert_with(|| Lane(Vec::new()));
        lane.0.push((caller, Client::new(plane.address)));
    }
    lanes.into_values().collect()
}

/// Random requests of random callers.
fn requests(dice: &mut Dice, configuration: &Configuration, pairs: Range<u64>) -> Vec<(usize, Request)> {
    let one = |pair| {
        let caller = dice.below(CAST.len());
        (caller, Request::generate(dice, configuration, &CAST[caller], pair))
    };
    pairs.map(one).collect()
}

impl Lane {
    /// Sees that a configuration is in effect, and then sends those of the requests that are its own.
    async fn ask(&mut self, configuration: &Configuration, requests: &[(usize, Request)], asked: &mut Vec<Asked>) {
        for (caller, client) in &mut self.0 {
            probe(*caller, client, configuration, asked).await;
        }
        for (caller, request) in requests {
            if let Some((_, client)) = self.0.iter_mut().find(|(its, _)| its == caller) {
                asked.push(send(*caller, client, configuration, request.clone(), true).await);
            }
        }
    }
}

/// Asks for a Service that only this configuration has, until the data plane knows it: from then on it decides from
/// this configuration.
async fn probe(caller: usize, client: &mut Client, configuration: &Configuration, asked: &mut Vec<Asked>) {
    for _ in 0..PROBES {
        let request = Request::probe(&configuration.probe);
        let probed = send(caller, client, configuration, request, false).await;
        let status = probed.reply.status;
        asked.push(probed);
        if status == 503 {
            return;
        }
    }
    panic!("{} does not take {}", CAST[caller].workload(), configuration.revision);
}

async fn send(
    caller: usize,
    client: &mut Client,
    configuration: &Configuration,
    request: Request,
    counts: bool,
) -> Asked {
    let reply = client.ask(&request.bytes(), request.method == "HEAD").await;
    let reply =
        reply.unwrap_or_else(|error| panic!("{} is not answered ({error}): {request:?}", CAST[caller].workload()));
    Asked { caller, revision: configuration.revision.clone(), request, reply, counts }
}

fn compare(seed: u64, mesh: &Mesh, round: &Round, asked: Vec<Vec<Asked>>, coverage: &mut Coverage) {
    for Asked { caller, revision, request, reply, counts } in asked.into_iter().flatten() {
        let (plane, caller) = (&mesh.planes[caller], &CAST[caller]);
        let (_, outbound) = plane.records.borrow_mut().outbound.pop_first().expect("all were collected");
        let visits = mesh.visits.borrow_mut().remove(&request.pair).unwrap_or_default();
        let (copied, visits): (Vec<_>, Vec<_>) = visits.into_iter().partition(|reached| reached.copy_of.is_some());
        let id = outbound.text("id").unwrap_or_default();
        let sent = plane.records.borrow_mut().copies_of(id, "outbound");
        let came = CAST.iter().flat_map(|called| came(mesh, called, id)).collect();
        let copies = Copies { sent, came, reached: copied };
        let observed = Observed {
            caller,
            request: &request,
            reply: &reply,
            outbound: &outbound,
            visits: &visits,
            copies: &copies,
        };
        let verdict = observed.compare(round, |called| next(mesh, caller, called));
        let decided_from = outbound.text("revision").unwrap_or(&revision);
        let Some(configuration) = round.0.get(decided_from) else {
            panic!("WEFT_SEED={seed}: a record names an unknown revision: {outbound:?}");
        };
        match verdict {
            Ok(verdict) if counts => {
                assert_eq!(decided_from, revision, "WEFT_SEED={seed}: decided from another configuration: {request:?}");
                coverage.count(&Agreed { configuration, caller, request: &request, verdict: &verdict });
            }
            Ok(_) => {}
            Err(differs) => panic!("{}", disagreement(seed, configuration, &observed, round, &differs)),
        }
    }
}

/// The next record that a called data plane has of a caller's identity, which asks for one thing after the other.
fn next(mesh: &Mesh, caller: &Member, called: &Member) -> Option<Record> {
    let plane = mesh.planes.iter().find(|plane| plane.member.workload() == called.workload())?;
    let mut records = plane.records.borrow_mut();
    let of_caller = records.inbound.get_mut(caller.identity().as_str())?;
    of_caller.pop_first().map(|(_, record)| record)
}

/// The records that a called data plane has of the copies of one request.
fn came(mesh: &Mesh, called: &'static Member, id: &str) -> Vec<(&'static Member, Record)> {
    let plane = mesh.planes.iter().find(|plane| plane.member.workload() == called.workload());
    let records = plane.map(|plane| plane.records.borrow_mut().copies_of(id, "inbound")).unwrap_or_default();
    records.into_iter().map(|record| (called, record)).collect()
}

/// All that is needed to understand a disagreement and to repeat it.
fn disagreement(
    seed: u64,
    configuration: &Configuration,
    observed: &Observed<'_>,
    round: &Round,
    differs: &str,
) -> String {
    let Observed { caller, request, reply, outbound, visits, copies } = observed;
    format!(
        "evaluator and proxy disagree: {differs}\n\n\
         configuration {} with WEFT_SEED={seed}:\n{}\n\
         {} asked (pair {}):\n{}\n\n\
         evaluator: {:?}\n\n\
         record: {outbound:?}\n\n\
         client: {reply:?}\n\n\
         application: {visits:?}\n\n\
         copies: {copies:?}",
        configuration.number,
        configuration.yaml,
        caller.identity(),
        request.pair,
        request.bytes().escape_ascii(),
        observed.evaluate(round),
    )
}
