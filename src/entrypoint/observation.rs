//! Follows a request to the end of its response and tells the observer then. Without an observer it costs nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use ::http::request::Parts;
use ::http::{Method, Uri, Version};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::http::{Body, BodyError, Exchange, Response};
use crate::observe::trace::Recorded;
use crate::observe::{Observer, Protocol, Summary, Tls, grpc_status};
use crate::plan::{Observed, Routed};

/// nginx's code for a client that went away.
const CLIENT_CLOSED: u16 = 499;
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A request that is observed. Its end is its drop: whatever ends the request, it is told once.
pub(super) struct Observation {
    inner: Option<Box<Inner>>,
    /// Present where spans of it are recorded.
    recorded: Option<Box<Recorded>>,
}

struct Inner {
    observer: Arc<dyn Observer>,
    exchange: Arc<Exchange>,
    method: Method,
    uri: Option<Uri>,
    version: Version,
    host: Option<HeaderValue>,
    forwarded_for: Option<HeaderValue>,
    protocol: Protocol,
    grpc_status: Option<u16>,
    request_headers: Option<HeaderMap>,
    response_headers: Option<HeaderMap>,
    /// 0 until there is a response.
    status: u16,
    response_bytes: u64,
    observed: Observed,
    internal: bool,
}

impl Observation {
    /// Begins with the request as it came.
    pub(super) fn begin(
        observer: Option<&Arc<dyn Observer>>,
        observed: Observed,
        exchange: &Arc<Exchange>,
        parts: &Parts,
    ) -> Self {
        let inner = observer.map(|observer| {
            Box::new(Inner {
                observer: observer.clone(),
                exchange: exchange.clone(),
                method: parts.method.clone(),
                uri: observer.wants_target().then(|| parts.uri.clone()),
                version: parts.version,
                host: None,
                forwarded_for: None,
                protocol: Protocol::of(&parts.headers),
                grpc_status: None,
                request_headers: observer.wants_headers().then(|| parts.headers.clone()),
                response_headers: None,
                status: 0,
                response_bytes: 0,
                observed,
                internal: false,
            })
        });
        Self { inner, recorded: None }
    }

    /// The spans of the request, where it is recorded.
    pub(super) fn record(&mut self, recorded: Option<Box<Recorded>>) {
        self.recorded = recorded;
    }

    /// Counts the request's body, at once where its size is known.
    pub(super) fn count_request(&self, body: Body) -> Body {
        let Some(inner) = &self.inner else { return body };
        match body.size_hint().exact() {
            Some(0) => body,
            Some(bytes) => {
                inner.exchange.add_request_bytes(bytes);
                body
            }
            None => Body::stream(CountedRequest { body, exchange: inner.exchange.clone() }),
        }
    }

    /// The host, once it stands in its header, and the addresses before the client's, once they are believed.
    pub(super) fn host(&mut self, headers: &HeaderMap) {
        if let Some(inner) = &mut self.inner
            && inner.observer.wants_target()
        {
            inner.host = headers.get(HOST).cloned();
            inner.forwarded_for = headers.get(&FORWARDED_FOR).cloned();
        }
    }

    /// The router that takes the request.
    pub(super) fn routed(&mut self, router: &Routed) {
        let Some(inner) = &mut self.inner else { return };
        let route = &router.value;
        inner.exchange.record().enter(&router.name, &route.service, route.leads_on);
        inner.observed = route.observed;
        inner.internal = route.internal;
    }

    /// The response as the client gets it: the observation ends with its body.
    pub(super) fn answered(mut self, response: Response) -> Response {
        if let Some(recorded) = &mut self.recorded {
            recorded.answered(response.status(), response.headers());
        }
        let is_head = self.inner.as_ref().is_some_and(|inner| inner.method == Method::HEAD);
        if let Some(inner) = &mut self.inner {
            inner.status = response.status().as_u16();
            if inner.protocol.has_grpc_status() {
                inner.grpc_status = grpc_status(response.headers());
            }
            if inner.observer.wants_headers() {
                inner.response_headers = Some(response.headers().clone());
            }
        } else if self.recorded.is_none() {
            return response;
        }
        match response.body() {
            Body::Empty => response,
            _ if is_head => response,
            Body::Full(bytes) => {
                if let Some(inner) = &mut self.inner {
                    inner.response_bytes = bytes.len() as u64;
                }
                response
            }
            Body::Client(_) | Body::Stream(_) => {
                response.map(|body| Body::stream(CountedResponse { body, observation: self }))
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !(self.observed.access_logs || self.observed.metrics) {
            return;
        }
        let connection = &self.exchange.connection;
        let record = self.exchange.record();
        self.observer.finished(&Summary {
            entry_point: &connection.entry_point,
            client: connection.remote,
            above: &record.above,
            router: record.router.as_ref(),
            service: record.service.as_ref(),
            muxer: record.muxer.as_ref(),
            server_url: record.server_url.as_ref(),
            server_address: record.server_address.as_ref(),
            username: record.username.as_deref(),
            retry_attempts: record.retry_attempts,
            origin_status: record.origin_status,
            origin_duration: record.origin_duration,
            method: &self.method,
            uri: self.uri.as_ref(),
            version: self.version,
            host: self.host.as_ref(),
            forwarded_for: self.forwarded_for.as_ref(),
            protocol: self.protocol,
            grpc_status: self.grpc_status,
            request_headers: self.request_headers.as_ref(),
            response_headers: self.response_headers.as_ref(),
            status: if self.status == 0 { CLIENT_CLOSED } else { self.status },
            request_bytes: self.exchange.request_bytes(),
            response_bytes: self.response_bytes,
            duration: self.exchange.started.elapsed(),
            tls: connection.tls.as_ref().map(|tls| Tls {
                version: tls.version,
                cipher: tls.cipher,
                client_certificate: tls.peer_certificates.first().map(AsRef::as_ref),
            }),
            trace: self.exchange.trace.get().copied(),
            access_logs: self.observed.access_logs,
            metrics: self.observed.metrics,
            internal: self.internal,
        });
    }
}

/// A request's body that counts what is taken of it.
struct CountedRequest {
    body: Body,
    exchange: Arc<Exchange>,
}

impl HttpBody for CountedRequest {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.exchange.add_request_bytes(data_bytes(frame));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body that counts what is taken of it, and holds the observation until its end.
struct CountedResponse {
    body: Body,
    observation: Observation,
}

impl HttpBody for CountedResponse {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(inner) = &mut self.observation.inner {
                    inner.response_bytes += data_bytes(frame);
                    if let Some(trailers) = frame.trailers_ref() {
                        inner.grpc_status = grpc_status(trailers).or(inner.grpc_status);
                    }
                }
            }
            Poll::Ready(None | Some(Err(_))) => {
                self.observation = Observation { inner: None, recorded: None };
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn data_bytes(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}
