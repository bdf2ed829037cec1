//! What a proxy has bound.
use std::{fmt, net::SocketAddr, path::PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use weft_ir::{Listener, ServiceKey};
use weft_model::WorkloadRef;
use weft_net::LocalAddr;

use crate::dataplane;

/// What a proxy has bound, also told on the Agent stream and written to `listeners.json` in the state directory.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The workload that it serves.
    pub workload: WorkloadRef,
    /// Where peers connect to.
    pub inbound: Option<SocketAddr>,
    /// Where the application sends HTTP.
    pub outbound: Option<SocketAddr>,
    /// One for each TCP service port that the application calls.
    pub tcp: Vec<(ServiceKey, SocketAddr)>,
    /// Where `/ready`, `/live` and `/metrics` are served.
    pub status: SocketAddr,
    /// The admin interface's Unix socket.
    pub admin: PathBuf,
}

impl Bound {
    /// The listeners by their xDS names.
    pub(super) fn listeners(&self) -> impl Iterator<Item = (String, String)> {
        let inbound = self.inbound.map(|address| (Listener::inbound_name(&self.workload), address.to_string()));
        let outbound = self.outbound.map(|address| (Listener::OUTBOUND.to_owned(), address.to_string()));
        let tcp = self.tcp.iter().map(|(service, address)| (Listener::outbound_name(service), address.to_string()));
        inbound.into_iter().chain(outbound).chain(tcp)
    }

    /// As `listeners.json` holds it.
    pub(super) fn to_json(&self) -> Value {
        let tcp = self.tcp.iter().map(|(service, address)| json!({"service": service, "address": address.to_string()}));
        json!({
            "inbound": self.inbound.map(|address| address.to_string()),
            "outbound": self.outbound.map(|address| address.to_string()),
            "tcp": tcp.collect::<Vec<_>>(),
            "status": self.status.to_string(),
            "admin": self.admin.to_string_lossy(),
        })
    }
}

/// What `listeners.json` tells of an earlier run, as far as a later one goes by it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Former {
    inbound: Option<SocketAddr>,
    outbound: Option<SocketAddr>,
    #[serde(default)]
    tcp: Vec<FormerTcp>,
    /// Where the status interface was.
    pub(super) status: Option<SocketAddr>,
}

#[derive(Debug, Deserialize)]
struct FormerTcp {
    service: String,
    address: SocketAddr,
}

impl Former {
    /// Reads it; what cannot be read tells nothing, and is written anew.
    pub(super) fn read(listeners: &[u8]) -> Self {
        serde_json::from_slice(listeners).unwrap_or_default()
    }

    /// What the data plane bound.
    pub(super) fn dataplane(&self) -> dataplane::Bound {
        let tcp = self.tcp.iter().filter_map(|it| Some((it.service.parse().ok()?, LocalAddr(it.address))));
        dataplane::Bound {
            inbound: self.inbound.map(LocalAddr),
            outbound: self.outbound.map(LocalAddr),
            tcp: tcp.collect(),
            unbound: Vec::new(),
        }
    }
}

impl fmt::Display for Bound {
    /// One line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, address) in self.listeners() {
            write!(f, "{name} on {address}, ")?;
        }
        write!(f, "status on {}, admin on {}", self.status, self.admin.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_by_the_next_run() {
        let service: ServiceKey = "local/shop/stock:9000".parse().unwrap();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let bound = Bound {
            workload: WorkloadRef { namespace: "shop".parse().unwrap(), name: "web-0".parse().unwrap() },
            inbound: Some(at(1)),
            outbound: None,
            tcp: vec![(service.clone(), at(2))],
            status: at(3),
            admin: "/run/admin.sock".into(),
        };
        let former = Former::read(bound.to_json().to_string().as_bytes());
        assert_eq!(former.status, Some(at(3)));
        let former = former.dataplane();
        assert_eq!((former.inbound, former.outbound), (Some(LocalAddr(at(1))), None));
        assert_eq!(former.tcp(&service), Some(LocalAddr(at(2))));
    }

    #[test]
    fn a_damaged_file_tells_nothing() {
        for text in ["", "[]", "{", r#"{"inbound": "nowhere"}"#, r#"{"tcp": [{"service": "x"}]}"#] {
            let former = Former::read(text.as_bytes());
            assert_eq!((former.dataplane(), former.status), (dataplane::Bound::default(), None), "{text}");
        }
    }
}
