//! A client of the admin API: HTTPS with the server's root pinned, the bodies of [`wire`](crate::wire) both ways.
use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
    http,
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use weft_certs::{
    join::Context,
    tls::{TlsError, control_plane_name, root_pinned_client_config},
    verify::Expected,
};
use weft_model::Diagnostic;

use crate::wire::{
    ApiError, ApplyRequest, ApplyResponse, CaRotated, ConfirmRequest, Confirmed, Deleted, EdgeList, ObjectList,
    ObjectStatus, RecoveryList, RecoveryRevocation, RecoveryRevoked, Refusal, Removals, Status, StatusList,
    TokenRequest, TokenResponse, WaitRequest, WaitResponse, WorkloadList,
};

mod watch;

pub use watch::Watch;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 << 20;
/// How long one call may take.
const CALL: Duration = Duration::from_secs(30);

/// Why a connection ended under a call.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Why a call did not give what it was made for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The control plane could not be reached, or the connection broke.
    #[error("cannot reach the control plane at {address}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// Who answered did not prove to be the control plane that the context names.
    #[error("who answers at {address} is not the control plane of this context: {reason}")]
    Unproven {
        /// Where it was looked for.
        address: String,
        /// What was not as it must be.
        reason: String,
    },
    /// It says what is wrong, and what to do.
    #[error("{}", .0.error)]
    Refused(ApiError),
    /// The objects are refused; nothing changed.
    #[error("refused, and nothing was changed")]
    Objects(Vec<Diagnostic>),
    /// It answered in another form than this version knows.
    #[error("the control plane answered {status} in an unknown form: {reason}")]
    Form {
        /// The answer's status.
        status: u16,
        /// What does not fit.
        reason: String,
    },
}

/// The admin API of one control plane. Each call is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    context: Context,
    tls: Arc<ClientConfig>,
}

impl Client {
    /// A client for the control plane that a context names.
    ///
    /// # Errors
    /// Where TLS cannot be configured.
    pub fn new(context: Context) -> Result<Self, TlsError> {
        let expected = Expected::Exactly(context.control_plane());
        let tls = root_pinned_client_config(context.ca_sha256, expected, &[b"http/1.1"])?;
        Ok(Self { context, tls })
    }

    /// Applies documents, all or nothing.
    ///
    /// # Errors
    /// [`CallError::Objects`] with every finding where an object is refused; others as for every call.
    pub async fn apply(&self, request: &ApplyRequest) -> Result<ApplyResponse, CallError> {
        self.send(Method::POST, "/v1/apply", request).await
    }

