//! Random requests to a configuration: some that a route was written for, some that miss, and every known way to write
//! a request that two readers could take for two different ones.
use weft_model::{
    AccessMatch, AnyRoute, HeaderMatch, HttpMatch, Object, PathMatch, PolicyTarget, Protocol, Service, TargetKind,
};

use crate::{
    cast::Member,
    configuration::Configuration,
    dice::Dice,
    filters::{CALLS, ORIGINS, QUERIES},
    objects::{HEADERS, PATH_REGEXES, PATHS, SERVICES},
};

/// The header by which the application tells which request reached it.
pub(crate) const PAIR: &str = "x-pair";

/// A request as it goes onto the wire, and as the evaluator sees it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Its number in the run.
    pub(crate) pair: u64,
    /// The method.
    pub(crate) method: String,
    /// The value of Host.
    pub(crate) authority: String,
    /// The target.
    pub(crate) target: Vec<u8>,
    /// The further fields, in order.
    pub(crate) headers: Vec<(String, String)>,
    /// What makes it special on the wire.
    pub(crate) form: Form,
    /// How the host is written, for the coverage.
    pub(crate) alias: &'static str,
}

/// How a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A head without a body.
    Plain,
    /// A body of a known length.
    Length,
    /// A body in chunks.
    Chunked,
    /// Without Host.
    NoHost,
    /// What the codec refuses before there is a request to decide on: the first field line, and what is said of it.
    Smuggled(&'static str, &'static str),
}

/// Heads that two servers could frame or address differently.
const SMUGGLED: [Form; 5] = [
    Form::Smuggled("Host: other", "Host occurs more than once"),
    Form::Smuggled(
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length and Transfer-Encoding occur together",
    ),
    Form::Smuggled("Content-Length: 4\r\nContent-Length: 5", "Content-Length occurs more than once"),
    Form::Smuggled("Transfer-Encoding: chunked, identity", "Transfer-Encoding is not exactly chunked"),
    Form::Smuggled("Connection: host", "Connection names a field that must not be removed"),
];

/// The body of requests that have one.
pub(crate) const BODY: &str = "twelve bytes";

impl Request {
    /// A request that nobody stands behind, to see that a configuration is in effect.
    pub(crate) fn probe(service: &str) -> Self {
        Self {
            pair: u64::MAX,
            method: "GET".to_owned(),
            authority: format!("{service}.probe"),
            target: b"/".to_vec(),
            headers: Vec::new(),
            form: Form::Plain,
            alias: "host as svc.ns",
        }
    }

    /// Its bytes on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} ", self.method).into_bytes();
        bytes.extend_from_slice(&self.target);
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in self.fields() {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if let Form::Smuggled(lines, _) = self.form {
            bytes.extend_from_slice(format!("{lines}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        match self.form {
            Form::Length => bytes.extend_from_slice(BODY.as_bytes()),
            Form::Chunked => {
                bytes.extend_from_slice(format!("6\r\n{}\r\n6\r\n{}\r\n0\r\n\r\n", &BODY[..6], &BODY[6..]).as_bytes())
            }
            Form::Plain | Form::NoHost | Form::Smuggled(..) => {}
        }
        bytes
    }

    /// The field lines, values as they are written.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        if self.form != Form::NoHost {
            fields.push(("Host".to_owned(), self.authority.clone()));
        }
        fields.push((PAIR.to_owned(), self.pair.to_string()));
        match self.form {
            Form::Length => fields.push(("Content-Length".to_owned(), BODY.len().to_string())),
            Form::Chunked => fields.push(("Transfer-Encoding".to_owned(), "chunked".to_owned())),
            Form::Plain | Form::NoHost | Form::Smuggled(..) => {}
        }
        fields.extend(self.headers.iter().cloned());
        fields
    }

