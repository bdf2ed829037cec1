//! What the status of a gRPC call says of the endpoint that gave it.
//!
//! A call's HTTP status is 200 whatever becomes of it: its own status is a field of the trailers, or of a head that has
//! nothing behind it (gRPC over HTTP/2, "Responses").

/// UNKNOWN: what a call is taken to have ended with that came to its end without a status (gRPC over HTTP/2, "Responses":
/// a status must be sent even if it is OK).
pub const GRPC_UNKNOWN: u32 = 2;

/// Whether a status code says that the server has failed, not that the call was wrong: UNKNOWN, DEADLINE_EXCEEDED,
/// INTERNAL, UNAVAILABLE and DATA_LOSS, which are Linkerd's (`classify.rs`, "grpc_class"), and what is no code at all.
///
/// Envoy judges by the HTTP status that a code stands for (google.rpc.Code) and calls 5xx an error: the same, and
/// UNIMPLEMENTED (501). That is left out here, as it is by Linkerd: a client that asks for a method of the next version
/// would take every instance of this one out. A 501 without gRPC does count: HTTP has 404 and 405 for that.
pub const fn is_grpc_failure(code: u32) -> bool {
    matches!(code, 2 | 4 | 13 | 14 | 15 | 17..)
}

/// The status of a whole gRPC answer, by the `grpc-status` of its head and of its trailers. A head that has one is all
/// there is.
pub const fn grpc_status(head: Option<u32>, trailers: Option<u32>) -> u32 {
    match (head, trailers) {
        (Some(code), _) | (None, Some(code)) => code,
        (None, None) => GRPC_UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_failed_at_is_a_failure_and_what_the_caller_did_wrong_is_none() {
        let failures: Vec<u32> = (0..=17).filter(|code| is_grpc_failure(*code)).collect();
        assert_eq!(failures, [2, 4, 13, 14, 15, 17]);
        assert!(is_grpc_failure(u32::MAX));
    }

    #[test]
    fn a_calls_status_is_its_heads_or_its_trailers_and_unknown_where_neither_has_one() {
        assert_eq!(grpc_status(None, Some(14)), 14);
        assert_eq!(grpc_status(Some(0), Some(14)), 0);
        assert_eq!(grpc_status(Some(5), None), 5);
        assert!(is_grpc_failure(grpc_status(None, None)));
    }
}
