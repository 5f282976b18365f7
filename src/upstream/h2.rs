//! HTTP/2 to servers: one connection carries many requests.
//!
//! hyper's client does the protocol (RFC 9113). 1xx responses do not come through it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::connector::{ConnectError, Stream};
use super::spawn;
use crate::http::{Body, BodyError};

/// Streams before the server has said how many it takes (RFC 9113, 6.5.2: servers should take 100).
const STREAMS_AT_FIRST: usize = 100;
/// Streams on one connection, whatever the server takes.
const STREAMS_MAX: usize = 1000;
/// Bytes of a request's body that wait in front of the server's window.
const SEND_BUFFER: usize = 64 * 1024;
/// Bytes of a response's head.
const HEAD_BYTES_MAX: u32 = 1024 * 1024;

/// Go's time for the answer to a ping.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// Times of HTTP/2 connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// Silence after which the server is pinged; `None`: never.
    pub(super) read_idle_timeout: Option<Duration>,
    /// Time for the answer to a ping.
    pub(super) ping_timeout: Duration,
}

/// A connection that many requests share.
pub(super) struct Multiplexed {
    sender: SendRequest<Body>,
    /// What the server takes at once, as it said last.
    streams_max: Arc<AtomicUsize>,
    /// Each lease and each body that is on its way holds a clone.
    in_use: Arc<()>,
    last_used: Instant,
}

/// The right to one request on a connection.
pub(super) struct Lease {
    sender: SendRequest<Body>,
    in_use: Arc<()>,
}

/// Why a request got no response.
pub(super) enum Failure {
    /// Not a byte of it was written; here it is again.
    NotSent(Box<Request<Body>>, String),
    /// The connection or the stream broke.
    Broken(String),
    /// No head in time.
    Timeout,
}

impl Multiplexed {
    /// Starts HTTP/2 over `stream`. The connection is driven by a task that ends with it.
    pub(super) async fn open(stream: Stream, settings: Settings) -> Result<Self, ConnectError> {
        let mut builder = Builder::new(Executor);
        builder
            .timer(TokioTimer::new())
            .initial_max_send_streams(STREAMS_AT_FIRST)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(HEAD_BYTES_MAX)
            .keep_alive_interval(settings.read_idle_timeout)
            .keep_alive_timeout(settings.ping_timeout)
            .keep_alive_while_idle(true);
        let (sender, mut connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ConnectError::Refused(describe(&error)))?;
        let streams_max = Arc::new(AtomicUsize::new(STREAMS_AT_FIRST));
        let told = streams_max.clone();
        spawn(async move {
            let driven = std::future::poll_fn(|cx| {
                let result = Pin::new(&mut connection).poll(cx);
                told.store(connection.current_max_send_streams(), Ordering::Relaxed);
                result
            });
            if let Err(error) = driven.await {
                tracing::debug!(error = %describe(&error), "HTTP/2 connection to a server ended");
            }
        });
        Ok(Self { sender, streams_max, in_use: Arc::new(()), last_used: Instant::now() })
    }

    /// A lease, unless the connection is closed, going away or full.
    pub(super) fn lease(&mut self, now: Instant) -> Option<Lease> {
        let max = self.streams_max.load(Ordering::Relaxed).min(STREAMS_MAX);
        if !self.open_for_requests() || Arc::strong_count(&self.in_use) > max {
            return None;
        }
        self.last_used = now;
        Some(Lease { sender: self.sender.clone(), in_use: self.in_use.clone() })
    }

    /// False once the server has closed it or said that it goes away.
    pub(super) fn open_for_requests(&self) -> bool {
        self.sender.is_ready()
    }

    /// When it was used last; `None` while it is in use.
    pub(super) fn unused_since(&self) -> Option<Instant> {
        (Arc::strong_count(&self.in_use) == 1).then_some(self.last_used)
    }
}

impl Lease {
    /// Sends `request`, whose URI is absolute, and waits for the head of its response.
    pub(super) async fn send(
        mut self,
        request: Request<Body>,
        head_timeout: Option<Duration>,
    ) -> Result<Response<Body>, Failure> {
        let result = match head_timeout {
            Some(limit) => {
                let (request, whole) = watched(request);
                let sent = self.sender.try_send_request(request);
                within(limit, whole, sent).await.ok_or(Failure::Timeout)?
            }
            None => self.sender.try_send_request(request).await,
        };
        match result {
            Ok(response) => Ok(response.map(|body| counted(body, self.in_use))),
            Err(mut failed) => {
                let message = failed.take_message();
                let reason = describe(&failed.into_error());
                Err(match message {
                    Some(request) => Failure::NotSent(Box::new(request), reason),
                    None => Failure::Broken(reason),
                })
            }
        }
    }
}

/// Waits for an answer, at most `limit` from the moment that the request is `whole`.
async fn within<T>(
    limit: Duration,
    whole: oneshot::Receiver<()>,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => return Some(answer),
        // Whether it was said or the body was dropped: no more will be sent.
        _ = whole => {}
    }
    timeout(limit, answer).await.ok()
}

/// Makes the end of a request's body seen.
fn watched(request: Request<Body>) -> (Request<Body>, oneshot::Receiver<()>) {
    let (ended, whole) = oneshot::channel();
    let request = request.map(|body| {
        if body.is_end_stream() {
            return body;
        }
        Body::stream(Watched { body, _ended: ended })
    });
    (request, whole)
}

/// A request's body; whoever sends it drops it at its end.
struct Watched {
    body: Body,
    _ended: oneshot::Sender<()>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An error with its cause, which hyper leaves out of its text.
fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn counted(body: Incoming, in_use: Arc<()>) -> Body {
    if body.is_end_stream() {
        return Body::Empty;
    }
    Body::stream(Counted { body, _in_use: in_use })
}

/// A response's body: its stream counts until it ends.
struct Counted {
    body: Incoming,
    _in_use: Arc<()>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs hyper's helpers where the connection was made.
#[derive(Clone)]
struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        spawn(future);
    }
}
