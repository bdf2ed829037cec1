//! The wipe guard: the control plane comes back without its objects, under load, and nothing is taken from any proxy before
//! a person confirms it; then it comes back with them.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use weft_store::{ExpectedValue, Redb, State, StateChange, Table};

use super::{Found, access, command, outage};
use crate::{
    demo::{
        client::{Client, Reuse},
        mesh::{LEAVES, Mesh},
        traffic::{Load, Target},
        until,
    },
    failure::{Failure, While},
};

/// Requests a second.
const RATE: u32 = 100;
/// How long load goes on once every proxy has been told.
const SETTLED: Duration = Duration::from_secs(2);
/// How long each step may take.
const BOUND: Duration = Duration::from_secs(10);
/// What makes a store one of this mesh: its CA, its admin token, what its workloads may be, its past.
const OF_THE_MESH: [Table; 5] = [Table::Authority, Table::Tokens, Table::Settings, Table::Audit, Table::Grants];
/// The most entries of a table that are looked at.
const MANY: usize = 100_000;

/// The names of the resources that each instance's proxy holds.
struct Held(BTreeMap<&'static str, BTreeSet<String>>);

/// What was seen.
pub(super) struct Seen {
    pub(super) kept: Found,
    pub(super) confirmed: Found,
    pub(super) restored: Found,
}

/// Puts the store aside, lets the control plane run from one without objects, confirms its removals, and puts the old one
/// back.
pub(super) async fn comes_back_empty(mesh: &mut Mesh) -> Result<Seen, Failure> {
    let before = Held::by(mesh).await?;
    let old = mesh.api()?.status().await?.revision;
    let load = (Load::start(Target::of_catalog(mesh)?, RATE), Instant::now());
    mesh.stop_control_plane().await;
    let (store, aside) = (mesh.store(), mesh.folder().join("store.aside"));
    fs::rename(&store, &aside).while_("put the store aside")?;
    without_objects(&aside, &store).await?;
    mesh.start_control_plane(LEAVES).await?;
    let kept = kept(mesh, &before, &old, load).await;
    let confirmed = confirmed(mesh).await;
    mesh.stop_control_plane().await;
    fs::remove_dir_all(&store).and_then(|()| fs::rename(&aside, &store)).while_("put the old store back")?;
    mesh.start_control_plane(LEAVES).await?;
    let restored = restored(mesh, &before).await;
    Ok(Seen { kept, confirmed, restored })
}

/// Makes a store at `to` that is of the same mesh as the one at `from`, and another one: without objects, of its own epoch.
async fn without_objects(from: &Path, to: &Path) -> Result<(), Failure> {
    let making = "make a store without objects";
    let (from, to) = (Redb::open(from).while_(making)?, Redb::open(to).while_(making)?);
    for table in OF_THE_MESH {
        let entries = from.scan(table, "", MANY).await.while_(making)?.into_iter();
        let changes = entries.map(|entry| StateChange {
            table,
            key: entry.key,
            expected: ExpectedValue::Absent,
            value: Some(entry.value),
        });
        to.change(changes.collect()).await.while_(making)?;
    }
    from.close().await;
    to.close().await;
    Ok(())
}

/// Every proxy must keep all that it held, serve, and say by which revision it noticed; so must the control plane.
async fn kept(mesh: &Mesh, before: &Held, old: &str, (load, since): (Load, Instant)) -> Found {
    let proxies = mesh.instances.len();
    let back = outage::acknowledged(mesh).await;
    let noticed = until(BOUND, async || {
        let status = mesh.api().ok()?.status().await.ok()?;
        let other = status.elsewhere.iter().filter(|proxy| proxy.other_epoch).count();
        (back.is_some() && other == proxies).then_some(status.revision)
    });
    let noticed = noticed.await;
    tokio::time::sleep(SETTLED).await;
    let outcome = load.finish(since.elapsed().as_secs_f64()).await;
    let new =
        noticed.ok_or_else(|| Failure::new(format!("not every proxy was named as of another epoch in {BOUND:?}")))?;
    before.still(mesh).await?;
    let said = said(mesh, old, &new).await?;
    let resources = before.len();
    let text = format!(
        "{} of {} requests failed, {proxies} of {proxies} proxies hold all of their {resources} resources; /ready says \
         {said:?}, and `weft status` names each of them with {}",
        outcome.failures.len(),
        outcome.requests,
        epoch(old)
    );
    match outcome.failures.first() {
        None => Ok(text),
        Some(first) => Err(Failure::new(format!("{text}; the first: {first}"))),
    }
}

/// What a proxy says, once all of them and the control plane name both histories.
async fn said(mesh: &Mesh, old: &str, new: &str) -> Result<String, Failure> {
    let status = command::printed(mesh, &["status"], "").await?;
    let mut told = String::new();
    for instance in &mesh.instances {
        let name = format!("shop/{}", instance.plan.instance);
        let named = |line: &str| line.contains(&name) && line.contains(epoch(old));
        if !status.lines().any(named) {
            return Err(Failure::new(format!("`weft status` does not name {name} with {old}: {status}")));
        }
        let reply = Client::new(instance.bound.status).fetch("sidecar", "/ready", &[], Reuse::Fresh).await?;
        String::from_utf8_lossy(&reply.body).trim().clone_into(&mut told);
        if ![epoch(old), epoch(new), "weft confirm-removals"].iter().all(|named| told.contains(named)) {
            return Err(Failure::new(format!("{name} does not name {old} and {new}: {told}")));
        }
    }
    Ok(told.lines().last().unwrap_or_default().to_owned())
}

/// `weft confirm-removals` must list what would go, and let it go.
async fn confirmed(mesh: &Mesh) -> Found {
    let host = "outbound/reviews.shop.svc.cluster.local";
    let asking = Instant::now();
    let listed = command::printed(mesh, &["confirm-removals", "--yes"], "").await?;
    if !listed.lines().any(|line| line.contains(host) && line.contains("shop/catalog-0")) {
        return Err(Failure::new(format!("it does not list {host} from shop/catalog-0: {listed}")));
    }
    let caller = mesh.outbound("catalog-0")?;
    let gone = until(BOUND, async || {
        let reply = caller.fetch("reviews", "/", &[], Reuse::Kept).await.ok()?;
        (!reply.status.is_success()).then_some(reply.status)
    });
    let gone = gone.await.ok_or_else(|| Failure::new("what was confirmed is still there after 10 s"))?;
    let line = listed.lines().last().unwrap_or_default();
    let after = asking.elapsed().as_secs_f64() * 1000.0;
    Ok(format!("{line:?}; reviews is {} for catalog {after:.0} ms after the command was started", gone.as_u16()))
}

/// The old store has it all again. By now it is another history to the proxies, but one that takes nothing from them: they
/// must go on with it by themselves, and `weft confirm-removals` have nothing to ask.
async fn restored(mesh: &Mesh, before: &Held) -> Found {
    let back = outage::acknowledged(mesh).await;
    let back = back.ok_or_else(|| Failure::new("the sidecars did not acknowledge all that it has for them in 10 s"))?;
    let whole = until(BOUND, async || access::shop(mesh).await.ok().map(|_| ()));
    whole.await.ok_or_else(|| Failure::new("no request goes through the shop"))?;
    let one = until(BOUND, async || {
        let status = mesh.api().ok()?.status().await.ok()?;
        status.elsewhere.is_empty().then_some(())
    });
    one.await.ok_or_else(|| Failure::new("proxies still hold to another history, though this one has all"))?;
    let listed = command::printed(mesh, &["confirm-removals"], "").await?;
    let nothing = "no proxy holds to another history";
    if !listed.contains(nothing) {
        return Err(Failure::new(format!("`weft confirm-removals` does not say {nothing:?}: {listed}")));
    }
    before.still(mesh).await?;
    let proxies = mesh.instances.len();
    Ok(format!(
        "{proxies} of {proxies} had acknowledged everything {:.0} ms after its return, with all that they held at first, and \
         took it for theirs unasked: {nothing}",
        back.as_secs_f64() * 1000.0
    ))
}

impl Held {
    async fn by(mesh: &Mesh) -> Result<Self, Failure> {
        let mut held = BTreeMap::new();
        for instance in &mesh.instances {
            let name = instance.plan.instance;
            let config = mesh.api()?.proxy("shop", name, "/config").await?;
            let parts = ["listeners", "routes", "clusters", "endpoints"].iter();
            let items = parts.filter_map(|part| config[part].as_array()).flatten();
            let named = |item: &Value| format!("{} {}", item["type"], item["name"]);
            held.insert(name, items.map(named).collect());
        }
        Ok(Self(held))
    }

    fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// That nobody has lost anything since.
    async fn still(&self, mesh: &Mesh) -> Result<(), Failure> {
        let now = Self::by(mesh).await?;
        for (instance, names) in &self.0 {
            let now = now.0.get(instance);
            if let Some(lost) = names.iter().find(|name| !now.is_some_and(|now| now.contains(*name))) {
                return Err(Failure::new(format!("{instance} has lost {lost}")));
            }
        }
        Ok(())
    }
}

/// A revision's first part: which store it is of.
fn epoch(revision: &str) -> &str {
    revision.split('/').next().unwrap_or(revision)
}
