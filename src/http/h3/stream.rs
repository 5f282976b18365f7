//! One request of a connection: reads its head, waits for its response and sends it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use ::http::request::Parts;
use ::http::{Method, StatusCode};
use bytes::Bytes;
use http_body::Body as _;
use quinn::{RecvStream, SendStream, VarInt};
use tracing::debug;

use super::frames::{self, Error, Frames, Section};
use super::{Shared, body, code, head, varint};
use crate::http::h2::{self, Interim};
use crate::http::{Body, Informational, Response, plain_text};
use crate::timer::Timer;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With a response, or with a reset of ours.
    Answered,
    /// The client took it back before there was a response.
    Cancelled,
}

/// Answers one request, from its first byte until the client has acknowledged the last one of its response.
pub(super) async fn answer<S, F>(
    shared: Arc<Shared>,
    service: Arc<S>,
    send: SendStream,
    receive: RecvStream,
) -> End
where
    S: Fn(Box<Parts>, Body, Option<Informational>) -> F,
    F: Future<Output = Response>,
{
    let mut reply = Reply { stream: send, reset: Some(code::INTERNAL_ERROR) };
    // Ready when the client wants no response any more; after its end, when all of it has arrived.
    let mut stopped = pin!(reply.stream.stopped());
    let mut timer = Timer::default();
    timer.set_after(shared.settings.read_timeout);
    let read = tokio::select! {
        biased;
        read = read(&shared, Frames::new(receive)) => read,
        _ = stopped.as_mut() => return End::Cancelled,
        () = poll_fn(|cx| timer.poll(cx)) => Err(LATE),
    };
    timer.set_after(shared.settings.write_timeout);
    let (response, is_head) = match read {
        Ok((parts, _)) if parts.method == Method::CONNECT => {
            (plain_text(StatusCode::NOT_IMPLEMENTED, "Not Implemented\n"), false)
        }
        Ok((parts, body)) => {
            let is_head = parts.method == Method::HEAD;
            let interim = shared.interims.of(reply.stream.id().into());
            let informational = Some(Informational::Http2(interim.clone()));
            // Boxed, so that its memory goes with it.
            let response = Box::pin(service(parts, body, informational));
            let response = tokio::select! {
                biased;
                response = reply.wait(response, &interim) => match response {
                    Ok(response) => response,
                    Err(_stopped) => return End::Cancelled,
                },
                _ = stopped.as_mut() => return End::Cancelled,
                () = poll_fn(|cx| timer.poll(cx)) => return End::Answered,
            };
            (response, is_head)
        }
        Err(Error::TooLong) => (plain_text(TOO_LONG, "Request Header Fields Too Large\n"), false),
        Err(error) => return reply.refuse(&shared, &error),
    };
    tokio::select! {
        biased;
        sent = reply.send(response, is_head) => if let Err(failure) = sent {
            debug!(%failure, "a response broke off");
            return End::Answered;
        },
        _ = stopped.as_mut() => return End::Answered,
        () = poll_fn(|cx| timer.poll(cx)) => {
            debug!(reason = body::LATE, "a response is given up");
            return End::Answered;
        }
    }
    // What has not arrived would be lost with the connection.
    drop(stopped.await);
    End::Answered
}

const TOO_LONG: StatusCode = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
const LATE: Error = Error::Request(code::REQUEST_INCOMPLETE, "the head did not come in time");
const UNEXPECTED: Error = Error::Connection(code::FRAME_UNEXPECTED, "a request begins with a head");

/// Reads a request as far as it takes to hand it on.
async fn read(shared: &Arc<Shared>, mut frames: Frames) -> Result<(Box<Parts>, Body), Error> {
    let request = match read_head(shared, &mut frames).await {
        Ok(request) => request,
        Err(error) => {
            frames.stop(match error {
                Error::Request(code, _) => code,
                _ => code::NO_ERROR,
            });
            return Err(error);
        }
    };
    let head::Request { parts, length } = request;
    let limit = shared.settings.read_timeout;
    Ok((parts, body::received(frames, length, shared.clone(), limit).await?))
}

