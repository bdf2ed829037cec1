//! What several kinds of resource share: packing, metadata, names, texts.
use std::{collections::HashMap, fmt::Display, str::FromStr, time::Duration};

use prost::{Message, Name};
use regex::RegexBuilder;
use regex_syntax::ParserBuilder;
use weft_model::{Kind, ObjectRef};
use weft_proto::{
    envoy::{
        config::core::v3::{
            AggregatedConfigSource, ApiVersion, ConfigSource, Metadata, config_source::ConfigSourceSpecifier,
        },
        r#type::matcher::v3::RegexMatcher,
    },
    google::protobuf::{self, Any},
    weft::Origin,
};

use super::{
    WeftMessage,
    fault::{Fault, Within, fault, nothing_left},
};

/// Weft's key in `typed_filter_metadata`.
const METADATA_KEY: &str = "weft.v1";

/// The longest regular expression that is read, in bytes, and the largest that one may become, as elsewhere in weft.
const MAX_REGEX_BYTES: usize = 1024;
const MAX_COMPILED_REGEX_BYTES: usize = 1 << 20;

/// The longest text that is read where nothing else bounds it.
const MAX_TEXT_BYTES: usize = 4096;

pub(super) fn pack<M: Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

pub(super) fn unpack<M: Name + Default>(any: Any) -> Result<M, Fault> {
    let Any { type_url, value } = any;
    if type_url != M::type_url() {
        return Err(fault("@type", format!("{} is expected", M::type_url())));
    }
    parse_message(&value)
}

pub(super) fn parse_message<M: Message + Default>(bytes: &[u8]) -> Result<M, Fault> {
    M::decode(bytes).map_err(|error| fault("", format!("it is not the message of its type: {error}")))
}

/// Has resources come over the same stream.
pub(super) fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

/// Puts a message of ours into a standard message's metadata.
pub(super) fn annotate<M: WeftMessage>(message: &M) -> Metadata {
    Metadata {
        typed_filter_metadata: HashMap::from([(METADATA_KEY.to_owned(), super::pack_detail(message))]),
        ..Metadata::default()
    }
}

/// Reads our message from a standard message's metadata, where nothing else may stand.
pub(super) fn annotation<M: WeftMessage>(metadata: Option<Metadata>) -> Result<Option<M>, Fault> {
    let Some(mut metadata) = metadata else { return Ok(None) };
    let packed = metadata.typed_filter_metadata.remove(METADATA_KEY);
    nothing_left(&metadata)?;
    let Some(packed) = packed else { return Ok(None) };
    if packed.type_url != super::weft_type_url::<M>() {
        return Err(fault(METADATA_KEY, format!("{} is expected", super::weft_type_url::<M>())));
    }
    parse_message(&packed.value).within(METADATA_KEY).map(Some)
}

pub(super) fn origin(object: &ObjectRef, rule: u32, alternative: u32) -> Origin {
    Origin {
        kind: object.kind.as_str().to_owned(),
        namespace: object.namespace.to_string(),
        name: object.name.to_string(),
        rule,
        alternative,
    }
}

pub(super) fn read_origin(origin: Origin) -> Result<(ObjectRef, u32, u32), Fault> {
    let Origin { kind, namespace, name, rule, alternative } = origin;
    let object = ObjectRef {
        kind: read_kind(&kind).ok_or_else(|| fault("kind", format!("{:?} is not a known kind", shorten(&kind))))?,
        namespace: parse("namespace", &namespace)?,
        name: parse("name", &name)?,
    };
    Ok((object, rule, alternative))
}

pub(super) fn read_kind(text: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == text)
}

/// Parses a field's text as what it must be.
pub(super) fn parse<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, Fault> {
    text.parse().map_err(|error| fault(field, format!("{:?}: {error}", shorten(text))))
}

/// Takes a message out of a field that must be set.
pub(super) fn required<T>(field: &str, value: Option<T>) -> Result<T, Fault> {
    value.ok_or_else(|| fault(field, "it is missing"))
}

/// Checks that a resource's own name is the one of its wrapper.
pub(super) fn same_name(field: &str, own: &str, wrapper: &str) -> Result<(), Fault> {
    if own == wrapper { Ok(()) } else { Err(fault(field, format!("{:?} is not the resource's name", shorten(own)))) }
}

/// Checks a text that nothing else bounds.
pub(super) fn text(field: &str, text: String) -> Result<String, Fault> {
    if text.len() > MAX_TEXT_BYTES {
        Err(fault(field, format!("it has more than {MAX_TEXT_BYTES} bytes")))
    } else {
        Ok(text)
    }
}

pub(super) fn safe_regex(regex: &str) -> RegexMatcher {
    RegexMatcher { regex: regex.to_owned(), ..RegexMatcher::default() }
}

/// Reads a regular expression, which must compile as RE2's do: in linear time and within bounds.
pub(super) fn read_regex(mut matcher: RegexMatcher) -> Result<String, Fault> {
    let regex = std::mem::take(&mut matcher.regex);
    nothing_left(&matcher)?;
    if regex.len() > MAX_REGEX_BYTES {
        return Err(fault("regex", format!("it has more than {MAX_REGEX_BYTES} bytes")));
    }
    // On its own first: `a)|(b` is no expression, but becomes one between parentheses. To read it is enough for that, and
    // costs little beside a compilation.
    if let Err(error) = ParserBuilder::new().utf8(false).build().parse(&regex) {
        return Err(fault("regex", shorten(&error.to_string())));
    }
    match RegexBuilder::new(&format!(r"\A(?:{regex})\z")).size_limit(MAX_COMPILED_REGEX_BYTES).build() {
        Ok(_) => Ok(regex),
        Err(error) => Err(fault("regex", shorten(&error.to_string()))),
    }
}

/// A span as the protobuf type has it. Spans beyond its range do not occur: it reaches 10,000 years.
pub(super) fn duration(span: Duration) -> protobuf::Duration {
    let nanos = i32::try_from(span.subsec_nanos()).unwrap_or(0);
    protobuf::Duration { seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX), nanos }
}

pub(super) fn read_duration(field: &str, span: protobuf::Duration) -> Result<Duration, Fault> {
    let protobuf::Duration { seconds, nanos } = span;
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => Err(fault(field, "it is not a span of time")),
    }
}

pub(super) fn duration_of_ours(span: Duration) -> prost_types::Duration {
    let protobuf::Duration { seconds, nanos } = duration(span);
    prost_types::Duration { seconds, nanos }
}

pub(super) fn read_duration_of_ours(field: &str, span: prost_types::Duration) -> Result<Duration, Fault> {
    let prost_types::Duration { seconds, nanos } = span;
    read_duration(field, protobuf::Duration { seconds, nanos })
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Cuts a peer's text for an error.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(128).collect()
}
