//! Tokens: 256 random bits, shown once, kept as a hash.
use std::{
    fmt,
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};
use weft_model::{Labels, SpiffeId};
use zeroize::{Zeroize, Zeroizing};

use crate::text;

/// The longest life of a join token.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(600);

/// The longest text that is taken for a token, in bytes; weft's own have 64.
const MAX_TEXT: usize = 256;

/// Why a token is not honoured, or none is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Another token, or none.
    #[error("the join token is not known")]
    Unknown,
    /// It is past its time.
    #[error("the join token for {identity} expired at {at}")]
    Expired {
        /// Whom it was for.
        identity: SpiffeId,
        /// RFC 3339.
        at: String,
    },
    /// It has been used.
    #[error("the join token for {0} has been used already")]
    Used(SpiffeId),
    /// A lifetime of nothing or of more than [`MAX_TOKEN_LIFETIME`].
    #[error("a join token lives for 1 to {} seconds", MAX_TOKEN_LIFETIME.as_secs())]
    Lifetime,
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Randomness,
}

/// A secret text that opens something: a join token or the admin token. `Debug` does not show it; memory is wiped.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Token(Zeroizing<String>);

impl Token {
    /// A new one of 256 random bits, as 64 hexadecimal digits.
    pub fn generate() -> Result<Self, TokenError> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *bytes).map_err(|_| TokenError::Randomness)?;
        Ok(Self(Zeroizing::new(text::to_hex(&*bytes))))
    }

    /// The text. Whoever sees it can use it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What may be stored.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

/// 1 to 256 visible ASCII characters, which also fit an HTTP header.
impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(mut text: String) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > MAX_TEXT || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            text.zeroize();
            return Err("field token: it must be 1 to 256 visible ASCII characters");
        }
        Ok(Self(Zeroizing::new(text)))
    }
}

/// Shows the token: a join file is for the one who joins.
impl Serialize for Token {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.hash().matches(&other.0)
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The SHA-256 of a token. With 256 random bits a plain hash is enough: there is nothing to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a presented text: what to look a record up by.
    pub fn of(presented: &str) -> Self {
        Self(text::sha256(&[presented.as_bytes()]))
    }

    /// Whether a presented text is the token, in a time that does not depend on where they differ.
    pub fn matches(&self, presented: &str) -> bool {
        verify_slices_are_equal(&self.0, &Self::of(presented).0).is_ok()
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        text::to_hex(&hash.0)
    }
}

impl TryFrom<String> for TokenHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text::from_hex(&text).map(Self).ok_or("a token's hash is 64 hexadecimal digits")
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::to_hex(&self.0))
    }
}

/// What is stored of a join token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRecord {
    /// The token's hash.
    pub hash: TokenHash,
    /// Whom the token makes of its bearer.
    #[serde(deserialize_with = "spiffe_id")]
    pub identity: SpiffeId,
    /// The labels that its bearer's workloads may carry.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// From when it is void; seconds since 1970.
    pub expires: u64,
    /// Whether it has been redeemed.
    pub used: bool,
    /// The [key](crate::request_key) that it was redeemed for, which it is honoured for again: the answer may have been
    /// lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_for: Option<String>,
}

impl TokenRecord {
    /// The record of a token for an identity.
    ///
    /// # Errors
    /// [`TokenError::Lifetime`] unless the lifetime is at least a second and at most [`MAX_TOKEN_LIFETIME`].
    pub fn new(token: &Token, identity: SpiffeId, lifetime: Duration, now: SystemTime) -> Result<Self, TokenError> {
        if lifetime < Duration::from_secs(1) || lifetime > MAX_TOKEN_LIFETIME {
            return Err(TokenError::Lifetime);
        }
        let expires = text::seconds(now).saturating_add(lifetime.as_secs());
        Ok(Self { hash: token.hash(), identity, labels: Labels::new(), expires, used: false, used_for: None })
    }

    /// The record of a token that also lets its bearer's workloads carry these labels.
    #[must_use]
    pub fn allowing(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    /// The record after its token was redeemed: write it before the certificate goes out, in the transaction in which
    /// [`redeem`] was asked.
    pub fn spent(self) -> Self {
        Self { used: true, ..self }
    }

    /// As [`spent`](Self::spent), by a request for that key.
    #[must_use]
    pub fn spent_for(self, key: String) -> Self {
        Self { used_for: Some(key), ..self.spent() }
    }

    /// Whether the record may be forgotten.
    pub fn is_over(&self, now: SystemTime) -> bool {
        text::seconds(now) >= self.expires
    }
}

/// Whom a presented token makes of its bearer. Who calls this writes the [spent](TokenRecord::spent) record.
///
/// # Errors
/// [`TokenError::Unknown`] before anything else, so that only who has the token learns of its state.
pub fn redeem(record: &TokenRecord, presented: &str, now: SystemTime) -> Result<SpiffeId, TokenError> {
    if !record.hash.matches(presented) {
        return Err(TokenError::Unknown);
    }
    if record.used {
        return Err(TokenError::Used(record.identity.clone()));
    }
    if record.is_over(now) {
        return Err(TokenError::Expired { identity: record.identity.clone(), at: text::rfc3339(record.expires) });
    }
    Ok(record.identity.clone())
}

/// As [`redeem`], for a request for that [key](crate::request_key): within its life a token is honoured again for the key
/// that it was used for, so that an answer that was lost does not cost the token. Nobody else has the key's other half.
///
/// # Errors
/// As for [`redeem`].
pub fn redeem_for(record: &TokenRecord, presented: &str, key: &str, now: SystemTime) -> Result<SpiffeId, TokenError> {
    match redeem(record, presented, now) {
        Err(TokenError::Used(identity)) if record.used_for.as_deref() == Some(key) && !record.is_over(now) => {
            Ok(identity)
        }
        first => first,
    }
}

fn spiffe_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SpiffeId, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}
