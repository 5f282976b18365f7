//! `grpcWeb`: lets browsers call gRPC services.
//!
//! Traefik v3: HTTP middlewares, `GrpcWeb`. Both kinds, `application/grpc-web` and `application/grpc-web-text`.
//!
//! Differs: an answer that is no gRPC keeps its body, and one that has its trailers in its head gets no empty message
//! for them.

mod body;

use std::sync::Arc;

use ::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_LENGTH, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue, ORIGIN, TE, TRAILER, VARY,
};
use ::http::{Method, StatusCode};
use async_trait::async_trait;
use http_body::Body as _;
use serde::{Deserialize, Serialize};

use self::body::{Decoded, Encoded};
use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::http::{Body, ProxyError, Request, Response};

const GRPC: &str = "application/grpc";
const WEB: &str = "application/grpc-web";
const WEB_TEXT: &str = "application/grpc-web-text";

/// Seconds for which a browser may remember what it is allowed.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Options of `grpcWeb`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct GrpcWeb {
    /// Origins that may call; `*` means any. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_origins: Vec<String>,
}

impl Build for GrpcWeb {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Ok(Arc::new(Translator { origins: self.allow_origins.clone().into() }))
    }
}

struct Translator {
    origins: Box<[String]>,
}

#[async_trait]
impl Middleware for Translator {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        if is_preflight(&request) {
            return Ok(self.preflight(request.headers()));
        }
        let Some(text) = kind(&request) else { return next.run(request).await };
        let origin = self.allowed_origin(request.headers());
        to_grpc(&mut request, text);
        // What a browser may not read, it cannot tell of: errors are answers, too.
        let mut response = next.run(request).await.unwrap_or_else(ProxyError::into_response);
        to_web(&mut response, text);
        allow(response.headers_mut(), origin);
        expose(response.headers_mut());
        Ok(response)
    }
}

/// A browser asks whether it may call.
fn is_preflight(request: &Request) -> bool {
    let names = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS);
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        && names.is_some_and(|names| {
            names.to_str().is_ok_and(|names| names.to_ascii_lowercase().contains("x-grpc-web"))
        })
}

/// Whether the body of a gRPC-Web request is a text; `None` for other requests.
fn kind(request: &Request) -> Option<bool> {
    if request.method() != Method::POST {
        return None;
    }
    let kind = request.headers().get(CONTENT_TYPE)?.as_bytes();
    kind.starts_with(WEB.as_bytes()).then(|| kind.starts_with(WEB_TEXT.as_bytes()))
}

/// Puts another beginning in the place of one that a media type has.
fn retype(headers: &mut HeaderMap, from: &str, to: &str) {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.strip_prefix(from)).map(|rest| format!("{to}{rest}"));
    if let Some(kind) = kind.and_then(|kind| HeaderValue::try_from(kind).ok()) {
        headers.insert(CONTENT_TYPE, kind);
    }
}

fn to_grpc(request: &mut Request, text: bool) {
    let headers = request.headers_mut();
    retype(headers, if text { WEB_TEXT } else { WEB }, GRPC);
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.remove(CONTENT_LENGTH);
    if text {
        let body = request.take_body();
        request.replace_body(Body::stream(Decoded::new(body)));
    }
}

fn to_web(response: &mut Response, text: bool) {
    let kind = response.headers().get(CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(GRPC.as_bytes())) {
        return;
    }
    let headers = response.headers_mut();
    retype(headers, GRPC, if text { WEB_TEXT } else { WEB });
    headers.remove(TRAILER);
    headers.remove(CONTENT_LENGTH);
    if !response.body().is_end_stream() {
        let body = std::mem::take(response.body_mut());
        *response.body_mut() = Body::stream(Encoded::new(body, text));
    }
}

impl Translator {
    /// The request's origin, where it may call.
    fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN).filter(|origin| !origin.is_empty())?;
        let allowed =
            self.origins.iter().any(|allowed| allowed == "*" || origin == allowed.as_str());
        allowed.then(|| origin.clone())
    }

    /// Answers a browser that asks whether it may call.
    fn preflight(&self, asked: &HeaderMap) -> Response {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        let method = asked.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|method| {
            ["GET", "POST", "HEAD"]
                .iter()
                .any(|it| method.as_bytes().eq_ignore_ascii_case(it.as_bytes()))
        });
        if let (Some(origin), Some(method)) = (self.allowed_origin(asked), method) {
            allow(headers, Some(origin));
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
            if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            }
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        } else {
            allow(headers, None);
        }
        for name in ["Access-Control-Request-Method", "Access-Control-Request-Headers"] {
            headers.append(VARY, HeaderValue::from_static(name));
        }
        response
    }
}

