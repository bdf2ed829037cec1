//! Access by what a request asks for: judged by the called side, in the form in which it is forwarded.
use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use weft_ir::{HeaderMatch, RequestMatch, Resource};
use weft_model::{HttpMethod, PathMatch, Protocol, TextMatch};

use super::mesh::{Mesh, about, any_request, frozen, inbound, snapshot};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn below(path: &str) -> RequestMatch {
    RequestMatch { path: Some(PathMatch::Prefix(path.to_owned())), ..any_request() }
}

/// The listener of a mesh's server that lets `web` read books, unless the request says that it debugs.
pub(super) fn readers(mesh: &Mesh, protocol: Protocol) -> Resource {
    let open = inbound("reviews:80", protocol, mesh.application.local_addr().unwrap(), Some(&["web"]));
    let methods = ["GET", "HEAD"].map(|method| HttpMethod(method.to_owned())).to_vec();
    let hosts = vec!["reviews.shop.svc.cluster.local".parse().unwrap()];
    let reads = about(open, 0, vec![RequestMatch { methods, hosts, ..below("/books") }]);
    let debugs = HeaderMatch { name: "x-debug".to_owned(), value: TextMatch::Exact("1".to_owned()) };
    about(frozen(reads, "web"), 1, vec![RequestMatch { headers: vec![debugs], ..any_request() }])
}

#[tokio::test]
async fn a_request_is_permitted_by_method_path_host_and_header_as_it_is_forwarded() {
    let mesh = Mesh::http().await;
    mesh.server.dataplane.publish(snapshot([readers(&mesh, Protocol::Http)]));
    let mut client = mesh.client().await;
    client.send("GET /x/../books/1 HTTP/1.1\r\nHost: Reviews.shop\r\nX-Debug: 0\r\n\r\n").await;
    let mut app = mesh.accept().await;
    assert!(app.until("\r\n\r\n").await.starts_with("GET /books/1 HTTP/1.1\r\nHost: reviews.shop\r\n"));
    app.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");

    let other = "no rule allows spiffe://weft.local/ns/shop/sa/web to call shop/reviews by this request (other requests: \
                 AccessPolicy shop/callers rule 0), which AccessPolicy shop/callers, AccessPolicy shop/freeze selects\n";
    let denies = "AccessPolicy shop/freeze rule 1 denies spiffe://weft.local/ns/shop/sa/web to call shop/reviews, which \
                  AccessPolicy shop/callers, AccessPolicy shop/freeze selects\n";
    let denier = Some("AccessPolicy shop/freeze rule 1");
    for (request, told, rule) in [
        ("POST /books HTTP/1.1\r\nHost: reviews\r\nContent-Length: 0\r\n\r\n", other, None),
        ("GET /books/../keys HTTP/1.1\r\nHost: reviews\r\n\r\n", other, None),
        ("GET /bookshop HTTP/1.1\r\nHost: reviews\r\n\r\n", other, None),
        ("GET /books HTTP/1.1\r\nHost: reviews\r\nX-Debug: 1\r\n\r\n", denies, denier),
        ("GET /books HTTP/1.1\r\nHost: reviews\r\nx-debug: 0\r\nX-A: a\r\nX-DEBUG: 1\r\n\r\n", denies, denier),
        ("GET /books HTTP/1.1\r\nHost: reviews\r\nx-debug: 0, 1\r\n\r\n", denies, denier),
    ] {
        let (head, body) = client.ask(request).await;
        assert_eq!(body, told, "{request}");
        let record = mesh.server.refused(&head, 403).await;
        assert_eq!((&record["outcome"], &record["stage"]), (&"denied".into(), &"permit".into()), "{record}");
        assert_eq!(record["rule"].as_str(), rule, "{record}");
    }
    // Neither connection was ended for it, and the application saw nothing of it.
    client.send("GET /books HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    assert!(app.until("\r\n\r\n").await.starts_with("GET /books HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_tunnel_ends_when_a_rule_denies_the_request_that_opened_it() {
    let mesh = Mesh::http().await;
    let upgrade = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: reviews\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    };
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let mut ends = Vec::new();
    for path in ["/chat", "/news"] {
        let mut client = mesh.client().await;
        client.send(upgrade(path)).await;
        let mut app = mesh.accept().await;
        app.until("\r\n\r\n").await;
        app.send(switch).await;
        client.until("\r\n\r\n").await;
        ends.push((client, app));
    }
    let open = inbound("reviews:80", Protocol::Http, mesh.application.local_addr().unwrap(), Some(&["web"]));
    let narrowed = Instant::now();
    mesh.server.dataplane.publish(snapshot([about(frozen(open, "web"), 1, vec![below("/chat")])]));
    let [(_client, denied), (client, goes_on)] = &mut ends[..] else { panic!("two tunnels") };
    assert_eq!(denied.failure().await, Some(ErrorKind::ConnectionReset));
    assert!(narrowed.elapsed() < Duration::from_secs(1));
    let record = &mesh.server.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["rule"]), (&"denied".into(), &"AccessPolicy shop/freeze rule 1".into()));
    client.send("ping").await;
    goes_on.until("ping").await;
}
