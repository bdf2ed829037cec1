//! What the pairs have covered, and what they must have.
use std::collections::BTreeMap;

use weft_decide::{Decision, Denied, Edited, Forwarded, InboundDecision, Lookup, Refusal};
use weft_ir::{Route, RouteAction, RouteOrigin, RuleName};
use weft_model::{
    AccessMatch, Callers, Kind, LimitFields, Object, PathMatch, PathRewrite, SpiffeId, TargetKind, TextMatch,
};

use crate::{
    cast::Member,
    compare::{Verdict, is_bad},
    configuration::Configuration,
    requests::{Form, Request},
};

/// How often each thing was seen.
#[derive(Debug, Default)]
pub(crate) struct Coverage(BTreeMap<String, u64>);

/// A pair whose sides agree.
pub(crate) struct Agreed<'a> {
    /// What was in effect.
    pub(crate) configuration: &'a Configuration,
    /// Who asked.
    pub(crate) caller: &'a Member,
    /// What was asked.
    pub(crate) request: &'a Request,
    /// What was decided.
    pub(crate) verdict: &'a Verdict,
}

impl Coverage {
    /// Counts a pair.
    pub(crate) fn count(&mut self, pair: &Agreed<'_>) {
        let Some(decision) = &pair.verdict.outbound else { return self.add("refused by the codec alone") };
        let placed = match decision {
            Decision::Forwarded(forwarded) => {
                self.forwarded(pair, forwarded);
                true
            }
            Decision::Answered(answered) => {
                match answered.answer.status {
                    204 | 418 => {
                        self.add("answered: direct response");
                        self.add(format!("direct response: {}", answered.answer.status));
                    }
                    200 if answered.answer.fields.iter().any(|(name, _)| name == "access-control-allow-origin") => {
                        self.add("preflight: allowed")
                    }
                    200 => self.add("preflight: not allowed"),
                    status => {
                        self.add("answered: redirect");
                        self.add(format!("redirect: {status}"));
                    }
                }
                self.route(pair, &answered.route);
                true
            }
            Decision::Refused(refusal) => self.refused(pair, refusal),
            Decision::Needs(_) => false,
        };
        if placed {
            self.add(pair.request.alias);
        }
        match &pair.verdict.inbound {
            Some(InboundDecision::Accepted(accepted)) => {
                self.add("allowed");
                if let Some(rule) = &accepted.rule {
                    self.rule("allowed", pair, rule);
                }
                match pair.request.form {
                    Form::Length => self.add("body of a known length"),
                    Form::Chunked => self.add("body in chunks"),
                    Form::Plain | Form::NoHost | Form::Smuggled(..) => {}
                }
            }
            Some(InboundDecision::Refused(Refusal::Denied(denied))) => match denied {
                Denied::NoPolicy { .. } => self.add("denied: no policy"),
                Denied::NoRule { others, .. } if !others.is_empty() => self.add("denied: other requests are allowed"),
                Denied::NoRule { .. } => self.add("denied: no rule"),
                Denied::Rule { rule, .. } => {
                    self.add("denied: a deny rule");
                    self.rule("denied", pair, rule);
                }
            },
            Some(InboundDecision::Refused(refusal)) => self.add(format!("inbound refusal: {}", refusal.code())),
            None => {}
        }
    }

