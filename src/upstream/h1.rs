//! HTTP/1.1 to a server: one connection, one request at a time.
//!
//! There is no connection task: the request's own future polls the connection, and after the head the response's body
//! does, which also goes on sending what is left of the request. The connection comes back through `give_back` when
//! both are through and nothing speaks against another request.

mod send;

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use ::http::request::Parts;
use ::http::{Method, StatusCode, header};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use self::send::Sending;
use crate::http::h1::{self, Decoder, Limits, ResponseHead, Wire};
use crate::http::{Body, BodyError, Informational, Response, Upgraded};
use crate::timer::Timer;

/// Heads of responses.
const LIMITS: Limits = Limits { head_bytes_max: 1024 * 1024, headers_max: 2000 };
/// Interim responses before the final one.
const INTERIM_MAX: usize = 32;
/// How long the body is held back for a server's 100; then it is sent all the same, as Go does.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);
const READ: usize = 16 * 1024;
const READ_LARGE: usize = 64 * 1024;

/// Why there is no response, or no end of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("sending the request: {0}")]
    Write(#[source] io::Error),
    #[error("reading the response: {0}")]
    Read(#[source] io::Error),
    #[error("the server closed the connection before it answered")]
    Closed,
    #[error("invalid response: {0}")]
    Head(&'static str),
    #[error("no response head in time")]
    HeadTimeout,
    #[error("invalid body of the response: {0}")]
    Body(#[source] h1::DecodeError),
    /// Not the server's fault: the body to send ended early.
    #[error("reading the body of the request: {0}")]
    RequestBody(#[source] BodyError),
}

/// A request that got no response.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// The request's body, whole, where the request may safely be sent again on another connection: either no byte
    /// was written, or a connection that had been idle turned out to be closed and the method may be repeated.
    pub(crate) unsent: Option<Body>,
}

/// What is sent, besides the head.
pub(crate) struct Extras {
    pub(crate) body: Body,
    /// Interim responses go there.
    pub(crate) informational: Option<Informational>,
    /// From the end of the request to the end of the response's head; `None` for as long as it takes.
    pub(crate) head_timeout: Option<Duration>,
}

/// What a server answers.
pub(crate) enum Answer {
    Response(Response),
    /// The protocol changes: 101, or 2xx to CONNECT. The response has no body.
    Switched(Response, Upgraded),
}

/// A connection on which nothing is under way.
pub(crate) struct Connection<IO> {
    /// In a box, since it goes from hand to hand.
    wire: Box<Wire<IO>>,
    used: bool,
}

impl<IO> Connection<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self { wire: Box::new(Wire::new(io, Bytes::new())), used: false }
    }

    /// Gives memory back, for a longer rest.
    pub(crate) fn park(&mut self) {
        self.wire.park();
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<IO> {
    /// False where the server has closed the connection, or has sent something that nobody asked for.
    pub(crate) fn is_alive(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.wire.read.is_empty() && self.wire.poll_fill_lean(&mut cx).is_pending()
    }

    /// Sends a request and waits for the head of its response. Field names and their order are as in `parts`, except
    /// for those that frame the message; hop-by-hop fields are the caller's business. `Host` must be among them,
    /// or the URI must have an authority.
    pub(crate) async fn send<G>(
        self,
        parts: &Parts,
        extras: Extras,
        give_back: G,
    ) -> Result<Answer, Failure>
    where
        G: FnOnce(Self) + Send + Unpin + 'static,
    {
        let Extras { body, informational, head_timeout } = extras;
        let used = self.used;
        let mut talk = Talk {
            wire: self.wire,
            sending: Sending::new(parts, body),
            scanned: 0,
            received: false,
        };
        talk.wire.written = 0;
        talk.sending.put_head(&mut talk.wire, parts);
        match talk.final_head(parts, informational.as_ref(), head_timeout).await {
            Ok(head) => talk.answer(head, parts, give_back),
            Err(error) => {
                let safe = talk.wire.written == 0 || (used && may_be_repeated(parts));
                let unsent = if safe && !talk.received { talk.sending.whole_body() } else { None };
                Err(Failure { error, unsent })
            }
        }
    }
}

impl<IO> fmt::Debug for Connection<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("used", &self.used).finish_non_exhaustive()
    }
}

/// Go's rule for a request that a server may or may not have seen.
fn may_be_repeated(parts: &Parts) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
        || parts.headers.contains_key("idempotency-key")
        || parts.headers.contains_key("x-idempotency-key")
}

