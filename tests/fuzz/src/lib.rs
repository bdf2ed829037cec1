//! Fuzz targets: plain functions from bytes to a verdict, one for each parser of bytes that users or peers send.
//!
//! A target panics where a promise is broken: the parser itself never panics, and what it accepts keeps its properties.
//! `tests/corpus.rs` runs each over its corpus and seeded mutations of it; a coverage-guided fuzzer can call them as
//! they are.
mod h1;
mod policy;
mod translate;

use std::time::UNIX_EPOCH;

use weft_certs::kept::{self, Label};
use weft_decide::{
    RequestHead, Scope, TraceParent, cookie, detect, normalize, read_deadline, read_grpc_timeout, write_deadline,
    write_grpc_timeout,
};
use weft_ir::{Dialect, View};
use weft_model::{SpiffeId, decode::decode};
use weft_proxy::agent::LastGood;
use weft_xds::{encode, type_url};

pub use h1::{h1_chunks, h1_request, h1_response};
pub use policy::policy_of_paths;
pub use translate::{grpc_web_text, h2_head, h2_trailers};

/// A target: panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target with the name of its corpus' folder.
pub const TARGETS: [(&str, Target); 17] = [
    ("yaml", yaml_to_model),
    ("wire", wire_to_ir),
    ("detection", detection),
    ("spiffe", spiffe_id),
    ("path", path_normalization),
    ("policy", policy_of_paths),
    ("authority", authority_normalization),
    ("cookie", cookie_value),
    ("hop", hop_fields),
    ("join", join_file),
    ("kept", kept_file),
    ("h1-request", h1_request),
    ("h1-response", h1_response),
    ("h1-chunks", h1_chunks),
    ("h2-head", h2_head),
    ("h2-trailers", h2_trailers),
    ("grpc-web", grpc_web_text),
];

/// What a hop reads of `traceparent`, `grpc-timeout` and `x-weft-deadline`: what it takes it passes on as the same trace,
/// and never as a longer time.
pub fn hop_fields(bytes: &[u8]) {
    if let Some(parent) = TraceParent::read(bytes) {
        let next = parent.next(7);
        assert_eq!(TraceParent::read(next.to_string().as_bytes()), Some(next));
        assert_eq!((next.trace, next.flags), (parent.trace, parent.flags));
    }
    let grpc = read_grpc_timeout(bytes).map(|left| (left, read_grpc_timeout(write_grpc_timeout(left).as_bytes())));
    let ours = read_deadline(bytes).map(|left| (left, read_deadline(write_deadline(left).as_bytes())));
    for (left, passed_on) in [grpc, ours].into_iter().flatten() {
        assert!(passed_on.is_some_and(|passed_on| passed_on <= left), "{left:?} {passed_on:?}");
    }
}

/// YAML or JSON to objects: what is decoded can be written and decoded again to the same.
pub fn yaml_to_model(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for (object, _) in decode("fuzz.yaml", text).objects {
        let written = weft_model::encode::to_yaml(&object);
        let again = decode("again.yaml", &written);
        assert!(again.diagnostics.iter().all(|it| !it.is_error()), "{written}\n{:?}", again.diagnostics);
        assert_eq!(again.objects.len(), 1, "{written}");
        assert!(again.objects.iter().all(|(it, _)| *it == object), "{written}");
    }
}

/// xDS to IR, the first byte choosing the type: what is accepted encodes to something that decodes to the same.
pub fn wire_to_ir(bytes: &[u8]) {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    let types = weft_ir::ResourceType::ALL;
    let resource_type = types[usize::from(choice) % types.len()];
    let name_end = rest.iter().position(|&byte| byte == 0).unwrap_or(0);
    let name = String::from_utf8_lossy(&rest[..name_end]);
    let message = rest.get(name_end + 1..).unwrap_or_default();
    if let Ok(resource) = weft_xds::decode(type_url(resource_type), &name, message) {
        let encoded = encode(&resource, &View { dialect: Dialect::Weft });
        let again = weft_xds::decode(type_url(resource_type), &name, &encoded.bytes);
        assert_eq!(again.as_ref().ok(), Some(&resource));
    }
}

/// Protocol detection: more bytes never change an answer that was final.
pub fn detection(bytes: &[u8]) {
    let mut last = None;
    for end in 0..=bytes.len().min(512) {
        let now = detect(&bytes[..end]);
        if let Some(last) = last
            && last != weft_decide::Detection::More
        {
            assert_eq!(last, now, "after {end} bytes");
        }
        last = Some(now);
    }
    detect(bytes);
}

