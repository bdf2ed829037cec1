//! Trust domains and SPIFFE IDs by the SPIFFE-ID specification (§2), as strict as it allows.
use std::{fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};

use crate::{AccountName, Namespace};

/// Why a text is not a SPIFFE ID or trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpiffeId {
    /// §2: the whole ID is at most 2048 bytes, a trust domain at most 255.
    #[error("it is longer than the {0} bytes that SPIFFE allows")]
    TooLong(usize),
    /// §2: the scheme is `spiffe`.
    #[error("it does not start with spiffe://")]
    Scheme,
    /// §2.1: the trust domain is not empty.
    #[error("the trust domain is empty")]
    EmptyTrustDomain,
    /// §2.1: letters, digits, dots, dashes, underscores; lower case; no port, no user information.
    #[error("the trust domain has a character other than a-z, 0-9, '.', '-' and '_'")]
    TrustDomainCharacter,
    /// §2.2: a workload's ID has a path.
    #[error("the path is empty: it names a trust domain, not a workload")]
    EmptyPath,
    /// §2.2: no empty segment, so no trailing slash either.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// §2.2: no relative segment.
    #[error("the path has a '.' or '..' segment")]
    DotSegment,
    /// §2.2: letters, digits, dots, dashes, underscores; no percent-encoding, query or fragment.
    #[error("the path has a character other than a-z, A-Z, 0-9, '.', '-', '_' and '/'")]
    PathCharacter,
}

