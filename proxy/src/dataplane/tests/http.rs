//! HTTP/1.1 through both sidecars.
use std::sync::Arc;

use weft_ir::{HeaderMatch, Resource};
use weft_model::{PathMatch, Protocol, TextMatch};

use super::mesh::{Mesh, Peer, snapshot};

const GET: &str = "GET /a/./b?x=1 HTTP/1.1\r\nHost: reviews\r\nX-Case-Kept: Yes\r\n\r\n";

#[tokio::test]
async fn the_host_is_forwarded_in_its_normal_form_and_untouched_where_it_is_normal_already() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    let mut app = None;
    for (fields, seen) in [
        ("hOST:   reviews \r\nA: b\r\n", "hOST:   reviews \r\nA: b\r\n"),
        ("A: b\r\nHost: reviews.shop:80\r\n", "A: b\r\nHost: reviews.shop:80\r\n"),
        ("A: b\r\nhost: REVIEWS.\r\nC: d\r\n", "Host: reviews\r\nA: b\r\nC: d\r\n"),
        ("Host: Reviews.Shop.:80\r\n", "Host: reviews.shop:80\r\n"),
        ("Host: reviews:\r\nConnection: x\r\nX: y\r\nZ: z\r\n", "Host: reviews\r\nZ: z\r\n"),
    ] {
        client.send(format!("GET / HTTP/1.1\r\n{fields}\r\n")).await;
        if app.is_none() {
            app = Some(mesh.accept().await);
        }
        let app = app.as_mut().unwrap();
        assert_eq!(app.until("\r\n\r\n").await, format!("GET / HTTP/1.1\r\n{seen}\r\n"), "{fields}");
        app.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        client.answer().await;
    }
    // RFC 9112 §3.2.2: the target's host is the one that counts.
    client.send("GET http://Reviews.Shop./ HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    assert_eq!(app.unwrap().until("\r\n\r\n").await, "GET / HTTP/1.1\r\nHost: reviews.shop\r\n\r\n");
}

#[tokio::test]
async fn a_request_goes_through_both_proxies_with_names_case_kept_and_its_path_normalized() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send(GET).await;
    let mut app = mesh.accept().await;
    let seen = app.until("\r\n\r\n").await;
    assert_eq!(seen, "GET /a/b?x=1 HTTP/1.1\r\nHost: reviews\r\nX-Case-Kept: Yes\r\n\r\n");
    app.send("HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nX-Mixed-Case: 1\r\n\r\nhello").await;
    let (head, body) = client.answer().await;
    assert_eq!(head, "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nX-Mixed-Case: 1\r\n\r\n");
    assert_eq!(body, "hello");

    let out = &mesh.web.log.records(1).await[0];
    assert_eq!(out["id"], "web.abcde.0.1");
    assert_eq!(out["direction"], "outbound");
    assert_eq!(out["outcome"], "complete");
    assert_eq!(out["status"], 200);
    assert_eq!(out["destination"], "local/shop/reviews:80");
    assert_eq!(out["endpoint"], "shop/server-0");
    assert_eq!(out["path"], "/a/b");
    assert_eq!(out["revision"], "e1-7");
    assert_eq!(out["received"], 5);
    let inn = &mesh.server.log.records(1).await[0];
    assert_eq!(inn["caller"], "spiffe://weft.local/ns/shop/sa/web");
    assert_eq!(inn["rule"], "AccessPolicy shop/callers rule 0");
    assert_eq!(inn["outcome"], "complete");
}

#[tokio::test]
async fn connections_are_kept_alive_on_all_three_hops() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send(GET).await;
    let mut app = mesh.accept().await;
    for turn in 0..5 {
        if turn > 0 {
            client.send(GET).await;
        }
        app.until("\r\n\r\n").await;
        app.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{turn}")).await;
        assert_eq!(client.answer().await.1, turn.to_string());
    }
    // A record ends after its client has its answer.
    mesh.web.log.records(5).await;
    let metrics = mesh.web.dataplane.metrics();
    assert!(metrics.contains("weft_upstream_connections_total 1\n"), "{metrics}");
    assert!(metrics.contains("weft_upstream_reuses_total 4\n"), "{metrics}");
    let edges = mesh.web.dataplane.edges();
    assert_eq!((edges.len(), edges[0].requests, edges[0].status_classes[2]), (1, 5, 5));
    assert!(edges[0].latency_us_p50 > 0);
    assert!(mesh.web.dataplane.edges().is_empty());
}

#[tokio::test]
async fn a_second_client_uses_the_first_ones_upstream_connection() {
    let mesh = Mesh::http().await;
    let mut first = mesh.client().await;
    first.send(GET).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    first.until("\r\n\r\n").await;
    drop(first);
    let mut second = mesh.client().await;
    second.send(GET).await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    second.until("\r\n\r\n").await;
}

