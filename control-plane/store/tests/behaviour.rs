//! The embedded store, seen through its traits.
use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;
use weft_model::{Object, ObjectRef, Owner, Source, decode::decode};
use weft_store::{
    BatchChange, Change, Entry, Expected, ExpectedValue, Objects, OpenError, Outcome, Redb, State, StateChange,
    StoreError, Table, WatchError, Write, WriteError,
};

/// A Service of that name with one port of that number.
fn service(name: &str, port: u16) -> Object {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  selector: {{app: {name}}}\n  \
         ports: [{{name: http, port: {port}}}]\n"
    );
    let decoded = decode("test", &text);
    assert!(decoded.diagnostics.is_empty(), "{:?}", decoded.diagnostics);
    decoded.objects[0].0.clone()
}

fn put(object: Object, expected: Expected) -> Change {
    Change::Put { object, source: None, expected }
}

fn write(changes: Vec<Change>) -> Write {
    Write { owner: Owner::api(), changes, along: Vec::new() }
}

fn reference(name: &str) -> ObjectRef {
    service(name, 80).reference()
}

async fn versions(store: &Redb) -> Vec<(String, u64, u64)> {
    let listing = store.list().await.unwrap();
    listing.objects.values().map(|it| (it.object.meta().name.to_string(), it.created, it.modified)).collect()
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening_with_the_same_epoch_and_revision() {
    let dir = TempDir::new().unwrap();
    let store = Redb::open(dir.path()).unwrap();
    let source = Some(Source::new("shop.yaml", 7));
    let change = Change::Put { object: service("web", 80), source: source.clone(), expected: Expected::Absent };
    let committed = store.write(write(vec![change, put(service("api", 81), Expected::Any)])).await.unwrap();
    assert_eq!(committed.outcomes, [Outcome::Created, Outcome::Created]);
    assert_eq!(committed.revision.to_string(), format!("{}/all=1", store.epoch()));
    store.close().await;

    let again = Redb::open(dir.path()).unwrap();
    assert_eq!(again.revision(), committed.revision);
    let listing = again.list().await.unwrap();
    assert_eq!(listing.revision, committed.revision);
    let stored = &listing.objects[&reference("web")];
    assert_eq!((&stored.object, &stored.owner, &stored.source), (&service("web", 80), &Owner::api(), &source));
    assert_eq!(versions(&again).await, [("api".to_owned(), 1, 1), ("web".to_owned(), 1, 1)]);
}

#[tokio::test]
async fn an_equal_object_is_left_alone_and_makes_no_revision() {
    let dir = TempDir::new().unwrap();
    let store = Redb::open(dir.path()).unwrap();
    store.write(write(vec![put(service("web", 80), Expected::Any)])).await.unwrap();
    let same = store.write(write(vec![put(service("web", 80), Expected::Version(1))])).await.unwrap();
    assert_eq!((same.outcomes.as_slice(), same.revision.number("all")), (&[Outcome::Unchanged][..], Some(1)));
    let changes = vec![put(service("web", 80), Expected::Any), put(service("api", 80), Expected::Any)];
    let mixed = store.write(write(changes)).await.unwrap();
    assert_eq!(mixed.outcomes, [Outcome::Unchanged, Outcome::Created]);
    assert_eq!(versions(&store).await, [("api".to_owned(), 2, 2), ("web".to_owned(), 1, 1)]);
}

#[tokio::test]
async fn what_goes_along_with_a_write_is_stored_with_it_or_not_at_all() {
    let dir = TempDir::new().unwrap();
    let store = Redb::open(dir.path()).unwrap();
    let entry = |key: &str, expected: ExpectedValue| {
        vec![StateChange { table: Table::Audit, key: key.to_owned(), expected, value: Some(b"done".to_vec()) }]
    };
    let put = |name: &str, expected| write(vec![put(service(name, 80), expected)]);
    store.write(Write { along: entry("1", ExpectedValue::Absent), ..put("web", Expected::Any) }).await.unwrap();
    // The objects are refused: the entry is not there either.
    let refused = Write { along: entry("2", ExpectedValue::Any), ..put("web", Expected::Absent) };
    assert!(matches!(store.write(refused).await, Err(WriteError::Conflict { .. })));
    // The entry is refused: nor are the objects.
    let refused = Write { along: entry("1", ExpectedValue::Absent), ..put("api", Expected::Any) };
    assert!(matches!(store.write(refused).await, Err(WriteError::StateConflict { .. })));
    // Nothing changes, but that is written down.
    store.write(Write { along: entry("3", ExpectedValue::Any), ..put("web", Expected::Any) }).await.unwrap();
    store.close().await;

    let again = Redb::open(dir.path()).unwrap();
    assert_eq!(versions(&again).await, [("web".to_owned(), 1, 1)]);
    let keys: Vec<_> = again.scan(Table::Audit, "", 10).await.unwrap().into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, ["1", "3"]);
}

