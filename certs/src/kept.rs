//! What is kept on disk over a restart: one envelope for every such file, so that one that is damaged, somebody else's or
//! of a later version is told from one that may be used.
//!
//! ```text
//! magic      8 bytes   "weftkept"            these three never change,
//! version    2 bytes   big endian            whatever the version is
//! checksum  32 bytes   SHA-256 of all else
//! form       1 byte    0 plain, 1 sealed
//! kind       2 bytes length, then text       what it holds
//! owner      2 bytes length, then text       whose it is
//! kept at    8 bytes   seconds since 1970
//! content              as it is, or sealed
//! ```
//!
//! The checksum finds damage; only sealing finds what somebody changed on purpose. A reader that has a key therefore
//! takes nothing that is not sealed. What stands before sealed content is authenticated with it.
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::{
    sealing::{SealError, SealingKey},
    text,
};

const MAGIC: &[u8; 8] = b"weftkept";
/// The version that is written, and the only one that is read.
const VERSION: u16 = 1;
const DIGEST_LEN: usize = 32;
const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// What a kept file holds and whose it is: a file of another kind or owner is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label<'a> {
    /// What it holds, such as `identity`.
    pub kind: &'a str,
    /// Whose it is, in words that tell every other owner apart.
    pub owner: &'a str,
}

/// What was kept.
pub struct Kept {
    /// When it was kept, to the second.
    pub at: SystemTime,
    /// The content, opened where it was sealed.
    pub content: Zeroizing<Vec<u8>>,
}

/// Why something that was kept is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// It does not begin as a kept file does.
    #[error("it is not a file that weft keeps")]
    Magic,
    /// Shorter than it must be.
    #[error("it is cut short")]
    Short,
    /// The checksum is another.
    #[error("it is damaged: its checksum does not fit")]
    Damaged,
    /// Of a version that this program does not know.
    #[error("it is of version {0}, and this program reads version {VERSION}: a later weft wrote it")]
    Version(u16),
    /// Its checksum fits and its fields do not.
    #[error("its {0} cannot be read")]
    Field(&'static str),
    /// It holds something else.
    #[error("it holds {found:?}, not {expected:?}")]
    Kind {
        /// What it holds.
        found: String,
        /// What was to be read.
        expected: String,
    },
    /// It is somebody else's.
    #[error("it is of {found}, and this is {expected}")]
    Owner {
        /// Whose it is.
        found: String,
        /// Who reads it.
        expected: String,
    },
    /// It is not sealed although the reader has a key.
    #[error("it is not sealed, and a sealing key is configured")]
    NotSealed,
    /// It is sealed and the reader has no key.
    #[error("it is sealed, and no sealing key is configured")]
    NoKey,
    /// The seal does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A label of more than 64 KiB.
    #[error("its kind or owner is longer than 65535 bytes")]
    Label,
}

/// The file for a content; sealed where there is a key.
///
/// # Errors
/// The cryptographic library fails, or the label is longer than a file can say.
pub fn write(
    label: Label<'_>,
    at: SystemTime,
    content: &[u8],
    key: Option<&SealingKey>,
) -> Result<Zeroizing<Vec<u8>>, KeptError> {
    let fields = fields(label, text::seconds(at), if key.is_some() { SEALED } else { PLAIN })?;
    let sealed = key.map(|key| key.seal(&context(&fields), content)).transpose()?;
    let content = sealed.as_deref().unwrap_or(content);
    let version = VERSION.to_be_bytes();
    let digest = text::sha256(&[MAGIC, &version, &fields, content]);
    let parts: [&[u8]; 5] = [MAGIC, &version, &digest, &fields, content];
    // Of the final size at once: a vector that grows leaves copies of a secret behind.
    let mut file = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| file.extend_from_slice(part));
    Ok(file)
}

/// What a file holds for who expects this kind of content and is its owner.
///
/// # Errors
/// Why it is not to be used.
pub fn read(label: Label<'_>, file: &[u8], key: Option<&SealingKey>) -> Result<Kept, KeptError> {
    let rest = file.strip_prefix(MAGIC).ok_or(KeptError::Magic)?;
    let (version, rest) = rest.split_first_chunk().ok_or(KeptError::Short)?;
    let (digest, rest) = rest.split_first_chunk::<DIGEST_LEN>().ok_or(KeptError::Short)?;
    if text::sha256(&[MAGIC, version, rest]) != *digest {
        return Err(KeptError::Damaged);
    }
    if u16::from_be_bytes(*version) != VERSION {
        return Err(KeptError::Version(u16::from_be_bytes(*version)));
    }
    let (&form, after) = rest.split_first().ok_or(KeptError::Short)?;
    let (kind, after) = counted(after, "kind")?;
    let (owner, after) = counted(after, "owner")?;
    let (at, content) = after.split_first_chunk().ok_or(KeptError::Short)?;
    if kind != label.kind {
        return Err(KeptError::Kind { found: kind.to_owned(), expected: label.kind.to_owned() });
    }
    if owner != label.owner {
        return Err(KeptError::Owner { found: owner.to_owned(), expected: label.owner.to_owned() });
    }
    let fields = rest.get(..rest.len() - content.len()).unwrap_or_default();
    let content = match (form, key) {
        (PLAIN, None) => Zeroizing::new(content.to_vec()),
        (PLAIN, Some(_)) => return Err(KeptError::NotSealed),
        (SEALED, Some(key)) => key.open(&context(fields), content)?,
        (SEALED, None) => return Err(KeptError::NoKey),
        _ => return Err(KeptError::Field("form")),
    };
    Ok(Kept { at: text::time(u64::from_be_bytes(*at)), content })
}

/// Whether a file says of itself that it is sealed; `None` if it is none that weft keeps. Nothing else of it is looked at.
pub fn is_sealed(file: &[u8]) -> Option<bool> {
    let form = file.strip_prefix(MAGIC)?.get(2 + DIGEST_LEN)?;
    Some(*form == SEALED)
}

/// Everything between checksum and content.
fn fields(label: Label<'_>, at: u64, form: u8) -> Result<Vec<u8>, KeptError> {
    let mut fields = vec![form];
    for text in [label.kind, label.owner] {
        let length = u16::try_from(text.len()).map_err(|_| KeptError::Label)?;
        fields.extend_from_slice(&length.to_be_bytes());
        fields.extend_from_slice(text.as_bytes());
    }
    fields.extend_from_slice(&at.to_be_bytes());
    Ok(fields)
}

/// What sealed content is bound to.
fn context(fields: &[u8]) -> String {
    format!("kept {}", text::to_hex(&text::sha256(&[fields])))
}

fn counted<'a>(bytes: &'a [u8], what: &'static str) -> Result<(&'a str, &'a [u8]), KeptError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(KeptError::Field(what))?;
    let (text, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(KeptError::Field(what))?;
    Ok((std::str::from_utf8(text).map_err(|_| KeptError::Field(what))?, rest))
}
