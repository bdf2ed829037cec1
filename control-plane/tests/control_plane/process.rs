//! The binary.
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use weft_certs::join::Context;
use weft_control_plane::client::Client;
use weft_model::{Code, Owner, decode::decode};
use weft_store::{Change, Expected, Objects, Redb, Write};

/// Kills the child that a failed test leaves behind.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn command(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft-control-plane"));
    command.env_clear().stderr(Stdio::piped()).stdout(Stdio::piped());
    for (flag, value) in [("--dir", "store"), ("--sealing-key-file", "sealing.key"), ("--context-file", "context.json")]
    {
        command.arg(flag).arg(folder.path().join(value));
    }
    command
}

#[tokio::test]
async fn the_binary_prints_its_configuration_serves_and_stops_on_a_signal() {
    let folder = TempDir::new().unwrap();
    let mut child = Killed(command(&folder).args(["--grpc", "127.0.0.1:0", "--api", "127.0.0.1:0"]).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let mut line = |message: &str| -> Value {
        lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|line| line["fields"]["message"] == message)
            .unwrap_or_else(|| panic!("there is no line {message:?}"))
    };
    let configuration = line("configuration");
    assert_eq!(configuration["fields"]["trust_domain"], "weft.local");
    for (field, file) in [("context_file", "context.json"), ("sealing_key", "sealing.key")] {
        assert_eq!(configuration["fields"][field], folder.path().join(file).to_str().unwrap());
    }
    let ready = line("ready");
    let context = Context::load(&folder.path().join("context.json")).unwrap();
    assert_eq!(ready["fields"]["api"], context.address.as_str());
    let status = Client::new(context).unwrap().status().await.unwrap();
    assert_eq!(status.proxies.connected, 0);

    let pid = child.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(line("stopped")["level"], "INFO");
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn the_log_is_filtered_by_the_variable_that_weft_reads_everywhere() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("store"), "").unwrap();
    let log = |variable: &str| {
        let arguments = ["--grpc", "127.0.0.1:0", "--api", "127.0.0.1:0"];
        let output = command(&folder).args(arguments).env(variable, "error").output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!log("WEFT_LOG").contains("\"INFO\""));
    assert!(log("RUST_LOG").contains("\"INFO\""));
}

#[test]
fn the_binary_says_why_it_does_not_start() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("store"), "").unwrap();
    let mut child = command(&folder).args(["--grpc", "127.0.0.1:0", "--api", "127.0.0.1:0"]).spawn().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(text.contains("cannot be used"), "{text}");
}

const DANGLING: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: lost, namespace: shop}
spec:
  parentRefs: [{group: \"\", kind: Service, name: nowhere}]
  rules: [{backendRefs: [{name: nowhere, port: 80}]}]
";

/// As after a new version that finds more, or a copy put back in parts: the API would not have taken it so.
#[tokio::test]
async fn a_store_whose_objects_no_longer_verify_is_told_at_start_up_and_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let store = Redb::open(&folder.path().join("store")).unwrap();
    let (object, source) = decode("old.yaml", DANGLING).objects.remove(0);
    let put = Change::Put { object, source: Some(source), expected: Expected::Absent };
    store.write(Write { owner: Owner::api(), changes: vec![put], along: Vec::new() }).await.unwrap();
    store.close().await;
    drop(store);

    let mut child = Killed(command(&folder).args(["--grpc", "127.0.0.1:0", "--api", "127.0.0.1:0"]).spawn().unwrap());
    let lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let mut told = Vec::new();
    for line in lines {
        let message = line["fields"]["message"].as_str().unwrap().to_owned();
        match message.as_str() {
            "in the store" => told.push(line["fields"]["diagnostic"].as_str().unwrap().to_owned()),
            "ready" => break,
            _ => {}
        }
    }
    assert!(told.iter().any(|it| it.contains("old.yaml:2") && it.contains("nowhere")), "{told:?}");

    let client = Client::new(Context::load(&folder.path().join("context.json")).unwrap()).unwrap();
    let status = client.status().await.unwrap();
    assert_eq!(status.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), told);
    assert!(status.warnings.iter().all(|it| it.code == Code::DanglingReference && !it.is_error()), "{told:?}");
    assert_eq!(client.objects(None, None, None).await.unwrap().items.len(), 1);
    client.delete("HTTPRoute", "shop", "lost").await.unwrap();
    assert_eq!(client.status().await.unwrap().warnings, []);
}
