//! A client's HTTP/1 connection: one request after the other, each answered by a [`Service`].
//!
//! One task polls the handler and the connection in turn. So a handler whose client has gone is dropped at once, and
//! neither bodies nor interim responses need a channel.

mod exchange;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::encode::put_status_line;
use super::framing::Decoder;
use super::head::{self, Limits, Refusal, RequestHead};
use super::incoming::Cell;
use super::wire::Wire;
use crate::http::upgrade::{self, Upgraded};
use crate::http::{Body, Informational, Response};
use crate::timer::Timer;

/// Body of a request that nobody reads is thrown away up to this size, to keep the connection.
const DISCARD_BYTES_MAX: u64 = 256 * 1024;
/// For at most so long.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a client that may still be sending has to take its last response, before it gets a reset.
const LINGER: Duration = Duration::from_millis(500);

/// Limits of a connection. `None` means none.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// A larger head is answered with 431. Go's default: 1 MiB.
    pub(crate) head_bytes_max: usize,
    /// A head with more fields is answered with 431.
    pub(crate) headers_max: usize,
    /// From the first byte of a request (of the connection, for its first) to the last of its body.
    pub(crate) read_timeout: Option<Duration>,
    /// From the end of a request's head to the end of its response.
    pub(crate) write_timeout: Option<Duration>,
    /// Between two requests.
    pub(crate) idle_timeout: Option<Duration>,
    /// The response to this many requests says `Connection: close`.
    pub(crate) requests_max: Option<u64>,
    /// Responses after this age of the connection say `Connection: close`.
    pub(crate) connection_time_max: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            head_bytes_max: 1024 * 1024,
            headers_max: 1000,
            read_timeout: Some(Duration::from_mins(1)),
            write_timeout: None,
            idle_timeout: Some(Duration::from_mins(3)),
            requests_max: None,
            connection_time_max: None,
        }
    }
}

/// Answers requests. The future is dropped when the client goes away.
pub(crate) trait Service {
    /// `interim` is present where the client understands interim responses.
    fn call(
        &self,
        parts: Box<Parts>,
        body: Body,
        interim: Option<Informational>,
    ) -> impl Future<Output = Response> + Send;
}

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// In order, between two requests.
    Closed,
    /// Nothing came in time, or the response was not taken in time.
    TimedOut,
    /// The client broke off.
    ClientGone,
    /// What the client sent was refused with this status.
    Refused(u16),
    /// A response could not be completed.
    Aborted,
    /// The stream was handed over.
    Upgraded,
}

/// What comes after a response.
enum After {
    KeepAlive,
    Close,
    Upgrade(upgrade::Sender),
}

/// Serves a connection to its end. `already_read` is what was read of `io` before, to tell protocols apart. Once
/// `drain` is cancelled, the request in flight is the last.
pub(crate) async fn serve<IO, S>(
    io: IO,
    already_read: Bytes,
    settings: Arc<Settings>,
    service: S,
    drain: CancellationToken,
) -> Ended
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let mut connection = Connection::new(Wire::new(io, already_read), settings);
    let mut draining = std::pin::pin!(drain.cancelled());
    loop {
        connection.begin_wait();
        let next = poll_fn(|cx| connection.poll_head(cx, draining.as_mut())).await;
        let head = match next {
            Ok(head) => head,
            Err(NoRequest::Ended(ended)) => {
                connection.close(false).await;
                return ended;
            }
            Err(NoRequest::Refused(refusal)) => {
                connection.refuse(refusal).await;
                return Ended::Refused(refusal.status.as_u16());
            }
        };
        match connection.exchange(head, &service, &drain).await {
            Ok(After::KeepAlive) => {}
            Ok(After::Close) => {
                let unread = connection.broken || !connection.decoder.is_done();
                connection.close(unread).await;
                return Ended::Closed;
            }
            Ok(After::Upgrade(sender)) => {
                let Connection { wire, .. } = connection;
                sender.give(Upgraded::new(wire.io, wire.read.freeze()));
                return Ended::Upgraded;
            }
            Err(ended) => return ended,
        }
    }
}

enum NoRequest {
    Ended(Ended),
    Refused(Refusal),
}

struct Connection<IO> {
    wire: Wire<IO>,
    settings: Arc<Settings>,
    /// Shared with the handles of the request in flight.
    cell: Arc<Cell>,
    timer: Timer,
    started: Instant,
    requests: u64,
    /// How much of an incomplete head was looked at.
    scanned: usize,
    /// Of the body of the request in flight.
    decoder: Decoder,
    /// The client waits for a 100 before it sends the body.
    expects_continue: bool,
    /// The final head was put.
    head_put: bool,
    /// The request could not be read to its end; nothing that follows can be understood.
    broken: bool,
    read_deadline: Option<Instant>,
    write_deadline: Option<Instant>,
}

