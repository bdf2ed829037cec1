//! What a user may have meant.
use weft_compile::{Compiler, Reference};
use weft_model::{Code, Diagnostic, ObjectRef, Stored};

/// The names that are compared, at most: a hint is not worth more.
const CANDIDATES: usize = 10_000;

/// `diagnostic` with the hint that fits a reference to something that does not exist, if it is about one.
pub(crate) fn reference(compiler: &Compiler, stored: &Stored, diagnostic: Diagnostic) -> Diagnostic {
    if diagnostic.code != Code::DanglingReference || diagnostic.hint.is_some() {
        return diagnostic;
    }
    let references = Reference::of(&stored.object);
    match references.iter().find(|reference| reference.field.key("name") == diagnostic.field) {
        Some(reference) => object(compiler, &reference.target, diagnostic),
        None => diagnostic,
    }
}

/// `diagnostic` with the hint that fits a missing object.
pub(crate) fn object(compiler: &Compiler, missing: &ObjectRef, diagnostic: Diagnostic) -> Diagnostic {
    let ObjectRef { kind, namespace, name } = missing;
    let of_kind = || compiler.objects().map(|(object, _)| object).filter(|object| object.kind == *kind);
    let here = of_kind().filter(|object| object.namespace == *namespace).map(|object| object.name.as_str());
    let hint = if let Some(close) = closest(name.as_str(), here) {
        format!("did you mean {close}?")
    } else if let Some(elsewhere) = of_kind().find(|object| object.name == *name) {
        format!("there is {elsewhere}")
    } else {
        format!("create it, in this change or before it; `weft get {kind} -n {namespace}` lists what there is")
    };
    diagnostic.hint(hint)
}

/// The candidate that is the fewest edits away, if those are few for the text's length.
fn closest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (text.len() / 3).max(1);
    candidates
        .take(CANDIDATES)
        .filter(|candidate| candidate.len().abs_diff(text.len()) <= limit)
        .map(|candidate| (distance(text.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many bytes must be inserted, deleted or replaced to make one text the other (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (above, y) in row.iter().skip(1).zip(b) {
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_the_name_that_was_meant() {
        let names = ["catalog", "reviews-v1", "reviews-v2", "stock"];
        for (text, meant) in [
            ("catalogue", Some("catalog")),
            ("reviews-v3", Some("reviews-v1")),
            ("stok", Some("stock")),
            ("payments", None),
            ("x", None),
        ] {
            assert_eq!(closest(text, names.into_iter()), meant, "{text}");
        }
    }

    #[test]
    fn distance_is_symmetric_and_counts_edits() {
        for (a, b, edits) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), edits, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), edits, "{b} {a}");
        }
    }
}
