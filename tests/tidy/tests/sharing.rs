//! What threads share on the data path: every lock, channel and atomic word of it stands here with its reason, so that a
//! new one is a decision and not an accident.
use std::collections::{BTreeMap, BTreeSet};

use syn::visit::Visit;

use crate::tree::{product_sources, shown, text};

/// Where requests are served. What is above (the agent) runs on the control thread.
const DATA_PATH: [&str; 3] = ["proxy/src/dataplane/", "proxy/net/src/", "mesh/decide/src/"];

/// Names by which threads share something: locks, cells that are set once, channels, atomic words and pointers.
const SHARING: [&str; 42] = [
    "ArcSwap",
    "ArcSwapAny",
    "ArcSwapOption",
    "AtomicBool",
    "AtomicI32",
    "AtomicI64",
    "AtomicIsize",
    "AtomicPtr",
    "AtomicU8",
    "AtomicU16",
    "AtomicU32",
    "AtomicU64",
    "AtomicUsize",
    "Barrier",
    "Condvar",
    "DashMap",
    "DashSet",
    "LazyLock",
    "Mutex",
    "Notify",
    "Once",
    "OnceLock",
    "Receiver",
    "RwLock",
    "Semaphore",
    "Sender",
    "SyncSender",
    "UnboundedReceiver",
    "UnboundedSender",
    "broadcast",
    "channel",
    "crossbeam",
    "crossbeam_channel",
    "dashmap",
    "flume",
    "lazy_static",
    "mpsc",
    "once_cell",
    "oneshot",
    "parking_lot",
    "spin",
    "sync_channel",
];

/// File, what it shares, and why that is no lock and no contended cache line of a request.
const ALLOWED: [(&str, &[&str], &str); 21] = [
    (
        "mesh/decide/src/breaker.rs",
        &["AtomicU64"],
        "read by all; written by an error, the first success after one, and probes",
    ),
    (
        "mesh/decide/src/budget.rs",
        &["AtomicU64"],
        "requests earn in their worker's own cell; only repetitions touch the shared trickle",
    ),
    (
        "mesh/decide/src/lease.rs",
        &["AtomicU32", "AtomicU64"],
        "a cell for each worker on a line of its own; another's is touched when the own is empty, the limit by publishing",
    ),
    (
        "mesh/decide/src/snapshot/lanes.rs",
        &["OnceLock"],
        "a worker's own copy of a pattern is made at its first use and only read from then on",
    ),
    ("proxy/src/dataplane/expose.rs", &["AtomicU64", "Receiver", "mpsc"], "the control thread reads workers' cells"),
    (
        "proxy/src/dataplane/gate.rs",
        &["AtomicU32", "AtomicU64", "AtomicU8", "AtomicUsize"],
        "all workers write what is held when a connection begins and ends, never for a request; what is shed and what room \
         there is are the control thread's to write, on a cache line of their own",
    ),
    (
        "proxy/src/dataplane/handle.rs",
        &[
            "AtomicUsize",
            "Mutex",
            "Receiver",
            "Sender",
            "UnboundedSender",
            "channel",
            "mpsc",
            "oneshot",
            "sync_channel",
        ],
        "the control thread's own: no worker takes its locks",
    ),
    (
        "proxy/src/dataplane/histogram.rs",
        &["AtomicU64"],
        "one writer, its worker, by load and store; read by the control thread",
    ),
    (
        "proxy/src/dataplane/http2/links.rs",
        &["Notify"],
        "between tasks of one worker: the lock in it has no second thread",
    ),
    (
        "proxy/src/dataplane/ledger.rs",
        &["Notify", "Receiver", "SyncSender", "mpsc", "sync_channel"],
        "a batch of 32 KiB or 200 ms of log lines is handed over at a time, and never waited for; Notify within one worker",
    ),
    (
        "proxy/src/dataplane/metrics.rs",
        &["AtomicU64", "Sender", "mpsc"],
        "cells of one worker; a series is announced once, when it is made",
    ),
    ("proxy/src/dataplane/pool.rs", &["Notify"], "between tasks of one worker"),
    (
        "proxy/src/dataplane/progress.rs",
        &["AtomicU64", "Notify"],
        "written by a worker when it takes a new snapshot, never for a request",
    ),
    (
        "proxy/src/dataplane/refusals.rs",
        &["ArcSwapOption", "AtomicUsize"],
        "one writer, its worker, for refusals alone; the control thread reads",
    ),
    (
        "proxy/src/dataplane/resilience/keeper.rs",
        &["Mutex", "Receiver", "UnboundedSender", "mpsc"],
        "the control side's own: no worker takes its lock",
    ),
    (
        "proxy/src/dataplane/resilience/checks/mod.rs",
        &["Mutex", "Notify", "Semaphore"],
        "between the thread that checks endpoints and the control thread: no worker takes its lock",
    ),
    ("proxy/src/dataplane/resilience/connections.rs", &["Notify"], "between tasks of one worker"),
    ("proxy/src/dataplane/resilience/local.rs", &["Notify"], "between tasks of one worker"),
    (
        "proxy/src/dataplane/resilience/shared.rs",
        &["AtomicU32", "Notify", "OnceLock"],
        "set when a snapshot is published; the rest is touched by who waits at a limit, and by who wakes them",
    ),
    ("proxy/src/dataplane/watch.rs", &["Notify"], "between tasks of one worker"),
    (
        "proxy/src/dataplane/worker.rs",
        &["Notify", "Semaphore", "Sender", "SyncSender", "UnboundedReceiver", "mpsc"],
        "commands come from the control thread; what is sent is a need for a host, or an error: no word for a good request; \
         the turns of handshakes are between tasks of one worker",
    ),
];