    /// A random request of `caller`.
    pub(crate) fn generate(dice: &mut Dice, configuration: &Configuration, caller: &Member, pair: u64) -> Self {
        let all: Vec<&Service> = configuration.objects.values().filter_map(|it| service(&it.object)).collect();
        let services: Vec<&Service> =
            all.iter().copied().filter(|it| it.meta.name.as_str() != configuration.probe).collect();
        let own: Vec<&Service> =
            services.iter().copied().filter(|it| it.meta.namespace.as_str() == caller.namespace).collect();
        let known = if dice.percent(50) && !own.is_empty() { own } else { services };
        // Rarely there is none at all: the probe's then.
        let known = if known.is_empty() { all } else { known };
        let service = *dice.pick(&known);
        let (authority, alias) = host(dice, service, caller);
        let mut request = Self {
            pair,
            method: (*dice.pick(&["GET", "GET", "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"])).to_owned(),
            authority,
            target: Vec::new(),
            headers: Vec::new(),
            form: *dice.pick(&[Form::Plain, Form::Plain, Form::Plain, Form::Length, Form::Chunked]),
            alias,
        };
        let mut path = (*dice.pick(&PATHS)).to_owned();
        let matches = a_match(dice, configuration, service);
        if let Some(matches) = &matches {
            path = request.fit(dice, matches);
        }
        if let Some(asks) = an_access_match(dice, configuration, service) {
            let wanted = request.fit_access(dice, &asks);
            // Mostly the path that a route is for leads further than the one that a rule is about.
            path = wanted.filter(|_| matches.is_none() || dice.percent(30)).unwrap_or(path);
        }
        if dice.percent(20) {
            request.add_header(dice);
        }
        if dice.percent(25) {
            request.of_a_page(dice);
        }
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            // What affinity may look at.
            None => (path, dice.percent(15).then(|| "v=2".to_owned())),
        };
        let written = target(dice, &path);
        request.target = match query {
            Some(query) if !written.contains('?') => format!("{written}?{query}"),
            Some(_) | None => written,
        }
        .into_bytes();
        match dice.below(100) {
            0..13 => attack(dice, &path, &mut request),
            13..17 => absolute(dice, &mut request),
            _ => {}
        }
        request
    }

    /// Makes it a request that a match takes, or nearly; its path, with a query where the match asks for one.
    fn fit(&mut self, dice: &mut Dice, HttpMatch { path, method, headers, query }: &HttpMatch) -> String {
        if let Some(method) = method.as_ref().filter(|_| dice.percent(85)) {
            self.method = method.0.clone();
        }
        self.fit_headers(dice, headers);
        let path = fitting(dice, path);
        let values = query.iter().filter_map(|parameter| {
            let is = |(name, _, value, _): &&(&str, bool, &str, &str)| {
                *name == parameter.name
                    && match &parameter.value {
                        weft_model::TextMatch::Exact(text) | weft_model::TextMatch::Regex(text) => text == value,
                    }
            };
            QUERIES.iter().find(is).map(|(name, _, _, value)| format!("{name}={value}"))
        });
        let values: Vec<_> = values.collect();
        match values.first().filter(|_| dice.percent(85)) {
            Some(value) if dice.percent(30) => format!("{path}?other=1&{value}&{value}x"),
            Some(value) => format!("{path}?{value}"),
            None => path,
        }
    }

    /// Makes it a request that an access rule is about, or nearly; the path that it needs for that.
    fn fit_access(&mut self, dice: &mut Dice, asks: &AccessMatch) -> Option<String> {
        if !asks.methods.is_empty() && dice.percent(85) {
            self.method = dice.pick(&asks.methods).0.clone();
        }
        self.fit_headers(dice, &asks.headers);
        asks.path.as_ref().map(|path| fitting(dice, path))
    }

    fn fit_headers(&mut self, dice: &mut Dice, headers: &[HeaderMatch]) {
        for header in headers {
            let is = |(name, _, value, _): &&(&str, bool, &str, &[&str])| {
                *name == header.name
                    && match &header.value {
                        weft_model::TextMatch::Exact(text) | weft_model::TextMatch::Regex(text) => text == value,
                    }
            };
            if let Some((name, _, _, lines)) = HEADERS.iter().find(is).filter(|_| dice.percent(85)) {
                self.add_lines(dice, name, lines);
            }
        }
    }

    /// As a browser sends it for a page, or asks before it would.
    fn of_a_page(&mut self, dice: &mut Dice) {
        self.headers.push(("Origin".to_owned(), (*dice.pick(&ORIGINS)).to_owned()));
        if dice.percent(50) {
            self.method = "OPTIONS".to_owned();
            self.headers.push(("Access-Control-Request-Method".to_owned(), "PUT".to_owned()));
            self.headers.push(("Access-Control-Request-Headers".to_owned(), "x-user".to_owned()));
        }
    }

    fn add_header(&mut self, dice: &mut Dice) {
        let (name, _, _, lines) = dice.pick(&HEADERS);
        self.add_lines(dice, name, lines);
    }

    /// Names in any case, values with white space around them: neither changes what is meant.
    fn add_lines(&mut self, dice: &mut Dice, name: &str, lines: &[&str]) {
        let name = if dice.percent(30) { name.to_ascii_uppercase() } else { name.to_owned() };
        let space = if dice.percent(20) { " \t" } else { "" };
        self.headers.extend(lines.iter().map(|line| (name.clone(), format!("{space}{line}{space}"))));
    }
}

