//! Sealing of what is stored: AES-256-GCM under a key that is not stored beside it.
use std::{
    env, fmt, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use base64::{Engine, engine::general_purpose};
use zeroize::Zeroizing;

use crate::{
    files::{self, FileError},
    text,
};

/// The format's number, the first byte of what is sealed.
const FORMAT: u8 = 1;
/// How much of the key's fingerprint goes in front, to tell another key from damage.
const FINGERPRINT_LEN: usize = 8;
/// A 32-byte key as hexadecimal digits and a line end, with room for spaces.
const MAX_KEY_FILE: usize = 256;

/// Why something could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed with another key.
    #[error("it was sealed with another key (fingerprint {sealed_with}, this one has {this})")]
    OtherKey {
        /// Of the key that sealed it.
        sealed_with: String,
        /// Of the key in hand.
        this: String,
    },
    /// It was changed since, or is sealed for another context.
    #[error("it was changed since it was sealed, or is not {0:?}")]
    Changed(String),
    /// Too short, or of a format that this version does not know.
    #[error("it is not sealed in a form that this version knows")]
    Format,
    /// The cryptographic library refused.
    #[error("the cryptographic library failed to seal")]
    Library,
}

/// Why there is no sealing key.
#[derive(Debug, thiserror::Error)]
pub enum SealingKeyError {
    /// The text is not a key.
    #[error("{0} must hold 32 bytes as 64 hexadecimal digits or as base64")]
    Text(String),
    /// The file lies beside what it protects.
    #[error("{}: the sealing key must not lie inside the store's folder {}", path.display(), store.display())]
    InsideStore {
        /// The key's file.
        path: PathBuf,
        /// The store's folder.
        store: PathBuf,
    },
    /// The file cannot be read or made.
    #[error(transparent)]
    File(#[from] FileError),
    /// No random numbers to make a key of.
    #[error("the system gives no random numbers")]
    Randomness,
}

/// A key that seals what is stored.
pub struct SealingKey {
    key: LessSafeKey,
    /// The first bytes of a hash of the key: says which key it is, and nothing about it.
    fingerprint: [u8; FINGERPRINT_LEN],
}

impl SealingKey {
    /// The key from an environment variable, `None` if it is not set or empty.
    pub fn from_env(variable: &str) -> Result<Option<Self>, SealingKeyError> {
        match env::var(variable).map(Zeroizing::new) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Self::parse(&text, variable).map(Some),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => Err(SealingKeyError::Text(variable.to_owned())),
        }
    }

    /// The key from a file of mode 0600, which is made with a new key if it is not there. `store` is the folder of
    /// what the key protects: the file must not lie in it, or whoever copies the one has the other.
    pub fn load_or_create(path: &Path, store: &Path) -> Result<Self, SealingKeyError> {
        match Self::load(path, store) {
            Err(SealingKeyError::File(FileError::Io { error, .. })) if error.kind() == io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        let mut secret = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *secret).map_err(|_| SealingKeyError::Randomness)?;
        let line = Zeroizing::new(text::to_hex(&*secret) + "\n");
        match files::create(path, line.as_bytes()) {
            Ok(()) => Self::of(&secret).ok_or(SealingKeyError::Randomness),
            // Somebody else was faster: theirs is the key.
            Err(FileError::Io { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path, store),
            Err(error) => Err(error.into()),
        }
    }

    /// The key from a file of mode 0600 that must be there: for a store that holds something sealed already, which a
    /// new key would not open. `store` is as for [`load_or_create`](Self::load_or_create).
    pub fn load(path: &Path, store: &Path) -> Result<Self, SealingKeyError> {
        if lies_inside(path, store) {
            return Err(SealingKeyError::InsideStore { path: path.to_owned(), store: store.to_owned() });
        }
        let bytes = files::read(path, MAX_KEY_FILE)?;
        let what = || path.display().to_string();
        let text = std::str::from_utf8(&bytes).map_err(|_| SealingKeyError::Text(what()))?;
        Self::parse(text, &what())
    }

    /// The key from text: 64 hexadecimal digits, or base64 of 32 bytes. `what` names the source in the error.
    pub fn parse(text: &str, what: &str) -> Result<Self, SealingKeyError> {
        let text = text.trim();
        let mut secret = Zeroizing::new([0; 32]);
        if let Some(bytes) = text::from_hex(text).map(Zeroizing::new) {
            *secret = *bytes;
        } else {
            let bytes = [general_purpose::STANDARD, general_purpose::URL_SAFE_NO_PAD]
                .iter()
                .find_map(|engine| engine.decode(text).map(Zeroizing::new).ok())
                .filter(|bytes| bytes.len() == 32)
                .ok_or_else(|| SealingKeyError::Text(what.to_owned()))?;
            secret.copy_from_slice(&bytes);
        }
        Self::of(&secret).ok_or_else(|| SealingKeyError::Text(what.to_owned()))
    }

    /// Seals bytes for a purpose. Each call draws a nonce, so equal bytes look different; up to 2³² calls a key keep
    /// the bound of NIST SP 800-38D §8.3.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::Library)?;
        let header = 1 + FINGERPRINT_LEN + NONCE_LEN;
        let mut sealed = Vec::with_capacity(header + plain.len() + AES_256_GCM.tag_len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&self.fingerprint);
        sealed.extend_from_slice(&nonce);
        // Encrypted in place of the copy, which therefore never outlives this call.
        let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(additional(context)), &mut *body)
            .map_err(|_| SealError::Library)?;
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens what [`seal`](Self::seal) made for the same purpose.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let Some((&FORMAT, rest)) = sealed.split_first() else { return Err(SealError::Format) };
        let (fingerprint, rest) = rest.split_first_chunk::<FINGERPRINT_LEN>().ok_or(SealError::Format)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Format)?;
        if *fingerprint != self.fingerprint {
            let (sealed_with, this) = (text::to_hex(fingerprint), text::to_hex(&self.fingerprint));
            return Err(SealError::OtherKey { sealed_with, this });
        }
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self
            .key
            .open_in_place(nonce, Aad::from(additional(context)), &mut body)
            .map_err(|_| SealError::Changed(context.to_owned()))?
            .len();
        body.truncate(length);
        Ok(body)
    }

    fn of(secret: &[u8; 32]) -> Option<Self> {
        let mut fingerprint = [0; FINGERPRINT_LEN];
        let digest = text::sha256(&[b"weft sealing key fingerprint\0", secret]);
        fingerprint.copy_from_slice(digest.first_chunk::<FINGERPRINT_LEN>()?);
        Some(Self { key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).ok()?), fingerprint })
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey(fingerprint {})", text::to_hex(&self.fingerprint))
    }
}

/// What is authenticated beside the sealed bytes: the format and the purpose.
fn additional(context: &str) -> Vec<u8> {
    [b"weft sealed 1\0", context.as_bytes()].concat()
}

/// Whether the path lies in the folder, links resolved as far as the parts exist.
fn lies_inside(path: &Path, folder: &Path) -> bool {
    resolved(path).starts_with(resolved(folder))
}

/// The absolute path with the links in its longest existing beginning resolved.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for beginning in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (beginning.canonicalize(), absolute.strip_prefix(beginning)) {
            return if rest.as_os_str().is_empty() { real } else { normalized(&real.join(rest)) };
        }
    }
    absolute
}

/// `.` and `..` taken out of a path whose end does not exist, so that they cannot hide where it leads.
fn normalized(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts
}
