//! What becomes of HTTP/1.0 clients, as the bootstrap says it.
use serde_json::{Map, Value, json};

use super::tree::{Errors, Fields};
use crate::dataplane::{Http10, ServeHttp10};

/// The field `http10` of the extension; the default where it, or a field of it, is absent.
pub(super) fn read(fields: &mut Fields, errors: &mut Errors) -> Http10 {
    let Some(node) = fields.take("http10", errors) else { return Http10::default() };
    let mut fields = node.fields(errors);
    let serve = fields.take("serve", errors).and_then(|node| node.parse(errors));
    let default_host = fields.take("default_host", errors).and_then(|node| node.parse(errors));
    fields.finish(errors);
    Http10 { serve: serve.unwrap_or_default(), default_host }
}

/// What differs from the default; `None` where nothing does.
pub(super) fn to_json(Http10 { serve, default_host }: &Http10) -> Option<Value> {
    let mut map = Map::new();
    if *serve != ServeHttp10::default() {
        map.insert("serve".to_owned(), json!(serve.as_str()));
    }
    if let Some(host) = default_host {
        map.insert("default_host".to_owned(), json!(host.as_str()));
    }
    (!map.is_empty()).then_some(Value::Object(map))
}
