//! Taking typed values from the tree: what is taken is known, what is left over is an error, and all errors are kept.
use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::RangeInclusive,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use super::{
    MAX_DIAGNOSTICS,
    suggest::suggestion,
    tree::{Entry, Node, Value},
};
use crate::{Code, Diagnostic, FieldPath, Port, Severity, Source, duration};

/// The findings so far, and what they are about.
pub(super) struct Context {
    pub(super) file: Arc<str>,
    /// The object being read, once its name is known.
    pub(super) object: Option<String>,
    /// How many errors were found, those left out included.
    pub(super) errors: usize,
    /// The regular expressions that were compiled and found valid.
    pub(super) expressions: HashSet<String>,
    /// How many regular expressions were compiled.
    pub(super) compiled: usize,
    diagnostics: Vec<Diagnostic>,
    /// Where the findings about the object being read begin.
    object_start: usize,
}

impl Context {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.into(),
            object: None,
            errors: 0,
            expressions: HashSet::new(),
            compiled: 0,
            diagnostics: Vec::new(),
            object_start: 0,
        }
    }

    pub(super) fn begin_object(&mut self) {
        self.object = None;
        self.object_start = self.diagnostics.len();
    }

    /// Gives the object's name to what was found before the name was known.
    pub(super) fn end_object(&mut self) {
        if let Some(object) = self.object.take() {
            for diagnostic in self.diagnostics.iter_mut().skip(self.object_start) {
                diagnostic.object.get_or_insert_with(|| object.clone());
            }
        }
    }

    pub(super) fn report(
        &mut self,
        line: u32,
        path: &FieldPath,
        code: Code,
        text: impl Into<String>,
        hint: Option<String>,
    ) {
        self.errors += 1;
        if self.is_full() {
            return;
        }
        self.diagnostics.push(Diagnostic {
            object: self.object.clone(),
            source: Some(Source::new(self.file.clone(), line)),
            field: path.clone(),
            severity: Severity::Error,
            code,
            text: text.into(),
            hint,
        });
    }

    fn is_full(&self) -> bool {
        self.diagnostics.len() >= MAX_DIAGNOSTICS - 1
    }

    pub(super) fn finish(self) -> Vec<Diagnostic> {
        let Self { file, errors, mut diagnostics, .. } = self;
        diagnostics.sort_by_key(|diagnostic| diagnostic.source.as_ref().map(|source| source.line));
        let omitted = errors - diagnostics.len();
        if omitted > 0 {
            diagnostics.push(Diagnostic {
                object: None,
                source: Some(Source::new(file, 1)),
                field: FieldPath::default(),
                severity: Severity::Error,
                code: Code::TooLarge,
                text: format!("{omitted} more errors are not shown"),
                hint: Some("correct the ones above first".to_owned()),
            });
        }
        diagnostics
    }
}

/// A value and the path that leads to it.
#[derive(Clone)]
pub(super) struct Field<'a> {
    pub(super) node: &'a Node,
    pub(super) path: FieldPath,
}

impl<'a> Field<'a> {
    /// Reports a finding about this value.
    pub(super) fn report(&self, cx: &mut Context, code: Code, text: impl Into<String>, hint: Option<String>) {
        cx.report(self.node.line, &self.path, code, text, hint);
    }

    /// Reports that this value is not one that the field can hold.
    pub(super) fn invalid(&self, cx: &mut Context, text: impl Into<String>, hint: &str) {
        self.report(cx, Code::InvalidValue, text, Some(hint.to_owned()));
    }

    fn wrong_type(&self, cx: &mut Context, expected: &str, hint: Option<String>) {
        self.report(cx, Code::WrongType, format!("expected {expected}, found {}", found(&self.node.value)), hint);
    }

