//! Whether what objects say is in effect: each object's status, computed from what the proxies' streams tell. Nothing of
//! it is stored.
mod judge;
mod made;
mod observe;

pub(crate) use judge::{At, Held, Standing, Tally, standing};
pub(crate) use made::Made;
pub(crate) use observe::{Effects, Proxy, Selection};
