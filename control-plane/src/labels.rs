//! Labels of workloads: their form, and which identity may carry which.
//!
//! A Service chooses its endpoints by labels, so whoever may choose its labels may take any Service's traffic. A join
//! token names the labels that it allows; when it is used they are granted to its identity, for good and together with
//! those of earlier tokens.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use weft_model::{Labels, SpiffeId};
use weft_store::{ExpectedValue, State, StateChange, StoreError, Table};

/// The most labels of one workload or one token.
pub(crate) const MAX_LABELS: usize = 64;
/// Kubernetes: a label key has a prefix of at most 253 characters, `/`, and a name of at most 63; a value at most 63.
const MAX_KEY: usize = 317;
const MAX_VALUE: usize = 63;
/// The most labels that are granted to one identity.
const MAX_GRANTED: usize = 1_024;

/// What is wrong with the form of labels, one text for each fault.
pub(crate) fn faults<'a>(labels: impl ExactSizeIterator<Item = (&'a String, &'a String)>) -> Vec<String> {
    if labels.len() > MAX_LABELS {
        return vec![format!("{} are more than {MAX_LABELS}", labels.len())];
    }
    let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let mut faults = Vec::new();
    for (key, value) in labels {
        if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|byte| part(byte) || byte == b'/') {
            faults.push(format!("{:?} is not a label's key", shortened(key)));
        }
        if value.len() > MAX_VALUE || !value.bytes().all(part) {
            faults.push(format!("{:?} is not a label's value", shortened(value)));
        }
    }
    faults
}

fn shortened(text: &str) -> String {
    crate::registry::shorten(text.to_owned())
}

/// The labels that an identity may carry: the values of each key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Granted(BTreeMap<String, BTreeSet<String>>);

/// More than is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Granted {
    /// What the store holds for an identity, and the bytes themselves. What cannot be read grants nothing.
    pub(crate) async fn read(state: &dyn State, identity: &SpiffeId) -> Result<(Self, Option<Vec<u8>>), StoreError> {
        let stored = state.read(Table::Grants, identity.as_str()).await?;
        let granted = stored.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        Ok((granted.unwrap_or_default(), stored))
    }

    /// Whether a label may be carried.
    pub(crate) fn allows(&self, key: &str, value: &str) -> bool {
        self.0.get(key).is_some_and(|values| values.contains(value))
    }

    /// The change that grants further labels, `None` where they are granted already. `stored` is what was read.
    ///
    /// # Errors
    /// [`TooMany`] where the identity would have more than are kept.
    pub(crate) fn with(
        mut self,
        labels: &Labels,
        identity: &SpiffeId,
        stored: Option<Vec<u8>>,
    ) -> Result<Option<StateChange>, TooMany> {
        let before = self.len();
        for (key, value) in labels {
            self.0.entry(key.clone()).or_default().insert(value.clone());
        }
        if self.len() > MAX_GRANTED {
            return Err(TooMany);
        }
        Ok((self.len() > before).then(|| StateChange {
            table: Table::Grants,
            key: identity.to_string(),
            expected: stored.map_or(ExpectedValue::Absent, ExpectedValue::Is),
            // Texts alone: there is nothing in it that JSON cannot hold.
            value: Some(serde_json::to_vec(&self).unwrap_or_default()),
        }))
    }

    fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(key: &str, value: &str) -> Labels {
        [(key.to_owned(), value.to_owned())].into()
    }

    #[test]
    fn grants_of_several_tokens_add_up_and_are_written_once() {
        let identity: SpiffeId = "spiffe://weft.local/ns/shop/sa/web".parse().unwrap();
        let first = Granted::default().with(&labels("app", "web"), &identity, None).unwrap().unwrap();
        assert!(first.expected == ExpectedValue::Absent && first.key == identity.as_str());
        let stored = first.value.unwrap();
        let granted: Granted = serde_json::from_slice(&stored).unwrap();
        assert!(granted.clone().with(&labels("app", "web"), &identity, Some(stored.clone())).unwrap().is_none());
        let second = granted.with(&labels("app", "shop"), &identity, Some(stored.clone())).unwrap().unwrap();
        assert!(second.expected == ExpectedValue::Is(stored));
        let granted: Granted = serde_json::from_slice(&second.value.unwrap()).unwrap();
        assert!(granted.allows("app", "web") && granted.allows("app", "shop"));
        assert!(!granted.allows("app", "catalog") && !granted.allows("version", "web"));
    }

    #[test]
    fn what_is_granted_to_one_identity_is_bounded() {
        let identity: SpiffeId = "spiffe://weft.local/ns/shop/sa/web".parse().unwrap();
        let full = Granted([("app".to_owned(), (0..MAX_GRANTED).map(|it| it.to_string()).collect())].into());
        assert_eq!(full.clone().with(&labels("app", "more"), &identity, None).unwrap_err(), TooMany);
        assert!(full.with(&labels("app", "1"), &identity, None).unwrap().is_none());
    }
}
