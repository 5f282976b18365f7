//! Frames of a client's stream (RFC 9114, 7), read piece by piece: no frame is gathered but heads, and those within
//! limits.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use quinn::{ReadError, RecvStream, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{code, qpack, varint};

pub(super) const DATA: u64 = 0x0;
pub(super) const HEADERS: u64 = 0x1;
pub(super) const CANCEL_PUSH: u64 = 0x3;
pub(super) const SETTINGS: u64 = 0x4;
pub(super) const PUSH_PROMISE: u64 = 0x5;
pub(super) const GOAWAY: u64 = 0x7;
pub(super) const MAX_PUSH_ID: u64 = 0xd;

/// Why a client's stream cannot be read on.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Error {
    /// The client does not want an answer any more, or is gone.
    #[error("the client has gone")]
    Gone,
    /// An error of this request alone.
    #[error("{1}")]
    Request(VarInt, &'static str),
    /// The client does not speak HTTP/3 as it should: the connection ends.
    #[error("{1}")]
    Connection(VarInt, &'static str),
    /// The head is longer than allowed.
    #[error("the head is too long")]
    TooLong,
}

impl From<ReadError> for Error {
    fn from(_: ReadError) -> Self {
        Self::Gone
    }
}

impl From<qpack::Error> for Error {
    fn from(error: qpack::Error) -> Self {
        match error {
            qpack::Error::Malformed => Self::Connection(code::DECOMPRESSION_FAILED, "no fields"),
            qpack::Error::TooLong => Self::TooLong,
            qpack::Error::Refused(reason) => Self::Request(code::MESSAGE_ERROR, reason),
        }
    }
}

/// A frame whose payload comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: u64,
    pub(super) length: u64,
}

/// True for frames that requests may not hold, and for those of HTTP/2 that HTTP/3 does not have.
pub(super) fn is_misplaced(kind: u64) -> bool {
    let of_http2 = matches!(kind, 0x2 | 0x6 | 0x8 | 0x9);
    of_http2 || matches!(kind, CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID)
}

/// What comes on a stream.
pub(super) struct Frames {
    stream: RecvStream,
    /// Received, not taken yet.
    chunk: Bytes,
    /// The beginning of a frame's head, or of another integer.
    partial: Vec<u8>,
    /// Of the payload of the frame that was begun last.
    left: u64,
}

impl Frames {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream, chunk: Bytes::new(), partial: Vec::new(), left: 0 }
    }

    /// Tells the client to send no more.
    pub(super) fn stop(&mut self, code: VarInt) {
        // An error means that it has ended already.
        drop(self.stream.stop(code));
    }

    /// Whether there is more; then it is in `chunk`.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        while self.chunk.is_empty() {
            match ready!(pin!(self.stream.read_chunk(usize::MAX, true)).poll(cx))? {
                Some(chunk) => self.chunk = chunk.bytes,
                None => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    /// The next byte; `None` at the end of the stream.
    pub(super) fn poll_byte(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<u8>, Error>> {
        let there = ready!(self.poll_chunk(cx))?;
        Poll::Ready(Ok(there.then(|| self.chunk.get_u8())))
    }

    /// The integer at the start of a stream; `None` where the stream ends before.
    pub(super) fn poll_integer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<u64>, Error>> {
        loop {
            if let Some((value, _)) = varint::read(&self.partial) {
                self.partial.clear();
                return Poll::Ready(Ok(Some(value)));
            }
            match ready!(self.poll_byte(cx))? {
                Some(byte) => self.partial.push(byte),
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// The next frame, after what is left of the last one; `None` at the end of the stream.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Error>> {
        while self.left > 0 {
            ready!(self.poll_payload(cx))?;
        }
        loop {
            if let Some((kind, first)) = varint::read(&self.partial)
                && let Some((length, _)) =
                    varint::read(self.partial.get(first..).unwrap_or_default())
            {
                self.partial.clear();
                self.left = length;
                return Poll::Ready(Ok(Some(Head { kind, length })));
            }
            match ready!(self.poll_byte(cx))? {
                Some(byte) => self.partial.push(byte),
                None if self.partial.is_empty() => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(TRUNCATED)),
            }
        }
    }

    /// A piece of the payload; `None` at its end.
    pub(super) fn poll_payload(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Error>> {
        if self.left == 0 {
            return Poll::Ready(Ok(None));
        }
        if !ready!(self.poll_chunk(cx))? {
            return Poll::Ready(Err(TRUNCATED));
        }
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.chunk.len());
        self.left -= count as u64;
        Poll::Ready(Ok(Some(self.chunk.split_to(count))))
    }

    /// The whole payload, gathered in `section`.
    pub(super) fn poll_section(
        &mut self,
        cx: &mut Context<'_>,
        section: &mut Section,
    ) -> Poll<Result<Bytes, Error>> {
        while let Some(piece) = ready!(self.poll_payload(cx))? {
            if self.left == 0 && section.bytes.is_empty() {
                return Poll::Ready(Ok(piece));
            }
            section.add(&piece)?;
        }
        section.share = None;
        Poll::Ready(Ok(std::mem::take(&mut section.bytes).into()))
    }
}

const TRUNCATED: Error = Error::Connection(code::FRAME_ERROR, "the stream ends in a frame");

/// A field section that comes in pieces.
pub(super) struct Section {
    bytes: Vec<u8>,
    /// What the connection's requests may gather, all together.
    budget: Arc<Semaphore>,
    share: Option<OwnedSemaphorePermit>,
}

impl Section {
    pub(super) fn new(budget: Arc<Semaphore>) -> Self {
        Self { bytes: Vec::new(), budget, share: None }
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), Error> {
        let count = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        let share = self.budget.clone().try_acquire_many_owned(count);
        let share = share.map_err(|_spent| {
            Error::Request(code::EXCESSIVE_LOAD, "too many heads come in pieces at once")
        })?;
        match &mut self.share {
            Some(all) => all.merge(share),
            None => self.share = Some(share),
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}
