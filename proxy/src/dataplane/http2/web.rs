//! gRPC-Web (gRPC's PROTOCOL-WEB.md) before an application that speaks gRPC: browsers can neither read trailers nor keep
//! them from a message, so they come in a last frame of the body, and as text everything is base64.
use std::task::{Context, Poll, ready};

use ::http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE, TE},
};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;

use super::side::{Broken, Client, Piece, Side};
use crate::dataplane::http::Malformed;

/// Before a frame's length: it holds trailers (PROTOCOL-WEB.md, "Trailers").
const TRAILERS: u8 = 0x80;

/// What the content types begin with.
const BINARY: &[u8] = b"application/grpc-web";
const TEXT: &[u8] = b"application/grpc-web-text";

/// Text may be padded or not where it ends.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// How a call's bodies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    Binary,
    /// In base64.
    Text,
}

/// What a client speaks of gRPC-Web, by the content type of its request; with the format behind it (`+proto`).
pub(super) fn spoken(content_type: &[u8]) -> Option<(Form, &[u8])> {
    let after = |start: &[u8]| {
        let (own, rest) = content_type.split_at_checked(start.len())?;
        (own.eq_ignore_ascii_case(start) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))).then_some(rest)
    };
    let text = after(TEXT).map(|format| (Form::Text, format));
    text.or_else(|| after(BINARY).map(|format| (Form::Binary, format)))
}

/// Makes a call of gRPC's out of a request; the form that its answer is to have. `None`: it is none of gRPC-Web's.
pub(super) fn to_grpc(request: &mut Request<()>) -> Option<Form> {
    let fields = request.headers_mut();
    let (form, format) = spoken(fields.get(CONTENT_TYPE)?.as_bytes())?;
    let content_type = HeaderValue::from_bytes(&[b"application/grpc", format].concat()).ok()?;
    fields.insert(CONTENT_TYPE, content_type);
    fields.insert(TE, HeaderValue::from_static("trailers"));
    // It is the text's, and gRPC tells none.
    fields.remove(CONTENT_LENGTH);
    fields.remove("x-grpc-web");
    Some(form)
}

/// A client that speaks gRPC-Web, as one that speaks gRPC.
pub(super) struct Web<'a, C> {
    client: &'a mut C,
    form: Form,
    reader: Base64Reader,
    /// What was not three bytes yet on its way to the client.
    written: Vec<u8>,
    /// Whether the answer is gRPC's; another (a 404 of HTTP's) is passed on as it is.
    answers_grpc: bool,
    /// What text stood for bytes that are given back, beyond them.
    surplus: usize,
}

impl<'a, C: Client> Web<'a, C> {
    pub(super) fn new(client: &'a mut C, form: Form) -> Self {
        let reader = Base64Reader::default();
        Self { client, form, reader, written: Vec::new(), answers_grpc: false, surplus: 0 }
    }

    /// What is sent of data: all of it, or as much as is whole in base64; the rest waits for more. `end`: nothing follows.
    fn coded(&mut self, data: &[u8], end: bool) -> Bytes {
        if self.form == Form::Binary || !self.answers_grpc {
            return Bytes::copy_from_slice(data);
        }
        self.written.extend_from_slice(data);
        let whole = if end { self.written.len() } else { self.written.len() / 3 * 3 };
        let rest = self.written.split_off(whole);
        let now = std::mem::replace(&mut self.written, rest);
        BASE64.encode(now).into()
    }
}

impl<C: Client> Side for Web<'_, C> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        let piece = ready!(self.client.poll_read(cx))?;
        if self.form == Form::Binary {
            return Poll::Ready(Ok(piece));
        }
        Poll::Ready(match piece {
            Piece::Data(text, last) => {
                let data = self.reader.read(&text, last).map_err(Broken::Malformed)?;
                self.surplus += text.len().saturating_sub(data.len());
                if data.is_empty() {
                    self.client.release(std::mem::take(&mut self.surplus));
                }
                Ok(if data.is_empty() && last { Piece::End } else { Piece::Data(data.into(), last) })
            }
            // A call has no trailers.
            Piece::Trailers(_) | Piece::End => {
                let rest = self.reader.read(&[], true).map_err(Broken::Malformed)?;
                Ok(if rest.is_empty() { Piece::End } else { Piece::Data(rest.into(), true) })
            }
        })
    }

    fn release(&mut self, count: usize) {
        self.client.release(count + std::mem::take(&mut self.surplus));
    }

    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Broken>> {
        if self.form == Form::Binary || !self.answers_grpc {
            return self.client.poll_room(cx, wanted);
        }
        // In base64 four bytes stand for three; never none at all.
        let room = ready!(self.client.poll_room(cx, wanted.div_ceil(3) * 4))?;
        Poll::Ready(Ok((room / 4 * 3).clamp(1, wanted.max(1))))
    }

    fn write(&mut self, cx: &mut Context<'_>, data: Bytes, last: bool) -> Result<(), Broken> {
        if self.form == Form::Binary {
            return self.client.write(cx, data, last);
        }
        let text = self.coded(&data, last);
        if text.is_empty() && !last { Ok(()) } else { self.client.write(cx, text, last) }
    }

    fn end(&mut self, cx: &mut Context<'_>, trailers: Option<HeaderMap>) -> Result<(), Broken> {
        if !self.answers_grpc {
            return self.client.end(cx, trailers);
        }
        let frame = trailers.map(|trailers| frame(&trailers)).unwrap_or_default();
        let last = self.coded(&frame, true);
        if last.is_empty() { self.client.end(cx, None) } else { self.client.write(cx, last, true) }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.client.poll_flush(cx)
    }
}

