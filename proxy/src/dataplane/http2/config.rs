//! What we tell our peers of ourselves, and what we bear from them. Peers' defaults stand beside ours.
use bytes::Bytes;
use h2::{client, server};
use weft_decide::Pressure;

use super::prefixed::Prefixed;
use crate::dataplane::http::MAX_HEAD;

/// The most streams of one connection at a time (Envoy: 2^31 - 1, 100 in its guide for edges; nginx: 128).
pub(super) const MAX_STREAMS: u32 = 100;

/// How many bytes of one stream's body may be under way before the other side has taken them (Envoy: 16 MiB; nginx:
/// 64 KiB). At 1 ms round trip it lets 250 MB/s through.
const STREAM_WINDOW: u32 = 256 * 1024;

/// How many bytes of all bodies of one connection may be under way (Envoy: 24 MiB).
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The same while memory or descriptors are short. What a peer has sent beyond it is kept, and it sends nothing more on such a
/// stream until that was taken (RFC 9113 §6.9.2): the largest streams are the ones that stand still.
const SHORT_STREAM_WINDOW: u32 = 16 * 1024;

/// The same of a connection.
const SHORT_CONNECTION_WINDOW: u32 = 128 * 1024;

/// The most bytes of one stream that wait for the socket.
const SEND_BUFFER: usize = 64 * 1024;

/// The largest head that h2 reads, decoded: twice what we take ([`MAX_HEAD`]), so that what is too large for us is refused by
/// us, with a record and its id. What is larger than this too is answered 431 by h2 alone; it derives from it how many
/// CONTINUATION frames it reads, and ends connections that send more.
const MAX_HEADER_LIST: u32 = 120 * 1024;
const _: () = assert!(MAX_HEADER_LIST as usize == 2 * MAX_HEAD);

/// How many streams a peer may open and reset before they were looked at; more of them end the connection.
const MAX_PENDING_RESETS: usize = 100;

/// How many streams a peer may make us reset, by breaking the protocol on each, before the connection is ended.
const MAX_ERROR_RESETS: usize = 1024;

/// Takes a client's connection.
pub(super) fn accept(io: Prefixed) -> server::Handshake<Prefixed, Bytes> {
    server::Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        // RFC 8441 §3: WebSocket comes this way too.
        .enable_connect_protocol()
        .handshake(io)
}

/// Which windows a connection's other side was told.
#[derive(Debug, Default)]
pub(super) struct Windows {
    short: bool,
}

/// A connection whose windows can be changed.
pub(super) trait Windowed {
    /// How much of one stream may be under way.
    ///
    /// # Errors
    /// The last change is not acknowledged yet.
    fn stream_window(&mut self, size: u32) -> Result<(), h2::Error>;

    /// How much of all streams may be under way.
    fn connection_window(&mut self, size: u32);
}

impl Windows {
    /// Tells the other side what fits the pressure, where that is not what it was told last; to be called again and again.
    pub(super) fn fit(&mut self, pressure: Pressure, connection: &mut impl Windowed) {
        let short = pressure >= Pressure::Idle;
        if short == self.short {
            return;
        }
        let (stream, whole) = match short {
            true => (SHORT_STREAM_WINDOW, SHORT_CONNECTION_WINDOW),
            false => (STREAM_WINDOW, CONNECTION_WINDOW),
        };
        // Where the last change is under way still, the next call makes this one.
        if connection.stream_window(stream).is_ok() {
            connection.connection_window(whole);
            self.short = short;
        }
    }
}

impl Windowed for server::Connection<Prefixed, Bytes> {
    fn stream_window(&mut self, size: u32) -> Result<(), h2::Error> {
        self.set_initial_window_size(size)
    }

    fn connection_window(&mut self, size: u32) {
        self.set_target_window_size(size);
    }
}

impl Windowed for client::Connection<Prefixed, Bytes> {
    fn stream_window(&mut self, size: u32) -> Result<(), h2::Error> {
        self.set_initial_window_size(size)
    }

    fn connection_window(&mut self, size: u32) {
        self.set_target_window_size(size);
    }
}

/// What opens streams, and what moves their bytes.
pub(super) type Connected = (client::SendRequest<Bytes>, client::Connection<Prefixed, Bytes>);

/// Opens a connection to an upstream.
///
/// # Errors
/// The stream does not take the preface.
pub(super) async fn connect(io: Prefixed) -> Result<Connected, h2::Error> {
    client::Builder::new()
        .enable_push(false)
        // Until the upstream has said how many it takes; h2 holds back what is more once it has.
        .initial_max_send_streams(MAX_STREAMS as usize)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        .handshake(io)
        .await
}
