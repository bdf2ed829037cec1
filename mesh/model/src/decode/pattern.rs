//! Regular expressions, and the other texts that matches compare with.
use regex::RegexBuilder;

use super::fields::{Context, Field, shorten};
use crate::Code;

/// The most bytes of an expression's source.
pub(super) const MAX_SOURCE_BYTES: usize = 1024;

/// The most bytes that one compiled expression may take: a bounded repetition can grow a short source a thousandfold.
/// Half of what readers of the wire allow, who compile it inside anchors: what is taken here is taken there.
const MAX_COMPILED_BYTES: usize = 512 << 10;

/// The most different expressions of one text: each may take milliseconds to compile.
const MAX_EXPRESSIONS: usize = 500;

/// A regular expression of linear time (RE2 syntax): no look-around and no backreferences.
pub(super) fn regex(cx: &mut Context, field: &Field<'_>) -> Option<String> {
    let text = field.text(cx)?;
    regex_text(cx, field, text)
}

/// The same of an expression that was made of what the field says.
pub(super) fn regex_text(cx: &mut Context, field: &Field<'_>, text: &str) -> Option<String> {
    if text.len() > MAX_SOURCE_BYTES {
        let found = format!("the expression has {} bytes, more than {MAX_SOURCE_BYTES}", text.len());
        field.report(cx, Code::TooLarge, found, None);
        return None;
    }
    if cx.expressions.contains(text) {
        return Some(text.to_owned());
    }
    cx.compiled += 1;
    if cx.compiled > MAX_EXPRESSIONS {
        let found = format!("the text has more than {MAX_EXPRESSIONS} different expressions");
        field.report(cx, Code::TooLarge, found, Some("split it".to_owned()));
        return None;
    }
    match compile(text) {
        Ok(()) => {
            cx.expressions.insert(text.to_owned());
            Some(text.to_owned())
        }
        Err(regex::Error::CompiledTooBig(_)) => {
            let found = format!("{:?} compiles to more than {MAX_COMPILED_BYTES} bytes", shorten(text));
            field.report(cx, Code::TooLarge, found, Some("lower its repetition counts".to_owned()));
            None
        }
        Err(error) => {
            let error = error.to_string();
            let reason =
                error.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or("it does not compile");
            let hint = "expressions have RE2's syntax, without look-around and backreferences";
            field.invalid(cx, format!("{:?} is not a regular expression: {reason}", shorten(text)), hint);
            None
        }
    }
}

fn compile(source: &str) -> Result<(), regex::Error> {
    let build = |source: &str| RegexBuilder::new(source).size_limit(MAX_COMPILED_BYTES).build().map(|_| ());
    build(source)?;
    // An expression has to match the whole text, so it is used inside anchors. One that ends in a comment (`(?x)a #`)
    // compiles alone but takes the closing anchor with it.
    if source.contains('#') { build(&format!("^(?:{source})$")) } else { Ok(()) }
}

/// A header's name (RFC 9110 §5.1: a token), in lower case.
pub(super) fn header_name(cx: &mut Context, field: &Field<'_>) -> Option<String> {
    token(cx, field, "a header name").map(|name| name.to_ascii_lowercase())
}

/// A query parameter's name, whose case counts (Gateway API, HTTPQueryParamMatch "Name").
pub(super) fn query_name(cx: &mut Context, field: &Field<'_>) -> Option<String> {
    token(cx, field, "a name")
}

fn token(cx: &mut Context, field: &Field<'_>, what: &str) -> Option<String> {
    let text = field.text(cx)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if (1..=256).contains(&text.len()) && text.bytes().all(token) {
        return Some(text.to_owned());
    }
    let hint = "write 1 to 256 letters, digits or any of !#$%&'*+-.^_`|~";
    field.invalid(cx, format!("{:?} is not {what}", shorten(text)), hint);
    None
}

/// A query parameter's value as clients send it, at most 1024 bytes: what would have to be encoded must be.
pub(super) fn query_value(cx: &mut Context, field: &Field<'_>) -> Option<String> {
    let text = field.text(cx)?;
    if (1..=1024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"&#".contains(&byte)) {
        return Some(text.to_owned());
    }
    let hint = "write 1 to 1024 bytes as clients send them: %20 for a blank, %26 for an '&'";
    field.invalid(cx, format!("{:?} is no query parameter's value", shorten(text)), hint);
    None
}

/// A header's value as it stands after the blanks around it are cut (RFC 9110 §5.5), at most 4096 bytes.
pub(super) fn header_value(cx: &mut Context, field: &Field<'_>) -> Option<String> {
    let text = field.text(cx)?;
    let valid = !text.is_empty()
        && text.len() <= 4096
        && !text.contains('\n')
        && !text.starts_with([' ', '\t'])
        && !text.ends_with([' ', '\t']);
    if valid {
        return Some(text.to_owned());
    }
    let hint = "write 1 to 4096 bytes without line breaks and without blanks at either end";
    field.invalid(cx, format!("{:?} can be no header's value", shorten(text)), hint);
    None
}
