//! Keeps a request's body, so that it can be sent more than once.

use ::http::HeaderMap;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::http::{Body, BodyError};

/// Bodies above this are not kept, whatever the configuration allows.
pub(super) const BYTES_MAX: usize = 32 << 20;

/// A body that has been read.
pub(super) enum Kept {
    /// All of it.
    Whole(Whole),
    /// It is larger than the limit: what has been read, with the rest behind it.
    TooLarge(Body),
}

/// A body that can be sent any number of times.
#[derive(Debug, Clone, Default)]
pub(super) struct Whole {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl Whole {
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    pub(super) fn body(&self) -> Body {
        match &self.trailers {
            None => Body::from(self.data.clone()),
            Some(_) => Body::Empty.behind(self.data.clone(), self.trailers.clone()),
        }
    }
}

/// Reads `body`, up to `limit` bytes.
pub(super) async fn keep(mut body: Body, limit: usize) -> Result<Kept, BodyError> {
    match &mut body {
        Body::Empty => return Ok(Kept::Whole(Whole::default())),
        Body::Full(data) if data.len() <= limit => {
            return Ok(Kept::Whole(Whole { data: std::mem::take(data), trailers: None }));
        }
        Body::Full(_) => return Ok(Kept::TooLarge(body)),
        Body::Client(_) | Body::Stream(_) => {}
    }
    if body.size_hint().lower() > limit as u64 {
        return Ok(Kept::TooLarge(body));
    }
    // Copied into one buffer: many small parts, each holding a large buffer alive, would cost more than they show.
    let mut data = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(part) => {
                data.extend_from_slice(&part);
                if data.len() > limit {
                    return Ok(Kept::TooLarge(body.behind(data.freeze(), trailers)));
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(Kept::Whole(Whole { data: data.freeze(), trailers }))
}

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    fn streamed(frames: Vec<Frame<Bytes>>) -> Body {
        Body::stream(StreamBody::new(futures_util::stream::iter(frames.into_iter().map(Ok))))
    }

    fn parts(texts: &[&'static str]) -> Body {
        streamed(
            texts.iter().map(|text| Frame::data(Bytes::from_static(text.as_bytes()))).collect(),
        )
    }

    async fn text(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_body_that_fits_can_be_sent_twice() {
        for body in [parts(&["abc", "", "def"]), Body::from("abcdef")] {
            let Ok(Kept::Whole(kept)) = keep(body, 6).await else { panic!("it fits") };
            assert_eq!(kept.len(), 6);
            assert_eq!(
                (text(kept.body()).await, text(kept.body()).await),
                ("abcdef".into(), "abcdef".into())
            );
        }
    }

    #[tokio::test]
    async fn a_larger_body_is_handed_on_whole() {
        for body in [parts(&["abc", "def", "ghi"]), Body::from("abcdefghi")] {
            let Ok(Kept::TooLarge(body)) = keep(body, 5).await else { panic!("it does not fit") };
            assert_eq!(text(body).await, "abcdefghi");
        }
    }

    #[tokio::test]
    async fn trailers_are_kept() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        let body = streamed(vec![Frame::data("abc".into()), Frame::trailers(trailers.clone())]);
        let Ok(Kept::Whole(kept)) = keep(body, 5).await else { panic!("it fits") };
        let sent = kept.body();
        assert_eq!(sent.size_hint().exact(), Some(3));
        assert_eq!(sent.collect().await.unwrap().trailers(), Some(&trailers));
    }
}
