//! Bodies of gRPC-Web, and what becomes of them: base64 or not, and trailers as the last message of the body.
//!
//! gRPC's `PROTOCOL-WEB.md`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::http::HeaderMap;
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, PAD};
use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};

use crate::http::{Body, BodyError};

/// Go's: bits that stand for nothing are not looked at.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// Marks a message that holds trailers.
const TRAILERS: u8 = 0x80;

/// A request's body out of base64.
pub(super) struct Decoded {
    source: Body,
    /// The beginning of a group of four.
    begun: BytesMut,
}

impl Decoded {
    pub(super) fn new(source: Body) -> Self {
        Self { source, begun: BytesMut::new() }
    }

    /// What is complete with `data`.
    fn decode(&mut self, data: &[u8]) -> Result<Bytes, BodyError> {
        self.begun.extend(data.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        let mut complete = self.begun.split_to(self.begun.len() / 4 * 4);
        let mut decoded = Vec::with_capacity(complete.len() / 4 * 3);
        // Texts that end with padding may follow each other.
        while !complete.is_empty() {
            let padding = complete.iter().position(|&byte| byte == b'=');
            let end = padding.map_or(complete.len(), |at| at / 4 * 4 + 4);
            BASE64.decode_vec(complete.split_to(end), &mut decoded)?;
        }
        Ok(decoded.into())
    }
}

impl HttpBody for Decoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.source).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                None if !self.begun.is_empty() => {
                    self.begun.clear();
                    return Poll::Ready(Some(Err("the base64 text ends too early".into())));
                }
                end @ (None | Some(Err(_))) => return Poll::Ready(end),
            };
            let data = match frame.into_data() {
                Ok(data) => self.decode(&data),
                Err(other) => return Poll::Ready(Some(Ok(other))),
            };
            if !matches!(&data, Ok(data) if data.is_empty()) {
                return Poll::Ready(Some(data.map(Frame::data)));
            }
        }
    }
}

/// A response's body for a browser, which cannot see trailers.
pub(super) struct Encoded {
    source: Body,
    text: bool,
    /// Bytes that do not make a group of three yet.
    begun: BytesMut,
    ended: bool,
}

impl Encoded {
    /// `text`: in base64.
    pub(super) fn new(source: Body, text: bool) -> Self {
        Self { source, text, begun: BytesMut::new(), ended: false }
    }

    /// As much of `data` as can be sent; in base64, all of it only with `last`.
    fn encode(&mut self, data: Bytes, last: bool) -> Bytes {
        if !self.text {
            return data;
        }
        self.begun.extend_from_slice(&data);
        let count = if last { self.begun.len() } else { self.begun.len() / 3 * 3 };
        BASE64.encode(self.begun.split_to(count)).into()
    }
}

/// The message that holds trailers.
fn message(trailers: &HeaderMap) -> Bytes {
    let mut lines = BytesMut::new();
    for (name, value) in trailers {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
    let mut message = BytesMut::with_capacity(lines.len() + 5);
    message.put_u8(TRAILERS);
    // What is larger than 4 GiB has not passed the limits of heads.
    message.put_u32(u32::try_from(lines.len()).unwrap_or(u32::MAX));
    message.extend_from_slice(&lines);
    message.freeze()
}

impl HttpBody for Encoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while !self.ended {
            let out = match Pin::new(&mut self.source).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.encode(data, false),
                    Err(frame) => {
                        self.ended = true;
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.encode(message(&trailers), true)
                    }
                },
                Poll::Ready(None) => {
                    self.ended = true;
                    self.encode(Bytes::new(), true)
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                // Nothing that is here waits for what comes.
                Poll::Pending if self.begun.is_empty() => return Poll::Pending,
                Poll::Pending => self.encode(Bytes::new(), true),
            };
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, StreamExt};
    use http_body_util::{BodyExt, StreamBody};
    use proptest::prelude::*;

    use super::*;

    type Part = Result<Frame<Bytes>, BodyError>;

    fn body(parts: Vec<Part>) -> Body {
        Body::stream(StreamBody::new(stream::iter(parts)))
    }

    #[expect(clippy::unnecessary_wraps, reason = "bodies are made of results")]
    fn part(bytes: &[u8]) -> Part {
        Ok(Frame::data(Bytes::copy_from_slice(bytes)))
    }

    async fn decoded(parts: &[&[u8]]) -> Result<Bytes, String> {
        let source = body(parts.iter().map(|bytes| part(bytes)).collect());
        let collected = Decoded::new(source).collect().await;
        collected.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn base64_is_decoded_wherever_it_is_cut() {
        for parts in [
            &[&b"AAAAAAJoaQ=="[..]][..],
            &[b"AAAAA", b"AJoaQ", b"=="],
            &[b"A", b"A", b"", b"AAAAJo\r\n", b"aQ=="],
        ] {
            assert_eq!(decoded(parts).await.unwrap(), b"\0\0\0\0\x02hi"[..]);
        }
    }

    #[tokio::test]
    async fn padded_texts_may_follow_each_other() {
        assert_eq!(decoded(&[b"YQ==YmI=Y2Nj", b"ZA=="]).await.unwrap(), "abbcccd");
    }

    #[tokio::test]
    async fn broken_base64_is_an_error() {
        for text in ["YQ", "Y?==", "=", "Y=Q=", "YQ=a"] {
            assert!(decoded(&[text.as_bytes()]).await.is_err(), "{text}");
        }
    }

    fn trailers() -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "5".parse().unwrap());
        trailers.insert("grpc-message", "gone".parse().unwrap());
        trailers
    }

    const MESSAGE: &[u8] = b"\x80\0\0\0\x24grpc-status: 5\r\ngrpc-message: gone\r\n";

    #[tokio::test]
    async fn trailers_become_the_last_message() {
        let parts = || vec![part(b"\0\0\0\0\x02"), part(b"hi"), Ok(Frame::trailers(trailers()))];
        let plain = Encoded::new(body(parts()), false).collect().await.unwrap();
        assert_eq!(plain.trailers(), None);
        let wanted = [b"\0\0\0\0\x02hi", MESSAGE].concat();
        assert_eq!(plain.to_bytes(), wanted);
        let text = Encoded::new(body(parts()), true).collect().await.unwrap().to_bytes();
        assert_eq!(BASE64.decode(text).unwrap(), wanted);
    }

    #[tokio::test]
    async fn a_body_without_trailers_gets_none() {
        let bytes = Encoded::new(body(vec![part(b"a")]), true).collect().await.unwrap().to_bytes();
        assert_eq!(bytes, "YQ==");
    }

    #[tokio::test]
    async fn what_is_there_is_sent_before_the_next_comes() {
        let source = stream::iter([part(b"abcd")]).chain(stream::pending());
        let mut body = Encoded::new(Body::stream(StreamBody::new(source)), true);
        for wanted in ["YWJj", "ZA=="] {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), wanted);
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_again(parts in prop::collection::vec(any::<Vec<u8>>(), 0..5)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let source = body(parts.iter().map(|bytes| part(bytes)).collect());
            let there = Body::stream(Encoded::new(source, true));
            let back = runtime.block_on(Decoded::new(there).collect()).unwrap().to_bytes();
            prop_assert_eq!(back, parts.concat());
        }

        #[test]
        fn no_text_panics(text in "[YQ=?\r\n]{0,20}") {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _decoded = runtime.block_on(decoded(&[text.as_bytes()]));
        }
    }
}
