//! What an HTTP/1.1 application is sent for an HTTP/2 request, apart from connections: tests and fuzz targets outside of
//! this crate hold the bytes against what an HTTP/1.1 reader makes of them.
use std::time::Duration;

use ::http::Request;
use weft_decide::{FieldEdits, Scope, normalize};

pub use super::web::Base64Reader;
use super::{
    head::{Head, write_fields},
    trailers, websocket,
};
use crate::dataplane::http::{Forward, Malformed};

/// The head of a request, as the inbound side normalizes it and sends it on; `ended`: it has no body. `None` where the
/// request is refused.
pub fn request_head(scope: &Scope, request: Request<()>, ended: bool) -> Option<Vec<u8>> {
    let head = Head::read(request.into_parts().0, ended, false).ok().filter(|head| !head.is_connect())?;
    let fields = head.fields();
    let normal = normalize(scope, &head.decided(&fields)).ok()?;
    let host = (!head.is_at(&normal.host)).then_some(&*normal.host);
    let (path, query) = (&*normal.target.path, normal.target.query);
    let body_idle = Duration::ZERO;
    let (edits, answer_edits) = (FieldEdits::default(), FieldEdits::default());
    let (last, trusts_answers, bounds_all, until, set_cookie) = (|| false, false, false, None, None);
    let last = &last;
    let forward = Forward {
        path,
        query,
        host,
        last,
        trusts_answers,
        body_idle,
        bounds_all,
        until,
        set_cookie,
        edits,
        answer_edits,
    };
    match head.protocol() {
        // What another protocol's tunnel would be, nobody is asked for.
        Some(protocol) if !websocket::is_protocol(protocol.as_ref()) => None,
        Some(_) => Some(head.to_upgrade(&forward, &websocket::key((0, 0)))),
        None => Some(head.to_http1(&forward)),
    }
}

/// A trailer section of an HTTP/1.1 message, without the empty line at its end, as it is written to another: read, freed of
/// what is no trailer, and written.
///
/// # Errors
/// It is no list of fields.
pub fn trailer_section(section: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    write_fields(&trailers::judge(trailers::read(section)?), &mut out);
    Ok(out)
}
