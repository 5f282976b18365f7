//! Heads of requests and responses, as they are read.
//!
//! httparse finds the parts; what a message means (its length, its host, whether the connection stays) is decided
//! here, by RFC 9112, and anything that two readers could understand differently is refused.

use std::cell::RefCell;
use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};

use super::framing::Framing;

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head_bytes_max: usize,
    pub(crate) headers_max: usize,
}

/// Most fields that the map of headers can hold.
const HEADERS_MAX: usize = 16 * 1024;
/// Heads with more fields than this are parsed on the heap.
const HEADERS_ON_STACK: usize = 100;
/// A request gets so many fields on its way to a server: the map would grow again and again for them.
const ADDED_FIELDS: usize = 8;
/// And a response on its way back: `Date`, a cookie.
const ADDED_TO_RESPONSES: usize = 2;
/// Longest request target that can be represented.
const TARGET_BYTES_MAX: usize = 65_000;

/// A request that is not answered by a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
}

const fn bad(reason: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, reason }
}

const TOO_LARGE: Refusal = Refusal {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    reason: "the head is too large",
};

/// A request's head and what it says of the connection.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) parts: Box<Parts>,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
    /// Asks for another protocol.
    pub(crate) upgrade: bool,
}

/// A response's head and what it says of the connection.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
}

/// Where a name and its value are in the head.
struct Field {
    name: (usize, usize),
    value: (usize, usize),
}

thread_local! {
    /// Reused by all heads of a thread.
    static FIELDS: RefCell<Vec<Field>> = const { RefCell::new(Vec::new()) };
}

/// Where `part` is in `whole`, of which it is a part.
fn place(whole: &[u8], part: &[u8]) -> (usize, usize) {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    (start, start + part.len())
}

fn note_fields(input: &[u8], headers: &[httparse::Header<'_>], fields: &mut Vec<Field>) {
    fields.clear();
    fields.extend(headers.iter().map(|header| Field {
        name: place(input, header.name.as_bytes()),
        value: place(input, header.value),
    }));
}

/// True unless it is known that the end of the head is still missing. `scanned` is how much of `input` had been seen
/// before; so a head that comes byte by byte is not parsed anew with each.
fn may_be_whole(input: &[u8], scanned: &mut usize) -> bool {
    let from = scanned.saturating_sub(3);
    let first = *scanned == 0;
    *scanned = input.len();
    let new = input.get(from..).unwrap_or_default();
    first || new.windows(3).any(|three| three == b"\n\r\n" || three.starts_with(b"\n\n"))
}

/// Every line of a head ends with CRLF. httparse has refused a CR without LF; this refuses the opposite.
fn has_bare_line_feed(head: &[u8]) -> bool {
    let balance = head.iter().fold(0_i32, |balance, &byte| {
        balance + i32::from(byte == b'\n') - i32::from(byte == b'\r')
    });
    balance != 0
}

/// Takes a request's head from `input`; `None` where more is needed.
pub(crate) fn request(
    input: &mut BytesMut,
    scanned: &mut usize,
    limits: &Limits,
) -> Result<Option<RequestHead>, Refusal> {
    // RFC 9112, section 2.2: an empty line before the request line is ignored. One, not many.
    if *scanned == 0 && input.starts_with(b"\r\n") {
        input.advance(2);
    }
    match input.first() {
        None => return Ok(None),
        Some(b'\r') if input.len() == 1 => return Ok(None),
        Some(b'\r' | b'\n') => return Err(bad("empty request line")),
        Some(_) => {}
    }
    let line = if may_be_whole(input, scanned) {
        FIELDS.with_borrow_mut(|fields| request_line(input, limits, fields))?
    } else {
        None
    };
    let Some(line) = line else {
        return if input.len() > limits.head_bytes_max { Err(TOO_LARGE) } else { Ok(None) };
    };
    *scanned = 0;
    if line.used > limits.head_bytes_max {
        return Err(TOO_LARGE);
    }
    let head = input.split_to(line.used).freeze();
    if has_bare_line_feed(&head) {
        return Err(bad("line feed without carriage return"));
    }
    FIELDS.with_borrow(|fields| build_request(&head, line, fields)).map(Some)
}

struct RequestLine {
    used: usize,
    method: Method,
    target: (usize, usize),
    version: Version,
}

fn request_line(
    input: &[u8],
    limits: &Limits,
    fields: &mut Vec<Field>,
) -> Result<Option<RequestLine>, Refusal> {
    let mut note = |parsed: &httparse::Request<'_, '_>, used: usize| {
        note_fields(input, parsed.headers, fields);
        let method = parsed.method.unwrap_or_default().as_bytes();
        let target = parsed.path.unwrap_or_default().as_bytes();
        let method = Method::from_bytes(method).map_err(|_error| bad("invalid method"))?;
        let version = version_of(parsed.version);
        Ok(RequestLine { used, method, target: place(input, target), version })
    };
    let mut space = [const { MaybeUninit::uninit() }; HEADERS_ON_STACK];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(input, &mut space) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(used)) if parsed.headers.len() <= limits.headers_max => {
            return note(&parsed, used).map(Some);
        }
        Ok(httparse::Status::Complete(_)) => return Err(TOO_LARGE),
        Err(httparse::Error::TooManyHeaders) => {}
        Err(error) => return Err(refusal_of(error, input)),
    }
    let mut space = vec![httparse::EMPTY_HEADER; limits.headers_max.min(HEADERS_MAX)];
    let mut parsed = httparse::Request::new(&mut space);
    match parsed.parse(input) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(used)) => note(&parsed, used).map(Some),
        Err(httparse::Error::TooManyHeaders) => Err(TOO_LARGE),
        Err(error) => Err(refusal_of(error, input)),
    }
}

