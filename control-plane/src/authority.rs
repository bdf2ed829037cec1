//! The certificate authority in force, and the control plane's own certificate.
use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::ServerConfig;
use tokio::sync::{Mutex, watch};
use tracing::{info, warn};
use weft_certs::{
    Authority, AuthorityError, CaPin, KeyError, SignedChain, TrustBundle, TrustBundles,
    files::FileError,
    recovery::{self, Challenges, Offer, Recoverable, RecoveryError},
    sealing::{SealError, SealingKey, SealingKeyError},
    tls::{ClientAuth, TlsError, server_config},
};
use weft_decide::Renewal;
use weft_model::{SpiffeId, TrustDomain};
use weft_store::{ExpectedValue, State, StateChange, StoreError, Table, WriteError};

use crate::{Config, SealingKeySource, audit};

const KEY: &str = "sealed";
const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// Sleeping is cut into parts of at most this, so that a clock that was set, or a machine that slept, is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Why there is no certificate authority to work with.
#[derive(Debug, thiserror::Error)]
pub enum OpenAuthorityError {
    /// The key that it is sealed under cannot be had.
    #[error("the sealing key: {0}")]
    SealingKey(#[from] SealingKeyError),
    /// The store holds an authority, and the file with the key that opens it is gone.
    #[error(
        "the sealing key: {} is not there, and the store's certificate authority is sealed with it; put the file back \
         from its copy: no new key can open this store",
        .0.display()
    )]
    SealingKeyGone(PathBuf),
    /// The environment variable that should hold the sealing key is not set.
    #[error("the sealing key: the environment variable {0} is not set")]
    NoSealingKey(String),
    /// The store was sealed under another key.
    #[error("the store's certificate authority cannot be opened: {0}; start with the key that the store was made with")]
    OtherKey(SealError),
    /// The store's authority is for another trust domain.
    #[error(
        "the store holds the certificate authority of {stored}, and the trust domain is configured as {configured}"
    )]
    OtherTrustDomain {
        /// The domain in the store.
        stored: TrustDomain,
        /// The domain in the configuration.
        configured: TrustDomain,
    },
    /// It cannot be made, or what is stored is damaged.
    #[error(transparent)]
    Authority(AuthorityError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// TLS cannot be configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl From<AuthorityError> for OpenAuthorityError {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Seal(error @ SealError::OtherKey { .. }) => Self::OtherKey(error),
            error => Self::Authority(error),
        }
    }
}

/// The certificate authority of a running control plane.
#[derive(Debug)]
pub(crate) struct Certifier {
    authority: RwLock<Authority>,
    sealing_key: SealingKey,
    leaf_lifetime: Duration,
    recovery: Duration,
    challenges: Challenges,
    /// Held while the intermediate is renewed: of two renewals at once, none is lost.
    renewing: Mutex<()>,
    pin: CaPin,
    bundle: TrustBundle,
}

/// What came of a renewal of the intermediate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotated {
    /// The SHA-256 of the one that signed before.
    pub(crate) former: CaPin,
    /// The SHA-256 of the one that signs now.
    pub(crate) present: CaPin,
    /// Until when it is valid.
    pub(crate) until: SystemTime,
}

/// The TLS configurations in force; replaced when the control plane's own certificate is renewed.
#[derive(Clone, Debug)]
pub(crate) struct ServerConfigs {
    /// For the gRPC port: a client certificate is checked if it is shown.
    pub(crate) grpc: Arc<ServerConfig>,
    /// For the admin API.
    pub(crate) api: Arc<ServerConfig>,
}

impl Certifier {
    /// Opens the store's authority, or makes one in a store that has none yet.
    pub(crate) async fn open(config: &Config, state: &dyn State) -> Result<Self, OpenAuthorityError> {
        let stored = state.read(Table::Authority, KEY).await?;
        let sealing_key = sealing_key(config, stored.is_some())?;
        let authority = match stored {
            Some(stored) => Authority::open(&sealing_key, &stored)?,
            None => {
                let authority = Authority::create(config.names.trust_domain.clone(), SystemTime::now())?;
                state.change(vec![sealed(authority.seal(&sealing_key)?, ExpectedValue::Absent)]).await?;
                info!(trust_domain = %config.names.trust_domain, root = %authority.pin(), "made a certificate authority");
                authority
            }
        };
        if *authority.trust_domain() != config.names.trust_domain {
            return Err(OpenAuthorityError::OtherTrustDomain {
                stored: authority.trust_domain().clone(),
                configured: config.names.trust_domain.clone(),
            });
        }
        let (pin, bundle) = (authority.pin(), authority.bundle()?);
        Ok(Self {
            authority: RwLock::new(authority),
            sealing_key,
            leaf_lifetime: config.leaf_lifetime,
            recovery: config.recovery,
            challenges: Challenges::new().map_err(AuthorityError::Key)?,
            renewing: Mutex::new(()),
            pin,
            bundle,
        })
    }