/// Lets `origin` read the response.
fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// Lets the browser's program see all headers of the response.
fn expose(headers: &mut HeaderMap) {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    for name in ["grpc-status", "grpc-message"] {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;
    use crate::middleware::testing::{answered, fine, header, passed, request, text};

    fn options(origins: &[&str]) -> GrpcWeb {
        GrpcWeb { allow_origins: origins.iter().map(ToString::to_string).collect() }
    }

    fn call(kind: &str, body: &'static str) -> Request {
        let headers =
            [("content-type", kind), ("origin", "https://app.test"), ("content-length", "8")];
        let mut request = request("POST", "/s.S/M", &headers);
        request.replace_body(Body::from(body));
        request
    }

    #[tokio::test]
    async fn the_service_sees_grpc() {
        for (kind, body, wanted) in [
            ("application/grpc-web+proto", "plain", "application/grpc+proto"),
            ("application/grpc-web", "plain", "application/grpc"),
            ("application/grpc-web-text+proto", "cGxhaW4=", "application/grpc+proto"),
        ] {
            let mut request = passed(&options(&[]), call(kind, body)).await;
            assert_eq!(header(request.headers(), "content-type"), wanted);
            assert_eq!(header(request.headers(), "te"), "trailers");
            assert!(!request.headers().contains_key("content-length"));
            assert_eq!(text(request.take_body()).await, "plain");
        }
    }

    #[tokio::test]
    async fn others_pass_untouched() {
        for (method, kind) in [("POST", "application/grpc"), ("GET", "application/grpc-web")] {
            let request = request(method, "/", &[("content-type", kind), ("origin", "https://a")]);
            let options = options(&["*"]);
            let response = answered(&options, request, |request| {
                assert!(!request.headers().contains_key("te"));
                fine(request)
            });
            assert!(response.await.unwrap().headers().is_empty(), "{method} {kind}");
        }
    }

    /// A gRPC answer with a message and trailers.
    fn grpc_answer() -> Response {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [Ok(Frame::data(Bytes::from_static(b"hi"))), Ok(Frame::trailers(trailers))];
        let mut response = Response::new(Body::stream(StreamBody::new(stream::iter(frames))));
        let kind = HeaderValue::from_static("application/grpc+proto");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response.headers_mut().insert(TRAILER, HeaderValue::from_static("grpc-status"));
        response
    }

    #[tokio::test]
    async fn the_browser_sees_grpc_web() {
        for (kind, body) in [
            ("application/grpc-web+proto", "hi\u{80}\0\0\0\u{10}grpc-status: 0\r\n"),
            ("application/grpc-web-text+proto", "aGmAAAAAEGdycGMtc3RhdHVzOiAwDQo="),
        ] {
            let call = call(kind, "");
            let response = answered(&options(&["https://app.test"]), call, |_| Ok(grpc_answer()))
                .await
                .unwrap();
            let headers = response.headers();
            assert_eq!(header(headers, "content-type"), kind);
            assert_eq!(header(headers, "access-control-allow-origin"), "https://app.test");
            assert_eq!(header(headers, "access-control-allow-credentials"), "true");
            assert_eq!(header(headers, "vary"), "Origin");
            let exposed = header(headers, "access-control-expose-headers").to_owned();
            assert!(exposed.ends_with("grpc-status, grpc-message"), "{exposed}");
            assert!(exposed.contains("content-type") && !exposed.contains("trailer"), "{exposed}");
            let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
            let latin: String = bytes.to_bytes().iter().map(|&byte| char::from(byte)).collect();
            assert_eq!(latin, body);
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_no_grpc_keeps_its_body() {
        let options = options(&["*"]);
        let response = answered(&options, call("application/grpc-web-text", ""), |_| {
            Err(ProxyError::NoServer)
        });
        let response = response.await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(header(response.headers(), "access-control-allow-origin"), "https://app.test");
        assert_eq!(text(response.into_body()).await, "no available server\n");
    }

    #[tokio::test]
    async fn trailers_in_the_head_stay_there() {
        let options = options(&["*"]);
        let response = answered(&options, call("application/grpc-web", ""), |_| {
            let mut response = Response::new(Body::Empty);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
            response.headers_mut().insert("grpc-status", HeaderValue::from_static("12"));
            Ok(response)
        });
        let response = response.await.unwrap();
        assert_eq!(header(response.headers(), "content-type"), WEB);
        assert_eq!(header(response.headers(), "grpc-status"), "12");
        let exposed = header(response.headers(), "access-control-expose-headers");
        assert_eq!(exposed.matches("grpc-status").count(), 1);
        assert!(matches!(response.body(), Body::Empty));
    }

    #[tokio::test]
    async fn other_origins_are_not_allowed() {
        for origins in [&[][..], &["https://other.test"]] {
            let call = call("application/grpc-web", "");
            let response = answered(&options(origins), call, |_| Ok(grpc_answer())).await.unwrap();
            assert!(!response.headers().contains_key("access-control-allow-origin"));
            assert_eq!(header(response.headers(), "vary"), "Origin");
        }
    }

    fn preflight(origin: &str, method: &str) -> Request {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", "content-type,X-Grpc-Web"),
        ];
        request("OPTIONS", "/s.S/M", &headers)
    }

    #[tokio::test]
    async fn preflights_are_answered() {
        for (origin, method, allowed) in [
            ("https://app.test", "POST", true),
            ("https://app.test", "DELETE", false),
            ("https://evil.test", "POST", false),
        ] {
            let asked = preflight(origin, method);
            let options = options(&["https://app.test"]);
            let response = answered(&options, asked, |_| panic!("the service is asked"));
            let response = response.await.unwrap();
            assert_eq!(response.status(), 204);
            let headers = response.headers();
            assert_eq!(headers.get_all("vary").iter().count(), 3);
            let given = |name| header(headers, name).to_owned();
            let wanted = |text: &str| if allowed { text.to_owned() } else { String::new() };
            assert_eq!(given("access-control-allow-origin"), wanted(origin));
            assert_eq!(given("access-control-allow-methods"), wanted(method));
            assert_eq!(given("access-control-allow-headers"), wanted("content-type,X-Grpc-Web"));
            assert_eq!(given("access-control-max-age"), wanted("600"));
        }
    }

    #[tokio::test]
    async fn other_preflights_pass() {
        let asked = [("origin", "https://a"), ("access-control-request-method", "POST")];
        let response = answered(&options(&["*"]), request("OPTIONS", "/", &asked), fine).await;
        assert_eq!(response.unwrap().status(), 200);
    }
}
