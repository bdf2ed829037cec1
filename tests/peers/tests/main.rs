//! Other people's gRPC at both ends: a client and a server of gRPC's own Python implementation, each beside a sidecar.
mod process;

use weft_harness::{Mesh, Plan, Sidecar, eventually};

use process::{Client, Server};

const OBJECTS: &str = r#"
{ apiVersion: v1, kind: Service, metadata: { name: echo, namespace: shop },
  spec: { selector: { app: echo }, ports: [{ name: calls, port: 50051, targetPort: calls, appProtocol: grpc }] } }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: echo, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: echo }]
  rules: [{ action: Allow, from: [{ namespace: shop, account: web }] }]
"#;

/// `echo` as often as asked, and `web` that calls it.
struct Shop {
    mesh: Mesh,
    instances: Vec<(Server, Sidecar)>,
    web: Sidecar,
}

impl Shop {
    async fn open(instances: usize) -> Self {
        let mesh = Mesh::start().await.unwrap();
        mesh.apply(OBJECTS).await.unwrap();
        let mut shop = Vec::new();
        for number in 0..instances {
            let server = Server::start().await;
            let plan = Plan::new(&format!("echo-{number}"), "echo").application("calls", server.address);
            let sidecar = Sidecar::start(&mesh, plan).await.unwrap();
            shop.push((server, sidecar));
        }
        let web = Sidecar::start(&mesh, Plan::new("web-0", "web")).await.unwrap();
        Self { mesh, instances: shop, web }
    }

    /// Has the client go through a case of `client.py`, from its first line to its last.
    async fn passes(&self, case: &str) {
        Client::start(&self.web, case).passes().await;
    }
}

#[tokio::test]
async fn calls_of_every_shape_come_through_with_metadata_and_trailers() {
    Shop::open(1).await.passes("shapes").await;
}

#[tokio::test]
async fn messages_of_a_mebibyte_come_through_plain_and_compressed() {
    Shop::open(1).await.passes("large").await;
}

#[tokio::test]
async fn every_status_comes_through_with_its_text_in_the_head_alone_and_behind_a_message() {
    Shop::open(1).await.passes("statuses").await;
}

#[tokio::test]
async fn a_client_that_cancels_ends_its_servers_work() {
    let mut shop = Shop::open(1).await;
    shop.passes("cancels").await;
    shop.instances[0].0.says("cancelled").await;
}

#[tokio::test]
async fn a_server_that_cancels_ends_its_clients_call() {
    Shop::open(1).await.passes("is_cancelled").await;
}

#[tokio::test]
async fn a_deadline_reaches_the_server_and_ends_its_work_when_it_is_over() {
    let mut shop = Shop::open(1).await;
    shop.passes("deadline").await;
    shop.instances[0].0.says("cancelled").await;
}

#[tokio::test]
async fn a_refusal_is_a_status_with_its_reason() {
    let shop = Shop::open(1).await;
    let stranger = Sidecar::start(&shop.mesh, Plan::new("stranger-0", "stranger")).await.unwrap();
    Client::start(&stranger, "refused").passes().await;
}

/// The answer was begun: its head can say nothing any more.
#[tokio::test]
async fn a_server_that_dies_leaves_its_clients_with_the_status_unavailable() {
    let mut shop = Shop::open(1).await;
    let mut client = Client::start(&shop.web, "loses_its_server");
    client.says("waiting").await;
    let (server, _sidecar) = shop.instances.remove(0);
    server.kill().await;
    client.passes().await;
}

#[tokio::test]
async fn a_sidecar_that_drains_costs_no_call_long_or_short() {
    let shop = Shop::open(2).await;
    let mut client = Client::start(&shop.web, "goes_on");
    client.says("begun").await;
    let leaves = &shop.instances[0].1.proxy;
    leaves.drain();
    let before = shop.web.access_log().len();
    eventually("calls beside the draining", async || (shop.web.access_log().len() > before + 50).then_some(())).await;
    client.tell().await;
    client.passes().await;
    eventually("the end of the drain", async || leaves.is_stopped().then_some(())).await;
}

#[tokio::test]
async fn a_call_is_finished_although_its_own_sidecar_has_said_goaway() {
    let shop = Shop::open(1).await;
    let mut client = Client::start(&shop.web, "finishes");
    client.says("begun").await;
    shop.web.proxy.drain();
    client.tell().await;
    client.passes().await;
    eventually("the end of the drain", async || shop.web.proxy.is_stopped().then_some(())).await;
}