/// A trust domain: the names under one root of trust.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The trust domain of a mesh that was given no other name.
    pub fn default_domain() -> Self {
        Self("weft.local".into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.is_empty() {
            Err(InvalidSpiffeId::EmptyTrustDomain)
        } else if text.len() > 255 {
            Err(InvalidSpiffeId::TooLong(255))
        } else if !text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')) {
            Err(InvalidSpiffeId::TrustDomainCharacter)
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TrustDomain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A workload's SPIFFE ID: `spiffe://<trust domain>/<path>`.
///
/// Equality is of bytes: a foreign mesh's ID with another path shape is a valid ID, it only has no
/// [namespace](Self::namespace) and [account](Self::account).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The whole URI.
    uri: Arc<str>,
    /// Where the path's first slash stands in it.
    path: usize,
}

const SCHEME: &str = "spiffe://";

impl SpiffeId {
    /// The identity of an account: `spiffe://<trust domain>/ns/<namespace>/sa/<account>`.
    pub fn of_account(domain: &TrustDomain, namespace: &Namespace, account: &AccountName) -> Self {
        let path = SCHEME.len() + domain.0.len();
        Self { uri: format!("{SCHEME}{domain}/ns/{namespace}/sa/{account}").into(), path }
    }

    /// The identity of weft's control plane in a trust domain.
    pub fn of_control_plane(domain: &TrustDomain) -> Self {
        let path = SCHEME.len() + domain.0.len();
        Self { uri: format!("{SCHEME}{domain}/ns/weft-system/sa/control-plane").into(), path }
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.uri[SCHEME.len()..self.path].into())
    }

    /// Whether the trust domain is `domain`, without allocating.
    pub fn is_of(&self, domain: &TrustDomain) -> bool {
        self.uri[SCHEME.len()..self.path] == *domain.0
    }

    /// The path with its leading slash.
    pub fn path(&self) -> &str {
        &self.uri[self.path..]
    }

    /// The namespace, if the path has the shape `/ns/<namespace>/sa/<account>`.
    pub fn namespace(&self) -> Option<Namespace> {
        self.account_path()?.0.parse().ok()
    }

    /// The account, if the path has the shape `/ns/<namespace>/sa/<account>`.
    pub fn account(&self) -> Option<AccountName> {
        self.account_path()?.1.parse().ok()
    }

    /// Whether the path is `/ns/<namespace>/sa/…`, without allocating.
    pub fn is_in_namespace(&self, namespace: &Namespace) -> bool {
        self.account_path().is_some_and(|(its, _)| its == namespace.as_str())
    }

    fn account_path(&self) -> Option<(&str, &str)> {
        let (namespace, rest) = self.path().strip_prefix("/ns/")?.split_once('/')?;
        let account = rest.strip_prefix("sa/")?;
        (!account.contains('/')).then_some((namespace, account))
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.len() > 2048 {
            return Err(InvalidSpiffeId::TooLong(2048));
        }
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidSpiffeId::Scheme)?;
        let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
        domain.parse::<TrustDomain>()?;
        let path = path.ok_or(InvalidSpiffeId::EmptyPath)?;
        if path.is_empty() {
            return Err(InvalidSpiffeId::EmptyPath);
        }
        for segment in path.split('/') {
            match segment {
                "" => return Err(InvalidSpiffeId::EmptySegment),
                "." | ".." => return Err(InvalidSpiffeId::DotSegment),
                _ if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) => {
                    return Err(InvalidSpiffeId::PathCharacter);
                }
                _ => {}
            }
        }
        Ok(Self { uri: text.into(), path: SCHEME.len() + domain.len() })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl Serialize for SpiffeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accounts_id_is_read_back_in_parts() {
        let id: SpiffeId = "spiffe://weft.local/ns/shop/sa/web".parse().unwrap();
        assert_eq!(id.trust_domain().as_str(), "weft.local");
        assert_eq!(id.namespace().unwrap().as_str(), "shop");
        assert_eq!(id.account().unwrap().as_str(), "web");
        assert!(id.is_in_namespace(&"shop".parse().unwrap()));
        assert!(id.is_of(&TrustDomain::default_domain()));
        assert_eq!(SpiffeId::of_account(&id.trust_domain(), &id.namespace().unwrap(), &id.account().unwrap()), id);
    }

    #[test]
    fn ids_that_the_specification_forbids_are_refused() {
        for (text, reason) in [
            ("http://weft.local/ns/a/sa/b", InvalidSpiffeId::Scheme),
            ("SPIFFE://weft.local/a", InvalidSpiffeId::Scheme),
            ("spiffe:///a", InvalidSpiffeId::EmptyTrustDomain),
            ("spiffe://Weft.local/a", InvalidSpiffeId::TrustDomainCharacter),
            ("spiffe://weft.local:8080/a", InvalidSpiffeId::TrustDomainCharacter),
            ("spiffe://user@weft.local/a", InvalidSpiffeId::TrustDomainCharacter),
            ("spiffe://weft.local", InvalidSpiffeId::EmptyPath),
            ("spiffe://weft.local/", InvalidSpiffeId::EmptyPath),
            ("spiffe://weft.local/a/", InvalidSpiffeId::EmptySegment),
            ("spiffe://weft.local//a", InvalidSpiffeId::EmptySegment),
            ("spiffe://weft.local/a/../b", InvalidSpiffeId::DotSegment),
            ("spiffe://weft.local/./b", InvalidSpiffeId::DotSegment),
            ("spiffe://weft.local/a%2fb", InvalidSpiffeId::PathCharacter),
            ("spiffe://weft.local/a?b", InvalidSpiffeId::PathCharacter),
            ("spiffe://weft.local/a#b", InvalidSpiffeId::PathCharacter),
            ("spiffe://weft.local/a\0b", InvalidSpiffeId::PathCharacter),
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(reason), "{text:?}");
        }
        assert_eq!(format!("spiffe://a/{}", "b".repeat(2048)).parse::<SpiffeId>(), Err(InvalidSpiffeId::TooLong(2048)));
    }

    #[test]
    fn a_foreign_path_shape_has_no_account() {
        for text in ["spiffe://x/ns/a/sa/b/c", "spiffe://x/ns/a", "spiffe://x/a/ns/b/sa/c"] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().account(), None, "{text}");
        }
    }
}