#[tokio::test]
async fn large_bodies_arrive_whole_both_ways_with_a_length() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    let expected = body.clone();
    let head =
        format!("POST /up HTTP/1.1\r\nHost: reviews\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let accept = async {
        let mut app = mesh.accept().await;
        let head = app.until("\r\n\r\n").await;
        assert!(head.contains("Content-Length: 3000000"), "{head}");
        let mut got = Vec::new();
        while got.len() < expected.len() {
            got.extend(app.until_any().await);
        }
        assert!(got == expected, "the body differs");
        app.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", got.len())).await;
        app.send(&got).await;
    };
    let ask = async {
        client.send(head).await;
        client.send(&body).await;
        let head = client.until("\r\n\r\n").await;
        assert!(head.contains("connection: close"), "{head}");
        client.rest().await
    };
    let ((), got) = tokio::join!(accept, ask);
    assert!(got == body, "the answer differs");
}

#[tokio::test]
async fn chunked_bodies_pass_with_their_trailers_and_without_extensions_or_forbidden_fields() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: reviews\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
             3;ext=1\r\nabc\r\n0\r\nX-Sum: 9\r\nContent-Length: 3\r\n\r\n",
        )
        .await;
    let mut app = mesh.accept().await;
    let seen = app.until("\r\n\r\n").await;
    assert!(seen.contains("Transfer-Encoding: chunked\r\n"), "{seen}");
    assert_eq!(app.until("\r\n\r\n").await, "3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n");
    app.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    app.send("5\r\nhello\r\n").await;
    assert!(client.until("\r\n\r\n").await.contains("transfer-encoding: chunked"));
    assert_eq!(client.until("hello\r\n").await, "5\r\nhello\r\n");
    app.send("0\r\nx-end: 1\r\n\r\n").await;
    assert_eq!(client.until("\r\n\r\n").await, "0\r\nx-end: 1\r\n\r\n");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    let request = |n: u32| format!("POST /{n} HTTP/1.1\r\nHost: reviews\r\nContent-Length: 2\r\n\r\nb{n}");
    client.send((1..=3).map(request).collect::<String>()).await;
    let mut app = mesh.accept().await;
    for n in 1..=3 {
        let head = app.until("\r\n\r\n").await;
        assert!(head.starts_with(&format!("POST /{n} ")), "{head}");
        assert_eq!(app.until(&format!("b{n}")).await.len(), 2);
        app.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}")).await;
    }
    for n in 1..=3 {
        assert_eq!(client.answer().await.1, n.to_string());
    }
}

#[tokio::test]
async fn interim_answers_pass_and_a_body_waits_for_its_100() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send("POST / HTTP/1.1\r\nHost: reviews\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    let mut app = mesh.accept().await;
    assert!(app.until("\r\n\r\n").await.contains("Expect: 100-continue"));
    app.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    app.until("body").await;
    app.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.answer().await.0.starts_with("HTTP/1.1 201 Created"));
}

#[tokio::test]
async fn an_answer_without_length_ends_with_the_connection() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send(GET).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    drop(app);
    let text = String::from_utf8(client.rest().await).unwrap();
    assert_eq!(text, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end");
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_chunked_answer_without_its_coding_and_a_close() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send("GET / HTTP/1.0\r\nHost: reviews\r\n\r\n").await;
    let mut app = mesh.accept().await;
    assert!(app.until("\r\n\r\n").await.starts_with("GET / HTTP/1.1\r\n"));
    app.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
    let text = String::from_utf8(client.rest().await).unwrap();
    assert_eq!(text, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabcde");
}

#[tokio::test]
async fn answers_to_head_have_no_body_whatever_their_length_says() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send("HEAD / HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").await;
    assert!(client.until("\r\n\r\n").await.contains("Content-Length: 100"));
    client.send(GET).await;
    app.until("\r\n\r\n").await;
    app.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n").await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 304"));
}

