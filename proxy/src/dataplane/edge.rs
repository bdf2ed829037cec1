//! What each edge (a service as called, a destination as chosen) has seen of late.
use weft_ir::ServiceKey;

/// One edge since it was last asked for, from the caller's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSummary {
    /// The service port as the client addressed it.
    pub service: ServiceKey,
    /// The service port as the route chose.
    pub destination: ServiceKey,
    /// Whether it carries TCP connections; HTTP requests otherwise.
    pub tcp: bool,
    /// Finished requests or connections.
    pub requests: u64,
    /// Those that ended with 5xx, a gRPC status of the server's own failure, a refusal or a broken connection.
    pub failures: u64,
    /// The median duration in microseconds, to the histogram's grain (a quarter octave).
    pub latency_us_p50: u64,
    /// The 99th percentile of the duration in microseconds, to the same grain.
    pub latency_us_p99: u64,
    /// Bytes from the client to the upstream.
    pub bytes_sent: u64,
    /// Bytes from the upstream to the client.
    pub bytes_received: u64,
    /// Answers by status class, 1 to 5; index 0 counts those without an answer. All zero for TCP.
    pub status_classes: [u64; 6],
}
