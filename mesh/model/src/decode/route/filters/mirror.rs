//! `requestMirror`, with the Gateway API's bounds.
use std::num::NonZeroU32;

use super::super::{
    super::fields::{Context, Field, Fields},
    namespace,
};
use crate::{Mirror, Name, Namespace, Share};

pub(super) fn decode(cx: &mut Context, field: &Field<'_>, own: &Namespace) -> Option<Mirror> {
    let mut fields = Fields::open(cx, field)?;
    let backend = fields.required(cx, "backendRef").and_then(|backend| self::backend(cx, &backend, own));
    let percent = fields.take("percent");
    let written = fields.take("fraction");
    fields.finish(cx);
    if let (Some(percent), Some(_)) = (&percent, &written) {
        percent.invalid(cx, "the share is written twice: by percent and by fraction", "remove one of them");
    }
    let share = match (percent, written) {
        (Some(percent), _) => percent.integer(cx, 0..=100).map(|part| Share { part, of: Share::HUNDRED }),
        (None, Some(written)) => fraction(cx, &written),
        (None, None) => Some(Share::ALL),
    };
    let (namespace, name, port) = backend?;
    Some(Mirror { namespace, name, port, share: share? })
}

fn backend(cx: &mut Context, field: &Field<'_>, own: &Namespace) -> Option<(Namespace, Name, crate::Port)> {
    let mut fields = Fields::open(cx, field)?;
    fields.only(cx, "group", &[""]);
    fields.only(cx, "kind", &["Service"]);
    let namespace = namespace(cx, &mut fields, own);
    let name = fields.required(cx, "name").and_then(|name| name.parsed(cx));
    let port = fields.required(cx, "port").and_then(|port| port.port(cx));
    fields.finish(cx);
    Some((namespace?, name?, port?))
}

fn fraction(cx: &mut Context, field: &Field<'_>) -> Option<Share> {
    let most = i32::MAX.unsigned_abs();
    let mut fields = Fields::open(cx, field)?;
    let part = fields.required(cx, "numerator").and_then(|part| part.integer(cx, 0..=most));
    let of = match fields.take("denominator") {
        Some(of) => of.integer(cx, 1..=most).and_then(NonZeroU32::new),
        None => Some(Share::HUNDRED),
    };
    fields.finish(cx);
    let (part, of) = (part?, of?);
    if part > of.get() {
        field.invalid(cx, format!("{part} of {of} is more than all"), "write a numerator up to the denominator");
        return None;
    }
    Some(Share { part, of })
}