    pub(super) fn text(&self, cx: &mut Context) -> Option<&'a str> {
        let hint = match &self.node.value {
            Value::Text(text) => {
                // YAML and JSON differ in how these may be written, so no form could carry them everywhere.
                if let Some(character) = text.chars().find(|character| !is_printable(*character)) {
                    self.invalid(cx, format!("the control character {character:?} is not allowed"), "remove it");
                    return None;
                }
                return Some(text);
            }
            Value::Integer(number) => Some(format!("quote it: \"{number}\"")),
            Value::Bool(value) => Some(format!("quote it: \"{value}\"")),
            Value::Number(number) => Some(format!("quote it: \"{}\"", shorten(number))),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        };
        self.wrong_type(cx, "a text", hint);
        None
    }

    /// A text that is read by the type's own rules.
    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(&self, cx: &mut Context) -> Option<T> {
        let text = self.text(cx)?;
        text.parse().map_err(|error: T::Err| self.report(cx, Code::InvalidValue, error.to_string(), None)).ok()
    }

    pub(super) fn integer(&self, cx: &mut Context, range: RangeInclusive<u32>) -> Option<u32> {
        let Value::Integer(number) = self.node.value else {
            let hint = match &self.node.value {
                Value::Text(text) if text.parse::<i64>().is_ok() => Some("remove the quotes".to_owned()),
                _ => None,
            };
            self.wrong_type(cx, "a whole number", hint);
            return None;
        };
        let valid = u32::try_from(number).ok().filter(|number| range.contains(number));
        if valid.is_none() {
            let (least, most) = range.into_inner();
            self.invalid(cx, format!("{number} is out of bounds"), &format!("write a number from {least} to {most}"));
        }
        valid
    }

    pub(super) fn port(&self, cx: &mut Context) -> Option<Port> {
        self.integer(cx, 1..=65_535).and_then(|number| u16::try_from(number).ok()).and_then(Port::new)
    }

    pub(super) fn boolean(&self, cx: &mut Context) -> Option<bool> {
        if let Value::Bool(value) = self.node.value {
            return Some(value);
        }
        self.wrong_type(cx, "true or false", None);
        None
    }

    /// A duration of GEP-2257.
    pub(super) fn duration(&self, cx: &mut Context) -> Option<Duration> {
        if let Value::Integer(number) = self.node.value {
            self.wrong_type(cx, "a duration", Some(format!("write its unit too, such as {number}s")));
            return None;
        }
        let text = self.text(cx)?;
        let duration = duration::parse(text);
        if duration.is_none() {
            let hint = "write up to four numbers of at most five digits with h, m, s or ms, such as 1m30s or 500ms";
            self.invalid(cx, format!("{:?} is not a duration", shorten(text)), hint);
        }
        duration
    }

    /// One of a closed set of texts.
    pub(super) fn choice<T: Copy>(&self, cx: &mut Context, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(cx)?;
        let chosen = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if chosen.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.invalid(cx, format!("{:?} is not one of its values", shorten(text)), &one_of(text, &names));
        }
        chosen
    }

    /// The items of a list; none where it is not one.
    pub(super) fn list(&self, cx: &mut Context) -> Vec<Self> {
        let Value::List(nodes) = &self.node.value else {
            self.wrong_type(cx, "a list", None);
            return Vec::new();
        };
        nodes.iter().enumerate().map(|(index, node)| Self { node, path: self.path.index(index) }).collect()
    }

    /// The items of a list whose length is within `bounds`; none where it is longer.
    pub(super) fn items(&self, cx: &mut Context, bounds: RangeInclusive<usize>) -> Vec<Self> {
        let items = self.list(cx);
        let is_list = matches!(self.node.value, Value::List(_));
        if is_list && items.len() < *bounds.start() {
            self.report(
                cx,
                Code::MissingField,
                "the list is empty",
                Some(format!("write at least {}", bounds.start())),
            );
        } else if items.len() > *bounds.end() {
            let text = format!("the list has {} items, more than {}", items.len(), bounds.end());
            self.report(cx, Code::TooLarge, text, None);
            return Vec::new();
        }
        items
    }

    /// The entries of a map of free keys, each key once.
    pub(super) fn entries(&self, cx: &mut Context) -> Vec<(&'a Entry, Self)> {
        let Value::Map(entries) = &self.node.value else {
            self.wrong_type(cx, "a map", None);
            return Vec::new();
        };
        unique(cx, entries, &self.path)
            .map(|entry| (entry, Self { node: &entry.node, path: self.path.key(&shorten(&entry.key)) }))
            .collect()
    }

    /// Whether the value says nothing: null, or an empty list or map.
    fn is_empty(&self) -> bool {
        match &self.node.value {
            Value::Null => true,
            Value::List(nodes) => nodes.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) => false,
        }
    }
}