/// A path that a match takes, or nearly.
fn fitting(dice: &mut Dice, path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => path.clone(),
        PathMatch::Prefix(path) => {
            let stem = path.trim_end_matches('/');
            let rest = *dice.pick(&["", "/", "/more", "/more/and/more", "beside"]);
            if stem.is_empty() && !rest.starts_with('/') { format!("/{rest}") } else { format!("{stem}{rest}") }
        }
        PathMatch::Regex(source) => {
            if source.starts_with("/[^/]+/") || source.starts_with("/(?:") {
                let (service, method) = dice.pick(&CALLS);
                return format!("/{service}/{method}");
            }
            let known = PATH_REGEXES.iter().find(|(its, _)| its == source).map_or(["/", "/"], |(_, paths)| *paths);
            (*dice.pick(&known)).to_owned()
        }
    }
}

fn service(object: &Object) -> Option<&Service> {
    match object {
        Object::Service(service) => Some(service),
        _ => None,
    }
}

/// A match of calls as one of requests.
fn called(it: &weft_model::GrpcMatch) -> HttpMatch {
    let path = it.method.as_ref().map_or_else(|| PathMatch::Prefix("/".to_owned()), |method| method.path());
    HttpMatch { path, method: None, headers: it.headers.clone(), query: Vec::new() }
}

/// A match of a route that the service is a parent of.
fn a_match(dice: &mut Dice, configuration: &Configuration, service: &Service) -> Option<HttpMatch> {
    let Service { meta, .. } = service;
    let is_parent = |route: &AnyRoute<'_>| {
        route.parents().iter().any(|parent| parent.name == meta.name && parent.namespace == meta.namespace)
    };
    let routes = configuration.objects.values().filter_map(|stored| AnyRoute::of(&stored.object));
    let (mut answered, mut carried) = (Vec::new(), Vec::new());
    for route in routes.filter(is_parent) {
        match route {
            AnyRoute::Http(route) => {
                for rule in &route.rules {
                    let matches = if rule.filters.answers() { &mut answered } else { &mut carried };
                    matches.extend(rule.matches.iter().cloned());
                }
            }
            AnyRoute::Grpc(route) => carried.extend(route.rules.iter().flat_map(|rule| &rule.matches).map(called)),
        }
    }
    // What is answered by the proxy itself would be asked for too seldom.
    let preferred = if dice.percent(85) && !answered.is_empty() { answered } else { carried };
    (!preferred.is_empty() && dice.percent(90)).then(|| dice.pick(&preferred).clone())
}

