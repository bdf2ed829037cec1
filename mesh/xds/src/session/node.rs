//! What a weft client says of itself in its node's metadata.
use std::collections::BTreeSet;

use weft_ir::Feature;
use weft_model::Revision;
use weft_proto::{
    envoy::config::core::v3::Node,
    google::protobuf::{ListValue, Struct, Value, value::Kind},
};

const FEATURES: &str = "weft.features";
const REVISION: &str = "weft.revision";

/// The features that the reader behind a node knows; `None` for a client that says nothing of them (it is not weft's).
pub fn reader_features(node: &Node) -> Option<BTreeSet<Feature>> {
    let Some(Kind::ListValue(list)) = field(node, FEATURES) else { return None };
    let names = list.values.iter().filter_map(|value| match &value.kind {
        Some(Kind::StringValue(name)) => Feature::from_name(name),
        _ => None,
    });
    Some(names.collect())
}

/// The highest revision that the client behind a node has seen, if it has seen any.
pub fn reader_revision(node: &Node) -> Option<Revision> {
    match field(node, REVISION) {
        Some(Kind::StringValue(revision)) => revision.parse().ok(),
        _ => None,
    }
}

/// The node with this version's features and the highest revision seen.
pub(super) fn describe(node: &Node, revision: Option<&Revision>) -> Node {
    let mut node = node.clone();
    let fields = &mut node.metadata.get_or_insert_with(Struct::default).fields;
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let features = Feature::ALL.iter().map(|feature| text(feature.as_str())).collect();
    fields.insert(FEATURES.to_owned(), Value { kind: Some(Kind::ListValue(ListValue { values: features })) });
    if let Some(revision) = revision {
        fields.insert(REVISION.to_owned(), text(&revision.to_string()));
    }
    node
}

fn field<'a>(node: &'a Node, name: &str) -> Option<&'a Kind> {
    node.metadata.as_ref()?.fields.get(name)?.kind.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_its_features_and_the_highest_revision() {
        let revision: Revision = "e/all=7".parse().unwrap();
        let node = describe(&Node::default(), Some(&revision));
        assert_eq!(reader_features(&node), Some(Feature::ALL.into()));
        assert_eq!(reader_revision(&node), Some(revision));
        assert_eq!(reader_features(&Node::default()), None);
    }
}
