//! CORS: the standard's filter configuration on a route.
use std::collections::HashMap;

use weft_model::{ANYTHING, Cors, OriginMatch};
use weft_proto::{
    envoy::{
        extensions::filters::http::cors::v3::CorsPolicy,
        r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
    },
    google::protobuf::{Any, BoolValue},
};

use super::{
    common::{is_token, pack, parse, required, safe_regex, unpack},
    fault::{Fault, Within, fault},
    filters::expect_same,
};

/// The filter's name, by which its configuration stands on a route.
pub(super) const FILTER: &str = "envoy.filters.http.cors";

const MAX_ENTRIES: usize = 64;

/// The filter's configuration, and the origins as they were written.
pub(super) fn encode(cors: Option<&Cors>) -> (HashMap<String, Any>, Vec<String>) {
    let Some(cors) = cors else { return (HashMap::new(), Vec::new()) };
    let origins = cors.origins.iter().map(ToString::to_string).collect();
    (HashMap::from([(FILTER.to_owned(), pack(&policy(cors)))]), origins)
}

pub(super) fn decode(configs: &mut HashMap<String, Any>, origins: Vec<String>) -> Result<Option<Box<Cors>>, Fault> {
    let Some(packed) = configs.remove(FILTER) else {
        return match origins.is_empty() {
            true => Ok(None),
            false => Err(fault("metadata.cors_origins", "the route has no CORS policy")),
        };
    };
    let found: CorsPolicy = unpack(packed).within(FILTER)?;
    if origins.is_empty() || origins.len() > MAX_ENTRIES {
        return Err(fault("metadata.cors_origins", format!("there must be 1 to {MAX_ENTRIES}")));
    }
    let origins = origins.iter().map(|origin| parse::<OriginMatch>("metadata.cors_origins", origin));
    let max_age =
        found.max_age.parse().map_err(|_| fault("max_age", "it is not a number of seconds")).within(FILTER)?;
    let cors = Cors {
        origins: origins.collect::<Result<_, _>>()?,
        credentials: required("allow_credentials", found.allow_credentials).within(FILTER)?.value,
        methods: names("allow_methods", &found.allow_methods).within(FILTER)?,
        headers: names("allow_headers", &found.allow_headers).within(FILTER)?,
        expose: names("expose_headers", &found.expose_headers).within(FILTER)?,
        max_age,
    };
    expect_same(&found, &policy(&cors)).within(FILTER)?;
    Ok(Some(Box::new(cors)))
}

fn policy(Cors { origins, credentials, methods, headers, expose, max_age }: &Cors) -> CorsPolicy {
    CorsPolicy {
        allow_origin_string_match: origins.iter().map(origin).collect(),
        allow_methods: methods.join(","),
        allow_headers: headers.join(","),
        expose_headers: expose.join(","),
        max_age: max_age.to_string(),
        allow_credentials: Some(BoolValue { value: *credentials }),
        // A preflight is the proxy's to answer, whoever asks.
        forward_not_matching_preflights: Some(BoolValue { value: false }),
        ..CorsPolicy::default()
    }
}

fn origin(origin: &OriginMatch) -> StringMatcher {
    let pattern = match origin.bare() {
        ANYTHING => MatchPattern::SafeRegex(safe_regex(".*")),
        text => match text.split_once('*') {
            Some((prefix, suffix)) => {
                let (prefix, suffix) = (regex::escape(prefix), regex::escape(suffix));
                MatchPattern::SafeRegex(safe_regex(&format!("{prefix}[A-Za-z0-9.-]+{suffix}")))
            }
            None => MatchPattern::Exact(text.to_owned()),
        },
    };
    StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }
}

fn names(field: &str, text: &str) -> Result<Vec<String>, Fault> {
    let names: Vec<_> = text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let good = |name: &String| (1..=256).contains(&name.len()) && name.bytes().all(is_token);
    if names.len() > MAX_ENTRIES || !names.iter().all(good) {
        return Err(fault(field, "it is no list of names"));
    }
    Ok(names)
}
