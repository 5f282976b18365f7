//! HTTP/2 from clients, after ALPN or by prior knowledge: h2 does the protocol, this module answers the streams.
//!
//! One task has the connection and all its requests: whatever is ready is polled first, then all of it is written at
//! once. A request whose client has gone is dropped on the spot.
//!
//! Extended CONNECT (RFC 8441) is not offered, as in Traefik. Floods of CONTINUATION, SETTINGS, PING and empty DATA
//! frames are stopped by h2 from the limits below.

mod body;
mod head;
mod interim;
mod stream;
mod tunnel;

#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::h2::server::{Builder, Connection, SendResponse};
use ::h2::{Ping, PingPong, Reason, RecvStream};
use ::http::Method;
use ::http::request::Parts;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::CatchUnwind;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

pub(super) use self::head::complete;
pub(crate) use self::interim::Interim;
pub(super) use self::interim::Interims;
use self::stream::{Answering, End, Reply};
use super::{Body, Informational, Response, upgrade};
use crate::timer::Timer;

/// What a client sends first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams that a client has reset and we have not looked at yet: more are a rapid-reset attack (CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 20;
/// Requests that a client has taken back before their response, less those that were answered: the same attack,
/// slower.
const CANCELS_MAX: u32 = 200;
/// Streams that we had to reset because of the client's errors, over a connection's life.
const ERROR_RESETS_MAX: usize = 1024;
/// Bytes of responses that wait for a slow client, per stream.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of requests' bodies that a client may send ahead: for one stream, and for all.
const WINDOW_BYTES: u32 = 1024 * 1024;
/// A ping after this time without a request, so that a dead client does not hold its streams.
const PING_INTERVAL: Duration = Duration::from_mins(1);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// For a client that was told that the connection ends, and has no request under way: to take the rest and to close.
const LINGER: Duration = Duration::from_mins(1);
/// The same for a client that has never asked for anything: there is no rest that it could take.
const LINGER_SILENT: Duration = Duration::from_secs(2);

/// Limits of a client's HTTP/2 connection. `None`: no limit.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) streams_max: u32,
    pub(crate) decoder_table_bytes: u32,
    pub(crate) head_bytes_max: u32,
    /// For a request's body.
    pub(crate) read_timeout: Option<Duration>,
    /// For a response, from the end of the request's head.
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) requests_max: Option<u64>,
    pub(crate) connection_time_max: Option<Duration>,
}

/// Why a connection broke.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Protocol(#[from] ::h2::Error),
    #[error("no answer to a ping")]
    Dead,
    #[error("the client did not close in time")]
    Lingers,
}

/// Serves a client's connection to its end. On `drain`, requests under way still get their responses.
pub(crate) async fn serve<IO, S, F>(
    io: IO,
    settings: Arc<Settings>,
    service: S,
    drain: CancellationToken,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Box<Parts>, Body, Option<Informational>) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let mut drained = pin!(drain.cancelled());
    let mut timer = Timer::default();
    timer.set_after(settings.idle_timeout);
    let shaken = tokio::select! {
        biased;
        shaken = builder(&settings).handshake::<_, Bytes>(io) => shaken,
        () = drained.as_mut() => return,
        () = poll_fn(|cx| timer.poll(cx)) => return debug!("HTTP/2 did not begin in time"),
    };
    let connection = match shaken {
        Ok(connection) => connection,
        Err(error) => return debug!(%error, "HTTP/2 did not begin"),
    };
    let mut server = Server::new(connection, service, settings);
    let ended = poll_fn(|cx| {
        if server.ending.is_none() && drained.as_mut().poll(cx).is_ready() {
            server.end();
        }
        server.poll(cx)
    });
    if let Err(error) = ended.await {
        debug!(%error, "HTTP/2 connection broke");
    }
}

