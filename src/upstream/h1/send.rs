//! The request on its way to the server.

use std::pin::Pin;
use std::task::{Context, Poll};

use ::http::request::Parts;
use ::http::{Method, header};
use http_body::Body as _;
use tokio::io::AsyncWrite;

use super::Error;
use crate::http::Body;
use crate::http::h1::{BodyEncoder, HEAD_WRITE, Wire, put_field, put_length};

/// What of a request is still to be sent.
pub(super) struct Sending {
    body: Body,
    /// A second copy of a body that is in memory, for another try.
    again: Option<Body>,
    /// Something was taken out of the body.
    touched: bool,
    encoder: BodyEncoder,
    /// Waits for the server's 100.
    held: bool,
    /// All is written and flushed.
    sent: bool,
    /// The server takes no more. It may have answered before.
    failed: Option<std::io::Error>,
    /// No more is to be sent although the body has not ended.
    stopped: bool,
}

impl Sending {
    pub(super) fn new(parts: &Parts, body: Body) -> Self {
        let encoder = match body.size_hint().exact() {
            Some(0) => BodyEncoder::Done,
            Some(length) => BodyEncoder::Length(length),
            None => BodyEncoder::Chunked,
        };
        let again = match &body {
            Body::Empty => Some(Body::Empty),
            Body::Full(bytes) => Some(Body::Full(bytes.clone())),
            Body::Client(_) | Body::Stream(_) => None,
        };
        let held = encoder != BodyEncoder::Done
            && parts
                .headers
                .get(header::EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self {
            body,
            again,
            touched: false,
            encoder,
            held,
            sent: false,
            failed: None,
            stopped: false,
        }
    }

    /// Puts the head: `Host` first, as Go does, then the others, then how the body is framed.
    pub(super) fn put_head<IO>(&self, wire: &mut Wire<IO>, parts: &Parts) {
        let out = wire.flat();
        out.reserve(HEAD_WRITE);
        out.extend_from_slice(parts.method.as_str().as_bytes());
        out.push(b' ');
        let authority = parts.uri.authority().map(::http::uri::Authority::as_str);
        let path = parts.uri.path_and_query().map_or("/", ::http::uri::PathAndQuery::as_str);
        let target = if parts.method == Method::CONNECT { authority.unwrap_or(path) } else { path };
        // Only `*` and CONNECT's target do without a slash.
        if target.starts_with('?') || target.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if let Some(host) = parts.headers.get(header::HOST) {
            put_field(out, &header::HOST, host.as_bytes());
        } else {
            put_field(out, &header::HOST, authority.unwrap_or_default().as_bytes());
        }
        for (name, value) in &parts.headers {
            let ours = *name == header::HOST
                || *name == header::CONTENT_LENGTH
                || *name == header::TRANSFER_ENCODING
                || (*name == header::EXPECT && !self.held);
            if !ours {
                put_field(out, name, value.as_bytes());
            }
        }
        match self.encoder {
            BodyEncoder::Length(length) => put_length(out, length),
            BodyEncoder::Chunked | BodyEncoder::UntilClose => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            BodyEncoder::Done => {
                let has_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
                if has_body {
                    put_length(out, 0);
                }
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// Stops holding the body back.
    pub(super) fn go_on(&mut self) {
        self.held = false;
    }

    /// The final response has come in place of the 100: the body is not sent at all.
    pub(super) fn stop_if_held(&mut self) {
        if self.held {
            self.stopped = true;
            self.body = Body::Empty;
        }
    }

    /// True where the whole request was written.
    pub(super) fn is_sent(&self) -> bool {
        self.sent && self.failed.is_none()
    }

    /// The body as it was before anything of it was sent, if that still exists.
    pub(super) fn whole_body(&mut self) -> Option<Body> {
        if self.touched { self.again.take() } else { Some(std::mem::take(&mut self.body)) }
    }

    /// Why the request could not be written.
    pub(super) fn failure(&mut self) -> Option<Error> {
        self.failed.take().map(Error::Write)
    }

    /// Writes what can be written; true once there is nothing more to write. An error is the body's own: that the
    /// server takes no more is kept, since it may have answered before it closed.
    pub(super) fn poll<IO: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire<IO>,
    ) -> Result<bool, Error> {
        if self.sent || self.stopped || self.failed.is_some() {
            return Ok(self.sent);
        }
        loop {
            let mut waits = self.held;
            if !self.held && self.encoder != BodyEncoder::Done && wire.takes_more() {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        self.touched = true;
                        let last = self.body.is_end_stream();
                        let put = self.encoder.put(wire, frame, last);
                        put.map_err(|error| Error::RequestBody(error.into()))?;
                        continue;
                    }
                    Poll::Ready(Some(Err(error))) => return Err(Error::RequestBody(error)),
                    Poll::Ready(None) => {
                        let end = self.encoder.end(wire);
                        end.map_err(|error| Error::RequestBody(error.into()))?;
                    }
                    Poll::Pending => waits = true,
                }
            }
            match wire.poll_flush(cx) {
                Poll::Ready(Ok(())) if self.encoder == BodyEncoder::Done => {
                    self.sent = true;
                    return Ok(true);
                }
                Poll::Ready(Ok(())) if !waits => {}
                Poll::Ready(Ok(())) | Poll::Pending => return Ok(false),
                Poll::Ready(Err(error)) => {
                    self.failed = Some(error);
                    return Ok(false);
                }
            }
        }
    }
}
