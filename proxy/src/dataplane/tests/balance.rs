//! Which instance is picked, by every balance and every key.
use std::{
    collections::BTreeMap,
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use tokio::net::TcpSocket;
use weft_ir::{Affinity, Balance, Cluster, Ejection, NearFirst, Route, SlowStart};
use weft_model::{AffinityKey, Locality};

use super::{
    fleet::{Fleet, GET, HOLD, eventually},
    mesh::Peer,
};

#[tokio::test]
async fn every_balance_reaches_all_instances_and_its_record_says_which_it_was() {
    const REQUESTS: usize = 40;
    for balance in Balance::ALL {
        let fleet = Fleet::start(3, 1, |cluster, _| cluster.balance = balance).await;
        for _ in 0..REQUESTS {
            assert_eq!(fleet.ask(GET).await.0, 200);
        }
        // Of 40 requests by chance none would be at one of three in 3 of 10 million runs.
        assert!(fleet.instances.iter().all(|instance| instance.hits() > 0), "{balance:?}");
        let said = match balance {
            Balance::RoundRobin => None,
            Balance::LeastRequest => Some("the fewest requests of two"),
            Balance::Random => Some("chance"),
            Balance::PeakEwma => Some("the least peak EWMA of two"),
            Balance::RingHash | Balance::Maglev => Some("chance: the request has no key"),
        };
        for record in fleet.web.log.records(REQUESTS).await {
            assert_eq!(record["pickedBy"].as_str(), said, "{record}");
        }
    }
}

#[tokio::test]
async fn every_round_of_requests_has_the_weights_of_its_endpoints() {
    let mut fleet = Fleet::start(3, 1, |_, _| {}).await;
    for (instance, weight) in fleet.instances.iter_mut().zip([5, 1, 2]) {
        instance.weight = weight;
    }
    fleet.publish(0..3, |_, _| {});
    let mut answers = Vec::new();
    for _ in 0..24 {
        answers.push(fleet.ask(GET).await.1);
    }
    // Wherever a round begins.
    for round in answers.windows(8) {
        let of = |number: &str| round.iter().filter(|answer| *answer == number).count();
        assert_eq!((of("0 0"), of("1 0"), of("2 0")), (5, 1, 2), "{answers:?}");
    }
}

#[tokio::test]
async fn peak_ewma_spares_an_instance_that_was_slow_once() {
    let fleet = Fleet::start(2, 1, |cluster, _| cluster.balance = Balance::PeakEwma).await;
    let [slow, fast] = &fleet.instances[..] else { panic!("two instances") };
    slow.mode.store(HOLD, SeqCst);
    let begun = Instant::now();
    let mut held = fleet.client().await;
    // Whoever is asked first is drawn: until the slow one has one.
    held.send(GET).await;
    eventually("somebody has it", async || slow.hits() + fast.hits() > 0).await;
    if slow.hits() == 0 {
        held.answer().await;
        held.send(GET).await;
        slow.has_hits(1).await;
    }
    // While it has not answered it is taken to need a second; then it has needed half of one.
    while begun.elapsed() < Duration::from_millis(500) {
        assert_eq!(fleet.ask(GET).await, (200, "1 0".to_owned()));
    }
    slow.release();
    assert_eq!(held.answer().await.1, "0 0");
    let before = fast.hits();
    for _ in 0..30 {
        assert_eq!(fleet.ask(GET).await, (200, "1 0".to_owned()));
    }
    assert_eq!((slow.hits(), fast.hits() - before), (1, 30));
}

#[tokio::test]
async fn requests_of_one_query_parameter_stay_together_by_ring_and_by_table() {
    for (balance, said) in [(Balance::RingHash, ""), (Balance::Maglev, " (Maglev)")] {
        let tune = move |cluster: &mut Cluster, route: &mut Route| {
            cluster.balance = balance;
            route.affinity = Some(Affinity { key: AffinityKey::Query { name: "user".to_owned() } });
        };
        let fleet = Fleet::start(3, 2, tune).await;
        let mut seen = BTreeMap::new();
        for user in 0..16 {
            let ask = format!("GET /?page={user}&user={user} HTTP/1.1\r\nHost: reviews\r\n\r\n");
            let again = format!("GET /cart?user={user}&page=1 HTTP/1.1\r\nHost: reviews\r\n\r\n");
            let first = fleet.ask(&ask).await.1;
            assert_eq!(fleet.ask(&again).await.1, first, "user {user}");
            *seen.entry(first).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 3, "users spread: {seen:?}");
        let by = format!("the hash of query parameter user{said}");
        assert!(fleet.web.log.records(32).await.iter().all(|record| record["pickedBy"] == *by), "{balance:?}");
    }
}

#[tokio::test]
async fn requests_of_one_source_address_stay_together() {
    let tune = |_: &mut Cluster, route: &mut Route| {
        route.affinity = Some(Affinity { key: AffinityKey::SourceAddress });
    };
    let fleet = Fleet::start(3, 2, tune).await;
    let mut seen = BTreeMap::new();
    for host in 1..=16 {
        let mut places = Vec::new();
        for _ in 0..3 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 1, host], 0).into()).unwrap();
            let mut client = Peer::over(socket.connect(fleet.web.outbound()).await.unwrap());
            places.push(client.ask(GET).await.1);
        }
        assert!(places.iter().all(|place| *place == places[0]), "127.0.1.{host}: {places:?}");
        *seen.entry(places.remove(0)).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 3, "addresses spread: {seen:?}");
}

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