/// The fields of a map whose keys are known.
pub(super) struct Fields<'a> {
    line: u32,
    path: FieldPath,
    left: Vec<&'a Entry>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields of `field`; `None`, and a finding, where it is not a map.
    pub(super) fn open(cx: &mut Context, field: &Field<'a>) -> Option<Self> {
        let Value::Map(entries) = &field.node.value else {
            field.wrong_type(cx, "a map", None);
            return None;
        };
        let left = unique(cx, entries, &field.path).collect();
        Some(Self { line: field.node.line, path: field.path.clone(), left, known: Vec::new() })
    }

    /// The field's value where it is present and not null.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        self.remove(key).filter(|field| !matches!(field.node.value, Value::Null))
    }

    /// A field that the kind does not have, taken so that its finding can say more.
    pub(super) fn take_unknown(&mut self, key: &str) -> Option<Field<'a>> {
        self.remove(key)
    }

    /// The field's value; a finding where it is absent or null.
    pub(super) fn required(&mut self, cx: &mut Context, key: &'static str) -> Option<Field<'a>> {
        let field = self.take(key);
        if field.is_none() {
            self.missing(cx, key, None);
        }
        field
    }

    /// Reports that a field is absent.
    pub(super) fn missing(&self, cx: &mut Context, key: &str, hint: Option<String>) {
        cx.report(self.line, &self.path.key(key), Code::MissingField, "the field is required", hint);
    }

    /// Fields that are accepted and left out.
    pub(super) fn ignore(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.remove(key);
        }
    }

    /// Fields of the kind's specification that weft does not implement: an error unless they say nothing.
    pub(super) fn unsupported(&mut self, cx: &mut Context, keys: &[&'static str]) {
        for key in keys {
            if let Some(field) = self.remove(key)
                && !field.is_empty()
            {
                let text = "the field is part of the specification, but weft does not implement it";
                field.report(cx, Code::UnsupportedField, text, Some("remove it".to_owned()));
            }
        }
    }

    /// A field of the specification of which weft implements some values only.
    pub(super) fn only(&mut self, cx: &mut Context, key: &'static str, values: &[&str]) {
        let Some(field) = self.take(key) else { return };
        let Some(text) = field.text(cx) else { return };
        if !values.contains(&text) {
            let found = format!("weft does not implement {:?} here", shorten(text));
            field.report(cx, Code::UnsupportedField, found, Some(one_of(text, values)));
        }
    }

    /// Reports what was not taken.
    pub(super) fn finish(self, cx: &mut Context) {
        for entry in self.left {
            let hint = if cx.is_full() { None } else { Some(unknown_hint(&entry.key, &self.known)) };
            let path = self.path.key(&shorten(&entry.key));
            cx.report(entry.line, &path, Code::UnknownField, "there is no such field", hint);
        }
    }

    fn remove(&mut self, key: &str) -> Option<Field<'a>> {
        let index = self.left.iter().position(|entry| entry.key == key)?;
        let entry = self.left.remove(index);
        Some(Field { node: &entry.node, path: self.path.key(key) })
    }
}

/// A text cut to what a message can show.
pub(super) fn shorten(text: &str) -> String {
    if text.chars().nth(64).is_none() { text.to_owned() } else { text.chars().take(64).chain(['…']).collect() }
}

/// The first entry of each key; the others are reported.
fn unique<'a>(cx: &mut Context, entries: &'a [Entry], path: &FieldPath) -> impl Iterator<Item = &'a Entry> + use<'a> {
    let mut first: HashMap<&str, u32> = HashMap::new();
    let mut kept = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(line) = first.get(entry.key.as_str()) {
            let hint = format!("the first is on line {line}");
            cx.report(
                entry.line,
                &path.key(&shorten(&entry.key)),
                Code::Duplicate,
                "the field stands twice",
                Some(hint),
            );
        } else {
            first.insert(&entry.key, entry.line);
            kept.push(entry);
        }
    }
    kept.into_iter()
}

fn unknown_hint(key: &str, known: &[&'static str]) -> String {
    match suggestion(key, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("its fields are {}", known.join(", ")),
    }
}

fn one_of(text: &str, values: &[&str]) -> String {
    match suggestion(text, values) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("write {}", values.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")),
    }
}

fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Integer(number) => format!("the number {number}"),
        Value::Number(number) => format!("the number {}", shorten(number)),
        Value::Text(text) => format!("the text {:?}", shorten(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}

/// YAML 1.2.2 §5.1's printable characters, without those that are line breaks in older YAML only.
fn is_printable(character: char) -> bool {
    match character {
        '\t' | '\n' => true,
        '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => false,
        other => !other.is_control(),
    }
}
