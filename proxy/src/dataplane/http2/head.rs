//! Heads: what an HTTP/2 request says, judged as strictly as an HTTP/1.1 one, and the heads of each version made from the
//! other's.
//!
//! h2 has refused already what RFC 9113 §8.2 and §8.3 call malformed: pseudo-fields that are unknown, doubled or late,
//! names in upper case, fields of a connection (Connection, Transfer-Encoding, Upgrade and their like, a TE other than
//! `trailers`), values with control characters, and bodies of another length than Content-Length says.
use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{
        AUTHORIZATION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, TE,
        TRANSFER_ENCODING,
    },
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use h2::ext::Protocol;
use weft_decide::{FieldEdits, RequestHead};

use super::{
    trailers::{self, EACH, remove_identities, remove_ours},
    websocket,
};
use crate::dataplane::http::{Forward, Framing, Incoming, MAX_FIELDS, MAX_HEAD, Malformed, ResponseHead};

/// The head of an HTTP/2 client's request, with the fields that are passed on.
pub(in crate::dataplane) struct Head {
    method: Method,
    scheme: Scheme,
    authority: Vec<u8>,
    /// The target in the form that normalization reads.
    target: Vec<u8>,
    path: PathAndQuery,
    fields: HeaderMap,
    /// What it asks to be spoken in the stream, where it is an extended CONNECT (RFC 8441 §4).
    protocol: Option<Protocol>,
    /// Whether it ends the stream.
    pub(super) ended: bool,
}

