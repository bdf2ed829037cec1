//! By what a route's requests are kept together.
use weft_ir::Affinity;
use weft_model::AffinityKey;
use weft_proto::envoy::config::route::v3::route_action::{
    HashPolicy,
    hash_policy::{ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter},
};

use super::{
    common::{duration, is_token, read_duration, required, text},
    fault::{Fault, Within, expect, fault, nothing_left},
};

/// The longest name of a header or cookie, in bytes.
const MAX_NAME_BYTES: usize = 256;

pub(super) fn encode(affinity: &Affinity) -> HashPolicy {
    let Affinity { key } = affinity;
    let specifier = match key {
        AffinityKey::Cookie { name, path, ttl } => PolicySpecifier::Cookie(Cookie {
            name: name.clone(),
            // Zero is a cookie of the client's session; left out, none would be set.
            ttl: Some(duration(ttl.unwrap_or_default())),
            path: path.clone(),
            attributes: attributes(),
        }),
        AffinityKey::Header { name } => {
            PolicySpecifier::Header(Header { header_name: name.clone(), ..Header::default() })
        }
        AffinityKey::Query { name } => PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() }),
        AffinityKey::SourceAddress => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
    };
    HashPolicy { policy_specifier: Some(specifier), ..HashPolicy::default() }
}

/// Reads what is at most one policy.
pub(super) fn decode(policies: Vec<HashPolicy>) -> Result<Option<Affinity>, Fault> {
    let mut policies = policies.into_iter();
    let Some(mut policy) = policies.next() else { return Ok(None) };
    if policies.next().is_some() {
        return Err(fault("hash_policy", "there is more than one"));
    }
    let specifier = required("hash_policy[0]", policy.policy_specifier.take())?;
    nothing_left(&policy).within("hash_policy[0]")?;
    let key = match specifier {
        PolicySpecifier::Cookie(cookie) => read_cookie(cookie).within("hash_policy[0].cookie")?,
        PolicySpecifier::Header(header) => read_header(header).within("hash_policy[0].header")?,
        PolicySpecifier::QueryParameter(QueryParameter { name }) => {
            AffinityKey::Query { name: read_name("name", name).within("hash_policy[0].query_parameter")? }
        }
        PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }) => AffinityKey::SourceAddress,
        _ => {
            let known = "only cookie, header, query_parameter and connection_properties.source_ip are read";
            return Err(fault("hash_policy[0]", known));
        }
    };
    Ok(Some(Affinity { key }))
}

fn attributes() -> Vec<CookieAttribute> {
    vec![CookieAttribute { name: "HttpOnly".to_owned(), value: String::new() }]
}

fn read_cookie(cookie: Cookie) -> Result<AffinityKey, Fault> {
    let Cookie { name, ttl, path, attributes: others } = cookie;
    expect("attributes", &others, &attributes())?;
    let ttl = read_duration("ttl", required("ttl", ttl)?)?;
    if ttl.subsec_nanos() != 0 {
        return Err(fault("ttl", "only whole seconds are read"));
    }
    // What stands in a set-cookie field must not end its part of it, nor the field.
    if !path.starts_with('/') || !path.bytes().all(|b| matches!(b, b'!'..=b'~') && b != b';') {
        return Err(fault("path", "it is not the path of a cookie"));
    }
    let ttl = (!ttl.is_zero()).then_some(ttl);
    Ok(AffinityKey::Cookie { name: read_name("name", name)?, path: text("path", path)?, ttl })
}

fn read_header(mut header: Header) -> Result<AffinityKey, Fault> {
    let name = read_name("header_name", std::mem::take(&mut header.header_name))?;
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(fault("header_name", "it is not in lower case"));
    }
    nothing_left(&header)?;
    Ok(AffinityKey::Header { name })
}

fn read_name(field: &str, name: String) -> Result<String, Fault> {
    let good = (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_token);
    if good { Ok(name) } else { Err(fault(field, "it is not a token (RFC 9110 §5.6.2)")) }
}