/// The names of a file's product code that say that something is shared.
#[derive(Default)]
struct Shared(BTreeSet<String>);

impl Shared {
    fn see(&mut self, name: &syn::Ident) {
        let name = name.to_string();
        if SHARING.contains(&name.as_str()) {
            self.0.insert(name);
        }
    }
}

impl<'ast> Visit<'ast> for Shared {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
        };
        if !module.attrs.iter().any(test) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        self.see(&segment.ident);
        syn::visit::visit_path_segment(self, segment);
    }

    fn visit_use_path(&mut self, path: &'ast syn::UsePath) {
        self.see(&path.ident);
        syn::visit::visit_use_path(self, path);
    }

    fn visit_use_name(&mut self, name: &'ast syn::UseName) {
        self.see(&name.ident);
    }

    fn visit_use_rename(&mut self, rename: &'ast syn::UseRename) {
        self.see(&rename.ident);
    }
}

fn shared(source: &str) -> BTreeSet<String> {
    let mut found = Shared::default();
    found.visit_file(&syn::parse_file(source).expect("Rust source"));
    found.0
}

#[test]
fn whatever_threads_share_on_the_data_path_is_listed_with_its_reason() {
    let mut listed: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (file, names, reason) in ALLOWED {
        assert!(reason.len() > 20, "{file} needs a reason");
        assert!(names.iter().all(|name| SHARING.contains(name)), "{file}: {names:?} are not looked for");
        listed.insert(file, names.iter().map(|name| (*name).to_owned()).collect());
    }
    let mut wrong = Vec::new();
    let mut looked = 0;
    for path in product_sources() {
        let file = shown(&path);
        if !DATA_PATH.iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        looked += 1;
        let (found, listed) = (shared(&text(&path)), listed.remove(file.as_str()).unwrap_or_default());
        for name in found.difference(&listed) {
            wrong.push(format!("{file} shares by {name}: say in tests/tidy why that costs no request anything"));
        }
        for name in listed.difference(&found) {
            wrong.push(format!("{file} no longer has {name}: take it from the list"));
        }
    }
    wrong.extend(listed.keys().map(|file| format!("{file} is listed and not there")));
    assert!(looked > 60, "only {looked} files were looked at");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_lock_is_seen_however_it_is_named_and_tests_are_not_looked_at() {
    for (source, seen) in [
        ("use std::sync::Mutex as Lock; static A: Lock<u8> = Lock::new(0);", vec!["Mutex"]),
        ("struct A(std::sync::RwLock<u8>);", vec!["RwLock"]),
        ("fn a() { let _ = parking_lot::const_mutex(0); }", vec!["parking_lot"]),
        ("#[cfg(test)] mod tests { use std::sync::Mutex; }", vec![]),
        ("mod inner { use std::sync::{Arc, atomic::AtomicU8}; }", vec!["AtomicU8"]),
    ] {
        assert_eq!(shared(source), seen.into_iter().map(str::to_owned).collect(), "{source}");
    }
}
