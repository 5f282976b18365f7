//! Protocol upgrades: after a 101, or a 2xx to CONNECT, the client's bytes belong to whoever asked for them.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// A stream of bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin> Stream for IO {}

/// A connection that has left HTTP, with what had been read of it already.
pub(crate) struct Upgraded {
    io: Box<dyn Stream>,
    read: Bytes,
}

impl Upgraded {
    pub(crate) fn new(io: impl Stream + 'static, read: Bytes) -> Self {
        Self { io: Box::new(io), read }
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").field("read", &self.read.len()).finish_non_exhaustive()
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, space);
        }
        let count = self.read.len().min(space.remaining());
        space.put_slice(self.read.get(..count).unwrap_or_default());
        self.read.advance(count);
        if self.read.is_empty() {
            self.read = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The client's connection was not upgraded: another response was sent, or the client went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection was not upgraded")]
pub(crate) struct NotUpgraded;

/// In the extensions of a request that may be upgraded: gives the client's stream once the response that upgrades
/// has been written. Clones share one stream; the first to see it has it.
#[derive(Clone)]
pub(crate) struct OnUpgrade(Arc<Mutex<Option<oneshot::Receiver<Upgraded>>>>);

/// The connection's end of an [`OnUpgrade`].
pub(crate) struct Sender(oneshot::Sender<Upgraded>);

/// Makes a pair.
pub(crate) fn channel() -> (Sender, OnUpgrade) {
    let (sender, receiver) = oneshot::channel();
    (Sender(sender), OnUpgrade(Arc::new(Mutex::new(Some(receiver)))))
}

impl Sender {
    /// Hands the stream over. It is closed if nobody waits for it.
    pub(crate) fn give(self, upgraded: Upgraded) {
        drop(self.0.send(upgraded));
    }
}

impl Future for OnUpgrade {
    type Output = Result<Upgraded, NotUpgraded>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(receiver) = slot.as_mut() else {
            return Poll::Ready(Err(NotUpgraded));
        };
        let result = std::task::ready!(Pin::new(receiver).poll(cx));
        *slot = None;
        Poll::Ready(result.map_err(|_closed| NotUpgraded))
    }
}

impl fmt::Debug for OnUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnUpgrade")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_was_read_already_comes_first() {
        let (mut far, near) = tokio::io::duplex(64);
        far.write_all(b"world").await.unwrap();
        drop(far);
        let (sender, on_upgrade) = channel();
        sender.give(Upgraded::new(near, Bytes::from_static(b"hello ")));
        let mut text = String::new();
        on_upgrade.await.unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello world");
    }

    #[tokio::test]
    async fn another_response_ends_the_wait() {
        let (sender, on_upgrade) = channel();
        drop(sender);
        assert_eq!(on_upgrade.await.unwrap_err(), NotUpgraded);
    }
}
