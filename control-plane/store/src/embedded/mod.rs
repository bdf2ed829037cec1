//! The embedded backend: redb in one directory.
mod files;
mod record;
mod tables;
mod writer;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use tokio::sync::{mpsc, oneshot};
use weft_model::Revision;

use crate::{
    Committed, Entry, Listing, Objects, OpenError, Pending, State, StateChange, StoreError, Table, Watch, WatchError,
    Write, WriteError, watch::Feed,
};
use writer::{Job, Writer};

/// The number of the format on disk that this version reads and writes.
pub const FORMAT: &str = "1";

/// How many writes may wait for the writer; further ones wait for their place.
const QUEUE: usize = 1024;

/// A store in one directory, for one process at a time.
///
/// One thread owns the database. All writes that arrive while a commit runs go into the next one together, so that
/// throughput follows the number of writers and not the medium's latency.
#[derive(Debug)]
pub struct Redb {
    feed: Arc<Feed>,
    jobs: mpsc::Sender<Job>,
    commits: Arc<AtomicU64>,
    /// Joined nowhere: the thread ends with the last sender, or with [`Redb::close`], which waits for it.
    _writer: JoinHandle<()>,
}

impl Redb {
    /// Opens the store in `dir`, which is made (mode 0700) with an empty store of a new epoch if it is not there.
    ///
    /// Blocks on the disk: call it before serving, or off the runtime.
    ///
    /// # Errors
    /// [`OpenError`], with the directory and what to do.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let files::Opened { database, lock } = files::open(dir)?;
        let content = tables::load(&database).map_err(|error| error.at(dir))?;
        let feed = Arc::new(Feed::new(content.revision, content.number, content.objects));
        let (jobs, queue) = mpsc::channel(QUEUE);
        let commits = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(database, lock, feed.clone(), commits.clone(), content.number);
        let thread = thread::Builder::new().name("weft-store".to_owned()).spawn(move || writer.run(queue));
        let writer = thread.map_err(|source| OpenError::NotWritable { dir: dir.to_owned(), source })?;
        Ok(Self { feed, jobs, commits, _writer: writer })
    }

    /// The store's id: new when a store is created or restored.
    pub fn epoch(&self) -> &str {
        self.feed.epoch()
    }

    /// The latest revision that is durable.
    pub fn revision(&self) -> Revision {
        self.feed.revision()
    }

    /// How many transactions have been committed since the store was opened; each may hold many writes.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Ends the store: what is queued is still written, then the directory may be opened again, here or elsewhere.
    /// Watches end; later calls fail with `Closed`.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            // An error means that the writer is gone already, which is what was asked for.
            let _ended = closed.await;
        }
    }

    /// Hands a job to the writer and waits for its answer; `None` where the store is closed.
    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).await.ok()?;
        answered.await.ok()
    }
}

impl Objects for Redb {
    fn list(&self) -> Pending<'_, Result<Listing, StoreError>> {
        Box::pin(async { if self.jobs.is_closed() { Err(StoreError::Closed) } else { Ok(self.feed.listing()) } })
    }

    fn watch(&self, from: &Revision) -> Result<Watch, WatchError> {
        self.feed.watch(from)
    }

    fn write(&self, write: Write) -> Pending<'_, Result<Committed, WriteError>> {
        Box::pin(async {
            let answer = self.ask(|answer| Job::Write(write, answer)).await;
            answer.unwrap_or_else(|| Err(WriteError::Unavailable("it is closed".to_owned())))
        })
    }
}

impl State for Redb {
    fn read(&self, table: Table, key: &str) -> Pending<'_, Result<Option<Vec<u8>>, StoreError>> {
        let key = key.to_owned();
        Box::pin(async move {
            let answer = self.ask(|answer| Job::Read(table, key, answer)).await;
            answer.unwrap_or(Err(StoreError::Closed))
        })
    }

    fn scan(&self, table: Table, from: &str, limit: usize) -> Pending<'_, Result<Vec<Entry>, StoreError>> {
        let from = from.to_owned();
        Box::pin(async move {
            let answer = self.ask(|answer| Job::Scan { table, from, limit, answer }).await;
            answer.unwrap_or(Err(StoreError::Closed))
        })
    }

    fn change(&self, changes: Vec<StateChange>) -> Pending<'_, Result<(), WriteError>> {
        Box::pin(async {
            let answer = self.ask(|answer| Job::Change(changes, answer)).await;
            answer.unwrap_or_else(|| Err(WriteError::Unavailable("it is closed".to_owned())))
        })
    }
}