async fn read_head(shared: &Arc<Shared>, frames: &mut Frames) -> Result<head::Request, Error> {
    let bytes_max = shared.settings.head_bytes_max;
    loop {
        let Some(begun) = poll_fn(|cx| frames.poll_head(cx)).await? else {
            return Err(Error::Request(code::REQUEST_INCOMPLETE, "there is no head"));
        };
        if begun.kind == frames::HEADERS {
            // No encoding makes fields longer than they count.
            if begun.length > bytes_max {
                return Err(Error::TooLong);
            }
            break;
        }
        if begun.kind == frames::DATA || frames::is_misplaced(begun.kind) {
            return Err(UNEXPECTED);
        }
    }
    let mut section = Section::new(shared.heads.clone());
    let section = poll_fn(|cx| frames.poll_section(cx, &mut section)).await?;
    Ok(head::request(&section, bytes_max)?)
}

/// Our side of a request's stream. Unless the response was sent to its end, a drop tells the client that it is not
/// whole.
struct Reply {
    stream: SendStream,
    /// `None` once all is sent.
    reset: Option<VarInt>,
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(code) = self.reset {
            // An error means that the client has stopped it already.
            drop(self.stream.reset(code));
        }
    }
}

/// Why a response was not sent to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the client has gone: {0}")]
    Client(#[from] quinn::WriteError),
    #[error("the body broke off: {0}")]
    Body(crate::http::BodyError),
}

impl Reply {
    /// Tells the client what is wrong with its request.
    fn refuse(mut self, shared: &Shared, error: &Error) -> End {
        debug!(%error, "a request is refused");
        match error {
            Error::Gone => {
                self.reset = Some(code::REQUEST_INCOMPLETE);
                return End::Cancelled;
            }
            Error::Request(code, _) => self.reset = Some(*code),
            Error::Connection(code, reason) => shared.close(*code, reason),
            Error::TooLong => {}
        }
        End::Answered
    }

    /// Waits for the response, and sends what comes before it.
    async fn wait<F: Future<Output = Response>>(
        &mut self,
        mut response: Pin<Box<F>>,
        interim: &Interim,
    ) -> Result<Response, quinn::WriteError> {
        loop {
            let mut early = Vec::new();
            let polled = poll_fn(|cx| {
                let polled = response.as_mut().poll(cx);
                early = interim.take();
                if polled.is_pending() && early.is_empty() {
                    return Poll::Pending;
                }
                Poll::Ready(polled)
            });
            let polled = polled.await;
            for one in early {
                let head = head::response(one.status(), one.headers());
                self.stream.write_chunk(head.into()).await?;
            }
            if let Poll::Ready(response) = polled {
                return Ok(response);
            }
        }
    }

    async fn send(&mut self, response: Response, is_head: bool) -> Result<(), Failure> {
        let (mut parts, mut body) = response.into_parts();
        let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let is_empty = bodiless || body.is_end_stream();
        let length = if is_empty { None } else { body.size_hint().exact() };
        h2::complete(&mut parts.headers, length);
        let head = head::response(parts.status, &parts.headers);
        drop(parts);
        self.stream.write_chunk(head.into()).await?;
        if !is_empty && !is_head {
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                match frame.map_err(Failure::Body)?.into_data() {
                    Ok(data) => self.send_data(data).await?,
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let frame = head::trailer_frame(&trailers);
                            self.stream.write_chunk(frame.into()).await?;
                            break;
                        }
                    }
                }
            }
        }
        // An error means that the client has stopped it.
        if self.stream.finish().is_ok() {
            self.reset = None;
        }
        Ok(())
    }

    async fn send_data(&mut self, data: Bytes) -> Result<(), quinn::WriteError> {
        if data.is_empty() {
            return Ok(());
        }
        let mut head = Vec::with_capacity(1 + varint::BYTES_MAX);
        varint::put(&mut head, frames::DATA);
        varint::put(&mut head, data.len() as u64);
        self.stream.write_all_chunks(&mut [head.into(), data]).await
    }
}
