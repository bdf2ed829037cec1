//! What weft says about an object: one shape for the CLI, the API, admission and status conditions.
use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::ObjectRef;

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; the object takes effect as written.
    Warning,
    /// The object is refused and nothing changes.
    Error,
}

/// Where an object was read from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The file, `-` for standard input, or the API's name for its caller.
    pub file: Arc<str>,
    /// One-based line of the object, or of the field that a diagnostic is about.
    pub line: u32,
    /// The lines of the object's rules (`spec.rules`), in their order; none for a kind that has no rules.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub rules: Vec<u32>,
}

impl Source {
    /// A line of a file.
    pub fn new(file: impl Into<Arc<str>>, line: u32) -> Self {
        Self { file: file.into(), line, rules: Vec::new() }
    }

    /// The line of one of the object's rules, or the object's own where it is not known.
    pub fn rule(&self, place: usize) -> u32 {
        self.rules.get(place).copied().unwrap_or(self.line)
    }

    /// The place of a field of the object: its rule's line, or the object's.
    fn of_field(&self, field: &FieldPath) -> Self {
        let rule = field.0.strip_prefix("spec.rules[").and_then(|rest| rest.split_once(']')?.0.parse().ok());
        Self::new(self.file.clone(), rule.map_or(self.line, |place| self.rule(place)))
    }
}

/// The path of a field from the object's root: `spec.rules[0].backendRefs[1].weight`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldPath(pub String);

impl FieldPath {
    /// This path with a map key appended.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        if self.0.is_empty() { Self(key.to_owned()) } else { Self(format!("{}.{key}", self.0)) }
    }

    /// This path with a list index appended.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl From<&str> for FieldPath {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The stable identifier of a kind of finding; programs match on it, texts may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The text is not YAML or JSON.
    Syntax,
    /// `apiVersion` and `kind` name nothing that weft reads.
    UnknownKind,
    /// A field that the kind does not have.
    UnknownField,
    /// A field of the kind's specification that this version of weft does not implement.
    UnsupportedField,
    /// A required field is absent.
    MissingField,
    /// A value of another type than the field's.
    WrongType,
    /// A value of the right type that the field cannot hold.
    InvalidValue,
    /// Two objects or entries of one name.
    Duplicate,
    /// A bound is exceeded (sizes, counts, depth).
    TooLarge,
    /// A reference to something that does not exist.
    DanglingReference,
    /// All weights of a rule are zero.
    ZeroWeights,
    /// Another source owns the object.
    NotOwner,
    /// The object changed since the version that the write expects.
    Conflict,
    /// A route that reaches no endpoint under the access policies in force.
    UnreachableRoute,
    /// A rule that never matches because earlier rules take all it could.
    ShadowedRule,
    /// A field that loses against an equally specific, older policy.
    OverriddenField,
    /// A field that changes nothing as the other objects stand.
    NoEffect,
    /// Requests that are not idempotent may be repeated after they were processed.
    UnsafeRepeat,
    /// A resource past a documented size.
    OverBudget,
}

impl Code {
    /// The code as it is printed: kebab-case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::UnknownKind => "unknown-kind",
            Self::UnknownField => "unknown-field",
            Self::UnsupportedField => "unsupported-field",
            Self::MissingField => "missing-field",
            Self::WrongType => "wrong-type",
            Self::InvalidValue => "invalid-value",
            Self::Duplicate => "duplicate",
            Self::TooLarge => "too-large",
            Self::DanglingReference => "dangling-reference",
            Self::ZeroWeights => "zero-weights",
            Self::NotOwner => "not-owner",
            Self::Conflict => "conflict",
            Self::UnreachableRoute => "unreachable-route",
            Self::ShadowedRule => "shadowed-rule",
            Self::OverriddenField => "overridden-field",
            Self::NoEffect => "no-effect",
            Self::UnsafeRepeat => "unsafe-repeat",
            Self::OverBudget => "over-budget",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One finding about one field of one object.
///
/// `object` and `source` are text and option because a finding may be about something that has no name yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The object, printed as `Kind namespace/name`, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub object: Option<String>,
    /// File and line, where they are known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<Source>,
    /// The field; empty for the whole object.
    pub field: FieldPath,
    /// How bad it is.
    pub severity: Severity,
    /// Which kind of finding.
    pub code: Code,
    /// What is wrong, and why: one sentence without a full stop.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error about `field` of `object`.
    pub fn error(object: &ObjectRef, field: impl Into<FieldPath>, code: Code, text: impl Into<String>) -> Self {
        Self {
            object: Some(object.to_string()),
            source: None,
            field: field.into(),
            severity: Severity::Error,
            code,
            text: text.into(),
            hint: None,
        }
    }

    /// A warning about `field` of `object`.
    pub fn warning(object: &ObjectRef, field: impl Into<FieldPath>, code: Code, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(object, field, code, text) }
    }

    /// This diagnostic with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// This diagnostic with a place: that of its field in an object that was read there.
    #[must_use]
    pub fn at(mut self, source: Option<Source>) -> Self {
        self.source = source.map(|source| source.of_field(&self.field));
        self
    }

    /// Whether the object must be refused.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    /// `shop.yaml:12: error[unknown-field]: HTTPRoute shop/reviews: spec.rulez: no such field (did you mean …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Source { file, line, rules: _ }) = &self.source {
            write!(f, "{file}:{line}: ")?;
        }
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}[{}]: ", self.code)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.0.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.text)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}
