//! What is asked of proxies through the control plane, against a whole mesh: `explain`, `get refusals`, `proxy-config`.
use std::process::{Command, Output};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weft_harness::{
    Application, Mesh, Plan, Sidecar, eventually,
    objects::{HTTP, TCP, open_service},
};

/// Opens the service to all and closes it to one, for good.
const FREEZE: &str = "\
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: everybody, namespace: shop }
spec:
  targetRefs: [{ group: \"\", kind: Service, name: stock }]
  rules: [{ action: Allow, from: [{ namespace: shop }] }]
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: freeze, namespace: shop }
spec:
  targetRefs: [{ group: \"\", kind: Service, name: stock }]
  rules:
    - action: Deny
      from: [{ namespace: shop, account: intruder }]
    - name: no-writes
      action: Deny
      from: [{ anyone: true }]
      matches: [{ methods: [POST, PUT, DELETE] }]
";

async fn weft(mesh: &Mesh, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(arguments).arg("--context").arg(mesh.folder().join("context.json"));
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Standard output of a call that must succeed.
async fn said(mesh: &Mesh, arguments: &[&str]) -> String {
    let output = weft(mesh, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_403_is_explained_by_its_policy_with_file_and_line_and_what_to_do() {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(&open_service("stock", "stock", &[HTTP])).await.unwrap();
    let application = Application::http("stock").await;
    let plan = Plan::new("stock-0", "stock").application("http", application.address);
    let _stock = Sidecar::start(&mesh, plan).await.unwrap();
    let intruder = Sidecar::start(&mesh, Plan::new("intruder-0", "intruder")).await.unwrap();
    let reply = intruder.connect().await.unwrap().get("stock", "/", &[]).await.unwrap();
    assert_eq!(reply.status, 403, "{}", reply.text());
    let id = reply.header("x-weft-decision").unwrap();

    let text = said(&mesh, &["explain", id]).await;
    for expected in [
        "denied (403) at the stage permit",
        "the proxy of shop/stock-0, inbound",
        "spiffe://weft.local/ns/shop/sa/intruder",
        "AccessPolicy shop/stock (test.yaml:4)",
        "Service shop/stock (test.yaml:1)",
        "add a rule",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    let json: Value = serde_json::from_str(&said(&mesh, &["explain", id, "-o", "json"]).await).unwrap();
    assert_eq!((&json["workload"], &json["record"]["id"]), (&Value::from("shop/stock-0"), &Value::from(id)));
    let listed = said(&mesh, &["get", "refusals", "shop/stock-0"]).await;
    assert!(listed.contains(id) && listed.contains("denied"), "{listed}");

    for gone in ["stock-0.other.0.1", "nobody.other.0.1"] {
        let output = weft(&mesh, &["explain", gone]).await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains("record gone"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_403_by_a_denying_rule_is_explained_by_that_rule_and_by_where_it_was_written() {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(&open_service("stock", "stock", &[HTTP])).await.unwrap();
    mesh.apply(FREEZE).await.unwrap();
    let application = Application::http("stock").await;
    let plan = Plan::new("stock-0", "stock").application("http", application.address);
    let _stock = Sidecar::start(&mesh, plan).await.unwrap();
    let intruder = Sidecar::start(&mesh, Plan::new("intruder-0", "intruder")).await.unwrap();
    let reply = intruder.connect().await.unwrap().get("stock", "/", &[]).await.unwrap();
    assert_eq!(reply.status, 403, "{}", reply.text());
    let text = said(&mesh, &["explain", reply.header("x-weft-decision").unwrap()]).await;
    let rule = text.lines().find_map(|line| line.strip_prefix("rule ")).unwrap_or_default().trim();
    assert_eq!(rule, "AccessPolicy shop/freeze rule 0", "{text}");
    for expected in
        ["denied (403) at the stage permit", "AccessPolicy shop/freeze (test.yaml:8), rule 0 (test.yaml:14)"]
    {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    // A rule about requests is named with its name and line too.
    let web = Sidecar::start(&mesh, Plan::new("web-0", "web")).await.unwrap();
    let mut connection = web.connect().await.unwrap();
    assert_eq!(connection.get("stock", "/", &[]).await.unwrap().status, 200);
    connection.send(b"PUT / HTTP/1.1\r\nHost: stock\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let reply = connection.receive().await.unwrap();
    assert_eq!(reply.status, 403, "{}", reply.text());
    let text = said(&mesh, &["explain", reply.header("x-weft-decision").unwrap()]).await;
    let named = "AccessPolicy shop/freeze (test.yaml:8), rule 1 \"no-writes\" (test.yaml:16)";
    for expected in [named, "PUT /", "rule        AccessPolicy shop/freeze rule 1"] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

/// The id of the record of that outcome in a sidecar's own access log, once it is there.
async fn logged(sidecar: &Sidecar, outcome: &str) -> String {
    eventually("the record", async || {
        let records = sidecar.access_log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let record = records.into_iter().find(|record| record["outcome"] == outcome)?;
        assert_eq!(record["protocol"], "tcp", "{record}");
        Some(record["id"].as_str()?.to_owned())
    })
    .await
}

/// Who is refused a connection is told nothing: the called workload's log and its list of refusals have the id.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_explained_by_the_id_in_the_log_and_in_the_list_of_refusals() {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(&open_service("ledger", "ledger", &[TCP])).await.unwrap();
    let application = Application::echo("hello\n").await;
    let plan = Plan::new("ledger-0", "ledger").application("tcp", application.address);
    let ledger = Sidecar::start(&mesh, plan).await.unwrap();
    let intruder = Plan::new("intruder-0", "intruder").calls("shop/ledger:9000");
    let intruder = Sidecar::start(&mesh, intruder).await.unwrap();
    for address in [ledger.bound.inbound.unwrap(), intruder.tcp("shop/ledger:9000").unwrap()] {
        // The reset may come in place of an answer, before the bytes are written, or before the connection is looked at.
        let Ok(mut stream) = TcpStream::connect(address).await else { continue };
        let _reset = stream.write_all(b"hello").await;
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{answer:?}");
    }
    let policy = "AccessPolicy shop/ledger (test.yaml:4)";
    for (outcome, expected) in [
        ("plaintext", &["plaintext at the stage detect", "not mesh TLS"][..]),
        ("denied", &["denied at the stage permit", "spiffe://weft.local/ns/shop/sa/intruder", policy][..]),
    ] {
        let id = logged(&ledger, outcome).await;
        assert!(id.starts_with("ledger-0."), "{id}");
        let listed = said(&mesh, &["get", "refusals", "shop/ledger-0"]).await;
        let row = listed.lines().find(|line| line.contains(&id)).unwrap_or_else(|| panic!("no {id} in\n{listed}"));
        assert!(row.contains(outcome), "{listed}");
        let text = said(&mesh, &["explain", &id]).await;
        for expected in [&["the proxy of shop/ledger-0, inbound"][..], expected].concat() {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_has_in_effect_is_shown_in_lines_that_a_person_can_read() {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(&open_service("stock", "stock", &[HTTP])).await.unwrap();
    let application = Application::http("stock").await;
    let plan = Plan::new("stock-0", "stock").application("http", application.address);
    let _stock = Sidecar::start(&mesh, plan).await.unwrap();
    let web = Sidecar::start(&mesh, Plan::new("web-0", "web")).await.unwrap();
    let reply = web.connect().await.unwrap().get("stock", "/", &[]).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    for (part, workload, expected) in [
        ("listeners", "shop/stock-0", "local/shop/stock:80 (http) to port"),
        ("listeners", "shop/stock-0", "AccessPolicy shop/stock"),
        ("routes", "shop/web-0", "prefix / -> local/shop/stock:80"),
        ("clusters", "shop/web-0", "http, RoundRobin, server name 80.stock.shop.mesh.weft.local"),
        ("endpoints", "shop/web-0", "shop/stock-0 at 127.0.0.1:"),
        ("secrets", "shop/web-0", "spiffe://weft.local/ns/shop/sa/web"),
        ("secrets", "shop/web-0", "signerSha256: "),
        ("all", "shop/web-0", "outbound/stock.shop.svc.cluster.local"),
    ] {
        let text = said(&mesh, &["proxy-config", part, workload]).await;
        assert!(text.contains(expected), "{part} of {workload}: {expected:?} is not in\n{text}");
        assert!(!text.contains("PRIVATE"), "{text}");
        let json = said(&mesh, &["proxy-config", part, workload, "-o", "json"]).await;
        serde_json::from_str::<Value>(&json).unwrap();
    }
}