fn version_of(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 }
}

fn refusal_of(error: httparse::Error, input: &[u8]) -> Refusal {
    match error {
        httparse::Error::Version if names_other_version(input) => Refusal {
            status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            reason: "unsupported protocol version",
        },
        httparse::Error::Version => bad("invalid protocol version"),
        httparse::Error::HeaderName => bad("invalid header name"),
        httparse::Error::HeaderValue => bad("invalid header value"),
        httparse::Error::NewLine => bad("invalid line end"),
        httparse::Error::TooManyHeaders => TOO_LARGE,
        httparse::Error::Status | httparse::Error::Token => bad("invalid request line"),
    }
}

/// True where the request line has three parts, of which the last is `HTTP/`, a digit, a point, a digit.
fn names_other_version(input: &[u8]) -> bool {
    let line = input.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let mut parts = line.split(|&byte| byte == b' ').skip(2);
    let version = parts.next().and_then(|part| part.strip_prefix(b"HTTP/"));
    parts.next().is_none()
        && matches!(version, Some([major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// What the fields say of framing and connection.
#[derive(Default)]
struct Facts {
    hosts: usize,
    lengths: usize,
    length: u64,
    lengths_differ: bool,
    codings: usize,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade_listed: bool,
    upgrade: bool,
    expect_continue: bool,
    expect_other: bool,
    bad_length: bool,
}

impl Facts {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == header::HOST {
            self.hosts += 1;
        } else if *name == header::CONTENT_LENGTH {
            match parse_length(value) {
                Some(length) => {
                    self.lengths_differ |= self.lengths > 0 && self.length != length;
                    self.length = length;
                }
                None => self.bad_length = true,
            }
            self.lengths += 1;
        } else if *name == header::TRANSFER_ENCODING {
            self.codings += 1;
            self.chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
        } else if *name == header::CONNECTION {
            for option in value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                self.upgrade_listed |= option.eq_ignore_ascii_case(b"upgrade");
            }
        } else if *name == header::UPGRADE {
            self.upgrade = true;
        } else if *name == header::EXPECT {
            let known = value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            self.expect_continue |= known;
            self.expect_other |= !known;
        }
    }

    fn keeps_alive(&self, version: Version) -> bool {
        !self.close && (version != Version::HTTP_10 || self.keep_alive)
    }
}

/// A `Content-Length`: digits and nothing else.
pub(crate) fn parse_length(value: &HeaderValue) -> Option<u64> {
    let text = value.as_bytes();
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = std::str::from_utf8(text).ok()?.parse::<u64>().ok()?;
    i64::try_from(length).is_ok().then_some(length)
}

/// `room`: how many fields the map will get besides.
fn collect(
    head: &Bytes,
    fields: &[Field],
    room: usize,
) -> Result<(HeaderMap, Facts), &'static str> {
    let mut map = HeaderMap::try_with_capacity(fields.len() + room)
        .map_err(|_error| "the head has too many fields")?;
    let mut facts = Facts::default();
    for field in fields {
        let name = head.get(field.name.0..field.name.1).unwrap_or_default();
        let name = HeaderName::from_bytes(name).map_err(|_error| "invalid header name")?;
        // httparse has cut the blanks before the value; those after it go here.
        let value = head.get(field.value.0..field.value.1).unwrap_or_default();
        let end = field.value.0 + value.trim_ascii_end().len();
        let value = HeaderValue::from_maybe_shared(head.slice(field.value.0..end))
            .map_err(|_error| "invalid header value")?;
        facts.note(&name, &value);
        map.try_append(name, value).map_err(|_error| "the head has too many fields")?;
    }
    Ok((map, facts))
}

fn build_request(
    head: &Bytes,
    line: RequestLine,
    fields: &[Field],
) -> Result<RequestHead, Refusal> {
    let (mut headers, facts) = collect(head, fields, ADDED_FIELDS).map_err(bad)?;
    let framing = request_framing(&facts, &line)?;
    check_host(&headers, &facts, line.version)?;
    if facts.expect_other {
        return Err(Refusal {
            status: StatusCode::EXPECTATION_FAILED,
            reason: "unknown expectation",
        });
    }
    let target = head.slice(line.target.0..line.target.1);
    let uri = parse_target(target, &line.method, &mut headers)?;
    let mut parts = Box::new(http::Request::new(()).into_parts().0);
    parts.method = line.method;
    parts.uri = uri;
    parts.version = line.version;
    parts.headers = headers;
    Ok(RequestHead {
        keep_alive: facts.keeps_alive(line.version),
        expect_continue: facts.expect_continue && line.version == Version::HTTP_11,
        upgrade: facts.upgrade && facts.upgrade_listed && line.version == Version::HTTP_11,
        parts,
        framing,
    })
}

/// RFC 9112, section 6.3, without any of its leave to repair.
fn request_framing(facts: &Facts, line: &RequestLine) -> Result<Framing, Refusal> {
    if facts.bad_length || facts.lengths > 1 {
        return Err(bad("invalid Content-Length"));
    }
    let framing = if facts.codings > 0 {
        if facts.lengths > 0 {
            return Err(bad("both Content-Length and Transfer-Encoding"));
        }
        if line.version == Version::HTTP_10 {
            return Err(bad("Transfer-Encoding in HTTP/1.0"));
        }
        if facts.codings > 1 || !facts.chunked {
            return Err(Refusal {
                status: StatusCode::NOT_IMPLEMENTED,
                reason: "unsupported Transfer-Encoding",
            });
        }
        Framing::Chunked
    } else if facts.length > 0 {
        Framing::Length(facts.length)
    } else {
        Framing::Empty
    };
    if line.method == Method::CONNECT && framing != Framing::Empty {
        return Err(bad("CONNECT with a body"));
    }
    Ok(framing)
}

fn check_host(headers: &HeaderMap, facts: &Facts, version: Version) -> Result<(), Refusal> {
    match facts.hosts {
        0 if version == Version::HTTP_10 => Ok(()),
        0 => Err(bad("missing Host")),
        1 if headers.get(header::HOST).is_some_and(|host| is_host(host.as_bytes())) => Ok(()),
        1 => Err(bad("invalid Host")),
        _ => Err(bad("several Host")),
    }
}

/// RFC 3986, `host [ ":" port ]`. Empty where the target has no host.
fn is_host(text: &[u8]) -> bool {
    let (name, port) = match text.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !text.ends_with(b"]") => text.split_at(colon),
        _ => (text, &b""[..]),
    };
    let port_is_good = port.iter().skip(1).all(u8::is_ascii_digit) && port.len() <= 6;
    let name_is_good = match name.strip_prefix(b"[") {
        Some(address) => address.strip_suffix(b"]").is_some_and(|address| {
            !address.is_empty()
                && address.iter().all(|byte| {
                    byte.is_ascii_alphanumeric()
                        || matches!(byte, b':' | b'.' | b'%' | b'-' | b'_' | b'~')
                })
        }),
        None => name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte)),
    };
    port_is_good && name_is_good
}

