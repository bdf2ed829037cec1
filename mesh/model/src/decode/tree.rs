//! From text to a tree in which each node knows its line: YAML 1.2 with the core schema, of which JSON is a part.
use std::collections::HashMap;

use serde_saphyr::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError, StrInput, Tag};

use crate::Code;

/// The deepest nesting of lists and maps in a document.
pub(crate) const MAX_DEPTH: usize = 64;
/// The most documents in one text.
pub(crate) const MAX_DOCUMENTS: usize = 10_000;
/// The most nodes in one text, those that aliases repeat included.
const MAX_NODES: usize = 500_000;
/// The most that anchors and aliases may copy in one text: a node counts as 32, and as its text's bytes.
const MAX_COPIED: usize = 1 << 20;

/// A value and the line where it starts.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// One-based.
    pub(crate) line: u32,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number, as written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// In the order written; a key may stand twice.
    Map(Vec<Entry>),
}

/// One key of a map with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The key's line, one-based.
    pub(crate) line: u32,
    pub(crate) node: Node,
}

/// Why a document, or the rest of the text, could not be read.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) line: u32,
    pub(crate) code: Code,
    pub(crate) text: String,
    pub(crate) hint: Option<&'static str>,
}

impl Fault {
    fn syntax(line: u32, text: impl Into<String>) -> Self {
        Self { line, code: Code::Syntax, text: text.into(), hint: None }
    }

    fn too_large(line: u32, text: impl Into<String>) -> Self {
        Self { line, code: Code::TooLarge, text: text.into(), hint: None }
    }

    fn too_deep(line: u32) -> Self {
        Self::too_large(line, format!("lists and maps are nested more than {MAX_DEPTH} deep"))
    }

    fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

impl From<ScanError> for Fault {
    fn from(error: ScanError) -> Self {
        let line = line_of(error.marker());
        match error.kind() {
            ErrorKind::RecursionLimitExceeded => Self::too_deep(line),
            ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation => {
                Self::syntax(line, error.info()).hint("indent with spaces")
            }
            ErrorKind::UnknownAnchor => Self::syntax(line, "the alias names no anchor above it"),
            ErrorKind::UnclosedFlowCollection { open, .. } => {
                Self::syntax(line, format!("the `{open}` is never closed"))
            }
            _ => Self::syntax(line, error.info()),
        }
    }
}

/// Every document of `text` that is not empty, or why it cannot be read. A document that cannot be read does not keep
/// the following ones from being read, unless a bound on the whole text is passed.
pub(crate) fn documents(text: &str) -> Vec<Result<Node, Fault>> {
    let options = granit_parser::options! { emit_comments: false };
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        nodes: 0,
        copied: 0,
        exhausted: false,
    };
    let mut documents = Vec::new();
    let mut count = 0;
    loop {
        let document = reader.document();
        let failed = match document {
            Ok(None) => return documents,
            Ok(Some(Node { value: Value::Null, .. })) => false,
            Ok(Some(node)) => {
                documents.push(Ok(node));
                false
            }
            Err(fault) => {
                documents.push(Err(fault));
                true
            }
        };
        count += 1;
        if count > MAX_DOCUMENTS {
            documents.push(Err(Fault::too_large(1, format!("the text has more than {MAX_DOCUMENTS} documents"))));
            return documents;
        }
        if failed && (reader.exhausted || !matches!(reader.parser.proceed_next_document(), Ok(true))) {
            return documents;
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// The anchored nodes of the document being read, by the parser's number.
    anchors: HashMap<usize, Node>,
    nodes: usize,
    copied: usize,
    /// A bound on the whole text is passed: nothing more is read.
    exhausted: bool,
}

/// A list or map that is not complete.
struct Open {
    line: u32,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(Vec<Entry>, Option<(String, u32)>),
}

impl Reader<'_> {
    /// The next document's root; `None` at the end of the text.
    fn document(&mut self) -> Result<Option<Node>, Fault> {
        self.anchors.clear();
        let mut open: Vec<Open> = Vec::new();
        let mut root = None;
        while let Some(event) = self.parser.next_event() {
            let (event, span) = event?;
            let line = line_of(&span.start);
            let node = match event {
                Event::Scalar(text, style, anchor, tag) => {
                    let node = Node { line, value: scalar(&text, style, tag.as_deref(), line)? };
                    Some(self.anchored(anchor, node)?)
                }
                Event::SequenceStart(_, anchor, tag) => {
                    check_tag(tag.as_deref(), "seq", line)?;
                    push(&mut open, Open { line, anchor, content: Content::List(Vec::new()) })?;
                    None
                }
                Event::MappingStart(_, anchor, tag) => {
                    check_tag(tag.as_deref(), "map", line)?;
                    push(&mut open, Open { line, anchor, content: Content::Map(Vec::new(), None) })?;
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                    Some(Open { line, anchor, content }) => {
                        let value = match content {
                            Content::List(nodes) => Value::List(nodes),
                            Content::Map(entries, _) => Value::Map(entries),
                        };
                        Some(self.anchored(anchor, Node { line, value })?)
                    }
                    None => None,
                },
                Event::Alias(anchor) => Some(self.alias(anchor, line, open.len())?),
                Event::DocumentEnd => return Ok(Some(root.unwrap_or(Node { line, value: Value::Null }))),
                Event::StreamEnd => return Ok(None),
                _ => None,
            };
            let Some(node) = node else { continue };
            self.nodes += 1;
            if self.nodes > MAX_NODES {
                self.exhausted = true;
                return Err(Fault::too_large(line, format!("the text has more than {MAX_NODES} values")));
            }
            match open.last_mut() {
                Some(parent) => parent.add(node)?,
                None => root = Some(node),
            }
        }
        Ok(None)
    }

    /// `node`, remembered if it has an anchor.
    fn anchored(&mut self, anchor: usize, node: Node) -> Result<Node, Fault> {
        if anchor != 0 {
            self.charge(&node)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// A copy of an anchored node, whose values are then told by the alias' line.
    fn alias(&mut self, anchor: usize, line: u32, depth: usize) -> Result<Node, Fault> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Fault::syntax(line, "the alias stands within what it names"));
        };
        let (cost, height) = measure(node);
        if depth + height > MAX_DEPTH {
            return Err(Fault::too_deep(line));
        }
        self.copied += cost;
        if self.copied > MAX_COPIED {
            self.exhausted = true;
            return Err(copied_too_much(line));
        }
        Ok(Node { line, value: node.value.clone() })
    }

