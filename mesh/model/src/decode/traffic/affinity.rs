//! `affinity`.
use std::time::Duration;

use crate::{
    AffinityKey,
    decode::{
        fields::{Context, Field, Fields, shorten},
        pattern,
    },
    duration,
};

/// The longest name and path of a cookie, in bytes.
const MAX_NAME_BYTES: usize = 64;
const MAX_PATH_BYTES: usize = 1024;

/// The longest time for which a browser keeps a cookie: 400 days (draft-ietf-httpbis-rfc6265bis §5.5).
const LONGEST_TTL: Duration = Duration::from_secs(400 * 24 * 3600);

pub(super) fn decode(cx: &mut Context, field: &Field<'_>) -> Option<AffinityKey> {
    let mut fields = Fields::open(cx, field)?;
    let keys: Vec<_> = KEYS.iter().filter_map(|(key, read)| Some((key, read, fields.take(key)?))).collect();
    fields.finish(cx);
    if let [(_, read, key)] = &keys[..] {
        return read(cx, key);
    }
    let names: Vec<_> = keys.iter().map(|(key, ..)| **key).collect();
    let text = match &names[..] {
        [] => "it has no key".to_owned(),
        names => format!("it has more than one key: {}", names.join(", ")),
    };
    let hint = "write one of `cookie: {}`, `header: {name: x-user}`, `query: {name: user}` and `sourceAddress: {}`";
    field.invalid(cx, text, hint);
    None
}

/// Reads one of the keys.
type Read = fn(&mut Context, &Field<'_>) -> Option<AffinityKey>;

const KEYS: [(&str, Read); 4] =
    [("cookie", cookie), ("header", header), ("query", query), ("sourceAddress", source_address)];

fn cookie(cx: &mut Context, field: &Field<'_>) -> Option<AffinityKey> {
    let mut fields = Fields::open(cx, field)?;
    let name = match fields.take("name") {
        Some(name) => cookie_name(cx, &name),
        None => Some(AffinityKey::DEFAULT_COOKIE.to_owned()),
    };
    let path = match fields.take("path") {
        Some(path) => cookie_path(cx, &path),
        None => Some("/".to_owned()),
    };
    let ttl = fields.take("ttl").map(|ttl| cookie_ttl(cx, &ttl));
    fields.finish(cx);
    let ttl = match ttl {
        Some(ttl) => Some(ttl?),
        None => None,
    };
    Some(AffinityKey::Cookie { name: name?, path: path?, ttl })
}

/// RFC 6265 §4.1.1: a token. The prefixes `__Host-` and `__Secure-` demand attributes that a sidecar does not set.
fn cookie_name(cx: &mut Context, field: &Field<'_>) -> Option<String> {
    let text = field.text(cx)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !(1..=MAX_NAME_BYTES).contains(&text.len()) || !text.bytes().all(token) {
        let hint = format!("write 1 to {MAX_NAME_BYTES} letters, digits or any of !#$%&'*+-.^_`|~");
        field.invalid(cx, format!("{:?} is not a cookie's name", shorten(text)), &hint);
        return None;
    }
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("__host-") || lower.starts_with("__secure-") {
        let text = "browsers take cookies of this name only over TLS with attributes that a sidecar does not set";
        field.invalid(cx, text, "choose a name without the prefix");
        return None;
    }
    Some(text.to_owned())
}

/// RFC 6265 §4.1.1 `path-value`: no control character and no semicolon; §5.2.4 takes one that starts with a slash.
fn cookie_path(cx: &mut Context, field: &Field<'_>) -> Option<String> {
    let text = field.text(cx)?;
    let valid = |b: u8| matches!(b, b'!'..=b'~') && b != b';';
    if text.starts_with('/') && text.len() <= MAX_PATH_BYTES && text.bytes().all(valid) {
        return Some(text.to_owned());
    }
    let hint = format!("write at most {MAX_PATH_BYTES} visible ASCII characters without ';', the first a slash");
    field.invalid(cx, format!("{:?} is not a cookie's path", shorten(text)), &hint);
    None
}

fn cookie_ttl(cx: &mut Context, field: &Field<'_>) -> Option<Duration> {
    let ttl = field.duration(cx)?;
    if ttl.is_zero() {
        field.invalid(cx, "a cookie that is kept for 0s is none", "leave ttl out for a cookie of the client's session");
    } else if ttl.subsec_nanos() != 0 {
        field.invalid(cx, "a cookie is kept for whole seconds (RFC 6265 §5.2.2)", "write seconds, minutes or hours");
    } else if ttl > LONGEST_TTL {
        let found = format!("{} is longer than browsers keep a cookie", duration::format(ttl));
        field.invalid(cx, found, &format!("write at most {}", duration::format(LONGEST_TTL)));
    } else {
        return Some(ttl);
    }
    None
}

fn header(cx: &mut Context, field: &Field<'_>) -> Option<AffinityKey> {
    let mut fields = Fields::open(cx, field)?;
    let name = fields.required(cx, "name").and_then(|name| pattern::header_name(cx, &name));
    fields.finish(cx);
    Some(AffinityKey::Header { name: name? })
}

fn query(cx: &mut Context, field: &Field<'_>) -> Option<AffinityKey> {
    let mut fields = Fields::open(cx, field)?;
    let name = fields.required(cx, "name").and_then(|name| pattern::query_name(cx, &name));
    fields.finish(cx);
    Some(AffinityKey::Query { name: name? })
}

/// It has no fields: `sourceAddress: {}`.
fn source_address(cx: &mut Context, field: &Field<'_>) -> Option<AffinityKey> {
    Fields::open(cx, field)?.finish(cx);
    Some(AffinityKey::SourceAddress)
}
