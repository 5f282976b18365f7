//! A body that is taken in whole: its beginning in memory, the rest in a temporary file.
//!
//! The file has no name, so that it is gone with the last handle, even if the process is killed.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::http::HeaderMap;
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::http::{Body, BodyError};

/// Bytes that are written to the file at once.
const WRITE: usize = 256 * 1024;
/// Bytes that are read from the file at once.
const READ: usize = 64 * 1024;

/// How much of a body is taken in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes that are held in memory.
    pub(super) memory: usize,
    /// Bytes; `None`: no limit.
    pub(super) max: Option<u64>,
}

impl Limits {
    fn allow(self, bytes: u64) -> bool {
        self.max.is_none_or(|max| bytes <= max)
    }
}

/// Why a body could not be taken in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the body is too large")]
    TooLarge,
    #[error("reading the body: {0}")]
    Source(#[source] BodyError),
    #[error("keeping the body in a temporary file: {0}")]
    Disk(#[from] io::Error),
}

/// A body that has been read to its end. It can be sent any number of times.
#[derive(Debug, Default)]
pub(super) struct Whole {
    memory: Bytes,
    file: Option<Spilled>,
    trailers: Option<HeaderMap>,
}

/// What of a body is in a file.
#[derive(Debug, Clone)]
struct Spilled {
    file: Arc<File>,
    length: u64,
}

impl Whole {
    /// Reads `body` to its end.
    pub(super) async fn read(mut body: Body, limits: Limits) -> Result<Self, Failure> {
        if !limits.allow(body.size_hint().lower()) {
            return Err(Failure::TooLarge);
        }
        match &mut body {
            Body::Empty => return Ok(Self::default()),
            // It is in memory already: a file would save none.
            Body::Full(data) => {
                return Ok(Self { memory: std::mem::take(data), ..Self::default() });
            }
            Body::Client(_) | Body::Stream(_) => {}
        }
        let mut memory = BytesMut::new();
        let mut writer = None;
        let mut trailers = None;
        let mut total = 0_u64;
        while let Some(frame) = body.frame().await {
            let data = match frame.map_err(Failure::Source)?.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    trailers = frame.into_trailers().ok();
                    continue;
                }
            };
            total = total.saturating_add(data.len() as u64);
            if !limits.allow(total) {
                return Err(Failure::TooLarge);
            }
            if writer.is_none() && memory.len().saturating_add(data.len()) <= limits.memory {
                memory.extend_from_slice(&data);
            } else {
                writer.get_or_insert_with(Writer::default).put(&data).await?;
            }
        }
        let file = match writer {
            Some(writer) => Some(writer.finish().await?),
            None => None,
        };
        Ok(Self { memory: memory.freeze(), file, trailers })
    }

    /// The body, once more.
    pub(super) fn body(&self) -> Body {
        if self.file.is_none() && self.trailers.is_none() {
            return Body::from(self.memory.clone());
        }
        Body::stream(Replay {
            memory: self.memory.clone(),
            file: self.file.clone(),
            offset: 0,
            reading: None,
            trailers: self.trailers.clone(),
        })
    }
}

/// Writes to a file that is made when there is something to write.
#[derive(Default)]
struct Writer {
    file: Option<Arc<File>>,
    written: u64,
    pending: BytesMut,
}

impl Writer {
    async fn put(&mut self, data: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(data);
        if self.pending.len() >= WRITE { self.write().await } else { Ok(()) }
    }

    async fn write(&mut self) -> io::Result<()> {
        let (data, offset) = (self.pending.split().freeze(), self.written);
        self.written += data.len() as u64;
        let known = self.file.clone();
        let writing = spawn_blocking(move || {
            let file = match known {
                Some(file) => file,
                None => Arc::new(tempfile::tempfile()?),
            };
            file.write_all_at(&data, offset)?;
            Ok::<_, io::Error>(file)
        });
        self.file = Some(writing.await.map_err(io::Error::other)??);
        Ok(())
    }

    async fn finish(mut self) -> io::Result<Spilled> {
        if self.file.is_none() || !self.pending.is_empty() {
            self.write().await?;
        }
        let file = self.file.ok_or_else(|| io::Error::other("nothing was written"))?;
        Ok(Spilled { file, length: self.written })
    }
}

/// A body that gives what was taken in.
struct Replay {
    memory: Bytes,
    file: Option<Spilled>,
    /// What of the file has been asked for.
    offset: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    trailers: Option<HeaderMap>,
}

