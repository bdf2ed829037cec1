//! Changes of header fields, composed: which lines of a head are not passed on, and which are written behind the others.
use serde::Serialize;
use weft_model::HeaderChanges;

/// What becomes of a head's fields. Steps are taken in order, each on what the former ones have left; names are in lower
/// case. Nothing is allocated where nothing changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldEdits<'a> {
    // No SmallVec, which may not be used where a shorter life is asked for.
    dropped: Vec<&'a str>,
    added: Vec<(&'a str, &'a str)>,
}

impl<'a> FieldEdits<'a> {
    /// The steps of several changes, one after the other.
    pub fn of(changes: impl IntoIterator<Item = &'a HeaderChanges>) -> Self {
        let mut edits = Self::default();
        changes.into_iter().for_each(|changes| edits.change(changes));
        edits
    }

    /// Takes the steps of changes.
    pub fn change(&mut self, HeaderChanges { set, add, remove }: &'a HeaderChanges) {
        remove.iter().for_each(|name| self.remove(name));
        set.iter().for_each(|field| self.set(&field.name, &field.value));
        add.iter().for_each(|field| self.add(&field.name, &field.value));
    }

    /// Has this be the only field of its name.
    pub fn set(&mut self, name: &'a str, value: &'a str) {
        self.remove(name);
        self.added.push((name, value));
    }

    /// Adds a field behind those of its name.
    pub fn add(&mut self, name: &'a str, value: &'a str) {
        self.added.push((name, value));
    }

    /// Leaves no field of that name.
    pub fn remove(&mut self, name: &'a str) {
        self.added.retain(|(its, _)| *its != name);
        if !self.dropped.contains(&name) {
            self.dropped.push(name);
        }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.added.is_empty()
    }

    /// Whether a field of that name, in any case, is not passed on as it came.
    pub fn drops(&self, name: &[u8]) -> bool {
        self.dropped.iter().any(|its| its.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The names of which no field is passed on as it came.
    pub fn dropped(&self) -> impl Iterator<Item = &'a str> {
        self.dropped.iter().copied()
    }

    /// The fields that are written behind the others, in order.
    pub fn added(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.added.iter().copied()
    }

    /// The same, owned.
    pub fn told(&self) -> Edited {
        Edited {
            dropped: self.dropped().map(str::to_owned).collect(),
            added: self.added().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }
}

/// [`FieldEdits`] as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Edited {
    /// The names of which no field is passed on as it came.
    pub dropped: Vec<String>,
    /// The fields that are written behind the others, in order.
    pub added: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use weft_model::HeaderField;

    use super::*;

    /// The fields of a head after one set of changes, by the Gateway API's words.
    fn one_by_one(mut fields: Vec<(String, String)>, changes: &HeaderChanges) -> Vec<(String, String)> {
        let pair = |field: &HeaderField| (field.name.clone(), field.value.clone());
        fields.retain(|(name, _)| !changes.remove.contains(name));
        fields.retain(|(name, _)| changes.set.iter().all(|field| field.name != *name));
        fields.extend(changes.set.iter().map(pair));
        fields.extend(changes.add.iter().map(pair));
        fields
    }

    fn changes() -> impl Strategy<Value = HeaderChanges> {
        proptest::collection::btree_map("[a-d]", (0..3_u8, "[x-z]"), 0..4).prop_map(|entries| {
            let mut changes = HeaderChanges::default();
            for (name, (kind, value)) in entries {
                match kind {
                    0 => changes.set.push(HeaderField { name, value }),
                    1 => changes.add.push(HeaderField { name, value }),
                    _ => changes.remove.push(name),
                }
            }
            changes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn composed_edits_do_what_their_steps_do(
            fields in vec(("[a-d]", "[u-w]"), 0..6),
            steps in vec(changes(), 0..4),
        ) {
            let edits = FieldEdits::of(&steps);
            let mut composed = fields.clone();
            composed.retain(|(name, _)| !edits.drops(name.to_uppercase().as_bytes()));
            composed.extend(edits.added().map(|(name, value)| (name.to_owned(), value.to_owned())));
            let stepwise = steps.iter().fold(fields, one_by_one);
            // The order of fields of one name is theirs; that of others says nothing.
            for name in ["a", "b", "c", "d"] {
                let of = |all: &[(String, String)]| -> Vec<String> {
                    all.iter().filter(|(its, _)| its == name).map(|(_, value)| value.clone()).collect()
                };
                prop_assert_eq!(of(&composed), of(&stepwise), "{}", name);
            }
            prop_assert_eq!(edits.is_empty(), steps.iter().all(HeaderChanges::is_empty));
        }
    }
}
