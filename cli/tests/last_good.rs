//! Proxy processes that start while there is no control plane, from what their state directories keep.
use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use weft_harness::{Application, Connection, Mesh, Plan, eventually};

const OBJECTS: &str = r#"
{ apiVersion: v1, kind: Service, metadata: { name: stock, namespace: shop },
  spec: { selector: { app: stock }, ports: [
    { name: http, port: 80, targetPort: http }, { name: tcp, port: 9000, targetPort: tcp }] } }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: stock, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: stock }]
  rules: [{ action: Allow, from: [{ namespace: shop, account: web }] }]
"#;

/// A proxy process; killed with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a proxy process is started with, again and again.
struct Machine {
    join: PathBuf,
    state: PathBuf,
    arguments: Vec<String>,
}

impl Machine {
    async fn new(mesh: &Mesh, plan: &Plan, arguments: &[&str]) -> Self {
        let join = mesh.join_file(plan).await.unwrap();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { join, state: mesh.folder().join(&plan.workload), arguments }
    }

    /// Starts the process where the inbound listener is at `inbound`, and waits until it has bound its listeners.
    async fn start(&self, inbound: &str) -> Process {
        let _ = fs::remove_file(self.state.join("listeners.json"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(["proxy", "run", "--join"]).arg(&self.join).arg("--state-dir").arg(&self.state);
        command.args(["--inbound", inbound, "--outbound", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process(command.spawn().unwrap());
        eventually("its listeners", async || self.listeners()).await;
        process
    }

    fn listeners(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.state.join("listeners.json")).ok()?).ok()
    }

    fn listener(&self, name: &str) -> SocketAddr {
        let listeners = self.listeners().unwrap();
        let address = &listeners[name];
        address.as_str().unwrap_or_else(|| panic!("{name} is not in {listeners}")).parse().unwrap()
    }

    /// Where it listens for the one TCP service that it calls.
    fn tcp(&self) -> SocketAddr {
        self.listeners().unwrap()["tcp"][0]["address"].as_str().unwrap().parse().unwrap()
    }

    /// Status and text of `/ready`.
    async fn ready(&self) -> Option<(u16, String)> {
        let mut status = Connection::open(self.listener("status")).await.ok()?;
        let reply = status.get("sidecar", "/ready", &[]).await.ok()?;
        Some((reply.status, reply.text()))
    }
}

/// What is echoed of a line over a TCP connection, after the server's own first word.
fn echoed(address: SocketAddr, line: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(line.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_proxy_processes_without_a_control_plane_carry_http_and_tcp_within_two_seconds_of_their_start() {
    let mut mesh = Mesh::start().await.unwrap();
    mesh.apply(OBJECTS).await.unwrap();
    let (http, tcp) = (Application::http("in stock").await, Application::echo("hello\n").await);
    let plan = Plan::new("stock-0", "stock");
    let applications = [format!("http={}", http.address), format!("tcp={}", tcp.address)];
    let arguments = ["--label", "app=stock", "--application", &applications[0], "--application", &applications[1]];
    let stock = Machine::new(&mesh, &plan, &[&["--workload", "stock-0"], &arguments[..]].concat()).await;
    let arguments = ["--workload", "web-0", "--label", "app=web", "--tcp", "shop/stock:9000=127.0.0.1:0"];
    let web = Machine::new(&mesh, &Plan::new("web-0", "web"), &arguments).await;

    // With a control plane: hosts are asked for on first use, and what is in effect is kept.
    let processes = (stock.start("127.0.0.1:0").await, web.start("none").await);
    eventually("a request", async || {
        let mut connection = Connection::open(web.listener("outbound")).await.ok()?;
        let reply = connection.get("stock", "/", &[]).await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await;
    let web_tcp = web.tcp();
    eventually("a stream", async || echoed(web_tcp, "any?\n").ok().filter(|it| it.ends_with("any?\n"))).await;
    // Two writes in a row are half a second apart: no change of size in between means that all is written.
    let kept = [&stock, &web].map(|machine| machine.state.join("last-good.kept"));
    let mut sizes = [0; 2];
    eventually("everything to be kept", async || {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let now = [size(&kept[0]), size(&kept[1])];
        let settled = now == sizes && now.iter().all(|size| *size > 0);
        sizes = now;
        settled.then_some(())
    })
    .await;
    let inbound = stock.listener("inbound").to_string();
    mesh.stop_control_plane().await;
    drop(processes);

    // Without one.
    let start = Instant::now();
    let _processes = (stock.start(&inbound).await, web.start("none").await);
    let text = eventually("a request", async || {
        let mut connection = Connection::open(web.listener("outbound")).await.ok()?;
        let reply = connection.get("stock", "/", &[]).await.ok()?;
        (reply.status == 200).then(|| reply.text())
    })
    .await;
    let web_tcp = web.tcp();
    let stream =
        eventually("a stream", async || echoed(web_tcp, "any?\n").ok().filter(|it| it.ends_with("any?\n"))).await;
    let took = start.elapsed();
    assert_eq!((text.as_str(), stream.as_str()), ("in stock", "hello\nany?\n"));
    assert!(took < Duration::from_secs(2), "{took:?}");
    for machine in [&stock, &web] {
        let (code, text) = machine.ready().await.unwrap();
        assert!(code == 200 && text.contains("serving the last good configuration, kept at 20"), "{text}");
    }

    // With one again: it is told how each of them started.
    mesh.start_control_plane().await.unwrap();
    eventually("both to be listed with their start", async || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.args(["get", "workloads", "--context"]).arg(mesh.folder().join("context.json"));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        (listed.contains("LAST GOOD") && listed.matches("s at start").count() == 2).then_some(())
    })
    .await;
}
