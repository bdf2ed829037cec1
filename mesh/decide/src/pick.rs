//! From a cluster to one of its endpoints.
use std::sync::Arc;

use weft_ir::{Cluster, Endpoint, EndpointAddress, Endpoints};
use weft_model::SpiffeId;

use crate::{Permitted, Refusal};

/// An endpoint that a permitted request or connection goes to.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'s> {
    permitted: Permitted<'s>,
    endpoint: &'s Endpoint,
    index: usize,
}

impl<'s> Picked<'s> {
    /// What it was picked for; a retry picks again from it.
    pub fn permitted(&self) -> Permitted<'s> {
        self.permitted
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &'s Endpoint {
        self.endpoint
    }

    /// The endpoint's place among [`Self::endpoints`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// All endpoints of the cluster.
    pub fn endpoints(&self) -> &'s Arc<Endpoints> {
        self.permitted.routed().cluster().endpoints()
    }

    /// The cluster.
    pub fn cluster(&self) -> &'s Arc<Cluster> {
        self.permitted.routed().cluster().cluster()
    }

    /// Where to connect.
    pub fn address(&self) -> EndpointAddress {
        self.endpoint.address
    }

    /// The identity that the endpoint's certificate must prove.
    pub fn identity(&self) -> &'s SpiffeId {
        &self.endpoint.identity
    }

    /// The server name for the TLS hello.
    pub fn sni(&self) -> &'s str {
        &self.cluster().tls.sni
    }
}

/// Picks the endpoint of turn `cursor`: each healthy endpoint is picked as many times as its weight within each run of
/// as many cursors as the weights sum to, evenly spread. The same endpoints and cursor give the same pick.
///
/// Count a cursor for each cluster, from a random start for each worker: a cursor that clusters share skips endpoints
/// in step.
///
/// # Errors
/// [`Refusal::NoHealthyEndpoint`].
pub fn pick(permitted: Permitted<'_>, cursor: u64) -> Result<Picked<'_>, Refusal> {
    let entry = permitted.routed().cluster();
    let found = entry.turn(cursor).and_then(|index| Some((index, entry.endpoints().endpoints.get(index)?)));
    match found {
        Some((index, endpoint)) => Ok(Picked { permitted, endpoint, index }),
        None => Err(Refusal::NoHealthyEndpoint {
            cluster: entry.cluster().name.clone(),
            endpoints: entry.endpoints().endpoints.len(),
        }),
    }
}

#[cfg(test)]
mod tests;
