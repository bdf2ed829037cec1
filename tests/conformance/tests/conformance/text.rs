//! Messages as the cases write them: a first line, fields, trailers, a body; and how what was seen is compared with them.
//!
//! Bytes and texts are the same thing here: byte 0xC0 is the character U+00C0, so that a case can write any byte.
use std::fmt::Write;

use anyhow::{Result, bail, ensure};

/// The bytes that a case means by a text.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect()
}

/// What a case would write for these bytes.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// What cases write for what is long: `@9000` behind `: `, `/` or a quote is that many letters.
pub(crate) fn expand(written: &str) -> String {
    let mut expanded = String::with_capacity(written.len());
    let mut rest = written;
    while let Some(at) = rest.find('@') {
        let digits: String = rest[at + 1..].chars().take_while(char::is_ascii_digit).collect();
        let fits = at > 0 && [" ", "/"].iter().any(|before| rest[..at].ends_with(before));
        match digits.parse::<usize>() {
            Ok(length) if fits => {
                expanded.push_str(&rest[..at]);
                expanded.push_str(&"v".repeat(length));
            }
            _ => expanded.push_str(&rest[..=at + digits.len()]),
        }
        rest = &rest[at + 1 + digits.len()..];
    }
    expanded.push_str(rest);
    expanded
}

/// Fields in the order in which they stand.
pub(crate) type Fields = Vec<(String, String)>;

/// The values of a field, in their order.
pub(crate) fn values<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    let same = fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    same.map(|(_, value)| value.as_str()).collect()
}

/// A message as it was seen on a socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// `GET /path`, or the status.
    pub(crate) first: String,
    /// Fields; behind `@` what is no field (the connection's number, how the message ended).
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
}

impl Seen {
    /// The message for a person.
    pub(crate) fn shown(&self) -> String {
        let mut shown = self.first.clone();
        for (name, value) in &self.fields {
            let _ = write!(shown, "\n    {name}: {value}");
        }
        if !self.body.is_empty() {
            let _ = write!(shown, "\n\n    {}", text(&self.body[..self.body.len().min(400)]).escape_debug());
        }
        for (name, value) in &self.trailers {
            let _ = write!(shown, "\n    +{name}: {value}");
        }
        shown
    }
}

/// A message as a case writes it: to be sent, to be answered with, or to be expected.
///
/// Each line behind the first is `name: value` (a field), `+name: value` (a trailer), `!name` (expected to be absent; `!+name`
/// of trailers) or `@word: value`; behind an empty line stands the body. Among what is expected a value `*` is any, `~part`
/// one that contains the part, and a body may begin with `~` too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) first: String,
    pub(crate) fields: Fields,
    pub(crate) trailers: Fields,
    pub(crate) absent: Vec<String>,
    pub(crate) absent_trailers: Vec<String>,
    pub(crate) body: Option<String>,
}

impl Message {
    /// Reads what a case says.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = expand(text);
        let mut message = Self::default();
        let (head, body) = match text.split_once("\n\n") {
            Some((head, body)) => (head, Some(body.to_owned())),
            None => (text.as_str(), None),
        };
        let mut lines = head.split('\n');
        message.first = lines.next().unwrap_or_default().trim_end().to_owned();
        message.body = body;
        for line in lines {
            // So many fields.
            if let Some(count) = line.strip_prefix("@fields: ") {
                let fields = (0..count.parse()?).map(|number: usize| (format!("x-{number}"), "v".to_owned()));
                message.fields.extend(fields);
                continue;
            }
            if let Some(name) = line.strip_prefix("!+") {
                message.absent_trailers.push(name.to_owned());
            } else if let Some(name) = line.strip_prefix('!') {
                message.absent.push(name.to_owned());
            } else {
                let (line, trailer) = match line.strip_prefix('+') {
                    Some(line) => (line, true),
                    None => (line, false),
                };
                // The colon of a pseudo-field is part of its name.
                let Some(colon) = line.get(1..).and_then(|rest| rest.find(':')) else { bail!("no field: {line:?}") };
                let (name, value) = (&line[..=colon], &line[colon + 2..]);
                let value = value.strip_prefix(' ').unwrap_or(value);
                let fields = if trailer { &mut message.trailers } else { &mut message.fields };
                fields.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(message)
    }

    /// Whether it names that field.
    pub(crate) fn names(&self, name: &str) -> bool {
        !values(&self.fields, name).is_empty()
    }

    /// Takes a field out.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let place = self.fields.iter().position(|(other, _)| other.eq_ignore_ascii_case(name))?;
        Some(self.fields.remove(place).1)
    }

    /// Compares what was seen with what this expects.
    pub(crate) fn matches(&self, seen: &Seen) -> Result<()> {
        ensure!(first_matches(&self.first, &seen.first), "expected {:?}, not\n    {}", self.first, seen.shown());
        compare(&self.fields, &self.absent, &seen.fields, seen)?;
        compare(&self.trailers, &self.absent_trailers, &seen.trailers, seen)?;
        if let Some(expected) = &self.body {
            let body = text(&seen.body);
            let same = match expected.strip_prefix('~') {
                Some(part) => body.contains(part),
                None => *expected == body,
            };
            ensure!(same, "expected the body {expected:?}, not\n    {}", seen.shown());
        }
        Ok(())
    }
}

/// Words are compared one by one; `*` is any, `a|b` is either, and what is not said is free.
fn first_matches(expected: &str, seen: &str) -> bool {
    let mut seen = seen.split(' ');
    expected.split(' ').all(|word| {
        let Some(seen) = seen.next() else { return false };
        word == "*" || word == seen || word.split('|').any(|either| either == seen)
    })
}

fn compare(expected: &Fields, absent: &[String], fields: &Fields, seen: &Seen) -> Result<()> {
    for name in absent {
        ensure!(values(fields, name).is_empty(), "{name} must not be there:\n    {}", seen.shown());
    }
    for (name, _) in expected {
        let (wanted, found) = (values(expected, name), values(fields, name));
        let one = |(wanted, found): (&&str, &&str)| match wanted.strip_prefix('~') {
            Some(part) => found.contains(part),
            None => *wanted == "*" || wanted == found,
        };
        let same = wanted.len() == found.len() && wanted.iter().zip(&found).all(one);
        ensure!(same, "expected {name} to be {wanted:?}, not {found:?}:\n    {}", seen.shown());
    }
    Ok(())
}

/// A length of time as cases write it: `300ms` or `2s`.
pub(crate) fn duration(text: &str) -> Result<std::time::Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or_default(), 1000),
    };
    let Ok(number) = number.parse::<u64>() else { bail!("{text:?} is no length of time like 300ms or 2s") };
    Ok(std::time::Duration::from_millis(number * unit))
}

/// A range as cases write it: `20..40`, both ends included, or one number.
pub(crate) fn range(text: &str) -> Result<std::ops::RangeInclusive<usize>> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str, default| if text.is_empty() { Ok(default) } else { text.parse() };
    match (number(from, 0), number(to, usize::MAX)) {
        (Ok(from), Ok(to)) => Ok(from..=to),
        _ => bail!("{text:?} is no range like 20..40"),
    }
}
