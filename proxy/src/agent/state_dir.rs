//! The state directory: what a proxy keeps over its own restart. Only its owner may read it, and what is kept there has
//! the form of [`weft_certs::kept`].
use std::{
    fmt::Display,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::FlockOperation;
use weft_certs::{
    files::{self, FileError},
    kept::{self, Kept, KeptError, Label},
    sealing::{SealError, SealingKey},
};

use super::proxy::StartError;

/// The private key and the certificate chain that belongs to it: one file, so that they never disagree.
pub(super) const IDENTITY: &str = "identity.kept";
/// The trust bundles by domain.
pub(super) const BUNDLES: &str = "bundles.kept";
/// The last good configuration.
pub(super) const LAST_GOOD: &str = "last-good.kept";
/// Everything that is kept in the form of [`weft_certs::kept`].
const KEPT: [&str; 3] = [IDENTITY, BUNDLES, LAST_GOOD];
/// The bootstrap that `--join` made.
pub(super) const BOOTSTRAP: &str = "bootstrap.yaml";
/// What was bound.
pub(super) const LISTENERS: &str = "listeners.json";
/// The admin interface's socket, unless the bootstrap names another.
pub(super) const ADMIN: &str = "admin.sock";
/// Held locked while a proxy uses the directory.
const LOCK: &str = "lock";

/// The most bytes that a kept file may have: far above what one workload uses.
const MAX_BYTES: usize = 64 << 20;
/// The most bytes that a published file may have: a line for each listener.
const MAX_PUBLISHED: usize = 1 << 20;
/// What is added to the name of a kept file that is not used.
const REFUSED: &str = "refused";

/// A state directory that this process alone uses.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    /// Whose state it is: what somebody else kept is not used.
    owner: String,
    /// What keeps is sealed with, and what was kept opened.
    key: Option<SealingKey>,
    /// Held for its lock, which ends with the process at the latest.
    _lock: File,
}

/// Why something in the state directory is not used, or cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {error}", .path.display())]
    Kept { path: PathBuf, error: KeptError },
}

