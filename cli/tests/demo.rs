//! What the demo leaves behind: nothing, however it ends, and its state where it was asked to keep it.
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

const WEFT: &str = env!("CARGO_BIN_EXE_weft");
const DEADLINE: Duration = Duration::from_secs(30);

/// Starts the demo in `folder` and waits until it says that the mesh is up.
fn start(folder: &Path) -> Child {
    let output = folder.join("output");
    let child = Command::new(WEFT)
        .args(["demo", "--dir"])
        .arg(folder.join("state"))
        .stdin(Stdio::null())
        .stdout(fs::File::create(&output).unwrap())
        .stderr(fs::File::create(folder.join("errors")).unwrap())
        .spawn()
        .unwrap();
    eventually("the mesh is up", || fs::read_to_string(&output).unwrap().contains("A mesh of 15 processes is up"));
    child
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "it did not come about that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes whose command line names a path below `folder`.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(&folder)).collect()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn every_process_dies_with_a_demo_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = start(folder.path());
    assert!(processes(folder.path()).len() >= 8, "{:#?}", processes(folder.path()));
    demo.kill().unwrap();
    demo.wait().unwrap();
    eventually("no process is left", || processes(folder.path()).is_empty());
}

#[test]
fn a_demo_that_is_told_to_stop_leaves_no_process_and_continues_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let context = folder.path().join("state/context.json");
    let revision = || {
        let status = Command::new(WEFT).args(["status", "-o", "json", "--context"]).arg(&context).output().unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        status["revision"].as_str().unwrap().to_owned()
    };
    let mut demo = start(folder.path());
    let before = revision();
    signal(&demo, Signal::INT);
    assert!(demo.wait().unwrap().success());
    assert!(processes(folder.path()).is_empty(), "{:#?}", processes(folder.path()));
    let mut again = start(folder.path());
    assert_eq!(revision(), before, "the same store, with nothing applied anew");
    signal(&again, Signal::TERM);
    assert!(again.wait().unwrap().success());
}

#[test]
fn a_temporary_folder_goes_with_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    let mut tour = Command::new(WEFT)
        .args(["demo", "--check"])
        .env("TMPDIR", &temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("its folder is there", || fs::read_dir(&temporary).unwrap().count() == 1);
    signal(&tour, Signal::HUP);
    assert_eq!(tour.wait().unwrap().code(), Some(1), "a tour that was cut short has shown nothing");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}
