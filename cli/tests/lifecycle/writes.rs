//! How often a sidecar writes for a request.
use std::{fs, path::PathBuf};

use weft_harness::{
    Application, Connection, Mesh, Plan, eventually,
    objects::{HTTP, open_service},
    process::Sidecar,
};

/// How many requests of each method are sent, one after the other.
const REQUESTS: u64 = 1_000;

/// The write calls that the worker of a sidecar has made. The kernel counts `write` and `writev`, and not `send`: what a
/// plain connection is sent in one buffer is missing, which shows as too few. To a peer everything goes by `writev`.
struct Writes(PathBuf);

impl Writes {
    fn of(sidecar: &Sidecar) -> Self {
        let threads = fs::read_dir(format!("/proc/{}/task", sidecar.id().unwrap())).unwrap();
        let mut workers = threads.map(|thread| thread.unwrap().path()).filter(|thread| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim_end() == "weft-worker-0")
        });
        Self(workers.next().expect("a sidecar has a worker").join("io"))
    }

    fn count(&self) -> u64 {
        let counts = fs::read_to_string(&self.0).unwrap();
        counts.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap().parse().unwrap()
    }
}

/// Head and body go out together: one write for the request and one for its answer, at each of the two sidecars.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_its_answer_cost_each_sidecar_one_vectored_write_a_direction() {
    let mesh = Mesh::start().await.unwrap();
    mesh.apply(&open_service("reviews", "reviews", &[HTTP])).await.unwrap();
    let application = Application::http("reviews").await;
    let plan = Plan::new("reviews-0", "reviews").application("http", application.address);
    let reviews = mesh.start_process(&plan).await.unwrap();
    let web = mesh.start_process(&Plan::new("web-0", "web")).await.unwrap();
    let mut connection = Connection::open(web.outbound().unwrap()).await.unwrap();
    // Its sidecar is ready before its application was found to take connections.
    eventually("that reviews is served", async || {
        let reply = connection.get("reviews", "/", &[]).await.unwrap();
        (reply.status == 200).then_some(())
    })
    .await;
    let sidecars = [("web", Writes::of(&web)), ("reviews", Writes::of(&reviews))];
    for request in [
        "GET / HTTP/1.1\r\nHost: reviews\r\nX-One: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let mut before = [0; 2];
        // The first one makes the connections.
        for number in 0..=REQUESTS {
            connection.send(request.as_bytes()).await.unwrap();
            assert_eq!(connection.receive().await.unwrap().text(), "reviews", "request {number}");
            if number == 0 {
                before = [0, 1].map(|place| sidecars[place].1.count());
            }
        }
        for ((name, writes), before) in sidecars.iter().zip(before) {
            let made = writes.count() - before;
            println!("{made} writes of {name} for {REQUESTS} × {:?}", request.lines().next());
            // A connection may have to be made anew, or an answer come in two parts, on a machine that stops now and then.
            let expected = 2 * REQUESTS..=2 * REQUESTS + REQUESTS / 50;
            assert!(expected.contains(&made), "{made} writes of {name} for {REQUESTS} requests");
        }
    }
}