impl StateDir {
    /// Opens the directory for this proxy alone; makes it (0700) if it does not exist.
    pub(super) fn open(path: &Path, owner: String, key: Option<SealingKey>) -> Result<Self, StartError> {
        let state = |path: &Path| {
            let path = path.to_owned();
            move |error| StartError::State(FileError::Io { path, error })
        };
        make_private_dir(path).map_err(state(path))?;
        let lock_path = path.join(LOCK);
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = lock.map_err(state(&lock_path))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(StartError::StateInUse { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), owner, key, _lock: lock })
    }

    /// Checks that what is kept opens with the key that there is: nothing is put aside for a key that was forgotten or
    /// mistaken. What lies there unsealed is sealed where `seal` says so.
    ///
    /// # Errors
    /// Which file is sealed otherwise, or not at all.
    pub(super) fn check_seals(&self, seal: bool) -> Result<(), StateError> {
        for name in KEPT {
            match self.load(name) {
                Err(StateError::Kept { error: KeptError::NotSealed, .. }) if seal => {
                    let path = self.path.join(name);
                    let plain = kept::read(self.label(name), &files::read(&path, MAX_BYTES)?, None);
                    self.keep(name, &plain.map_err(|error| StateError::Kept { path, error })?.content)?;
                    tracing::info!(name, "a file of the state directory is sealed now");
                }
                Err(StateError::Kept { path, error }) if is_of_the_key(&error) => {
                    return Err(StateError::Kept { path, error });
                }
                // What else is wrong is told when it is used.
                _ => {}
            }
        }
        Ok(())
    }

    /// What was kept under a name; `None` if nothing was.
    ///
    /// # Errors
    /// Why it is not to be used: see [`put_aside`](Self::put_aside).
    pub(super) fn load(&self, name: &str) -> Result<Option<Kept>, StateError> {
        let path = self.path.join(name);
        let file = match files::read(&path, MAX_BYTES) {
            Ok(file) => file,
            Err(FileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let kept = kept::read(self.label(name), &file, self.key.as_ref());
        kept.map(Some).map_err(|error| StateError::Kept { path, error })
    }

    /// Keeps a content under a name in place of what was kept: a reader, also after a crash, sees the old or the new one.
    pub(super) fn keep(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let path = self.path.join(name);
        let file = kept::write(self.label(name), SystemTime::now(), content, self.key.as_ref());
        let file = file.map_err(|error| StateError::Kept { path: path.clone(), error })?;
        Ok(files::replace(&path, &file)?)
    }

    /// Puts a file aside that is not used, so that what is kept next does not take its place: a person may want to know
    /// what it was. One that was put aside before is replaced.
    pub(super) fn put_aside(&self, name: &str, why: &dyn Display) {
        let aside = format!("{name}.{REFUSED}");
        metrics::counter!("weft_state_refused_total", "file" => name.to_owned()).increment(1);
        match fs::rename(self.path.join(name), self.path.join(&aside)) {
            Ok(()) => tracing::error!(%why, aside, "a file in the state directory is not used"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(%why, %error, "a file in the state directory is not used, nor put aside"),
        }
    }

    /// Writes a file that is meant for people and other programs.
    pub(super) fn publish(&self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        files::replace(&self.path.join(name), bytes)
    }

    /// What an earlier run published; `None` where there is nothing that can be read.
    pub(super) fn published(&self, name: &str) -> Option<Vec<u8>> {
        files::read(&self.path.join(name), MAX_PUBLISHED).ok().map(|bytes| bytes.to_vec())
    }

    fn label<'a>(&'a self, name: &'a str) -> Label<'a> {
        Label { kind: name, owner: &self.owner }
    }
}

/// Whether a refusal speaks of the reader's key and not of the file.
fn is_of_the_key(error: &KeptError) -> bool {
    use KeptError::{NoKey, NotSealed, Seal};
    matches!(error, NotSealed | NoKey | Seal(SealError::OtherKey { .. }))
}

/// Whether a state directory holds something that is sealed: only the key that it was sealed with is of use to it.
pub(super) fn holds_sealed(path: &Path) -> bool {
    KEPT.iter().any(|name| {
        let file = files::read(&path.join(name), MAX_BYTES);
        file.is_ok_and(|file| kept::is_sealed(&file) == Some(true))
    })
}

/// Makes a directory that only its owner may enter; one that exists is kept as it is.
pub(super) fn make_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const OWNER: &str = "spiffe://weft.local/ns/shop/sa/web shop/web-1";

    fn open(path: &Path) -> Result<StateDir, StartError> {
        StateDir::open(path, OWNER.to_owned(), None)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_read_what_is_kept() {
        let base = tempfile::tempdir().unwrap();
        let directory = open(&base.path().join("a/state")).unwrap();
        directory.keep(IDENTITY, b"secret").unwrap();
        directory.keep(IDENTITY, b"newer").unwrap();
        assert_eq!(**directory.load(IDENTITY).unwrap().unwrap().content, *b"newer");
        assert!(directory.load(BUNDLES).unwrap().is_none());
        assert_eq!(mode(&directory.path), 0o700);
        for entry in fs::read_dir(&directory.path).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn a_directory_serves_one_proxy_at_a_time() {
        let base = tempfile::tempdir().unwrap();
        let first = open(base.path()).unwrap();
        assert!(matches!(open(base.path()), Err(StartError::StateInUse { .. })));
        drop(first);
        open(base.path()).unwrap();
    }

    #[test]
    fn what_a_key_sealed_is_of_no_use_without_it() {
        let base = tempfile::tempdir().unwrap();
        let key = || Some(SealingKey::parse(&"a1".repeat(32), "test").unwrap());
        let sealed = StateDir::open(base.path(), OWNER.to_owned(), key()).unwrap();
        sealed.keep(IDENTITY, b"a secret").unwrap();
        assert!(holds_sealed(base.path()));
        let file = fs::read(base.path().join(IDENTITY)).unwrap();
        assert!(!file.windows(6).any(|window| window == b"secret"));
        drop(sealed);
        let without = open(base.path()).unwrap();
        let told = without.load(IDENTITY).err().unwrap().to_string();
        assert!(told.ends_with("identity.kept: it is sealed, and no sealing key is configured"), "{told}");
        drop(without);
        let again = StateDir::open(base.path(), OWNER.to_owned(), key()).unwrap();
        assert_eq!(**again.load(IDENTITY).unwrap().unwrap().content, *b"a secret");
    }

    #[test]
    fn a_forgotten_or_mistaken_key_is_told_at_once_and_what_was_plain_is_sealed_on_demand() {
        let base = tempfile::tempdir().unwrap();
        let state = |byte: Option<&str>| {
            let key = byte.map(|byte| SealingKey::parse(&byte.repeat(32), "test").unwrap());
            StateDir::open(base.path(), OWNER.to_owned(), key).unwrap()
        };
        state(None).keep(IDENTITY, b"a secret").unwrap();
        state(None).check_seals(false).unwrap();
        let told = state(Some("a1")).check_seals(false).unwrap_err().to_string();
        assert!(told.ends_with("identity.kept: it is not sealed, and a sealing key is configured"), "{told}");
        state(Some("a1")).check_seals(true).unwrap();
        assert_eq!(**state(Some("a1")).load(IDENTITY).unwrap().unwrap().content, *b"a secret");
        assert!(state(None).check_seals(true).unwrap_err().to_string().contains("no sealing key is configured"));
        assert!(state(Some("a2")).check_seals(true).unwrap_err().to_string().contains("with another key"));
        // Damage is not the key's.
        state(None).publish(IDENTITY, b"nonsense").unwrap();
        state(Some("a1")).check_seals(false).unwrap();
    }

    #[test]
    fn what_is_not_used_is_put_aside_and_stays_there() {
        let base = tempfile::tempdir().unwrap();
        let directory = open(base.path()).unwrap();
        fs::write(base.path().join(LAST_GOOD), "nonsense").unwrap();
        fs::set_permissions(base.path().join(LAST_GOOD), fs::Permissions::from_mode(0o600)).unwrap();
        let why = directory.load(LAST_GOOD).err().unwrap();
        directory.put_aside(LAST_GOOD, &why);
        assert!(directory.load(LAST_GOOD).unwrap().is_none());
        directory.keep(LAST_GOOD, b"fresh").unwrap();
        assert_eq!(fs::read(base.path().join("last-good.kept.refused")).unwrap(), b"nonsense");
    }
}
