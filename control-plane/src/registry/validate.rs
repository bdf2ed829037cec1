//! From a registration message to checked types.
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    net::SocketAddr,
    str::FromStr,
};

use weft_model::{
    AccountName, ClusterName, Labels, Locality, LocalityName, Meta, Name, NetworkName, Port, PortName, Workload,
    WorkloadRef,
};
use weft_proto::weft::{self, HealthReport, Registration};

use super::{Account, proxy::shorten};
use crate::labels::{self, Granted};

const MAX_PORTS: usize = 64;
/// As for a backend's weight in the Gateway API.
const MAX_WEIGHT: u32 = 1_000_000;

/// A registration that passed its checks.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) reference: WorkloadRef,
    pub(crate) account: AccountName,
    pub(crate) labels: Labels,
    pub(crate) version: String,
    /// Five characters that tell process starts apart.
    pub(crate) start: String,
    /// Why its application takes no connections; `None` where it does, or its proxy says nothing of it.
    pub(crate) unhealthy: Option<String>,
    /// How long the process served its last good configuration after its start; `None` where it started without one.
    pub(crate) last_good_ms: Option<u64>,
    /// What peers reach; none for a workload that only calls.
    pub(crate) workload: Option<Workload>,
}

impl Registered {
    /// Where peers reach it; empty for a workload that only calls.
    pub(crate) fn address(&self) -> String {
        self.workload.as_ref().map(|workload| workload.address.to_string()).unwrap_or_default()
    }

    /// Checks a registration of whoever proved to be `account`, whose workloads may carry the labels `granted`.
    ///
    /// # Errors
    /// Everything that is wrong with it, field by field.
    pub(crate) fn check(message: Registration, account: &Account, granted: &Granted) -> Result<Self, String> {
        let Registration {
            workload,
            address,
            ports,
            labels,
            locality,
            network,
            cluster,
            version,
            weight,
            start,
            health,
            last_good_ms,
        } = message;
        let mut wrong = Wrong(Vec::new());
        let name: Option<Name> = wrong.parse("workload", &workload);
        let address = if address.is_empty() { None } else { wrong.address(&address) };
        let ports = wrong.ports(&ports);
        let labels = wrong.labels(labels, account, granted);
        let locality = wrong.locality(locality.unwrap_or_default());
        let network = wrong.parse_or("network", &network, NetworkName::default_network);
        let cluster = wrong.parse_or("cluster", &cluster, ClusterName::local);
        if weight > MAX_WEIGHT {
            wrong.tell("weight", format!("{weight} is more than {MAX_WEIGHT}"));
        }
        if start.is_empty() || start.len() > 32 || !start.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            wrong.tell("start", "it must have 1 to 32 letters or digits");
        }
        let (Some(name), true) = (name, wrong.0.is_empty()) else { return Err(wrong.0.join("; ")) };
        let (namespace, account) = (account.namespace.clone(), account.account.clone());
        let reference = WorkloadRef { namespace: namespace.clone(), name: name.clone() };
        let workload = address.map(|address| Workload {
            meta: Meta { name, namespace, labels: labels.clone(), annotations: Labels::new() },
            account: account.clone(),
            address,
            ports,
            locality,
            network,
            cluster,
            trust_domain: None,
            weight: weight.max(1),
            draining: false,
            unhealthy: false,
        });
        let unhealthy = health.and_then(unhealthy);
        Ok(Self { reference, account, labels, version: shorten(version), start, unhealthy, last_good_ms, workload })
    }
}

/// Why an application takes no connections; `None` where it does. The text is a peer's own.
pub(super) fn unhealthy(HealthReport { healthy, reason }: HealthReport) -> Option<String> {
    (!healthy).then(|| shorten(reason.chars().filter(|character| !character.is_control()).collect()))
}

/// What is wrong, `field: reason` each.
struct Wrong(Vec<String>);

impl Wrong {
    fn tell(&mut self, field: &str, reason: impl Display) {
        self.0.push(format!("{field}: {reason}"));
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, field: &str, text: &str) -> Option<T> {
        text.parse().map_err(|reason| self.tell(field, reason)).ok()
    }

    fn parse_or<T: FromStr<Err: Display>>(&mut self, field: &str, text: &str, default: impl Fn() -> T) -> T {
        if text.is_empty() { default() } else { self.parse(field, text).unwrap_or_else(default) }
    }

    fn address(&mut self, text: &str) -> Option<SocketAddr> {
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0 => {
                self.tell("address", format!("{address} is none that a peer can connect to"));
                None
            }
            Ok(address) => Some(address),
            Err(_) => {
                self.tell("address", "it must be <ip>:<port>");
                None
            }
        }
    }

    fn ports(&mut self, ports: &HashMap<String, u32>) -> BTreeMap<PortName, Port> {
        if ports.len() > MAX_PORTS {
            self.tell("ports", format!("{} are more than {MAX_PORTS}", ports.len()));
            return BTreeMap::new();
        }
        let mut checked = BTreeMap::new();
        for (name, number) in ports {
            let port = u16::try_from(*number).ok().and_then(Port::new);
            if port.is_none() {
                self.tell("ports", format!("{number} is not a port from 1 to 65535"));
            }
            if let (Some(name), Some(port)) = (self.parse("ports", name), port) {
                checked.insert(name, port);
            }
        }
        checked
    }

    /// In the right form, and granted to the account.
    fn labels(&mut self, labels: HashMap<String, String>, account: &Account, granted: &Granted) -> Labels {
        for fault in labels::faults(labels.iter()) {
            self.tell("labels", fault);
        }
        let labels: Labels = labels.into_iter().collect();
        let missing = labels.iter().filter(|(key, value)| !granted.allows(key, value));
        let missing: Vec<_> = missing.map(|(key, value)| format!("{key}={value}")).collect();
        if !missing.is_empty() && self.0.is_empty() {
            let flags: Vec<_> = missing.iter().map(|label| format!("--label {label}")).collect();
            self.tell(
                "labels",
                format!(
                    "{} may not be carried by {account}: make a join token with {}, and join with it from an empty state \
                     directory",
                    missing.join(", "),
                    flags.join(" ")
                ),
            );
        }
        labels
    }

    fn locality(&mut self, locality: weft::Locality) -> Locality {
        let weft::Locality { region, zone, sub_zone } = locality;
        let mut part = |field: &str, text: String| -> Option<LocalityName> {
            if text.is_empty() { None } else { self.parse(field, &text) }
        };
        Locality {
            region: part("locality.region", region),
            zone: part("locality.zone", zone),
            sub_zone: part("locality.sub_zone", sub_zone),
        }
    }
}
