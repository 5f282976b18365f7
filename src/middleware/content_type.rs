//! `contentType`: guesses the media type of a response that names none.
//!
//! Traefik v3: HTTP middlewares, `ContentType`. The guess is Go's.

mod sniff;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use ::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use ::http::{Method, StatusCode};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, broken_off};
use crate::http::{Body, BodyError, ProxyError, Request, Response};

/// Options of `contentType`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ContentType {
    /// Deprecated in Traefik: false turns the middleware off. Default: absent, on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auto_detect: Option<bool>,
}

impl Build for ContentType {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Ok(Arc::new(Detector { on: self.auto_detect.unwrap_or(true) }))
    }
}

struct Detector {
    on: bool,
}

#[async_trait]
impl Middleware for Detector {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        if !self.on || request.method() == Method::HEAD {
            return next.run(request).await;
        }
        let exchange = request.exchange().clone();
        let mut response = next.run(request).await?;
        if !is_unnamed(&response) {
            return Ok(response);
        }
        let body = std::mem::take(response.body_mut());
        let (start, body) = begin(body).await.map_err(|error| broken_off(&exchange, &error))?;
        *response.body_mut() = body;
        if !start.is_empty() {
            let guess = HeaderValue::from_static(sniff::media_type(&start));
            response.headers_mut().insert(CONTENT_TYPE, guess);
        }
        Ok(response)
    }
}

/// True where a body may come that nothing is said of.
fn is_unnamed(response: &Response) -> bool {
    let headers = response.headers();
    let status = response.status();
    !headers.contains_key(CONTENT_TYPE)
        && headers.get(CONTENT_ENCODING).is_none_or(HeaderValue::is_empty)
        && !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        && !response.body().is_end_stream()
}

/// The first bytes of a body, and the body, with nothing missing. As many as are looked at, or as many as have come:
/// there is no waiting for more than the first.
async fn begin(mut body: Body) -> Result<(Bytes, Body), BodyError> {
    if let Body::Full(data) = &body {
        return Ok((data.clone(), body));
    }
    let mut start = Bytes::new();
    let mut trailers = None;
    while start.len() < sniff::BYTES_MAX && trailers.is_none() {
        let next = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Pending if !start.is_empty() => Poll::Ready(None),
            polled => polled,
        });
        match next.await.transpose()?.map(http_body::Frame::into_data) {
            None => break,
            Some(Ok(data)) if start.is_empty() => start = data,
            Some(Ok(data)) => {
                let mut joined = BytesMut::from(start);
                joined.extend_from_slice(&data);
                start = joined.freeze();
            }
            Some(Err(frame)) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((start.clone(), body.behind(start, trailers)))
}

#[cfg(test)]
mod tests {
    use ::http::HeaderMap;
    use futures_util::stream::{self, StreamExt};
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;
    use crate::middleware::testing::{answered, header, request, text};

    type Part = Result<Frame<Bytes>, BodyError>;

    #[expect(clippy::unnecessary_wraps, reason = "bodies are made of results")]
    fn part(text: &'static str) -> Part {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    /// Parts that are here, and nothing more for ever.
    fn endless(parts: Vec<Part>) -> Body {
        Body::stream(StreamBody::new(stream::iter(parts).chain(stream::pending())))
    }

    fn ended(parts: Vec<Part>) -> Body {
        Body::stream(StreamBody::new(stream::iter(parts)))
    }

    async fn through(
        options: &str,
        method: &str,
        headers: &'static [(&'static str, &'static str)],
        body: impl Fn() -> Body + Send + Sync + 'static,
    ) -> Result<Response, ProxyError> {
        let options: ContentType = serde_json::from_str(options).unwrap();
        let outcome = answered(&options, request(method, "/", &[]), move |_| {
            let mut response = Response::new(body());
            for (name, value) in headers {
                response.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            Ok(response)
        });
        outcome.await
    }

    #[tokio::test]
    async fn a_response_without_a_type_gets_one() {
        let bodies: [fn() -> Body; 3] = [
            || Body::from("<html> a"),
            || ended(vec![part("<ht"), part("ml"), part("> a")]),
            || ended(vec![part(""), part("<html> a"), Ok(Frame::trailers(HeaderMap::new()))]),
        ];
        for body in bodies {
            let response = through("{}", "GET", &[], body).await.unwrap();
            assert_eq!(header(response.headers(), "content-type"), "text/html; charset=utf-8");
            assert_eq!(text(response.into_body()).await, "<html> a");
        }
    }

    #[tokio::test]
    async fn a_stream_is_not_held_back() {
        let response = through("{}", "GET", &[], || endless(vec![part("<html> a")])).await.unwrap();
        assert_eq!(header(response.headers(), "content-type"), "text/html; charset=utf-8");
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "<html> a");
    }

    #[tokio::test]
    async fn what_is_said_already_stays() {
        for (options, method, headers) in [
            ("{}", "GET", &[("content-type", "a/b")][..]),
            ("{}", "GET", &[("content-type", "")]),
            ("{}", "GET", &[("content-encoding", "gzip")]),
            ("{}", "HEAD", &[]),
            (r#"{"autoDetect": false}"#, "GET", &[]),
        ] {
            let response =
                through(options, method, headers, || Body::from("<html> a")).await.unwrap();
            let said = headers.iter().find(|(name, _)| *name == "content-type");
            let wanted = said.map_or("", |(_, value)| value);
            assert_eq!(header(response.headers(), "content-type"), wanted, "{headers:?}");
        }
        let empty = through(r#"{"autoDetect": true}"#, "GET", &[], Body::default).await.unwrap();
        assert!(!empty.headers().contains_key("content-type"));
    }

    #[tokio::test]
    async fn trailers_and_errors_pass() {
        let response = through("{}", "GET", &[], || {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("1"));
            ended(vec![part("a"), Ok(Frame::trailers(trailers))])
        });
        let collected = response.await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(header(collected.trailers().unwrap(), "x-sum"), "1");
        let broken = through("{}", "GET", &[], || ended(vec![Err("gone".into())])).await;
        assert_eq!(broken.unwrap_err().status(), 502);
    }
}
