//! What is carried from hop to hop beside the request: where it belongs, and how long it may take.
use weft_harness::Seen;

use crate::shop::Shop;

/// The value of a field as the application got it; one that is there twice is told as none.
fn field<'a>(seen: &'a Seen, name: &str) -> Option<&'a str> {
    let lines = seen.head.lines().filter_map(|line| line.split_once(": "));
    let mut values = lines.filter(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    values.next().filter(|_| values.next().is_none())
}

async fn asked(shop: &Shop, headers: &[(&str, &str)]) -> Seen {
    let reply = shop.web.connect().await.unwrap().get("reviews", "/", headers).await.unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "v1"));
    shop.v1.seen().pop().unwrap()
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_with_a_span_of_each_hop_and_begins_where_there_is_none() {
    let shop = Shop::open().await;
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let seen = asked(&shop, &[("traceparent", &parent), ("tracestate", "a=b"), ("x-request-id", "mine")]).await;
    let passed: Vec<_> = field(&seen, "traceparent").unwrap().split('-').collect();
    assert_eq!((passed[0], passed[1], passed[3]), ("00", TRACE, "01"));
    assert_ne!(passed[2], "00f067aa0ba902b7");
    assert_eq!((field(&seen, "tracestate"), field(&seen, "x-request-id")), (Some("a=b"), Some("mine")));
    let (one, other) =
        (asked(&shop, &[]).await, asked(&shop, &[("traceparent", "00-broken"), ("tracestate", "a=b")]).await);
    for seen in [&one, &other] {
        let made: Vec<_> = field(seen, "traceparent").unwrap().split('-').map(str::len).collect();
        assert_eq!((made.as_slice(), field(seen, "tracestate")), (&[2, 32, 16, 2][..], None));
        assert_eq!(field(seen, "x-request-id").map(str::len), Some(36));
    }
    assert_ne!(field(&one, "traceparent"), field(&other, "traceparent"));
    assert_ne!(field(&one, "x-request-id"), field(&other, "x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_shortened_passed_on_and_kept_on_both_sides() {
    let shop = Shop::open().await;
    let seen = asked(&shop, &[("grpc-timeout", "30S"), ("x-weft-deadline", "1")]).await;
    let left = field(&seen, "grpc-timeout").unwrap();
    let micros: u64 = left.strip_suffix('u').unwrap().parse().unwrap();
    assert!((1_000_000..30_000_000).contains(&micros), "{left}");
    // It is between sidecars, and what comes from outside is not believed.
    assert_eq!(field(&seen, "x-weft-deadline"), None);
    shop.v1.fall_silent();
    let mut connection = shop.web.connect().await.unwrap();
    let reply = connection.get("reviews", "/", &[("grpc-timeout", "300m")]).await.unwrap();
    assert_eq!(reply.status, 504);
    assert!(reply.header("x-weft-decision").is_some());
    // The caller's side is first, unless the machine holds it up.
    let (by_caller, by_called) = ("300ms that the client has", "ms that its caller has");
    assert!([by_caller, by_called].iter().any(|it| reply.text().contains(it)), "{}", reply.text());
}