impl Head {
    /// Reads a request's head. `from_outside`: our own fields are not passed on.
    ///
    /// # Errors
    /// Whatever could be read in two ways.
    pub(super) fn read(parts: Parts, ended: bool, from_outside: bool) -> Result<Self, Malformed> {
        let Parts { method, uri, headers: mut fields, mut extensions, .. } = parts;
        let protocol = extensions.remove::<Protocol>();
        if fields.len() > MAX_FIELDS {
            return Err(Malformed::TooManyFields);
        }
        if size(&method, &uri, &fields) > MAX_HEAD {
            return Err(Malformed::HeadTooLarge);
        }
        // The http crate takes `"` in a name; RFC 9110 §5.6.2 does not, nor does a strict HTTP/1.1 reader.
        if fields.keys().any(|name| name.as_str().contains('"')) {
            return Err(Malformed::FieldName);
        }
        for (name, told) in [(HOST, "Host"), (AUTHORIZATION, "Authorization"), (CONTENT_LENGTH, "Content-Length")] {
            if fields.get_all(name).iter().nth(1).is_some() {
                return Err(Malformed::Repeated(told));
            }
        }
        if fields.get_all(EXPECT).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            return Err(Malformed::Expectation);
        }
        if protocol.is_some() && fields.contains_key(CONTENT_LENGTH) {
            return Err(Malformed::TunnelContent);
        }
        let uri = uri.into_parts();
        let scheme = uri.scheme.unwrap_or(Scheme::HTTP);
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(Malformed::Scheme);
        }
        let path = uri.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let host = fields.remove(HOST);
        let (authority, target) = match (uri.authority, host) {
            (None, None) => return Err(Malformed::NoHost),
            (None, Some(host)) => (host.as_bytes().to_vec(), path.as_str().as_bytes().to_vec()),
            (Some(authority), host) => {
                let same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
                match host.filter(|host| !same(host)) {
                    None => (authority.as_str().as_bytes().to_vec(), path.as_str().as_bytes().to_vec()),
                    // Two spellings: normalization tells whether they are one host, as for an absolute target.
                    Some(host) => (host.as_bytes().to_vec(), format!("http://{authority}{path}").into_bytes()),
                }
            }
        };
        join_cookies(&mut fields)?;
        remove_identities(&mut fields);
        if from_outside {
            remove_ours(&mut fields);
        }
        Ok(Self { method, scheme, authority, target, path, fields, protocol, ended })
    }

    /// The fields as name and value.
    pub(super) fn fields(&self) -> Vec<(&[u8], &[u8])> {
        self.fields.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect()
    }

    /// What the evaluator looks at. Who asks for a tunnel by an extended CONNECT asks for what is a GET with Upgrade in
    /// HTTP/1.1, and is judged as that.
    pub(super) fn decided<'a>(&'a self, fields: &'a [(&'a [u8], &'a [u8])]) -> RequestHead<'a> {
        let method = if self.protocol.is_some() { Method::GET.as_str() } else { self.method.as_str() }.as_bytes();
        RequestHead { method, authority: &self.authority, target: &self.target, headers: fields, source: None }
    }

    /// Whether it was asked of that host, in these letters.
    pub(super) fn is_at(&self, host: &str) -> bool {
        self.authority == host.as_bytes()
    }

    /// Whether it asks for a tunnel to its authority.
    pub(super) fn is_connect(&self) -> bool {
        self.method == Method::CONNECT && self.protocol.is_none()
    }

    /// What it asks to be spoken in the stream, in place of messages.
    pub(super) fn protocol(&self) -> Option<&Protocol> {
        self.protocol.as_ref()
    }

    /// Whether an answer opens the tunnel that it asks for.
    pub(super) fn is_opened_by(&self, answer: &Response<()>) -> bool {
        self.protocol.is_some() && answer.status().is_success()
    }

    /// Whether the method is HEAD, whose answers have no body.
    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether it says how long its body is.
    fn has_length(&self) -> bool {
        self.fields.contains_key(CONTENT_LENGTH)
    }

    /// As it is sent to an HTTP/2 upstream.
    ///
    /// # Errors
    /// The normalized target, or a Host that stands for `:authority`, is none that HTTP/2 can carry.
    pub(super) fn to_http2(&self, forward: &Forward<'_>) -> Result<Request<()>, Malformed> {
        let same = self.path.path() == forward.path && self.path.query() == forward.query;
        let path = if same { self.path.clone() } else { path_and_query(forward)? };
        let mut fields = self.fields.clone();
        edit(&forward.edits, &mut fields);
        let mut request = request(self.method.clone(), self.scheme.clone(), self.authority(forward), path, fields)?;
        if let Some(protocol) = &self.protocol {
            request.extensions_mut().insert(protocol.clone());
        }
        Ok(request)
    }

    fn authority<'a>(&'a self, forward: &Forward<'a>) -> &'a [u8] {
        forward.host.map_or(&*self.authority, str::as_bytes)
    }

    /// Whether its body comes in chunks to who speaks HTTP/1.1.
    pub(super) fn is_chunked(&self) -> bool {
        !self.ended && !self.has_length()
    }

    /// As the HTTP/1.1 application is asked to speak WebSocket (RFC 6455 §4.1), with a key of ours in place of what its client
    /// has written in vain.
    pub(super) fn to_upgrade(&self, forward: &Forward<'_>, key: &str) -> Vec<u8> {
        let mut out = self.start_line(&Method::GET, forward);
        let mut fields = self.fields.clone();
        for hop in [TE, SEC_WEBSOCKET_KEY] {
            fields.remove(hop);
        }
        edit(&forward.edits, &mut fields);
        write_fields(&fields, &mut out);
        out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ");
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out
    }

    fn start_line(&self, method: &Method, forward: &Forward<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(forward.path.as_bytes());
        if let Some(query) = forward.query {
            out.push(b'?');
            out.extend_from_slice(query.as_bytes());
        }
        out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        out.extend_from_slice(self.authority(forward));
        out.extend_from_slice(b"\r\n");
        out
    }

    /// As it is sent to an HTTP/1.1 upstream.
    pub(super) fn to_http1(&self, forward: &Forward<'_>) -> Vec<u8> {
        let mut out = self.start_line(&self.method, forward);
        if forward.edits.is_empty() {
            write_fields(&self.fields, &mut out);
        } else {
            let mut fields = self.fields.clone();
            edit(&forward.edits, &mut fields);
            write_fields(&fields, &mut out);
        }
        if self.fields.contains_key(TE) {
            // RFC 9110 §10.1.4: it is this connection's.
            out.extend_from_slice(b"connection: te\r\n");
        }
        let bodiless =
            matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE | Method::TRACE);
        if self.ended && !bodiless && !self.has_length() {
            // RFC 9110 §8.6: some servers wait for it.
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        out.extend_from_slice(if self.is_chunked() { b"transfer-encoding: chunked\r\n\r\n" } else { b"\r\n" });
        out
    }
}

