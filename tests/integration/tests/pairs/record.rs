//! Records as the data planes write them, in the order in which their requests began.
use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::sync::Notify;
use weft_decide::{Circumstances, Draws};

/// One record of a request or connection.
#[derive(Clone, Debug)]
pub(crate) struct Record(Value);

impl Record {
    /// A field that is a text.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    /// How many copies were made of it.
    pub(crate) fn mirrors(&self) -> usize {
        let count = self.0.get("mirrors").and_then(Value::as_u64).unwrap_or_default();
        usize::try_from(count).expect("few copies")
    }

    /// The status that the client was told.
    pub(crate) fn status(&self) -> Option<u64> {
        self.0.get("status")?.as_u64()
    }

    /// The draws of the decision.
    pub(crate) fn draws(&self) -> Option<Draws> {
        let number = |field| self.text(field)?.parse().ok();
        Some(Draws { split: number("split")?, pick: number("pick")? })
    }

    /// What the pick depended on beside them. Nobody is ejected here, and nothing is sent twice.
    pub(crate) fn circumstances(&self) -> Result<Circumstances, String> {
        match self.text("circumstances") {
            None => Ok(Circumstances::default()),
            Some("second") => Ok(Circumstances { second: true, ..Circumstances::default() }),
            Some(other) => Err(format!("nothing here comes to {other:?}")),
        }
    }

    /// Its number among its worker's, counted from when a request's head was read.
    fn sequence(&self) -> u64 {
        let id = self.text("id").and_then(|id| id.rsplit_once('.'));
        id.and_then(|(_, sequence)| sequence.parse().ok()).unwrap_or_else(|| panic!("a record without an id: {self:?}"))
    }
}

/// The records of one data plane, in the order of their beginning.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Of what its application has sent.
    pub(crate) outbound: BTreeMap<u64, Record>,
    /// Of what each caller has sent to it, by the caller's identity.
    pub(crate) inbound: BTreeMap<String, BTreeMap<u64, Record>>,
    /// Of copies, both those that it has sent and those that came to it, by the ids of their originals.
    pub(crate) copies: BTreeMap<String, BTreeMap<u64, Record>>,
}

impl Records {
    /// How many requests from peers are recorded.
    pub(crate) fn called(&self) -> usize {
        self.inbound.values().map(BTreeMap::len).sum()
    }

    /// The records of the copies of what has this id, in the order of their beginning: those that were sent, or those
    /// that came.
    pub(crate) fn copies_of(&mut self, id: &str, direction: &str) -> Vec<Record> {
        let Some(copies) = self.copies.get_mut(id) else { return Vec::new() };
        let of_direction = copies.extract_if(.., |_, record| record.text("direction") == Some(direction));
        of_direction.map(|(_, record)| record).collect()
    }

    /// How many records of copies there are, of those that were sent or those that came.
    pub(crate) fn count_copies(&self, counts: impl Fn(&Record) -> bool) -> usize {
        self.copies.values().flat_map(BTreeMap::values).filter(|record| counts(record)).count()
    }

    fn add(&mut self, record: Record) {
        let sequence = record.sequence();
        if let Some(original) = record.text("mirrorOf").map(str::to_owned) {
            self.copies.entry(original).or_default().insert(sequence, record);
            return;
        }
        match record.text("direction") {
            Some("outbound") => drop(self.outbound.insert(sequence, record)),
            _ => {
                let caller = record.text("caller").unwrap_or_default().to_owned();
                self.inbound.entry(caller).or_default().insert(sequence, record);
            }
        }
    }
}

/// An access log in memory.
#[derive(Clone)]
pub(crate) struct Log {
    bytes: Arc<Mutex<Vec<u8>>>,
    written: Arc<Notify>,
}

impl Log {
    /// An empty log that tells `written` of every write.
    pub(crate) fn new(written: &Arc<Notify>) -> Self {
        Self { bytes: Arc::default(), written: Arc::clone(written) }
    }

    /// Moves what was written so far to `records`.
    pub(crate) fn drain_to(&self, records: &mut Records) {
        let bytes = std::mem::take(&mut *self.bytes.lock().expect("nobody panics while writing"));
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            records.add(Record(serde_json::from_slice(line).expect("a record is one line of JSON")));
        }
    }
}

impl Write for Log {
    /// Whole batches of lines.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.lock().expect("nobody panics while reading").extend_from_slice(bytes);
        self.written.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
