//! The state directory: what a proxy keeps over its own restart. Only its owner may read it.
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use weft_certs::files::{self, FileError};
use zeroize::Zeroizing;

use super::proxy::StartError;

/// The private key and the certificate chain that belongs to it: one file, so that they never disagree.
pub(super) const IDENTITY: &str = "identity.pem";
/// The trust bundles by domain.
pub(super) const BUNDLES: &str = "bundles.json";
/// The bootstrap that `--join` made.
pub(super) const BOOTSTRAP: &str = "bootstrap.yaml";
/// What was bound.
pub(super) const LISTENERS: &str = "listeners.json";
/// The last good configuration, as protobuf.
pub(super) const LAST_GOOD: &str = "last-good.pb";
/// The admin interface's socket, unless the bootstrap names another.
pub(super) const ADMIN: &str = "admin.sock";
/// Held locked while a proxy uses the directory.
const LOCK: &str = "lock";

/// More than any file that is read here holds: 1 MiB.
const MAX_BYTES: usize = 1 << 20;

/// A state directory that this process alone uses.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    /// Held for its lock, which ends with the process at the latest.
    _lock: File,
}

impl StateDir {
    /// Opens the directory for this proxy alone; makes it (0700) if it does not exist.
    pub(super) fn open(path: &Path) -> Result<Self, StartError> {
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
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where a file of that name is.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file; `None` if it does not exist.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
        match files::read(&self.file(name), MAX_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(FileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces a file as a whole: a reader, also after a crash, sees the old or the new one.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        files::replace(&self.file(name), bytes)
    }
}

/// Makes a directory that only its owner may enter; one that exists is kept as it is.
pub(super) fn make_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_read_what_is_kept() {
        let base = tempfile::tempdir().unwrap();
        let directory = StateDir::open(&base.path().join("a/state")).unwrap();
        directory.write(IDENTITY, b"secret").unwrap();
        directory.write(IDENTITY, b"newer").unwrap();
        assert_eq!(**directory.read(IDENTITY).unwrap().unwrap(), *b"newer");
        assert!(directory.read(BUNDLES).unwrap().is_none());
        assert_eq!(mode(&directory.path), 0o700);
        for entry in fs::read_dir(&directory.path).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn a_directory_serves_one_proxy_at_a_time() {
        let base = tempfile::tempdir().unwrap();
        let first = StateDir::open(base.path()).unwrap();
        assert!(matches!(StateDir::open(base.path()), Err(StartError::StateInUse { .. })));
        drop(first);
        StateDir::open(base.path()).unwrap();
    }
}
