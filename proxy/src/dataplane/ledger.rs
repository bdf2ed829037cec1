//! Where a worker's records go: its metrics, and batches of lines for the thread that writes the access log.
use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{sync::Notify, time};

use super::{histogram::add, metrics::Metrics, refusals::Refusals};

/// When a batch is handed over without waiting for more, in bytes.
const BATCH: usize = 32 * 1024;

/// How long a line waits for others.
const DELAY: Duration = Duration::from_millis(200);

/// How many batches may wait for the writing thread before lines are dropped (and counted): a slow disk must not stop
/// traffic.
const QUEUE: usize = 64;

/// How many buffers of ended records wait for new ones.
const SPARE: usize = 32;

/// The largest of them that is kept, in bytes: the texts of an ordinary request take half of it.
const SPARE_BYTES: usize = 1024;

/// The thread that writes the access log.
#[derive(Debug)]
pub(super) struct LogWriter {
    pub(super) batches: SyncSender<Vec<u8>>,
    pub(super) thread: JoinHandle<()>,
}

impl LogWriter {
    /// Starts the thread; it ends when the last sender of batches is gone.
    pub(super) fn start(log: Box<dyn io::Write + Send>) -> io::Result<Self> {
        let (batches, queue) = sync_channel(QUEUE);
        let thread = thread::Builder::new().name("weft-records".into()).spawn(move || write_all(log, &queue))?;
        Ok(Self { batches, thread })
    }
}

fn write_all(mut log: Box<dyn io::Write + Send>, queue: &Receiver<Vec<u8>>) {
    for batch in queue {
        // A log that cannot be written is not a reason to end, nor to say so in the log.
        let _ = log.write_all(&batch).and_then(|()| log.flush());
    }
}

/// One worker's ledger.
pub(super) struct Ledger {
    instance: String,
    start: String,
    worker: usize,
    sequence: Cell<u64>,
    /// How many records have begun and not ended.
    open: Cell<u32>,
    metrics: Metrics,
    batches: Option<SyncSender<Vec<u8>>>,
    refusals: Arc<Refusals>,
    lines: RefCell<Vec<u8>>,
    /// Buffers for the texts of records, empty.
    spare: RefCell<Vec<String>>,
    begun: Notify,
    /// The second that `second_text` names.
    second: Cell<i64>,
    second_text: RefCell<String>,
}

impl Ledger {
    pub(super) fn new(
        (instance, start): (String, String),
        worker: usize,
        metrics: Metrics,
        batches: Option<SyncSender<Vec<u8>>>,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self {
            instance,
            start,
            worker,
            sequence: Cell::new(0),
            open: Cell::new(0),
            metrics,
            batches,
            refusals,
            lines: RefCell::default(),
            spare: RefCell::default(),
            begun: Notify::new(),
            second: Cell::new(i64::MIN),
            second_text: RefCell::default(),
        }
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    pub(super) fn start(&self) -> &str {
        &self.start
    }

    pub(super) fn worker(&self) -> usize {
        self.worker
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The number of a record that begins, from 1.
    pub(super) fn begin(&self) -> u64 {
        self.open.set(self.open.get() + 1);
        self.sequence.set(self.sequence.get() + 1);
        self.sequence.get()
    }

    /// An empty buffer for a record's texts: one that was used before, so that a request costs no allocation for them.
    pub(super) fn buffer(&self) -> String {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// A record has ended; takes back its buffer.
    pub(super) fn end(&self, mut buffer: String) {
        self.open.set(self.open.get().saturating_sub(1));
        let mut spare = self.spare.borrow_mut();
        if (1..=SPARE_BYTES).contains(&buffer.capacity()) && spare.len() < SPARE {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// How many records have begun and not ended: requests, and connections that carry bytes.
    pub(super) fn open(&self) -> u32 {
        self.open.get()
    }

    /// The time of day as RFC 3339 with milliseconds. The second's text is kept, it is asked for once a record.
    pub(super) fn time(&self) -> String {
        let now = jiff::Timestamp::now();
        if self.second.replace(now.as_second()) != now.as_second() {
            *self.second_text.borrow_mut() = now.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
        format!("{}.{:03}Z", self.second_text.borrow(), now.subsec_millisecond())
    }

    /// Writes one line to the log, if there is one, and keeps it among the refusals if it is to be kept.
    pub(super) fn write(&self, keep: bool, write: impl FnOnce(&mut Vec<u8>)) {
        if self.batches.is_none() {
            if keep {
                let mut line = Vec::new();
                write(&mut line);
                self.refusals.keep(&line);
            }
            return;
        }
        let (before, after) = {
            let mut lines = self.lines.borrow_mut();
            let before = lines.len();
            write(&mut lines);
            if keep {
                self.refusals.keep(lines.get(before..).unwrap_or_default());
            }
            (before, lines.len())
        };
        if after >= BATCH {
            self.flush();
        } else if before == 0 {
            self.begun.notify_one();
        }
    }

    /// Hands over the lines so far; drops them, counted, if the writing thread does not keep up.
    pub(super) fn flush(&self) {
        let lines = self.lines.take();
        if let (false, Some(batches)) = (lines.is_empty(), &self.batches)
            && let Err(refused) = batches.try_send(lines)
        {
            let (std::sync::mpsc::TrySendError::Full(lines) | std::sync::mpsc::TrySendError::Disconnected(lines)) =
                refused;
            let count = memchr::memchr_iter(b'\n', &lines).count() as u64;
            add(&self.metrics.totals.records_dropped, count);
        }
    }

    /// Hands lines over within [`DELAY`] of the first; holds no timer while there are none.
    pub(super) async fn flush_in_time(self: Rc<Self>) {
        loop {
            self.begun.notified().await;
            time::sleep(DELAY).await;
            self.flush();
        }
    }
}