/// A request and its response under way.
struct Talk<IO> {
    wire: Box<Wire<IO>>,
    sending: Sending,
    scanned: usize,
    /// Some byte of a response has come.
    received: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Talk<IO> {
    /// The head that is not an interim one.
    async fn final_head(
        &mut self,
        parts: &Parts,
        informational: Option<&Informational>,
        head_timeout: Option<Duration>,
    ) -> Result<ResponseHead, Error> {
        let mut timer = Timer::default();
        let mut stage = Stage::Sending;
        for _ in 0..=INTERIM_MAX {
            let head = poll_fn(|cx| {
                self.poll_timers(cx, &mut timer, &mut stage, head_timeout)?;
                match self.poll_head(cx, &parts.method) {
                    Poll::Pending => self.poll_late(cx, &mut timer, &mut stage, head_timeout),
                    ready @ Poll::Ready(_) => ready,
                }
            })
            .await?;
            match head.status {
                StatusCode::CONTINUE => self.sending.go_on(),
                StatusCode::SWITCHING_PROTOCOLS => return Ok(head),
                status if status.is_informational() => {
                    if let Some(informational) = informational {
                        informational.send(status, &head.headers);
                    }
                }
                _ => return Ok(head),
            }
        }
        Err(Error::Head("too many interim responses"))
    }

    /// Sends what can be sent and sets the timer that the state of the request asks for.
    fn poll_timers(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Timer,
        stage: &mut Stage,
        head_timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let sent = self.sending.poll(cx, &mut self.wire)?;
        let now = match (sent, self.sending.is_held()) {
            (true, _) => Stage::Waiting,
            (false, true) => Stage::Held,
            (false, false) => Stage::Sending,
        };
        if now != *stage {
            *stage = now;
            timer.set_after(match now {
                Stage::Sending => None,
                Stage::Held => Some(CONTINUE_TIMEOUT),
                Stage::Waiting => head_timeout,
            });
        }
        Ok(())
    }

    /// What happens when nothing has come.
    fn poll_late(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Timer,
        stage: &mut Stage,
        head_timeout: Option<Duration>,
    ) -> Poll<Result<ResponseHead, Error>> {
        while timer.poll(cx).is_ready() {
            if *stage == Stage::Waiting {
                return Poll::Ready(Err(Error::HeadTimeout));
            }
            timer.set(None);
            self.sending.go_on();
            self.poll_timers(cx, timer, stage, head_timeout)?;
        }
        Poll::Pending
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
    ) -> Poll<Result<ResponseHead, Error>> {
        loop {
            if !self.wire.read.is_empty() {
                let input = &mut self.wire.read;
                match h1::parse_response(input, &mut self.scanned, &LIMITS, method) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(reason) => return Poll::Ready(Err(Error::Head(reason))),
                }
            }
            match ready!(self.wire.poll_fill(cx, READ)) {
                Ok(0) => return Poll::Ready(Err(self.sending.failure().unwrap_or(Error::Closed))),
                Ok(_) => self.received = true,
                Err(error) => {
                    let error = self.sending.failure().unwrap_or(Error::Read(error));
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// Makes the response of its head and what has come behind it.
    fn answer<G>(
        mut self,
        head: ResponseHead,
        parts: &Parts,
        give_back: G,
    ) -> Result<Answer, Failure>
    where
        G: FnOnce(Connection<IO>) + Send + Unpin + 'static,
    {
        let fail = |error| Failure { error, unsent: None };
        let ResponseHead { status, version, headers, framing, keep_alive } = head;
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = status;
        *response.version_mut() = version;
        *response.headers_mut() = headers;
        let connected = parts.method == Method::CONNECT && status.is_success();
        if connected || status == StatusCode::SWITCHING_PROTOCOLS {
            if !connected && !parts.headers.contains_key(header::UPGRADE) {
                return Err(fail(Error::Head("the protocol changes unasked")));
            }
            if !self.sending.is_sent() {
                return Err(fail(Error::Head("the protocol changes within the request")));
            }
            let wire = *self.wire;
            let upgraded = Upgraded::new(wire.io, wire.read.freeze());
            return Ok(Answer::Switched(response, upgraded));
        }
        self.sending.stop_if_held();
        let mut receiving = Receiving {
            decoder: Decoder::new(framing),
            ahead: VecDeque::new(),
            talk: Some(self),
            give_back: keep_alive.then_some(give_back),
        };
        *response.body_mut() = receiving.whole().map_err(|error| fail(Error::Body(error)))?;
        if matches!(response.body(), Body::Empty) && !receiving.is_end_stream() {
            *response.body_mut() = Body::stream(receiving);
        }
        Ok(Answer::Response(response))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sending,
    /// The body waits for a 100.
    Held,
    /// All is sent.
    Waiting,
}

/// The body of a response whose end had not come with its head.
struct Receiving<IO, G> {
    decoder: Decoder,
    /// Decoded, not taken yet.
    ahead: VecDeque<Frame<Bytes>>,
    /// Until the connection is given back or found useless.
    talk: Option<Talk<IO>>,
    give_back: Option<G>,
}

impl<IO, G> Receiving<IO, G>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    G: FnOnce(Connection<IO>) + Send + Unpin + 'static,
{
    /// The body where all of it is here: most responses are short, and cost no stream. Otherwise what is here is
    /// laid by, and the result is empty.
    fn whole(&mut self) -> Result<Body, h1::DecodeError> {
        let Some(talk) = &mut self.talk else {
            return Ok(Body::Empty);
        };
        let first = self.decoder.decode(&mut talk.wire.read)?;
        let second = match first {
            Some(_) if !self.decoder.is_done() => self.decoder.decode(&mut talk.wire.read)?,
            _ => None,
        };
        if self.decoder.is_done() {
            self.release();
        }
        self.ahead.extend(second);
        match first.map(Frame::into_data) {
            Some(Ok(data)) if self.decoder.is_done() && self.ahead.is_empty() => {
                return Ok(Body::Full(data));
            }
            Some(Ok(data)) => self.ahead.push_front(Frame::data(data)),
            Some(Err(frame)) => self.ahead.push_front(frame),
            None => {}
        }
        Ok(Body::Empty)
    }

    /// The response is through: the connection goes back, or ends here.
    fn release(&mut self) {
        if let (Some(talk), Some(give_back)) = (self.talk.take(), self.give_back.take())
            && talk.sending.is_sent()
            && talk.wire.is_written()
            && talk.wire.read.is_empty()
        {
            give_back(Connection { wire: talk.wire, used: true });
        }
    }
}

impl<IO, G> HttpBody for Receiving<IO, G>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    G: FnOnce(Connection<IO>) + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(frame) = this.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        loop {
            let Some(talk) = &mut this.talk else {
                return Poll::Ready(None);
            };
            if let Err(error) = talk.sending.poll(cx, &mut talk.wire) {
                this.talk = None;
                return Poll::Ready(Some(Err(error.into())));
            }
            let frame = this.decoder.decode(&mut talk.wire.read);
            if this.decoder.is_done() || frame.is_err() {
                if frame.is_err() {
                    this.give_back = None;
                }
                this.release();
                return Poll::Ready(frame.map_err(|error| Error::Body(error).into()).transpose());
            }
            if let Ok(Some(frame)) = frame {
                return Poll::Ready(Some(Ok(frame)));
            }
            let large = this.decoder.left().is_none_or(|left| left > READ as u64);
            let result =
                match ready!(talk.wire.poll_fill(cx, if large { READ_LARGE } else { READ })) {
                    Ok(1..) => continue,
                    Ok(0) => this.decoder.end_of_input().map_err(Error::Body),
                    Err(error) => Err(Error::Read(error)),
                };
            this.talk = None;
            return Poll::Ready(result.err().map(|error| Err(error.into())));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.talk.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.iter().filter_map(Frame::data_ref).map(Bytes::len).sum::<usize>();
        match &self.decoder {
            Decoder::Length(left) => SizeHint::with_exact(left + ahead as u64),
            Decoder::Done if self.ahead.iter().all(Frame::is_data) => {
                SizeHint::with_exact(ahead as u64)
            }
            Decoder::Done | Decoder::Chunked(_) | Decoder::UntilClose => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests;