#[tokio::test]
async fn hop_by_hop_fields_and_our_own_from_outside_stop_here() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client
        .send(
            "GET / HTTP/1.1\r\nA: 1\r\nKeep-Alive: timeout=5\r\nHost: reviews\r\nConnection: x-secret, keep-alive\r\n\
             X-Secret: 1\r\nTE: trailers\r\nX-Weft-Decision: forged\r\nProxy-Connection: x\r\nZ: 2\r\n\
             X-Forwarded-Client-Cert: By=forged\r\nL5d-Client-Id: forged\r\n\r\n",
        )
        .await;
    let mut app = mesh.accept().await;
    assert_eq!(app.until("\r\n\r\n").await, "GET / HTTP/1.1\r\nA: 1\r\nHost: reviews\r\nZ: 2\r\n\r\n");
    app.send("HTTP/1.1 200 OK\r\nConnection: x-b\r\nX-B: 1\r\nx-weft-decision: forged\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

#[tokio::test]
async fn routes_match_by_forwarded_fields_only() {
    let mesh = Mesh::http().await;
    let endpoints = [(mesh.server.inbound(), super::mesh::identity("reviews"))];
    let mut resources = super::mesh::outbound("reviews:80", Protocol::Http, None, &endpoints);
    for resource in &mut resources {
        if let Resource::VirtualHost(host) = resource {
            let routes = &mut Arc::make_mut(host).routes;
            let any = routes.remove(0);
            for (name, value) in
                [("x-group", "beta"), ("te", "trailers"), ("connection", "close"), ("x-weft-deadline", "1")]
            {
                let mut route = any.clone();
                route.matches.headers =
                    vec![HeaderMatch { name: name.to_owned(), value: TextMatch::Exact(value.to_owned()) }];
                routes.push(route);
            }
        }
    }
    let web = super::mesh::Side::start("picky", |_| {}).with_identity(&mesh.authority, "web");
    web.dataplane.publish(snapshot(resources));
    for (fields, is_match) in [
        ("X-Group: beta\r\n", true),
        ("X-Group: beta\r\nConnection: x-group\r\n", false),
        ("TE: trailers\r\n", false),
        ("Connection: close\r\n", false),
        ("X-Weft-Deadline: 1\r\n", false),
    ] {
        let mut client = Peer::connect(web.outbound()).await;
        client.send(format!("GET / HTTP/1.1\r\nHost: reviews\r\n{fields}\r\n")).await;
        if is_match {
            let mut app = mesh.accept().await;
            app.until("\r\n\r\n").await;
            app.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
        let (head, _) = client.answer().await;
        assert!(head.starts_with(if is_match { "HTTP/1.1 200" } else { "HTTP/1.1 404" }), "{fields:?}: {head}");
    }
}

#[tokio::test]
async fn the_client_going_away_cancels_the_upstream_on_every_hop() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send(GET).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    drop(client);
    app.rest().await;
    let record = &mesh.web.log.records(1).await[0];
    assert_eq!((&record["outcome"], &record["blame"]), (&"client-gone".into(), &"downstream".into()));
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_whole_is_passed_on_and_ends_the_connection() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send("POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 100\r\n\r\nten bytes.").await;
    let mut app = mesh.accept().await;
    app.until("ten bytes.").await;
    app.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
    let (head, body) = client.answer().await;
    assert!(head.contains("413") && head.contains("connection: close"), "{head}");
    assert_eq!(body, "big");
    assert!(client.rest().await.is_empty());
    // The application waits for ninety more bytes: what came next on that connection would be taken for them.
    assert!(app.rest().await.is_empty());
    let mut client = mesh.client().await;
    client.send(GET).await;
    let mut app = mesh.accept().await;
    assert!(app.until("\r\n\r\n").await.starts_with("GET /a/b?x=1 "));
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(client.answer().await.1, "ok");
}

#[tokio::test]
async fn several_workers_share_the_ports_and_each_serves() {
    let mesh = Mesh::http().await;
    let authority = super::mesh::authority();
    let web = super::mesh::Side::start("many", |settings| settings.workers = 3).with_identity(&authority, "web");
    web.dataplane.publish(snapshot(super::mesh::outbound("other:80", Protocol::Http, None, &[])));
    let mut workers = std::collections::BTreeSet::new();
    // The kernel spreads connections by a hash of their ports: with a fixed number of them one worker may come away empty.
    let mut served = 0;
    while served < 2_000 {
        served += 1;
        let mut client = Peer::connect(web.outbound()).await;
        let (head, _) = client.ask("GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 404"), "{head}");
        let id = head.lines().find_map(|line| line.strip_prefix("x-weft-decision: many.abcde.")).unwrap().to_owned();
        workers.insert(id.split('.').next().unwrap().to_owned());
        if workers.len() == 3 {
            break;
        }
    }
    assert_eq!(workers.len(), 3, "{workers:?}");
    assert_eq!(web.log.records(served).await.len(), served);
    drop(mesh);
}

#[tokio::test]
async fn a_regular_expression_decides_alike_on_every_worker() {
    let web = super::mesh::Side::start("many", |settings| settings.workers = 3);
    let web = web.with_identity(&super::mesh::authority(), "web");
    let mut resources = super::mesh::outbound("reviews:80", Protocol::Http, None, &[]);
    for resource in &mut resources {
        if let Resource::VirtualHost(host) = resource {
            let matches = &mut Arc::make_mut(host).routes[0].matches;
            matches.path = PathMatch::Regex("/v[0-9]+".to_owned());
            let value = TextMatch::Regex("b.*a".to_owned());
            matches.headers = vec![HeaderMatch { name: "x-group".to_owned(), value }];
        }
    }
    web.dataplane.publish(snapshot(resources));
    let mut workers = std::collections::BTreeSet::new();
    for _ in 0..2_000 {
        let mut client = Peer::connect(web.outbound()).await;
        // What matches finds no endpoint; what does not finds no route.
        for (path, group, status) in [("/v1", "beta", 503), ("/vx", "beta", 404), ("/v2", "gamma", 404)] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: reviews\r\nX-Group: {group}\r\n\r\n");
            let (head, _) = client.ask(&request).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {group}: {head}");
            let id = head.lines().find_map(|line| line.strip_prefix("x-weft-decision: many.abcde.")).unwrap();
            workers.insert(id.split('.').next().unwrap().to_owned());
        }
        if workers.len() == 3 {
            break;
        }
    }
    assert_eq!(workers.len(), 3, "{workers:?}");
}