impl<C: Client> Client for Web<'_, C> {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        self.client.poll_gone(cx)
    }

    fn interim(&mut self, cx: &mut Context<'_>, answer: Response<()>) -> Result<(), Broken> {
        self.client.interim(cx, answer)
    }

    /// An answer whose status is in its head, and that has nothing behind it, stays so: clients read that too.
    fn answer(&mut self, cx: &mut Context<'_>, mut answer: Response<()>, ended: bool) -> Result<(), Broken> {
        let content_type = answer.headers().get(CONTENT_TYPE).map(|value| value.as_bytes().to_vec());
        let format = content_type.as_deref().and_then(|value| {
            let rest = value.strip_prefix(b"application/grpc")?;
            matches!(rest.first(), None | Some(b'+' | b';' | b' ')).then_some(rest)
        });
        if let Some(format) = format {
            self.answers_grpc = true;
            let own = if self.form == Form::Text { TEXT } else { BINARY };
            if let Ok(own) = HeaderValue::from_bytes(&[own, format].concat()) {
                answer.headers_mut().insert(CONTENT_TYPE, own);
            }
            answer.headers_mut().remove(CONTENT_LENGTH);
        }
        self.client.answer(cx, answer, ended)
    }
}

/// Trailers as a frame: lines as HTTP/1.1 writes them, names in lower case, without an empty line.
fn frame(trailers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    super::head::write_fields(trailers, &mut lines);
    let length = u32::try_from(lines.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[TRAILERS], &length[..], &lines].concat()
}

/// Reads base64 that comes in parts, of which each may end in padding: clients code each message by itself.
#[derive(Debug, Default)]
pub struct Base64Reader {
    /// What is not four characters yet.
    rest: Vec<u8>,
}

impl Base64Reader {
    /// The bytes that `text` stands for, with what waited from before; `end`: nothing follows it.
    ///
    /// # Errors
    /// It is not base64, or ends inside of a byte.
    pub fn read(&mut self, text: &[u8], end: bool) -> Result<Vec<u8>, Malformed> {
        self.rest.extend_from_slice(text);
        let whole = if end { self.rest.len() } else { self.rest.len() / 4 * 4 };
        let rest = self.rest.split_off(whole);
        let now = std::mem::replace(&mut self.rest, rest);
        let mut bytes = Vec::with_capacity(now.len() / 4 * 3);
        // Padding ends a message, not the text: what is behind it is another. It ends a group of four.
        let mut from = 0;
        while from < now.len() {
            let left = now.get(from..).unwrap_or_default();
            let padding = left.iter().position(|byte| *byte == b'=');
            let upto = padding.map_or(left.len(), |at| (at / 4 * 4 + 4).min(left.len()));
            let part = left.get(..upto).unwrap_or_default();
            BASE64.decode_vec(part, &mut bytes).map_err(|_| Malformed::Base64)?;
            from += upto;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_webs_own_content_types_are_grpc_web() {
        for (content_type, told) in [
            ("application/grpc-web", Some((Form::Binary, ""))),
            ("application/grpc-web+proto", Some((Form::Binary, "+proto"))),
            ("Application/gRPC-Web-Text;x=y", Some((Form::Text, ";x=y"))),
            ("application/grpc-web-text+proto", Some((Form::Text, "+proto"))),
            ("application/grpc", None),
            ("application/grpc-webs", None),
            ("application/grpc-web-texts", None),
            ("", None),
        ] {
            let told = told.map(|(form, format): (Form, &str)| (form, format.as_bytes()));
            assert_eq!(spoken(content_type.as_bytes()), told, "{content_type}");
        }
    }

    #[test]
    fn text_is_read_however_it_is_cut_and_padded() {
        let text = b"aGVsbG8=aGVsbG8gd29ybGQ=IQ==";
        for cut in 0..=text.len() {
            let mut reader = Base64Reader::default();
            let mut read = reader.read(&text[..cut], false).unwrap();
            read.extend(reader.read(&text[cut..], true).unwrap());
            assert_eq!(String::from_utf8(read).unwrap(), "hellohello world!", "{cut}");
        }
        for wrong in [&b"a"[..], b"aGV$", b"====", b"a=bc"] {
            assert_eq!(Base64Reader::default().read(wrong, true), Err(Malformed::Base64), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn trailers_are_lines_behind_their_length() {
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
        assert_eq!(frame(&trailers), b"\x80\0\0\0\x10grpc-status: 0\r\n");
    }
}
