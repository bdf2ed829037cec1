//! Names by role. Each is a checked, cheaply cloned text; two roles never mix by accident.
use std::{borrow::Borrow, fmt, num::NonZeroU16, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};

/// Why a text is not a name of its role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {role}: {reason}")]
pub struct InvalidName {
    /// What the text was meant to be.
    pub role: &'static str,
    /// The text, at most its first 64 characters.
    pub text: String,
    /// The rule that it breaks.
    pub reason: &'static str,
}

/// A check of a name: `Err` holds the rule that is broken.
type Rule = fn(&str) -> Result<(), &'static str>;

fn check(role: &'static str, text: &str, rule: Rule) -> Result<Arc<str>, InvalidName> {
    match rule(text) {
        Ok(()) => Ok(text.into()),
        Err(reason) => Err(InvalidName { role, text: text.chars().take(64).collect(), reason }),
    }
}

/// RFC 1123 §2.1 label as Kubernetes reads it: 1 to 63 of `a-z0-9-`, alphanumeric at both ends.
fn label(text: &str) -> Result<(), &'static str> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || text.len() > 63 {
        Err("it must have 1 to 63 characters")
    } else if !text.bytes().all(inner) {
        Err("only lower-case letters, digits and '-' are allowed")
    } else if text.starts_with('-') || text.ends_with('-') {
        Err("it must start and end with a letter or digit")
    } else {
        Ok(())
    }
}

/// RFC 1123 subdomain: labels joined by dots, at most 253 characters.
fn subdomain(text: &str) -> Result<(), &'static str> {
    if text.len() > 253 {
        return Err("it must have at most 253 characters");
    }
    text.split('.').try_for_each(label)
}

/// Kubernetes' IANA_SVC_NAME: a label of at most 15 characters with at least one letter and no `--`.
fn service_name(text: &str) -> Result<(), &'static str> {
    label(text)?;
    if text.len() > 15 {
        Err("it must have at most 15 characters")
    } else if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        Err("it must have at least one letter")
    } else if text.contains("--") {
        Err("it must not contain '--'")
    } else {
        Ok(())
    }
}

/// A region, zone or network: 1 to 63 of `A-Za-z0-9._-`.
fn place(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 63 {
        Err("it must have 1 to 63 characters")
    } else if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        Err("only letters, digits, '.', '_' and '-' are allowed")
    } else {
        Ok(())
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $role:literal, $rule:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                check($role, text, $rule).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    )*};
}

names! {
    /// An object's name: an RFC 1123 subdomain (a Service's is a label too, which its decoder checks).
    Name, "name", subdomain;
    /// A namespace.
    Namespace, "namespace", label;
    /// A service account.
    AccountName, "service account", subdomain;
    /// A port's name.
    PortName, "port name", service_name;
    /// A cluster of the mesh; `local` by default.
    ClusterName, "cluster name", label;
    /// A network: the addresses within one reach each other directly; `default` by default.
    NetworkName, "network name", place;
    /// A region, zone or sub-zone.
    LocalityName, "locality", place;
    /// A DNS name in lower case, without a trailing dot and without a port.
    Host, "host name", subdomain;
}

impl Namespace {
    /// Where objects live that name no namespace.
    pub fn default_namespace() -> Self {
        Self("default".into())
    }

    /// Where weft's own components live, and the only place from which a policy may target the mesh.
    pub fn system() -> Self {
        Self("weft-system".into())
    }
}

impl ClusterName {
    /// The cluster of a mesh that has only one.
    pub fn local() -> Self {
        Self("local".into())
    }
}

impl Host {
    /// The DNS suffix of services in a mesh that was given no other, as in Kubernetes.
    pub fn default_mesh_domain() -> Self {
        Self("cluster.local".into())
    }
}

impl NetworkName {
    /// The network of a mesh that has only one.
    pub fn default_network() -> Self {
        Self("default".into())
    }
}

/// A TCP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Port(NonZeroU16);

impl Port {
    /// HTTP's well-known port, elided in authorities.
    pub const HTTP: Self = Self(NonZeroU16::new(80).expect("80 is not zero"));

    /// The port of that number; `None` for zero.
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl FromStr for Port {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let port = if digits { text.parse().ok().and_then(Self::new) } else { None };
        port.ok_or_else(|| InvalidName {
            role: "port",
            text: text.chars().take(64).collect(),
            reason: "it must be a number from 1 to 65535",
        })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_roles_rules() {
        assert!("reviews-v2".parse::<Name>().is_ok());
        assert!("reviews.v2".parse::<Name>().is_ok());
        assert!("reviews.v2".parse::<Namespace>().is_err());
        for bad in ["", "-a", "a-", "A", "a_b", "a..b", ".a", "a\u{e9}", "a/b"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was taken");
        }
        assert!("a".repeat(254).parse::<Name>().is_err());
        assert!("80".parse::<PortName>().is_err());
        assert!("http-metrics".parse::<PortName>().is_ok());
    }

    #[test]
    fn ports_are_plain_decimal_numbers_above_zero() {
        assert_eq!("8080".parse::<Port>().map(Port::get), Ok(8080));
        for bad in ["", "0", "65536", "+80", " 80", "-1", "0x50"] {
            assert!(bad.parse::<Port>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn an_error_shows_the_text_and_the_rule() {
        let error = "Shop".parse::<Namespace>().unwrap_err().to_string();
        assert_eq!(error, "\"Shop\" is not a valid namespace: only lower-case letters, digits and '-' are allowed");
    }
}
