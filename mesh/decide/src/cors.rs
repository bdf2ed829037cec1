//! CORS (Fetch standard, "CORS protocol"), as the Gateway API's HTTPCORSFilter says it.
//!
//! A preflight is answered here, whoever asks: the application need not know of it. To an origin that is not allowed
//! nothing is said, which has its browser refuse; and what the application says of it is not passed on.
use weft_model::{ANYTHING, Cors};

use crate::{FieldEdits, Normal, OwnAnswer};

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";
const EXPOSE_HEADERS: &str = "access-control-expose-headers";

/// A route's lists as they stand in answers, joined once.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    methods: String,
    headers: String,
    expose: String,
}

impl Texts {
    pub(crate) fn of(Cors { methods, headers, expose, .. }: &Cors) -> Self {
        Self { methods: methods.join(", "), headers: headers.join(", "), expose: expose.join(", ") }
    }
}

/// Whether a browser asks what it may (Fetch, "CORS-preflight request").
pub(crate) fn is_preflight(request: &Normal<'_>) -> bool {
    request.method == "OPTIONS"
        && field(request, "origin").is_some()
        && field(request, "access-control-request-method").is_some()
}

/// The answer to a preflight.
pub(crate) fn preflight(cors: &Cors, texts: &Texts, request: &Normal<'_>) -> OwnAnswer {
    let mut fields = Vec::new();
    let mut say = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
    if let Some(origin) = allowed(cors, request) {
        let echoed = |list: &[String], text: &str, asked: &str| {
            // To a request with credentials `*` is a name like others (Fetch, "CORS protocol and credentials").
            let all = list.iter().any(|it| it == ANYTHING) && cors.credentials;
            if all { field(request, asked).unwrap_or_default().to_owned() } else { text.to_owned() }
        };
        say(ALLOW_ORIGIN, origin);
        if cors.credentials {
            say(ALLOW_CREDENTIALS, "true");
        }
        let methods = echoed(&cors.methods, &texts.methods, "access-control-request-method");
        let headers = echoed(&cors.headers, &texts.headers, "access-control-request-headers");
        for (name, value) in [("access-control-allow-methods", methods), ("access-control-allow-headers", headers)] {
            if !value.is_empty() {
                say(name, &value);
            }
        }
        say("access-control-max-age", &cors.max_age.to_string());
    }
    say("vary", "origin, access-control-request-method, access-control-request-headers");
    OwnAnswer { status: 200, fields, body: String::new() }
}

/// What is said in the answer to a request that a page of another origin may have made.
pub(crate) fn edit<'a>(cors: &'a Cors, texts: &'a Texts, request: &Normal<'a>, edits: &mut FieldEdits<'a>) {
    if field(request, "origin").is_none() {
        return;
    }
    [ALLOW_ORIGIN, ALLOW_CREDENTIALS, EXPOSE_HEADERS].into_iter().for_each(|name| edits.remove(name));
    if let Some(origin) = allowed(cors, request) {
        edits.add(ALLOW_ORIGIN, origin);
        if cors.credentials {
            edits.add(ALLOW_CREDENTIALS, "true");
        }
        if !texts.expose.is_empty() {
            edits.add(EXPOSE_HEADERS, &texts.expose);
        }
    }
    edits.add("vary", "origin");
}

/// What `access-control-allow-origin` says to the request's origin; nothing where that is not allowed.
fn allowed<'a>(cors: &Cors, request: &Normal<'a>) -> Option<&'a str> {
    let origin = field(request, "origin")?;
    if cors.origins.iter().any(|it| it.as_str() == ANYTHING) && !cors.credentials {
        return Some(ANYTHING);
    }
    cors.origins.iter().any(|it| it.takes(origin)).then_some(origin)
}

