//! The thread that owns the database: one transaction for all writes that are queued when it starts.
use std::{
    collections::BTreeMap,
    fs::File,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};
use tokio::sync::{mpsc, oneshot};
use weft_model::{ObjectRef, Owner, Revision, Stored};

use super::tables::{self, STATE};
use crate::{
    Batch, BatchChange, Change, Committed, Entry, Expected, Outcome, StateChange, StoreError, Table, Write, WriteError,
    watch::Feed,
};

/// The most jobs that are taken before a commit.
const GROUP: usize = 1024;

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Job {
    Write(Write, oneshot::Sender<Result<Committed, WriteError>>),
    Change(Vec<StateChange>, oneshot::Sender<Result<(), WriteError>>),
    Read(Table, String, oneshot::Sender<Result<Option<Vec<u8>>, StoreError>>),
    Scan { table: Table, from: String, limit: usize, answer: oneshot::Sender<Result<Vec<Entry>, StoreError>> },
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Writer {
    database: Database,
    /// Held as long as the database is open; dropped after it.
    _lock: File,
    feed: Arc<Feed>,
    /// How many transactions were committed.
    commits: Arc<AtomicU64>,
    number: u64,
    /// Why no more writes are taken: a commit failed, and what is on disk is not known any more.
    failed: Option<String>,
}

struct CloseFeed(Arc<Feed>);

impl Drop for CloseFeed {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// An acknowledgement that waits for the commit.
enum Acknowledgement {
    Write(oneshot::Sender<Result<Committed, WriteError>>, Result<Committed, WriteError>),
    Change(oneshot::Sender<Result<(), WriteError>>, Result<(), WriteError>),
}

/// A transaction's worth of jobs.
struct Group {
    /// Objects as they will be: `None` is gone. What is not here is as published.
    changed: BTreeMap<ObjectRef, Option<Stored>>,
    batches: Vec<Batch>,
    acknowledgements: Vec<Acknowledgement>,
    number: u64,
    /// Whether there is anything to commit.
    dirty: bool,
}

impl Writer {
    pub(super) fn new(database: Database, lock: File, feed: Arc<Feed>, commits: Arc<AtomicU64>, number: u64) -> Self {
        Self { database, _lock: lock, feed, commits, number, failed: None }
    }

    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        // Watches end with this thread, however it ends.
        let _closing = CloseFeed(self.feed.clone());
        let mut writes = Vec::new();
        let mut closing = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            let mut next = Some(first);
            // Reads count as well: a stream of them must not keep writes from their commit.
            let mut taken = 0;
            while let Some(job) = next {
                taken += 1;
                match job {
                    Job::Read(table, key, answer) => drop(answer.send(self.read(table, &key))),
                    Job::Scan { table, from, limit, answer } => drop(answer.send(self.scan(table, &from, limit))),
                    Job::Close(answer) => closing.push(answer),
                    write @ (Job::Write(..) | Job::Change(..)) => writes.push(write),
                }
                next = if taken < GROUP && closing.is_empty() { queue.try_recv().ok() } else { None };
            }
            self.commit(mem::take(&mut writes));
            if !closing.is_empty() {
                break;
            }
        }
        // The database and the lock are closed before anyone is told.
        queue.close();
        drop(self);
        drop(queue);
        for answer in closing {
            let _gone = answer.send(());
        }
    }

    /// Commits what can be of `writes` in one transaction, publishes it, and answers every one of them.
    fn commit(&mut self, writes: Vec<Job>) {
        if writes.is_empty() {
            return;
        }
        if let Some(reason) = &self.failed {
            return refuse(writes, &WriteError::Unavailable(reason.clone()));
        }
        let transaction = match self.database.begin_write() {
            Ok(transaction) => transaction,
            Err(error) => return refuse(writes, &WriteError::Unavailable(error.to_string())),
        };
        let mut group = Group {
            changed: BTreeMap::new(),
            batches: Vec::new(),
            acknowledgements: Vec::with_capacity(writes.len()),
            number: self.number,
            dirty: false,
        };
        let mut writes = writes.into_iter();
        let staged = self.stage(&transaction, &mut group, &mut writes).and_then(|()| {
            if !group.batches.is_empty() {
                tables::put_objects(&transaction, &group.changed)?;
                tables::put_number(&transaction, group.number)?;
            }
            Ok(())
        });
        match staged {
            Err(error) => {
                // Nothing is on disk: the transaction is given up.
                drop(transaction);
                let error = WriteError::Unavailable(error.to_string());
                answer(group.acknowledgements, Some(&error));
                refuse(writes, &error);
            }
            Ok(()) if !group.dirty => {
                drop(transaction);
                answer(group.acknowledgements, None);
            }
            Ok(()) => match transaction.commit() {
                Ok(()) => {
                    self.commits.fetch_add(1, Ordering::Relaxed);
                    self.number = group.number;
                    self.feed.publish(group.batches);
                    answer(group.acknowledgements, None);
                }
                Err(error) => {
                    self.failed = Some(format!("an earlier commit failed: {error}"));
                    answer(group.acknowledgements, Some(&WriteError::Unknown(error.to_string())));
                }
            },
        }
    }

    /// Takes writes into the transaction until one fails by the medium's fault; what is left in `writes` was not seen.
    fn stage(
        &self,
        transaction: &WriteTransaction,
        group: &mut Group,
        writes: &mut impl Iterator<Item = Job>,
    ) -> Result<(), redb::Error> {
        let objects = self.feed.listing().objects;
        for job in writes {
            match job {
                Job::Write(write, sender) => {
                    let result = write_along(transaction, group, &objects, self.feed.epoch(), write);
                    let (result, broken) = match result {
                        Ok(result) => (result, None),
                        Err(error) => (Err(WriteError::Unavailable(error.to_string())), Some(error)),
                    };
                    group.acknowledgements.push(Acknowledgement::Write(sender, result));
                    if let Some(error) = broken {
                        return Err(error);
                    }
                }
                Job::Change(changes, sender) => {
                    let result = change_state(transaction, changes);
                    group.dirty |= matches!(result, Ok(Ok(())));
                    match result {
                        Ok(result) => group.acknowledgements.push(Acknowledgement::Change(sender, result)),
                        Err(error) => {
                            group.acknowledgements.push(Acknowledgement::Change(sender, Ok(())));
                            return Err(error);
                        }
                    }
                }
                Job::Read(..) | Job::Scan { .. } | Job::Close(_) => {}
            }
        }
        Ok(())
    }

    fn read(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let state = self.database.begin_read()?.open_table(STATE)?;
            let value = state.get((table.as_str(), key))?;
            Ok(value.map(|value| value.value().to_owned()))
        };
        read().map_err(|error| StoreError::Failed(error.to_string()))
    }

    fn scan(&self, table: Table, from: &str, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let scan = || -> Result<_, redb::Error> {
            let state = self.database.begin_read()?.open_table(STATE)?;
            let mut found = Vec::new();
            for entry in state.range((table.as_str(), from)..)?.take(limit) {
                let (key, value) = entry?;
                let (of, key) = key.value();
                if of != table.as_str() {
                    break;
                }
                found.push(Entry { key: key.to_owned(), value: value.value().to_owned() });
            }
            Ok(found)
        };
        scan().map_err(|error| StoreError::Failed(error.to_string()))
    }
}

