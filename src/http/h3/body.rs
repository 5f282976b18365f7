//! A request's body as it comes, with its trailers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::frames::{self, Error, Frames, Head, Section};
use super::{Shared, code, head};
use crate::http::{Body, BodyError, h1};
use crate::timer::Timer;

/// What the error says when a body's time is over.
pub(super) const LATE: &str = "the time limit of the body has passed";

/// A request's body, which must be sent within `limit`; `length` is what its head says.
pub(super) async fn received(
    frames: Frames,
    length: Option<u64>,
    shared: Arc<Shared>,
    limit: Option<Duration>,
) -> Result<Body, Error> {
    let mut timer = Timer::default();
    timer.set_after(limit);
    let section = Section::new(shared.heads.clone());
    let mut body = Received { frames, shared, left: length, state: State::Between, section, timer };
    // Who has no body says so along with the head: then the server is not told of one.
    let ended = std::future::poll_fn(|cx| match body.poll_next(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(body.state == State::Ended)),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => Poll::Ready(Ok(false)),
    });
    Ok(if ended.await? { Body::Empty } else { Body::stream(body) })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A frame has to begin.
    Between,
    Data,
    Trailers,
    /// Trailers were there: nothing may follow.
    Last,
    Ended,
}

struct Received {
    frames: Frames,
    shared: Arc<Shared>,
    /// Where the client has said it.
    left: Option<u64>,
    state: State,
    section: Section,
    timer: Timer,
}

impl Received {
    /// Ready in a state that has something to give.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while matches!(self.state, State::Between | State::Last) {
            self.state = match (ready!(self.frames.poll_head(cx))?, self.state) {
                (None, _) => {
                    self.check_end()?;
                    State::Ended
                }
                (Some(Head { kind: frames::DATA, length }), State::Between) => {
                    if self.left.is_some_and(|left| length > left) {
                        return Poll::Ready(Err(WRONG_LENGTH));
                    }
                    State::Data
                }
                (Some(Head { kind: frames::HEADERS, length }), State::Between) => {
                    self.check_end()?;
                    if length > self.shared.settings.head_bytes_max {
                        return Poll::Ready(Err(Error::TooLong));
                    }
                    State::Trailers
                }
                (Some(Head { kind: frames::DATA | frames::HEADERS, .. }), _) => {
                    return Poll::Ready(Err(UNEXPECTED));
                }
                (Some(Head { kind, .. }), _) if frames::is_misplaced(kind) => {
                    return Poll::Ready(Err(UNEXPECTED));
                }
                // Unknown frames mean nothing.
                (Some(_), state) => state,
            };
        }
        Poll::Ready(Ok(()))
    }

    fn check_end(&self) -> Result<(), Error> {
        if self.left.is_some_and(|left| left > 0) { Err(WRONG_LENGTH) } else { Ok(()) }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Error>> {
        loop {
            ready!(self.poll_next(cx))?;
            match self.state {
                State::Data => match ready!(self.frames.poll_payload(cx))? {
                    Some(data) => {
                        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                        return Poll::Ready(Ok(Some(Frame::data(data))));
                    }
                    None => self.state = State::Between,
                },
                State::Trailers => {
                    let section = ready!(self.frames.poll_section(cx, &mut self.section))?;
                    self.state = State::Last;
                    let bytes_max = self.shared.settings.head_bytes_max;
                    let mut trailers = head::trailers(&section, bytes_max)?;
                    h1::clean_trailers(&mut trailers);
                    return Poll::Ready(Ok(Some(Frame::trailers(trailers))));
                }
                State::Between | State::Last | State::Ended => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Tells the client what is wrong with its body.
    fn fail(&mut self, error: &Error) {
        self.state = State::Ended;
        match error {
            Error::Gone => {}
            Error::Request(code, _) => self.frames.stop(*code),
            Error::TooLong => self.frames.stop(code::EXCESSIVE_LOAD),
            Error::Connection(code, reason) => self.shared.close(*code, reason),
        }
    }
}

const WRONG_LENGTH: Error =
    Error::Request(code::MESSAGE_ERROR, "the body is not as long as `content-length` says");
const UNEXPECTED: Error =
    Error::Connection(code::FRAME_UNEXPECTED, "a frame that a request may not have there");

impl HttpBody for Received {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // First, so that a sender who never pauses does not escape.
        if self.state != State::Ended && self.timer.poll(cx).is_ready() {
            return Poll::Ready(Some(Err(LATE.into())));
        }
        let polled = ready!(Received::poll_frame(&mut self, cx));
        if let Err(error) = &polled {
            self.fail(error);
        }
        Poll::Ready(polled.map_err(Into::into).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Ended
    }

    fn size_hint(&self) -> SizeHint {
        match (self.left, self.state) {
            (Some(left), _) => SizeHint::with_exact(left),
            (None, State::Ended) => SizeHint::with_exact(0),
            (None, _) => SizeHint::default(),
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if self.state != State::Ended {
            // Nobody wants the rest, which is no error (RFC 9114, 4.1).
            self.frames.stop(code::NO_ERROR);
        }
    }
}