/// RFC 9112, section 3.2: the four forms, each where it belongs.
fn parse_target(target: Bytes, method: &Method, headers: &mut HeaderMap) -> Result<Uri, Refusal> {
    if target.len() > TARGET_BYTES_MAX {
        return Err(Refusal {
            status: StatusCode::URI_TOO_LONG,
            reason: "the request target is too long",
        });
    }
    // A fragment is never sent; `Uri` would cut it in silence, and others would not.
    if target.contains(&b'#') {
        return Err(bad("fragment in the request target"));
    }
    let form = target.first().copied();
    let uri = Uri::from_maybe_shared(target).map_err(|_error| bad("invalid request target"))?;
    if *method == Method::CONNECT {
        let complete = uri.scheme().is_none() && uri.path_and_query().is_none();
        let authority = uri.authority().filter(|it| complete && is_host(it.as_str().as_bytes()));
        return match authority.and_then(http::uri::Authority::port_u16) {
            Some(_) => Ok(uri),
            None => Err(bad("CONNECT without host and port")),
        };
    }
    match form {
        Some(b'/') => Ok(uri),
        Some(b'*') if *method == Method::OPTIONS && uri.path() == "*" => Ok(uri),
        _ => origin_of_absolute(uri, headers),
    }
}

/// RFC 9112, section 3.2.2: the authority of an absolute target replaces `Host`.
fn origin_of_absolute(uri: Uri, headers: &mut HeaderMap) -> Result<Uri, Refusal> {
    let parts = uri.into_parts();
    let known = parts.scheme.as_ref().is_some_and(|scheme| {
        *scheme == http::uri::Scheme::HTTP || *scheme == http::uri::Scheme::HTTPS
    });
    let authority = parts.authority.filter(|it| known && is_host(it.as_str().as_bytes()));
    let Some(authority) = authority else {
        return Err(bad("invalid request target"));
    };
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_error| bad("invalid Host"))?;
    headers.insert(header::HOST, host);
    let path = parts.path_and_query.unwrap_or(http::uri::PathAndQuery::from_static("/"));
    if !path.as_str().starts_with('/') {
        let path = format!("/{}", path.as_str());
        return Uri::try_from(path).map_err(|_error| bad("invalid request target"));
    }
    Ok(Uri::from(path))
}

