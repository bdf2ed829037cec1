//! What hyper makes of bytes: its connections over memory, polled by hand.
use std::{
    cell::RefCell,
    convert::Infallible,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, client, header::HeaderMap, rt::ReadBufCursor, server,
    service::service_fn,
};

use super::Message;

/// How often a connection is polled before it counts as waiting: hyper gives way after some turns.
const TURNS: usize = 200;

/// A stream that holds all that the peer sends, and forgets what it is sent.
struct Memory<'a> {
    input: &'a [u8],
    /// Whether the peer speaks only when it was spoken to.
    waits: bool,
}

impl hyper::rt::Read for Memory<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.waits {
            return Poll::Pending;
        }
        let (now, later) = self.input.split_at(buffer.remaining().min(self.input.len()));
        buffer.put_slice(now);
        self.input = later;
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Memory<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.waits = false;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The requests that hyper's server takes from a connection of these bytes.
pub(crate) fn requests(bytes: &[u8]) -> Vec<Message> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            // A 2xx to CONNECT would end HTTP on the connection.
            let status = if head.method == Method::CONNECT { StatusCode::NOT_IMPLEMENTED } else { StatusCode::OK };
            if let Ok(body) = body.collect().await {
                let start = (head.method.to_string(), head.uri.to_string());
                let trailers = trailers(body.trailers());
                let message = Message::new(start, lines(&head.headers), body.to_bytes().to_vec());
                seen.borrow_mut().push(message.with_trailers(trailers.into_iter()));
            }
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    {
        let memory = Memory { input: bytes, waits: false };
        // The bytes end, and the answers are still to be had.
        let mut connection =
            pin!(server::conn::http1::Builder::new().half_close(true).serve_connection(memory, service));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..TURNS {
            if connection.as_mut().poll(&mut cx).is_ready() {
                break;
            }
        }
    }
    seen.take()
}

/// The final answer that hyper's client takes from a connection of these bytes; `None` where it takes none.
pub(crate) fn answer(bytes: &[u8], to_head: bool) -> Option<Message> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut begun = pin!(client::conn::http1::handshake(Memory { input: bytes, waits: true }));
    let Poll::Ready(Ok((mut sender, connection))) = begun.as_mut().poll(&mut cx) else { return None };
    let mut connection = pin!(connection);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = if to_head { Method::HEAD } else { Method::GET };
    let mut exchange = pin!(async {
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?;
        let (trailers, body) = (trailers(body.trailers()), body.to_bytes().to_vec());
        let message = Message::new((head.status.as_u16().to_string(), String::new()), lines(&head.headers), body);
        Some(message.with_trailers(trailers.into_iter()))
    });
    let mut ended = false;
    for _ in 0..TURNS {
        if let Poll::Ready(message) = exchange.as_mut().poll(&mut cx) {
            return message;
        }
        if !ended {
            ended = connection.as_mut().poll(&mut cx).is_ready();
        }
    }
    None
}

fn lines(fields: &HeaderMap) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    fields.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
}

/// What must not be passed on as a trailer (RFC 9110 §6.5.1), `x-weft-*` apart; hyper leaves that to its user.
const NOT_PASSED_ON: &str = "authorization cache-control connection content-encoding content-length content-range \
    content-type cookie expect forwarded host http2-settings keep-alive max-forwards proxy-authenticate \
    proxy-authorization proxy-connection set-cookie te trailer transfer-encoding upgrade www-authenticate \
    x-forwarded-for x-forwarded-host x-forwarded-proto";

fn trailers(section: Option<&HeaderMap>) -> Vec<(String, Vec<u8>)> {
    let fields = section.into_iter().flat_map(lines);
    fields.filter(|(name, _)| NOT_PASSED_ON.split(' ').all(|forbidden| forbidden != name)).collect()
}
