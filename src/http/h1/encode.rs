//! Heads and bodies as they are written.
//!
//! Field names are written as Go writes them (`Content-Type`), since some peers compare them letter by letter.

use std::io::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, Version};
use http_body::Frame;

use super::chunked::may_be_trailer;
use super::wire::Wire;

/// Room that is made for a head and a small body: a parked connection has no buffer, and this is one step to the size
/// of a usual head, not many.
pub(crate) const HEAD_WRITE: usize = 1024;

/// How the body being written says where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEncoder {
    /// All is written.
    Done,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A body does not have the length that its head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body does not have the length that its head says")]
pub(crate) struct WrongLength;

impl BodyEncoder {
    /// Puts a frame; `last` where the body says that nothing follows.
    pub(crate) fn put<IO>(
        &mut self,
        wire: &mut Wire<IO>,
        frame: Frame<Bytes>,
        last: bool,
    ) -> Result<(), WrongLength> {
        match frame.into_data() {
            Ok(data) => self.put_data(wire, data, last),
            Err(frame) => {
                if let (Self::Chunked, Ok(trailers)) = (*self, frame.into_trailers()) {
                    put_trailers(wire.flat(), &trailers);
                    *self = Self::Done;
                }
                Ok(())
            }
        }
    }

    fn put_data<IO>(
        &mut self,
        wire: &mut Wire<IO>,
        data: Bytes,
        last: bool,
    ) -> Result<(), WrongLength> {
        match self {
            Self::Done if data.is_empty() => {}
            Self::Done => return Err(WrongLength),
            Self::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WrongLength)?;
                if *left == 0 {
                    *self = Self::Done;
                }
                wire.push(data, Bytes::new());
            }
            // An empty chunk would end the body.
            Self::Chunked if data.is_empty() => {}
            Self::Chunked => {
                put_chunk_size(wire.flat(), data.len());
                let tail: &'static [u8] = if last { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                wire.push(data, Bytes::from_static(tail));
                if last {
                    *self = Self::Done;
                }
            }
            Self::UntilClose => wire.push(data, Bytes::new()),
        }
        Ok(())
    }

    /// Puts the end of the body.
    pub(crate) fn end<IO>(&mut self, wire: &mut Wire<IO>) -> Result<(), WrongLength> {
        match self {
            Self::Length(1..) => return Err(WrongLength),
            Self::Chunked => wire.flat().extend_from_slice(b"0\r\n\r\n"),
            Self::Done | Self::Length(0) | Self::UntilClose => {}
        }
        *self = Self::Done;
        Ok(())
    }
}

