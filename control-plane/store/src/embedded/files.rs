//! The store's directory: `lock` (one process at a time) and `objects.redb`.
use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use redb::{Builder, Database, DatabaseError, StorageError};

use super::tables::{self, LoadError};
use crate::OpenError;

/// The database, and the lock that is held as long as it is open.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) lock: File,
}

const DATABASE: &str = "store.redb";
const UNFINISHED: &str = "store.redb.new";
const LOCK: &str = "lock";

/// redb's own default is 1 GiB; objects are held decoded anyway.
const CACHE_BYTES: usize = 16 << 20;

pub(super) fn open(dir: &Path) -> Result<Opened, OpenError> {
    let not_writable = |source| OpenError::NotWritable { dir: dir.to_owned(), source };
    make_directory(dir).map_err(not_writable)?;
    let lock = private().create(true).open(dir.join(LOCK)).map_err(not_writable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(not_writable(source)),
    }
    let path = dir.join(DATABASE);
    if !path.try_exists().map_err(not_writable)? {
        create(dir)?;
    }
    let file = private().open(&path).map_err(not_writable)?;
    if file.metadata().map_err(not_writable)?.len() == 0 {
        // redb would take an empty file for a new database: what was in it is lost, and that must not pass unseen.
        return Err(OpenError::Damaged { dir: dir.to_owned(), reason: "its file is empty".to_owned() });
    }
    let mut database = builder().create_file(file).map_err(|error| database_error(dir, error))?;
    let whole = database.check_integrity().map_err(|error| database_error(dir, error))?;
    if !whole {
        return Err(OpenError::Damaged { dir: dir.to_owned(), reason: "its checksums do not hold".to_owned() });
    }
    Ok(Opened { database, lock })
}

/// Makes a new store under another name and renames it once it is whole and durable: a crash at any point leaves
/// either no store or a whole one. The caller holds the lock.
fn create(dir: &Path) -> Result<(), OpenError> {
    let not_writable = |source| OpenError::NotWritable { dir: dir.to_owned(), source };
    let unfinished = dir.join(UNFINISHED);
    let file = private().create(true).truncate(true).open(&unfinished).map_err(not_writable)?;
    let database = builder().create_file(file).map_err(|error| database_error(dir, error))?;
    tables::initialize(&database).map_err(|error| LoadError::from(error).at(dir))?;
    drop(database);
    std::fs::rename(&unfinished, dir.join(DATABASE)).map_err(not_writable)?;
    File::open(dir).and_then(|it| it.sync_all()).map_err(not_writable)
}

fn make_directory(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
        // Durable together with the store that is made in it.
        Ok(()) => match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        },
    }
}

/// Options for files that only their owner may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn database_error(dir: &Path, error: DatabaseError) -> OpenError {
    let dir = dir.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { dir },
        DatabaseError::UpgradeRequired(version) => {
            OpenError::Format { dir, found: format!("of redb's file {version}") }
        }
        DatabaseError::Storage(StorageError::Io(source)) if source.kind() != io::ErrorKind::InvalidData => {
            OpenError::NotWritable { dir, source }
        }
        other => OpenError::Damaged { dir, reason: other.to_string() },
    }
}
