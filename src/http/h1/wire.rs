//! A byte stream with what was read ahead and what is still to be written.

use std::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// A head is read through the stack, so that a connection that waits for one holds no buffer.
const HEAD_READ: usize = 4096;
/// Bodies up to this size are copied behind their head: cheaper than a second slice.
const COPIED_MAX: usize = 1024;
/// A write buffer that has grown over this is given back when it is empty.
const FLAT_KEPT_MAX: usize = 16 * 1024;

/// A connection's bytes, both ways.
pub(crate) struct Wire<IO> {
    pub(crate) io: IO,
    /// Read, not used yet.
    pub(crate) read: BytesMut,
    /// Heads, chunk sizes, small bodies: written first.
    flat: Vec<u8>,
    flat_written: usize,
    /// Written second.
    body: Bytes,
    /// Written last.
    tail: Bytes,
    unflushed: bool,
    /// Bytes of this message that the stream has taken.
    pub(crate) written: u64,
}

impl<IO> Wire<IO> {
    pub(crate) fn new(io: IO, already_read: Bytes) -> Self {
        Self {
            io,
            read: BytesMut::from(already_read),
            flat: Vec::new(),
            flat_written: 0,
            body: Bytes::new(),
            tail: Bytes::new(),
            unflushed: false,
            written: 0,
        }
    }

    /// Gives memory back while nothing happens.
    pub(crate) fn park(&mut self) {
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
        if self.is_written() {
            self.flat = Vec::new();
            self.flat_written = 0;
        }
    }

    /// Where the next head or chunk size goes. Only while no body waits behind it.
    pub(crate) fn flat(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.body.is_empty() && self.tail.is_empty(), "a body waits already");
        &mut self.flat
    }

    /// Puts `body`, then `tail`, behind what is already waiting.
    pub(crate) fn push(&mut self, body: Bytes, tail: Bytes) {
        debug_assert!(self.takes_more(), "one body at a time");
        if body.len() <= COPIED_MAX {
            self.flat.extend_from_slice(&body);
            self.flat.extend_from_slice(&tail);
        } else {
            self.body = body;
            self.tail = tail;
        }
    }

    /// True where another piece of body can be taken.
    pub(crate) fn takes_more(&self) -> bool {
        self.body.is_empty() && self.tail.is_empty() && self.flat.len() < FLAT_KEPT_MAX
    }

    /// True where nothing waits to be written; it may still wait to be flushed.
    pub(crate) fn is_written(&self) -> bool {
        self.flat_written == self.flat.len() && self.body.is_empty() && self.tail.is_empty()
    }

    fn advance(&mut self, count: usize) {
        self.written += count as u64;
        let flat = count.min(self.flat.len().saturating_sub(self.flat_written));
        self.flat_written += flat;
        let body = (count - flat).min(self.body.len());
        self.body.advance(body);
        if self.body.is_empty() {
            self.body = Bytes::new();
        }
        self.tail.advance((count - flat - body).min(self.tail.len()));
        if self.flat_written == self.flat.len() {
            self.flat.clear();
            self.flat_written = 0;
            if self.flat.capacity() > FLAT_KEPT_MAX {
                self.flat = Vec::new();
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> Wire<IO> {
    /// Reads once, behind what is there. At least `room` bytes are asked for.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        self.read.reserve(room);
        poll_read_buf(Pin::new(&mut self.io), cx, &mut self.read)
    }

    /// Reads once, without holding memory while nothing comes.
    pub(crate) fn poll_fill_lean(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.read.is_empty() {
            return self.poll_fill(cx, HEAD_READ);
        }
        let mut space = [const { MaybeUninit::<u8>::uninit() }; HEAD_READ];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut space))?;
        self.read.extend_from_slice(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    }
}

impl<IO: AsyncWrite + Unpin> Wire<IO> {
    /// Writes all that waits, and flushes.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let flat = self.flat.get(self.flat_written..).unwrap_or_default();
            let io = Pin::new(&mut self.io);
            let count = if self.body.is_empty() && self.tail.is_empty() {
                ready!(io.poll_write(cx, flat))?
            } else {
                let all = [IoSlice::new(flat), IoSlice::new(&self.body), IoSlice::new(&self.tail)];
                let all = if flat.is_empty() { all.get(1..) } else { Some(&all[..]) };
                ready!(io.poll_write_vectored(cx, all.unwrap_or_default()))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(count);
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the writing side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
