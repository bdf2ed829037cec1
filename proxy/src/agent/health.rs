//! The application's health: each of its ports is connected to from time to time, and what comes of it is told on the
//! Agent stream, so that peers choose no instance whose application takes no connections.
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::watch, time};
use weft_decide::Health;
use weft_model::PortName;
use weft_proto::weft::HealthReport;

use super::{bootstrap::Bootstrap, shared::Shared};

/// The verdict on the workload, as it stands and as it changes.
#[derive(Debug)]
pub(super) struct Application(watch::Sender<Verdict>);

/// Whether peers may choose the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether the proxy has what it takes to serve peers. Before that it would refuse them as misdirected: the control
    /// plane tells peers of a new instance at the same moment as the instance itself what to serve.
    configured: bool,
    /// Why the application takes no connections; `None` where it does.
    application: Option<String>,
}

impl Verdict {
    /// Why peers must not choose it; `None` where they may.
    pub(super) fn unhealthy(&self) -> Option<String> {
        match self.configured {
            true => self.application.clone(),
            false => Some("its first configuration is not in effect yet".to_owned()),
        }
    }
}

impl Application {
    /// Of a workload that is about to start: healthy where peers cannot reach it, or it has no application to check.
    pub(super) fn new(bootstrap: &Bootstrap) -> Self {
        let application = (!bootstrap.applications.is_empty()).then(|| "it was not checked yet".to_owned());
        Self(watch::Sender::new(Verdict { configured: bootstrap.inbound.is_none(), application }))
    }

    /// Why peers must not choose it; `None` where they may.
    pub(super) fn unhealthy(&self) -> Option<String> {
        self.0.borrow().unhealthy()
    }

    /// The verdict as it changes.
    pub(super) fn changes(&self) -> watch::Receiver<Verdict> {
        self.0.subscribe()
    }

    /// The first configuration is in effect.
    pub(super) fn set_configured(&self) {
        self.update(|verdict| verdict.configured = true);
    }

    fn set(&self, application: Option<String>) {
        self.update(|verdict| verdict.application = application);
    }

    fn update(&self, change: impl FnOnce(&mut Verdict)) {
        self.0.send_if_modified(|verdict| {
            let before = verdict.clone();
            change(verdict);
            *verdict != before
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
