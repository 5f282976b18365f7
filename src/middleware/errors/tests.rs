//! What is caught, which page is asked for, and with what.

use std::sync::Mutex;

use super::*;
use crate::http::NothingSent;
use crate::middleware::testing::{built_with, header, refused, request, secure, service, text};

/// What the service of the pages got.
type Asked = Arc<Mutex<Vec<Request>>>;

/// A service that has a page for everything, and notes what it is asked.
fn pages() -> (SharedHandler, Asked) {
    let asked = Asked::default();
    let notes = asked.clone();
    let pages = service(move |request| {
        notes.lock().unwrap().push(request);
        let mut response = Response::new(Body::from("page"));
        response.headers_mut().insert("x-page", "1".parse().unwrap());
        Ok(response)
    });
    (pages, asked)
}

/// What `options` make of `request` where the service in front answers `status`.
async fn answered(options: &str, request: Request, status: u16) -> (Response, Vec<Request>) {
    let (pages, asked) = pages();
    let options: Errors = serde_json::from_str(options).unwrap();
    let middleware = built_with(&options, pages).unwrap();
    let last = service(move |_| {
        let mut response = Response::new(Body::from("caught"));
        response.headers_mut().insert("x-caught", "1".parse().unwrap());
        *response.status_mut() = status.try_into().unwrap();
        Ok(response)
    });
    let response = middleware.handle(request, Next::directly(&last)).await.unwrap();
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    (response, asked)
}

fn post() -> Request {
    let headers = [
        ("host", "site.test"),
        ("x-trace", "1"),
        ("x-trace", "2"),
        ("content-length", "3"),
        ("expect", "100-continue"),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    let mut request = request("POST", "/a%20b?c=d&e", &headers);
    request.replace_body(Body::from("x=1"));
    request
}

const ALL: &str = r#"{"status": ["500-504", "404"], "service": "pages",
    "statusRewrites": {"404": 200, "502-503": 418},
    "query": "/{status}/{originalStatus}.html?from={url}"}"#;

#[tokio::test]
async fn what_is_not_listed_passes() {
    let (response, asked) = answered(ALL, post(), 505).await;
    assert_eq!((response.status().as_u16(), asked.len()), (505, 0));
    assert_eq!(header(response.headers(), "x-caught"), "1");
    assert_eq!(text(response.into_body()).await, "caught");
}

#[tokio::test]
async fn the_page_has_the_status_of_the_error_and_nothing_else_of_it() {
    let (response, asked) = answered(ALL, post(), 500).await;
    assert_eq!(response.status(), 500);
    assert!(!response.headers().contains_key("x-caught"));
    assert_eq!(header(response.headers(), "x-page"), "1");
    assert_eq!(text(response.into_body()).await, "page");
    let [page] = &asked[..] else { panic!("one page is asked for") };
    assert_eq!(page.method(), Method::GET);
    assert_eq!(page.uri(), "/500/500.html?from=http%3A%2F%2Fsite.test%2Fa%2520b%3Fc%3Dd%26e");
}

#[tokio::test]
async fn the_page_request_has_the_headers_but_no_body_and_no_client() {
    let (_, mut asked) = answered(ALL, post(), 500).await;
    let mut page = asked.pop().unwrap();
    assert_eq!(page.host(), Some("site.test"));
    assert_eq!(page.headers().get_all("x-trace").iter().count(), 2);
    assert_eq!(header(page.headers(), "x-forwarded-for"), "203.0.113.9");
    assert!(!page.headers().contains_key("content-length"));
    assert!(!page.headers().contains_key("expect"));
    assert!(page.extensions_mut().get::<KeepForwardedFor>().is_some());
    assert!(matches!(page.take_body(), Body::Empty));
}

#[tokio::test]
async fn only_listed_headers_are_passed_on() {
    for (listed, trace) in [(r#"["X-Trace"]"#, 2), ("[]", 0)] {
        let options = format!(
            r#"{{"status": ["500"], "service": "pages", "errorRequestHeaders": {listed}}}"#
        );
        let (_, mut asked) = answered(&options, post(), 500).await;
        let page = asked.pop().unwrap();
        assert_eq!(page.host(), Some("site.test"));
        assert_eq!(page.headers().get_all("x-trace").iter().count(), trace);
        assert!(!page.headers().contains_key("x-forwarded-for"));
        assert_eq!(page.uri(), "/");
    }
}

#[tokio::test]
async fn statuses_are_rewritten_by_status_and_by_range() {
    for (from, to) in [(404, 200), (502, 418), (503, 418), (504, 504)] {
        let (response, asked) = answered(ALL, post(), from).await;
        assert_eq!(response.status(), to);
        assert_eq!(asked[0].uri().path(), format!("/{to}/{from}.html"));
    }
}

#[tokio::test]
async fn a_status_without_a_body_gets_none() {
    let options = r#"{"status": ["500"], "statusRewrites": {"500": 204}, "service": "pages"}"#;
    let (response, _) = answered(options, post(), 500).await;
    assert_eq!(response.status(), 204);
    assert!(matches!(response.body(), Body::Empty));
}

#[tokio::test]
async fn the_url_tells_of_tls() {
    let options = r#"{"status": ["500"], "service": "pages", "query": "p q?u={url}"}"#;
    let (_, asked) = answered(options, secure("GET", "/", &[("host", "a.test")]), 500).await;
    assert_eq!(asked[0].uri(), "/p%20q?u=https%3A%2F%2Fa.test%2F");
}

#[tokio::test]
async fn errors_without_an_answer_are_caught_too() {
    let (pages, _) = pages();
    let middleware = built_with(&serde_json::from_str::<Errors>(ALL).unwrap(), pages).unwrap();
    let down = service(|_| Err(ProxyError::NoServer));
    let response = middleware.handle(post(), Next::directly(&down)).await.unwrap();
    assert_eq!(response.status(), 418);
    assert!(response.extensions().get::<NothingSent>().is_none());
}

#[tokio::test]
async fn a_page_that_cannot_be_had_leaves_the_status_of_the_error() {
    let dead =
        service(|_| Err(ProxyError::Connect { server: "pages".into(), reason: "refused".into() }));
    let middleware = built_with(&serde_json::from_str::<Errors>(ALL).unwrap(), dead).unwrap();
    let last = service(|_| Err(ProxyError::Internal("x".into())));
    let response = middleware.handle(post(), Next::directly(&last)).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(text(response.into_body()).await, "Bad Gateway");
}

#[test]
fn mistakes_are_refused() {
    let refused = |json: &str| refused(&serde_json::from_str::<Errors>(json).unwrap());
    assert_eq!(refused(r#"{"service": "pages"}"#), "the service \"pages\" does not exist");
    assert!(refused(r#"{"status": ["x"]}"#).starts_with("option `status`: "));
    assert!(refused(r#"{"statusRewrites": {"5": 100}}"#).starts_with("option `statusRewrites`: "));
    assert!(refused(r#"{"statusRewrites": {"x": 200}}"#).starts_with("option `statusRewrites`: "));
    assert!(
        refused(r#"{"errorRequestHeaders": ["a b"]}"#)
            .starts_with("option `errorRequestHeaders`: ")
    );
}
