//! HTTP/2 from clients, after ALPN or by prior knowledge: hyper serves, this file sets its limits.
//!
//! Extended CONNECT (RFC 8441) is not offered, as in Traefik. Rapid resets and floods of CONTINUATION frames are
//! stopped by h2 from the limits below.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::request::Parts;
use ::http::{Extensions, Method};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::upgrade::{self, Upgraded};
use super::{Body, BodyError, Response};

/// What a client sends first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams that a client has reset and we have not looked at yet: more are a rapid-reset attack (CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 20;
/// Streams that we had to reset because of the client's errors, over a connection's life.
const ERROR_RESETS_MAX: usize = 1024;
/// Bytes of responses that wait for a slow client, per stream.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// A ping after this, so that a dead client does not hold its streams.
const PING_INTERVAL: Duration = Duration::from_mins(1);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

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

/// How busy a connection is.
#[derive(Debug)]
struct Load {
    begun: AtomicU64,
    ended: AtomicU64,
    last_end: Mutex<Instant>,
    exhausted: Notify,
}

impl Load {
    fn idle_since(&self) -> Option<Instant> {
        let busy = self.begun.load(Ordering::Relaxed) != self.ended.load(Ordering::Relaxed);
        (!busy).then(|| *self.last_end.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counts a request as running until it is dropped.
struct Running(Arc<Load>);

impl Running {
    fn begin(load: &Arc<Load>, requests_max: Option<u64>) -> Self {
        let begun = load.begun.fetch_add(1, Ordering::Relaxed) + 1;
        if requests_max.is_some_and(|max| begun >= max) {
            load.exhausted.notify_one();
        }
        Self(load.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        *self.0.last_end.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Serves a client's connection to its end. On `drain`, requests under way still get their responses.
pub(crate) async fn serve<IO, S, F>(
    io: IO,
    settings: Arc<Settings>,
    service: S,
    drain: CancellationToken,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Parts, Body) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let started = Instant::now();
    let load = Arc::new(Load {
        begun: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        last_end: Mutex::new(started),
        exhausted: Notify::new(),
    });
    let answer = service_fn({
        let (load, settings) = (load.clone(), settings.clone());
        move |request: ::http::Request<Incoming>| {
            let running = Running::begin(&load, settings.requests_max);
            let (mut parts, body) = request.into_parts();
            if parts.method == Method::CONNECT {
                offer_tunnel(&mut parts.extensions);
            }
            let response = service(parts, readable(body, settings.read_timeout));
            let deadline = settings.write_timeout.map(|limit| Instant::now() + limit);
            async move {
                let response = in_time(response, deadline).await;
                drop(running);
                response
            }
        }
    });
    let mut connection = pin!(builder(&settings).serve_connection(TokioIo::new(io), answer));
    let mut ending = false;
    loop {
        let check = settings.next_check(&load, started);
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    debug!(%error, "HTTP/2 connection broke");
                }
                return;
            }
            () = drain.cancelled(), if !ending => ending = true,
            () = load.exhausted.notified(), if !ending => ending = true,
            () = at(check), if !ending => ending = settings.is_over(&load, started),
        }
        if ending {
            connection.as_mut().graceful_shutdown();
        }
    }
}

fn builder(settings: &Settings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams_max)
        .header_table_size(settings.decoder_table_bytes)
        .max_header_list_size(settings.head_bytes_max)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(ERROR_RESETS_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

impl Settings {
    /// When to look again whether the connection has been idle, or has lived, for too long.
    fn next_check(&self, load: &Load, started: Instant) -> Option<Instant> {
        let idle =
            self.idle_timeout.map(|limit| load.idle_since().unwrap_or_else(Instant::now) + limit);
        let old = self.connection_time_max.map(|limit| started + limit);
        idle.into_iter().chain(old).min()
    }

    fn is_over(&self, load: &Load, started: Instant) -> bool {
        let idle = self
            .idle_timeout
            .zip(load.idle_since())
            .is_some_and(|(limit, since)| since.elapsed() >= limit);
        idle || self.connection_time_max.is_some_and(|limit| started.elapsed() >= limit)
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Puts our own handle in the place of hyper's: the stream of a CONNECT, once it was answered with a 2xx.
fn offer_tunnel(extensions: &mut Extensions) {
    let Some(theirs) = extensions.remove::<hyper::upgrade::OnUpgrade>() else { return };
    let (sender, ours) = upgrade::channel();
    extensions.insert(ours);
    TokioExecutor::new().execute(async move {
        if let Ok(tunnel) = theirs.await {
            sender.give(Upgraded::new(TokioIo::new(tunnel), Bytes::new()));
        }
    });
}

/// A request's body, which must be sent within `limit`.
fn readable(body: Incoming, limit: Option<Duration>) -> Body {
    match limit {
        _ if body.is_end_stream() => Body::Empty,
        Some(limit) => Body::stream(Timed::new(Body::Incoming(body), Instant::now() + limit)),
        None => Body::Incoming(body),
    }
}

/// The response, which must be taken before `deadline`; an error resets the stream.
async fn in_time(
    response: impl Future<Output = Response>,
    deadline: Option<Instant>,
) -> Result<Response, Elapsed> {
    let Some(deadline) = deadline else { return Ok(response.await) };
    let response = timeout_at(deadline, response).await?;
    Ok(response.map(|body| Body::stream(Timed::new(body, deadline))))
}

/// A body that fails at its deadline.
struct Timed {
    body: Body,
    deadline: Pin<Box<Sleep>>,
}

impl Timed {
    fn new(body: Body, deadline: Instant) -> Self {
        Self { body, deadline: Box::pin(sleep_until(deadline)) }
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // First, so that a sender who never pauses does not escape.
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err("the time limit of the body has passed".into())));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