/// The value of the only field of that name, if it is a text.
fn field<'a>(request: &Normal<'a>, name: &str) -> Option<&'a str> {
    let mut values = request.headers.iter().filter(|(its, _)| its.eq_ignore_ascii_case(name.as_bytes()));
    let (_, value) = values.next().filter(|(_, value)| !value.is_empty())?;
    if values.next().is_some() { None } else { str::from_utf8(value).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RequestHead, normalize, testing::*};

    fn cors(credentials: bool, lists: &str) -> Cors {
        let list = || lists.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let origins = ["https://shop.example", "https://*.shop.example:8443"].map(|it| it.parse().unwrap());
        Cors { origins: origins.into(), credentials, methods: list(), headers: list(), expose: list(), max_age: 7 }
    }

    /// The value of a field of the answer to a preflight of that origin.
    fn answered(cors: &Cors, origin: &str, name: &str) -> Option<String> {
        let headers: &[(&[u8], &[u8])] = &[
            (b"Origin", origin.as_bytes()),
            (b"Access-Control-Request-Method", b"PUT"),
            (b"Access-Control-Request-Headers", b"x-a"),
        ];
        let head = RequestHead { method: b"OPTIONS", headers, ..get("web", "/") };
        let request = normalize(&scope(), &head).unwrap();
        assert!(is_preflight(&request));
        let OwnAnswer { status, fields, body } = preflight(cors, &Texts::of(cors), &request);
        assert_eq!((status, body.as_str()), (200, ""));
        fields.into_iter().find(|(its, _)| its == name).map(|(_, value)| value)
    }

    #[test]
    fn only_origins_that_are_allowed_are_told_so() {
        let cors = cors(false, "GET,PUT");
        for (origin, allowed) in [
            ("https://shop.example", true),
            ("https://SHOP.example", true),
            ("http://shop.example", false),
            ("https://shop.example:443", true),
            ("https://shop.example:80", false),
            ("https://a.shop.example:8443", true),
            ("https://a.b.shop.example:8443", true),
            ("https://a.shop.example", false),
            ("https://.shop.example:8443", false),
            ("https://evil.com/.shop.example:8443", false),
            ("https://evil.com:1.shop.example:8443", false),
            ("https://evilshop.example", false),
            ("null", false),
        ] {
            let told = answered(&cors, origin, ALLOW_ORIGIN);
            assert_eq!(told.as_deref(), allowed.then_some(origin), "{origin}");
            assert_eq!(answered(&cors, origin, "access-control-max-age").is_some(), allowed, "{origin}");
        }
    }

    #[test]
    fn an_asterisk_is_spelled_out_to_who_sends_credentials() {
        let mut any = cors(false, "*");
        any.origins = vec!["*".parse().unwrap()];
        let told = |cors: &Cors, name| answered(cors, "https://x.example", name).unwrap_or_default();
        let names = [ALLOW_ORIGIN, "access-control-allow-methods", "access-control-allow-headers"];
        assert_eq!(names.map(|name| told(&any, name)), ["*", "*", "*"]);
        assert_eq!(told(&any, ALLOW_CREDENTIALS), "");
        any.credentials = true;
        assert_eq!(names.map(|name| told(&any, name)), ["https://x.example", "PUT", "x-a"]);
        assert_eq!(told(&any, ALLOW_CREDENTIALS), "true");
    }

    #[test]
    fn an_answer_says_what_its_route_does_and_not_what_the_application_did() {
        let cors = cors(true, "x-told");
        let texts = Texts::of(&cors);
        let of = |headers: &'static [(&'static [u8], &'static [u8])]| {
            let head = RequestHead { headers, ..get("web", "/") };
            let request = normalize(&scope(), &head).unwrap();
            assert!(!is_preflight(&request));
            let mut edits = FieldEdits::default();
            edit(&cors, &texts, &request, &mut edits);
            edits.told()
        };
        let told = of(&[(b"origin", b"https://shop.example")]);
        assert_eq!(told.dropped, [ALLOW_ORIGIN, ALLOW_CREDENTIALS, EXPOSE_HEADERS]);
        let said = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [
            said(ALLOW_ORIGIN, "https://shop.example"),
            said(ALLOW_CREDENTIALS, "true"),
            said(EXPOSE_HEADERS, "x-told"),
            said("vary", "origin"),
        ];
        assert_eq!(told.added, expected);
        assert_eq!(of(&[(b"origin", b"https://evil.example")]).added, [said("vary", "origin")]);
        assert_eq!(of(&[]), crate::Edited::default());
    }
}
