//! What is tried again, how often, and with what body.

use std::sync::Mutex;

use ::http::StatusCode;
use bytes::Bytes;
use http_body_util::BodyExt;

use super::*;
use crate::middleware::testing::{built, refused, request, service};

/// Runs a request with `body` against a service that answers from a list and then 200; tells the outcome, and what
/// body each try had.
async fn tried(
    json: &str,
    mut request: Request,
    body: Body,
    mut answers: Vec<Result<u16, ProxyError>>,
) -> (Result<Response, ProxyError>, Vec<String>) {
    let options: Retry = serde_json::from_str(json).unwrap();
    request.replace_body(body);
    answers.reverse();
    let answers = Mutex::new(answers);
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = bodies.clone();
    let last = service(move |mut request| {
        let answer = answers.lock().unwrap().pop().unwrap_or(Ok(200));
        let read = match &answer {
            Err(error) if error.nothing_sent() => String::new(),
            _ => {
                let body = request.take_body().collect();
                let bytes =
                    futures_util::FutureExt::now_or_never(body).unwrap().unwrap().to_bytes();
                String::from_utf8(bytes.to_vec()).unwrap()
            }
        };
        seen.lock().unwrap().push(read);
        answer.map(|status| {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        })
    });
    let outcome = built(&options).unwrap().handle(request, Next::directly(&last)).await;
    let bodies = bodies.lock().unwrap().clone();
    (outcome, bodies)
}

fn refused_connection() -> Result<u16, ProxyError> {
    Err(ProxyError::Connect { server: "a".to_owned(), reason: "refused".to_owned() })
}

fn get() -> Request {
    request("GET", "/", &[])
}

/// A body that streams in two parts.
fn streamed() -> Body {
    let parts =
        ["pay", "load"].map(|part| Ok(http_body::Frame::data(Bytes::from_static(part.as_bytes()))));
    Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter(parts)))
}

const BY_STATUS: &str = r#"{"attempts": 3, "status": ["503"]}"#;

