//! The certificate authority in force, and the control plane's own certificate.
use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::ServerConfig;
use tokio::sync::watch;
use tracing::{info, warn};
use weft_certs::{
    Authority, AuthorityError, CaPin, SignedChain, TrustBundle, TrustBundles,
    files::FileError,
    sealing::{SealError, SealingKey, SealingKeyError},
    tls::{ClientAuth, TlsError, server_config},
};
use weft_model::{SpiffeId, TrustDomain};
use weft_store::{ExpectedValue, State, StateChange, StoreError, Table, WriteError};

use crate::{Config, SealingKeySource};

const KEY: &str = "sealed";
const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// How long to wait before a failed renewal is tried again.
const RETRY: Duration = Duration::from_secs(60);

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
    pin: CaPin,
    bundle: TrustBundle,
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
        let sealed = state.read(Table::Authority, KEY).await?;
        let sealing_key = sealing_key(config, sealed.is_some())?;
        let authority = match sealed {
            Some(sealed) => Authority::open(&sealing_key, &sealed)?,
            None => {
                let authority = Authority::create(config.names.trust_domain.clone(), SystemTime::now())?;
                save(state, authority.seal(&sealing_key)?, ExpectedValue::Absent).await?;
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
        Ok(Self { authority: RwLock::new(authority), sealing_key, leaf_lifetime: config.leaf_lifetime, pin, bundle })
    }

    /// A certificate for the key of `csr`, for this identity.
    pub(crate) fn sign(&self, csr: &[u8], identity: &SpiffeId) -> Result<SignedChain, AuthorityError> {
        self.read(|authority| authority.sign(csr, identity, self.leaf_lifetime, SystemTime::now()))
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
    pub(crate) fn server_configs(&self) -> Result<(ServerConfigs, SystemTime), OpenAuthorityError> {
        let now = SystemTime::now();
        let (svid, root) = self.read(|authority| {
            let id = SpiffeId::of_control_plane(authority.trust_domain());
            authority.issue(&id, self.leaf_lifetime, now).map(|svid| (svid, authority.root().clone()))
        })?;
        let bundles = TrustBundles::from(self.bundle.clone());
        let shown = svid.sending_root(&root);
        let grpc = server_config(&shown, &bundles, ClientAuth::Optional, &[H2])?;
        let api = server_config(&shown, &TrustBundles::none(), ClientAuth::Optional, &[HTTP1])?;
        Ok((ServerConfigs { grpc, api }, svid.renew_after()))
    }

    /// Renews the control plane's certificate and the intermediate when half of their life is over. Never ends.
    pub(crate) async fn keep_fresh(
        self: Arc<Self>,
        state: Arc<dyn State>,
        configs: watch::Sender<ServerConfigs>,
        renew_after: SystemTime,
    ) {
        let mut renew_after = renew_after;
        loop {
            let next = renew_after.min(self.read(Authority::renew_intermediate_after));
            let wait = next.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
            // Looked at again at least hourly: the clock may have been set meanwhile.
            tokio::time::sleep(wait.min(Duration::from_secs(3600))).await;
            if SystemTime::now() < next {
                continue;
            }
            match self.renew(&*state).await {
                Ok((renewed, after)) => {
                    configs.send_replace(renewed);
                    renew_after = after;
                }
                Err(error) => {
                    warn!(%error, "the control plane's certificate is not renewed yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn renew(&self, state: &dyn State) -> Result<(ServerConfigs, SystemTime), OpenAuthorityError> {
        let now = SystemTime::now();
        if self.read(Authority::renew_intermediate_after) <= now {
            let sealed = {
                let mut authority = self.authority.write().unwrap_or_else(PoisonError::into_inner);
                authority.renew_intermediate(now)?;
                authority.seal(&self.sealing_key)?
            };
            // A crash before this is durable costs nothing: the former intermediate signs on.
            save(state, sealed, ExpectedValue::Any).await?;
            info!("renewed the intermediate certificate");
        }
        self.server_configs()
    }

    fn read<T>(&self, read: impl FnOnce(&Authority) -> T) -> T {
        read(&self.authority.read().unwrap_or_else(PoisonError::into_inner))
    }
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

async fn save(state: &dyn State, sealed: Vec<u8>, expected: ExpectedValue) -> Result<(), WriteError> {
    let change = StateChange { table: Table::Authority, key: KEY.to_owned(), expected, value: Some(sealed) };
    state.change(vec![change]).await
}
