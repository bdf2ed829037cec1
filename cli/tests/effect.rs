//! `apply --wait`, `status <object>`, `get -w`, and a proxy that falls silent, over real processes.
use std::{
    path::Path,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use weft_harness::{
    Application, Connection, DEADLINE, Mesh, Plan, Sidecar, eventually,
    objects::{HTTP, open_service, service},
    process,
};

const WEFT: &str = env!("CARGO_BIN_EXE_weft");

/// What is called, and what nobody calls.
fn objects() -> String {
    open_service("stock", "stock", &[HTTP]) + &service("idle", "idle", &[HTTP])
}

fn policy(timeout: &str) -> String {
    format!(
        "
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {{ name: stock, namespace: shop }}
spec:
  targetRefs: [{{ group: \"\", kind: Service, name: stock }}]
  timeouts: {{request: {timeout}}}
"
    )
}

async fn weft(mesh: &Mesh, line: &str, input: &str) -> Output {
    let mut command = Command::new(WEFT);
    command.args(line.split_whitespace()).env("WEFT_CONTEXT", mesh.folder().join("context.json"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input closes it.
    let _closed = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap()
}

async fn said(mesh: &Mesh, line: &str, input: &str) -> String {
    let output = weft(mesh, line, input).await;
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A sidecar in a process of its own that is known to have everything in effect.
async fn caller(mesh: &Mesh, workload: &str) -> process::Sidecar {
    let started = mesh.start_process(&Plan::new(workload, "web")).await.unwrap();
    eventually("the sidecar to have everything in effect", async || {
        let items = mesh.client().workloads().await.unwrap().items;
        items.iter().any(|item| item.name == workload && item.connected && item.in_effect).then_some(())
    })
    .await;
    started
}

async fn ask(caller: &process::Sidecar) {
    let mut connection = Connection::open(caller.outbound().unwrap()).await.unwrap();
    assert_eq!(connection.get("stock", "/", &[]).await.unwrap().status, 200);
}

async fn opened() -> (Mesh, Application, Sidecar) {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(&objects()).await.unwrap();
    let application = Application::http("stock").await;
    let stock = Plan::new("stock-0", "stock").application("http", application.address);
    let stock = Sidecar::start(&mesh, stock).await.unwrap();
    (mesh, application, stock)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_proxy_is_named_within_two_seconds_and_apply_waits_for_it_in_vain_until_it_lives() {
    let (mesh, _application, _stock) = opened().await;
    let (one, other) = (caller(&mesh, "web-0").await, caller(&mesh, "web-1").await);
    ask(&one).await;
    ask(&other).await;
    let waited = said(&mesh, "apply -f - --wait=20s", &policy("3s")).await;
    assert!(waited.contains("TrafficPolicy shop/stock in effect on 2 of 2 proxies"), "{waited}");

    other.pause().unwrap();
    let stopped = Instant::now();
    let silent = eventually("the silent proxy to be named", async || {
        let items = mesh.client().workloads().await.unwrap().items;
        items.into_iter().find(|item| item.name == "web-1")?.silent_ms
    })
    .await;
    // By the control plane's own clock; a loaded machine takes its time to ask and to answer.
    assert!(silent < 2_000, "it was silent for {silent} ms when it was first named");
    assert!(stopped.elapsed() < Duration::from_secs(5), "it took {:?}", stopped.elapsed());
    assert!(mesh.client().status().await.unwrap().silent.iter().any(|workload| workload == "shop/web-1"));
    let glance = said(&mesh, "status", "").await;
    assert!(glance.contains("silent         shop/web-1"), "{glance}");
    let workloads = said(&mesh, "get workloads", "").await;
    let row = workloads.lines().find(|line| line.contains("web-1")).unwrap();
    assert!(row.contains("silent for "), "{workloads}");
    let json: Value = serde_json::from_str(&said(&mesh, "get workloads -o json", "").await).unwrap();
    let items = json["items"].as_array().unwrap();
    assert!(items.iter().any(|item| item["name"] == "web-1" && item["silentMs"].as_u64() >= Some(1_500)), "{json}");

    let output = weft(&mesh, "apply -f - --wait=3s", &policy("4s")).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    for part in ["after 3s", "TrafficPolicy shop/stock: 1 of 2", "shop/web-1 waits for", "silent for", "hint: "] {
        assert!(error.contains(part), "{part:?} is not in\n{error}");
    }
    assert!(!error.contains("shop/web-0"), "{error}");
    let status = said(&mesh, "status TrafficPolicy shop/stock", "").await;
    for part in ["on 1 of 2 proxies", "slowest     shop/web-1, waits for", "silent for"] {
        assert!(status.contains(part), "{part:?} is not in\n{status}");
    }

    other.resume().unwrap();
    let waited: Value =
        serde_json::from_str(&said(&mesh, "apply -f - --wait=20s -o json", &policy("4s")).await).unwrap();
    assert_eq!((&waited["inEffect"], &waited["items"][0]["effective"]), (&Value::Bool(true), &Value::from(2)));
    assert_eq!(waited["changes"][0]["change"], "unchanged");
    let json: Value =
        serde_json::from_str(&said(&mesh, "status trafficpolicy stock -n shop -o json", "").await).unwrap();
    assert_eq!((&json["state"], &json["proxies"]), (&Value::from("inEffect"), &Value::from(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_no_proxy_uses_says_so_and_is_not_waited_for() {
    let (mesh, _application, _stock) = opened().await;
    let waited = said(&mesh, "apply -f - --wait", &objects()).await;
    assert!(waited.contains("Service shop/idle: no proxy uses it yet"), "{waited}");
    let status = said(&mesh, "status service shop/idle", "").await;
    assert!(status.contains("no proxy uses it") && !status.contains("0 of 0"), "{status}");
    let table = said(&mesh, "get services", "").await;
    assert!(table.contains("IN EFFECT") && table.contains("no proxy uses it"), "{table}");
    let glance = said(&mesh, "status", "").await;
    assert!(glance.contains("1 used by no proxy"), "{glance}");
    let output = weft(&mesh, "status service shop/nobody", "").await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && error.contains("there is no Service shop/nobody"), "{error}");
    // Programs read the same as ever: the object in its Kubernetes form.
    let json: Value = serde_json::from_str(&said(&mesh, "get service idle -n shop -o json", "").await).unwrap();
    assert_eq!((&json["kind"], json.as_object().unwrap().len()), (&Value::from("Service"), 4));
}

struct Watch {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(context: &Path, line: &str) -> Self {
        let mut command = Command::new(WEFT);
        command.args(line.split_whitespace()).env("WEFT_CONTEXT", context).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, lines }
    }

    async fn until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let found = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("the watch goes on");
                if wanted(&line) {
                    return line;
                }
            }
        };
        timeout(DEADLINE, found).await.expect("the line came")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_what_there_is_and_then_each_change_of_objects_and_their_status() {
    let (mesh, _application, _stock) = opened().await;
    let context = mesh.folder().join("context.json");
    let mut json = Watch::start(&context, "get all -n shop -w -o json");
    let mut table = Watch::start(&context, "get trafficpolicies -w");
    let mut workloads = Watch::start(&context, "get workloads -w");
    json.until(|line| line.contains("Service shop/idle")).await;
    table.until(|line| line.starts_with("EVENT")).await;
    workloads.until(|line| line.contains("shop/stock-0") && line.starts_with("added")).await;

    mesh.apply(&policy("3s")).await.unwrap();
    let event = json.until(|line| line.contains("\"TrafficPolicy shop/stock\"")).await;
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_eq!((&event["event"], &event["status"]["state"]), (&"added".into(), &"unused".into()));
    assert_eq!(event["item"]["object"]["spec"]["timeouts"]["request"], "3s");
    table.until(|line| line.starts_with("added") && line.contains("no proxy uses it")).await;

    let web = Sidecar::start(&mesh, Plan::new("web-0", "web")).await.unwrap();
    workloads.until(|line| line.contains("shop/web-0") && line.starts_with("added")).await;
    web.connect().await.unwrap().get("stock", "/", &[]).await.unwrap();
    let of_policy = |line: &str| line.contains("\"TrafficPolicy shop/stock\"") && line.contains("\"inEffect\"");
    let event: Value = serde_json::from_str(&json.until(of_policy).await).unwrap();
    assert_eq!((&event["event"], &event["status"]["effective"]), (&"status".into(), &1.into()));
    table.until(|line| line.starts_with("status") && line.contains("1 of 1")).await;

    mesh.client().delete("TrafficPolicy", "shop", "stock").await.unwrap();
    let event: Value = serde_json::from_str(&json.until(|line| line.contains("\"deleted\"")).await).unwrap();
    assert_eq!(event["name"], "TrafficPolicy shop/stock");
    table.until(|line| line.starts_with("deleted") && line.contains("TrafficPolicy shop/stock")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_are_listed_by_resource_and_proxy_and_confirmed_by_a_person_or_with_yes_alone() {
    let (mut mesh, _application, _stock) = opened().await;
    let web = caller(&mesh, "web-0").await;
    ask(&web).await;
    mesh.stop_control_plane().await;
    mesh.empty_store().await.unwrap();
    mesh.start_control_plane().await.unwrap();
    let (host, epoch) = ("outbound/stock.shop.svc.cluster.local", eventually_held(&mesh).await);

    // Without a terminal nobody can be asked: it lists, and confirms nothing.
    let unasked = weft(&mesh, "confirm-removals", "y\n").await;
    let (listed, why) = (String::from_utf8(unasked.stdout).unwrap(), String::from_utf8(unasked.stderr).unwrap());
    assert_eq!(unasked.status.code(), Some(1), "{listed}{why}");
    assert!(why.contains("standard input is not a terminal") && why.contains("--yes"), "{why}");
    let named = |line: &&str| line.contains("virtual host") && line.contains(host) && line.contains("shop/web-0");
    assert!(listed.lines().any(|line| named(&line)), "{listed}");
    let part = |line: &str| line.contains("inbound/shop/stock-0 (the service port local/shop/stock:80)");
    assert!(listed.lines().any(part), "{listed}");
    assert!(listed.contains("these proxies hold to another history") && listed.contains("another epoch"), "{listed}");
    // A program reads the same, and confirms nothing by that.
    let json: Value = serde_json::from_str(&said(&mesh, "confirm-removals -o json", "").await).unwrap();
    assert_eq!(json["epoch"], Value::from(epoch.as_str()), "{json}");
    let items = json["items"].as_array().unwrap();
    assert!(items.iter().any(|it| it["name"] == host && it["proxies"] == serde_json::json!(["shop/web-0"])), "{json}");
    ask(&web).await;
    eventually_held(&mesh).await;

    let said = said(&mesh, "confirm-removals --yes", "").await;
    assert!(said.contains(host) && said.contains(&format!("confirmed for epoch {epoch}")), "{said}");
    eventually("what was confirmed to go", async || {
        let mut connection = Connection::open(web.outbound().unwrap()).await.unwrap();
        (connection.get("stock", "/", &[]).await.unwrap().status != 200).then_some(())
    })
    .await;
}

/// Waits until the proxies of both workloads keep what the store does not have; the store's epoch.
async fn eventually_held(mesh: &Mesh) -> String {
    eventually("removals to be held", async || {
        let removals = mesh.client().removals().await.ok()?;
        let from = |name: &str| removals.items.iter().any(|it| it.name.contains(name));
        (from("outbound/stock") && from("inbound/shop/stock-0")).then_some(removals.epoch.clone())
    })
    .await
}