    fn charge(&mut self, node: &Node) -> Result<(), Fault> {
        self.copied += measure(node).0;
        if self.copied > MAX_COPIED {
            self.exhausted = true;
            return Err(copied_too_much(node.line));
        }
        Ok(())
    }
}

fn copied_too_much(line: u32) -> Fault {
    Fault::too_large(line, "anchors and aliases repeat more than 1 MiB of the text").hint("write the values out")
}

fn push(open: &mut Vec<Open>, next: Open) -> Result<(), Fault> {
    if open.len() >= MAX_DEPTH {
        return Err(Fault::too_deep(next.line));
    }
    open.push(next);
    Ok(())
}

impl Open {
    fn add(&mut self, node: Node) -> Result<(), Fault> {
        match &mut self.content {
            Content::List(nodes) => nodes.push(node),
            Content::Map(entries, pending) => match pending.take() {
                Some((key, line)) => entries.push(Entry { key, line, node }),
                None => *pending = Some((key_of(&node)?, node.line)),
            },
        }
        Ok(())
    }
}

fn key_of(node: &Node) -> Result<String, Fault> {
    match &node.value {
        Value::Text(text) if text == "<<" => {
            Err(Fault::syntax(node.line, "merge keys (`<<`) are not read").hint("write the fields out"))
        }
        Value::Text(text) | Value::Number(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Null => Ok("null".to_owned()),
        Value::List(_) | Value::Map(_) => Err(Fault::syntax(node.line, "a key must be a text, not a list or map")),
    }
}

/// What copying a node costs against [`MAX_COPIED`], and how many lists and maps stand in one another in it.
fn measure(node: &Node) -> (usize, usize) {
    let sum = |(cost, height): (usize, usize), (more, deep): (usize, usize)| (cost + more, height.max(deep));
    match &node.value {
        Value::Null | Value::Bool(_) | Value::Integer(_) => (32, 0),
        Value::Number(text) | Value::Text(text) => (32 + text.len(), 0),
        Value::List(nodes) => {
            let (cost, height) = nodes.iter().map(measure).fold((32, 0), sum);
            (cost, height + 1)
        }
        Value::Map(entries) => {
            let entry = |Entry { key, line: _, node }: &Entry| {
                let (cost, height) = measure(node);
                (cost + 32 + key.len(), height)
            };
            let (cost, height) = entries.iter().map(entry).fold((32, 0), sum);
            (cost, height + 1)
        }
    }
}

fn line_of(marker: &granit_parser::Marker) -> u32 {
    u32::try_from(marker.line()).unwrap_or(u32::MAX).max(1)
}

fn check_tag(tag: Option<&Tag>, expected: &str, line: u32) -> Result<(), Fault> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.core_suffix() == Some(expected) => Ok(()),
        Some(tag) => Err(unread_tag(tag, line)),
    }
}

fn unread_tag(tag: &Tag, line: u32) -> Fault {
    let shown: String = tag.original().chars().take(64).collect();
    Fault::syntax(line, format!("the tag {shown:?} is not read here")).hint("leave the tag out")
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, line: u32) -> Result<Value, Fault> {
    let plain = || if style == ScalarStyle::Plain { resolve(text) } else { Value::Text(text.to_owned()) };
    let Some(tag) = tag else { return Ok(plain()) };
    let value = match tag.core_suffix() {
        Some("str") => return Ok(Value::Text(text.to_owned())),
        Some(suffix @ ("int" | "float" | "bool" | "null")) => Some((suffix, resolve(text))),
        _ => None,
    };
    match value {
        Some(("int", value @ Value::Integer(_)))
        | Some(("float", value @ (Value::Integer(_) | Value::Number(_))))
        | Some(("bool", value @ Value::Bool(_)))
        | Some(("null", value @ Value::Null)) => Ok(value),
        _ => Err(unread_tag(tag, line)),
    }
}

/// A plain scalar by the core schema (YAML 1.2.2 §10.3.2).
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let radix = |prefix, radix| {
        let digits: &str = text.strip_prefix(prefix)?;
        let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_alphanumeric());
        if valid { i64::from_str_radix(digits, radix).ok() } else { None }
    };
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Value::Integer(number);
    }
    if !is_number(text) {
        Value::Text(text.to_owned())
    } else if let Ok(number) = text.parse() {
        Value::Integer(number)
    } else {
        Value::Number(text.to_owned())
    }
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`, infinity or not a number.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) =
        unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let (whole, fraction) =
        mantissa.split_once('.').map_or((mantissa, None), |(whole, fraction)| (whole, Some(fraction)));
    let mantissa_fits =
        digits(whole) && fraction.is_none_or(digits) && !(whole.is_empty() && fraction.is_none_or(str::is_empty));
    exponent_fits && mantissa_fits
}