impl<IO> Connection<IO> {
    fn new(wire: Wire<IO>, settings: Arc<Settings>) -> Self {
        Self {
            wire,
            settings,
            cell: Arc::default(),
            timer: Timer::default(),
            started: Instant::now(),
            requests: 0,
            scanned: 0,
            decoder: Decoder::Done,
            expects_continue: false,
            head_put: false,
            broken: false,
            read_deadline: None,
            write_deadline: None,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            head_bytes_max: self.settings.head_bytes_max,
            headers_max: self.settings.headers_max,
        }
    }

    /// Starts the clock for the next head.
    fn begin_wait(&mut self) {
        self.read_deadline = None;
        if self.requests == 0 || !self.wire.read.is_empty() {
            self.begin_read();
        } else {
            self.timer.set_after(self.settings.idle_timeout);
        }
    }

    /// Starts the clock for the whole of a request. Where there is no read timeout, at least its head has to come
    /// before a connection would count as idle.
    fn begin_read(&mut self) {
        let read = self.settings.read_timeout;
        self.timer.set_after(read.or(self.settings.idle_timeout));
        self.read_deadline = read.and_then(|_| self.timer.deadline());
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Waits for the next head.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        mut draining: Pin<&mut WaitForCancellationFuture<'_>>,
    ) -> Poll<Result<RequestHead, NoRequest>> {
        loop {
            if !self.wire.read.is_empty() {
                let limits = self.limits();
                match head::request(&mut self.wire.read, &mut self.scanned, &limits) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(refusal) => return Poll::Ready(Err(NoRequest::Refused(refusal))),
                }
            }
            match self.wire.poll_fill_lean(cx) {
                Poll::Ready(Ok(count @ 1..)) => {
                    // The first bytes of a request after a pause.
                    if count == self.wire.read.len() && self.requests > 0 {
                        self.begin_read();
                    }
                }
                Poll::Ready(Ok(0)) if self.wire.read.is_empty() => {
                    return Poll::Ready(Err(NoRequest::Ended(Ended::Closed)));
                }
                Poll::Ready(Ok(0) | Err(_)) => {
                    return Poll::Ready(Err(NoRequest::Ended(Ended::ClientGone)));
                }
                Poll::Pending => {
                    self.wire.park();
                    if self.wire.read.is_empty() && draining.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Err(NoRequest::Ended(Ended::Closed)));
                    }
                    ready!(self.timer.poll(cx));
                    return Poll::Ready(Err(NoRequest::Ended(Ended::TimedOut)));
                }
            }
        }
    }

    /// Answers what cannot be understood, and ends the connection.
    async fn refuse(&mut self, refusal: Refusal) {
        let reason = refusal.status.canonical_reason().unwrap_or_default();
        let body = format!("{} {reason}", refusal.status.as_str());
        let out = self.wire.flat();
        put_status_line(out, http::Version::HTTP_11, refusal.status);
        out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\n");
        super::encode::put_length(out, body.len() as u64);
        out.extend_from_slice(b"Connection: close\r\n\r\n");
        out.extend_from_slice(body.as_bytes());
        tracing::debug!(
            status = refusal.status.as_u16(),
            reason = refusal.reason,
            "request refused"
        );
        self.close(true).await;
    }

    /// Writes what is left and ends the connection. A client that may still be sending is listened to for a moment:
    /// a reset could overtake the response.
    async fn close(&mut self, unread: bool) {
        self.timer.set_after(Some(LINGER));
        let mut shut = false;
        let mut discarded = 0;
        poll_fn(|cx| {
            let ended = self.poll_close(cx, &mut shut, unread.then_some(&mut discarded));
            if ended.is_ready() { Poll::Ready(()) } else { self.timer.poll(cx) }
        })
        .await;
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        shut: &mut bool,
        discarded: Option<&mut u64>,
    ) -> Poll<std::io::Result<()>> {
        if !*shut {
            ready!(self.wire.poll_flush(cx))?;
            ready!(self.wire.poll_shutdown(cx))?;
            *shut = true;
        }
        if let Some(discarded) = discarded {
            while *discarded < DISCARD_BYTES_MAX {
                self.wire.read.clear();
                match ready!(self.wire.poll_fill_lean(cx))? {
                    0 => break,
                    count => *discarded += count as u64,
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
