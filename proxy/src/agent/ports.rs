//! TCP service ports whose local address is taken: each is a resource that this proxy rejects, with these words, until the
//! address is free.
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time};
use weft_ir::{Listener, Resource, ResourceKey, ResourceType, ServiceKey};

use super::{
    shared::Shared,
    state_dir::{LISTENERS, StateDir},
};
use crate::dataplane::Unbound;

/// How often an address that is taken is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The ports that could not be bound when the proxy started.
#[derive(Debug, Default)]
pub(super) struct Ports {
    ports: Mutex<State>,
    /// For the task that asks for the resources again.
    pub(super) asking: Notify,
    /// For the task that tells what is bound.
    pub(super) telling: Notify,
}

#[derive(Debug, Default)]
struct State {
    taken: BTreeMap<ServiceKey, (SocketAddr, String)>,
    /// Those that were bound since.
    late: BTreeMap<ServiceKey, SocketAddr>,
    /// Those of them whose resources are to be asked for again.
    freed: Vec<ServiceKey>,
}

impl Ports {
    pub(super) fn new(unbound: Vec<Unbound>) -> Self {
        let taken = unbound.into_iter().map(|Unbound { service, address, error }| (service, (address, error)));
        let ports = Mutex::new(State { taken: taken.collect(), ..State::default() });
        Self { ports, ..Self::default() }
    }

    /// Why a resource cannot take effect on this machine, where it cannot.
    pub(super) fn refusal(&self, resource: &Resource) -> Option<String> {
        let state = self.state();
        let Resource::Listener(listener) = resource else { return None };
        let mut taken = state.taken.iter();
        let (_, (address, error)) =
            taken.find(|(service, _)| Listener::outbound_name(service) == listener.name.as_str())?;
        Some(format!(
            "cannot listen on {address}: {error}; free the port or give another with --tcp (tried again each second)"
        ))
    }

    /// What was bound since the start.
    pub(super) fn late(&self) -> Vec<(ServiceKey, SocketAddr)> {
        self.state().late.iter().map(|(service, address)| (service.clone(), *address)).collect()
    }

    /// The listeners to ask for again, each once.
    pub(super) fn freed(&self) -> Vec<ResourceKey> {
        let freed = std::mem::take(&mut self.state().freed);
        freed.iter().map(|service| ResourceKey::new(ResourceType::Listener, Listener::outbound_name(service))).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; a poisoned one still holds whole values.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries to bind what is taken until all is bound.
pub(super) async fn keep_trying(shared: Arc<Shared>, state: Arc<StateDir>) {
    loop {
        let taken = shared.ports.state().taken.clone();
        if taken.is_empty() {
            return;
        }
        for (service, (address, former)) in taken {
            let Some(listened) = shared.with_dataplane(|dataplane| dataplane.listen(&service, address)) else { return };
            match listened {
                Ok(bound) => {
                    tracing::info!(%service, address = %bound.0, "the port is free again");
                    let mut ports = shared.ports.state();
                    ports.taken.remove(&service);
                    ports.late.insert(service.clone(), bound.0);
                    ports.freed.push(service);
                    drop(ports);
                    if let Err(error) = state.publish(LISTENERS, shared.bound().to_json().to_string().as_bytes()) {
                        tracing::warn!(%error, "what is bound could not be written");
                    }
                    shared.ports.asking.notify_one();
                    shared.ports.telling.notify_one();
                }
                Err(error) if error.to_string() != former => {
                    tracing::warn!(%service, %address, %error, "the port cannot be listened on");
                    shared.ports.state().taken.insert(service, (address, error.to_string()));
                }
                Err(_) => {}
            }
        }
        time::sleep(AGAIN).await;
    }
}
