//! Secret JSON files, read strictly: every error names the file and the field.
use std::{path::Path, str::FromStr};

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::files::{self, FileError};

/// The largest such file, in bytes; weft's own have under 1 KiB.
const MAX_FILE: usize = 16 * 1024;

/// Why a join or context file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The file cannot be read or written, or others may.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not JSON of the right shape: a missing, unknown or doubled field, or a wrong type.
    #[error("{what}: {error}")]
    Shape {
        /// Which file.
        what: String,
        /// What is wrong, with line and column. It holds no value of the file.
        error: String,
    },
    /// A field's value is not what it must be.
    #[error("{what}: field {field}: {reason}")]
    Field {
        /// Which file.
        what: String,
        /// Which field.
        field: &'static str,
        /// The rule that it breaks.
        reason: String,
    },
}

pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<T, JoinError> {
    parse(&files::read(path, MAX_FILE)?, &path.display().to_string())
}

pub(super) fn parse<T: DeserializeOwned>(json: &[u8], what: &str) -> Result<T, JoinError> {
    if json.len() > MAX_FILE {
        let error = format!("it is larger than {MAX_FILE} bytes");
        return Err(JoinError::Shape { what: what.to_owned(), error });
    }
    serde_json::from_slice(json).map_err(|error| JoinError::Shape { what: what.to_owned(), error: shape(&error) })
}

pub(super) fn save(path: &Path, value: &impl Serialize) -> Result<(), JoinError> {
    let json = serde_json::to_vec_pretty(value)
        .map_err(|error| JoinError::Shape { what: path.display().to_string(), error: error.to_string() })?;
    Ok(files::replace(path, &Zeroizing::new(json))?)
}

/// A field's value from its text.
pub(super) fn field<T: FromStr<Err: ToString>>(what: &str, field: &'static str, text: &str) -> Result<T, JoinError> {
    text.parse().map_err(|reason: T::Err| invalid(what, field, reason.to_string()))
}

pub(super) fn invalid(what: &str, field: &'static str, reason: String) -> JoinError {
    JoinError::Field { what: what.to_owned(), field, reason }
}

/// `host:port`, where the host is a name, an IPv4 address, or an IPv6 address in brackets.
pub(super) fn address(what: &str, name: &'static str, text: &str) -> Result<String, JoinError> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_one = match bracketed {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.to_ascii_lowercase().parse::<weft_model::Host>().is_ok(),
    };
    if !host_is_one || port.parse::<weft_model::Port>().is_err() {
        return Err(invalid(what, name, "it must be host:port, with a port from 1 to 65535".into()));
    }
    Ok(text.to_owned())
}

/// The parser's message without the value that it may quote: a token typed in the wrong place is still a token.
fn shape(error: &serde_json::Error) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    let text = error.to_string();
    match error.classify() {
        serde_json::error::Category::Data if !text.starts_with("invalid") => text,
        serde_json::error::Category::Data => format!("a field has the wrong type at {place}"),
        _ => format!("it is not JSON at {place}"),
    }
}