impl Group {
    /// Checks every change of a write, then takes them all.
    fn write(
        &mut self,
        objects: &BTreeMap<ObjectRef, Stored>,
        epoch: &str,
        write: Write,
    ) -> Result<Committed, WriteError> {
        let number = self.number + 1;
        let mut staged = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(write.changes.len());
        let mut changes = Vec::new();
        for change in write.changes {
            let reference = change.object();
            if staged.contains_key(&reference) {
                return Err(WriteError::Repeated(reference));
            }
            let present = match self.changed.get(&reference) {
                Some(changed) => changed.as_ref(),
                None => objects.get(&reference),
            };
            check(&reference, present, change.expected(), &write.owner)?;
            let (outcome, next) = match change {
                Change::Delete { .. } if present.is_none() => return Err(WriteError::NotFound(reference)),
                Change::Delete { .. } => {
                    changes.push(BatchChange::Deleted(reference.clone()));
                    (Outcome::Deleted, None)
                }
                Change::Put { object, source, expected: _ } => match present {
                    Some(present) if present.object == object => (Outcome::Unchanged, Some(present.clone())),
                    present => {
                        let created = present.map_or(number, |present| present.created);
                        let stored = Stored { object, owner: write.owner.clone(), created, modified: number, source };
                        changes.push(BatchChange::Put(stored.clone()));
                        let outcome = if present.is_some() { Outcome::Updated } else { Outcome::Created };
                        (outcome, Some(stored))
                    }
                },
            };
            outcomes.push(outcome);
            staged.insert(reference, next);
        }
        let changed = !changes.is_empty();
        let reached = if changed { number } else { self.number };
        let revision =
            Revision::of_store(epoch, reached).map_err(|error| WriteError::Unavailable(error.to_string()))?;
        if changed {
            self.number = number;
            self.dirty = true;
            self.changed.extend(staged);
            self.batches.push(Batch { revision: revision.clone(), changes });
        }
        Ok(Committed { revision, outcomes })
    }
}