/// Writes a status line. Codes without a registered text get Go's.
pub(crate) fn put_status_line(out: &mut Vec<u8>, version: Version, status: StatusCode) {
    let protocol: &[u8] = if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
    out.extend_from_slice(protocol);
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    if let Some(reason) = status.canonical_reason() {
        out.extend_from_slice(reason.as_bytes());
    } else {
        out.extend_from_slice(b"status code ");
        out.extend_from_slice(status.as_str().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes one field.
pub(crate) fn put_field(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    let name = name.as_str();
    if let Some(known) = common(name) {
        out.extend_from_slice(known.as_bytes());
    } else {
        put_name(out, name);
        out.extend_from_slice(b": ");
    }
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes `Content-Length`.
pub(crate) fn put_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The start of a line for names that many messages have: they need not be spelled letter by letter.
fn common(name: &str) -> Option<&'static str> {
    Some(match name {
        "accept" => "Accept: ",
        "accept-encoding" => "Accept-Encoding: ",
        "accept-language" => "Accept-Language: ",
        "accept-ranges" => "Accept-Ranges: ",
        "access-control-allow-origin" => "Access-Control-Allow-Origin: ",
        "age" => "Age: ",
        "authorization" => "Authorization: ",
        "cache-control" => "Cache-Control: ",
        "connection" => "Connection: ",
        "content-disposition" => "Content-Disposition: ",
        "content-encoding" => "Content-Encoding: ",
        "content-language" => "Content-Language: ",
        "content-range" => "Content-Range: ",
        "content-type" => "Content-Type: ",
        "cookie" => "Cookie: ",
        "date" => "Date: ",
        "etag" => "Etag: ",
        "expires" => "Expires: ",
        "host" => "Host: ",
        "if-modified-since" => "If-Modified-Since: ",
        "if-none-match" => "If-None-Match: ",
        "last-modified" => "Last-Modified: ",
        "location" => "Location: ",
        "origin" => "Origin: ",
        "pragma" => "Pragma: ",
        "range" => "Range: ",
        "referer" => "Referer: ",
        "retry-after" => "Retry-After: ",
        "server" => "Server: ",
        "set-cookie" => "Set-Cookie: ",
        "strict-transport-security" => "Strict-Transport-Security: ",
        "te" => "Te: ",
        "trailer" => "Trailer: ",
        "upgrade" => "Upgrade: ",
        "upgrade-insecure-requests" => "Upgrade-Insecure-Requests: ",
        "user-agent" => "User-Agent: ",
        "vary" => "Vary: ",
        "via" => "Via: ",
        "www-authenticate" => "Www-Authenticate: ",
        "x-content-type-options" => "X-Content-Type-Options: ",
        "x-forwarded-for" => "X-Forwarded-For: ",
        "x-forwarded-host" => "X-Forwarded-Host: ",
        "x-forwarded-port" => "X-Forwarded-Port: ",
        "x-forwarded-proto" => "X-Forwarded-Proto: ",
        "x-forwarded-server" => "X-Forwarded-Server: ",
        "x-frame-options" => "X-Frame-Options: ",
        "x-real-ip" => "X-Real-Ip: ",
        "x-request-id" => "X-Request-Id: ",
        _ => return None,
    })
}

/// Go's canonical form, except that WebSocket's fields are written as their RFC does.
fn put_name(out: &mut Vec<u8>, name: &str) {
    const WEBSOCKET: &str = "sec-websocket-";
    let start = out.len();
    out.extend_from_slice(name.as_bytes());
    let mut upper = true;
    for byte in out.iter_mut().skip(start) {
        if upper {
            byte.make_ascii_uppercase();
        }
        upper = *byte == b'-';
    }
    if name.starts_with(WEBSOCKET)
        && let Some(byte) = out.get_mut(start + "sec-web".len())
    {
        byte.make_ascii_uppercase();
    }
}

/// Writes the line before a chunk. A size of 0 would end the body.
pub(crate) fn put_chunk_size(out: &mut Vec<u8>, size: usize) {
    write!(out, "{size:x}\r\n").expect("memory takes all that is written");
}

/// Writes the end of a chunked body, with trailers.
pub(crate) fn put_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        if may_be_trailer(name) {
            put_field(out, name, value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_go_writes_them() {
        for (name, written) in [
            ("content-type", "Content-Type"),
            ("etag", "Etag"),
            ("x-forwarded-for", "X-Forwarded-For"),
            ("sec-websocket-accept", "Sec-WebSocket-Accept"),
            ("sec-fetch-mode", "Sec-Fetch-Mode"),
            ("a--b_c", "A--B_c"),
        ] {
            let mut out = Vec::new();
            put_name(&mut out, name);
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
    }

    #[test]
    fn common_names_are_written_as_any_other() {
        let names = "accept accept-encoding accept-language accept-ranges access-control-allow-origin age \
            authorization cache-control connection content-disposition content-encoding \
            content-language content-range content-type cookie date etag expires host \
            if-modified-since if-none-match last-modified location origin pragma range referer \
            retry-after server set-cookie strict-transport-security te trailer upgrade \
            upgrade-insecure-requests user-agent vary via www-authenticate x-content-type-options \
            x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-forwarded-server \
            x-frame-options x-real-ip x-request-id";
        for name in names.split_whitespace() {
            let mut out = Vec::new();
            put_name(&mut out, name);
            out.extend_from_slice(b": ");
            assert_eq!(common(name).unwrap().as_bytes(), out, "{name}");
        }
        assert_eq!(common("x-something-else"), None);
    }

    #[test]
    fn a_body_of_another_length_is_an_error() {
        let mut wire = Wire::new((), Bytes::new());
        let data = || Frame::data(Bytes::from_static(b"abc"));
        let mut encoder = BodyEncoder::Length(2);
        assert_eq!(encoder.put(&mut wire, data(), false), Err(WrongLength));
        let mut encoder = BodyEncoder::Length(4);
        assert_eq!(encoder.put(&mut wire, data(), true), Ok(()));
        assert_eq!(encoder.end(&mut wire), Err(WrongLength));
    }
}
