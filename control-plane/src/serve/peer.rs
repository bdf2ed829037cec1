//! Who is at the other end of a gRPC connection.
use std::{net::SocketAddr, sync::Arc};

use tonic::{Request, Status};
use weft_ir::MeshNames;
use weft_model::SpiffeId;

use super::strangers::{Call, Stranger};
use crate::registry::Account;

/// The peer of a connection, as the handshake proved it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// `None` for a client without certificate.
    pub(crate) identity: Option<SpiffeId>,
    /// What a client without certificate is held to, on the gRPC port.
    pub(crate) stranger: Option<Arc<Stranger>>,
}

impl Peer {
    /// The peer of a request.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let peer = request.extensions().get::<Self>().cloned();
        peer.ok_or_else(|| Status::internal("the connection's peer is not known"))
    }

    /// Marks a call that a stranger may make as under way.
    pub(crate) fn call(&self) -> Option<Call> {
        self.stranger.as_ref().map(Stranger::call)
    }

    /// The identity of a workload of this mesh.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` without a certificate, `PERMISSION_DENIED` for an identity that is no account of this mesh.
    pub(crate) fn identity(&self, names: &MeshNames) -> Result<(&SpiffeId, Account), Status> {
        let identity = self.identity.as_ref();
        let identity = identity.ok_or_else(|| Status::unauthenticated("this service demands a client certificate"))?;
        if !identity.is_of(&names.trust_domain) {
            let text = format!("{identity} is not of the trust domain {}", names.trust_domain);
            return Err(Status::permission_denied(text));
        }
        match (identity.namespace(), identity.account()) {
            (Some(namespace), Some(account)) => Ok((identity, Account { namespace, account })),
            _ => Err(Status::permission_denied(format!("{identity} is not an account of this mesh"))),
        }
    }
}
