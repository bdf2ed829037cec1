//! Addresses by role: whose socket an address is of must not be mixed up.
use std::{fmt, net::SocketAddr};

macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub SocketAddr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

addresses! {
    /// Where a connection that we accepted came from.
    PeerAddr;
    /// What a socket of ours is bound to.
    LocalAddr;
}
