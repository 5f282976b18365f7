//! What a handler and its connection share: the request's body on its way in, and interim responses on their way out.
//!
//! Both are polled by the same task, in turn. One cell per connection, not per request, carries them: a handle that
//! has outlived its request finds another number in the cell and does nothing.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};

use super::encode::{put_field, put_status_line};
use super::framing::DecodeError;
use crate::http::BodyError;

/// Interim heads that wait to be written; a handler that sends more loses them.
const INTERIM_BYTES_MAX: usize = 64 * 1024;

/// Why a request's body ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Decode(DecodeError),
    #[error("the request took longer than the read timeout")]
    TooSlow,
    #[error("the request is over")]
    Over,
}

#[derive(Default)]
pub(super) struct Cell(Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    /// Number of the request on the connection.
    request: u64,
    connection: Option<Waker>,
    reader: Option<Waker>,
    /// The body was asked for more.
    pub(super) wanted: bool,
    /// The handler let go of the body.
    pub(super) dropped: bool,
    ready: Option<Frame<Bytes>>,
    end: Option<Result<(), Fault>>,
    /// Interim responses are possible: the client speaks HTTP/1.1 and the final head is not written yet.
    interim_open: bool,
    pub(super) interim: Vec<u8>,
}

impl Cell {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Starts the next request and gives its number. Handles of the one before are dead from now on.
    pub(super) fn begin(&mut self, interim_open: bool) -> u64 {
        self.request += 1;
        self.wanted = false;
        self.dropped = false;
        self.ready = None;
        self.end = None;
        self.interim_open = interim_open;
        self.interim = Vec::new();
        self.wake_reader();
        self.request
    }

    /// No interim response may follow. Gives those that are not written yet.
    pub(super) fn close_interim(&mut self) -> Vec<u8> {
        self.interim_open = false;
        std::mem::take(&mut self.interim)
    }

    /// Notes who is to be woken when a handle wants something.
    pub(super) fn attend(&mut self, cx: &Context<'_>) {
        if !self.connection.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.connection = Some(cx.waker().clone());
        }
    }

    pub(super) fn deliver(&mut self, frame: Frame<Bytes>) {
        self.wanted = false;
        self.ready = Some(frame);
        self.wake_reader();
    }

    pub(super) fn finish(&mut self, end: Result<(), Fault>) {
        self.wanted = false;
        if self.end.is_none() {
            self.end = Some(end);
        }
        self.wake_reader();
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take()
            && !self.connection.as_ref().is_some_and(|own| own.will_wake(&waker))
        {
            waker.wake();
        }
    }

    fn wake_connection(&self, cx: Option<&Context<'_>>) {
        if let Some(waker) = &self.connection
            && !cx.is_some_and(|cx| waker.will_wake(cx.waker()))
        {
            waker.wake_by_ref();
        }
    }
}

/// The body of a request whose end had not come with its head.
pub(crate) struct Incoming {
    cell: Arc<Cell>,
    request: u64,
    /// What is still to come, by `Content-Length`.
    left: Option<u64>,
    ended: bool,
}

impl Incoming {
    pub(super) fn new(cell: Arc<Cell>, request: u64, length: Option<u64>) -> Self {
        Self { cell, request, left: length, ended: false }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let cell = self.cell.clone();
        let mut state = cell.lock();
        if state.request != self.request {
            self.ended = true;
            return Poll::Ready(Some(Err(Fault::Over.into())));
        }
        if let Some(frame) = state.ready.take() {
            if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
                *left = left.saturating_sub(data.len() as u64);
                self.ended = *left == 0;
            }
            self.ended |= frame.is_trailers();
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(end) = state.end {
            self.ended = true;
            return Poll::Ready(end.err().map(|fault| Err(fault.into())));
        }
        state.wanted = true;
        state.reader = Some(cx.waker().clone());
        state.wake_connection(Some(cx));
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let mut state = self.cell.lock();
        if state.request == self.request {
            state.dropped = true;
            state.reader = None;
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("left", &self.left).finish_non_exhaustive()
    }
}

/// A request's way to send interim responses.
#[derive(Clone)]
pub(crate) struct Interim {
    cell: Arc<Cell>,
    request: u64,
}

impl Interim {
    pub(super) fn new(cell: Arc<Cell>, request: u64) -> Self {
        Self { cell, request }
    }

    pub(crate) fn send(&self, status: StatusCode, headers: &HeaderMap) {
        let mut state = self.cell.lock();
        let open = state.request == self.request && state.interim_open;
        if !open || state.interim.len() > INTERIM_BYTES_MAX {
            return;
        }
        put_status_line(&mut state.interim, Version::HTTP_11, status);
        for (name, value) in headers {
            if *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING {
                continue;
            }
            put_field(&mut state.interim, name, value.as_bytes());
        }
        state.interim.extend_from_slice(b"\r\n");
        state.wake_connection(None);
    }
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interim")
    }
}
