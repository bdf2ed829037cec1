//! HTTP/1.1 by a codec of our own: strict where lenient readers let two of them disagree, and passing on what it does not
//! have to change as it came.
mod body;
mod chunk;
mod conn;
mod exchange;
mod field;
mod flow;
mod head;
mod idle;
mod malformed;
mod replay;
mod scan;
#[cfg(test)]
mod tests;

pub use body::{Decoder, Pieces};
pub(crate) use chunk::is_no_trailer;
pub(crate) use conn::{Conn, HeadError};
pub(crate) use exchange::{Exchange, ExchangeError, Forward, Incoming, MAX_INTERIM, Outcome, Progress, persistence};
pub(crate) use field::tells_identity;
pub use field::{Fields, MAX_FIELDS, Span};
pub(crate) use flow::{Content, Flow, FlowError};
pub use head::{Framing, RequestHead, ResponseHead, Version};
pub(crate) use idle::{Idle, Mark, Party};
pub use malformed::Malformed;
pub(crate) use replay::{Replay, Replays};
pub use scan::{HeadScan, MAX_HEAD};
