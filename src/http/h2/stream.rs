//! One request of a connection: waits for its response and sends it.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::server::SendResponse;
use ::h2::{Reason, RecvStream, SendStream};
use ::http::StatusCode;
use ::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use http_body::Body as _;
use tracing::debug;

use super::interim::Interim;
use super::tunnel::Tunnel;
use super::{body, head};
use crate::http::{Body, BodyError, Response, Upgraded, upgrade};
use crate::timer::Timer;

/// A body up to this size that is all here is handed over at once, whatever the client's window is.
const HANDED_OVER_MAX: usize = 16 * 1024;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With a response, or with a reset of ours.
    Answered,
    /// The client took it back before there was a response.
    Cancelled,
}

/// The client's side of a CONNECT, for whoever asked for it.
pub(super) type Offer = (upgrade::Sender, RecvStream);

/// The way back to the client.
pub(super) struct Reply {
    pub(super) reply: SendResponse<Bytes>,
    pub(super) interim: Interim,
}

/// A request under way.
pub(super) struct Answering<F> {
    /// Until there is a head. Boxed, so that its memory goes with it.
    response: Option<Pin<Box<F>>>,
    reply: SendResponse<Bytes>,
    interim: Interim,
    offer: Option<Offer>,
    is_head: bool,
    timer: Timer,
    /// A body that takes more than a moment.
    sending: Option<Box<Sending>>,
}

impl<F: Future<Output = Response>> Answering<F> {
    /// `limit`: time until the client must have taken the response.
    pub(super) fn new(
        response: Pin<Box<F>>,
        reply: Reply,
        offer: Option<Offer>,
        is_head: bool,
        limit: Option<Duration>,
    ) -> Self {
        let mut timer = Timer::default();
        timer.set_after(limit);
        let Reply { reply, interim } = reply;
        Self { response: Some(response), reply, interim, offer, is_head, timer, sending: None }
    }

    fn respond(&mut self, response: Response) -> Result<(), ::h2::Error> {
        let (mut parts, body) = response.into_parts();
        if parts.status.is_success()
            && let Some((sender, receive)) = self.offer.take()
        {
            head::complete(&mut parts.headers, None);
            parts.headers.remove(CONTENT_LENGTH);
            let send = self.reply.send_response(::http::Response::from_parts(parts, ()), false)?;
            sender.give(Upgraded::new(Tunnel::new(send, receive), Bytes::new()));
            return Ok(());
        }
        let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let is_empty = bodiless || body.is_end_stream();
        head::complete(&mut parts.headers, if is_empty { None } else { body.size_hint().exact() });
        let ends = is_empty || self.is_head;
        let mut stream = self.reply.send_response(::http::Response::from_parts(parts, ()), ends)?;
        match body {
            _ if ends => {}
            Body::Full(data)
                if data.len() <= HANDED_OVER_MAX && self.timer.deadline().is_none() =>
            {
                stream.send_data(data, true)?;
            }
            body => {
                let timer = std::mem::take(&mut self.timer);
                let chunk = Bytes::new();
                self.sending = Some(Box::new(Sending { body, stream, chunk, last: false, timer }));
            }
        }
        Ok(())
    }
}

impl<F: Future<Output = Response>> Future for Answering<F> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = &mut *self;
        if let Some(waiting) = &mut this.response {
            let polled = waiting.as_mut().poll(cx);
            for response in this.interim.take() {
                if let Err(error) = this.reply.send_informational(response) {
                    debug!(%error, "an interim response could not be sent");
                }
            }
            let Poll::Ready(response) = polled else {
                if this.timer.poll(cx).is_ready() {
                    this.reply.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(End::Answered);
                }
                return this.reply.poll_reset(cx).map(|_reason| End::Cancelled);
            };
            this.response = None;
            if let Err(error) = this.respond(response) {
                debug!(%error, "a response could not be sent");
                this.reply.send_reset(Reason::INTERNAL_ERROR);
                return Poll::Ready(End::Answered);
            }
        }
        if let Some(sending) = &mut this.sending
            && let Err(failure) = ready!(sending.poll(cx))
        {
            debug!(?failure, "a response broke off");
            if let Failure::Ours(reason) = failure {
                sending.stream.send_reset(reason);
            }
        }
        Poll::Ready(End::Answered)
    }
}

/// Why a body was not sent to its end.
#[derive(Debug)]
enum Failure {
    /// The client has reset the stream, or is gone.
    Theirs,
    /// The client is told this.
    Ours(Reason),
}

impl From<::h2::Error> for Failure {
    fn from(_: ::h2::Error) -> Self {
        Self::Theirs
    }
}

/// A body on its way to the client.
struct Sending {
    body: Body,
    stream: SendStream<Bytes>,
    /// Taken from the body, waiting for the client's window.
    chunk: Bytes,
    /// Nothing comes behind `chunk`.
    last: bool,
    timer: Timer,
}

impl Sending {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.stream.poll_reset(cx)?.is_ready() {
            return Poll::Ready(Err(Failure::Theirs));
        }
        if self.timer.poll(cx).is_ready() {
            debug!(reason = body::LATE, "a response is given up");
            return Poll::Ready(Err(Failure::Ours(Reason::INTERNAL_ERROR)));
        }
        loop {
            while !self.chunk.is_empty() {
                ready!(self.poll_room(cx))?;
                let room = self.stream.capacity().min(self.chunk.len());
                let piece = self.chunk.split_to(room);
                let ends = self.last && self.chunk.is_empty();
                self.stream.send_data(piece, ends)?;
                if ends {
                    return Poll::Ready(Ok(()));
                }
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Err(Failure::Ours(reason(&error)))),
                None => {
                    self.stream.send_data(Bytes::new(), true)?;
                    return Poll::Ready(Ok(()));
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    self.last = self.body.is_end_stream();
                    if data.is_empty() && self.last {
                        self.stream.send_data(data, true)?;
                        return Poll::Ready(Ok(()));
                    }
                    self.stream.reserve_capacity(data.len());
                    self.chunk = data;
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.stream.reserve_capacity(0);
                        self.stream.send_trailers(trailers)?;
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }

    /// Ready once the client takes something.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(room) => room?,
                None => return Poll::Ready(Err(Failure::Theirs)),
            };
        }
        Poll::Ready(Ok(()))
    }
}

/// A reset by an HTTP/2 server goes on to the client as it is.
fn reason(error: &BodyError) -> Reason {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(reason) = error.downcast_ref::<::h2::Error>().and_then(::h2::Error::reason) {
            return reason;
        }
        cause = error.source();
    }
    Reason::INTERNAL_ERROR
}
