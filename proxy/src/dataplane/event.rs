//! What the data plane tells the control side.
use weft_ir::{HostPort, ServicePort};

/// Something that the data path needs or noticed. Sent on a bounded channel; a full channel drops it, and the request
/// that needed it is refused in its time, so the control side must keep reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request names a host that the snapshot does not know: subscribe to it. Sent once a worker while requests wait.
    NeedHost(HostPort),
    /// A request or connection goes to a service port whose cluster or endpoints the snapshot does not hold.
    NeedCluster(ServicePort),
    /// Draining has ended: every worker has stopped.
    Drained,
}