    /// A certificate for the key of `csr`, for this identity.
    pub(crate) fn sign(&self, csr: &[u8], identity: &SpiffeId) -> Result<SignedChain, AuthorityError> {
        self.read(|authority| authority.sign(csr, identity, self.leaf_lifetime, SystemTime::now()))
    }

    /// What an expired certificate proves.
    pub(crate) fn recoverable(&self, offer: &Offer<'_>, now: SystemTime) -> Result<Recoverable, RecoveryError> {
        let bundles = TrustBundles::from(self.bundle.clone());
        recovery::verify(&self.challenges, &bundles, self.recovery, offer, now)
    }

    /// What an expired certificate's key is to sign.
    pub(crate) fn challenge(&self, now: SystemTime) -> Result<Vec<u8>, KeyError> {
        self.challenges.issue(now)
    }

    /// How long after its expiry a certificate may be used for recovery.
    pub(crate) fn recovery(&self) -> Duration {
        self.recovery
    }

    /// The SHA-256 of the root.
    pub(crate) fn pin(&self) -> &CaPin {
        &self.pin
    }

    /// The mesh's own trust bundle.
    pub(crate) fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// New TLS configurations with a new certificate of the control plane, and when to make the next.
    pub(crate) fn server_configs(&self, now: SystemTime) -> Result<(ServerConfigs, Renewal), OpenAuthorityError> {
        let (svid, root) = self.read(|authority| {
            let id = SpiffeId::of_control_plane(authority.trust_domain());
            authority.issue(&id, self.leaf_lifetime, now).map(|svid| (svid, authority.root().clone()))
        })?;
        let bundles = TrustBundles::from(self.bundle.clone());
        let shown = svid.sending_root(&root);
        let grpc = server_config(&shown, &bundles, ClientAuth::Optional, &[H2])?;
        let api = server_config(&shown, &TrustBundles::none(), ClientAuth::Optional, &[HTTP1])?;
        let renewal = Renewal::new(since_epoch(now), since_epoch(svid.not_after()), rand::random());
        Ok((ServerConfigs { grpc, api }, renewal))
    }

    /// Renews the control plane's certificate and the intermediate before half of their life is over. Never ends.
    pub(crate) async fn keep_fresh(
        self: Arc<Self>,
        state: Arc<dyn State>,
        configs: watch::Sender<ServerConfigs>,
        mut leaf: Renewal,
    ) {
        let mut intermediate = self.intermediate_renewal();
        loop {
            let now = since_epoch(SystemTime::now());
            tokio::time::sleep(leaf.wait(now).min(intermediate.wait(now)).min(LONGEST_SLEEP)).await;
            let now = SystemTime::now();
            if intermediate.wait(since_epoch(now)).is_zero() {
                match self.renew_intermediate(&*state, now).await {
                    Ok(()) => intermediate = self.intermediate_renewal(),
                    // The former one signs on.
                    Err(error) => failed(&mut intermediate, "intermediate", &error),
                }
            }
            if leaf.wait(since_epoch(now)).is_zero() {
                match self.server_configs(now) {
                    Ok((renewed, next)) => {
                        configs.send_replace(renewed);
                        leaf = next;
                    }
                    Err(error) => failed(&mut leaf, "control plane's own", &error),
                }
            }
        }
    }

    fn intermediate_renewal(&self) -> Renewal {
        let (from, until) = self.read(Authority::intermediate_validity);
        Renewal::new(since_epoch(from), since_epoch(until), rand::random())
    }

    /// Renews the intermediate now, because somebody asked for it: certificates of the former one stay good, since both
    /// lead to the root.
    pub(crate) async fn rotate(&self, state: &dyn State, audit: StateChange) -> Result<Rotated, OpenAuthorityError> {
        let _turn = self.renewing.lock().await;
        let former = self.read(|authority| CaPin::of(authority.intermediate()));
        self.replace_intermediate(state, SystemTime::now(), vec![audit]).await?;
        let present = self.read(|authority| CaPin::of(authority.intermediate()));
        let (_, until) = self.read(Authority::intermediate_validity);
        Ok(Rotated { former, present, until })
    }

