//! The data path takes no lock.
use std::{num::NonZeroU32, time::Duration};

use tokio::{runtime::Handle, task::block_in_place, time::timeout};
use weft_ir::{Breaker, Ejection, Retry};

use super::fleet::{Fleet, GET, status};

/// How many requests each connection carries.
const REQUESTS: usize = 200;

/// All that a request may pass: a limit, a breaker, ejection, retries; over two workers.
async fn fleet() -> Fleet {
    Fleet::start(2, 2, |cluster, route| {
        cluster.limits.max_requests = NonZeroU32::new(100);
        cluster.limits.max_connections = NonZeroU32::new(100);
        let (open_time, max_open_time) = (Duration::from_secs(1), Duration::from_secs(9));
        cluster.breaker = Some(Breaker { consecutive_failures: 50, open_time, max_open_time, probes: 1 });
        let (base_time, max_time) = (Duration::from_secs(1), Duration::from_secs(9));
        cluster.ejection = Some(Ejection { consecutive_errors: 50, base_time, max_time, ..Ejection::default() });
        route.retry = Some(Retry::default());
    })
    .await
}

/// If a request waited for a lock, it would wait for ever: all of them are taken while these are sent.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_served_while_every_lock_of_the_data_plane_is_held() {
    let fleet = fleet().await;
    // Several, so that each worker has some; what is made once a worker is made by then.
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = fleet.client().await;
        assert_eq!(status(&client.ask(GET).await.0), 200);
        clients.push(client);
    }
    let before = fleet.instances.iter().map(|it| it.hits()).sum::<usize>();
    block_in_place(|| {
        let planes: Vec<_> =
            fleet.instances.iter().map(|it| &it.side.dataplane).chain([&fleet.web.dataplane]).collect();
        let _held: Vec<_> = planes.into_iter().map(|plane| plane.hold_every_lock()).collect();
        Handle::current().block_on(async {
            for client in &mut clients {
                for _ in 0..REQUESTS {
                    let answer = timeout(Duration::from_secs(20), client.ask(GET)).await.expect("it waits for a lock");
                    assert_eq!(status(&answer.0), 200);
                }
            }
            // New connections as well, each with a handshake between the sidecars where none is free.
            for _ in 0..20 {
                let answer = timeout(Duration::from_secs(20), fleet.ask(GET)).await.expect("it waits for a lock");
                assert_eq!(answer.0, 200);
            }
        });
    });
    let hits = fleet.instances.iter().map(|it| it.hits()).sum::<usize>() - before;
    assert_eq!(hits, clients.len() * REQUESTS + 20);
}