/// Takes a response's head from `input`; `None` where more is needed. `method` is the request's.
pub(crate) fn response(
    input: &mut BytesMut,
    scanned: &mut usize,
    limits: &Limits,
    method: &Method,
) -> Result<Option<ResponseHead>, &'static str> {
    let line = if may_be_whole(input, scanned) {
        FIELDS.with_borrow_mut(|fields| status_line(input, limits, fields))?
    } else {
        None
    };
    let too_large = "the head of the response is too large";
    let Some((used, status, version)) = line else {
        return if input.len() > limits.head_bytes_max { Err(too_large) } else { Ok(None) };
    };
    *scanned = 0;
    if used > limits.head_bytes_max {
        return Err(too_large);
    }
    let head = input.split_to(used).freeze();
    let (mut headers, facts) =
        FIELDS.with_borrow(|fields| collect(&head, fields, ADDED_TO_RESPONSES))?;
    let framing = response_framing(&mut headers, &facts, method, (status, version))?;
    let keep_alive = facts.keeps_alive(version)
        && framing != Framing::UntilClose
        // Both at once: RFC 9112 lets it be read as chunked, but then the connection ends.
        && (facts.codings == 0 || facts.lengths == 0);
    Ok(Some(ResponseHead { status, version, headers, framing, keep_alive }))
}

fn status_line(
    input: &[u8],
    limits: &Limits,
    fields: &mut Vec<Field>,
) -> Result<Option<(usize, StatusCode, Version)>, &'static str> {
    let mut note = |parsed: &httparse::Response<'_, '_>, used: usize| {
        note_fields(input, parsed.headers, fields);
        let status = StatusCode::from_u16(parsed.code.unwrap_or_default())
            .map_err(|_error| "invalid status code")?;
        Ok(Some((used, status, version_of(parsed.version))))
    };
    let config = httparse::ParserConfig::default();
    let mut space = [const { MaybeUninit::uninit() }; HEADERS_ON_STACK];
    let mut parsed = httparse::Response::new(&mut []);
    match config.parse_response_with_uninit_headers(&mut parsed, input, &mut space) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(used)) => return note(&parsed, used),
        Err(httparse::Error::TooManyHeaders) => {}
        Err(error) => return Err(response_error(error)),
    }
    let mut space = vec![httparse::EMPTY_HEADER; limits.headers_max.min(HEADERS_MAX)];
    let mut parsed = httparse::Response::new(&mut space);
    match parsed.parse(input) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(used)) => note(&parsed, used),
        Err(error) => Err(response_error(error)),
    }
}

fn response_error(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "invalid header name in the response",
        httparse::Error::HeaderValue => "invalid header value in the response",
        httparse::Error::NewLine => "invalid line end in the response",
        httparse::Error::Status | httparse::Error::Token => "invalid status line",
        httparse::Error::TooManyHeaders => "the response has too many headers",
        httparse::Error::Version => "the response is not HTTP/1",
    }
}

fn response_framing(
    headers: &mut HeaderMap,
    facts: &Facts,
    method: &Method,
    (status, version): (StatusCode, Version),
) -> Result<Framing, &'static str> {
    if facts.bad_length || facts.lengths_differ {
        return Err("invalid Content-Length in the response");
    }
    if facts.lengths > 1 {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(facts.length));
    }
    let bodiless = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || *method == Method::HEAD
        || (*method == Method::CONNECT && status.is_success());
    if facts.codings > 0 {
        headers.remove(header::TRANSFER_ENCODING);
        if bodiless {
            return Ok(Framing::Empty);
        }
        if facts.codings > 1 || !facts.chunked || version == Version::HTTP_10 {
            return Err("unsupported Transfer-Encoding in the response");
        }
        headers.remove(header::CONTENT_LENGTH);
        return Ok(Framing::Chunked);
    }
    if bodiless {
        return Ok(Framing::Empty);
    }
    Ok(if facts.lengths > 0 { Framing::Length(facts.length) } else { Framing::UntilClose })
}

#[cfg(test)]
mod tests;
