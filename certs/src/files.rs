//! Files that hold secrets: mode 0600, the owner's alone, whole or not there.
use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::text;

/// The mode of every file that holds a secret.
const OWNER_ONLY: u32 = 0o600;

/// Why a secret file could not be read or written. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others may read or write it.
    #[error("{}: its mode is {mode:04o}, so others than its owner may use it; make it 0600", path.display())]
    Mode {
        /// Which file.
        path: PathBuf,
        /// The permission bits that it has.
        mode: u32,
    },
    /// A folder, a device, a pipe.
    #[error("{}: it is not a regular file", path.display())]
    NotRegular {
        /// Which file.
        path: PathBuf,
    },
    /// It is larger than such a file can be.
    #[error("{}: it is larger than {limit} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The bound.
        limit: usize,
    },
}

/// Reads a secret file of at most `limit` bytes: a regular file that only its owner may use. Whose it is does not
/// matter: only root could read another user's, and root may be pointed at a file that a user got.
pub fn read(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let io = |error| FileError::Io { path: path.to_owned(), error };
    // Non-blocking, because to open a pipe would wait for its writer; the checks are on what was opened.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular { path: path.to_owned() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::Mode { path: path.to_owned(), mode });
    }
    // Room for all at once: a vector that grows leaves copies of the secret behind.
    let length = usize::try_from(metadata.len()).unwrap_or(limit).min(limit);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.saturating_add(1)));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Makes a secret file that must not be there yet, durably.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let io = |error| FileError::Io { path: path.to_owned(), error };
    let mut file = create_new(path).map_err(io)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // A half-written key would be taken for a whole one next time.
        let _ = std::fs::remove_file(path);
        return Err(io(error));
    }
    sync_folder(path).map_err(io)
}

/// Writes a secret file in place of what may be there: at any time either the old or the new content is there whole.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let io = |error| FileError::Io { path: path.to_owned(), error };
    let mut random = [0; 8];
    SystemRandom::new().fill(&mut random).map_err(|_| io(io::Error::other("the system gives no random numbers")))?;
    let mut name = path.file_name().ok_or_else(|| io(io::ErrorKind::InvalidInput.into()))?.to_owned();
    name.push(format!(".{}.new", text::to_hex(&random)));
    let beside = path.with_file_name(name);
    create(&beside, bytes)?;
    if let Err(error) = std::fs::rename(&beside, path) {
        let _ = std::fs::remove_file(&beside);
        return Err(io(error));
    }
    sync_folder(path).map_err(io)
}

fn create_new(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    // The umask can only have taken from the mode; the owner must be able to read it again.
    file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
    Ok(file)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
