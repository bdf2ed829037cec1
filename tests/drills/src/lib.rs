//! What the drills are made of: a mesh of real processes, applications that fail on demand, an open-loop load with an id
//! in each request, and verdicts with their figures. The failure modes themselves are the rows of the `drills` program.
mod backend;
mod capture;
mod group;
mod load;
mod mesh;
pub mod namespace;
mod options;
mod verdict;

pub use backend::{Backend, Mode};
pub use capture::{Capture, Captured};
pub use group::MemoryGroup;
pub use load::{Load, Outcome, Report, Sent};
pub use mesh::{Mesh, Pod, alone, alone_in, control_plane};
pub use options::{Drill, Options, Scale};
pub use verdict::{Figure, Verdict, within};
