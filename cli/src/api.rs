//! How commands talk to the control plane's admin API.
use weft_control_plane::{
    client::{CallError, Client},
    wire::ApiError,
};

use crate::{
    context::ContextArguments,
    failure::{Failure, While},
};

/// A client of the control plane that the arguments name.
pub(crate) fn client(context: &ContextArguments) -> Result<Client, Failure> {
    let client = Client::new(context.load()?).while_("prepare TLS");
    client.map_err(|failure| failure.hint("the context file's caSha256 must be the one that its control plane wrote"))
}

/// Runs a command's asynchronous part on this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    crate::runtime(tokio::runtime::Builder::new_current_thread())?.block_on(work)
}

/// Makes one call.
pub(crate) fn call<T>(call: impl Future<Output = Result<T, CallError>>) -> Result<T, Failure> {
    block_on(async { Ok(call.await?) })
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Unreachable { .. } => Self::new(text).hint("is it running, and is this the right context?"),
            CallError::Unproven { .. } => Self::new(text).hint(
                "another mesh's control plane listens there now, or somebody in between: take the context file that \
                 yours wrote when it started last",
            ),
            CallError::Refused(ApiError { hint, .. }) if hint.is_empty() => {
                Self::new(text).hint("see the control plane's log of this time")
            }
            CallError::Refused(ApiError { hint, .. }) => Self::new(text).hint(hint),
            CallError::Objects(diagnostics) => {
                let lines: Vec<_> = diagnostics.iter().map(|diagnostic| format!("\n  {diagnostic}")).collect();
                let hint = "correct what is named above and apply it again; --dry-run only checks";
                Self::new(format!("{text}:{}", lines.concat())).hint(hint)
            }
            CallError::Form { .. } => Self::new(text).hint("are `weft` and the control plane of the same version?"),
        }
    }
}