#[tokio::test]
async fn the_nearest_instance_is_asked_until_it_is_left_out() {
    let tune = |cluster: &mut Cluster, _: &mut Route| {
        cluster.near_first = Some(NearFirst::default());
        let base_time = Duration::from_secs(600);
        cluster.ejection =
            Some(Ejection { consecutive_errors: 2, base_time, max_time: base_time, ..Ejection::default() });
    };
    let mut fleet = Fleet::start(3, 1, tune).await;
    // The caller is in zone a of eu.
    for (instance, (region, zone)) in fleet.instances.iter_mut().zip([("us", "a"), ("eu", "a"), ("eu", "b")]) {
        let (region, zone) = (Some(region.parse().unwrap()), Some(zone.parse().unwrap()));
        instance.locality = Locality { region, zone, sub_zone: None };
    }
    fleet.publish(0..3, tune);
    for _ in 0..10 {
        assert_eq!(fleet.ask(GET).await, (200, "1 0".to_owned()));
    }
    fleet.instances[1].mode.store(500, SeqCst);
    fleet.ask(GET).await;
    fleet.ask(GET).await;
    fleet.says("the nearest is out", |state| state.ejected.len() == 1).await;
    eventually("the next in its place", async || fleet.ask(GET).await.0 == 200).await;
    for _ in 0..10 {
        assert_eq!(fleet.ask(GET).await, (200, "2 0".to_owned()));
    }
    assert_eq!(fleet.instances[0].hits(), 0);
    let requests = fleet.instances.iter().map(|instance| instance.hits()).sum();
    let records = fleet.web.log.records(requests).await;
    assert_eq!(records.first().unwrap()["pickedBy"], "round robin, own zone");
    assert_eq!(records.last().unwrap()["pickedBy"], "round robin, own region");
}

#[tokio::test]
async fn an_instance_that_is_new_gets_a_part_of_its_share() {
    let slow = SlowStart { window: Duration::from_secs(3600), ..SlowStart::default() };
    for balance in [Balance::RoundRobin, Balance::LeastRequest] {
        let tune = |cluster: &mut Cluster, _: &mut Route| {
            (cluster.balance, cluster.slow_start) = (balance, Some(slow));
        };
        let fleet = Fleet::start(2, 1, tune).await;
        fleet.publish([0], tune);
        assert_eq!(fleet.ask(GET).await.1, "0 0");
        fleet.publish([0, 1], tune);
        let asked = fleet.instances[1].hits();
        for _ in 0..80 {
            assert_eq!(fleet.ask(GET).await.0, 200);
        }
        // Ten of a hundred and ten: about 7 of 80, more than 24 in one of a million runs; its share is 40.
        let asked = fleet.instances[1].hits() - asked;
        assert!(asked <= 24, "{balance:?}: {asked}");
        let records = fleet.web.log.records(81).await;
        let turned_away = |it: &&serde_json::Value| it["circumstances"].as_str().is_some_and(|it| it.contains("cold="));
        assert!(records.iter().filter(turned_away).count() > 10, "{balance:?}");
        // An old hand, after all, once nobody wants a slow start.
        let plain = |cluster: &mut Cluster, _: &mut Route| cluster.balance = Balance::RoundRobin;
        fleet.publish([0, 1], plain);
        let before = fleet.instances[1].hits();
        for _ in 0..10 {
            fleet.ask(GET).await;
        }
        assert_eq!(fleet.instances[1].hits() - before, 5, "{balance:?}");
    }
}
