//! Bodies that are under way for long: both ways at once, and no further ahead of their readers than buffers reach.
use std::{fs, time::Duration};

use ::http::Response;
use bytes::Bytes;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use super::{
    http2::{Caller, HttpApp, http2_mesh, request},
    mesh::{Mesh, PATIENCE},
};

/// For how long a sender that cannot write is taken for stopped.
const STOPPED: Duration = Duration::from_millis(500);

/// More than all buffers on the way hold together.
const WHOLE: usize = 1024 * 1024 * 1024;

/// What may be under way on one HTTP/2 connection of ours, and what waits in front of its socket.
const WINDOW: usize = 256 * 1024;

/// What the system's buffers of so many connections may hold, however far it lets them grow.
fn held_by_the_system(connections: usize) -> usize {
    let most = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
        text.split_whitespace().nth(2).unwrap().parse::<usize>().unwrap()
    };
    connections * (most("tcp_wmem") + most("tcp_rmem"))
}

/// Writes until the other side takes no more; how much it took.
async fn write_until_stopped(stream: &mut TcpStream) -> usize {
    let (piece, mut written) = (vec![b'x'; 64 * 1024], 0);
    while written < WHOLE {
        match timeout(STOPPED, stream.write(&piece)).await {
            Ok(count) => written += count.unwrap(),
            Err(_) => return written,
        }
    }
    written
}

/// The sidecars hold a scratch buffer for each direction and no more: the rest is in the system's buffers.
fn is_bounded(written: usize) {
    let bound = held_by_the_system(3) + 1024 * 1024;
    assert!(written <= bound, "{written} bytes were taken of which nobody has read one; the bound is {bound}");
}

#[tokio::test]
async fn an_http1_application_that_does_not_read_stops_its_client() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send(format!("POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: {WHOLE}\r\n\r\n")).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    is_bounded(write_until_stopped(&mut client.stream).await);
}

#[tokio::test]
async fn an_http1_client_that_does_not_read_stops_its_application() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    app.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {WHOLE}\r\n\r\n")).await;
    client.until("\r\n\r\n").await;
    is_bounded(write_until_stopped(&mut app.stream).await);
}

#[tokio::test]
async fn an_http2_client_that_does_not_read_stops_its_application() {
    let mesh = http2_mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (call, _) = caller.open(request("GET", "/").body(()).unwrap(), true).await;
    let mut app = HttpApp::accept(&mesh.application).await;
    let (_asked, mut respond) = app.asked().await;
    let mut down = respond.send_response(Response::new(()), false).unwrap();
    let _unread = call.await.unwrap();
    let mut written = 0;
    while written < WHOLE {
        down.reserve_capacity(16 * 1024);
        let room = std::future::poll_fn(|cx| down.poll_capacity(cx));
        let Ok(room) = timeout(STOPPED, room).await else { break };
        let room = room.unwrap().unwrap();
        down.send_data(Bytes::from(vec![7; room]), false).unwrap();
        written += room;
    }
    // Three windows at most (the raw client's own is smaller), and what waits in front of three sockets.
    assert!(written <= 4 * WINDOW, "{written} bytes were taken of which nobody has read one");
}

/// What is translated is held back as well: by the window towards the client, by the buffers towards the application.
#[tokio::test]
async fn an_http1_application_that_does_not_read_stops_its_http2_client() {
    let mesh = Mesh::http().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let (_call, mut up) = caller.open(request("POST", "/").body(()).unwrap(), false).await;
    let mut app = mesh.accept().await;
    app.until("\r\n\r\n").await;
    let mut written = 0;
    while written < WHOLE {
        up.reserve_capacity(16 * 1024);
        let room = std::future::poll_fn(|cx| up.poll_capacity(cx));
        let Ok(room) = timeout(STOPPED, room).await else { break };
        let room = room.unwrap().unwrap();
        up.send_data(Bytes::from(vec![7; room]), false).unwrap();
        written += room;
    }
    let bound = held_by_the_system(1) + 4 * WINDOW;
    assert!(written <= bound, "{written} bytes were taken of which nobody has read one; the bound is {bound}");
}

#[tokio::test]
async fn both_bodies_of_an_http1_exchange_flow_at_once_and_either_may_end_first() {
    for answer_first in [true, false] {
        let mesh = Mesh::http().await;
        let mut client = mesh.client().await;
        client.send("POST / HTTP/1.1\r\nHost: reviews\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let mut app = mesh.accept().await;
        app.until("\r\n\r\n").await;
        app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        client.until("\r\n\r\n").await;
        for turn in ["one", "two", "six"] {
            client.send(format!("3\r\n{turn}\r\n")).await;
            app.until(turn).await;
            app.send(format!("3\r\n{turn}\r\n")).await;
            client.until(turn).await;
        }
        if answer_first {
            app.send("0\r\n\r\n").await;
            client.until("0\r\n\r\n").await;
        } else {
            client.send("0\r\n\r\n").await;
            app.until("0\r\n\r\n").await;
            app.send("4\r\nlast\r\n0\r\n\r\n").await;
            client.until("4\r\nlast\r\n0\r\n\r\n").await;
        }
        for side in [&mesh.web, &mesh.server] {
            assert_eq!(side.log.records(1).await[0]["outcome"], "complete");
        }
    }
}

#[tokio::test]
async fn an_http1_clients_reset_in_the_middle_of_its_body_ends_the_application_s_connection() {
    let mesh = Mesh::http().await;
    let mut client = mesh.client().await;
    client.send("POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 100\r\n\r\nhalf").await;
    let mut app = mesh.accept().await;
    app.until("half").await;
    weft_net::reset_on_close(&client.stream).unwrap();
    drop(client);
    let ended = timeout(PATIENCE, app.failure()).await;
    assert!(ended.is_ok(), "the application goes on waiting");
    assert_eq!(mesh.web.log.records(1).await[0]["outcome"], "client-gone");
}
