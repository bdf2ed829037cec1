//! The application's health: each of its ports is connected to from time to time, and what comes of it is told on the
//! Agent stream, so that peers choose no instance whose application takes no connections.
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::watch, time};
use weft_decide::Health;
use weft_model::PortName;
use weft_proto::weft::HealthReport;

use super::shared::Shared;

/// The verdict on the application, as it stands and as it changes.
#[derive(Debug)]
pub(super) struct Application {
    /// Why it takes no connections; `None` where it does.
    unhealthy: watch::Sender<Option<String>>,
}

impl Application {
    /// Of the application that listens on these ports: healthy where there are none, unhealthy before the first check.
    pub(super) fn new(ports: &BTreeMap<PortName, SocketAddr>) -> Self {
        let unhealthy = (!ports.is_empty()).then(|| "it was not checked yet".to_owned());
        Self { unhealthy: watch::Sender::new(unhealthy) }
    }

    /// Why it takes no connections; `None` where it does.
    pub(super) fn unhealthy(&self) -> Option<String> {
        self.unhealthy.borrow().clone()
    }

    /// The verdict as it changes.
    pub(super) fn changes(&self) -> watch::Receiver<Option<String>> {
        self.unhealthy.subscribe()
    }

    fn set(&self, unhealthy: Option<String>) {
        self.unhealthy.send_if_modified(|current| {
            let changes = *current != unhealthy;
            *current = unhealthy;
            changes
        });
    }
}

/// A verdict as it is told on the Agent stream.
pub(super) fn report(unhealthy: Option<String>) -> HealthReport {
    HealthReport { healthy: unhealthy.is_none(), reason: unhealthy.unwrap_or_default() }
}

/// Checks the application for as long as the task lives.
pub(super) async fn run(shared: Arc<Shared>) {
    let (ports, check) = (&shared.bootstrap.applications, shared.bootstrap.health);
    if ports.is_empty() {
        return;
    }
    let mut health = Health::new(check);
    loop {
        let outcome = connects(ports, check.timeout).await;
        let changed = health.checked(outcome.is_ok());
        let healthy = health.is_healthy() == Some(true);
        metrics::gauge!("weft_application_healthy").set(u8::from(healthy));
        match outcome {
            Ok(()) if healthy => shared.application.set(None),
            Err(reason) if !healthy => {
                if changed {
                    tracing::warn!(reason, "the application is unhealthy: peers do not choose this instance");
                }
                shared.application.set(Some(reason));
            }
            // It takes more checks to turn the verdict.
            Ok(()) | Err(_) => {}
        }
        if changed && healthy {
            tracing::info!("the application is healthy");
        }
        time::sleep(health.wait(rand::random())).await;
    }
}

/// Whether every port takes a connection; the first that does not, and why.
async fn connects(ports: &BTreeMap<PortName, SocketAddr>, timeout: Duration) -> Result<(), String> {
    let begin = |(name, address): (&PortName, &SocketAddr)| {
        let address = *address;
        (name.clone(), address, tokio::spawn(async move { weft_net::connect(address, timeout).await.map(drop) }))
    };
    let begun: Vec<_> = ports.iter().map(begin).collect();
    for (name, address, connecting) in begun {
        let failed = match connecting.await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        return Err(format!("port {name} at {address}: {failed}"));
    }
    Ok(())
}