fn builder(settings: &Settings) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(settings.streams_max)
        .header_table_size(settings.decoder_table_bytes)
        .max_header_list_size(settings.head_bytes_max)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(Some(ERROR_RESETS_MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    builder
}

/// A connection with its requests.
struct Server<IO, S, F> {
    connection: Connection<IO, Bytes>,
    service: S,
    settings: Arc<Settings>,
    /// A request that panics ends alone.
    streams: FuturesUnordered<CatchUnwind<AssertUnwindSafe<Answering<F>>>>,
    interims: Arc<Interims>,
    started: Instant,
    begun: u64,
    /// Of the last request that ended when no other was under way.
    idle_since: Instant,
    cancels: u32,
    /// When the client was told that the connection ends.
    ending: Option<Instant>,
    pulse: Pulse,
    timer: Timer,
}

/// Whether the client is alive.
struct Pulse {
    pings: Option<PingPong>,
    /// The time to ping, or to give up where a ping is under way.
    due: Instant,
    pinged: bool,
    /// Requests that had begun when it was looked at last.
    begun: u64,
}

impl<IO, S, F> Server<IO, S, F>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Fn(Box<Parts>, Body, Option<Informational>) -> F,
    F: Future<Output = Response>,
{
    fn new(mut connection: Connection<IO, Bytes>, service: S, settings: Arc<Settings>) -> Self {
        let now = Instant::now();
        let pings = connection.ping_pong();
        Self {
            connection,
            service,
            settings,
            streams: FuturesUnordered::new(),
            interims: Arc::default(),
            started: now,
            begun: 0,
            idle_since: now,
            cancels: 0,
            ending: None,
            pulse: Pulse { pings, due: now + PING_INTERVAL, pinged: false, begun: 0 },
            timer: Timer::default(),
        }
    }

    /// Ready at the end of the connection.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            self.poll_streams(cx);
            let begun = self.begun;
            // Reads what has come and writes what the streams have left.
            while let Poll::Ready(accepted) = self.connection.poll_accept(cx) {
                match accepted {
                    Some(Ok((request, reply))) => self.begin(request, reply),
                    Some(Err(error)) => return Poll::Ready(Err(error.into())),
                    None => return Poll::Ready(Ok(())),
                }
            }
            if self.begun == begun {
                break;
            }
        }
        while self.poll_timer(cx).is_ready() {
            self.look_at_the_clock()?;
        }
        Poll::Pending
    }

    fn begin(&mut self, request: ::http::Request<RecvStream>, reply: SendResponse<Bytes>) {
        self.begun += 1;
        let settings = &self.settings;
        let (mut parts, receive) = request.into_parts();
        let mut tunnel = None;
        let body = if parts.method == Method::CONNECT {
            let (sender, stream) = upgrade::channel();
            parts.extensions.insert(stream);
            tunnel = Some((sender, receive));
            Body::Empty
        } else {
            body::received(receive, &parts.headers, settings.read_timeout)
        };
        let is_head = parts.method == Method::HEAD;
        let interim = self.interims.of(self.begun);
        let informational = Some(Informational::Http2(interim.clone()));
        let response = Box::pin((self.service)(Box::new(parts), body, informational));
        let (reply, limit) = (Reply { reply, interim }, settings.write_timeout);
        let answering = Answering::new(response, reply, tunnel, is_head, limit);
        self.streams.push(AssertUnwindSafe(answering).catch_unwind());
        if settings.requests_max.is_some_and(|max| self.begun >= max) {
            self.end();
        }
    }

    /// Polls all requests that are ready to go on.
    fn poll_streams(&mut self, cx: &mut Context<'_>) {
        if self.streams.is_empty() {
            return;
        }
        // Each stream stops by itself, at the latest when its window is full. With a budget for all of them the last
        // ones would be polled in vain again and again.
        let streams = &mut self.streams;
        let mut next = pin!(tokio::task::unconstrained(poll_fn(|cx| streams.poll_next_unpin(cx))));
        let mut cancels = self.cancels;
        while let Poll::Ready(Some(end)) = next.as_mut().poll(cx) {
            cancels = match end {
                Ok(End::Cancelled) => cancels + 1,
                Ok(End::Answered) => cancels.saturating_sub(1),
                Err(_panic) => {
                    error!("a request has panicked");
                    cancels
                }
            };
        }
        self.cancels = cancels;
        if cancels > CANCELS_MAX {
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            self.streams = FuturesUnordered::new();
            self.ending.get_or_insert_with(Instant::now);
        }
        if self.streams.is_empty() {
            self.interims.clear();
            self.idle_since = Instant::now();
        }
    }

    /// Takes no more requests; those under way go on.
    fn end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(Instant::now());
            self.connection.graceful_shutdown();
        }
    }

    fn linger(&self) -> Duration {
        if self.begun == 0 { LINGER_SILENT } else { LINGER }
    }

    /// Ready when it is time to look at the clock.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.pulse.pinged
            && let Some(pings) = &mut self.pulse.pings
            && pings.poll_pong(cx).is_ready()
        {
            self.pulse.pinged = false;
            self.pulse.due = Instant::now() + PING_INTERVAL;
        }
        let is_idle = self.streams.is_empty();
        let settings = &self.settings;
        let times = match self.ending {
            Some(since) => [is_idle.then(|| since.max(self.idle_since) + self.linger()), None],
            None => [
                settings.idle_timeout.filter(|_| is_idle).map(|limit| self.idle_since + limit),
                settings.connection_time_max.map(|limit| self.started + limit),
            ],
        };
        self.timer.set(times.into_iter().flatten().chain([self.pulse.due]).min());
        self.timer.poll(cx)
    }

    /// Does what its time has come for.
    fn look_at_the_clock(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let is_idle = self.streams.is_empty();
        if let Some(since) = self.ending {
            if is_idle && now >= since.max(self.idle_since) + self.linger() {
                return Err(Error::Lingers);
            }
        } else {
            let passed = |since: Instant, limit: Option<Duration>| {
                limit.is_some_and(|limit| now >= since + limit)
            };
            let is_over = (is_idle && passed(self.idle_since, self.settings.idle_timeout))
                || passed(self.started, self.settings.connection_time_max);
            if is_over {
                self.end();
            }
        }
        self.pulse.beat(now, self.begun)
    }
}

impl Pulse {
    fn beat(&mut self, now: Instant, begun: u64) -> Result<(), Error> {
        if now < self.due {
            return Ok(());
        }
        if self.pinged {
            return Err(Error::Dead);
        }
        let quiet = begun == self.begun;
        self.begun = begun;
        if quiet && let Some(pings) = &mut self.pings {
            // An error means that the connection has ended, and then it says so itself.
            self.pinged = pings.send_ping(Ping::opaque()).is_ok();
        }
        self.due = now + if self.pinged { PING_TIMEOUT } else { PING_INTERVAL };
        Ok(())
    }
}
