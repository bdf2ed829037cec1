//! `metadata`.
use super::fields::{Context, Field, Fields, shorten};
use crate::{Code, Kind, Labels, Meta, Name, Namespace, Selector};

/// The most bytes that an object's annotations may have in all, as in Kubernetes: 256 KiB.
const MAX_ANNOTATION_BYTES: usize = 256 << 10;

/// What an API server fills in and weft leaves out.
const SERVER_FILLED: [&str; 10] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "ownerReferences",
    "finalizers",
    "selfLink",
];

/// The metadata and the line of the name. From here on findings name the object.
pub(super) fn decode(cx: &mut Context, root: &mut Fields<'_>, kind: Kind) -> Option<(Meta, u32)> {
    let metadata = root.required(cx, "metadata")?;
    let mut fields = Fields::open(cx, &metadata)?;
    let name_field = fields.required(cx, "name");
    let namespace_field = fields.take("namespace");
    let name = name_field.as_ref().and_then(|name| name.parsed::<Name>(cx));
    let namespace = match &namespace_field {
        Some(namespace) => namespace.parsed::<Namespace>(cx),
        None => Some(Namespace::default_namespace()),
    };
    if let (Some(name), Some(namespace)) = (&name, &namespace) {
        cx.object = Some(format!("{kind} {namespace}/{name}"));
    }
    if let (Kind::Service, Some(field), Some(name)) = (kind, &name_field, &name)
        && (name.as_str().contains('.') || name.as_str().len() > 63)
    {
        field.invalid(
            cx,
            format!("{:?} is not a valid name of a Service: it is one label of a host name", shorten(name.as_str())),
            "write at most 63 lower-case letters, digits and '-'",
        );
    }
    let labels = fields.take("labels").map(|labels| self::labels(cx, &labels)).unwrap_or_default();
    let annotations = fields.take("annotations").map(|field| annotations(cx, &field)).unwrap_or_default();
    fields.ignore(&SERVER_FILLED);
    fields.unsupported(cx, &["generateName"]);
    fields.finish(cx);
    let meta = Meta { name: name?, namespace: namespace?, labels, annotations };
    Some((meta, name_field?.node.line))
}

/// A Service's selector: labels that must all be present.
pub(super) fn selector(cx: &mut Context, field: &Field<'_>) -> Selector {
    Selector(labels(cx, field))
}

fn labels(cx: &mut Context, field: &Field<'_>) -> Labels {
    let mut labels = Labels::new();
    for (entry, value) in field.entries(cx) {
        check_key(cx, &value, &entry.key);
        let Some(text) = value.text(cx) else { continue };
        if text.is_empty() || is_label_part(text) {
            labels.insert(entry.key.clone(), text.to_owned());
        } else {
            let found = format!("{:?} is not a valid label value", shorten(text));
            value.invalid(
                cx,
                found,
                "write at most 63 letters, digits, '.', '_' and '-', with a letter or digit at both ends",
            );
        }
    }
    labels
}

fn annotations(cx: &mut Context, field: &Field<'_>) -> Labels {
    let mut annotations = Labels::new();
    let mut bytes = 0;
    for (entry, value) in field.entries(cx) {
        check_key(cx, &value, &entry.key);
        let Some(text) = value.text(cx) else { continue };
        bytes += entry.key.len() + text.len();
        annotations.insert(entry.key.clone(), text.to_owned());
    }
    if bytes > MAX_ANNOTATION_BYTES {
        let found = format!("the annotations have {bytes} bytes, more than {MAX_ANNOTATION_BYTES}");
        field.report(cx, Code::TooLarge, found, None);
    }
    annotations
}

/// A label's or annotation's key: `[<DNS subdomain>/]<name>`.
fn check_key(cx: &mut Context, field: &Field<'_>, key: &str) {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if !is_label_part(name) || prefix.is_some_and(|prefix| prefix.parse::<Name>().is_err()) {
        let found = format!("{:?} is not a valid key", shorten(key));
        field.invalid(
            cx,
            found,
            "write a name of at most 63 letters, digits, '.', '_' and '-', after an optional domain and '/'",
        );
    }
}

fn is_label_part(text: &str) -> bool {
    let outer = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && outer(bytes.first())
        && outer(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