    fn add(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    fn forwarded(&mut self, pair: &Agreed<'_>, forwarded: &Forwarded) {
        self.add("forwarded");
        self.add(format!("method {}", pair.request.method));
        let (by, place) = forwarded.picked_by.split_once(", ").unwrap_or((&forwarded.picked_by, "any place"));
        self.add(format!("picked by {by}"));
        if by.ends_with("(Maglev)") {
            self.add("picked from a table");
        }
        self.add(format!("picked from {place}"));
        if forwarded.set_cookie.is_some() {
            self.add("cookie set for affinity");
        }
        if forwarded.timeout.is_some() {
            self.add("request timeout");
        }
        if forwarded.try_timeout.is_some() {
            self.add("timeout of one try");
        }
        if forwarded.idle_timeout.is_some() {
            self.add("bound on standing still");
        }
        if forwarded.stream_timeout.is_some() {
            self.add("bound on a stream");
        }
        self.edits("request", &forwarded.request_fields);
        self.edits("answer", &forwarded.answer_fields);
        self.add(format!("copies: {}", forwarded.mirrors.len()));
        if forwarded.answer_fields.added.iter().any(|(name, _)| name == "access-control-allow-origin") {
            self.add("answer to a page of another origin");
        }
        if forwarded.target.as_deref().map(str::as_bytes) != Some(&pair.request.target[..]) {
            self.add("target rewritten by normalization");
        }
        if let Some(origin) = &forwarded.route {
            self.route(pair, origin);
        }
        let endpoints = pair.configuration.outbound(pair.caller.namespace).cluster(&forwarded.cluster);
        if let Some(entry) = endpoints {
            match entry.healthy() {
                1 => self.add("one endpoint"),
                _ => self.add("pick among several endpoints"),
            }
            if entry.healthy() < entry.endpoints().endpoints.len() {
                self.add("a draining endpoint passed over");
            }
        }
    }

    fn edits(&mut self, what: &str, Edited { dropped, added }: &Edited) {
        for name in dropped {
            let set = added.iter().any(|(its, _)| its == name);
            self.add(format!("{what} field {}", if set { "set" } else { "removed" }));
        }
        for _ in added.iter().filter(|(name, _)| !dropped.contains(name)) {
            self.add(format!("{what} field added"));
        }
    }

    /// What a refusal was; whether the host was found.
    fn refused(&mut self, pair: &Agreed<'_>, refusal: &Refusal) -> bool {
        if let Some(cause) = is_bad(refusal) {
            self.add(format!("bad request: {cause:?}"));
            return false;
        }
        self.add("refused");
        self.add(format!("refused: {}", refusal.code()));
        if let Refusal::BackendMissing { cause, .. } = refusal {
            let causes = ["does not exist", "has no port", "speaks TCP", "is in another namespace"];
            for text in causes.into_iter().filter(|text| cause.contains(text)) {
                self.add(format!("a backend {text}"));
            }
        }
        if let Refusal::BackendMissing { origin, .. } = refusal
            && let Some(route) = self.route(pair, origin)
        {
            match route.action {
                RouteAction::Forward(_) | RouteAction::Redirect(_) | RouteAction::Respond { .. } => {
                    self.add("share of a missing backend")
                }
                RouteAction::Refuse { .. } => self.add("rule without any backend"),
            }
        }
        !matches!(refusal, Refusal::NotInMesh { .. })
    }

    /// Which kinds of match the route that took the request has.
    fn route<'a>(&mut self, pair: &Agreed<'a>, origin: &RouteOrigin) -> Option<&'a Route> {
        let kind = origin.object()?.kind;
        if kind == Kind::Service {
            self.add("default route");
            return None;
        }
        let snapshot = pair.configuration.outbound(pair.caller.namespace);
        let head = weft_decide::RequestHead {
            method: pair.request.method.as_bytes(),
            authority: pair.request.authority.as_bytes(),
            target: &pair.request.target,
            headers: &[],
            source: None,
        };
        let normal = weft_decide::normalize(snapshot.scope(), &head).ok()?;
        let Lookup::Present(host) = snapshot.host(normal.authority.host(), normal.authority.port()) else {
            return None;
        };
        let route = host.virtual_host().routes.iter().find(|route| route.origin == *origin)?;
        self.add(match route.matches.path {
            PathMatch::Exact(_) => "path match: exact",
            PathMatch::Prefix(_) => "path match: prefix",
            PathMatch::Regex(_) => "path match: regex",
        });
        if kind == Kind::GrpcRoute {
            self.add("route for calls");
        }
        for parameter in &route.matches.query {
            self.add(match parameter.value {
                TextMatch::Exact(_) => "query match: exact",
                TextMatch::Regex(_) => "query match: regex",
            });
        }
        let rewrite = route.rewrite.as_deref();
        if rewrite.is_some_and(|rewrite| rewrite.host.is_some()) {
            self.add("host rewrite");
        }
        match rewrite.and_then(|rewrite| rewrite.path.as_ref()) {
            Some(PathRewrite::Full(_)) => self.add("path rewrite: full"),
            Some(PathRewrite::Prefix(_)) => self.add("path rewrite: prefix"),
            None => {}
        }
        if route.matches.method.is_some() {
            self.add("method match");
        }
        for header in &route.matches.headers {
            self.add(match header.value {
                TextMatch::Exact(_) => "header match: exact",
                TextMatch::Regex(_) => "header match: regex",
            });
        }
        if let RouteAction::Forward(clusters) = &route.action
            && clusters.len() > 1
        {
            self.add("weighted split");
        }
        Some(route)
    }

    /// By which kinds of callers, and at which level, a rule applied.
    fn rule(&mut self, action: &str, pair: &Agreed<'_>, rule: &RuleName) {
        let Some(Object::AccessPolicy(policy)) = pair.configuration.objects.get(&rule.policy).map(|it| &it.object)
        else {
            return;
        };
        let written = usize::try_from(rule.rule).ok().and_then(|place| policy.rules.get(place));
        for callers in written.into_iter().flat_map(|rule| &rule.from) {
            if let Some(kind) = matching(callers, &pair.caller.identity(), pair.caller) {
                self.add(format!("{action} by {kind}"));
            }
        }
        for asks in written.into_iter().flat_map(|rule| &rule.matches) {
            self.request(action, asks);
        }
        for target in &policy.targets {
            self.add(match target.kind {
                TargetKind::Mesh => format!("{action} by a policy of the mesh"),
                TargetKind::Namespace => format!("{action} by a policy of a namespace"),
                TargetKind::Service | TargetKind::HttpRoute | TargetKind::GrpcRoute => {
                    format!("{action} by a policy of a service")
                }
            });
        }
        if pair.caller.domain != crate::cast::OWN_DOMAIN {
            self.add(format!("{action} from another trust domain"));
        }
    }

    /// Which parts the match has by which a rule applied; each rule here has one.
    fn request(&mut self, action: &str, AccessMatch { methods, path, hosts, headers }: &AccessMatch) {
        let path = path.as_ref().map(|path| match path {
            PathMatch::Exact(_) => "exact path",
            PathMatch::Prefix(_) => "path prefix",
            PathMatch::Regex(_) => "path regex",
        });
        let headers = headers.iter().map(|header| match header.value {
            TextMatch::Exact(_) => "exact header",
            TextMatch::Regex(_) => "header regex",
        });
        let method = (!methods.is_empty()).then_some("method");
        let host = (!hosts.is_empty()).then_some("host");
        for part in path.into_iter().chain(headers).chain(method).chain(host) {
            self.add(format!("{action} by {part}"));
        }
    }

    /// Counts the fields of a configuration's policies: those that decide nothing as long as all goes well leave no trace in
    /// a pair.
    pub(crate) fn drawn(&mut self, configuration: &Configuration) {
        for stored in configuration.objects.values() {
            let Object::TrafficPolicy(policy) = &stored.object else { continue };
            let fields = [
                ("loadBalancing", policy.balancing.is_some()),
                ("locality", policy.locality.is_some()),
                ("slowStart", policy.slow_start.is_some()),
                ("affinity", policy.affinity.is_some()),
                ("limits", policy.limits != LimitFields::default()),
                ("circuitBreaker", policy.breaker.is_some()),
                ("outlierEjection", policy.ejection.is_some()),
                ("healthCheck", policy.health_check.is_some()),
                ("retries", policy.retries.is_some()),
                ("timeouts.request", policy.request_timeout.is_some()),
                ("timeouts.idle", policy.idle_timeout.is_some()),
                ("timeouts.stream", policy.stream_timeout.is_some()),
            ];
            for (field, _) in fields.into_iter().filter(|(_, written)| *written) {
                self.add(format!("policy: {field}"));
            }
        }
    }

    /// What was seen less often than it must be among so many pairs. Nothing is asked of fewer than ten thousand, which
    /// come of too few configurations to hold enough of each kind.
    pub(crate) fn missing(&self, pairs: u64) -> Vec<String> {
        if pairs < 10_000 {
            return Vec::new();
        }
        let seen = |what: &str| self.0.get(what).copied().unwrap_or(0);
        let short = REQUIRED.iter().filter_map(|&(what, of_ten_thousand)| {
            let share = pairs * of_ten_thousand / 10_000;
            let wanted = if pairs >= MANY { share.max(EACH) } else { share };
            (seen(what) < wanted).then(|| format!("{what}: {} of at least {wanted}", seen(what)))
        });
        short.collect()
    }

    /// Everything that was counted, a line each.
    pub(crate) fn table(&self) -> String {
        self.0.iter().map(|(what, count)| format!("{count:>8} {what}\n")).collect()
    }
}

