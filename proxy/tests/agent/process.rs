//! `weft-proxy` as a process: arguments, signals, exit codes.
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// A proxy process, killed with the test if it still runs.
struct Process(Option<Child>);

impl Process {
    fn start(machine: &Machine, more: &[&str]) -> Self {
        let child = command(machine, more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(Some(child.unwrap()))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.0.as_ref().unwrap()), signal).unwrap();
    }

    fn exit_code(mut self) -> Option<i32> {
        self.0.take().unwrap().wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn command(machine: &Machine, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft-proxy"));
    command.arg("--join").arg(machine.join_file()).arg("--state-dir").arg(machine.state());
    command.args(["--workload", "web-1", "--inbound", "127.0.0.1:0", "--outbound", "127.0.0.1:0"]);
    command.args(["--status", "127.0.0.1:0"]).args(more);
    command
}

/// What the status interface of a process in this state directory answers on `/ready`; `None` until it listens.
fn ready(machine: &Machine) -> Option<(u16, String)> {
    let listeners = fs::read(machine.state().join("listeners.json")).ok()?;
    let listeners: Value = serde_json::from_slice(&listeners).ok()?;
    Some(get(TcpStream::connect(listeners["status"].as_str()?).ok()?, "/ready", "status"))
}

#[test]
fn a_terminated_process_drains_and_exits_with_success() {
    let (mesh, _control_plane, machine) = set_up(DAY);
    let log = machine.folder.path().join("access.log");
    let process = Process::start(&machine, &["--access-log", log.to_str().unwrap()]);
    until("it is ready", || ready(&machine).is_some_and(|(status, _)| status == 200));
    mesh.until("receipts", |seen| seen.messages.iter().any(|it| matches!(it, Message::Receipts(_))).then_some(()));
    process.signal(Signal::TERM);
    mesh.until("draining", |seen| seen.messages.iter().any(|it| matches!(it, Message::Draining(_))).then_some(()));
    assert_eq!(process.exit_code(), Some(0));
    assert!(!machine.state().join("admin.sock").exists());
    assert_eq!(mode(&log), 0o600);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let (_mesh, _control_plane, machine) = set_up(DAY);
    let process = Process::start(&machine, &[]);
    until("it is ready", || ready(&machine).is_some_and(|(status, _)| status == 200));
    // An open request keeps the drain waiting.
    let listeners = fs::read(machine.state().join("listeners.json")).unwrap();
    let listeners: Value = serde_json::from_slice(&listeners).unwrap();
    let mut open = TcpStream::connect(listeners["outbound"].as_str().unwrap()).unwrap();
    open.write_all(b"POST / HTTP/1.1\r\nhost: catalog\r\ncontent-length: 9\r\n").unwrap();
    process.signal(Signal::INT);
    until("it drains", || ready(&machine).is_none_or(|(_, body)| body.contains("draining")));
    process.signal(Signal::TERM);
    assert_eq!(process.exit_code(), Some(1));
}

#[test]
fn check_shows_the_effective_configuration_and_leaves_nothing_behind() {
    let (_mesh, _control_plane, machine) = set_up(DAY);
    let Output { status, stdout, stderr } = command(&machine, &["--check"]).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let bootstrap = Bootstrap::parse(&String::from_utf8(stdout).unwrap()).unwrap();
    assert_eq!(bootstrap.workload.as_str(), "web-1");
    assert!(!machine.state().exists());

    let bad = machine.folder.path().join("bad.yaml");
    fs::write(&bad, "node: 1\nadmin: []\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft-proxy"));
    let Output { status, stderr, .. } = command.arg("--check").arg("--config").arg(&bad).output().unwrap();
    assert_eq!(status.code(), Some(1));
    let text = String::from_utf8(stderr).unwrap();
    assert!(text.contains("bad.yaml") && text.contains("line 1: node: ") && text.contains("line 2: admin: "), "{text}");
}
