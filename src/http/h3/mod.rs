//! HTTP/3 from clients (RFC 9114): quinn does QUIC, this module the frames, the fields and the answers.
//!
//! One task has the connection and all its requests, as with HTTP/2; a request that panics ends alone. There is no
//! dynamic table, no push and no CONNECT. What a client sends is read piece by piece and only as fast as it is used;
//! heads are gathered within a budget that the connection's requests share.

mod body;
mod code;
mod control;
mod frames;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod head;
mod qpack;
mod stream;
mod varint;

#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use ::http::request::Parts;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use quinn::{RecvStream, SendStream, TransportConfig, VarInt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use self::control::Opened;
use self::frames::Error;
use self::stream::End;
use super::h2::Interims;
use super::{Body, Informational, Response};
use crate::timer::Timer;

/// The protocol's name in TLS.
pub(crate) const PROTOCOL: &[u8] = b"h3";

/// Requests under way on one connection, at most. Traefik has the same.
const STREAMS_MAX: u32 = 100;
/// Streams of a client's that belong to no request: three are needed, unknown ones come and go.
const OTHER_STREAMS_MAX: u32 = 16;
/// Of unknown kind, over a connection's life.
const UNKNOWN_STREAMS_MAX: u32 = 100;
/// Requests that a client has taken back before their response, less those that were answered: more are an attack
/// (the rapid reset of HTTP/2).
const CANCELS_MAX: u32 = 200;
/// Bytes of requests' bodies that a client may send ahead: for one stream, and for all.
const RECEIVE_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of responses that the client has not acknowledged, for all streams.
const SEND_WINDOW_BYTES: u64 = 2 * 1024 * 1024;
/// Of heads that have come in part, at least: for all requests of a connection. At most it is one of the longest.
const HEADS_BYTES_MIN: usize = 64 * 1024;
/// Silence after which a client is taken for dead, and what keeps a living one from being silent.
const SILENCE_MAX: Duration = Duration::from_mins(1);
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// A connection that ends takes requests for two round trips more, since some are on their way.
const NOTICE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(20)..=Duration::from_secs(1);
/// The id of a GOAWAY that says only that the connection will end.
const ANY_REQUEST: u64 = (1 << 62) - 4;

/// Limits of a client's HTTP/3 connection. `None`: no limit.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) head_bytes_max: u64,
    /// For a request's head; for its body.
    pub(crate) read_timeout: Option<Duration>,
    /// For a response, from the end of the request's head.
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) requests_max: Option<u64>,
    pub(crate) connection_time_max: Option<Duration>,
}

/// How QUIC is spoken on entry points.
pub(crate) fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(OTHER_STREAMS_MAX.into())
        .stream_receive_window(RECEIVE_WINDOW_BYTES.into())
        .receive_window(RECEIVE_WINDOW_BYTES.into())
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(PING_INTERVAL))
        .max_idle_timeout(SILENCE_MAX.try_into().ok());
    transport
}

/// What the tasks of a connection share.
struct Shared {
    connection: quinn::Connection,
    settings: Arc<Settings>,
    /// Bytes of heads that may be gathered.
    heads: Arc<Semaphore>,
    interims: Arc<Interims>,
    opened: Opened,
}

impl Shared {
    fn close(&self, code: VarInt, reason: &'static str) {
        debug!(code = code.into_inner(), reason, "HTTP/3 connection is closed");
        self.connection.close(code, reason.as_bytes());
    }
}

/// Serves a client's connection to its end. On `drain`, requests under way still get their responses.
pub(crate) async fn serve<S, F>(
    connection: quinn::Connection,
    settings: Arc<Settings>,
    service: S,
    drain: CancellationToken,
) where
    S: Fn(Box<Parts>, Body, Option<Informational>) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let mut drained = pin!(drain.cancelled());
    let mut server = Server::new(connection.clone(), service, settings);
    while !server.is_over() {
        server.set_timer();
        tokio::select! {
            biased;
            () = drained.as_mut(), if server.ending.is_none() => server.end(),
            Some(end) = server.requests.next() => server.ended(end),
            Some(end) = server.others.next() => server.other_ended(&end),
            accepted = connection.accept_bi() => match accepted {
                Ok((send, receive)) => server.begin(send, receive),
                Err(error) => return debug!(%error, "HTTP/3 connection ended"),
            },
            accepted = connection.accept_uni() => match accepted {
                Ok(receive) => server.begin_other(receive),
                Err(error) => return debug!(%error, "HTTP/3 connection ended"),
            },
            () = poll_fn(|cx| server.timer.poll(cx)) => server.look_at_the_clock(),
        }
    }
    server.shared.close(code::NO_ERROR, "");
}

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A connection with its requests.
struct Server<S> {
    shared: Arc<Shared>,
    service: Arc<S>,
    requests: FuturesUnordered<Task<End>>,
    /// The streams that no request has. True for one that means nothing.
    others: FuturesUnordered<Task<Result<bool, Error>>>,
    goaways: mpsc::Sender<u64>,
    started: Instant,
    begun: u64,
    /// The id of the next request's stream.
    next: u64,
    /// Of the last request that ended when no other was under way.
    idle_since: Instant,
    cancels: u32,
    unknown: u32,
    ending: Option<Ending>,
    timer: Timer,
}

