//! SIGKILL at any point of writing loses no acknowledged write.
use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tokio::task::JoinSet;
use weft_model::{Object, Owner, decode::decode};
use weft_store::{Change, Expected, ExpectedValue, Objects, Outcome, Redb, State, StateChange, Table, Write};

/// Names the store's directory to the child; its presence makes this program the child.
const DIR: &str = "WEFT_CRASH_DIR";
/// How many times the child is killed; the full form is 500.
const ROUNDS: &str = "WEFT_CRASH_ROUNDS";
const WRITERS: u16 = 4;

fn service(name: &str, port: u16) -> Object {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  ports: [{{name: http, \
         port: {port}}}]\n"
    );
    decode("test", &text).objects.remove(0).0
}

/// The child: several writers, each of which prints `writer count number` once a write is acknowledged.
async fn write_until_killed(dir: &Path) {
    let store = Arc::new(Redb::open(dir).unwrap());
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let name = format!("writer-{writer}");
            let count =
                |stored: Option<Vec<u8>>| stored.map_or(0, |it| String::from_utf8(it).unwrap().parse().unwrap());
            let mut counter: u64 = count(store.read(Table::Settings, &name).await.unwrap());
            loop {
                counter += 1;
                let port = u16::try_from(counter % 60_000).unwrap() + 1;
                let change = Change::Put { object: service(&name, port), source: None, expected: Expected::Any };
                let write = Write { owner: Owner::api(), changes: vec![change], along: Vec::new() };
                let committed = store.write(write).await.unwrap();
                // The run before may have been killed between its two writes: the object is then there already.
                let unchanged = committed.outcomes == [Outcome::Unchanged];
                let number = if unchanged { 0 } else { committed.revision.number("all").unwrap() };
                let change = StateChange {
                    table: Table::Settings,
                    key: name.clone(),
                    expected: ExpectedValue::Any,
                    value: Some(counter.to_string().into_bytes()),
                };
                store.change(vec![change]).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "ack {writer} {counter} {number}").unwrap();
                out.flush().unwrap();
            }
        });
    }
    let ended: Option<Result<(), _>> = writers.join_next().await;
    panic!("a writer ended by itself: {ended:?}");
}

/// Since when the time to the kill counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Since {
    /// The child's start: the kill hits starting, creating the store, or writing.
    Start,
    /// The first acknowledgement: the kill hits writing, however slow the machine is.
    Acknowledgement,
}

/// Runs the child, kills it after `delay`, and returns what it acknowledged: by writer, the last count and number.
fn killed_after(dir: &Path, since: Since, delay: Duration) -> BTreeMap<u16, (u64, u64)> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "acknowledged_writes_survive_being_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (first, begun) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut last = BTreeMap::new();
        for line in out.lines() {
            // The test runner's own lines, and a line that the kill has cut, are not acknowledgements.
            let line = line.unwrap();
            let Some((_, rest)) = line.split_once("ack ") else { continue };
            let numbers: Vec<u64> = rest.split(' ').map_while(|it| it.parse().ok()).collect();
            let [writer, counter, number] = numbers[..] else { continue };
            last.insert(u16::try_from(writer).unwrap(), (counter, number));
            // Nobody may wait for it any more.
            let _told = first.send(());
        }
        last
    });
    if since == Since::Acknowledgement {
        begun.recv_timeout(Duration::from_secs(60)).expect("the child acknowledges nothing");
    }
    thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn acknowledged_writes_survive_being_killed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    if let Some(dir) = env::var_os(DIR) {
        return runtime.block_on(write_until_killed(Path::new(&dir)));
    }
    let rounds: u64 = env::var(ROUNDS).map_or(25, |rounds| rounds.parse().unwrap());
    let dir = TempDir::new().unwrap();
    let mut epoch = None;
    let mut reached = 0;
    let mut acknowledged = 0;
    for round in 0..rounds {
        // A third of the kills is spread over starting, creating the store, and writing: the child takes a few
        // milliseconds to start. The others hit writing.
        let since = if round % 3 == 0 { Since::Start } else { Since::Acknowledgement };
        let delay = Duration::from_micros(rand::random_range(0..40_000));
        let last = killed_after(dir.path(), since, delay);
        acknowledged += u64::from(!last.is_empty());
        runtime.block_on(async {
            let store = Redb::open(dir.path()).unwrap_or_else(|error| panic!("round {round}: {error}"));
            let listing = store.list().await.unwrap();
            let number = listing.revision.number("all").unwrap();
            assert!(number >= reached, "round {round}: revision {number} after {reached}");
            assert_eq!(epoch.get_or_insert_with(|| store.epoch().to_owned()), store.epoch(), "round {round}");
            for (writer, (counter, version)) in last {
                let name = format!("writer-{writer}");
                let stored = store.read(Table::Settings, &name).await.unwrap().expect("an acknowledged entry");
                let stored: u64 = String::from_utf8(stored).unwrap().parse().unwrap();
                assert!(stored >= counter, "round {round}: {name} acknowledged {counter}, found {stored}");
                let object = listing.objects.values().find(|it| it.object.meta().name.as_str() == name).unwrap();
                assert!(object.modified >= version, "round {round}: {name} acknowledged version {version}");
                assert!(object.modified <= number, "round {round}: {name} is ahead of the revision");
            }
            reached = number;
            store.close().await;
        });
    }
    assert!(
        acknowledged * 2 > rounds,
        "only {acknowledged} of {rounds} rounds saw an acknowledgement: the kills came too early to test anything"
    );
}
