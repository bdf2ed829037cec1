//! Whatever one version carries is one message in the other.
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use proptest::prelude::*;
use weft_decide::FieldEdits;

use super::{
    head::{Head, answer_to_http1, write_fields},
    trailers,
};
use crate::dataplane::http::{Forward, HeadScan, RequestHead, ResponseHead};

fn forward<'a>(path: &'a str, query: Option<&'a str>) -> Forward<'a> {
    Forward {
        path,
        query,
        host: None,
        last: &|| false,
        trusts_answers: true,
        body_idle: Duration::from_secs(1),
        bounds_all: false,
        until: None,
        set_cookie: None,
        edits: FieldEdits::default(),
        answer_edits: FieldEdits::default(),
    }
}

/// Fields of arbitrary bytes, as far as HTTP/2 can carry them.
fn fields() -> impl Strategy<Value = HeaderMap> {
    let field = (prop::collection::vec(any::<u8>(), 1..12), prop::collection::vec(any::<u8>(), 0..24));
    prop::collection::vec(field, 0..12).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&name), HeaderValue::from_bytes(&value)) {
                map.append(name, value);
            }
        }
        map
    })
}

fn read(method: &str, uri: &str, fields: HeaderMap, ended: bool) -> Option<Head> {
    let mut request = Request::builder().method(method).uri(uri.parse::<Uri>().ok()?).body(()).ok()?;
    *request.headers_mut() = fields;
    let (parts, ()) = request.into_parts();
    Head::read(parts, ended, true).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_request_is_one_request_in_http1(fields in fields(), ended: bool, query in prop::option::of("[!-~]{0,12}")) {
        let kept = fields.clone();
        let head = read("POST", "http://reviews/", fields, ended);
        prop_assume!(head.is_some());
        let head = head.unwrap();
        let bytes = head.to_http1(&forward("/a", query.as_deref()));
        let length = HeadScan::default().find(&bytes).unwrap();
        prop_assert_eq!(length, Some(bytes.len()), "{:?}", bytes);
        // What is stricter in HTTP/1.1 is refused where it is read, never read as something else.
        if let Ok(parsed) = RequestHead::parse(&bytes) {
            prop_assert_eq!(parsed.host.bytes(&bytes), b"reviews");
            for (name, value) in &kept {
                let ours = ["host", "cookie", "te", "connection"].contains(&name.as_str());
                if !ours && !name.as_str().starts_with("x-weft-") {
                    let mut found = parsed.fields.values(&bytes, name.as_str());
                    prop_assert!(found.any(|its| its == value.as_bytes().trim_ascii()), "{name}");
                }
            }
        }
    }

    #[test]
    fn an_answer_is_one_answer_in_http1(fields in fields(), status in 200_u16..600) {
        let mut answer = ::http::Response::builder().status(status).body(()).unwrap();
        *answer.headers_mut() = fields;
        let mut bytes = answer_to_http1(&answer);
        bytes.extend_from_slice(b"\r\n");
        prop_assert_eq!(HeadScan::default().find(&bytes).unwrap(), Some(bytes.len()));
        if let Ok(parsed) = ResponseHead::parse(&bytes, true) {
            prop_assert_eq!(parsed.status, status);
        }
    }

    #[test]
    fn trailers_survive_http1_but_for_what_is_none(fields in fields()) {
        let judged = trailers::judge(fields);
        prop_assert!(judged.keys().all(|name| !name.as_str().starts_with("x-weft-") && name != "content-length"));
        let mut section = Vec::new();
        write_fields(&judged, &mut section);
        section.extend_from_slice(b"\r\n");
        if let Ok(read) = trailers::read(&section) {
            prop_assert_eq!(read.len(), judged.len());
        }
    }

    #[test]
    fn no_section_makes_the_reader_of_trailers_panic(section in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = trailers::read(&section);
    }
}

#[test]
fn a_target_is_forwarded_as_it_was_normalized() {
    let head = read("GET", "http://reviews/a/../b?x", HeaderMap::new(), true).unwrap();
    assert_eq!(head.to_http2(&forward("/b", Some("x"))).unwrap().uri(), "http://reviews/b?x");
    assert_eq!(head.to_http1(&forward("/b", None)), b"GET /b HTTP/1.1\r\nhost: reviews\r\n\r\n");
    let head = read("POST", "http://reviews/b", HeaderMap::new(), true).unwrap();
    assert_eq!(head.to_http1(&forward("/b", None)), b"POST /b HTTP/1.1\r\nhost: reviews\r\ncontent-length: 0\r\n\r\n");
}

#[test]
fn more_fields_than_a_head_may_have_are_refused_crumbs_counted() {
    let mut fields = HeaderMap::new();
    for _ in 0..100 {
        fields.append("cookie", HeaderValue::from_static("a=1"));
    }
    assert!(read("GET", "http://reviews/", fields.clone(), true).is_some());
    fields.append("cookie", HeaderValue::from_static("a=1"));
    assert!(read("GET", "http://reviews/", fields, true).is_none());
}

/// A filter's changes are the same on each way that a request can take.
#[test]
fn fields_are_edited_alike_in_both_versions() {
    let changes = weft_model::HeaderChanges {
        set: vec![weft_model::HeaderField { name: "x-set".into(), value: "new".into() }],
        add: vec![weft_model::HeaderField { name: "x-add".into(), value: "second".into() }],
        remove: vec!["x-gone".into()],
    };
    let edited = || Forward { edits: FieldEdits::of([&changes]), ..forward("/", None) };
    let check = |fields: &HeaderMap, way: &str| {
        let all =
            |name: &str| fields.get_all(name).iter().map(|it| it.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(all("x-set"), ["new"], "{way}");
        assert_eq!(all("x-add"), ["first", "second"], "{way}");
        assert_eq!(all("x-gone"), [""; 0], "{way}");
        assert_eq!(all("x-kept"), ["a"], "{way}");
    };
    let lines = "X-Set: old\r\nx-set: older\r\nX-Add: first\r\nX-Gone: b\r\nx-kept: a\r\n";
    let mut request = Request::get("http://web/");
    for line in lines.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let head = Head::read(request.body(()).unwrap().into_parts().0, true, true).unwrap();
    check(head.to_http2(&edited()).unwrap().headers(), "HTTP/2 to HTTP/2");
    let written = String::from_utf8(head.to_http1(&edited())).unwrap();
    let mut fields = HeaderMap::new();
    for (name, value) in written.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        fields.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    check(&fields, "HTTP/2 to HTTP/1.1");
}
