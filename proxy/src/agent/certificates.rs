//! Getting a certificate and keeping it fresh: join by token, renewal over mutual TLS, and recovery where that has come too
//! late.
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use tokio::{sync::watch, time};
use tonic::{Code, Status, transport::Channel};
use weft_certs::{
    CaPin, KeyPair, Svid, TrustBundle, TrustBundles, certificate_request, rfc3339_of,
    tls::{self, TlsError},
    verify::{Expected, VerifyError},
};
use weft_decide::{Backoff, Renewal};
use weft_model::{SpiffeId, TrustDomain};
use weft_proto::weft::{SignRequest, SignResponse, certificate_service_client::CertificateServiceClient};

use super::{
    channel::{self, CurrentConfig, MAX_MESSAGE_BYTES, status_text},
    identity::{Identity, IdentityError},
    join::JoinToken,
    lifecycle::NotAdmitted,
    recover::ask_by_expired,
    shared::Shared,
    state_dir::{BUNDLES, IDENTITY, StateDir, StateError},
};

/// The first wait after a failed join is at most this long, and the last: a workload that waits for its control plane is in
/// within a second of its return.
const JOIN_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(300));
/// The first wait after a join that the control plane has refused is at most this long, and the last: it takes a person to
/// change that.
const REFUSED_BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// How long the certificate service may take where nothing ends before that.
const SIGN_TIMEOUT: Duration = Duration::from_secs(10);
/// Sleeping is cut into parts of at most this, so that a clock that was set, or a machine that slept, is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);
/// The shortest time between two renewals that worked, so that a control plane that gives out certificates of no life to
/// speak of is not flooded.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(1);
/// The most bundles that are taken from the control plane.
const MAX_BUNDLES: usize = 1024;

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignError {
    #[error("{}", status_text(.0))]
    Status(Box<Status>),
    #[error("it did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("the address cannot be used: {0}")]
    Address(#[from] tonic::transport::Error),
    #[error(transparent)]
    Key(#[from] weft_certs::KeyError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("who answers there does not prove to be under the CA with the SHA-256 {pin}: {reason}")]
    OtherCa { pin: CaPin, reason: String },
    #[error("its answer cannot be used: {0}")]
    Answer(String),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl From<Status> for SignError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl SignError {
    /// Whether it has been decided, so that trying again alone will not help.
    fn is_final(&self) -> bool {
        let refused = [Code::PermissionDenied, Code::Unauthenticated, Code::InvalidArgument];
        match self {
            Self::Status(status) => refused.contains(&status.code()),
            Self::OtherCa { .. } => true,
            _ => false,
        }
    }

    /// Whether a join token will never be taken. One that the control plane cannot honour (too many labels are
    /// granted to its identity) is refused as a failed precondition; of a proof by an expired certificate the same means
    /// that another way may do.
    fn refuses_token(&self) -> bool {
        self.is_final() || matches!(self, Self::Status(status) if status.code() == Code::FailedPrecondition)
    }

    /// What to do about a join that fails so, for people.
    fn hint(&self) -> &'static str {
        match self {
            Self::Status(_) if self.refuses_token() => {
                "make a new join file with `weft token create`, and start with that"
            }
            Self::OtherCa { .. } => {
                "is that the address of the control plane that made the join file? it has another CA, or the file's \
                 caSha256 was changed: make a new join file with `weft token create`, and start with that"
            }
            Self::Status(_) | Self::Timeout(_) => {
                "see whether the control plane runs at that address and is the one that made the join file; it is \
                 tried again until then"
            }
            Self::Address(_) => "correct controlPlane in the join file",
            Self::Key(_) | Self::Tls(_) => "the join file's caSha256 must be as `weft token create` wrote it",
            Self::Answer(_) | Self::Identity(_) => {
                "are proxy and control plane of the same version, and their clocks right?"
            }
        }
    }
}

/// The identity in force and the channel configuration made of it.
#[derive(Debug)]
pub(super) struct Current {
    /// How the next connection to the control plane is secured.
    pub(super) config: CurrentConfig,
    identity: Identity,
}

/// Obtains an identity, publishes it, and renews it for as long as the task lives. `ready` is set with the first one and
/// told again, with the same configuration renewed in its place, after each renewal.
pub(super) async fn run(
    shared: Arc<Shared>,
    state: Arc<StateDir>,
    token: Option<JoinToken>,
    ready: watch::Sender<Option<CurrentConfig>>,
) {
    let pin = shared.bootstrap.ca_sha256;
    let kept = match usable(&shared, &state) {
        // A kept identity of a mesh that was made anew under the same name proves nothing to it, where a token would.
        Ok(kept) => Ok(kept.filter(|identity| token.is_none() || identity.is_under(pin))),
        Err(error) => Err(error),
    };
    let asked = match kept {
        Ok(Some(identity)) if !identity.is_expired(&shared.bootstrap.identity(), SystemTime::now()) => Ok(identity),
        Ok(Some(identity)) => Err(Asked::ByExpired(Box::new(identity))),
        Ok(None) => Err(Asked::ByToken("the state directory holds none".to_owned())),
        Err(error) => Err(Asked::ByToken(format!("the one in the state directory is not used: {error}"))),
    };
    let (identity, from) = match asked {
        Ok(identity) => {
            token.iter().for_each(forget_token);
            // When it was obtained is not kept: its NotBefore is close, and not later.
            let from = identity.svid.not_before().duration_since(UNIX_EPOCH).unwrap_or_default();
            (identity, from)
        }
        Err(asked) => match obtain(&shared, &state, token, asked).await {
            Ok(identity) => (identity, since_epoch()),
            Err(refused) => return shared.lifecycle.give_up(refused),
        },
    };
    let current = match Current::new(&shared, identity) {
        Ok(current) => current,
        Err(error) => {
            let text = format!("a usable certificate: {error}");
            tracing::error!(%error, "the certificate cannot be used");
            return shared.lifecycle.await_identity(Some(text));
        }
    };
    ready.send_replace(Some(Arc::clone(&current.config)));
    let renewal = current.identity.renewal(from, rand::random());
    renew(&shared, &state, current, renewal, &ready).await;
}

/// The identity in the state directory, valid now or expired; an error if it is not this workload's or never was valid.
fn usable(shared: &Shared, state: &StateDir) -> Result<Option<Identity>, IdentityError> {
    let loaded = Identity::load(state).inspect_err(|why| {
        // A file that cannot be read now, perhaps for its mode, can be after the next start: it stays where it is.
        if !matches!(why, IdentityError::State(StateError::File(_))) {
            state.put_aside(IDENTITY, why);
            state.put_aside(BUNDLES, why);
        }
    });
    let Some(identity) = loaded? else { return Ok(None) };
    let (expected, now) = (shared.bootstrap.identity(), SystemTime::now());
    if !identity.is_expired(&expected, now) {
        identity.check(&expected, now)?;
    }
    Ok(Some(identity))
}

/// A certificate is at hand, so the token is not needed: nobody else shall use it.
fn forget_token(JoinToken { file, path }: &JoinToken) {
    if let Err(error) = file.erase_token(path) {
        tracing::warn!(%error, "the join token could not be erased");
    }
}

/// How the first certificate is asked for.
enum Asked {
    /// By the join token; the text says why there is nothing better.
    ByToken(String),
    /// By a proof with an expired certificate, unless there is a token.
    ByExpired(Box<Identity>),
}

/// Asks until there is a certificate: by the token where there is one, else by a proof with the expired certificate.
///
/// # Errors
/// Where it is decided that there will be none, and there is no certificate to go on with. A control plane that is merely
/// not there is waited for, and so is one that refuses an expired certificate: it may be given a longer recovery time.
async fn obtain(
    shared: &Shared,
    state: &StateDir,
    token: Option<JoinToken>,
    asked: Asked,
) -> Result<Identity, NotAdmitted> {
    let mut secret = token.as_ref().and_then(|token| token.file.token.clone());
    if let (Asked::ByToken(why), None) = (&asked, &secret) {
        return Err(no_token(shared, why));
    }
    let mut key = None;
    let mut backoff = Backoff::new(JOIN_BACKOFF.0, JOIN_BACKOFF.1);
    let mut refused = Backoff::new(REFUSED_BACKOFF.0, REFUSED_BACKOFF.1);
    let mut logged = String::new();
    loop {
        let answer = match (&asked, &secret) {
            (Asked::ByExpired(expired), None) => ask_after_expiry(shared, expired, &mut key, SIGN_TIMEOUT).await,
            (_, secret) => {
                let secret = secret.as_ref().map(|secret| secret.reveal()).unwrap_or_default();
                ask_by_token(shared, secret, &mut key).await
            }
        };
        let error = match answer {
            Ok(identity) => {
                if let Err(error) = identity.store(state) {
                    // It lives until the proxy's end; the next start needs a new token.
                    tracing::error!(%error, "the certificate could not be kept");
                }
                token.iter().for_each(forget_token);
                return Ok(identity);
            }
            Err(error) => error,
        };
        let why = match &asked {
            Asked::ByToken(_) if error.refuses_token() => return Err(refusal(shared, token.as_ref(), &error)),
            Asked::ByExpired(_) if secret.is_some() && error.refuses_token() => {
                secret = None;
                tracing::warn!(%error, "the join token is refused; the expired certificate is tried instead");
                continue;
            }
            Asked::ByExpired(expired) if secret.is_none() => {
                format!(" (the one in the state directory expired at {})", rfc3339_of(expired.svid.not_after()))
            }
            Asked::ByToken(_) | Asked::ByExpired(_) => String::new(),
        };
        let text = format!("{}{why}: {error}", wanted(shared));
        // An outage is one line, not one for each attempt.
        if text != logged {
            tracing::warn!(hint = error.hint(), "waiting for {text}");
            logged.clone_from(&text);
        }
        shared.lifecycle.await_identity(Some(text));
        let backoff = if error.is_final() { &mut refused } else { &mut backoff };
        time::sleep(backoff.failed(rand::random())).await;
    }
}

fn wanted(shared: &Shared) -> String {
    let bootstrap = &shared.bootstrap;
    format!("a certificate for {} from {}", bootstrap.identity(), bootstrap.control_plane)
}

/// There is nothing to ask with.
fn no_token(shared: &Shared, why: &str) -> NotAdmitted {
    let directory = shared.bootstrap.state_directory.display();
    NotAdmitted {
        reason: format!("{}: {why} ({directory}), and there is no join token", wanted(shared)),
        hint: "a join token works once and is erased from its file then: make a new join file with `weft token \
               create`, and start with that",
    }
}

/// The token is refused, or who answers is not whom it is for.
fn refusal(shared: &Shared, token: Option<&JoinToken>, error: &SignError) -> NotAdmitted {
    let by = token.map(|token| format!(" by the join file {}", token.path.display())).unwrap_or_default();
    NotAdmitted { reason: format!("{}{by}: {error}", wanted(shared)), hint: error.hint() }
}

/// Joins: the control plane is recognised by its root's hash and its identity, this proxy by the token. The key is kept for
/// the next attempt: the token is honoured again for it alone, where the answer was lost.
async fn ask_by_token(shared: &Shared, token: &str, kept: &mut Option<KeyPair>) -> Result<Identity, SignError> {
    let bootstrap = &shared.bootstrap;
    let expected = Expected::Exactly(SpiffeId::of_control_plane(&bootstrap.mesh.trust_domain));
    let config = tls::root_pinned_client_config(bootstrap.ca_sha256, expected, &[b"h2"])?;
    let channel = channel::channel(&bootstrap.control_plane, Arc::new(ArcSwap::new(config)))?;
    let key = match kept {
        Some(key) => key.clone(),
        None => kept.insert(KeyPair::generate()?).clone(),
    };
    ask(shared, channel, token, key, SIGN_TIMEOUT).await.map_err(|error| match &error {
        SignError::Status(status) => match VerifyError::within(&**status) {
            Some(reason @ (VerifyError::PinNotFound | VerifyError::Unexpected { .. })) => {
                SignError::OtherCa { pin: bootstrap.ca_sha256, reason: reason.to_string() }
            }
            _ => error,
        },
        _ => error,
    })
}

/// One request for a key, which never leaves this process but for the state directory.
async fn ask(
    shared: &Shared,
    channel: Channel,
    token: &str,
    key: KeyPair,
    within: Duration,
) -> Result<Identity, SignError> {
    let request = SignRequest { csr: certificate_request(&key)?, token: token.to_owned() };
    let mut client = CertificateServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    metrics::counter!("weft_certificate_requests_total").increment(1);
    let answer = time::timeout(within, client.sign(request)).await.map_err(|_| SignError::Timeout(within))?;
    taken(shared, answer?.into_inner(), key)
}

/// The identity that an answer makes with the key that it was asked for.
pub(super) fn taken(shared: &Shared, answer: SignResponse, key: KeyPair) -> Result<Identity, SignError> {
    let identity = read(answer, key).map_err(SignError::Answer)?;
    identity.check(&shared.bootstrap.identity(), SystemTime::now())?;
    shared.streams.certificates.fetch_add(1, Ordering::Relaxed);
    metrics::counter!("weft_certificates_total").increment(1);
    Ok(identity)
}

fn read(SignResponse { chain, bundles }: SignResponse, key: KeyPair) -> Result<Identity, String> {
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    let svid = Svid::new(chain, key).map_err(|error| error.to_string())?;
    if bundles.len() > MAX_BUNDLES {
        return Err(format!("it has more than {MAX_BUNDLES} bundles"));
    }
    let mut trusted = TrustBundles::none();
    for weft_proto::weft::TrustBundle { trust_domain, roots, sequence } in bundles {
        let domain: TrustDomain = trust_domain.parse().map_err(|error| format!("a bundle's trust domain: {error}"))?;
        let roots = roots.into_iter().map(CertificateDer::from).collect();
        let bundle = TrustBundle::new(domain, roots, sequence).map_err(|error| error.to_string())?;
        trusted.replace(bundle).map_err(|error| error.to_string())?;
    }
    Ok(Identity { svid, bundles: trusted })
}

async fn renew(
    shared: &Shared,
    state: &StateDir,
    mut current: Current,
    mut renewal: Renewal,
    renewed: &watch::Sender<Option<CurrentConfig>>,
) {
    let mut next_key = None;
    loop {
        time::sleep(RENEWAL_INTERVAL).await;
        loop {
            let wait = renewal.wait(since_epoch());
            if wait.is_zero() {
                break;
            }
            time::sleep(wait.min(LONGEST_SLEEP)).await;
        }
        let now = since_epoch();
        let asked = if renewal.is_expired(now) {
            ask_after_expiry(shared, &current.identity, &mut next_key, renewal.patience(now)).await
        } else {
            ask_by_certificate(shared, Arc::clone(&current.config), renewal.patience(now)).await
        };
        match asked {
            Ok(identity) => match current.replace(shared, identity) {
                Ok(()) => {
                    // The streams to the control plane are opened anew by it.
                    renewed.send_replace(Some(Arc::clone(&current.config)));
                    if let Err(error) = current.identity.store(state) {
                        tracing::error!(%error, "the renewed certificate could not be kept");
                    }
                    renewal = current.identity.renewal(since_epoch(), rand::random());
                    tracing::info!(until = ?current.identity.svid.not_after(), "the certificate was renewed");
                }
                Err(error) => failed(&mut renewal, &error),
            },
            Err(error) => failed(&mut renewal, &error),
        }
    }
}

fn failed(renewal: &mut Renewal, error: &SignError) {
    let now = since_epoch();
    metrics::counter!("weft_certificate_renewal_failures_total").increment(1);
    tracing::warn!(%error, expired = renewal.is_expired(now), "the certificate could not be renewed");
    renewal.failed(now, rand::random());
}

/// Renews: a new connection, so that the certificate in force is the one that is shown.
async fn ask_by_certificate(shared: &Shared, config: CurrentConfig, within: Duration) -> Result<Identity, SignError> {
    let channel = channel::channel(&shared.bootstrap.control_plane, config)?;
    ask(shared, channel, "", KeyPair::generate()?, within).await
}

/// Asks for what follows a certificate that has expired by the clock here: by a proof with its key, or by showing it
/// where the control plane's clock says that it is still good.
async fn ask_after_expiry(
    shared: &Shared,
    expired: &Identity,
    next_key: &mut Option<KeyPair>,
    within: Duration,
) -> Result<Identity, SignError> {
    match ask_by_expired(shared, expired, next_key, within).await {
        Err(SignError::Status(status)) if status.code() == Code::FailedPrecondition => {
            let config = Arc::new(ArcSwap::new(client_config(expired)?));
            ask_by_certificate(shared, config, within).await
        }
        answer => answer,
    }
}

impl Current {
    /// Publishes an identity to the data plane and makes a channel configuration of it.
    fn new(shared: &Shared, identity: Identity) -> Result<Self, SignError> {
        let config = client_config(&identity)?;
        publish(shared, &identity)?;
        Ok(Self { config: Arc::new(ArcSwap::new(config)), identity })
    }

    /// Publishes a newer identity. Bundles never go back to an older sequence.
    fn replace(&mut self, shared: &Shared, mut identity: Identity) -> Result<(), SignError> {
        for held in self.identity.bundles.iter() {
            let newer = identity.bundles.of(held.trust_domain()).is_some_and(|new| new.sequence() < held.sequence());
            if newer {
                identity.bundles.remove(held.trust_domain());
                identity.bundles.replace(held.clone()).map_err(|error| SignError::Answer(error.to_string()))?;
            }
        }
        let config = client_config(&identity)?;
        publish(shared, &identity)?;
        self.config.store(config);
        self.identity = identity;
        Ok(())
    }
}

fn client_config(identity: &Identity) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let control_plane = SpiffeId::of_control_plane(&identity.svid.id().trust_domain());
    tls::client_config(Some(&identity.svid), &identity.bundles, Expected::Exactly(control_plane), &[b"h2"])
}

fn publish(shared: &Shared, identity: &Identity) -> Result<(), TlsError> {
    let Identity { svid, bundles } = identity;
    shared.with_dataplane(|dataplane| dataplane.publish_identity(svid, bundles)).transpose()?;
    shared.set_secrets(identity.describe());
    shared.lifecycle.await_identity(None);
    Ok(())
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
