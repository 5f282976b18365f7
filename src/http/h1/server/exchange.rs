//! One request and its response.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Version, header, response};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{After, Connection, DISCARD_BYTES_MAX, DISCARD_TIME_MAX, Ended, Service};
use crate::http::h1::encode::{BodyEncoder, HEAD_WRITE, put_field, put_length, put_status_line};
use crate::http::h1::framing::{Decoder, Framing};
use crate::http::h1::head::{RequestHead, parse_length};
use crate::http::h1::incoming::{Fault, Incoming, Interim};
use crate::http::{Body, Informational, Response, date, upgrade};

/// Room that is made to read a part of a body.
const BODY_READ: usize = 16 * 1024;
/// The same, where much is to come.
const BODY_READ_LARGE: usize = 64 * 1024;

/// What is remembered of a request when its head has gone to the handler.
struct Meta {
    version: Version,
    head: bool,
    connect: bool,
    keep_alive: bool,
}

/// What the handler gets.
struct Call {
    parts: Box<Parts>,
    body: Body,
    interim: Option<Informational>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Has a request answered, and writes the answer.
    pub(super) async fn exchange<S: Service>(
        &mut self,
        head: RequestHead,
        service: &S,
        drain: &CancellationToken,
    ) -> Result<After, Ended> {
        let (Call { parts, body, interim }, meta, upgrade) = self.begin(head);
        let response = {
            let mut call = pin!(service.call(parts, body, interim));
            poll_fn(|cx| self.poll_response(cx, call.as_mut())).await?
        };
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS
            || (meta.connect && response.status().is_success());
        let (parts, mut body) = match upgrade {
            Some(upgrade) if switches => {
                self.put_switch(&response)?;
                return self.switch(upgrade).await;
            }
            _ if response.status().is_informational() => bad_gateway().into_parts(),
            _ => response.into_parts(),
        };
        let (mut encoder, keep_alive) = self.put_head(&parts, &body, &meta, drain);
        poll_fn(|cx| self.poll_write(cx, &mut encoder, &mut body)).await?;
        drop(body);
        self.finish(keep_alive).await
    }

    /// Sets the connection to a new request, and makes what the handler gets.
    fn begin(&mut self, head: RequestHead) -> (Call, Meta, Option<upgrade::Sender>) {
        let RequestHead { mut parts, framing, keep_alive, expect_continue, upgrade } = head;
        let meta = Meta {
            version: parts.version,
            head: parts.method == Method::HEAD,
            connect: parts.method == Method::CONNECT,
            keep_alive,
        };
        self.requests += 1;
        self.head_put = false;
        self.wire.written = 0;
        self.decoder = Decoder::new(framing);
        let modern = meta.version == Version::HTTP_11;
        let number = self.cell.lock().begin(modern);
        let body = self.take_whole_body(framing).unwrap_or_else(|| {
            let length = self.decoder.left();
            Body::Client(Incoming::new(self.cell.clone(), number, length))
        });
        self.expects_continue = expect_continue && !self.decoder.is_done();
        let now = self.settings.write_timeout.map(|limit| (Instant::now(), limit));
        self.write_deadline = now.and_then(|(now, limit)| now.checked_add(limit));
        self.set_timer();
        let interim = modern.then(|| Informational::Http1(Interim::new(self.cell.clone(), number)));
        let sender = (upgrade || meta.connect).then(|| {
            let (sender, on_upgrade) = upgrade::channel();
            parts.extensions.insert(on_upgrade);
            sender
        });
        (Call { parts, body, interim }, meta, sender)
    }

    /// The body, where it has come with the head or where there is none.
    fn take_whole_body(&mut self, framing: Framing) -> Option<Body> {
        match framing {
            Framing::Empty | Framing::Length(0) => Some(Body::Empty),
            Framing::Length(length) if self.wire.read.len() as u64 >= length => {
                let length = usize::try_from(length).ok()?;
                self.decoder = Decoder::Done;
                Some(Body::Full(self.wire.read.split_to(length).freeze()))
            }
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => None,
        }
    }

    /// The read timeout counts until the request is here, the write timeout until the response is gone.
    fn set_timer(&mut self) {
        if self.decoder.is_done() {
            self.read_deadline = None;
        }
        let deadline = match (self.read_deadline, self.write_deadline) {
            (Some(read), Some(write)) => Some(read.min(write)),
            (read, write) => read.or(write),
        };
        self.timer.set(deadline);
    }

    fn poll_response<F: Future<Output = Response>>(
        &mut self,
        cx: &mut Context<'_>,
        mut call: Pin<&mut F>,
    ) -> Poll<Result<Response, Ended>> {
        loop {
            if let Poll::Ready(response) = call.as_mut().poll(cx) {
                return Poll::Ready(Ok(response));
            }
            if !self.poll_input(cx)? {
                return Poll::Pending;
            }
        }
    }

