//! Proxy processes that start while there is no control plane, from what their state directories keep.
use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use weft_harness::{
    Application, Connection, Mesh, Plan, echoed, eventually,
    objects::{HTTP, TCP, open_service},
    process,
};

/// Status and text of `/ready`.
async fn ready(sidecar: &process::Sidecar) -> Option<(u16, String)> {
    let mut status = Connection::open(sidecar.status().unwrap()).await.ok()?;
    let reply = status.get("sidecar", "/ready", &[]).await.ok()?;
    Some((reply.status, reply.text()))
}

/// The first answer of 200 by which `web` is found to serve.
async fn answered(web: &process::Sidecar) -> String {
    eventually("a request", async || {
        let mut connection = Connection::open(web.outbound().unwrap()).await.ok()?;
        let reply = connection.get("stock", "/", &[]).await.ok()?;
        (reply.status == 200).then(|| reply.text())
    })
    .await
}

/// The first TCP connection of `web` that returns what it is sent.
async fn streamed(web: &process::Sidecar) -> Vec<u8> {
    let address = web.tcp("shop/stock:9000").unwrap();
    eventually("a stream", async || {
        let answer = echoed(address, b"any?\n").await.ok();
        answer.filter(|it| it.ends_with(b"any?\n"))
    })
    .await
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_proxy_processes_without_a_control_plane_carry_http_and_tcp_within_two_seconds_of_their_start() {
    let mut mesh = Mesh::start().await.unwrap();
    mesh.apply(&open_service("stock", "stock", &[HTTP, TCP])).await.unwrap();
    let (http, tcp) = (Application::http("in stock").await, Application::echo("hello\n").await);
    let plan = Plan::new("stock-0", "stock").application("http", http.address).application("tcp", tcp.address);

    // With a control plane: hosts are asked for on first use, and what is in effect is kept.
    let mut stock = mesh.start_process(&plan).await.unwrap();
    let mut web = mesh.start_process(&Plan::new("web-0", "web").calls("shop/stock:9000")).await.unwrap();
    answered(&web).await;
    streamed(&web).await;
    // Two writes in a row are half a second apart: no change of size in between means that all is written.
    let kept = [&stock, &web].map(|sidecar| sidecar.state.join("last-good.kept"));
    let mut sizes = [0; 2];
    eventually("everything to be kept", async || {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let now = [size(&kept[0]), size(&kept[1])];
        let settled = now == sizes && now.iter().all(|size| *size > 0);
        sizes = now;
        settled.then_some(())
    })
    .await;
    mesh.stop_control_plane().await;
    stock.kill().await.unwrap();
    web.kill().await.unwrap();

    // Without one.
    let start = Instant::now();
    stock.launch().await.unwrap();
    web.launch().await.unwrap();
    let text = answered(&web).await;
    let stream = streamed(&web).await;
    let took = start.elapsed();
    assert_eq!((&*text, &*stream), ("in stock", &b"hello\nany?\n"[..]));
    assert!(took < Duration::from_secs(2), "{took:?}");
    for sidecar in [&stock, &web] {
        let (code, text) = ready(sidecar).await.unwrap();
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
