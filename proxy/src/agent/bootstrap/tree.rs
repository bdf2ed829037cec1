//! A YAML or JSON text as a tree whose nodes know their line, and a reader that collects errors instead of stopping at
//! the first.
use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use super::FieldError;

/// One value of the text.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// A whole number.
    Number(String),
    /// A number whose text was lost: `1.10` and `1.1` are one.
    Fraction,
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Fraction => "a fraction (quote it to make it a text)",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Fraction)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = access.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}

/// Where in the text something stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    line: u64,
    path: String,
}

impl Place {
    pub(super) fn root() -> Self {
        Self { line: 1, path: String::new() }
    }

    pub(super) fn key(&self, key: &str, line: u64) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { line, path }
    }

    fn index(&self, index: usize, line: u64) -> Self {
        Self { line, path: format!("{}[{index}]", self.path) }
    }
}

/// The errors found so far.
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<FieldError>);

impl Errors {
    pub(super) fn add(&mut self, place: &Place, text: impl Into<String>) {
        self.0.push(FieldError { line: place.line, field: place.path.clone(), text: text.into() });
    }

    pub(super) fn into_sorted(mut self) -> Vec<FieldError> {
        self.0.sort_by_key(|error| error.line);
        self.0
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    value: Value,
}

impl Node {
    pub(super) fn root(value: Spanned<Value>) -> Self {
        Self { place: Place::root(), value: value.value }
    }

    /// The fields of this map; an empty map, and an error, if it is none.
    pub(super) fn fields(self, errors: &mut Errors) -> Fields {
        let Self { place, value } = self;
        let entries = match value {
            Value::Map(entries) => entries,
            Value::Null => Vec::new(),
            other => {
                errors.add(&place, format!("it must be a map, not {}", other.kind()));
                Vec::new()
            }
        };
        Fields { place, entries: entries.into_iter().map(Some).collect(), known: BTreeSet::new() }
    }

    /// The entries of this list.
    pub(super) fn list(self, errors: &mut Errors) -> Vec<Self> {
        let Self { place, value } = self;
        match value {
            Value::List(items) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| Self { place: place.index(index, item.referenced.line()), value: item.value })
                .collect(),
            other => {
                errors.add(&place, format!("it must be a list, not {}", other.kind()));
                Vec::new()
            }
        }
    }

    /// The entries of this map whose keys are the user's own.
    pub(super) fn entries(self, errors: &mut Errors) -> Vec<(String, Self)> {
        let fields = self.fields(errors);
        let place = fields.place;
        let entry = |(key, value): (Spanned<String>, Spanned<Value>)| {
            let place = place.key(&key.value, key.referenced.line());
            (key.value, Self { place, value: value.value })
        };
        fields.entries.into_iter().flatten().map(entry).collect()
    }

    /// The text of this scalar. A number or boolean without quotes is what its text says.
    pub(super) fn text(self, errors: &mut Errors) -> Option<String> {
        match self.value {
            Value::Text(text) | Value::Number(text) => Some(text),
            Value::Bool(value) => Some(value.to_string()),
            other => {
                errors.add(&self.place, format!("it must be a text, not {}", other.kind()));
                None
            }
        }
    }

    /// The value that this scalar's text stands for.
    pub(super) fn parse<T: FromStr<Err: fmt::Display>>(self, errors: &mut Errors) -> Option<T> {
        let place = self.place.clone();
        match self.text(errors)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                errors.add(&place, error.to_string());
                None
            }
        }
    }
}

/// The fields of a message: each is taken by name, what is left over is an error.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) place: Place,
    entries: Vec<Option<(Spanned<String>, Spanned<Value>)>>,
    known: BTreeSet<&'static str>,
}

impl Fields {
    /// The field of that name in either spelling of protobuf JSON, if it is there and not null.
    pub(super) fn take(&mut self, name: &'static str, errors: &mut Errors) -> Option<Node> {
        self.known.insert(name);
        let camel = camel_case(name);
        let mut found = None;
        for slot in &mut self.entries {
            let Some((key, value)) = slot.take_if(|(key, _)| key.value == name || key.value == camel) else { continue };
            let place = self.place.key(name, key.referenced.line());
            if found.is_some() {
                errors.add(&place, "it is given twice, in two spellings");
            } else if !matches!(value.value, Value::Null) {
                found = Some(Node { place, value: value.value });
            }
        }
        found
    }

    /// The field of that name; an error if it is absent.
    pub(super) fn require(&mut self, name: &'static str, errors: &mut Errors) -> Option<Node> {
        let found = self.take(name, errors);
        if found.is_none() {
            errors.add(&self.place, format!("the field {name} is missing"));
        }
        found
    }

    /// A field that must say exactly `expected`, where it is given.
    pub(super) fn fixed(&mut self, name: &'static str, expected: &str, errors: &mut Errors) {
        let Some(node) = self.take(name, errors) else { return };
        let place = node.place.clone();
        if let Some(text) = node.text(errors)
            && text != expected
        {
            errors.add(&place, format!("{text:?} is not supported here: it must be {expected:?}"));
        }
    }

    /// Ends the message: every field that nobody took is an error.
    pub(super) fn finish(self, errors: &mut Errors) {
        for (key, _) in self.entries.into_iter().flatten() {
            let known = self.known.iter().copied().collect::<Vec<_>>().join(", ");
            let place = self.place.key(&key.value, key.referenced.line());
            errors.add(&place, format!("weft does not read this field (it reads: {known})"));
        }
    }
}

/// protobuf's JSON name of a field.
fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for character in name.chars() {
        match character {
            '_' => upper = true,
            _ if upper => {
                camel.push(character.to_ascii_uppercase());
                upper = false;
            }
            _ => camel.push(character),
        }
    }
    camel
}
