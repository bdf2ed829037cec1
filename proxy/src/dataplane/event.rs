//! What the data plane tells the control side.
use weft_decide::Destination;

/// Something that the data path needs or noticed. Sent on a bounded channel; a full channel drops it, and it is sent again
/// for the next request that needs it, so the control side must keep reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request or connection goes to a host or service of which the snapshot says nothing yet: subscribe to it. Sent
    /// once a worker for all that wait for the same one, and again when a later one must wait.
    Need(Destination),
    /// Draining has ended: every worker has stopped.
    Drained,
}
