//! Watching: one event a line, for as long as the control plane runs.
use std::pin::Pin;

use http_body_util::{BodyExt, Full};
use hyper::{
    Method,
    body::{Bytes, Incoming},
    client::conn::http1::SendRequest,
};

use super::{Broken, CallError, Client, query};
use crate::wire::WatchEvent;

/// The longest line that is read, in bytes.
const MAX_LINE: usize = 16 << 20;

/// What happens to objects or workloads, as it comes.
pub struct Watch {
    address: String,
    /// The connection lives as long as the watch.
    _sender: SendRequest<Full<Bytes>>,
    driven: Pin<Box<dyn Future<Output = Broken> + Send>>,
    body: Incoming,
    /// What has come of a line, and of those behind it.
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Client {
    /// Watches the objects that match (each argument narrows where it is given): first what there is, then each change
    /// of an object or of its status. Of the kind `Workload`, what is known of each workload.
    ///
    /// # Errors
    /// As for every call.
    pub async fn watch(
        &self,
        kind: Option<&str>,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<Watch, CallError> {
        let path = format!("/v1/watch?{}", query(kind, namespace, name));
        let (mut sender, driven) = self.open().await?;
        let mut driven: Pin<Box<dyn Future<Output = Broken> + Send>> = Box::pin(driven);
        let request = self.request(Method::GET, &path, None).map_err(|error| self.unreachable(error))?;
        let answer = tokio::select! {
            biased;
            answer = sender.send_request(request) => answer.map_err(|error| self.unreachable(error))?,
            broken = &mut driven => return Err(self.unreachable(broken)),
        };
        let (address, status) = (self.context.address.clone(), answer.status());
        let mut watch = Watch { address, _sender: sender, driven, body: answer.into_body(), buffer: Vec::new() };
        if status.is_success() {
            return Ok(watch);
        }
        while watch.read().await? {}
        Err(Self::refused(status, &watch.buffer))
    }
}

impl Watch {
    /// The next event; `None` when the control plane stops.
    ///
    /// # Errors
    /// Where the connection breaks, or a line is not an event.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, CallError> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer.iter().skip(searched).position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.buffer.drain(..=searched + end).collect();
                let form = |error: serde_json::Error| CallError::Form { status: 200, reason: error.to_string() };
                return serde_json::from_slice(&line).map(Some).map_err(form);
            }
            searched = self.buffer.len();
            if searched > MAX_LINE {
                return Err(CallError::Form { status: 200, reason: format!("a line has more than {MAX_LINE} bytes") });
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Reads some more; `false` at the end.
    async fn read(&mut self) -> Result<bool, CallError> {
        let frame = tokio::select! {
            biased;
            frame = self.body.frame() => frame.transpose().map_err(Broken::from),
            broken = &mut self.driven => Err(broken),
        };
        let unreachable =
            |broken: Broken| CallError::Unreachable { address: self.address.clone(), reason: broken.to_string() };
        let frame = frame.map_err(unreachable)?;
        let Some(frame) = frame else { return Ok(false) };
        // Trailers say nothing.
        if let Ok(data) = frame.into_data() {
            self.buffer.extend_from_slice(&data);
        }
        Ok(true)
    }
}
