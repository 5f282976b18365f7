//! Limits of both bodies, and when a request is tried again.

use std::sync::Mutex;

use bytes::Bytes;
use futures_util::stream;
use http_body::{Body as _, Frame};
use http_body_util::StreamBody;

use super::*;
use crate::middleware::testing::{answered, built, fine, passed, refused, request, service, text};

fn options(json: &str) -> Buffering {
    serde_json::from_str(json).unwrap()
}

/// A body of unknown length.
fn streamed(parts: &'static [&'static str]) -> Body {
    let frames = parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes()))));
    Body::stream(StreamBody::new(stream::iter(frames)))
}

fn post(body: Body) -> Request {
    let mut request = request("POST", "/", &[("host", "example.com")]);
    request.replace_body(body);
    request
}

#[tokio::test]
async fn the_service_gets_a_body_whose_length_is_known() {
    let mut request = passed(&options("{}"), post(streamed(&["abc", "def"]))).await;
    let body = request.take_body();
    assert_eq!(body.size_hint().exact(), Some(6));
    assert_eq!(text(body).await, "abcdef");
}

#[tokio::test]
async fn a_larger_request_is_413_and_nobody_is_asked() {
    let limited = options(r#"{"maxRequestBodyBytes": 5}"#);
    for body in [streamed(&["abc", "def"]), Body::from("abcdef")] {
        let response =
            answered(&limited, post(body), |_| panic!("the service is asked")).await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(text(response.into_body()).await, "Request Entity Too Large");
    }
    let response = answered(&limited, post(Body::from("abcde")), fine).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_larger_response_is_500_and_is_not_tried_again() {
    let limited = options(r#"{"maxResponseBodyBytes": 5, "retryExpression": "Attempts() < 9"}"#);
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let response = answered(&limited, post(Body::Empty), move |_| {
        *count.lock().unwrap() += 1;
        Ok(Response::new(streamed(&["abc", "def"])))
    });
    let response = response.await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(text(response.into_body()).await, "Internal Server Error");
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[tokio::test]
async fn the_client_gets_the_response_once_it_is_whole() {
    let spilled = options(r#"{"memResponseBodyBytes": 2}"#);
    let response =
        answered(&spilled, post(Body::Empty), |_| Ok(Response::new(streamed(&["abc", "def"]))));
    let body = response.await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), Some(6));
    assert_eq!(text(body).await, "abcdef");
}

#[tokio::test]
async fn a_response_that_breaks_is_502_and_counts_as_a_network_error() {
    let options = options(r#"{"retryExpression": "IsNetworkError() && Attempts() < 2"}"#);
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let outcome = answered(&options, post(Body::Empty), move |_| {
        *count.lock().unwrap() += 1;
        let frames = [Ok(Frame::data(Bytes::from_static(b"abc"))), Err("gone".into())];
        Ok(Response::new(Body::stream(StreamBody::new(stream::iter(frames)))))
    });
    assert_eq!(outcome.await.unwrap_err().status(), 502);
    assert_eq!(*asked.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_client_that_breaks_off_is_not_asked_for_again() {
    let options = options(r#"{"retryExpression": "Attempts() < 9"}"#);
    let frames = [Ok(Frame::data(Bytes::from_static(b"abc"))), Err("gone".into())];
    let body = Body::stream(StreamBody::new(stream::iter(frames)));
    let outcome = answered(&options, post(body), fine).await;
    assert_eq!(outcome.unwrap_err().side(), Side::Client);
}

/// What the service got, and the status of the answer, where the service answers `status`.
async fn tried(expression: &str, request: Request, status: u16) -> (Vec<String>, u16) {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let kept = bodies.clone();
    let last = service(move |mut request: Request| {
        kept.lock().unwrap().push(request.take_body());
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = status.try_into().unwrap();
        Ok(response)
    });
    let json = serde_json::json!({"retryExpression": expression, "memRequestBodyBytes": 2});
    let middleware = built(&serde_json::from_value::<Buffering>(json).unwrap()).unwrap();
    let response = middleware.handle(request, Next::directly(&last)).await.unwrap();
    let bodies = std::mem::take(&mut *bodies.lock().unwrap());
    let mut texts = Vec::new();
    for body in bodies {
        texts.push(text(body).await);
    }
    (texts, response.status().as_u16())
}

#[tokio::test]
async fn the_expression_decides_about_another_try_with_the_same_body() {
    let retry = "ResponseCode() == 503 && Attempts() <= 2";
    let (bodies, status) = tried(retry, post(streamed(&["or", "der"])), 503).await;
    assert_eq!((bodies, status), (vec!["order".to_owned(); 3], 503));
    assert_eq!(tried(retry, post(Body::from("order")), 200).await.0.len(), 1);
    assert_eq!(tried(retry, request("GET", "/", &[]), 503).await.0, ["", "", ""]);
}

#[tokio::test]
async fn there_are_at_most_ten_more_tries() {
    let (bodies, _) = tried("Attempts() > 0", request("GET", "/", &[]), 200).await;
    assert_eq!(bodies.len(), 11);
}

#[tokio::test]
async fn a_switch_of_protocols_passes() {
    let options = options(r#"{"retryExpression": "Attempts() < 9"}"#);
    let response = answered(&options, request("GET", "/", &[]), |_| {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        Ok(response)
    });
    assert_eq!(response.await.unwrap().status(), 101);
}

#[test]
fn mistakes_are_refused() {
    for option in [
        "maxRequestBodyBytes",
        "memRequestBodyBytes",
        "maxResponseBodyBytes",
        "memResponseBodyBytes",
    ] {
        let text = refused(&options(&format!(r#"{{"{option}": -1}}"#)));
        assert_eq!(text, format!("option `{option}`: cannot be negative"));
    }
    assert_eq!(
        refused(&options(r#"{"retryExpression": "Foo() > 1"}"#)),
        "option `retryExpression`: unsupported function: Foo"
    );
}
