//! Policy against the application behind it.
use std::sync::LazyLock;

use weft_decide::{Normal, RequestHead, Snapshot, normalize, permit_request};
use weft_ir::{
    Access, AccessRule, Caller, Inbound, InboundChain, Listener, ListenerBody, RequestMatch, Resource, RuleName,
    ServicePort,
};
use weft_model::{AccessAction, Kind, ObjectRef, PathMatch, Port, Protocol, SpiffeId};

use crate::scope;

/// Paths that rules are about, as they are written and as an application reads them.
const PROTECTED: [(&str, &str); 4] =
    [("/admin", "/admin"), ("/a@b/keys", "/a@b/keys"), ("/v1%2C2", "/v1,2"), ("/caf%C3%A9/x", "/café/x")];

/// What policy decides of a target is what it decides of the target that the application sees; what a rule denies is
/// denied in every way in which an application may read it, and what it allows is what was meant in each.
pub fn policy_of_paths(bytes: &[u8]) {
    let (scope, caller) = (scope(), caller());
    let head = RequestHead { method: b"GET", authority: b"catalog", target: bytes, headers: &[], source: None };
    // What has no normal form is 400: no application sees it.
    let Ok(raw) = normalize(&scope, &head) else { return };
    let forwarded = raw.target.to_string();
    let head = RequestHead { target: forwarded.as_bytes(), ..head };
    let seen = normalize(&scope, &head).unwrap_or_else(|error| panic!("{forwarded:?} is refused: {error}"));
    let passes = |chain: usize, request: &Normal<'_>| {
        let chain = CHAINS.chain(&server_name(chain)).expect("a chain of each number");
        permit_request(chain, &caller, request).is_ok()
    };
    for chain in 0..2 * PROTECTED.len() {
        assert_eq!(passes(chain, &raw), passes(chain, &seen), "{forwarded:?} by chain {chain}");
    }
    let path = forwarded.split('?').next().unwrap_or_default();
    for (number, (written, meant)) in PROTECTED.iter().enumerate() {
        let (denied, allowed) = (!passes(2 * number, &raw), passes(2 * number + 1, &raw));
        for reading in readings(path.as_bytes()) {
            let told = || format!("{forwarded:?}, read as {:?}, under {written}", String::from_utf8_lossy(&reading));
            assert!(denied || !is_below(&reading, meant.as_bytes()), "let past a denying rule: {}", told());
            let below = [meant, written].iter().any(|prefix| is_below(&reading, prefix.as_bytes()));
            assert!(!allowed || below, "let in by an allowing rule: {}", told());
        }
    }
}

/// For each protected path a chain that denies it and allows the rest, and one that allows nothing else.
static CHAINS: LazyLock<Snapshot> = LazyLock::new(|| {
    let chains = PROTECTED.iter().enumerate().flat_map(|(number, (written, _))| {
        let asks = RequestMatch {
            methods: Vec::new(),
            path: Some(PathMatch::Prefix((*written).to_owned())),
            hosts: Vec::new(),
            headers: Vec::new(),
        };
        let deny = rule(0, AccessAction::Deny, vec![asks.clone()]);
        let rest = rule(1, AccessAction::Allow, Vec::new());
        [(2 * number, vec![deny, rest]), (2 * number + 1, vec![rule(0, AccessAction::Allow, vec![asks])])]
    });
    let chains = chains.map(|(number, rules)| chain(number, rules)).collect();
    let workload = weft_model::WorkloadRef { namespace: valid("default"), name: valid("catalog-0") };
    let listener = Listener {
        name: Listener::inbound_name(&workload),
        body: ListenerBody::Inbound(Inbound { workload, chains }),
        origins: Vec::new(),
    };
    let resources = [Resource::Listener(listener.into())];
    Snapshot::complete(scope(), "1", resources).expect("rules without expressions")
});

fn server_name(chain: usize) -> String {
    format!("chain-{chain}")
}

fn chain(number: usize, rules: Vec<AccessRule>) -> InboundChain {
    let service: ServicePort = valid(&format!("local/default/catalog:{}", 8000 + number));
    InboundChain {
        sni: server_name(number),
        host: valid("catalog.default.svc.cluster.local"),
        service,
        protocol: Protocol::Http,
        application_port: Port::HTTP,
        access: Access { policies: vec![policy()], rules },
    }
}

fn rule(place: u32, action: AccessAction, requests: Vec<RequestMatch>) -> AccessRule {
    let name = RuleName { policy: policy(), rule: place };
    AccessRule { name, action, callers: vec![Caller::Anyone], requests }
}

fn policy() -> ObjectRef {
    ObjectRef { kind: Kind::AccessPolicy, namespace: valid("default"), name: valid("catalog") }
}

fn caller() -> SpiffeId {
    valid("spiffe://weft.local/ns/default/sa/web")
}

fn valid<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

/// The paths that applications may take a path for: they decode it, cut parameters off, in either order, and resolve what
/// they have then. Written for itself, so that a mistake of normalization or policy shows.
fn readings(path: &[u8]) -> Vec<Vec<u8>> {
    let decoded = decode(path);
    let cut = without_parameters(path);
    let read = [path.to_vec(), decode(&cut), without_parameters(&decoded), decoded, cut];
    read.into_iter().map(|path| resolve(&path)).collect()
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                rest = &tail[2..];
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    out
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|byte| *byte == b'/').map(|segment| segment.split(|byte| *byte == b';').next());
    segments.map(Option::unwrap_or_default).collect::<Vec<_>>().join(&b'/')
}

/// Slashes either way, no empty segments, no dot segments.
fn resolve(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| matches!(byte, b'/' | b'\\')) {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    [b"/", &*segments.join(&b'/')].concat()
}

fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
