//! `matches` of a rule: which requests it is about.
use std::{collections::HashMap, hash::Hash};

use super::super::{
    fields::{Context, Field, Fields, shorten},
    route,
};
use crate::{AccessMatch, Code, HeaderMatch, Host, HttpMethod, is_ours_to_say};

const MAX_MATCHES: usize = 64;
const MAX_METHODS: usize = 32;
const MAX_METHOD_BYTES: usize = 64;
const MAX_HOSTS: usize = 64;

pub(super) fn decode(cx: &mut Context, field: &Field<'_>) -> Vec<AccessMatch> {
    // An empty list would mean every request, the opposite of what it says.
    field.items(cx, 1..=MAX_MATCHES).iter().filter_map(|item| one(cx, item)).collect()
}

fn one(cx: &mut Context, item: &Field<'_>) -> Option<AccessMatch> {
    let mut fields = Fields::open(cx, item)?;
    let (methods, path) = (fields.take("methods"), fields.take("path"));
    let (hosts, headers) = (fields.take("hosts"), fields.take("headers"));
    let asks = [&methods, &path, &hosts, &headers].into_iter().any(Option::is_some);
    let path = path.map(|path| route::path_match(cx, &path));
    let methods = methods.map(|methods| each(cx, &methods, MAX_METHODS, method)).unwrap_or_default();
    let hosts = hosts.map(|hosts| each(cx, &hosts, MAX_HOSTS, host)).unwrap_or_default();
    let headers = headers.map(|headers| self::headers(cx, &headers)).unwrap_or_default();
    fields.finish(cx);
    if !asks {
        let hint = "write methods, path, hosts or headers, or leave `matches` out to mean every request";
        item.report(cx, Code::MissingField, "the match asks for nothing", Some(hint.to_owned()));
        return None;
    }
    let path = match path {
        Some(path) => Some(path?),
        None => None,
    };
    Some(AccessMatch { methods, path, hosts, headers })
}

/// The items of a list that has some, each once.
fn each<T: Clone + Eq + Hash>(
    cx: &mut Context,
    field: &Field<'_>,
    most: usize,
    read: impl Fn(&mut Context, &Field<'_>) -> Option<T>,
) -> Vec<T> {
    let mut first = HashMap::new();
    let mut values = Vec::new();
    for item in field.items(cx, 1..=most) {
        let Some(value) = read(cx, &item) else { continue };
        if let Some(line) = first.insert(value.clone(), item.node.line) {
            item.report(cx, Code::Duplicate, "it stands twice", Some(format!("the first is on line {line}")));
        }
        values.push(value);
    }
    values
}

/// Any method (RFC 9110 §9.1), also one that no standard knows: applications have their own.
fn method(cx: &mut Context, field: &Field<'_>) -> Option<HttpMethod> {
    let text = field.text(cx)?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !(1..=MAX_METHOD_BYTES).contains(&text.len()) || !text.bytes().all(token) {
        let hint = format!("write 1 to {MAX_METHOD_BYTES} letters, digits or any of !#$%&'*+-.^_`|~, such as GET");
        field.invalid(cx, format!("{:?} is not a method", shorten(text)), &hint);
        return None;
    }
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let hint = format!("methods are told apart by case: write {}", shorten(&text.to_ascii_uppercase()));
        field.invalid(cx, format!("{:?} is no method that clients use", shorten(text)), &hint);
        return None;
    }
    Some(HttpMethod(text.to_owned()))
}

fn host(cx: &mut Context, field: &Field<'_>) -> Option<Host> {
    let text = field.text(cx)?;
    if text.contains([':', '*']) {
        let hint =
            "write a host's whole name without a port: every port of it is meant; `ports` narrows a rule to some";
        field.invalid(cx, format!("{:?} is not a host's name", shorten(text)), hint);
        return None;
    }
    field.parsed(cx)
}

fn headers(cx: &mut Context, field: &Field<'_>) -> Vec<HeaderMatch> {
    let headers = route::headers(cx, field);
    if headers.is_empty() {
        // Of whatever is wrong in the list, that it holds nothing is told here; the rest was told above.
        field.items(cx, 1..=usize::MAX);
    }
    for (at, header) in headers.iter().enumerate().filter(|(_, header)| is_ours_to_say(&header.name)) {
        let field = Field { node: field.node, path: field.path.index(at).key("name") };
        if header.name == "host" {
            field.invalid(cx, "the Host is matched by `hosts`", "write `hosts: [reviews.shop]` in its place");
        } else {
            let hint = "it belongs to one connection, or is weft's own: match another header";
            field.invalid(cx, format!("no policy sees the header {:?}", header.name), hint);
        }
    }
    headers
}