/// Changes a head's fields. What cannot stand in one is left out: routes with such a field are not taken.
pub(super) fn edit(edits: &FieldEdits<'_>, fields: &mut HeaderMap) {
    for name in edits.dropped() {
        fields.remove(name);
    }
    for (name, value) in edits.added() {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        {
            fields.append(name, value);
        }
    }
}

/// How large a head is, decoded, its pseudo-fields and a Host that is not passed on included.
fn size(method: &Method, uri: &Uri, fields: &HeaderMap) -> usize {
    let fields = trailers::size(fields);
    let authority = uri.authority().map_or(0, |authority| ":authority".len() + authority.as_str().len() + EACH);
    let path = uri.path_and_query().map_or(0, |path| ":path".len() + path.as_str().len() + EACH);
    let scheme = uri.scheme_str().map_or(0, |scheme| ":scheme".len() + scheme.len() + EACH);
    ":method".len() + method.as_str().len() + EACH + scheme + authority + path + fields
}

/// RFC 9113 §8.2.3: crumbs are one field to whoever does not speak HTTP/2, policies and routes among them.
fn join_cookies(fields: &mut HeaderMap) -> Result<(), Malformed> {
    let mut crumbs = fields.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return Ok(()) };
    let mut joined = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    let joined = HeaderValue::from_bytes(&joined).map_err(|_| Malformed::FieldValue)?;
    fields.insert(COOKIE, joined);
    Ok(())
}

/// An HTTP/1.1 client's request as it is sent to an HTTP/2 upstream.
///
/// # Errors
/// It has what HTTP/2 cannot carry.
pub(super) fn from_http1(incoming: &Incoming, forward: &Forward<'_>) -> Result<Request<()>, Malformed> {
    let (head, bytes) = (&incoming.head, incoming.bytes());
    let mut fields = HeaderMap::with_capacity(16);
    add_fields(head.fields.kept(bytes), &mut fields)?;
    fields.remove(HOST);
    let mut codings = head.fields.values(bytes, "te").flat_map(|value| value.split(|byte| *byte == b','));
    if codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers")) {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    edit(&forward.edits, &mut fields);
    let method = Method::from_bytes(head.method.bytes(bytes)).map_err(|_| Malformed::StartLine)?;
    let host = forward.host.map_or_else(|| head.host.bytes(bytes), str::as_bytes);
    request(method, Scheme::HTTP, host, path_and_query(forward)?, fields)
}

/// An HTTP/1.1 client's wish to speak WebSocket as it is put to an HTTP/2 upstream (RFC 8441 §5), and the
/// Sec-WebSocket-Accept that the client waits for. `None`: it wishes for something that has no such form.
///
/// # Errors
/// Its key is none, or it has what HTTP/2 cannot carry.
pub(super) fn websocket_from_http1(
    incoming: &Incoming,
    forward: &Forward<'_>,
) -> Result<Option<(Request<()>, String)>, Malformed> {
    let (head, bytes) = (&incoming.head, incoming.bytes());
    let mut protocols = head.protocols(bytes);
    let is_websocket = protocols.next().is_some_and(websocket::is_protocol) && protocols.next().is_none();
    if !is_websocket || head.method.bytes(bytes) != b"GET" || head.framing != Framing::Empty {
        return Ok(None);
    }
    let mut keys = head.fields.values(bytes, "sec-websocket-key");
    let (Some(key), None) = (keys.next().filter(|key| websocket::is_key(key)), keys.next()) else {
        return Err(Malformed::WebSocketKey);
    };
    let mut request = from_http1(incoming, forward)?;
    *request.method_mut() = Method::CONNECT;
    request.headers_mut().remove(SEC_WEBSOCKET_KEY);
    // Whatever it says of content, there is none, and a tunnel must not say so.
    request.headers_mut().remove(CONTENT_LENGTH);
    request.extensions_mut().insert(Protocol::from_static(websocket::PROTOCOL));
    Ok(Some((request, websocket::accept(key))))
}