#[tokio::test]
async fn connections_that_fail_are_tried_again_with_the_body_untouched() {
    let answers = vec![refused_connection(), refused_connection()];
    let post = request("POST", "/", &[]);
    let (outcome, bodies) = tried(r#"{"attempts": 3}"#, post, streamed(), answers).await;
    assert_eq!(outcome.unwrap().status(), 200);
    assert_eq!(bodies, ["", "", "payload"]);
}

#[tokio::test]
async fn the_last_failure_is_passed_on() {
    let answers = (0..5).map(|_| refused_connection()).collect();
    let (outcome, bodies) = tried(r#"{"attempts": 3}"#, get(), Body::Empty, answers).await;
    assert_eq!(outcome.unwrap_err().status(), 502);
    assert_eq!(bodies.len(), 3);
}

#[tokio::test]
async fn one_attempt_means_no_second() {
    let answers = vec![refused_connection()];
    let (outcome, _) = tried(r#"{"attempts": 1}"#, get(), Body::Empty, answers).await;
    assert!(outcome.is_err());
}

#[tokio::test]
async fn what_a_server_has_seen_is_not_tried_again_without_status() {
    let broken = ProxyError::Upstream { server: "a".to_owned(), reason: "eof".to_owned() };
    let (outcome, bodies) =
        tried(r#"{"attempts": 3}"#, get(), Body::Empty, vec![Err(broken)]).await;
    assert_eq!(outcome.unwrap_err().status(), 502);
    assert_eq!(bodies.len(), 1);
}

#[tokio::test]
async fn listed_statuses_are_tried_again_with_the_body() {
    for body in [streamed(), Body::from("payload")] {
        let put = request("PUT", "/", &[]);
        let (outcome, bodies) = tried(BY_STATUS, put, body, vec![Ok(503), Ok(503)]).await;
        let response = outcome.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(bodies, ["payload"; 3]);
    }
}

#[tokio::test]
async fn other_statuses_and_spent_attempts_are_passed_on() {
    let (outcome, bodies) = tried(BY_STATUS, get(), Body::Empty, vec![Ok(500)]).await;
    assert_eq!((outcome.unwrap().status().as_u16(), bodies.len()), (500, 1));
    let answers = vec![Ok(503), Ok(503), Ok(503)];
    let (outcome, bodies) = tried(BY_STATUS, get(), Body::Empty, answers).await;
    assert_eq!((outcome.unwrap().status().as_u16(), bodies.len()), (503, 3));
}

#[tokio::test]
async fn methods_that_change_things_need_leave() {
    for (method, json, tries) in [
        ("POST", BY_STATUS, 1),
        ("PATCH", BY_STATUS, 1),
        ("LOCK", BY_STATUS, 1),
        ("PUT", BY_STATUS, 2),
        ("POST", r#"{"attempts": 3, "status": ["503"], "retryNonIdempotentMethod": true}"#, 2),
    ] {
        let asked = request(method, "/", &[]);
        let (_, bodies) = tried(json, asked, Body::Empty, vec![Ok(503)]).await;
        assert_eq!(bodies.len(), tries, "{method}");
    }
}

#[tokio::test]
async fn bodies_over_the_limit_are_sent_once() {
    let json = r#"{"attempts": 3, "status": ["503"], "maxRequestBodyBytes": 6}"#;
    for body in [streamed(), Body::from("payload")] {
        let put = request("PUT", "/", &[]);
        let (outcome, bodies) = tried(json, put, body, vec![Ok(503)]).await;
        assert_eq!(outcome.unwrap().status(), 503);
        assert_eq!(bodies, ["payload"]);
    }
}

/// http.md §5, `retry.disableRetryOnNetworkError`: statuses are tried again, connections that fail are not.
#[tokio::test]
async fn network_errors_can_be_left_alone() {
    let json = r#"{"attempts": 3, "status": ["503"], "disableRetryOnNetworkError": true}"#;
    let (outcome, bodies) = tried(json, get(), Body::Empty, vec![refused_connection()]).await;
    assert_eq!((outcome.unwrap_err().status().as_u16(), bodies.len()), (502, 1));
    let (outcome, bodies) = tried(json, get(), Body::Empty, vec![Ok(503)]).await;
    assert_eq!((outcome.unwrap().status().as_u16(), bodies.len()), (200, 2));
    let (outcome, bodies) = tried(BY_STATUS, get(), Body::Empty, vec![refused_connection()]).await;
    assert_eq!((outcome.unwrap().status().as_u16(), bodies.len()), (200, 2));
}

#[test]
fn pauses_grow_to_the_double() {
    let options: Retry =
        serde_json::from_str(r#"{"attempts": 3, "initialInterval": "100ms"}"#).unwrap();
    let retrier = options.retrier().unwrap();
    assert_eq!(retrier.pause_after(1).as_millis(), 100);
    assert_eq!(retrier.pause_after(2).as_millis(), 141);
    assert_eq!(retrier.pause_after(3).as_millis().div_ceil(10), 20);
}

#[tokio::test]
async fn a_pause_that_would_pass_the_timeout_ends_it() {
    let json = r#"{"attempts": 3, "initialInterval": "2h", "timeout": "1h"}"#;
    let (outcome, bodies) = tried(json, get(), Body::Empty, vec![refused_connection()]).await;
    assert!(outcome.is_err());
    assert_eq!(bodies.len(), 1);
}

#[test]
fn refuses_what_cannot_work() {
    let refused = |json: &str| refused(&serde_json::from_str::<Retry>(json).unwrap());
    assert_eq!(
        refused(r#"{"initialInterval": "10ms"}"#),
        "incorrect (or empty) value for attempt (0)"
    );
    assert!(
        refused(r#"{"attempts": 2, "disableRetryOnNetworkError": true}"#)
            .starts_with("nothing to retry")
    );
    assert!(refused(r#"{"attempts": 2, "status": ["x"]}"#).starts_with("option `status`: "));
}
