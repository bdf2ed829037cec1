//! Carries active health checks out: on a thread of its own, so that neither workers nor the control thread wait for one.
mod grpc;
mod probe;

use std::{
    io,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::Duration,
};

use tokio::{
    runtime,
    sync::{Notify, Semaphore},
    task::{LocalSet, spawn_local},
    time::{Instant, sleep_until},
};
use weft_decide::Checked;

use super::keeper::{Check, Keeper};
use crate::dataplane::{
    gate::Gate,
    tls::{Identity, LocalIdentity},
};

/// The most checks at once: what is due beyond them waits, and its time with it.
const AT_ONCE: usize = 64;

/// How long the thread waits where nothing is due: it is woken by changes.
const NOTHING_DUE: Duration = Duration::from_secs(3600);

/// What the thread and those who tell it share.
pub(in crate::dataplane) struct Checking {
    gate: Arc<Gate>,
    identity: Mutex<Option<Arc<Identity>>>,
    stirred: Notify,
}

impl Checking {
    /// Checks take their descriptors from there.
    pub(in crate::dataplane) fn new(gate: Arc<Gate>) -> Self {
        Self { gate, identity: Mutex::default(), stirred: Notify::new() }
    }

    /// Proves this proxy by that identity from now on.
    pub(super) fn prove(&self, identity: Arc<Identity>) {
        *self.identity() = Some(identity);
    }

    /// Something has changed: another check may be due first, or nobody wants to know any more.
    pub(super) fn stir(&self) {
        self.stirred.notify_one();
    }

    /// No worker takes this lock.
    fn identity(&self) -> MutexGuard<'_, Option<Arc<Identity>>> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Sized + '_ {
        self.identity()
    }
}

/// Starts the thread; it ends with the keeper.
pub(super) fn start(keeper: Weak<Keeper>, checking: Arc<Checking>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let check = move || LocalSet::new().block_on(&runtime, run(keeper, checking));
    thread::Builder::new().name("weft-checks".into()).spawn(check).map(drop)
}

async fn run(keeper: Weak<Keeper>, checking: Arc<Checking>) {
    let turns = Rc::new(Semaphore::new(AT_ONCE));
    let mut proven: Option<(Arc<Identity>, Rc<LocalIdentity>)> = None;
    loop {
        // Held for a moment only: the thread ends with it.
        let Some((due, next)) = keeper.upgrade().map(|keeper| keeper.due()) else { return };
        let identity = checking.identity().clone();
        if proven.as_ref().map(|(its, _)| Arc::as_ptr(its)) != identity.as_ref().map(Arc::as_ptr) {
            proven = identity.map(|identity| (identity.clone(), Rc::new(LocalIdentity::new(identity))));
        }
        for check in due {
            let identity = proven.as_ref().map(|(_, local)| local.clone());
            let (keeper, checking, turns) = (keeper.clone(), checking.clone(), turns.clone());
            spawn_local(async move {
                let result = {
                    let _turn = turns.acquire().await;
                    carry_out(&check, identity.as_deref(), &checking.gate).await
                };
                if let Some(keeper) = keeper.upgrade() {
                    keeper.checked(&check, result);
                }
                checking.stir();
            });
        }
        tokio::select! {
            () = checking.stirred.notified() => {}
            () = sleep_until(next.unwrap_or_else(|| Instant::now() + NOTHING_DUE)) => {}
        }
    }
}

async fn carry_out(check: &Check, identity: Option<&LocalIdentity>, gate: &Arc<Gate>) -> Checked {
    let Some(policy) = &check.cluster.health_check else { return Checked::Unknown };
    // Without a certificate or a descriptor of our own, nothing is found out of others.
    let (Some(identity), Some(place)) = (identity, gate.outgoing()) else { return Checked::Unknown };
    match tokio::time::timeout(policy.timeout, probe::probe(check, policy, identity, place)).await {
        Ok(checked) => checked,
        Err(_) => Checked::Failed(format!("no answer within {:?}", policy.timeout)),
    }
}
