//! Whether a writer may write, and whether it writes what it thinks.
use std::collections::BTreeMap;

use weft_compile::Compiler;
use weft_model::{Code, Diagnostic, ObjectRef, Owner, Source, Stored};

use crate::{Proposed, suggest};

pub(crate) fn gate(current: &Compiler, owner: &Owner, change: &[Proposed]) -> Vec<Diagnostic> {
    let mut seen: BTreeMap<ObjectRef, Option<&Source>> = BTreeMap::new();
    let mut told = Vec::new();
    for write in change {
        let object = write.reference();
        let stored = current.stored(&object).map(|stored| &**stored);
        let mut tell = |diagnostic: Diagnostic| told.push(diagnostic.at(write.source().cloned()));
        if let Some(first) = seen.insert(object.clone(), write.source()) {
            let place = first.map_or_else(String::new, |Source { file, line, .. }| format!(", first at {file}:{line}"));
            let text = format!("the change writes this object twice{place}");
            tell(Diagnostic::error(&object, "", Code::Duplicate, text).hint("keep one of the two"));
        }
        match stored {
            Some(stored) if stored.owner != *owner => tell(not_owner(&object, stored, owner)),
            Some(stored) => tell_if(conflict(&object, stored.modified, write), &mut tell),
            None => tell_if(absent(current, &object, write), &mut tell),
        }
    }
    told
}

fn tell_if(diagnostic: Option<Diagnostic>, tell: &mut impl FnMut(Diagnostic)) {
    if let Some(diagnostic) = diagnostic {
        tell(diagnostic);
    }
}

fn not_owner(object: &ObjectRef, stored: &Stored, owner: &Owner) -> Diagnostic {
    let text = format!("it is owned by {}, and this write comes from {owner}", stored.owner);
    let hint = match &stored.source {
        Some(Source { file, .. }) => format!("change it where it comes from, in {file}"),
        None => format!("change it where it comes from, {}", stored.owner),
    };
    Diagnostic::error(object, "", Code::NotOwner, text).hint(hint)
}

fn conflict(object: &ObjectRef, modified: u64, write: &Proposed) -> Option<Diagnostic> {
    let expected = write.expected().filter(|expected| *expected != modified)?;
    let text = match expected {
        0 => format!("it exists already, at version {modified}"),
        _ => format!("it is at version {modified}, and this write expects version {expected}"),
    };
    let diagnostic = Diagnostic::error(object, "metadata.resourceVersion", Code::Conflict, text);
    Some(diagnostic.hint("read it again, repeat the change on what you read, and write that"))
}

fn absent(current: &Compiler, object: &ObjectRef, write: &Proposed) -> Option<Diagnostic> {
    if let Proposed::Delete { .. } = write {
        let diagnostic = Diagnostic::error(object, "", Code::DanglingReference, "it does not exist");
        return Some(suggest::object(current, object, diagnostic));
    }
    let expected = write.expected().filter(|expected| *expected != 0)?;
    let text = format!("it does not exist, and this write expects version {expected}");
    let diagnostic = Diagnostic::error(object, "metadata.resourceVersion", Code::Conflict, text);
    Some(diagnostic.hint("it was deleted; leave the version out to create it again"))
}
