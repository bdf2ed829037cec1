//! Agent streams: a registration as a lease, and what a proxy tells of itself.
use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};
use weft_model::SpiffeId;
use weft_proto::weft::{
    AgentMessage, ControlMessage, Registration, RegistrationRefused, agent_message::Message,
    agent_service_server::AgentService, control_message,
};

use weft_store::State;

use super::{grpc::Core, peer::Peer};
use crate::{
    labels::Granted,
    metrics::StreamKind,
    registry::{Account, Attachment, Registered},
};

/// How long a proxy may take for its registration.
const REGISTRATION: Duration = Duration::from_secs(10);

/// Messages to the proxy that wait for the connection.
const QUEUE: usize = 32;

/// The Agent service.
#[derive(Clone, Debug)]
pub(crate) struct Agents {
    pub(crate) core: Core,
    /// Where the labels are that an identity may carry.
    pub(crate) grants: Arc<dyn State>,
}

#[tonic::async_trait]
impl AgentService for Agents {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<ControlMessage, Status>> + Send>>;

    async fn attach(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::AttachStream>, Status> {
        let peer = Peer::of(&request)?;
        let (identity, account) = peer.identity(&self.core.names)?;
        let registrant = Registrant { identity: identity.clone(), account, grants: self.grants.clone() };
        let (messages, outgoing) = mpsc::channel(QUEUE);
        let (ends, ended) = mpsc::channel(1);
        let core = self.core.clone();
        tokio::spawn(async move {
            if let Err(status) = serve(core, registrant, request.into_inner(), messages).await {
                info!(address = %peer.address, code = %status.code(), reason = status.message(), "an Agent stream was ended");
                // The proxy may be gone.
                let _gone = ends.send(Err(status)).await;
            }
        });
        let answers = ReceiverStream::new(outgoing).map(Ok).chain(ReceiverStream::new(ended));
        Ok(Response::new(Box::pin(answers)))
    }
}

async fn serve(
    core: Core,
    registrant: Registrant,
    mut incoming: Streaming<AgentMessage>,
    messages: mpsc::Sender<ControlMessage>,
) -> Result<(), Status> {
    let _open = core.metrics.stream(StreamKind::Agent);
    let mut stop: watch::Receiver<bool> = core.stop.clone();
    let first = timeout(REGISTRATION, incoming.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the registration did not come"))?;
    let Some(Message::Registration(registration)) = first?.and_then(|first| first.message) else {
        return Err(Status::invalid_argument("the first message of an Agent stream must be a registration"));
    };
    let Some(attachment) = register(&core, registration, &registrant, None, &messages).await? else {
        // Told in the message; ended, so that the proxy tries again when it is put right.
        return Err(Status::failed_precondition("the registration was refused"));
    };
    debug!(workload = %attachment.workload, "registered");
    let ended = loop {
        let message = tokio::select! {
            message = incoming.message() => message,
            () = messages.closed() => break Ok(()),
            _ = stop.wait_for(|stopped| *stopped) => break Err(Status::unavailable("the control plane stops")),
        };
        match message {
            Ok(Some(AgentMessage { message: Some(Message::Registration(again)) })) => {
                if let Err(status) = register(&core, again, &registrant, Some(&attachment), &messages).await {
                    break Err(status);
                }
            }
            Ok(Some(message)) => {
                let drains = matches!(message.message, Some(Message::Draining(_)));
                if !core.registry.message(&attachment, message) {
                    break Err(Status::aborted(
                        "the lease has run out, or another stream has taken it: register again",
                    ));
                }
                // It lets nobody go before it knows that peers are told.
                if drains {
                    // The proxy may be gone; the loop finds out.
                    let _gone = messages.send(granted(&core)).await;
                }
            }
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        }
    };
    core.registry.detach(&attachment);
    ended
}

/// Who registers.
struct Registrant {
    identity: SpiffeId,
    account: Account,
    grants: Arc<dyn State>,
}

/// Checks and takes a registration, and answers it; `None` where it is refused.
async fn register(
    core: &Core,
    registration: Registration,
    Registrant { identity, account, grants }: &Registrant,
    former: Option<&Attachment>,
    messages: &mpsc::Sender<ControlMessage>,
) -> Result<Option<Attachment>, Status> {
    // Read each time: a token that was used meanwhile may have granted more.
    let (labels, _) =
        Granted::read(&**grants, identity).await.map_err(|error| Status::unavailable(error.to_string()))?;
    let taken = Registered::check(registration, account, &labels)
        .and_then(|registered| core.registry.register(registered, former, messages.clone()));
    let (answer, attachment) = match taken {
        Ok(attachment) => (granted(core), Some(attachment)),
        Err(reason) => {
            info!(namespace = %account.namespace, account = %account.account, reason, "a registration was refused");
            let refused = control_message::Message::Refused(RegistrationRefused { reason });
            (ControlMessage { message: Some(refused) }, None)
        }
    };
    // The proxy may be gone; the loop finds out.
    let _gone = messages.send(answer).await;
    Ok(attachment)
}

/// That a registration stands, as it is now.
fn granted(core: &Core) -> ControlMessage {
    let lease_ms = u64::try_from(core.lease.as_millis()).unwrap_or(u64::MAX);
    let registered = control_message::Message::Registered(weft_proto::weft::Registered { lease_ms });
    ControlMessage { message: Some(registered) }
}
