//! Join tokens (one-time, for proxies) and the admin token.
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use weft_certs::join::{Token, TokenError, TokenHash, TokenRecord, redeem_for};
use weft_model::{Labels, SpiffeId};
use weft_store::{ExpectedValue, State, StateChange, StoreError, Table, WriteError};

use crate::{
    audit,
    labels::{Granted, TooMany},
};

const ADMIN: &str = "admin-token";

/// How many join tokens are looked at for removal when one is made.
const SWEEP: usize = 1_000;

/// How often a grant of labels is tried while other tokens of the identity are used.
const GRANTING: usize = 100;

/// How many join tokens may wait for their use.
const MAX_TOKENS: usize = 10_000;

/// Why a join token is not made or not honoured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinTokenError {
    /// What is wrong with the token itself.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nobody becomes the control plane by a token.
    #[error("no join token is made for the control plane's own identity")]
    ControlPlane,
    /// More tokens than are kept.
    #[error("as many join tokens as are kept wait for their use already")]
    TooMany,
    /// More labels than an identity may have.
    #[error("too many labels are granted to {0} already")]
    TooManyLabels(SpiffeId),
    /// Other tokens of the identity are used faster than this one.
    #[error("many workloads join as {0} just now: try again")]
    Busy(SpiffeId),
    /// A record that cannot be read.
    #[error("the token's record is damaged")]
    Damaged,
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// The store cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Makes join tokens, at most so many that wait for their use.
#[derive(Debug)]
pub(crate) struct Issuer {
    most: usize,
    /// Held from counting the tokens until another is written.
    turn: Mutex<()>,
}

impl Default for Issuer {
    fn default() -> Self {
        Self { most: MAX_TOKENS, turn: Mutex::new(()) }
    }
}

impl Issuer {
    /// Makes a join token for an identity, which grants it these labels, and forgets the ones that are over.
    pub(crate) async fn create(
        &self,
        state: &dyn State,
        identity: SpiffeId,
        labels: Labels,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Token, JoinTokenError> {
        if identity == SpiffeId::of_control_plane(&identity.trust_domain()) {
            return Err(JoinTokenError::ControlPlane);
        }
        let token = Token::generate()?;
        let audit = audit::Entry { action: "token-created", by: "admin", about: identity.as_str(), address: None };
        let record = TokenRecord::new(&token, identity.clone(), lifetime, now)?.allowing(labels);
        let _turn = self.turn.lock().await;
        let kept = state.scan(Table::Tokens, "", self.most).await?;
        let mut changes: Vec<_> = kept
            .iter()
            .filter(|entry| decode(&entry.value).is_none_or(|record| record.is_over(now)))
            .take(SWEEP)
            .map(|entry| StateChange {
                table: Table::Tokens,
                key: entry.key.clone(),
                expected: ExpectedValue::Any,
                value: None,
            })
            .collect();
        if kept.len() - changes.len() >= self.most {
            return Err(JoinTokenError::TooMany);
        }
        changes.push(StateChange {
            table: Table::Tokens,
            key: record.hash.to_string(),
            expected: ExpectedValue::Absent,
            value: Some(encode(&record)),
        });
        changes.push(audit.at(now));
        state.change(changes).await?;
        Ok(token)
    }
}

/// A join token that may be used, and the proof that nobody else does.
#[derive(Debug)]
pub(crate) struct Redeemable {
    /// Whom the token makes of its bearer.
    pub(crate) identity: SpiffeId,
    record: TokenRecord,
    stored: Vec<u8>,
    /// The key that the certificate is asked for.
    request_key: String,
}

/// Looks up a token that was presented with a request for a key.
pub(crate) async fn find(
    state: &dyn State,
    presented: &str,
    request_key: String,
    now: SystemTime,
) -> Result<Redeemable, JoinTokenError> {
    let key = TokenHash::of(presented).to_string();
    let stored = state.read(Table::Tokens, &key).await?.ok_or(TokenError::Unknown)?;
    let record = decode(&stored).ok_or(JoinTokenError::Damaged)?;
    let identity = redeem_for(&record, presented, &request_key, now)?;
    Ok(Redeemable { identity, record, stored, request_key })
}

impl Redeemable {
    /// Marks the token as used, durably and together with its grant of labels and the audit's entry: of two who present
    /// it with keys of their own one succeeds. One that was used for the same key is left as it is.
    pub(crate) async fn spend(self, state: &dyn State, audit: StateChange) -> Result<(), JoinTokenError> {
        let Self { identity, record, stored, request_key } = self;
        if record.used {
            return Ok(state.change(vec![audit]).await.map(|_| ())?);
        }
        let spent = StateChange {
            table: Table::Tokens,
            key: record.hash.to_string(),
            expected: ExpectedValue::Is(stored),
            value: Some(encode(&record.clone().spent_for(request_key))),
        };
        for _ in 0..GRANTING {
            let (granted, before) = Granted::read(state, &identity).await?;
            let grant = granted.with(&record.labels, &identity, before);
            let grant = grant.map_err(|TooMany| JoinTokenError::TooManyLabels(identity.clone()))?;
            let changes = [spent.clone(), audit.clone()].into_iter().chain(grant);
            match state.change(changes.collect()).await {
                // Another token of the same identity was used meanwhile: its labels are kept.
                Err(WriteError::StateConflict { table: Table::Grants, .. }) => {}
                Err(WriteError::StateConflict { .. }) => return Err(TokenError::Used(identity).into()),
                done => return Ok(done?),
            }
        }
        Err(JoinTokenError::Busy(identity))
    }
}

/// The admin token's hash, and the token itself where its file holds it. A store whose file is gone gets a new one.
pub(crate) async fn admin(state: &dyn State, in_file: Option<Token>) -> Result<Token, JoinTokenError> {
    let stored = state.read(Table::Settings, ADMIN).await?;
    let stored = stored.and_then(|bytes| TokenHash::try_from(String::from_utf8(bytes).ok()?).ok());
    if let (Some(token), Some(hash)) = (in_file, stored)
        && hash.matches(token.reveal())
    {
        return Ok(token);
    }
    let token = Token::generate()?;
    let change = StateChange {
        table: Table::Settings,
        key: ADMIN.to_owned(),
        expected: ExpectedValue::Any,
        value: Some(token.hash().to_string().into_bytes()),
    };
    state.change(vec![change]).await?;
    Ok(token)
}

fn decode(bytes: &[u8]) -> Option<TokenRecord> {
    serde_json::from_slice(bytes).ok()
}

fn encode(record: &TokenRecord) -> Vec<u8> {
    // Text and numbers alone: there is nothing in it that JSON cannot hold.
    serde_json::to_vec(record).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use weft_store::Redb;

    use super::*;

    #[tokio::test]
    async fn tokens_that_are_made_at_once_do_not_pass_their_bound_and_what_is_over_makes_room() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Redb::open(dir.path()).unwrap();
        let issuer = Issuer { most: 5, turn: Mutex::new(()) };
        let (now, lifetime) = (SystemTime::now(), Duration::from_secs(60));
        let identity: SpiffeId = "spiffe://weft.local/ns/shop/sa/web".parse().unwrap();
        let create = |now| issuer.create(&store, identity.clone(), Labels::new(), lifetime, now);
        let made = futures::future::join_all((0..20).map(|_| create(now))).await;
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 5);
        assert!(made.iter().all(|made| matches!(made, Ok(_) | Err(JoinTokenError::TooMany))));
        assert!(create(now + lifetime).await.is_ok());
        assert_eq!(store.scan(Table::Tokens, "", 20).await.unwrap().len(), 1);
    }
}
