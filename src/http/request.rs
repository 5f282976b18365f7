//! A request: its head, its body, and what is known of the exchange that it belongs to.

use std::fmt;
use std::sync::Arc;

use ::http::request::Parts;
use ::http::{Extensions, HeaderMap, Method, Uri};

use super::{Body, Exchange};
use crate::observe::trace::{Context, Span};

/// A request on its way to a server. Middlewares change it in place. Its head is boxed where it is made: a request
/// passes through a dozen futures.
pub(crate) struct Request {
    parts: Box<Parts>,
    body: Body,
    exchange: Arc<Exchange>,
}

impl Request {
    pub(crate) fn new(parts: Box<Parts>, body: Body, exchange: Arc<Exchange>) -> Self {
        Self { parts, body, exchange }
    }

    pub(crate) fn into_parts(self) -> (Box<Parts>, Body, Arc<Exchange>) {
        (self.parts, self.body, self.exchange)
    }

    pub(crate) fn method(&self) -> &Method {
        &self.parts.method
    }

    pub(crate) fn set_method(&mut self, method: Method) {
        self.parts.method = method;
    }

    /// The request target. Its path is as it came or as middlewares rewrote it, still percent-encoded.
    pub(crate) fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    pub(crate) fn uri_mut(&mut self) -> &mut Uri {
        &mut self.parts.uri
    }

    /// `Host` is always among the headers, whatever the client's protocol: HTTP/2's `:authority` is copied there.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    pub(crate) fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.parts.headers
    }

    /// Holds hyper's `OnUpgrade` while the request may be upgraded; empty otherwise.
    pub(crate) fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.parts.extensions
    }

    /// The body, leaving an empty one behind.
    pub(crate) fn take_body(&mut self) -> Body {
        std::mem::take(&mut self.body)
    }

    pub(crate) fn replace_body(&mut self, body: Body) {
        self.body = body;
    }

    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// The span that the request is in; `None` unless it is recorded.
    pub(crate) fn span(&self) -> Option<&Context> {
        self.parts.extensions.get()
    }

    /// What follows is inside of `span`.
    pub(crate) fn enter(&mut self, span: &Span) {
        self.parts.extensions.insert(span.context().clone());
    }

    /// The `Host` header as it came; `None` when the client sent none.
    pub(crate) fn host(&self) -> Option<&str> {
        self.parts.headers.get(::http::header::HOST).and_then(|host| host.to_str().ok())
    }

    /// A copy of the head with `body`: for another try, a mirror or an error page.
    pub(crate) fn with_body(&self, body: Body) -> Self {
        let mut parts = ::http::Request::new(()).into_parts().0;
        parts.method = self.parts.method.clone();
        parts.uri = self.parts.uri.clone();
        parts.version = self.parts.version;
        parts.headers = self.parts.headers.clone();
        if let Some(span) = self.span() {
            parts.extensions.insert(span.clone());
        }
        Self { parts: Box::new(parts), body, exchange: self.exchange.clone() }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.parts.method)
            .field("uri", &self.parts.uri)
            .finish_non_exhaustive()
    }
}