    /// Renews the intermediate. The new one is in force once it is durable, so that one that is not is made again.
    async fn renew_intermediate(&self, state: &dyn State, now: SystemTime) -> Result<(), OpenAuthorityError> {
        let _turn = self.renewing.lock().await;
        let entry =
            audit::Entry { action: "intermediate-renewed", by: "schedule", about: "the authority", address: None };
        self.replace_intermediate(state, now, vec![entry.at(now)]).await
    }

    async fn replace_intermediate(
        &self,
        state: &dyn State,
        now: SystemTime,
        mut changes: Vec<StateChange>,
    ) -> Result<(), OpenAuthorityError> {
        let mut renewed = self.read(Authority::clone);
        renewed.renew_intermediate(now)?;
        changes.push(sealed(renewed.seal(&self.sealing_key)?, ExpectedValue::Any));
        state.change(changes).await?;
        *self.authority.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        info!("renewed the intermediate certificate");
        Ok(())
    }

    fn read<T>(&self, read: impl FnOnce(&Authority) -> T) -> T {
        read(&self.authority.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn failed(renewal: &mut Renewal, which: &str, error: &OpenAuthorityError) {
    let now = since_epoch(SystemTime::now());
    warn!(%error, expired = renewal.is_expired(now), "the {which} certificate could not be renewed");
    renewal.failed(now, rand::random());
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The sealing key. A new one is made for a store that has no authority yet; in place of one that is gone it would open
/// nothing, and lie where its copy must be put back.
fn sealing_key(config: &Config, sealed: bool) -> Result<SealingKey, OpenAuthorityError> {
    match &config.sealing_key {
        SealingKeySource::Variable(name) => {
            SealingKey::from_env(name)?.ok_or_else(|| OpenAuthorityError::NoSealingKey(name.clone()))
        }
        SealingKeySource::File(path) if sealed => SealingKey::load(path, &config.dir).map_err(|error| match error {
            SealingKeyError::File(FileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                OpenAuthorityError::SealingKeyGone(path.clone())
            }
            error => error.into(),
        }),
        SealingKeySource::File(path) => Ok(SealingKey::load_or_create(path, &config.dir)?),
    }
}

fn sealed(sealed: Vec<u8>, expected: ExpectedValue) -> StateChange {
    StateChange { table: Table::Authority, key: KEY.to_owned(), expected, value: Some(sealed) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use weft_store::{Entry, Pending, Redb};

    use super::*;

    /// A store whose medium fails at times.
    #[derive(Debug)]
    struct Failing(Redb, AtomicBool);

    impl State for Failing {
        fn read(&self, table: Table, key: &str) -> Pending<'_, Result<Option<Vec<u8>>, StoreError>> {
            self.0.read(table, key)
        }

        fn scan(&self, table: Table, from: &str, limit: usize) -> Pending<'_, Result<Vec<Entry>, StoreError>> {
            self.0.scan(table, from, limit)
        }

        fn change(&self, changes: Vec<StateChange>) -> Pending<'_, Result<(), WriteError>> {
            if self.1.load(Ordering::Relaxed) {
                return Box::pin(async { Err(WriteError::Unavailable("the disk is full".to_owned())) });
            }
            self.0.change(changes)
        }
    }

    /// It was once in force before it was stored: a failed save was not repeated for half a life.
    #[tokio::test]
    async fn an_intermediate_that_cannot_be_stored_is_not_in_force_and_made_again() {
        let folder = tempfile::TempDir::new().unwrap();
        let key = SealingKeySource::File(folder.path().join("sealing.key"));
        let config = Config::on_loopback(folder.path().join("store"), key);
        let store = Failing(Redb::open(&config.dir).unwrap(), AtomicBool::new(false));
        let certifier = Certifier::open(&config, &store).await.unwrap();
        let intermediate = || certifier.read(|authority| authority.intermediate().to_vec());
        let first = intermediate();
        let now = SystemTime::now();

        store.1.store(true, Ordering::Relaxed);
        let failed = certifier.renew_intermediate(&store, now).await.unwrap_err();
        assert!(failed.to_string().contains("the disk is full"), "{failed}");
        assert_eq!(intermediate(), first);
        assert!(certifier.server_configs(now).is_ok(), "the former intermediate signs on");

        store.1.store(false, Ordering::Relaxed);
        certifier.renew_intermediate(&store, now).await.unwrap();
        assert_ne!(intermediate(), first);
        let again = Certifier::open(&config, &store).await.unwrap();
        assert_eq!(again.read(|authority| authority.intermediate().to_vec()), intermediate());
    }
}