/// SPIFFE IDs: what is accepted prints as it was read.
pub fn spiffe_id(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<SpiffeId>() {
        assert_eq!(id.to_string(), text);
        assert!(id.is_of(&id.trust_domain()));
        assert!(!id.path().contains("//") && !id.path().contains("/../") && !id.path().contains('%'));
    }
}

/// Paths: what is accepted is a fixed point and holds nothing that could be read in two ways.
pub fn path_normalization(bytes: &[u8]) {
    let head = RequestHead { method: b"GET", authority: b"catalog.shop", target: bytes, headers: &[], source: None };
    let scope = scope();
    let Ok(normal) = normalize(&scope, &head) else { return };
    let forwarded = normal.target.to_string();
    let path = forwarded.split('?').next().unwrap_or_default();
    assert!(path.starts_with('/'), "{forwarded:?}");
    assert!(!path.contains("//") && !path.contains('\\') && !path.contains('#'), "{forwarded:?}");
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    assert!(!path.split('/').any(dots), "{forwarded:?}");
    let lower = path.to_ascii_lowercase();
    assert!(!lower.contains("%2f") && !lower.contains("%5c") && !lower.contains("%2e"), "{forwarded:?}");
    let head = RequestHead { target: forwarded.as_bytes(), ..head };
    let again = normalize(&scope, &head).unwrap_or_else(|error| panic!("{forwarded:?} is refused: {error}"));
    assert_eq!(again.target.to_string(), forwarded);
}

/// Authorities: what is accepted is lower case, has no user information, and is a fixed point.
pub fn authority_normalization(bytes: &[u8]) {
    let head = RequestHead { method: b"GET", authority: bytes, target: b"/", headers: &[], source: None };
    let scope = scope();
    let Ok(normal) = normalize(&scope, &head) else { return };
    let Ok(canonical) = normal.authority.host_port() else { return };
    let text = canonical.to_string();
    assert!(!text.contains(['@', ',', ' ']) && text == text.to_ascii_lowercase(), "{text:?}");
    let head = RequestHead { authority: text.as_bytes(), ..head };
    let again = normalize(&scope, &head).unwrap_or_else(|error| panic!("{text:?} is refused: {error}"));
    assert_eq!(again.authority.host_port().ok(), Some(canonical));
}

/// Cookies: a value that is found has an end, is found again when it is written between others, and does not depend on
/// how pairs are spread over fields (RFC 9113 §8.2.3).
pub fn cookie_value(bytes: &[u8]) {
    const NAME: &[u8] = b"weft-affinity";
    let found = cookie(&[(b"cookie", bytes)], NAME);
    let spread: Vec<(&[u8], &[u8])> = bytes.split(|byte| *byte == b';').map(|pair| (&b"Cookie"[..], pair)).collect();
    assert_eq!(cookie(&spread, NAME), found);
    let Some(value) = found else { return };
    assert!(!value.is_empty() && !value.contains(&b';'));
    let written = [b"a=1; weft-affinity=\"", value, b"\"; weft-affinity=2"].concat();
    assert_eq!(cookie(&[(b"x-other", bytes), (b"cookie", &written)], NAME), Some(value));
    assert_eq!(cookie(&[(b"set-cookie", bytes)], NAME), None);
}

/// Join files.
pub fn join_file(bytes: &[u8]) {
    // Nothing more is promised than an answer.
    let _answer = weft_certs::join::JoinFile::parse(bytes, "fuzz");
}

/// Files of the state directory: bytes that nobody sealed or summed up are refused without more ado; as the content of a
/// file that somebody did, they come back whole, and what is taken of them as a configuration is kept as the same.
pub fn kept_file(bytes: &[u8]) {
    let label = Label { kind: "last-good.kept", owner: "spiffe://weft.local/ns/shop/sa/web" };
    let _refused = kept::read(label, bytes, None);
    let _guess = kept::is_sealed(bytes);
    let content = match kept::read(label, bytes, None) {
        Ok(kept) => kept.content.to_vec(),
        Err(_) => bytes.to_vec(),
    };
    let file = kept::write(label, UNIX_EPOCH, &content, None).expect("a short label");
    assert!(kept::read(label, &file, None).is_ok_and(|kept| *kept.content == content));
    if let Ok(last_good) = LastGood::decode(&content) {
        let again = LastGood::decode(&last_good.encode());
        assert_eq!(again.as_ref(), Ok(&last_good));
    }
}

pub(crate) fn scope() -> Scope {
    let names = weft_ir::MeshNames {
        trust_domain: weft_model::TrustDomain::default_domain(),
        mesh_domain: weft_model::Host::default_mesh_domain(),
        cluster: weft_model::ClusterName::local(),
    };
    Scope { namespace: weft_model::Namespace::default_namespace(), names, locality: Default::default() }
}
