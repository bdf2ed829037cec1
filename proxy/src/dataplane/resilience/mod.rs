//! What a data plane holds to keep a failing or slow cluster from taking the rest with it. The decisions are machines of
//! `weft-decide`; here is where they live and who may touch them:
//!
//! - [`Shared`]: one for each service port and proxy. Limits, breaker and budget are cells that workers lease from, so
//!   that a request of a cluster without trouble writes nothing that another worker reads (invariant 4).
//! - [`Local`]: one for each service port and worker. Cursor, loads and streaks of errors; nobody else sees it.
//! - [`Keeper`]: the control side. It makes what is shared, decides ejections from what workers report, has
//!   endpoints checked, and tells them.
mod checks;
mod connections;
mod keeper;
mod live;
mod local;
mod shared;

pub(super) use checks::Checking;
pub(super) use connections::{Connection, Look, Places, Room, Unused, room};
pub(super) use keeper::{Keeper, Reported};
pub use live::{CheckCounts, ClusterState, EjectedEndpoint, LimitState, UnhealthyEndpoint};
pub(super) use local::{Local, News, Place, Told};
pub(super) use shared::{Shared, Table};
