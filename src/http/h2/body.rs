//! Bodies over HTTP/2: a request's as it comes, and the time limit of either.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::RecvStream;
use ::http::HeaderMap;
use ::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::http::{Body, BodyError, h1};
use crate::timer::Timer;

/// A request's body, which must be sent within `limit`.
pub(super) fn received(stream: RecvStream, headers: &HeaderMap, limit: Option<Duration>) -> Body {
    if stream.is_end_stream() {
        return Body::Empty;
    }
    // h2 has seen to it that there is one at most, and that the body keeps to it.
    let length = headers.get(CONTENT_LENGTH).and_then(h1::parse_length);
    let mut timer = Timer::default();
    timer.set_after(limit);
    Body::stream(Received { stream, left: length, data_ended: false, timer })
}

struct Received {
    stream: RecvStream,
    /// Where the client has said it.
    left: Option<u64>,
    data_ended: bool,
    timer: Timer,
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // First, so that a sender who never pauses does not escape.
        if self.timer.poll(cx).is_ready() {
            return Poll::Ready(Some(Err(LATE.into())));
        }
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let count = data.len();
                    // The client may send as much again.
                    self.stream.flow_control().release_capacity(count)?;
                    self.left = self.left.map(|left| left.saturating_sub(count as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|mut trailers| {
            h1::clean_trailers(&mut trailers);
            Ok(Frame::trailers(trailers))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What the error says when a body's time is over.
pub(super) const LATE: &str = "the time limit of the body has passed";
