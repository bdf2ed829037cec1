//! Whether what objects say is in effect: each object's status, computed from what the proxies' streams tell. Nothing of
//! it is stored.
mod board;
mod judge;
mod kept;
mod made;
mod observe;
mod touched;

pub(crate) use board::Board;
pub(crate) use judge::{At, Held, Standing, Tally, standing};
pub(crate) use kept::{Kept, Place};
pub(crate) use made::Made;
pub(crate) use observe::{Effects, Proxy, Selection, Since, Wanted};
pub(crate) use touched::Touched;
