//! The tables on disk, and how they are made and read.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format`, `epoch`, `number` | text |
//! | `objects` | `Kind/namespace/name` | JSON: see [`super::record`] |
//! | `state` | table, key | bytes |
use std::{collections::BTreeMap, path::Path};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};
use weft_model::{ObjectRef, Revision, Stored};

use super::{FORMAT, record};
use crate::OpenError;

pub(super) const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
pub(super) const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
pub(super) const STATE: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("state");

const META_FORMAT: &str = "format";
const META_EPOCH: &str = "epoch";
const META_NUMBER: &str = "number";

/// What a store holds when it is opened.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) revision: Revision,
    pub(super) number: u64,
    pub(super) objects: BTreeMap<ObjectRef, Stored>,
}

/// Why the content cannot be read.
#[derive(Debug)]
pub(super) enum LoadError {
    Format(String),
    Damaged(String),
}

impl LoadError {
    pub(super) fn at(self, dir: &Path) -> OpenError {
        let dir = dir.to_owned();
        match self {
            Self::Format(found) => OpenError::Format { dir, found },
            Self::Damaged(reason) => OpenError::Damaged { dir, reason },
        }
    }
}

impl<E: Into<redb::Error>> From<E> for LoadError {
    fn from(error: E) -> Self {
        Self::Damaged(error.into().to_string())
    }
}

/// Writes an empty store with a new epoch.
pub(super) fn initialize(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let epoch = format!("{:016x}", rand::random::<u64>());
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_FORMAT, FORMAT)?;
        meta.insert(META_EPOCH, &*epoch)?;
        meta.insert(META_NUMBER, "0")?;
        transaction.open_table(OBJECTS)?;
        transaction.open_table(STATE)?;
    }
    Ok(transaction.commit()?)
}

/// Reads everything but the state.
pub(super) fn load(database: &Database) -> Result<Content, LoadError> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META).map_err(missing)?;
    let text = |key: &str| -> Result<String, LoadError> {
        let value = meta.get(key)?.map(|value| value.value().to_owned());
        value.ok_or_else(|| LoadError::Damaged(format!("its table meta has no {key}")))
    };
    let format = text(META_FORMAT)?;
    if format != FORMAT {
        return Err(LoadError::Format(format));
    }
    let number = text(META_NUMBER)?;
    let number = number.parse().map_err(|_| LoadError::Damaged(format!("its number {number:?} is none")))?;
    let revision = Revision::of_store(&text(META_EPOCH)?, number);
    let revision = revision.map_err(|error| LoadError::Damaged(error.to_string()))?;
    let mut objects = BTreeMap::new();
    for entry in transaction.open_table(OBJECTS)?.iter()? {
        let (key, value) = entry?;
        let stored = record::decode(value.value())
            .map_err(|reason| LoadError::Damaged(format!("object {}: {reason}", key.value())))?;
        let reference = stored.object.reference();
        if object_key(&reference) != key.value() {
            return Err(LoadError::Damaged(format!("{reference} lies under the key {}", key.value())));
        }
        objects.insert(reference, stored);
    }
    Ok(Content { revision, number, objects })
}

/// Stores the number of the latest revision.
pub(super) fn put_number(transaction: &WriteTransaction, number: u64) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert(META_NUMBER, &*number.to_string())?;
    Ok(())
}

/// Stores the latest form of changed objects; `None` removes.
pub(super) fn put_objects(
    transaction: &WriteTransaction,
    changed: &BTreeMap<ObjectRef, Option<Stored>>,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(OBJECTS)?;
    for (reference, stored) in changed {
        let key = object_key(reference);
        match stored {
            Some(stored) => table.insert(&*key, &*record::encode(stored))?,
            None => table.remove(&*key)?,
        };
    }
    Ok(())
}

fn object_key(ObjectRef { kind, namespace, name }: &ObjectRef) -> String {
    format!("{kind}/{namespace}/{name}")
}

fn missing(error: TableError) -> LoadError {
    match error {
        TableError::TableDoesNotExist(table) => LoadError::Damaged(format!("it has no table {table}")),
        other => other.into(),
    }
}
