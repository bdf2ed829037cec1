//! What is wrong with a message, and where.
use std::fmt;

/// A field's path, from the inside out, and what is wrong there.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) field: String,
    pub(super) reason: String,
}

/// A fault of this field.
pub(super) fn fault(field: &str, reason: impl fmt::Display) -> Fault {
    Fault { field: field.to_owned(), reason: reason.to_string() }
}

/// Puts the enclosing field's name before a fault's path.
pub(super) trait Within<T> {
    fn within(self, field: impl fmt::Display) -> Result<T, Fault>;
}

impl<T> Within<T> for Result<T, Fault> {
    fn within(self, field: impl fmt::Display) -> Self {
        self.map_err(|Fault { field: inner, reason }| {
            let joined = if inner.is_empty() { field.to_string() } else { format!("{field}.{inner}") };
            Fault { field: joined, reason }
        })
    }
}

/// Refuses a message of which something is left after everything that is read was taken out of it, naming the field.
pub(super) fn nothing_left<M: Default + PartialEq + fmt::Debug>(rest: &M) -> Result<(), Fault> {
    let nothing = M::default();
    if *rest == nothing {
        return Ok(());
    }
    Err(fault(&first_difference(rest, &nothing), "it is set, and this version does not read it"))
}

/// The outermost field in which two messages differ. Both print one field a line at that level, in the same order: the
/// first line that differs names it, or stands behind its name.
pub(super) fn first_difference<M: fmt::Debug>(one: &M, other: &M) -> String {
    let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
    let mut field = "";
    for (left, right) in one.lines().zip(other.lines()) {
        let outermost = left.strip_prefix("    ").filter(|rest| !rest.starts_with([' ', '}', ']', ')']));
        field = outermost.and_then(|rest| rest.split(':').next()).unwrap_or(field);
        if left != right {
            break;
        }
    }
    field.trim_start_matches("r#").to_owned()
}

/// Refuses a part that must read as weft writes it and does not.
pub(super) fn expect<M: PartialEq>(field: &str, found: &M, expected: &M) -> Result<(), Fault> {
    if found == expected { Ok(()) } else { Err(fault(field, "it is not the one form of it that this version reads")) }
}
