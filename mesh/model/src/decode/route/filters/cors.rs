//! `cors`, with the Gateway API's bounds.
use std::{collections::HashSet, hash::Hash, ops::RangeInclusive};

use super::super::{
    super::{
        fields::{Context, Field, Fields, shorten},
        pattern,
    },
    METHODS,
};
use crate::{ANYTHING, Code, Cors, OriginMatch};

const MAX_ENTRIES: usize = 64;

/// How long a browser remembers where nothing is said (Fetch, "CORS-preflight fetch"): 5 s.
const DEFAULT_MAX_AGE: u32 = 5;

pub(super) fn decode(cx: &mut Context, field: &Field<'_>) -> Option<Cors> {
    let mut fields = Fields::open(cx, field)?;
    let origins = fields.required(cx, "allowOrigins").map(|list| origins(cx, &list));
    let credentials = fields.take("allowCredentials").map(|it| it.boolean(cx));
    let methods = fields.take("allowMethods").map(|list| methods(cx, &list)).unwrap_or_default();
    let headers = fields.take("allowHeaders").map(|list| allowed_headers(cx, &list)).unwrap_or_default();
    let expose_field = fields.take("exposeHeaders");
    let expose = expose_field.as_ref().map(|it| headers_of(cx, it)).unwrap_or_default();
    let max_age = match fields.take("maxAge") {
        Some(seconds) => seconds.integer(cx, 1..=i32::MAX.unsigned_abs()),
        None => Some(DEFAULT_MAX_AGE),
    };
    fields.finish(cx);
    let credentials = match credentials {
        None => false,
        Some(written) => written?,
    };
    if let Some(field) = expose_field.filter(|_| credentials && expose.iter().any(|it| it == ANYTHING)) {
        let hint = "name the header fields: to requests with credentials `*` is a name like others";
        field.invalid(cx, "`*` exposes nothing to requests with credentials", hint);
    }
    Some(Cors { origins: origins?, credentials, methods, headers, expose, max_age: max_age? })
}

fn origins(cx: &mut Context, field: &Field<'_>) -> Vec<OriginMatch> {
    let read = |cx: &mut Context, item: &Field<'_>| {
        let text = item.text(cx)?;
        let parsed: Result<OriginMatch, _> = text.parse();
        if let Err(error) = &parsed {
            let hint = "write `https://shop.example`, `https://*.shop.example:8443` or `*`";
            item.invalid(cx, format!("{:?} is no origin: {error}", shorten(text)), hint);
        }
        parsed.ok()
    };
    let origins = set(cx, field, 1..=MAX_ENTRIES, read);
    stands_alone(cx, field, &origins, OriginMatch::as_str);
    origins
}

fn methods(cx: &mut Context, field: &Field<'_>) -> Vec<String> {
    let choices: Vec<_> = METHODS.into_iter().chain([ANYTHING]).map(|method| (method, method)).collect();
    let read = |cx: &mut Context, item: &Field<'_>| item.choice(cx, &choices).map(str::to_owned);
    let methods = set(cx, field, 0..=METHODS.len(), read);
    stands_alone(cx, field, &methods, String::as_str);
    methods
}

fn allowed_headers(cx: &mut Context, field: &Field<'_>) -> Vec<String> {
    let headers = headers_of(cx, field);
    stands_alone(cx, field, &headers, String::as_str);
    headers
}

/// Names of header fields, or `*`.
fn headers_of(cx: &mut Context, field: &Field<'_>) -> Vec<String> {
    set(cx, field, 0..=MAX_ENTRIES, pattern::header_name)
}

/// The entries of a list in which each stands once.
fn set<T: Clone + Eq + Hash>(
    cx: &mut Context,
    field: &Field<'_>,
    bounds: RangeInclusive<usize>,
    read: impl Fn(&mut Context, &Field<'_>) -> Option<T>,
) -> Vec<T> {
    let (mut known, mut entries) = (HashSet::new(), Vec::new());
    for item in field.items(cx, bounds) {
        let Some(entry) = read(cx, &item) else { continue };
        if known.insert(entry.clone()) {
            entries.push(entry);
        } else {
            item.report(cx, Code::Duplicate, "the entry stands twice", Some("remove it".to_owned()));
        }
    }
    entries
}

/// Reports a `*` beside others.
fn stands_alone<T>(cx: &mut Context, field: &Field<'_>, entries: &[T], text: impl Fn(&T) -> &str) {
    if entries.len() > 1 && entries.iter().any(|entry| text(entry) == ANYTHING) {
        field.invalid(cx, "`*` is everything and stands alone", "remove the others, or the `*`");
    }
}