    /// The objects that match: each argument narrows where it is given.
    ///
    /// # Errors
    /// As for every call.
    pub async fn objects(
        &self,
        kind: Option<&str>,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<ObjectList, CallError> {
        self.read(&format!("/v1/objects?{}", query(kind, namespace, name))).await
    }

    /// How far the objects that match have come: each argument narrows where it is given.
    ///
    /// # Errors
    /// As for every call.
    pub async fn statuses(
        &self,
        kind: Option<&str>,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<StatusList, CallError> {
        self.read(&format!("/v1/statuses?{}", query(kind, namespace, name))).await
    }

    /// How far one object has come.
    ///
    /// # Errors
    /// As for every call; an object that does not exist is one.
    pub async fn object_status(&self, kind: &str, namespace: &str, name: &str) -> Result<ObjectStatus, CallError> {
        let object = format!("/v1/objects/{}/{}/{}", escaped(kind), escaped(namespace), escaped(name));
        self.read(&format!("{object}/status")).await
    }

    /// Waits until objects are in effect at every proxy that uses them, or the request's time is over.
    ///
    /// # Errors
    /// As for every call; time that is over is none.
    pub async fn wait(&self, request: &WaitRequest) -> Result<WaitResponse, CallError> {
        let body = serde_json::to_vec(request).map_err(|error| self.unreachable(error))?;
        let limit = CALL + Duration::from_millis(request.timeout_ms);
        Self::typed(self.exchange_within(limit, Method::POST, "/v1/wait", Some(body)).await?)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// As for every call; an object that does not exist is one.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<Deleted, CallError> {
        self.deletion(kind, namespace, name, false).await
    }

    /// Says what deleting an object would mean, and changes nothing.
    ///
    /// # Errors
    /// As for [`delete`](Self::delete).
    pub async fn dry_delete(&self, kind: &str, namespace: &str, name: &str) -> Result<Deleted, CallError> {
        self.deletion(kind, namespace, name, true).await
    }

    /// Makes a join token for one identity.
    ///
    /// # Errors
    /// As for every call.
    pub async fn token(&self, request: &TokenRequest) -> Result<TokenResponse, CallError> {
        self.send(Method::POST, "/v1/tokens", request).await
    }

    /// Renews the intermediate certificate now.
    ///
    /// # Errors
    /// As for every call.
    pub async fn rotate_ca(&self) -> Result<CaRotated, CallError> {
        self.send(Method::POST, "/v1/ca/rotate", &Value::Null).await
    }

    /// What is remembered of recoveries by expired certificates.
    ///
    /// # Errors
    /// As for every call.
    pub async fn recovery(&self) -> Result<RecoveryList, CallError> {
        self.read("/v1/recovery").await
    }

    /// Revokes the recovery by every certificate that an identity was given so far.
    ///
    /// # Errors
    /// As for every call.
    pub async fn revoke_recovery(&self, request: &RecoveryRevocation) -> Result<RecoveryRevoked, CallError> {
        self.send(Method::POST, "/v1/recovery/revocations", request).await
    }

    /// The workloads that have registered.
    ///
    /// # Errors
    /// As for every call.
    pub async fn workloads(&self) -> Result<WorkloadList, CallError> {
        self.read("/v1/workloads").await
    }

    /// Asks a workload's proxy for an admin path, relayed over its Agent stream.
    ///
    /// # Errors
    /// As for every call; a proxy that does not answer is one.
    pub async fn proxy(&self, namespace: &str, name: &str, path: &str) -> Result<Value, CallError> {
        let workload = format!("/v1/workloads/{}/{}", escaped(namespace), escaped(name));
        self.read(&format!("{workload}/proxy?path={}", escaped(path))).await
    }

    /// Who calls whom.
    ///
    /// # Errors
    /// As for every call.
    pub async fn edges(&self) -> Result<EdgeList, CallError> {
        self.read("/v1/edges").await
    }

    /// The control plane in one look.
    ///
    /// # Errors
    /// As for every call.
    pub async fn status(&self) -> Result<Status, CallError> {
        self.read("/v1/status").await
    }

    /// What proxies hold and the control plane does not know.
    ///
    /// # Errors
    /// As for every call.
    pub async fn removals(&self) -> Result<Removals, CallError> {
        self.read("/v1/removals").await
    }

    /// Confirms that proxies may lose what the store of this epoch does not have.
    ///
    /// # Errors
    /// As for every call; a store of another epoch is one.
    pub async fn confirm_removals(&self, request: &ConfirmRequest) -> Result<Confirmed, CallError> {
        self.send(Method::POST, "/v1/removals/confirm", request).await
    }

    async fn deletion(&self, kind: &str, namespace: &str, name: &str, dry_run: bool) -> Result<Deleted, CallError> {
        let path = format!("/v1/objects/{}/{}/{}", escaped(kind), escaped(namespace), escaped(name));
        Self::typed(self.exchange(Method::DELETE, &format!("{path}?dryRun={dry_run}"), None).await?)
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        Self::typed(self.exchange(Method::GET, path, None).await?)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(|error| self.unreachable(error))?;
        Self::typed(self.exchange(method, path, Some(body)).await?)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), CallError> {
        self.exchange_within(CALL, method, path, body).await
    }

    async fn exchange_within(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let call = async {
            let (mut sender, driven) = self.open().await?;
            let call = async {
                let answer = sender.send_request(self.request(method, path, body)?).await?;
                let status = answer.status();
                let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await?;
                Ok((status, body.to_bytes()))
            };
            // The connection lives as long as the call: whichever ends first ends both.
            let answer: Result<_, Broken> = tokio::select! {
                biased;
                answer = call => answer,
                broken = driven => Err(broken),
            };
            answer.map_err(|error| self.unreachable(error))
        };
        let late = || self.unreachable(format!("it did not answer within {} s", limit.as_secs()));
        timeout(limit, call).await.unwrap_or_else(|_| Err(late()))
    }

    /// A new connection to who proves to be the control plane; the second part drives it.
    async fn open(
        &self,
    ) -> Result<(http1::SendRequest<Full<Bytes>>, impl Future<Output = Broken> + Send + use<>), CallError> {
        let Context { address, .. } = &self.context;
        let tcp = TcpStream::connect(address).await.map_err(|error| self.unreachable(error))?;
        tcp.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        let secured = TlsConnector::from(Arc::clone(&self.tls)).connect(control_plane_name(), tcp).await;
        let stream =
            secured.map_err(|error| match error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                true => CallError::Unproven { address: address.clone(), reason: error.to_string() },
                false => self.unreachable(error),
            })?;
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(|error| self.unreachable(error))?;
        let driven = async {
            match connection.await {
                Ok(()) => std::future::pending().await,
                Err(error) => error.into(),
            }
        };
        Ok((sender, driven))
    }

    fn request(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Request<Full<Bytes>>, http::Error> {
        let Context { address, token, .. } = &self.context;
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, address)
            .header(AUTHORIZATION, format!("Bearer {}", token.reveal()))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
    }

    fn typed<T: DeserializeOwned>((status, body): (StatusCode, Bytes)) -> Result<T, CallError> {
        if status.is_success() {
            let form =
                |error: serde_json::Error| CallError::Form { status: status.as_u16(), reason: error.to_string() };
            return serde_json::from_slice(&body).map_err(form);
        }
        Err(Self::refused(status, &body))
    }

    /// What an answer that is none of success says.
    fn refused(status: StatusCode, body: &[u8]) -> CallError {
        if let Ok(Refusal { diagnostics }) = serde_json::from_slice(body) {
            return CallError::Objects(diagnostics);
        }
        let unknown = || CallError::Form {
            status: status.as_u16(),
            reason: String::from_utf8_lossy(body).chars().take(200).collect(),
        };
        serde_json::from_slice(body).map_or_else(|_| unknown(), CallError::Refused)
    }

    fn unreachable(&self, reason: impl ToString) -> CallError {
        CallError::Unreachable { address: self.context.address.clone(), reason: reason.to_string() }
    }
}

/// The query of a selection.
fn query(kind: Option<&str>, namespace: Option<&str>, name: Option<&str>) -> String {
    let given = [("kind", kind), ("namespace", namespace), ("name", name)];
    let given = given.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", escaped(value?))));
    given.collect::<Vec<_>>().join("&")
}

/// A text as one segment of a path or as a query's value (RFC 3986 §2.3: all but the unreserved are escaped).
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
