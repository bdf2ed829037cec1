//! What to do about a control plane that does not start.
use weft_certs::{files::FileError, sealing::SealingKeyError};
use weft_store::OpenError;

use crate::{OpenAuthorityError, RunError, StartError};

impl RunError {
    /// What to do about it, for people.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Configuration(_) => "the folder of one's own settings is the default: name the files with the flags",
            Self::Start(error) => error.hint(),
            Self::Signal(_) => "the system refuses what every process may do: see its limits (ulimit -a)",
        }
    }
}

impl StartError {
    /// What to do about it, for people.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Listen { purpose: "xDS", .. } => {
                "see who listens there (ss -ltnp); --grpc takes another address, with port 0 for the system's choice"
            }
            Self::Listen { .. } => {
                "see who listens there (ss -ltnp); --api takes another address, with port 0 for the system's choice"
            }
            Self::Store(OpenError::NotWritable { .. }) => {
                "--dir takes a directory that this user may write, on a disk with room; its parent must exist"
            }
            Self::Store(OpenError::InUse { .. }) => {
                "stop the other control plane, or give this one a store of its own with --dir"
            }
            Self::Store(OpenError::Format { .. }) => "start the version of weft that wrote it",
            Self::Store(OpenError::Damaged { .. }) => {
                "--dir takes a copy made of it before; a new and empty directory makes a new mesh, which every workload \
                 has to join again"
            }
            Self::StoreUse { .. } => "see whether the disk is full or failing",
            Self::Authority(error) => error.hint(),
            Self::Context(_) | Self::ContextFolder { .. } => {
                "--context-file takes a file in a directory that this user may write"
            }
            Self::OtherContext { .. } => "each mesh needs a context file of its own: --context-file",
        }
    }
}

impl OpenAuthorityError {
    /// What to do about it, for people.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::SealingKey(SealingKeyError::Text(_)) => {
                "it is 64 hexadecimal digits: `openssl rand -hex 32` makes a new one for a new store"
            }
            Self::SealingKey(SealingKeyError::InsideStore { .. }) => {
                "whoever copies the store must not get its key: --sealing-key-file takes a file elsewhere"
            }
            Self::SealingKey(SealingKeyError::File(FileError::Mode { .. })) => "chmod 600 the file",
            Self::SealingKey(SealingKeyError::File(_)) => {
                "--sealing-key-file takes a file that this user may read, or a new one in a directory that it may write"
            }
            Self::SealingKey(SealingKeyError::Randomness) => "see whether /dev/urandom works on this machine",
            Self::SealingKeyGone(_) => "--sealing-key-file takes its copy where that lies elsewhere",
            Self::NoSealingKey(_) => "set it to 64 hexadecimal digits, or name a file with --sealing-key-file",
            Self::OtherKey(_) => "--sealing-key-file or WEFT_SEALING_KEY names another key: whose store is it?",
            Self::OtherTrustDomain { .. } => {
                "give --trust-domain as the store has it; another domain is another mesh, with a --dir of its own"
            }
            Self::Authority(_) => {
                "if the clock is right, what is stored is damaged: start with a copy of the store's directory"
            }
            Self::Store(_) | Self::Write(_) => "see whether the disk is full or failing",
            Self::Tls(_) => "the store's certificate authority is not usable: start with a copy of its directory",
        }
    }
}
