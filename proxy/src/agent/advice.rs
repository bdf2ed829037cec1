//! What to do about a proxy that does not start, or does not get a certificate.
use weft_certs::{files::FileError, join::JoinError as FileJoinError, kept::KeptError};

use super::{StartError, join::JoinError, run::RunError};
use crate::dataplane;

const OTHER_ADDRESS: &str = "see who listens there (ss -ltnp), and give another address; port 0 is the system's choice";

impl RunError {
    /// What to do about it, for people.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "--config takes a bootstrap that this user may read; --join makes one",
            Self::Invalid { .. } => "correct the fields named above; --check reads the file and starts nothing",
            Self::Join(error) => error.hint(),
            Self::Start(error) => error.hint(),
            Self::Missing => "--join takes the file that `weft token create --out FILE` makes",
            Self::Homeless => "--state-dir takes a directory that this user may write",
            Self::SealingKey(_) => "--sealing-key-file takes a file of mode 0600 outside of the state directory",
            Self::SealingKeyGone { .. } => {
                "put the file back from its copy; without one, remove the directory and join again (weft token create)"
            }
            Self::NotAdmitted(why) => why.hint,
            Self::Signals(_) => "the system gives no more threads or descriptors: see `ulimit -a`",
        }
    }
}

impl StartError {
    /// What to do about it, for people.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::State(error) => of_file(error),
            Self::Seal { error: KeptError::NotSealed, .. } => {
                "--seal-state takes what is there and seals it, or leave the sealing key out"
            }
            Self::Seal { .. } => {
                "start with the key that it was sealed with (--sealing-key-file, WEFT_SEALING_KEY), or remove the state \
                 directory and join again"
            }
            Self::StateInUse { .. } => {
                "each workload of a machine needs a state directory of its own: --workload or --state-dir"
            }
            Self::AccessLog { .. } => "--access-log takes a file in a directory that this user may write",
            Self::Dataplane(dataplane::StartError::Bind { .. }) => OTHER_ADDRESS,
            Self::Listen { what: "admin", .. } => {
                "the socket lies in the state directory: its path has at most 107 bytes, and no other proxy uses it"
            }
            Self::Listen { .. } => OTHER_ADDRESS,
            Self::Dataplane(dataplane::StartError::Worker(_)) | Self::Thread(_) => {
                "the system gives no more threads or descriptors: see `ulimit -a`, or start fewer workers"
            }
        }
    }
}

impl JoinError {
    /// What to do about it, for people.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(FileJoinError::File(FileError::Mode { .. })) => {
                "chmod 600 it; if others may have read it, make a new one with `weft token create`"
            }
            Self::File(_) | Self::Address { .. } => {
                "`weft token create -n NAMESPACE --account ACCOUNT --out FILE` makes one: copy it as it is"
            }
            Self::Workload(_) => "--workload names it: lower-case letters, digits and '-'",
            Self::State(error) => of_file(error),
        }
    }
}

/// About a file of the state directory.
fn of_file(error: &FileError) -> &'static str {
    match error {
        FileError::Mode { .. } => "chmod 600 it; a key that others may have read is better made anew: join again",
        FileError::Io { .. } | FileError::NotRegular { .. } | FileError::TooLarge { .. } => {
            "--state-dir takes a directory that this user may write, on a disk with room"
        }
    }
}
