//! A body that is compressed on its way.
//!
//! What is there is always sent: where the source has nothing more for now, the encoder is flushed, so that events
//! arrive when they happen.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use ::http::HeaderMap;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};

use super::accept::Encoding;
use crate::http::{Body, BodyError};

/// Bytes that are compressed in one go.
const SLICE: usize = 16 * 1024;
/// Bytes after which other tasks of the core have their turn.
const TURN: usize = 128 * 1024;
/// Bytes of output that are handed on at once.
const OUTPUT: usize = 16 * 1024;

/// As zlib's own default.
const GZIP_LEVEL: u32 = 6;
/// Half the memory and time of the next one, for about a percent of size.
const BROTLI_LEVEL: u32 = 5;
/// As the library's own default; windows stay below the 8 MiB of RFC 9659.
const ZSTD_LEVEL: i32 = 3;

/// Compresses into memory.
enum Encoder {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// `length`: of the whole body, where it is known.
    fn new(encoding: Encoding, length: Option<u64>) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
            Encoding::Brotli => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                OUTPUT,
                BROTLI_LEVEL,
                window(length),
            ))),
            Encoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(window(length))?;
                Self::Zstd(encoder)
            }
        })
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(data),
            Self::Brotli(encoder) => encoder.write_all(data),
            Self::Zstd(encoder) => encoder.write_all(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Brotli(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }

    /// What has come out so far, and has not been taken.
    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }

    /// The end, with what has not been taken.
    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// The logarithm of the window. It is memory, of which more than the body is of no use; streams of unknown length live
/// long and may be many.
fn window(length: Option<u64>) -> u32 {
    let bits = length.map_or(17, |length| u64::BITS - length.leading_zeros());
    bits.clamp(10, 20)
}

/// See the module.
pub(super) struct Compressed {
    source: Body,
    /// What has been read and is still to be compressed.
    input: Bytes,
    /// `None` once the last of it has been taken.
    encoder: Option<Encoder>,
    /// Something went into the encoder since its last flush.
    unflushed: bool,
    trailers: Option<HeaderMap>,
    /// Bytes that were compressed since other tasks had their turn.
    worked: usize,
}

impl Compressed {
    pub(super) fn new(source: Body, encoding: Encoding) -> io::Result<Self> {
        let encoder = Encoder::new(encoding, source.size_hint().exact())?;
        Ok(Self {
            source,
            input: Bytes::new(),
            encoder: Some(encoder),
            unflushed: false,
            trailers: None,
            worked: 0,
        })
    }

    /// Compresses what has been read, as far as its turn goes; gives what has come out, if that is enough to go on.
    fn work(&mut self, encoder: &mut Encoder, cx: &Context<'_>) -> io::Result<Work> {
        while !self.input.is_empty() {
            if self.worked >= TURN {
                self.worked = 0;
                cx.waker().wake_by_ref();
                return Ok(Work::Interrupted);
            }
            let slice = self.input.split_to(self.input.len().min(SLICE));
            encoder.write(&slice)?;
            self.worked += slice.len();
            self.unflushed = true;
            if encoder.output().len() >= OUTPUT {
                return Ok(Work::Output(std::mem::take(encoder.output()).into()));
            }
        }
        Ok(Work::Done)
    }
}

enum Work {
    Done,
    Interrupted,
    Output(Bytes),
}

/// What `poll_frame` gives.
type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

fn data(bytes: impl Into<Bytes>) -> Polled {
    Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
}

impl Compressed {
    /// The next frame; `Ok(None)` at the end of the data.
    fn poll_data(&mut self, encoder: &mut Encoder, cx: &mut Context<'_>) -> io::Result<Next> {
        loop {
            match self.work(encoder, cx)? {
                Work::Done => {}
                Work::Interrupted => return Ok(Next::Frame(Poll::Pending)),
                Work::Output(bytes) => return Ok(Next::Frame(data(bytes))),
            }
            match Pin::new(&mut self.source).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => self.input = bytes,
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Poll::Ready(Some(Err(error))) => {
                    return Ok(Next::Frame(Poll::Ready(Some(Err(error)))));
                }
                Poll::Ready(None) => return Ok(Next::End),
                Poll::Pending => {
                    self.worked = 0;
                    if std::mem::take(&mut self.unflushed) {
                        encoder.flush()?;
                    }
                    let bytes = std::mem::take(encoder.output());
                    let pending = bytes.is_empty();
                    return Ok(Next::Frame(if pending { Poll::Pending } else { data(bytes) }));
                }
            }
        }
    }
}

