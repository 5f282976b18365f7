//! A server that keeps every byte that it gets, for tests of what exactly the program writes.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::h1::Reader;

/// What a server without anything of its own to say answers.
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A running server.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    pub(crate) address: String,
    /// All bytes of each connection.
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
    answer: Arc<Mutex<Arc<[u8]>>>,
}

impl Recorder {
    /// Answers every request that it can read to its end with `answer`, as it is written.
    pub(crate) async fn start(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let recorder = Self {
            address,
            connections: Arc::default(),
            answer: Arc::new(Mutex::new(answer.into().into())),
        };
        let accepting = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut connections = accepting.connections.lock().unwrap();
                let number = connections.len();
                connections.push(Vec::new());
                drop(connections);
                let (kept, answer) = (accepting.connections.clone(), accepting.answer.clone());
                tokio::spawn(async move {
                    let mut reader = Reader::new(Tee { stream, number, kept });
                    while let Ok(Some(head)) = reader.head().await {
                        if reader.body(&head, false).await.is_err() {
                            return;
                        }
                        let answer = answer.lock().unwrap().clone();
                        if reader.stream.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        recorder
    }

    /// Answers with this from now on.
    pub(crate) fn answer_with(&self, answer: impl Into<Vec<u8>>) {
        *self.answer.lock().unwrap() = answer.into().into();
    }

    /// What came on each connection on which something came.
    pub(crate) fn bytes(&self) -> Vec<String> {
        let connections = self.connections.lock().unwrap();
        let texts = connections.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        texts.filter(|text| !text.is_empty()).collect()
    }

    /// Everything that came, and forgets it.
    pub(crate) fn take(&self) -> String {
        let mut connections = self.connections.lock().unwrap();
        let all = connections.iter_mut().flat_map(std::mem::take).collect::<Vec<u8>>();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Connections so far.
    pub(crate) fn count(&self) -> usize {
        self.connections.lock().unwrap().len()
    }
}

/// Keeps what is read.
struct Tee {
    stream: TcpStream,
    number: usize,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl AsyncRead for Tee {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let mut kept = self.kept.lock().unwrap();
        kept[self.number].extend_from_slice(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tee {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
