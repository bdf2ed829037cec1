//! The units of computation, and the count of what was computed.
use weft_model::ObjectRef;

/// What is computed as a whole, from one object and what it depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unit {
    pub(crate) kind: UnitKind,
    pub(crate) object: ObjectRef,
}

/// The kinds of unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum UnitKind {
    /// A Service's clusters, and the outbound listeners of its TCP ports.
    Clusters,
    /// A Service's endpoints.
    Endpoints,
    /// The virtual hosts of a Service's HTTP ports.
    Hosts,
    /// A Workload's inbound listener.
    Inbound,
    /// What is to be said of an object.
    Diagnosis,
}

/// How many units of each kind were computed since the compiler was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Services whose clusters (and outbound TCP listeners) were computed.
    pub clusters: u64,
    /// Services whose endpoints were computed.
    pub endpoints: u64,
    /// Services whose virtual hosts were computed.
    pub hosts: u64,
    /// Workloads whose inbound listener was computed.
    pub inbounds: u64,
    /// Objects whose diagnostics were computed.
    pub diagnoses: u64,
}

impl Work {
    /// All units together.
    pub const fn total(&self) -> u64 {
        self.clusters + self.endpoints + self.hosts + self.inbounds + self.diagnoses
    }

    pub(crate) const fn count(&mut self, kind: UnitKind) {
        match kind {
            UnitKind::Clusters => self.clusters += 1,
            UnitKind::Endpoints => self.endpoints += 1,
            UnitKind::Hosts => self.hosts += 1,
            UnitKind::Inbound => self.inbounds += 1,
            UnitKind::Diagnosis => self.diagnoses += 1,
        }
    }
}