enum Next {
    Frame(Polled),
    End,
}

impl HttpBody for Compressed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        let Some(mut encoder) = this.encoder.take() else {
            return Poll::Ready(this.trailers.take().map(Frame::trailers).map(Ok));
        };
        match this.poll_data(&mut encoder, cx) {
            Ok(Next::Frame(frame)) => {
                this.encoder = Some(encoder);
                frame
            }
            Ok(Next::End) => match encoder.finish() {
                Ok(bytes) => data(bytes),
                Err(error) => Poll::Ready(Some(Err(error.into()))),
            },
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::task::Waker;

    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    const ALL: [Encoding; 3] = [Encoding::Gzip, Encoding::Brotli, Encoding::Zstd];

    /// Undoes an encoding; an end that is missing is no error here, so that parts can be read.
    fn undone(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut reader: Box<dyn Read + '_> = match encoding {
            Encoding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
            Encoding::Brotli => Box::new(brotli::Decompressor::new(bytes, 4096)),
            Encoding::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        };
        let mut out = Vec::new();
        let mut part = [0; 512];
        while let Ok(count @ 1..) = reader.read(&mut part) {
            out.extend_from_slice(&part[..count]);
        }
        out
    }

    /// A text that does not compress to nothing.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"abcdefghijklmnop"[(state >> 28) as usize]
        })
        .take(length)
        .collect()
    }

    #[tokio::test]
    async fn what_is_compressed_can_be_undone() {
        for encoding in ALL {
            for length in [0, 1, 1024, 1_000_000] {
                let text = sample(length);
                let source = Body::from(Bytes::from(text.clone()));
                let body = Compressed::new(source, encoding).unwrap();
                let bytes = body.collect().await.unwrap().to_bytes();
                assert_eq!(undone(encoding, &bytes), text, "{encoding:?} {length}");
                assert!(length < 1024 || bytes.len() < length * 3 / 4, "{encoding:?} {length}");
            }
        }
    }

    type Frames = Result<Frame<Bytes>, BodyError>;

    /// A body that gives what is sent to it.
    fn channel() -> (mpsc::Sender<Frames>, Body) {
        let (sender, mut receiver) = mpsc::channel(8);
        let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        (sender, Body::stream(StreamBody::new(stream)))
    }

    #[tokio::test]
    async fn what_is_there_is_sent_without_waiting_for_more() {
        for encoding in ALL {
            let (sender, source) = channel();
            let mut body = Compressed::new(source, encoding).unwrap();
            let mut got = Vec::new();
            for event in ["data: 1\n\n", "data: 2\n\n"] {
                sender.send(Ok(Frame::data(event.into()))).await.unwrap();
                got.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
                assert!(undone(encoding, &got).ends_with(event.as_bytes()), "{encoding:?}");
                let mut cx = Context::from_waker(Waker::noop());
                assert!(Pin::new(&mut body).poll_frame(&mut cx).is_pending());
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "1".parse().unwrap());
            sender.send(Ok(Frame::trailers(trailers.clone()))).await.unwrap();
            drop(sender);
            let rest = body.collect().await.unwrap();
            assert_eq!(rest.trailers(), Some(&trailers));
            got.extend_from_slice(&rest.to_bytes());
            assert_eq!(undone(encoding, &got), b"data: 1\n\ndata: 2\n\n");
        }
    }

    #[tokio::test]
    async fn a_source_that_breaks_breaks_the_body() {
        let (sender, source) = channel();
        let body = Compressed::new(source, Encoding::Gzip).unwrap();
        sender.send(Ok(Frame::data("abc".into()))).await.unwrap();
        sender.send(Err("gone".into())).await.unwrap();
        assert_eq!(body.collect().await.unwrap_err().to_string(), "gone");
    }

    #[test]
    fn a_large_body_lets_others_have_their_turn() {
        let source = Body::from(Bytes::from(vec![b'a'; 4 * TURN]));
        let mut body = Compressed::new(source, Encoding::Gzip).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut turns = 0;
        while Pin::new(&mut body).poll_frame(&mut cx).is_pending() {
            turns += 1;
        }
        assert!(turns >= 3, "{turns}");
    }

    #[test]
    fn windows_fit_the_body() {
        for (length, wanted) in [(Some(1), 10), (Some(5000), 13), (Some(1 << 30), 20), (None, 17)] {
            assert_eq!(window(length), wanted, "{length:?}");
        }
    }
}
