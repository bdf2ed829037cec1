//! Regular expressions, and the other texts that matches compare with.
use regex::RegexBuilder;

use super::fields::{Context, Field, shorten};
use crate::Code;

/// The most bytes of an expression's source.
pub(super) const MAX_SOURCE_BYTES: usize = 1024;

/// The most bytes that one compiled expression may take: a bounded repetition can grow a short source a thousandfold.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// A regular expression of linear time (RE2 syntax): no look-around and no backreferences.
pub(super) fn regex(cx: &mut Context, field: &Field<'_>) -> Option<String> {
    let text = field.text(cx)?;
    if text.len() > MAX_SOURCE_BYTES {
        let found = format!("the expression has {} bytes, more than {MAX_SOURCE_BYTES}", text.len());
        field.report(cx, Code::TooLarge, found, None);
        return None;
    }
    // An expression has to match the whole text. One that comments out what follows it (`(?x)… #`) compiles alone but
    // not inside the anchors.
    let compiled = compile(text).and_then(|()| compile(&format!("^(?:{text})$")));
    match compiled {
        Ok(()) => Some(text.to_owned()),
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
    RegexBuilder::new(source).size_limit(MAX_COMPILED_BYTES).build().map(|_| ())
}

/// A header's name (RFC 9110 §5.1: a token), in lower case.
pub(super) fn header_name(cx: &mut Context, field: &Field<'_>) -> Option<String> {
    let text = field.text(cx)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if (1..=256).contains(&text.len()) && text.bytes().all(token) {
        return Some(text.to_ascii_lowercase());
    }
    let hint = "write 1 to 256 letters, digits or any of !#$%&'*+-.^_`|~";
    field.invalid(cx, format!("{:?} is not a header name", shorten(text)), hint);
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
