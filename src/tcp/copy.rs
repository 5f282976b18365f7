//! Bytes both ways between a client and a server.
//!
//! What is read goes through one buffer that all connections of a core share; a connection has memory of its own only
//! for what the other side does not take at once. An end of one side is passed on, and the other may go on for a
//! while, as Traefik does with `terminationDelay`.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep};

use super::Stream;

/// Read at once.
const BUFFER_BYTES: usize = 64 * 1024;

thread_local! {
    /// Taken while a connection reads, empty then.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Copies until both directions have ended. Once one has, the other may go on for `cut`; `None`: for ever.
pub(super) async fn both_ways(
    client: &mut (dyn Stream + '_),
    server: &mut (dyn Stream + '_),
    cut: Option<Duration>,
) {
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        let up_ended = up.poll(cx, client, server).is_ready();
        let down_ended = down.poll(cx, server, client).is_ready();
        if up_ended && down_ended {
            return Poll::Ready(());
        }
        if (up_ended || down_ended)
            && timer.is_none()
            && let Some(cut) = cut
        {
            // A time that has passed needs no timer.
            timer = Some(Box::pin(sleep(cut)));
        }
        let Some(timer) = &mut timer else { return Poll::Pending };
        if timer.deadline() > Instant::now() {
            ready!(timer.as_mut().poll(cx));
        }
        // What has been read is still delivered.
        let up_ended = up.stop_reading().poll(cx, client, server).is_ready();
        let down_ended = down.stop_reading().poll(cx, server, client).is_ready();
        if up_ended && down_ended { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// From one side to the other.
#[derive(Default)]
struct Direction {
    /// Read and not yet taken by the other side, from `at` on.
    waiting: Vec<u8>,
    at: usize,
    /// Something was written that may still stand in a buffer of the stream.
    unflushed: bool,
    stopped: bool,
    state: State,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The end has come, and is to be passed on.
    Ending,
    Ended,
}

impl Direction {
    /// The end of what will be read has come.
    fn stop_reading(&mut self) -> &mut Self {
        self.stopped = true;
        self
    }

    /// Ready once the end has been passed on, or a side is broken.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (dyn Stream + '_),
        to: &mut (dyn Stream + '_),
    ) -> Poll<()> {
        loop {
            let step = match self.state {
                State::Open => ready!(self.poll_copy(cx, from, to)),
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map(|()| State::Ended)
                }
                State::Ended => return Poll::Ready(()),
            };
            // What cannot be read or written any more is at its end; the other direction notices by itself.
            self.state = step.unwrap_or(match self.state {
                State::Open => State::Ending,
                State::Ending | State::Ended => State::Ended,
            });
        }
    }

    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (dyn Stream + '_),
        to: &mut (dyn Stream + '_),
    ) -> Poll<io::Result<State>> {
        loop {
            while let Some(rest) = self.waiting.get(self.at..).filter(|rest| !rest.is_empty()) {
                match ready!(Pin::new(&mut *to).poll_write(cx, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => self.at += count,
                }
            }
            (self.waiting, self.at) = (Vec::new(), 0);
            if self.stopped {
                return Poll::Ready(Ok(State::Ending));
            }
            let mut buffer = BUFFER.take();
            buffer.resize(BUFFER_BYTES, 0);
            let step = self.poll_read(cx, from, to, &mut buffer);
            BUFFER.set(buffer);
            match step {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(State::Ending)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads once and writes what is taken at once. False at the end.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (dyn Stream + '_),
        to: &mut (dyn Stream + '_),
        buffer: &mut [u8],
    ) -> Poll<io::Result<bool>> {
        let mut space = ReadBuf::new(buffer);
        ready!(Pin::new(from).poll_read(cx, &mut space))?;
        let read = space.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.unflushed = true;
        let taken = match Pin::new(to).poll_write(cx, read) {
            Poll::Ready(taken) => taken?,
            Poll::Pending => 0,
        };
        self.waiting = read.get(taken..).unwrap_or_default().to_vec();
        Poll::Ready(Ok(true))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A copy under way, and the far ends of client and server.
    fn copying(cut: Option<Duration>) -> (DuplexStream, DuplexStream, impl Future<Output = ()>) {
        let ((client, mut near_client), (server, mut near_server)) = (duplex(1024), duplex(16));
        let copy = async move {
            both_ways(&mut near_client, &mut near_server, cut).await;
        };
        (client, server, copy)
    }

    #[tokio::test]
    async fn more_than_a_side_takes_at_once_arrives_whole() {
        let (client, server, copy) = copying(None);
        let (mut client_read, mut client_write) = tokio::io::split(client);
        let sent: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let talk = async {
            client_write.write_all(&sent).await.unwrap();
            client_write.shutdown().await.unwrap();
        };
        let echo = async {
            let (mut read, mut write) = tokio::io::split(server);
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut heard = Vec::new();
        let hear = client_read.read_to_end(&mut heard);
        let ((), (), (), heard_bytes) = tokio::join!(talk, echo, copy, hear);
        assert_eq!(heard_bytes.unwrap(), sent.len());
        assert!(heard == sent);
    }

    #[tokio::test]
    async fn after_the_end_of_one_side_the_other_goes_on_for_a_while() {
        let limit = Duration::from_millis(100);
        let (mut client, mut server, copy) = copying(Some(limit));
        let started = Instant::now();
        let script = async {
            client.shutdown().await.unwrap();
            assert_eq!(server.read(&mut [0]).await.unwrap(), 0, "the end is passed on");
            server.write_all(b"late").await.unwrap();
            let mut heard = [0; 4];
            client.read_exact(&mut heard).await.unwrap();
            assert_eq!(client.read(&mut heard).await.unwrap(), 0, "and then it is cut");
        };
        tokio::join!(script, copy);
        assert!(started.elapsed() >= limit);
    }

    #[tokio::test]
    async fn without_a_delay_the_end_of_one_side_ends_both_and_negative_never_does() {
        let (mut client, mut server, copy) = copying(Some(Duration::ZERO));
        let script = async {
            server.write_all(b"bye").await.unwrap();
            server.shutdown().await.unwrap();
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"bye");
            assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        };
        tokio::join!(script, copy);
        let (mut client, _server, copy) = copying(None);
        client.shutdown().await.unwrap();
        let waiting = Duration::from_millis(50);
        assert!(tokio::time::timeout(waiting, copy).await.is_err());
    }

    #[tokio::test]
    async fn a_broken_side_ends_both() {
        let (mut client, server, copy) = copying(Some(Duration::ZERO));
        drop(server);
        let script = async {
            drop(client.write_all(b"x").await);
            assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
        };
        tokio::join!(script, copy);
    }
}
