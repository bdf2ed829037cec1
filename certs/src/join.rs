//! How machines and people get in: join files, the context file, one-time tokens.
mod context;
mod file;
mod json;
mod token;

pub use context::Context;
pub use file::JoinFile;
pub use json::JoinError;
pub use token::{MAX_TOKEN_LIFETIME, Token, TokenError, TokenHash, TokenRecord, redeem, redeem_for};