/// What a rule of an access policy that holds for the service asks for, now and then.
fn an_access_match(dice: &mut Dice, configuration: &Configuration, service: &Service) -> Option<AccessMatch> {
    let policies = configuration.objects.values().filter_map(|stored| match &stored.object {
        Object::AccessPolicy(policy) => Some(policy),
        _ => None,
    });
    let holds = |target: &PolicyTarget| match target.kind {
        TargetKind::Service => {
            target.name == service.meta.name && target.namespace.as_ref() == Some(&service.meta.namespace)
        }
        TargetKind::Namespace => target.namespace.as_ref() == Some(&service.meta.namespace),
        TargetKind::Mesh | TargetKind::HttpRoute | TargetKind::GrpcRoute => true,
    };
    let policies = policies.filter(|policy| policy.targets.iter().any(holds));
    let matches: Vec<_> = policies.flat_map(|policy| &policy.rules).flat_map(|rule| &rule.matches).collect();
    (!matches.is_empty() && dice.percent(70)).then(|| (*dice.pick(&matches)).clone())
}

/// A Host, and how it is written.
fn host(dice: &mut Dice, service: &Service, caller: &Member) -> (String, &'static str) {
    let (name, namespace) = (&service.meta.name, &service.meta.namespace);
    let spec = service.ports.iter().find(|spec| spec.protocol == Protocol::Http || dice.percent(10));
    let (host, alias) = match dice.below(20) {
        0..5 if namespace.as_str() == caller.namespace => (name.to_string(), "host as svc"),
        0..8 => (format!("{name}.{namespace}"), "host as svc.ns"),
        8..12 => (format!("{name}.{namespace}.svc"), "host as svc.ns.svc"),
        12..18 => (format!("{name}.{namespace}.svc.cluster.local"), "host in full"),
        18 => {
            let (namespace, names) = dice.pick(&SERVICES);
            (format!("{}.{namespace}", dice.pick(names)), "host as svc.ns")
        }
        _ => return ((*dice.pick(&STRANGERS)).to_owned(), "stranger"),
    };
    let port = match spec.map_or(80, |spec| spec.port.get()) {
        80 => String::new(),
        port => format!(":{port}"),
    };
    match dice.below(20) {
        0 | 1 => (format!("{}{port}", host.to_ascii_uppercase()), "host in upper case"),
        2 | 3 => (format!("{host}.{port}"), "host with a trailing dot"),
        4 | 5 if port.is_empty() => (format!("{host}:80"), "host with port 80"),
        6 if port.is_empty() => (format!("{host}:"), "host with an empty port"),
        // The authority without a port stands for a service's only HTTP port too.
        7..10 => (host, alias),
        _ if port.is_empty() => (host, alias),
        _ => (format!("{host}{port}"), if dice.percent(50) { alias } else { "host with a port" }),
    }
}

/// Hosts that are not in the mesh.
const STRANGERS: [&str; 6] =
    ["api.example.com", "10.0.0.1:99", "localhost:8080", "web.nowhere", "web.shop.svc.other.local", "x.web.shop"];

/// The path in one of the ways to write it, with a query now and then.
fn target(dice: &mut Dice, path: &str) -> String {
    let mut written = path.to_owned();
    for _ in 0..*dice.pick(&[0, 0, 0, 1, 1, 2]) {
        let slashes: Vec<usize> = written.match_indices('/').map(|(at, _)| at).collect();
        let at = *dice.pick(&slashes);
        match dice.below(7) {
            0 => written.insert_str(at, "/."),
            1 => written.insert_str(at, "/elsewhere/.."),
            2 => written.insert_str(at, "/%2e%2E"),
            3 => written.insert(at, '/'),
            4 => written.insert_str(0, "/.."),
            _ => encode_one(dice, &mut written),
        }
    }
    match dice.below(12) {
        0 => written + "?",
        1 => written + "?q=1&r=%2F..%2f",
        2 => written + "?next=//host/../x;y",
        _ => written,
    }
}