/// Which kind of callers it is, if `identity` is one of them. Written anew, so that a mistake of the compiler shows.
fn matching(callers: &Callers, identity: &SpiffeId, member: &Member) -> Option<&'static str> {
    let own = member.domain == crate::cast::OWN_DOMAIN;
    match callers {
        Callers::Anyone => Some("anyone"),
        Callers::Identity(id) => (id == identity).then_some("identity"),
        Callers::Namespace(namespace) => (own && namespace.as_str() == member.namespace).then_some("namespace"),
        Callers::Account(namespace, account) => {
            (own && namespace.as_str() == member.namespace && account.as_str() == member.account).then_some("account")
        }
    }
}

/// From so many pairs on, each kind must be seen at least so often.
const MANY: u64 = 1_000_000;
const EACH: u64 = 1_000;

/// What must be seen, and at least how often among ten thousand pairs: at most a third of what is expected, and less
/// where whole configurations have it or not.
const REQUIRED: &[(&str, u64)] = &[
    ("a backend does not exist", 10),
    ("a backend has no port", 30),
    ("a backend is in another namespace", 5),
    ("a backend speaks TCP", 5),
    ("a draining endpoint passed over", 75),
    ("allowed", 200),
    ("answer to a page of another origin", 3),
    ("answer field added", 30),
    ("answer field removed", 30),
    ("answer field set", 30),
    ("answered: direct response", 1000),
    ("answered: redirect", 1000),
    ("allowed by a policy of a namespace", 35),
    ("allowed by a policy of a service", 60),
    ("allowed by a policy of the mesh", 25),
    ("allowed by account", 15),
    ("allowed by anyone", 75),
    ("allowed by identity", 20),
    ("allowed by namespace", 25),
    ("allowed by exact header", 2),
    ("allowed by exact path", 2),
    ("allowed by header regex", 2),
    ("allowed by host", 2),
    ("allowed by method", 2),
    ("allowed by path prefix", 2),
    ("allowed by path regex", 2),
    ("allowed from another trust domain", 15),
    ("bad request: Fragment", 30),
    ("bad request: HostList", 15),
    ("bad request: HostMismatch", 15),
    ("bad request: HostMissing", 50),
    ("bad request: HostName", 50),
    ("bad request: HostPort", 30),
    ("bad request: HostUserInfo", 10),
    ("bad request: Method", 15),
    ("bad request: PathCharacter", 30),
    ("bad request: PathEncoding", 40),
    ("bad request: PathParameter", 40),
    ("bad request: PathSeparator", 30),
    ("bad request: Query", 20),
    ("bad request: TargetForm", 30),
    ("bad request: TargetTooLong", 10),
    ("body in chunks", 50),
    ("body of a known length", 50),
    ("bound on a stream", 200),
    ("bound on standing still", 200),
    ("copies: 1", 20),
    ("cookie set for affinity", 10),
    ("default route", 600),
    ("denied by a policy of a namespace", 5),
    ("denied by a policy of a service", 5),
    ("denied by a policy of the mesh", 5),
    ("denied by account", 5),
    ("denied by anyone", 5),
    ("denied by identity", 5),
    ("denied by namespace", 5),
    ("denied by exact header", 2),
    ("denied by exact path", 2),
    ("denied by header regex", 2),
    ("denied by host", 2),
    ("denied by method", 2),
    ("denied by path prefix", 2),
    ("denied by path regex", 2),
    ("denied from another trust domain", 5),
    ("denied: a deny rule", 150),
    ("denied: no policy", 350),
    ("denied: no rule", 300),
    ("denied: other requests are allowed", 100),
    ("direct response: 204", 5),
    ("direct response: 418", 10),
    ("forwarded", 1400),
    ("header match: exact", 75),
    ("header match: regex", 75),
    ("host as svc", 300),
    ("host as svc.ns", 400),
    ("host as svc.ns.svc", 300),
    ("host in full", 500),
    ("host in upper case", 200),
    ("host rewrite", 30),
    ("host with a port", 150),
    ("host with a trailing dot", 250),
    ("host with an empty port", 90),
    ("host with port 80", 200),
    ("method DELETE", 150),
    ("method GET", 500),
    ("method HEAD", 150),
    ("method OPTIONS", 100),
    ("method POST", 150),
    ("method PUT", 150),
    ("method match", 75),
    ("one endpoint", 650),
    ("path match: exact", 300),
    ("path match: prefix", 400),
    ("path match: regex", 150),
    ("path rewrite: full", 15),
    ("path rewrite: prefix", 15),
    ("pick among several endpoints", 700),
    ("picked by chance", 10),
    ("picked by chance: the request has no key", 10),
    ("picked by round robin", 400),
    ("picked by the fewest requests of two", 10),
    ("picked by the hash of cookie session", 10),
    ("picked by the hash of header x-user", 5),
    ("picked by the hash of query parameter v", 3),
    ("picked by the hash of source address", 10),
    ("picked by the least peak EWMA of two", 10),
    ("picked from a table", 1),
    ("picked from elsewhere", 20),
    ("picked from own region", 20),
    ("picked from own zone", 20),
    ("preflight: allowed", 5),
    ("query match: exact", 20),
    ("query match: regex", 20),
    ("redirect: 301", 5),
    ("redirect: 302", 5),
    ("redirect: 303", 5),
    ("redirect: 307", 5),
    ("redirect: 308", 5),
    ("policy: affinity", 5),
    ("policy: circuitBreaker", 5),
    ("policy: healthCheck", 5),
    ("policy: limits", 5),
    ("policy: loadBalancing", 5),
    ("policy: locality", 5),
    ("policy: outlierEjection", 5),
    ("policy: retries", 5),
    ("policy: slowStart", 5),
    ("policy: timeouts.idle", 5),
    ("policy: timeouts.request", 5),
    ("policy: timeouts.stream", 5),
    ("refused", 1000),
    ("refused by the codec alone", 20),
    ("refused: backend-missing", 100),
    ("refused: no-healthy-endpoint", 450),
    ("refused: no-route", 500),
    ("refused: no-tunnel", 3),
    ("refused: not-in-mesh", 200),
    ("request field added", 30),
    ("request field removed", 30),
    ("request field set", 30),
    ("request timeout", 250),
    ("route for calls", 40),
    ("rule without any backend", 40),
    ("share of a missing backend", 25),
    ("target rewritten by normalization", 700),
    ("timeout of one try", 50),
    ("weighted split", 250),
];