    /// Sees to all that is not the response: interim heads, the request's body, timeouts, and whether the client is
    /// still there. True where the handler has something new to look at.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let (wanted, interim) = {
            let mut state = self.cell.lock();
            state.attend(cx);
            (state.wanted, std::mem::take(&mut state.interim))
        };
        if !self.head_put {
            if self.expects_continue && wanted {
                self.expects_continue = false;
                self.wire.flat().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            self.wire.flat().extend_from_slice(&interim);
            if matches!(self.wire.poll_flush(cx), Poll::Ready(Err(_))) {
                return Err(Ended::ClientGone);
            }
        }
        if self.timer.poll(cx).is_ready() {
            return self.on_deadline();
        }
        if self.broken {
            return Ok(false);
        }
        if self.decoder.is_done() {
            return self.poll_gone(cx);
        }
        if wanted { self.poll_body(cx) } else { Ok(false) }
    }

    fn on_deadline(&mut self) -> Result<bool, Ended> {
        if self.write_deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Ended::TimedOut);
        }
        self.broken = true;
        self.read_deadline = None;
        self.set_timer();
        self.cell.lock().finish(Err(Fault::TooSlow));
        Ok(true)
    }

    /// Looks whether the client has gone. What it sends ahead is read once; then the look-out ends.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        if self.wire.read.is_empty() {
            match self.wire.poll_fill_lean(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(Ended::ClientGone),
                Poll::Ready(Ok(_)) | Poll::Pending => {}
            }
        }
        Ok(false)
    }

    /// Reads the next part of the request's body for the handler.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        loop {
            match self.decoder.decode(&mut self.wire.read) {
                Ok(Some(frame)) => {
                    self.cell.lock().deliver(frame);
                    self.set_timer();
                    return Ok(true);
                }
                Ok(None) if self.decoder.is_done() => {
                    self.cell.lock().finish(Ok(()));
                    self.set_timer();
                    return Ok(true);
                }
                Ok(None) => {}
                Err(error) => {
                    self.broken = true;
                    self.cell.lock().finish(Err(Fault::Decode(error)));
                    return Ok(true);
                }
            }
            let large = self.decoder.left().is_some_and(|left| left > BODY_READ as u64);
            let room = if large { BODY_READ_LARGE } else { BODY_READ };
            match self.wire.poll_fill(cx, room) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(0) | Err(_)) => return Err(Ended::ClientGone),
                Poll::Ready(Ok(_)) => {}
            }
        }
    }

    /// Puts the final head. Gives how the body is to be written, and whether the connection stays.
    fn put_head(
        &mut self,
        parts: &response::Parts,
        body: &Body,
        meta: &Meta,
        drain: &CancellationToken,
    ) -> (BodyEncoder, bool) {
        self.head_put = true;
        let interim = self.cell.lock().close_interim();
        let (encoder, length) = body_encoder(parts, body, meta);
        let mut keep_alive = meta.keep_alive
            && encoder != BodyEncoder::UntilClose
            && !drain.is_cancelled()
            && self.may_stay();
        let mut dated = false;
        let out = self.wire.flat();
        out.reserve(HEAD_WRITE);
        out.extend_from_slice(&interim);
        put_status_line(out, meta.version, parts.status);
        for (name, value) in &parts.headers {
            if *name == header::CONNECTION {
                keep_alive &= !says_close(value);
            } else if *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING {
                dated |= *name == header::DATE;
                put_field(out, name, value.as_bytes());
            }
        }
        if !dated {
            date::put(out);
        }
        if let Some(length) = length {
            put_length(out, length);
        }
        if encoder == BodyEncoder::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if !keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if meta.version == Version::HTTP_10 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
        (encoder, keep_alive)
    }

    /// False where the connection's limits are reached, or where the rest of the request is in the way.
    fn may_stay(&self) -> bool {
        let settings = &self.settings;
        let unread = if self.decoder.is_done() {
            false
        } else {
            let far = self.decoder.left().is_some_and(|left| left > DISCARD_BYTES_MAX);
            self.expects_continue || (far && self.cell.lock().dropped)
        };
        !unread
            && !self.broken
            && settings.requests_max.is_none_or(|max| self.requests < max)
            && settings.connection_time_max.is_none_or(|max| self.started.elapsed() < max)
    }

    /// Writes the response: as much at once as is there, and nothing is held back.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        encoder: &mut BodyEncoder,
        body: &mut Body,
    ) -> Poll<Result<(), Ended>> {
        loop {
            loop {
                let mut waits = false;
                if *encoder != BodyEncoder::Done && self.wire.takes_more() {
                    match Pin::new(&mut *body).poll_frame(cx) {
                        Poll::Ready(Some(Ok(frame))) => {
                            let last = body.is_end_stream();
                            encoder
                                .put(&mut self.wire, frame, last)
                                .map_err(|_error| Ended::Aborted)?;
                            continue;
                        }
                        Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Ended::Aborted)),
                        Poll::Ready(None) => {
                            encoder.end(&mut self.wire).map_err(|_error| Ended::Aborted)?;
                        }
                        Poll::Pending => waits = true,
                    }
                }
                match self.wire.poll_flush(cx) {
                    Poll::Ready(Ok(())) if *encoder == BodyEncoder::Done => {
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(Ok(())) if !waits => {}
                    Poll::Ready(Ok(())) | Poll::Pending => break,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Ended::ClientGone)),
                }
            }
            if !self.poll_input(cx)? {
                return Poll::Pending;
            }
        }
    }

    /// Makes the connection ready for the next request, or finds that it cannot be.
    async fn finish(&mut self, keep_alive: bool) -> Result<After, Ended> {
        // The handles of this request are dead from here.
        self.cell.lock().begin(false);
        if !keep_alive || self.broken {
            return Ok(After::Close);
        }
        if !self.decoder.is_done() {
            self.timer.set_after(Some(DISCARD_TIME_MAX));
            let mut discarded = 0;
            let discard = poll_fn(|cx| match self.poll_discard(cx, &mut discarded) {
                Poll::Pending => self.timer.poll(cx).map(|()| false),
                ready @ Poll::Ready(_) => ready,
            });
            if !discard.await {
                return Ok(After::Close);
            }
        }
        Ok(After::KeepAlive)
    }

    /// Throws the rest of the request away; false where it is too much or cannot be understood.
    fn poll_discard(&mut self, cx: &mut Context<'_>, discarded: &mut u64) -> Poll<bool> {
        loop {
            let before = self.wire.read.len();
            let frame = self.decoder.decode(&mut self.wire.read);
            *discarded += before.saturating_sub(self.wire.read.len()) as u64;
            match frame {
                Err(_) => return Poll::Ready(false),
                Ok(_) if self.decoder.is_done() => return Poll::Ready(true),
                Ok(_) if *discarded > DISCARD_BYTES_MAX => return Poll::Ready(false),
                Ok(Some(_)) => continue,
                Ok(None) => {}
            }
            match ready!(self.wire.poll_fill(cx, BODY_READ)) {
                Ok(0) | Err(_) => return Poll::Ready(false),
                Ok(_) => {}
            }
        }
    }

    /// Puts the head that ends HTTP on this connection.
    fn put_switch(&mut self, response: &Response) -> Result<(), Ended> {
        // What follows the body could not be told from the new protocol.
        if !self.decoder.is_done() {
            return Err(Ended::Aborted);
        }
        self.head_put = true;
        self.cell.lock().begin(false);
        let out = self.wire.flat();
        put_status_line(out, Version::HTTP_11, response.status());
        for (name, value) in response.headers() {
            if *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING {
                put_field(out, name, value.as_bytes());
            }
        }
        if !response.headers().contains_key(header::DATE) {
            date::put(out);
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Writes it.
    async fn switch(&mut self, upgrade: upgrade::Sender) -> Result<After, Ended> {
        poll_fn(|cx| match self.wire.poll_flush(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(|_error| Ended::ClientGone)),
            Poll::Pending => self.timer.poll(cx).map(|()| Err(Ended::TimedOut)),
        })
        .await?;
        Ok(After::Upgrade(upgrade))
    }
}

