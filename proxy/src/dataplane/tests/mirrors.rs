//! Copies of requests: what mirrors get, and that nobody else feels them.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, time::timeout};
use weft_ir::{Mirror, Resource, VirtualHost};
use weft_model::Protocol;

use super::mesh::{Mesh, PATIENCE, Peer, Side, identity, inbound, outbound, service, snapshot};

pub(super) const ALL: u32 = 1_000_000;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: reviews\r\n\r\n";

/// A mesh whose route has a mirror.
pub(super) struct Mirrored {
    pub(super) mesh: Mesh,
    /// The mirror's sidecar, and the application behind it.
    side: Side,
    pub(super) mirror: TcpListener,
}

impl Mirrored {
    pub(super) async fn start(protocol: Protocol, per_million: u32) -> Self {
        let mesh = Mesh::start(protocol, Some(&["web"]), None).await;
        let mirror = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let side = Side::start("mirror", |_| {}).with_identity(&mesh.authority, "copies");
        let address = mirror.local_addr().unwrap();
        side.dataplane.publish(snapshot([inbound("copies:80", protocol, address, Some(&["web"]))]));
        let mirrored = Self { mesh, side, mirror };
        mirrored.lead_to(protocol, mirrored.side.inbound(), per_million);
        mirrored
    }

    /// Has the mirror be there.
    fn lead_to(&self, protocol: Protocol, address: SocketAddr, per_million: u32) {
        let server = [(self.mesh.server.inbound(), identity("reviews"))];
        let mut resources = outbound("reviews:80", protocol, None, &server);
        let mirror = Mirror { cluster: service("copies:80").into(), per_million };
        let copied = |host: &mut Arc<VirtualHost>| Arc::make_mut(host).routes[0].mirrors.push(mirror.clone());
        resources.iter_mut().for_each(|resource| {
            if let Resource::VirtualHost(host) = resource {
                copied(host);
            }
        });
        resources.extend(outbound("copies:80", protocol, None, &[(address, identity("copies"))]));
        self.mesh.web.dataplane.publish(snapshot(resources));
    }

    /// The mirror's next connection.
    async fn accept(&self) -> Peer {
        let (stream, _) = timeout(PATIENCE, self.mirror.accept()).await.expect("no copy comes").unwrap();
        Peer::over(stream)
    }

    /// Answers everything with 200 where requests are to go.
    async fn serve(&self) {
        let mut app = self.mesh.accept().await;
        tokio::spawn(async move {
            while app.request().await.is_some() {
                app.send(OK).await;
            }
        });
    }

    /// The records of the caller's side: of requests, and of copies.
    pub(super) async fn records(&self, count: usize) -> (Vec<serde_json::Value>, Vec<serde_json::Value>) {
        let records = self.mesh.web.log.records(count).await;
        records.into_iter().partition(|record| record.get("mirrorOf").is_none())
    }
}

#[tokio::test]
async fn a_mirror_gets_the_whole_request_and_only_the_original_is_answered() {
    let mirrored = Mirrored::start(Protocol::Http, ALL).await;
    let mut client = mirrored.mesh.client().await;
    let body = "0123456789abcdef".repeat(20_000);
    let head = format!("POST /a?b=c HTTP/1.1\r\nHost: reviews\r\nContent-Length: {}\r\nX-A: b\r\n\r\n", body.len());
    client.send(format!("{head}{}", &body[..1000])).await;
    let (mut app, mut copy) = (mirrored.mesh.accept().await, mirrored.accept().await);
    client.send(&body[1000..]).await;
    let (original, its_body) = app.request().await.unwrap();
    let (copied, copied_body) = timeout(PATIENCE, copy.request()).await.unwrap().unwrap();
    assert!(its_body == body.as_bytes() && copied_body == body.as_bytes(), "a body is not whole");
    app.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
    copy.send("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nother").await;
    let (requests, copies) = mirrored.records(2).await;
    let id = requests[0]["id"].as_str().unwrap();
    let added = format!("x-weft-mirror: {id}\r\n");
    // But for the line that says so, and each sidecar's own span.
    let plain = |head: &str| -> Vec<String> {
        let spans = |line: &&str| !line.starts_with("traceparent: ");
        head.replace(&added, "").split_inclusive("\r\n").filter(spans).map(str::to_owned).collect()
    };
    assert!(copied.contains(&added) && plain(&copied) == plain(&original), "{copied} copies {original}");
    assert_eq!((&requests[0]["status"], &requests[0]["mirrors"]), (&200.into(), &1.into()));
    assert_eq!((&copies[0]["mirrorOf"], &copies[0]["outcome"]), (&id.into(), &"complete".into()));
    assert_eq!((&copies[0]["status"], &copies[0]["received"]), (&201.into(), &5.into()));
    assert_eq!(
        (&copies[0]["destination"], &copies[0]["split"]),
        (&"local/shop/copies:80".into(), &requests[0]["split"])
    );
    assert_eq!(mirrored.side.log.records(1).await[0]["mirrorOf"], id);
    let web = &mirrored.mesh.web;
    web.has_metric("weft_mirrored_requests_total{outcome=\"answered\"} 1").await;
    assert!(!web.dataplane.metrics().contains("shop/copies"), "a copy counts for an edge: {}", web.dataplane.metrics());
}