/// A connection that takes no more requests, or soon will not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Requests that are on their way are taken until then.
    Announced(Instant),
    /// Those from this id on are not.
    Last(u64),
}

impl<S, F> Server<S>
where
    S: Fn(Box<Parts>, Body, Option<Informational>) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    fn new(connection: quinn::Connection, service: S, settings: Arc<Settings>) -> Self {
        let now = Instant::now();
        let heads = usize::try_from(settings.head_bytes_max).unwrap_or(usize::MAX);
        let heads = heads.clamp(HEADS_BYTES_MIN, Semaphore::MAX_PERMITS);
        let heads = Arc::new(Semaphore::new(heads));
        let (interims, opened) = Default::default();
        let shared = Arc::new(Shared { connection, settings, heads, interims, opened });
        let (goaways, told) = mpsc::channel(2);
        let ours = shared.clone();
        let ours: Task<_> = Box::pin(async { control::send(ours, told).await.map(|()| false) });
        Self {
            shared,
            service: Arc::new(service),
            requests: FuturesUnordered::new(),
            others: std::iter::once(ours).collect(),
            goaways,
            started: now,
            begun: 0,
            next: 0,
            idle_since: now,
            cancels: 0,
            unknown: 0,
            ending: None,
            timer: Timer::default(),
        }
    }

    fn begin(&mut self, mut send: SendStream, mut receive: RecvStream) {
        let id = VarInt::from(send.id()).into_inner();
        if let Some(Ending::Last(first_refused)) = self.ending
            && id >= first_refused
        {
            // An error means that the client has taken it back already.
            drop(send.reset(code::REQUEST_REJECTED));
            drop(receive.stop(code::REQUEST_REJECTED));
            return;
        }
        self.begun += 1;
        self.next = self.next.max(id + 4);
        let (shared, service) = (self.shared.clone(), self.service.clone());
        let request = AssertUnwindSafe(stream::answer(shared, service, send, receive));
        self.requests.push(Box::pin(request.catch_unwind().map(|end| {
            end.unwrap_or_else(|_panic| {
                error!("a request has panicked");
                End::Answered
            })
        })));
        if self.shared.settings.requests_max.is_some_and(|max| self.begun >= max) {
            self.end();
        }
    }

    fn begin_other(&mut self, receive: RecvStream) {
        self.others.push(Box::pin(control::receive(self.shared.clone(), receive)));
    }

    fn ended(&mut self, end: End) {
        self.cancels = match end {
            End::Cancelled => self.cancels + 1,
            End::Answered => self.cancels.saturating_sub(1),
        };
        if self.cancels > CANCELS_MAX {
            self.shared.close(code::EXCESSIVE_LOAD, "too many requests are taken back");
        }
        if self.requests.is_empty() {
            self.idle_since = Instant::now();
            self.shared.interims.clear();
        }
    }

    fn other_ended(&mut self, end: &Result<bool, Error>) {
        match end {
            Ok(means_nothing) => self.unknown += u32::from(*means_nothing),
            Err(Error::Connection(code, reason)) => self.shared.close(*code, reason),
            Err(Error::Gone | Error::Request(..) | Error::TooLong) => {}
        }
        if self.unknown > UNKNOWN_STREAMS_MAX {
            self.shared.close(code::EXCESSIVE_LOAD, "too many streams of unknown kind");
        }
    }

    /// Takes no more requests but those that are on their way; those under way go on.
    fn end(&mut self) {
        if self.ending.is_none() {
            let notice = (2 * self.shared.connection.rtt()).clamp(*NOTICE.start(), *NOTICE.end());
            self.ending = Some(Ending::Announced(Instant::now() + notice));
            self.goaway(ANY_REQUEST);
        }
    }

    fn goaway(&mut self, id: u64) {
        if self.goaways.try_send(id).is_err() {
            debug!("the client takes no GOAWAY: it will see the end of the connection");
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.ending, Some(Ending::Last(_))) && self.requests.is_empty()
    }

    fn set_timer(&mut self) {
        let settings = &self.shared.settings;
        let is_idle = self.requests.is_empty();
        let times = match self.ending {
            Some(Ending::Announced(until)) => [Some(until), None],
            Some(Ending::Last(_)) => [None, None],
            None => [
                settings.idle_timeout.filter(|_| is_idle).map(|limit| self.idle_since + limit),
                settings.connection_time_max.map(|limit| self.started + limit),
            ],
        };
        self.timer.set(times.into_iter().flatten().min());
    }

    /// Does what its time has come for.
    fn look_at_the_clock(&mut self) {
        match self.ending {
            Some(Ending::Announced(_)) => {
                self.ending = Some(Ending::Last(self.next));
                self.goaway(self.next);
            }
            Some(Ending::Last(_)) => {}
            None => self.end(),
        }
    }
}