fn path_and_query(forward: &Forward<'_>) -> Result<PathAndQuery, Malformed> {
    let text = match forward.query {
        Some(query) => format!("{}?{query}", forward.path),
        None => forward.path.to_owned(),
    };
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).map_err(|_| Malformed::StartLine)
}

fn request(
    method: Method,
    scheme: Scheme,
    authority: &[u8],
    path: PathAndQuery,
    fields: HeaderMap,
) -> Result<Request<()>, Malformed> {
    let authority = Authority::try_from(authority).map_err(|_| Malformed::NoHost)?;
    let mut uri = ::http::uri::Parts::default();
    (uri.scheme, uri.authority, uri.path_and_query) = (Some(scheme), Some(authority), Some(path));
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| Malformed::StartLine)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = fields;
    Ok(request)
}

/// An HTTP/1.1 upstream's answer as an HTTP/2 client gets it.
///
/// # Errors
/// It has what HTTP/2 cannot carry.
pub(super) fn answer_from_http1(head: &ResponseHead, bytes: &[u8]) -> Result<Response<()>, Malformed> {
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::from_u16(head.status).map_err(|_| Malformed::StartLine)?;
    add_fields(head.fields.kept(bytes), answer.headers_mut())?;
    Ok(answer)
}

/// An HTTP/1.1 application's 101 as an HTTP/2 client gets it (RFC 8441 §5): a 200 without what the handshake between the two of
/// us was.
///
/// # Errors
/// It has what HTTP/2 cannot carry, or does not answer the key.
pub(super) fn opened_from_http1(head: &ResponseHead, bytes: &[u8], accept: &str) -> Result<Response<()>, Malformed> {
    let mut accepts = head.fields.values(bytes, "sec-websocket-accept");
    if accepts.next() != Some(accept.as_bytes()) || accepts.next().is_some() {
        return Err(Malformed::NoAccept);
    }
    let mut answer = answer_from_http1(head, bytes)?;
    *answer.status_mut() = StatusCode::OK;
    answer.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
    Ok(answer)
}

/// An answer as an HTTP/1.1 client gets it, up to its last field.
pub(super) fn answer_to_http1(answer: &Response<()>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(answer.status().as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(answer.status().canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    write_fields(answer.headers(), &mut out);
    out
}

/// An answer that opens a tunnel as the HTTP/1.1 client gets it that wished to speak WebSocket, up to its last field.
pub(super) fn switch_to_http1(answer: &Response<()>, accept: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n");
    out.extend_from_slice(b"sec-websocket-accept: ");
    out.extend_from_slice(accept.as_bytes());
    out.extend_from_slice(b"\r\n");
    write_fields(answer.headers(), &mut out);
    out.extend_from_slice(b"\r\n");
    out
}

/// Takes HTTP/1.1 fields in. Transfer-Encoding is left out: HTTP/2 has framing of its own.
fn add_fields<'a>(lines: impl Iterator<Item = (&'a [u8], &'a [u8])>, into: &mut HeaderMap) -> Result<(), Malformed> {
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name).map_err(|_| Malformed::FieldName)?;
        if name != TRANSFER_ENCODING {
            into.append(name, HeaderValue::from_bytes(value).map_err(|_| Malformed::FieldValue)?);
        }
    }
    Ok(())
}

/// Writes fields as HTTP/1.1's lines. Neither names nor values of a [`HeaderMap`] can hold a CR, LF or NUL.
pub(super) fn write_fields(fields: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in fields {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
