//! Changes of header fields.
use weft_model::{HeaderChanges, HeaderField, HeaderFilters, is_ours_to_say};
use weft_proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction};

use super::{
    common::{is_token, shorten, text},
    fault::{Fault, Within, fault, nothing_left},
};

/// The most entries of one list, and the longest name in bytes.
const MAX_ENTRIES: usize = 64;
const MAX_NAME_BYTES: usize = 256;

/// The standard's four lists: what is added to and removed from requests and answers.
#[derive(Default)]
pub(super) struct Lists {
    pub(super) request_add: Vec<HeaderValueOption>,
    pub(super) request_remove: Vec<String>,
    pub(super) response_add: Vec<HeaderValueOption>,
    pub(super) response_remove: Vec<String>,
}

pub(super) fn encode(headers: Option<&HeaderFilters>) -> Lists {
    let Some(HeaderFilters { request, response }) = headers else { return Lists::default() };
    Lists {
        request_add: written(request),
        request_remove: request.remove.clone(),
        response_add: written(response),
        response_remove: response.remove.clone(),
    }
}

fn written(HeaderChanges { set, add, remove: _ }: &HeaderChanges) -> Vec<HeaderValueOption> {
    let of = |HeaderField { name, value }: &HeaderField, action: HeaderAppendAction| HeaderValueOption {
        // A percent sign begins a command of Envoy's.
        header: Some(HeaderValue { key: name.clone(), value: value.replace('%', "%%"), ..HeaderValue::default() }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    };
    let set = set.iter().map(|field| of(field, HeaderAppendAction::OverwriteIfExistsOrAdd));
    set.chain(add.iter().map(|field| of(field, HeaderAppendAction::AppendIfExistsOrAdd))).collect()
}

/// Reads the lists; nothing where they are empty.
pub(super) fn decode(lists: Lists) -> Result<Option<Box<HeaderFilters>>, Fault> {
    let Lists { request_add, request_remove, response_add, response_remove } = lists;
    let request = read(("request_headers_to_add", request_add), ("request_headers_to_remove", request_remove))?;
    let response = read(("response_headers_to_add", response_add), ("response_headers_to_remove", response_remove))?;
    let headers = HeaderFilters { request, response };
    Ok((!headers.is_empty()).then(|| Box::new(headers)))
}

fn read(
    (add_field, add): (&str, Vec<HeaderValueOption>),
    (remove_field, remove): (&str, Vec<String>),
) -> Result<HeaderChanges, Fault> {
    if add.len() > MAX_ENTRIES || remove.len() > MAX_ENTRIES {
        return Err(fault(add_field, format!("more than {MAX_ENTRIES} header fields are changed")));
    }
    let mut changes = HeaderChanges::default();
    for (at, option) in add.into_iter().enumerate() {
        let (field, action) = read_option(option).within(format_args!("{add_field}[{at}]"))?;
        match action {
            HeaderAppendAction::OverwriteIfExistsOrAdd => changes.set.push(field),
            HeaderAppendAction::AppendIfExistsOrAdd => changes.add.push(field),
            HeaderAppendAction::AddIfAbsent | HeaderAppendAction::OverwriteIfExists => {
                return Err(fault(&format!("{add_field}[{at}].append_action"), "this version does not read it"));
            }
        }
    }
    for (at, name) in remove.into_iter().enumerate() {
        changes.remove.push(read_name(name).within(format_args!("{remove_field}[{at}]"))?);
    }
    let mut names: Vec<_> = changes.names().collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(fault(add_field, "a header field is changed twice"));
    }
    Ok(changes)
}

fn read_option(mut option: HeaderValueOption) -> Result<(HeaderField, HeaderAppendAction), Fault> {
    let action = HeaderAppendAction::try_from(std::mem::take(&mut option.append_action));
    let action = action.map_err(|_| fault("append_action", "it is not known"))?;
    let mut header = option.header.take().ok_or_else(|| fault("header", "it is missing"))?;
    nothing_left(&option)?;
    let (name, value) = (std::mem::take(&mut header.key), std::mem::take(&mut header.value));
    nothing_left(&header).within("header")?;
    let (name, value) = (read_name(name).within("header.key")?, read_value(value).within("header.value")?);
    Ok((HeaderField { name, value }, action))
}

fn read_name(name: String) -> Result<String, Fault> {
    let lower = |b: u8| is_token(b) && !b.is_ascii_uppercase();
    if !(1..=MAX_NAME_BYTES).contains(&name.len()) || !name.bytes().all(lower) {
        return Err(fault("", format!("{:?} is not a header's name in lower case", shorten(&name))));
    }
    if is_ours_to_say(&name) {
        return Err(fault("", format!("{name:?} is a proxy's own to write")));
    }
    Ok(name)
}

/// A value without commands of Envoy's, and with nothing that would end its line (RFC 9110 §5.5).
fn read_value(value: String) -> Result<String, Fault> {
    let value = text("", value)?;
    if value.replace("%%", "").contains('%') {
        return Err(fault("", "it has a command, and this version reads none"));
    }
    let value = value.replace("%%", "%");
    let blank = |b: u8| matches!(b, b' ' | b'\t');
    let bytes = value.as_bytes();
    let trimmed = !bytes.first().copied().is_some_and(blank) && !bytes.last().copied().is_some_and(blank);
    if !trimmed || value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
        return Err(fault("", "it is no header's value"));
    }
    Ok(value)
}