impl Replay {
    fn left(&self) -> u64 {
        let in_file = self.file.as_ref().map_or(0, |spilled| spilled.length - self.offset);
        in_file.saturating_add(self.memory.len() as u64)
    }

    /// Starts to read the next part of the file; false at its end.
    fn read_on(&mut self) -> bool {
        let Some(Spilled { file, length }) = &self.file else { return false };
        let count = (length - self.offset).min(READ as u64);
        if count == 0 {
            return false;
        }
        let (file, offset) = (file.clone(), self.offset);
        self.offset += count;
        self.reading = Some(spawn_blocking(move || {
            let mut part = vec![0; usize::try_from(count).map_err(io::Error::other)?];
            file.read_exact_at(&mut part, offset)?;
            Ok(Bytes::from(part))
        }));
        true
    }
}

impl HttpBody for Replay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.memory.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.memory)))));
        }
        if self.reading.is_none() && !self.read_on() {
            return Poll::Ready(self.trailers.take().map(Frame::trailers).map(Ok));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let read = read.map_err(io::Error::other).and_then(|read| read);
        Poll::Ready(Some(read.map(Frame::data).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0 && self.reading.is_none() && self.trailers.is_none()
    }

    /// Exact where there are no trailers: they need a framing that does not end with the data.
    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        match (&self.reading, &self.trailers) {
            (None, None) => hint.set_exact(self.left()),
            _ => hint.set_lower(self.left()),
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    const SMALL: Limits = Limits { memory: 10, max: Some(600_000) };

    /// A body that comes in parts of so many bytes.
    fn parts(sizes: &[usize]) -> Body {
        let frame = |(number, &size): (usize, &usize)| {
            let letter = b'a' + u8::try_from(number % 26).unwrap();
            Ok(Frame::data(Bytes::from(vec![letter; size])))
        };
        let frames: Vec<_> = sizes.iter().enumerate().map(frame).collect();
        Body::stream(StreamBody::new(stream::iter(frames)))
    }

    async fn bytes(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn what_fits_stays_in_memory() {
        let whole = Whole::read(parts(&[4, 0, 6]), SMALL).await.unwrap();
        assert!(whole.file.is_none());
        assert_eq!(bytes(whole.body()).await, "aaaacccccc");
        assert_eq!(bytes(whole.body()).await, "aaaacccccc");
    }

    #[tokio::test]
    async fn the_rest_goes_to_a_file_and_comes_back_any_number_of_times() {
        let sizes = [4, 8, 300_000, 1, 200_000, 3];
        let wanted = bytes(parts(&sizes)).await;
        let whole = Whole::read(parts(&sizes), SMALL).await.unwrap();
        assert_eq!(whole.memory.len(), 4);
        assert_eq!(whole.file.as_ref().unwrap().length, 500_012);
        let (one, two) = (whole.body(), whole.body());
        drop(whole);
        assert_eq!(one.size_hint().exact(), Some(500_016));
        assert_eq!(bytes(one).await, wanted);
        assert_eq!(bytes(two).await, wanted);
    }

    #[tokio::test]
    async fn limits_are_kept() {
        let limits = Limits { memory: 10, max: Some(12) };
        for body in [parts(&[6, 7]), parts(&[13]), Body::from("a".repeat(13))] {
            assert!(matches!(Whole::read(body, limits).await, Err(Failure::TooLarge)));
        }
        for body in [parts(&[6, 6]), Body::from("a".repeat(12))] {
            assert_eq!(bytes(Whole::read(body, limits).await.unwrap().body()).await.len(), 12);
        }
    }

    #[tokio::test]
    async fn trailers_stay_and_leave_the_length_open() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        for size in [3, 30] {
            let frames = [
                Ok(Frame::data(Bytes::from(vec![b'a'; size]))),
                Ok(Frame::trailers(trailers.clone())),
            ];
            let body = Body::stream(StreamBody::new(stream::iter(frames)));
            let sent = Whole::read(body, SMALL).await.unwrap().body();
            assert_eq!(sent.size_hint().exact(), None);
            let collected = sent.collect().await.unwrap();
            assert_eq!(collected.trailers(), Some(&trailers));
            assert_eq!(collected.to_bytes().len(), size);
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_is_told() {
        let frames = [Ok(Frame::data(Bytes::from_static(b"abc"))), Err("gone".into())];
        let body = Body::stream(StreamBody::new(stream::iter(frames)));
        let failure = Whole::read(body, SMALL).await.unwrap_err();
        assert_eq!(failure.to_string(), "reading the body: gone");
    }
}