/// Writes one letter or digit that is not part of an encoding as one.
fn encode_one(dice: &mut Dice, path: &mut String) {
    let plain: Vec<(usize, u8)> = path
        .bytes()
        .enumerate()
        .filter(|(_, byte)| byte.is_ascii_alphanumeric())
        .filter(|_| !path.contains('%'))
        .collect();
    if !plain.is_empty() {
        let (at, byte) = *dice.pick(&plain);
        let encoded = if byte % 2 == 0 { format!("%{byte:02x}") } else { format!("%{byte:02X}") };
        path.replace_range(at..=at, &encoded);
    }
}

/// Hosts that no request may have.
const MALFORMED_HOSTS: [&str; 12] =
    ["", ".", ":80", "web, cart", "web,", "user@web", "web..", "-web", "[::1]:80", "we b", "web:0", "web:x"];

/// Makes it a request that must not be forwarded.
fn attack(dice: &mut Dice, path: &str, request: &mut Request) {
    let bytes = |text: &str| format!("{}/{text}", path.trim_end_matches('/')).into_bytes();
    request.target = match dice.below(27 + MALFORMED_HOSTS.len()) {
        0 => bytes("..%2fsecret"),
        1 => bytes("%5c..%5csecret"),
        2 => bytes("..\\secret"),
        3 => bytes("%00"),
        4 => bytes("%c0%af"),
        5 => bytes("%zz"),
        6 => bytes("..;/secret"),
        7 => bytes(".;x=1/y"),
        8 => bytes(";x/y"),
        9 => bytes("x#fragment"),
        10 => bytes("?q#fragment"),
        11 => bytes("a b"),
        12 => bytes("\u{7f}"),
        13 => [path.as_bytes(), b"/\xff\xfe"].concat(),
        14 => bytes("?a\tb"),
        15 => [path.as_bytes(), b"?\xff"].concat(),
        16 => bytes(&"long/".repeat(2000)),
        17 => path.trim_start_matches('/').as_bytes().to_vec(),
        18 => b"*".to_vec(),
        19 => b"ftp://web/".to_vec(),
        20 => b"http://other.example/".to_vec(),
        21 => {
            request.method = "CONNECT".to_owned();
            if dice.percent(30) {
                return;
            }
            // The form that it must have, without content, which the codec refuses; no rule opens a tunnel.
            request.form = Form::Plain;
            let host = request.authority.trim_end_matches(':');
            let port = if host.contains(':') { "" } else { ":80" };
            format!("{host}{port}").into_bytes()
        }
        22 | 26 => {
            request.method = (*dice.pick(&["G@T", "GE T", "G{T}", "get", "PURGE"])).to_owned();
            request.target.clone()
        }
        23 | 24 => {
            request.form = *dice.pick(&SMUGGLED);
            request.target.clone()
        }
        25 => {
            request.form = Form::NoHost;
            request.authority.clear();
            request.target.clone()
        }
        _ => {
            let hosts =
                ["", ".", ":80", "web, cart", "user@web", "web..", "-web", "[::1]:80", "we b", "web:0", "web:x"];
            request.authority = (*dice.pick(&hosts)).to_owned();
            request.alias = "malformed host";
            request.target.clone()
        }
    };
}

/// Makes its target an absolute one, or the asterisk.
fn absolute(dice: &mut Dice, request: &mut Request) {
    if request.method == "OPTIONS" && dice.percent(50) {
        request.target = b"*".to_vec();
        return;
    }
    let scheme = *dice.pick(&["http", "HTTP", "https"]);
    let rest = if dice.percent(20) { Vec::new() } else { std::mem::take(&mut request.target) };
    request.target = [format!("{scheme}://{}", request.authority).into_bytes(), rest].concat();
}