#[tokio::test]
async fn writes_that_wait_for_a_commit_go_into_the_next_one_together() {
    const WRITES: u64 = 500;
    let dir = TempDir::new().unwrap();
    let store = Redb::open(dir.path()).unwrap();
    assert_eq!(store.commits(), 0);
    let writes = (0..WRITES).map(|at| store.write(write(vec![put(service(&format!("web-{at}"), 80), Expected::Any)])));
    let committed = futures::future::join_all(writes).await;
    let mut numbers: Vec<_> = committed.into_iter().map(|it| it.unwrap().revision.number("all").unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=WRITES), "each write is a revision of its own");
    // All but the first few were queued while one commit ran.
    assert!(store.commits() <= WRITES / 10, "{WRITES} writes took {} commits", store.commits());
    // Nothing to store, nothing to commit.
    let before = store.commits();
    store.write(write(vec![put(service("web-0", 80), Expected::Any)])).await.unwrap();
    assert_eq!(store.commits(), before);
}

#[tokio::test]
async fn a_write_that_expects_another_version_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let store = Redb::open(dir.path()).unwrap();
    store.write(write(vec![put(service("web", 80), Expected::Absent)])).await.unwrap();
    store.write(write(vec![put(service("web", 81), Expected::Version(1))])).await.unwrap();
    for expected in [Expected::Absent, Expected::Version(1), Expected::Version(3)] {
        let changes = vec![put(service("api", 80), Expected::Any), put(service("web", 82), expected)];
        let error = store.write(write(changes)).await.unwrap_err();
        assert_eq!(error, WriteError::Conflict { object: reference("web"), expected, found: Some(2) });
    }
    assert_eq!(versions(&store).await, [("web".to_owned(), 1, 2)]);
    let deleted = Change::Delete { object: reference("web"), expected: Expected::Version(2) };
    let outcomes = store.write(write(vec![deleted.clone()])).await.unwrap().outcomes;
    assert_eq!(outcomes, [Outcome::Deleted]);
    let error = store.write(write(vec![deleted])).await.unwrap_err();
    assert!(matches!(error, WriteError::Conflict { found: None, .. }), "{error}");
    let gone = Change::Delete { object: reference("web"), expected: Expected::Any };
    assert_eq!(store.write(write(vec![gone])).await.unwrap_err(), WriteError::NotFound(reference("web")));
}

#[tokio::test]
async fn another_sources_write_is_refused_with_the_owners_name() {
    let dir = TempDir::new().unwrap();
    let store = Redb::open(dir.path()).unwrap();
    store.write(write(vec![put(service("web", 80), Expected::Any)])).await.unwrap();
    let stranger = Owner("file:/etc/weft".into());
    let changes = [
        put(service("web", 81), Expected::Any),
        put(service("web", 80), Expected::Any),
        Change::Delete { object: reference("web"), expected: Expected::Any },
    ];
    for change in changes {
        let error = store.write(Write { owner: stranger.clone(), ..write(vec![change]) }).await.unwrap_err();
        assert_eq!(error, WriteError::NotOwner { object: reference("web"), owner: Owner::api() });
        assert_eq!(error.to_string(), "Service shop/web is owned by api");
    }
}

#[tokio::test]
async fn a_batch_that_names_an_object_twice_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = Redb::open(dir.path()).unwrap();
    let changes = vec![put(service("web", 80), Expected::Any), put(service("web", 81), Expected::Any)];
    assert_eq!(store.write(write(changes)).await.unwrap_err(), WriteError::Repeated(reference("web")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_every_batch_in_order_while_many_write() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(Redb::open(dir.path()).unwrap());
    let mut watch = store.watch(&store.revision()).unwrap();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for port in 1..=10 {
                    let object = service(&format!("web-{writer}"), port);
                    store.write(write(vec![put(object, Expected::Any)])).await.unwrap();
                }
            })
        })
        .collect();
    for number in 1..=80 {
        let batch = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap().unwrap();
        assert_eq!(batch.revision.number("all"), Some(number));
        let [BatchChange::Put(stored)] = batch.changes.as_slice() else { panic!("{batch:?}") };
        assert_eq!(stored.modified, number);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    store.close().await;
    assert_eq!(watch.next().await.unwrap_err(), WatchError::Closed);
}

#[tokio::test]
async fn a_watch_from_a_revision_that_is_not_kept_must_list_again() {
    let dir = TempDir::new().unwrap();
    let store = Redb::open(dir.path()).unwrap();
    let start = store.revision();
    store.write(write(vec![put(service("web", 80), Expected::Any)])).await.unwrap();
    assert_eq!(store.watch(&start).unwrap().next().await.unwrap().revision, store.revision());
    let latest = store.revision();
    store.close().await;
    let store = Redb::open(dir.path()).unwrap();
    assert_eq!(store.watch(&start).unwrap_err(), WatchError::Lagged);
    assert!(store.watch(&latest).is_ok());
    let ahead = format!("{}/all=9", store.epoch()).parse().unwrap();
    assert_eq!(store.watch(&ahead).unwrap_err(), WatchError::NotOfThisStore);
    assert_eq!(store.watch(&"other/all=0".parse().unwrap()).unwrap_err(), WatchError::NotOfThisStore);
}

