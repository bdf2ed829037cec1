//! `apiVersion` and `kind`.
use super::fields::{Context, Fields, shorten};
use super::suggest::suggestion;
use crate::{Code, Kind};

/// Kinds that weft's users may well have, and that this version does not read.
const UNREAD: [&str; 9] = [
    "TLSRoute",
    "TCPRoute",
    "UDPRoute",
    "ReferenceGrant",
    "Gateway",
    "GatewayClass",
    "ServiceExport",
    "ServiceImport",
    "Mesh",
];

/// The object's kind; a finding where weft does not read it.
pub(super) fn decode(cx: &mut Context, fields: &mut Fields<'_>) -> Option<Kind> {
    let version = fields.required(cx, "apiVersion");
    let kind = fields.required(cx, "kind");
    let version_text = version.as_ref().and_then(|version| version.text(cx));
    let kind = kind?;
    let text = kind.text(cx)?;
    let Some(known) = Kind::ALL.into_iter().find(|known| known.as_str() == text) else {
        let names = Kind::ALL.map(Kind::as_str);
        let (found, hint) = if UNREAD.contains(&text) {
            (format!("weft does not implement the kind {text} yet"), readable())
        } else if let Some(name) = suggestion(text, &names) {
            (format!("there is no kind {:?}", shorten(text)), format!("did you mean `{name}`?"))
        } else {
            (format!("weft does not read the kind {:?}", shorten(text)), readable())
        };
        kind.report(cx, Code::UnknownKind, found, Some(hint));
        return None;
    };
    let version_text = version_text?;
    let accepted = version_text == known.api_version()
        || (known == Kind::HttpRoute && version_text == "gateway.networking.k8s.io/v1beta1");
    if !accepted && let Some(version) = version {
        let found = format!("weft does not read {known} of {:?}", shorten(version_text));
        version.report(cx, Code::UnknownKind, found, Some(format!("write `apiVersion: {}`", known.api_version())));
    }
    Some(known)
}

fn readable() -> String {
    let kinds = Kind::ALL.map(|kind| format!("{} {kind}", kind.api_version()));
    format!("weft reads {}", kinds.join(", "))
}
