//! Least request and affinity.
use std::{collections::BTreeMap, sync::atomic::Ordering::SeqCst};

use weft_ir::{Affinity, Balance, Cluster, Route};
use weft_model::AffinityKey;

use super::fleet::{Fleet, GET, HOLD, eventually};

#[tokio::test]
async fn least_request_prefers_the_idle_instance() {
    let fleet = Fleet::start(2, 1, |cluster, _| cluster.balance = Balance::LeastRequest).await;
    let [busy, idle] = &fleet.instances[..] else { panic!("two instances") };
    busy.mode.store(HOLD, SeqCst);
    let mut held = Vec::new();
    while busy.hits() == 0 {
        let (mut client, before) = (fleet.client().await, idle.hits());
        client.send(GET).await;
        eventually("somebody gets it", async || busy.hits() > 0 || idle.hits() > before).await;
        if busy.hits() == 0 {
            client.answer().await;
        }
        held.push(client);
    }
    let before = idle.hits();
    for _ in 0..20 {
        assert_eq!(fleet.ask(GET).await, (200, "1 0".to_owned()));
    }
    assert_eq!((busy.hits(), idle.hits() - before), (1, 20));
    busy.release();
}

#[tokio::test]
async fn a_cookie_set_by_the_first_sidecar_keeps_a_client_at_one_instance() {
    let cookie = AffinityKey::Cookie { name: "weft-affinity".to_owned(), path: "/shop".to_owned(), ttl: None };
    let tune = move |_: &mut Cluster, route: &mut Route| route.affinity = Some(Affinity { key: cookie.clone() });
    let fleet = Fleet::start(3, 2, tune).await;
    let mut seen = BTreeMap::new();
    for _ in 0..12 {
        let (head, first) = fleet.client().await.ask(GET).await;
        let set = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap_or_else(|| panic!("{head}"));
        let (pair, rest) = set.split_once(';').unwrap();
        assert_eq!(rest, " Path=/shop; HttpOnly");
        let request = format!("GET / HTTP/1.1\r\nHost: reviews\r\nCookie: a=b; {pair}\r\n\r\n");
        for _ in 0..4 {
            let (head, body) = fleet.client().await.ask(&request).await;
            assert_eq!(body, first);
            assert!(!head.contains("set-cookie"), "{head}");
        }
        *seen.entry(first).or_insert(0) += 1;
    }
    assert!(seen.len() > 1, "clients spread: {seen:?}");
}

#[tokio::test]
async fn only_the_keys_of_a_lost_instance_move() {
    let header = || Affinity { key: AffinityKey::Header { name: "x-user".to_owned() } };
    let tune = |_: &mut Cluster, route: &mut Route| route.affinity = Some(header());
    let fleet = Fleet::start(3, 1, tune).await;
    let places = async || {
        let mut places = BTreeMap::new();
        for user in 0..24 {
            let request = format!("GET / HTTP/1.1\r\nHost: reviews\r\nX-User: {user}\r\n\r\n");
            places.insert(user, fleet.ask(&request).await.1);
        }
        places
    };
    let before = places().await;
    fleet.publish([1, 2], tune);
    let after = places().await;
    let mut lost = 0;
    for (user, place) in &before {
        if place == "0 0" {
            lost += 1;
            assert_ne!(after[user], "0 0");
        } else {
            assert_eq!(&after[user], place, "user {user}");
        }
    }
    assert!((1..24).contains(&lost), "{before:?}");
}