/// A handler switches protocols although the client did not ask.
fn bad_gateway() -> Response {
    let mut response = Response::new(Body::from("Bad Gateway"));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

/// A line of `Connection`.
fn says_close(value: &HeaderValue) -> bool {
    let mut options = value.as_bytes().split(|&byte| byte == b',');
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// How the body is written, and the `Content-Length` to write: RFC 9112, section 6.
fn body_encoder(parts: &response::Parts, body: &Body, meta: &Meta) -> (BodyEncoder, Option<u64>) {
    let declared = || parts.headers.get(header::CONTENT_LENGTH).and_then(parse_length);
    let known = body.size_hint().exact();
    if parts.status == StatusCode::NO_CONTENT {
        return (BodyEncoder::Done, None);
    }
    if meta.head || parts.status == StatusCode::NOT_MODIFIED {
        // The length of what a GET would have given; an empty body here says nothing of it.
        return (BodyEncoder::Done, declared().or(known.filter(|&length| length > 0)));
    }
    match known.or_else(declared) {
        Some(0) => (BodyEncoder::Done, Some(0)),
        Some(length) => (BodyEncoder::Length(length), Some(length)),
        None if meta.version == Version::HTTP_10 => (BodyEncoder::UntilClose, None),
        None => (BodyEncoder::Chunked, None),
    }
}