fn entry(key: &str, expected: ExpectedValue, value: Option<&[u8]>) -> StateChange {
    StateChange { table: Table::Tokens, key: key.to_owned(), expected, value: value.map(<[u8]>::to_vec) }
}

#[tokio::test]
async fn a_state_entry_is_taken_once_by_whoever_expects_it() {
    let dir = TempDir::new().unwrap();
    let store = Redb::open(dir.path()).unwrap();
    store.change(vec![entry("a", ExpectedValue::Absent, Some(b"1"))]).await.unwrap();
    let take = || store.change(vec![entry("a", ExpectedValue::Is(b"1".to_vec()), None)]);
    let (one, other) = tokio::join!(take(), take());
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    assert_eq!(store.read(Table::Tokens, "a").await.unwrap(), None);
    assert_eq!(store.revision().number("all"), Some(0));
}

#[tokio::test]
async fn state_changes_are_made_together_or_not_at_all() {
    let dir = TempDir::new().unwrap();
    let store = Redb::open(dir.path()).unwrap();
    let audit =
        StateChange { table: Table::Audit, key: "b".to_owned(), expected: ExpectedValue::Any, value: Some(vec![2]) };
    store.change(vec![entry("b", ExpectedValue::Any, Some(b"1")), audit]).await.unwrap();
    let failing = vec![entry("a", ExpectedValue::Any, Some(b"1")), entry("b", ExpectedValue::Absent, Some(b"2"))];
    let conflict = WriteError::StateConflict { table: Table::Tokens, key: "b".to_owned() };
    assert_eq!(store.change(failing).await.unwrap_err(), conflict);
    store.close().await;
    let store = Redb::open(dir.path()).unwrap();
    let found = |value: &[u8]| Entry { key: "b".to_owned(), value: value.to_vec() };
    assert_eq!(store.scan(Table::Tokens, "", 10).await.unwrap(), [found(b"1")]);
    assert_eq!(store.scan(Table::Audit, "a", 1).await.unwrap(), [found(&[2])]);
    assert_eq!(store.scan(Table::Audit, "c", 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let dir = TempDir::new().unwrap();
    let store = Redb::open(dir.path()).unwrap();
    store.close().await;
    store.close().await;
    assert_eq!(store.list().await.unwrap_err(), StoreError::Closed);
    assert_eq!(store.read(Table::Settings, "x").await.unwrap_err(), StoreError::Closed);
    let error = store.write(write(vec![put(service("web", 80), Expected::Any)])).await.unwrap_err();
    assert!(matches!(error, WriteError::Unavailable(_)), "{error}");
}

#[test]
fn a_second_opener_is_told_that_the_store_is_in_use() {
    let dir = TempDir::new().unwrap();
    let _store = Redb::open(dir.path()).unwrap();
    assert!(matches!(Redb::open(dir.path()).unwrap_err(), OpenError::InUse { .. }));
}

#[test]
fn the_directory_and_its_files_are_their_owners_alone() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("store");
    let _store = Redb::open(&dir).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in fs::read_dir(&dir).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let parent = TempDir::new().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    for dir in [file.clone(), file.join("store"), parent.path().join("a/b")] {
        let error = Redb::open(&dir).unwrap_err();
        assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
        assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn another_format_is_refused_with_both_numbers() {
    let dir = TempDir::new().unwrap();
    Redb::open(dir.path()).unwrap().close().await;
    let database = redb::Database::open(dir.path().join("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<'_, &str, &str>::new("meta");
    transaction.open_table(meta).unwrap().insert("format", "99").unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Redb::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("has format 99; this version of weft reads format 1"), "{error}");
}

#[tokio::test]
async fn a_damaged_store_is_never_taken_for_an_empty_one() {
    let dir = TempDir::new().unwrap();
    let store = Redb::open(dir.path()).unwrap();
    store.write(write(vec![put(service("web", 80), Expected::Any)])).await.unwrap();
    store.close().await;
    let path = dir.path().join("store.redb");
    let whole = fs::read(&path).unwrap();
    for broken in [Vec::new(), vec![0; whole.len()], b"not a database".to_vec()] {
        fs::write(&path, &broken).unwrap();
        let error = Redb::open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    }
    fs::write(&path, &whole).unwrap();
    let store = Redb::open(dir.path()).unwrap();
    assert_eq!(versions(&store).await.len(), 1);
}

#[test]
fn an_unfinished_first_start_leaves_nothing_in_the_way() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("store.redb.new"), b"half of a store").unwrap();
    let store = Redb::open(dir.path()).unwrap();
    assert_eq!(store.revision().number("all"), Some(0));
}
