//! A client's socket, with what was read of it already and with what counts it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Entry;

/// Gives what was read before, then the rest of the socket. Counts as an open connection until it is dropped,
/// wherever it is by then: an upgraded connection outlives its HTTP.
pub(super) struct Stream {
    first: Bytes,
    rest: TcpStream,
    _open: Open,
}

impl Stream {
    pub(super) fn new(first: Bytes, rest: TcpStream, open: Open) -> Self {
        Self { first, rest, _open: open }
    }
}

/// An open connection: holds its place under the limit, keeps a drain waiting, and tells the observer of its
/// beginning and end.
pub(super) struct Open {
    entry: Arc<Entry>,
    _permit: OwnedSemaphorePermit,
    _held: TaskTrackerToken,
}

impl Open {
    pub(super) fn new(
        entry: Arc<Entry>,
        permit: OwnedSemaphorePermit,
        held: TaskTrackerToken,
    ) -> Self {
        if let Some(observer) = &entry.observer {
            observer.connection_opened(&entry.name);
        }
        Self { entry, _permit: permit, _held: held }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(observer) = &self.entry.observer {
            observer.connection_closed(&self.entry.name);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.rest).poll_read(cx, buffer);
        }
        let bytes = self.first.len().min(buffer.remaining());
        buffer.put_slice(self.first.get(..bytes).unwrap_or_default());
        self.first.advance(bytes);
        if self.first.is_empty() {
            self.first = Bytes::new(); // frees the memory
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.rest).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.rest).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.rest.is_write_vectored()
    }
}
