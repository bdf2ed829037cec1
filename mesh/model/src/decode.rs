//! From YAML or JSON text to objects.
//!
//! The text is read into a tree that knows its lines (`tree`); each kind then takes its fields from the tree
//! (`fields`), and what it does not take is an unknown field. Nothing stops at the first error: an object is left out
//! if anything about it is an error, and every finding is told.
use std::{collections::HashMap, sync::Arc};

use crate::{Code, Diagnostic, FieldPath, Kind, Object, ObjectRef, Source};

mod access;
mod fields;
mod kind;
mod meta;
mod path;
mod pattern;
mod route;
mod route_filter;
mod service;
mod suggest;
mod target;
mod traffic;
mod tree;
mod workload;

use fields::{Context, Field, Fields};
use tree::{Fault, Node, Value};

/// The most bytes that a text to decode may have: 4 MiB.
pub const MAX_TEXT_BYTES: usize = 4 << 20;

/// The most findings that are told about one text; the last one then says that more were left out.
pub const MAX_DIAGNOSTICS: usize = 1000;

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The objects without an error, in the order written, each with the line where it starts.
    pub objects: Vec<(Object, Source)>,
    /// Everything that is wrong, in the order of lines.
    pub diagnostics: Vec<Diagnostic>,
}

impl Decoded {
    /// Whether anything must be refused.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads the objects of `text`: YAML of any number of documents, or JSON, in Kubernetes form, `kind: List` included.
///
/// `file` names the text in diagnostics. `status` and the metadata that an API server fills in are accepted and left
/// out. Bounds: [`MAX_TEXT_BYTES`], 64 levels, 10,000 documents, 500,000 values, 1 MiB repeated by aliases.
pub fn decode(file: &str, text: &str) -> Decoded {
    let mut decoder = Decoder { cx: Context::new(file), objects: Vec::new(), first_lines: HashMap::new() };
    if text.len() > MAX_TEXT_BYTES {
        let found = format!("the text has {} bytes, more than {MAX_TEXT_BYTES}", text.len());
        decoder.cx.report(1, &FieldPath::default(), Code::TooLarge, found, Some("split it".to_owned()));
        return decoder.finish();
    }
    for document in tree::documents(text) {
        match document {
            Ok(node) => decoder.document(&node),
            Err(Fault { line, code, text, hint }) => {
                decoder.cx.report(line, &FieldPath::default(), code, text, hint.map(str::to_owned));
            }
        }
    }
    decoder.finish()
}

struct Decoder {
    cx: Context,
    objects: Vec<(Object, Source)>,
    /// Where each object of the text starts, the refused ones included.
    first_lines: HashMap<ObjectRef, u32>,
}

impl Decoder {
    fn document(&mut self, node: &Node) {
        if is_list(node) {
            self.list(node);
        } else {
            self.object(node);
        }
    }

    /// `kind: List`: its items, each of which may be of any kind but a list.
    fn list(&mut self, node: &Node) {
        let field = Field { node, path: FieldPath::default() };
        let Some(mut fields) = Fields::open(&mut self.cx, &field) else { return };
        fields.ignore(&["kind", "metadata"]);
        if let Some(version) = fields.required(&mut self.cx, "apiVersion")
            && let Some(text) = version.text(&mut self.cx)
            && text != "v1"
        {
            let found = format!("{text:?} has no kind List");
            version.report(&mut self.cx, Code::UnknownKind, found, Some("write `apiVersion: v1`".to_owned()));
        }
        let items = fields.required(&mut self.cx, "items");
        fields.finish(&mut self.cx);
        let items = items.map(|items| items.list(&mut self.cx)).unwrap_or_default();
        for item in items {
            self.object(item.node);
        }
    }

    fn object(&mut self, node: &Node) {
        let errors = self.cx.errors;
        self.cx.begin_object();
        let object = self.read(node);
        self.cx.end_object();
        if let Some(object) = object
            && self.cx.errors == errors
        {
            let source = Source { rules: rule_lines(node), ..Source::new(self.cx.file.clone(), node.line) };
            self.objects.push((object, source));
        }
    }

    fn read(&mut self, node: &Node) -> Option<Object> {
        let cx = &mut self.cx;
        let root = Field { node, path: FieldPath::default() };
        let mut fields = Fields::open(cx, &root)?;
        let kind = kind::decode(cx, &mut fields)?;
        let meta = meta::decode(cx, &mut fields, kind);
        if let Some((meta, name_line)) = &meta {
            let reference = ObjectRef { kind, namespace: meta.namespace.clone(), name: meta.name.clone() };
            if let Some(first) = self.first_lines.get(&reference) {
                let (text, hint) =
                    ("an object of this kind and name stands above", format!("the first is at {}:{first}", cx.file));
                cx.report(*name_line, &FieldPath::from("metadata.name"), Code::Duplicate, text, Some(hint));
            } else {
                self.first_lines.insert(reference, node.line);
            }
        }
        fields.ignore(&["status"]);
        let spec = fields.required(cx, "spec");
        fields.finish(cx);
        // Without a name the fields are still read, so that their errors are told too.
        let meta = meta.map(|(meta, _)| meta);
        let spec = spec?;
        let object = match kind {
            Kind::Service => Object::Service(Arc::new(service::decode(cx, meta, &spec)?)),
            Kind::Workload => Object::Workload(Arc::new(workload::decode(cx, meta, &spec)?)),
            Kind::HttpRoute => Object::HttpRoute(Arc::new(route::decode(cx, meta, &spec)?)),
            Kind::GrpcRoute => Object::GrpcRoute(Arc::new(route::grpc::decode(cx, meta, &spec)?)),
            Kind::HttpRouteFilter => Object::HttpRouteFilter(Arc::new(route_filter::decode(cx, meta, &spec)?)),
            Kind::TrafficPolicy => Object::TrafficPolicy(Arc::new(traffic::decode(cx, meta, &spec)?)),
            Kind::AccessPolicy => Object::AccessPolicy(Arc::new(access::decode(cx, meta, &spec)?)),
        };
        Some(object)
    }

    fn finish(self) -> Decoded {
        let Self { cx, objects, first_lines: _ } = self;
        Decoded { objects, diagnostics: cx.finish() }
    }
}

/// The lines of the items of `spec.rules`.
fn rule_lines(object: &Node) -> Vec<u32> {
    let rules = entry(object, "spec").and_then(|spec| entry(spec, "rules"));
    match rules.map(|rules| &rules.value) {
        Some(Value::List(rules)) => rules.iter().map(|rule| rule.line).collect(),
        _ => Vec::new(),
    }
}

fn entry<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
}

fn is_list(node: &Node) -> bool {
    let Value::Map(entries) = &node.value else { return false };
    entries.iter().any(|entry| entry.key == "kind" && matches!(&entry.node.value, Value::Text(kind) if kind == "List"))
}
