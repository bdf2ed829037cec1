//! HTTPRouteFilter's `spec`.
use super::{
    fields::{Context, Field, Fields},
    pattern,
};
use crate::{Code, DirectResponse, HttpRouteFilter, Meta};

pub(super) fn decode(cx: &mut Context, meta: Option<Meta>, spec: &Field<'_>) -> Option<HttpRouteFilter> {
    let mut fields = Fields::open(cx, spec)?;
    let answer = fields.required(cx, "directResponse").and_then(|field| direct_response(cx, &field));
    fields.finish(cx);
    Some(HttpRouteFilter { meta: meta?, answer: answer? })
}

fn direct_response(cx: &mut Context, field: &Field<'_>) -> Option<DirectResponse> {
    let mut fields = Fields::open(cx, field)?;
    let status = match fields.take("statusCode") {
        Some(status) => status.integer(cx, 200..=599).and_then(|status| u16::try_from(status).ok()),
        None => Some(200),
    };
    let content_type = match fields.take("contentType") {
        Some(content_type) => pattern::header_value(cx, &content_type),
        None => Some(DirectResponse::TEXT.to_owned()),
    };
    let body = match fields.take("body") {
        Some(body) => self::body(cx, &body),
        None => Some(String::new()),
    };
    fields.finish(cx);
    let (status, body) = (status?, body?);
    if matches!(status, 204 | 304) && !body.is_empty() {
        let hint = "remove the body, or answer with another status";
        field.invalid(cx, format!("an answer of status {status} has no body (RFC 9110 §6.4.1)"), hint);
    }
    Some(DirectResponse { status, content_type: content_type?, body })
}

fn body(cx: &mut Context, field: &Field<'_>) -> Option<String> {
    let text = field.text(cx)?;
    if text.len() > DirectResponse::MAX_BODY {
        let found = format!("the body has {} bytes, more than {}", text.len(), DirectResponse::MAX_BODY);
        field.report(cx, Code::TooLarge, found, Some("have an application answer instead".to_owned()));
        return None;
    }
    Some(text.to_owned())
}