#[tokio::test]
async fn a_body_in_chunks_is_copied_with_its_trailers() {
    let mirrored = Mirrored::start(Protocol::Http, ALL).await;
    let mut client = mirrored.mesh.client().await;
    client.send("POST / HTTP/1.1\r\nHost: reviews\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    let (mut app, mut copy) = (mirrored.mesh.accept().await, mirrored.accept().await);
    app.until("3\r\nabc\r\n").await;
    copy.until("3\r\nabc\r\n").await;
    client.send("1\r\nd\r\n0\r\nX-Sum: 7\r\n\r\n").await;
    for peer in [&mut app, &mut copy] {
        assert_eq!(peer.until("\r\n\r\n").await, "1\r\nd\r\n0\r\nX-Sum: 7\r\n\r\n");
        peer.send(OK).await;
    }
    assert_eq!(client.answer().await.1, "ok");
    assert_eq!(mirrored.records(2).await.1[0]["outcome"], "complete");
}

#[tokio::test]
async fn a_mirror_that_is_dead_or_errs_changes_nothing_for_the_original() {
    let mirrored = Mirrored::start(Protocol::Http, ALL).await;
    let mut client = mirrored.mesh.client().await;
    client.send(GET).await;
    mirrored.serve().await;
    assert_eq!(client.answer().await.1, "ok");
    let mut copy = mirrored.accept().await;
    copy.request().await.unwrap();
    copy.send("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").await;
    let (_, copies) = mirrored.records(2).await;
    assert_eq!((&copies[0]["outcome"], &copies[0]["status"]), (&"complete".into(), &500.into()));
    // One that sends no HTTP, and one that is not there any more.
    assert_eq!(client.ask(GET).await.1, "ok");
    copy.request().await.unwrap();
    copy.send("\0\0\r\n\r\n").await;
    let (_, copies) = mirrored.records(4).await;
    assert_eq!((&copies[1]["outcome"], &copies[1]["status"]), (&"complete".into(), &502.into()));
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    mirrored.lead_to(Protocol::Http, gone, ALL);
    loop {
        assert_eq!(client.ask(GET).await.1, "ok");
        if mirrored.mesh.web.log.all().iter().any(|record| record["outcome"] == "connect-failed") {
            break;
        }
    }
    let failed = mirrored.mesh.web.log.all();
    assert!(
        failed.iter().filter(|record| record.get("mirrorOf").is_none()).all(|record| record["outcome"] == "complete")
    );
    mirrored.mesh.web.has_metric("weft_mirrored_requests_total{outcome=\"answered\"} 0").await;
}

#[tokio::test]
async fn a_mirror_that_does_not_read_is_given_up_and_the_body_goes_on() {
    let mirrored = Mirrored::start(Protocol::Http, ALL).await;
    let mut client = mirrored.mesh.client().await;
    let body = vec![b'x'; 32 * 1024 * 1024];
    client.send(format!("POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    let (mut app, copy) = (mirrored.mesh.accept().await, mirrored.accept().await);
    let length = body.len();
    let sending = tokio::spawn(async move {
        client.send(body).await;
        client.answer().await.1
    });
    assert_eq!(timeout(PATIENCE, app.request()).await.expect("the mirror slows it").unwrap().1.len(), length);
    app.send(OK).await;
    assert_eq!(sending.await.unwrap(), "ok");
    let (requests, copies) = mirrored.records(2).await;
    assert_eq!((&requests[0]["outcome"], &requests[0]["sent"]), (&"complete".into(), &length.into()));
    assert_eq!((&copies[0]["outcome"], &copies[0]["blame"]), (&"mirror-behind".into(), &"upstream".into()));
    drop(copy);
}

#[tokio::test]
async fn silent_mirrors_use_up_their_own_budget_and_nothing_else() {
    let mirrored = Mirrored::start(Protocol::Http, ALL).await;
    let mut client = mirrored.mesh.client().await;
    client.send(GET).await;
    mirrored.serve().await;
    assert_eq!(client.answer().await.1, "ok");
    // Whoever mirrors takes what comes, and answers nothing.
    for _ in 0..139 {
        assert_eq!(client.ask(GET).await.1, "ok");
    }
    let over = |record: &serde_json::Value| record["outcome"] == "mirror-budget";
    let records = mirrored.mesh.web.log.records(140 + 12).await;
    let (requests, copies): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.get("mirrorOf").is_none());
    assert!(copies.iter().all(|record| over(record)), "{copies:?}");
    assert!(requests.iter().all(|record| record["outcome"] == "complete"));
    assert_eq!((requests.len(), copies.len()), (140, 12), "128 at once");
}

#[tokio::test]
async fn what_its_client_does_not_finish_reaches_no_mirror_as_a_whole() {
    let mirrored = Mirrored::start(Protocol::Http, ALL).await;
    let mut client = mirrored.mesh.client().await;
    client.send("POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 100\r\n\r\nhalf").await;
    let (mut app, mut copy) = (mirrored.mesh.accept().await, mirrored.accept().await);
    app.until("half").await;
    copy.until("half").await;
    drop(client);
    assert!(copy.rest().await.is_empty() && app.rest().await.is_empty());
    let (requests, copies) = mirrored.records(2).await;
    assert_eq!((&requests[0]["outcome"], &copies[0]["outcome"]), (&"client-gone".into(), &"mirror-cut".into()));
}

#[tokio::test]
async fn a_mirror_gets_its_share() {
    let mirrored = Mirrored::start(Protocol::Http, 300_000).await;
    let mirror = mirrored.mirror;
    tokio::spawn(async move {
        while let Ok((stream, _)) = mirror.accept().await {
            tokio::spawn(async move {
                let mut peer = Peer::over(stream);
                while peer.request().await.is_some() {
                    peer.send(OK).await;
                }
            });
        }
    });
    let mut client = mirrored.mesh.client().await;
    client.send(GET).await;
    let mut app = mirrored.mesh.accept().await;
    tokio::spawn(async move {
        while app.request().await.is_some() {
            app.send(OK).await;
        }
    });
    assert_eq!(client.answer().await.1, "ok");
    for _ in 0..999 {
        assert_eq!(client.ask(GET).await.1, "ok");
    }
    let is_copy = |record: &serde_json::Value| record.get("mirrorOf").is_some();
    let waited = timeout(PATIENCE, async {
        loop {
            let records = mirrored.mesh.web.log.all();
            let copies = records.iter().filter(|record| is_copy(record)).count();
            let told = records.iter().filter_map(|record| record.get("mirrors")?.as_u64()).sum::<u64>();
            if records.len() == 1000 + copies && told == copies as u64 {
                return copies;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let copies = waited.await.expect("records are missing");
    // Seven standard deviations around 300.
    assert!((199..=401).contains(&copies), "{copies} of 1000");
}

#[tokio::test]
async fn tunnels_have_no_copies() {
    let mirrored = Mirrored::start(Protocol::Http, ALL).await;
    let mut client = mirrored.mesh.client().await;
    client.send("GET / HTTP/1.1\r\nHost: reviews\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n").await;
    let mut app = mirrored.mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
    let (requests, copies) = mirrored.records(1).await;
    assert_eq!((requests[0].get("mirrors"), copies.len()), (None, 0));
}
