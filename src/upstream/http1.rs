//! HTTP/1.1 to servers: one request at a time on a connection of the pool.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::connector::{ConnectError, Stream};
use super::pool::Cell;
use super::spawn;
use crate::http::{Body, BodyError};

/// Headers of one response.
const HEADERS_MAX: usize = 200;
/// Bytes of one response's head.
const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// A connection that is ready for a request.
pub(super) struct Connection {
    sender: SendRequest<Body>,
}

/// A connection for one request, and the way back to its pool.
pub(super) struct Lease {
    pub(super) connection: Connection,
    pub(super) home: Arc<Cell>,
    /// It had been idle: the server may have closed it meanwhile.
    pub(super) reused: bool,
}

/// Why a request got no response.
pub(super) enum Failure {
    /// Not a byte of it was written; here it is again.
    NotSent(Box<Request<Body>>, String),
    /// The server closed without a byte of response.
    Closed(String),
    /// Anything else.
    Broken(String),
    /// No head in time.
    Timeout,
}

/// The bytes of a connection that has left HTTP.
pub(super) type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

impl Connection {
    pub(super) async fn open(stream: Stream) -> Result<Self, ConnectError> {
        let mut builder = Builder::new();
        builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ConnectError::Refused(error.to_string()))?;
        spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "HTTP/1 connection to a server ended");
            }
        });
        Ok(Self { sender })
    }

    /// False once the server has closed it.
    pub(super) fn is_usable(&self) -> bool {
        self.sender.is_ready()
    }
}

impl Lease {
    /// Sends a request and waits for the head of its response. The connection goes back to its pool by itself.
    pub(super) async fn send(
        self,
        request: Request<Body>,
        head_timeout: Option<Duration>,
    ) -> Result<(Response<Body>, Option<Upgraded>), Failure> {
        let Self { connection, home, .. } = self;
        let mut sender = connection.sender;
        let connects = request.method() == ::http::Method::CONNECT;
        let sent = sender.try_send_request(request);
        let result = match head_timeout {
            Some(limit) => timeout(limit, sent).await.map_err(|_elapsed| Failure::Timeout)?,
            None => sent.await,
        };
        let mut response = result.map_err(failure)?;
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS
            || connects && response.status().is_success();
        if switched {
            let upgraded = hyper::upgrade::on(&mut response)
                .await
                .map_err(|error| Failure::Broken(error.to_string()))?;
            return Ok((response.map(|_| Body::Empty), Some(TokioIo::new(upgraded))));
        }
        let way_home = WayHome(Some((Connection { sender }, home)));
        let response = response.map(|body| {
            if body.is_end_stream() {
                drop(way_home);
                return Body::Empty;
            }
            Body::stream(Pooled { body, _way_home: way_home })
        });
        Ok((response, None))
    }
}

fn failure(mut failed: hyper::client::conn::TrySendError<Request<Body>>) -> Failure {
    let message = failed.take_message();
    let error = failed.into_error();
    let reason = match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    match message {
        Some(request) => Failure::NotSent(Box::new(request), reason),
        None if error.is_incomplete_message() => Failure::Closed(reason),
        None => Failure::Broken(reason),
    }
}

/// Brings the connection back once it can take another request; a body that was not read to its end closes it.
struct WayHome(Option<(Connection, Arc<Cell>)>);

impl Drop for WayHome {
    fn drop(&mut self) {
        let Some((mut connection, home)) = self.0.take() else { return };
        if connection.is_usable() {
            home.put_back(connection);
        } else if tokio::runtime::Handle::try_current().is_ok() {
            spawn(async move {
                if connection.sender.ready().await.is_ok() {
                    home.put_back(connection);
                }
            });
        }
    }
}

/// A response's body that holds its connection.
struct Pooled {
    body: Incoming,
    _way_home: WayHome,
}

impl HttpBody for Pooled {
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
