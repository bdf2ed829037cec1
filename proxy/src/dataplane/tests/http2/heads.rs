//! What is refused, and what is brought into one form.
use ::http::HeaderValue;
use bytes::Bytes;
use h2::Reason;

use super::peers::{App, Caller, answer, code, mesh, request, whole};

#[tokio::test]
async fn a_host_that_is_not_the_authority_is_refused_and_another_spelling_of_it_is_not() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let other = caller.ask(request("GET", "/").header("host", "stock").body(()).unwrap()).await;
    assert_eq!(
        (other.head.status().as_u16(), other.text()),
        (400, "bad request: the target's authority is not the host\n")
    );
    let (call, _) = caller.open(request("GET", "/x").header("host", "REVIEWS.shop:80").body(()).unwrap(), true).await;
    let mut app = App::accept(&mesh.application).await;
    let (asked, respond) = app.asked().await;
    assert_eq!((asked.uri().path(), asked.headers().contains_key("host")), ("/x", false));
    answer(respond, "reply");
    assert_eq!(whole(call).await.unwrap().text(), "reply");
}

#[tokio::test]
async fn what_two_readers_could_take_in_two_ways_is_refused() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let cases = [
        ("/", vec![("authorization", "a"), ("authorization", "b")], 400),
        ("/", vec![("host", "reviews"), ("host", "reviews")], 400),
        ("/", vec![("expect", "the-unexpected")], 417),
        ("/a%2Fb", vec![], 400),
        ("/a\\b", vec![], 400),
        ("/..;/a", vec![], 400),
    ];
    for (path, fields, status) in cases {
        let mut head = request("GET", "/");
        for (name, value) in &fields {
            head = head.header(*name, *value);
        }
        let mut head = head.body(()).unwrap();
        let Ok(uri) = format!("http://reviews{path}").parse() else { continue };
        *head.uri_mut() = uri;
        let told = caller.ask(head).await;
        assert_eq!(told.head.status().as_u16(), status, "{path} {fields:?}: {}", told.text());
        assert!(!told.field("x-weft-decision").is_empty());
    }
    let mut many = request("GET", "/").body(()).unwrap();
    for number in 0..101 {
        many.headers_mut().append("x-many", HeaderValue::from(number));
    }
    assert_eq!(caller.ask(many).await.head.status(), 431);
    let connect = ::http::Request::builder().method("CONNECT").uri("reviews:80").body(()).unwrap();
    let told = caller.ask(connect).await;
    assert_eq!(told.head.status(), 501, "{}", told.text());
}

/// What RFC 9113 §8 calls malformed is a stream error, and no application hears of it.
#[tokio::test]
async fn a_malformed_request_is_reset_and_the_connection_goes_on() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    for (field, value) in
        [("connection", "close"), ("transfer-encoding", "chunked"), ("upgrade", "h2c"), ("te", "gzip")]
    {
        let (call, _) = caller.open(request("GET", "/").header("x-first", "1").body(()).unwrap(), true).await;
        drop(call);
        let mut head = request("GET", "/").body(()).unwrap();
        head.headers_mut().insert(field, HeaderValue::from_static(value));
        // h2's client sends none of these: the frame is refused before it leaves.
        let refused = caller.send.send_request(head, true);
        assert!(refused.is_err(), "{field}");
    }
    let (call, _) = caller.open(request("GET", "/ok").body(()).unwrap(), true).await;
    let mut app = App::accept(&mesh.application).await;
    loop {
        let (asked, respond) = app.asked().await;
        let ours = asked.uri().path() == "/ok";
        answer(respond, "reply");
        if ours {
            break;
        }
    }
    assert_eq!(whole(call).await.unwrap().text(), "reply");
}

#[tokio::test]
async fn a_body_of_another_length_than_it_says_is_reset_and_so_is_its_upstream() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let mut app = None;
    for (length, body) in [("3", "more"), ("5", "less")] {
        let post = request("POST", "/").header("content-length", length).body(()).unwrap();
        let (call, mut up) = caller.open(post, false).await;
        if app.is_none() {
            app = Some(App::accept(&mesh.application).await);
        }
        let (_asked, mut respond) = app.as_mut().unwrap().asked().await;
        up.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
        let error = whole(call).await.unwrap_err();
        assert_eq!(code(&error), Some(Reason::PROTOCOL_ERROR), "{length}: {error:?}");
        std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
    }
}

#[tokio::test]
async fn crumbs_are_one_cookie_and_our_own_fields_do_not_come_from_outside() {
    let mesh = mesh().await;
    let mut caller = Caller::connect(mesh.web.outbound()).await;
    let crumbs =
        request("GET", "/").header("cookie", "a=1").header("x-weft-decision", "forged").header("cookie", "b=2");
    let crumbs = crumbs.header("x-forwarded-client-cert", "By=forged").header("l5d-client-id", "forged");
    let (call, _) = caller.open(crumbs.body(()).unwrap(), true).await;
    let mut app = App::accept(&mesh.application).await;
    let (asked, mut respond) = app.asked().await;
    assert_eq!(asked.headers().get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    for ours in ["x-weft-decision", "x-forwarded-client-cert", "l5d-client-id"] {
        assert!(!asked.headers().contains_key(ours), "{ours}");
    }
    let head = ::http::Response::builder().header("x-weft-decision", "forged").header("x-own", "1").body(()).unwrap();
    respond.send_response(head, true).unwrap();
    let reply = whole(call).await.unwrap();
    assert_eq!((reply.field("x-weft-decision"), reply.field("x-own")), ("", "1"));
}