fn check(reference: &ObjectRef, present: Option<&Stored>, expected: Expected, owner: &Owner) -> Result<(), WriteError> {
    if let Some(present) = present.filter(|present| present.owner != *owner) {
        return Err(WriteError::NotOwner { object: reference.clone(), owner: present.owner.clone() });
    }
    let found = present.map(|present| present.modified);
    let holds = match expected {
        Expected::Any => true,
        Expected::Absent => found.is_none(),
        Expected::Version(version) => found == Some(version),
    };
    if holds { Ok(()) } else { Err(WriteError::Conflict { object: reference.clone(), expected, found }) }
}

/// Takes a write and what goes along with it into the group, both or neither; the outer error is the medium's.
fn write_along(
    transaction: &WriteTransaction,
    group: &mut Group,
    objects: &BTreeMap<ObjectRef, Stored>,
    epoch: &str,
    mut write: Write,
) -> Result<Result<Committed, WriteError>, redb::Error> {
    let along = mem::take(&mut write.along);
    if let Err(conflict) = check_state(transaction, &along)? {
        return Ok(Err(conflict));
    }
    let result = group.write(objects, epoch, write);
    if result.is_ok() && !along.is_empty() {
        make_state(transaction, along)?;
        group.dirty = true;
    }
    Ok(result)
}

/// Checks every change, then makes them all; the outer error is the medium's.
fn change_state(
    transaction: &WriteTransaction,
    changes: Vec<StateChange>,
) -> Result<Result<(), WriteError>, redb::Error> {
    let checked = check_state(transaction, &changes)?;
    if checked.is_ok() {
        make_state(transaction, changes)?;
    }
    Ok(checked)
}

/// Whether every entry is as the changes expect.
fn check_state(transaction: &WriteTransaction, changes: &[StateChange]) -> Result<Result<(), WriteError>, redb::Error> {
    let state = transaction.open_table(STATE)?;
    for StateChange { table, key, expected, value: _ } in changes {
        let holds = expected.holds(state.get((table.as_str(), &**key))?.as_ref().map(redb::AccessGuard::value));
        if !holds {
            return Ok(Err(WriteError::StateConflict { table: *table, key: key.clone() }));
        }
    }
    Ok(Ok(()))
}

fn make_state(transaction: &WriteTransaction, changes: Vec<StateChange>) -> Result<(), redb::Error> {
    let mut state = transaction.open_table(STATE)?;
    for StateChange { table, key, expected: _, value } in changes {
        let key = (table.as_str(), &*key);
        match value {
            Some(value) => state.insert(key, &*value)?,
            None => state.remove(key)?,
        };
    }
    Ok(())
}

/// Answers everything of a group: with its own result, or with what befell the group. A caller that no longer waits
/// is no error.
fn answer(acknowledgements: Vec<Acknowledgement>, failed: Option<&WriteError>) {
    for acknowledgement in acknowledgements {
        match acknowledgement {
            Acknowledgement::Write(sender, result) => drop(sender.send(failed.cloned().map_or(result, Err))),
            Acknowledgement::Change(sender, result) => drop(sender.send(failed.cloned().map_or(result, Err))),
        }
    }
}

fn refuse(writes: impl IntoIterator<Item = Job>, error: &WriteError) {
    for job in writes {
        match job {
            Job::Write(_, sender) => drop(sender.send(Err(error.clone()))),
            Job::Change(_, sender) => drop(sender.send(Err(error.clone()))),
            Job::Read(..) | Job::Scan { .. } | Job::Close(_) => {}
        }
    }
}
