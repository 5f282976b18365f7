//! What the authenticator is told, and what comes of its answer.

use super::*;
use crate::middleware::testing::{header, refused, request, secure, text};

fn gate(json: &str) -> Gate {
    let mut options: ForwardAuth = serde_json::from_str(json).unwrap();
    if options.address.is_empty() {
        options.address = "http://auth.test:8000/check?x=1".to_owned();
    }
    options.gate().unwrap()
}

/// What the authenticator is told of a request from 192.0.2.1.
fn told(json: &str, request: &Request) -> HeaderMap {
    gate(json).question(request, Bytes::new()).headers().clone()
}

const FORGED: [(&str, &str); 9] = [
    ("host", "shop.test"),
    ("x-forwarded-for", "10.0.0.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-method", "PUT"),
    ("x-forwarded-host", "forged.test"),
    ("x-forwarded-uri", "/forged"),
    ("x-forwarded-prefix", "/p"),
    ("x_forwarded_port", "1"),
    ("x-real-ip", "10.0.0.1"),
];

fn all(headers: &HeaderMap, names: [&str; 8]) -> [String; 8] {
    names.map(|name| header(headers, name).to_owned())
}

#[test]
fn trust_forward_header_has_three_states() {
    let names = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-method",
        "x-forwarded-host",
        "x-forwarded-uri",
        "x-forwarded-prefix",
        "x_forwarded_port",
        "x-real-ip",
    ];
    let asked = request("POST", "/cart?id=7", &FORGED);
    let own = ["192.0.2.1", "http", "POST", "shop.test", "/cart?id=7"];
    let with = |first: [&'static str; 5], rest: [&'static str; 3]| {
        let mut both = first.to_vec();
        both.extend(rest);
        both
    };
    let trusting = told(r#"{"trustForwardHeader": true}"#, &asked);
    let believed = ["10.0.0.1, 192.0.2.1", "https", "PUT", "forged.test", "/forged"];
    assert_eq!(all(&trusting, names).to_vec(), with(believed, ["/p", "1", "10.0.0.1"]));
    let strict = told(r#"{"trustForwardHeader": false}"#, &asked);
    assert_eq!(all(&strict, names).to_vec(), with(own, ["", "", "192.0.2.1"]));
    let unsaid = told("{}", &asked);
    assert_eq!(all(&unsaid, names).to_vec(), with(own, ["/p", "1", "10.0.0.1"]));
    assert_eq!(header(&told("{}", &secure("GET", "/", &[])), "x-forwarded-proto"), "https");
}

#[test]
fn auth_request_headers_choose_what_is_sent_along() {
    let sent = [
        ("host", "shop.test"),
        ("authorization", "Bearer x"),
        ("cookie", "a=b"),
        ("x-forwarded-port", "8443"),
    ];
    let asked = request("GET", "/", &sent);
    let some = told(r#"{"authRequestHeaders": ["Authorization", "Host"]}"#, &asked);
    assert_eq!(header(&some, "authorization"), "Bearer x");
    assert_eq!(header(&some, "x-forwarded-host"), "shop.test");
    for name in ["cookie", "host", "x-forwarded-port"] {
        assert!(!some.contains_key(name), "{name}");
    }
    let trusting =
        told(r#"{"authRequestHeaders": ["Authorization"], "trustForwardHeader": true}"#, &asked);
    assert_eq!(header(&trusting, "x-forwarded-port"), "8443");
}

#[test]
fn hop_by_hop_headers_stay_here() {
    let sent = [
        ("connection", "keep-alive, X-Secret, Upgrade"),
        ("upgrade", "websocket"),
        ("x-secret", "1"),
        ("te", "trailers"),
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
        ("expect", "100-continue"),
        ("proxy-authorization", "Basic x"),
        ("accept", "*/*"),
    ];
    let headers = told("{}", &request("POST", "/", &sent));
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.retain(|name| !name.starts_with("x-forwarded-"));
    names.sort_unstable();
    assert_eq!(names, ["accept", "proxy-authorization"]);
}

#[test]
fn preserve_request_method_asks_with_the_clients_method() {
    let question = |json: &str, method: &str| {
        gate(json).question(&request(method, "/x", &[]), Bytes::new()).method().to_string()
    };
    assert_eq!(question("{}", "DELETE"), "GET");
    assert_eq!(question(r#"{"preserveRequestMethod": true}"#, "DELETE"), "DELETE");
}

#[test]
fn a_name_and_a_password_of_the_address_are_sent_where_the_client_sends_none() {
    let json = r#"{"address": "http://ann:se%20cret@auth.test/"}"#;
    let value = format!("Basic {}", STANDARD.encode("ann:se cret"));
    assert_eq!(header(&told(json, &request("GET", "/", &[])), "authorization"), value);
    let own = request("GET", "/", &[("authorization", "Bearer x")]);
    assert_eq!(header(&told(json, &own), "authorization"), "Bearer x");
    assert_eq!(gate(json).question(&own, Bytes::new()).uri(), "/");
}

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

/// The request's headers after a good answer.
fn copied(json: &str, mut request: HeaderMap, answer: &HeaderMap) -> HeaderMap {
    gate(json).copied.apply(&mut request, answer).unwrap();
    request
}

#[test]
fn auth_response_headers_are_copied_and_never_the_clients() {
    let json = r#"{"authResponseHeaders": ["X-User", "X-Group", "Host", "Content-Length"]}"#;
    let sent = map(&[
        ("host", "shop.test"),
        ("content-length", "3"),
        ("x-user", "root"),
        ("x_user", "root"),
        ("x-group", "wheel"),
        ("x-other", "1"),
    ]);
    let answer = map(&[
        ("x-user", "ann"),
        ("x-user", "bob"),
        ("x-more", "1"),
        ("host", "other.test"),
        ("content-length", "99"),
    ]);
    let wanted = map(&[
        ("host", "shop.test"),
        ("content-length", "3"),
        ("x-other", "1"),
        ("x-user", "ann"),
        ("x-user", "bob"),
    ]);
    assert_eq!(copied(json, sent, &answer), wanted);
}

#[test]
fn auth_response_headers_regex_looks_at_names_as_go_writes_them() {
    let json = r#"{"authResponseHeadersRegex": "^X-Auth-"}"#;
    let sent = map(&[
        ("host", "shop.test"),
        ("x-auth-role", "admin"),
        ("x_auth_role", "admin"),
        ("x-au", "stays"),
    ]);
    let answer = map(&[("x-auth-user", "ann"), ("server", "x")]);
    let wanted = map(&[("host", "shop.test"), ("x-au", "stays"), ("x-auth-user", "ann")]);
    assert_eq!(copied(json, sent, &answer), wanted);
    let everything = copied(r#"{"authResponseHeadersRegex": "."}"#, map(&FORGED[..1]), &answer);
    assert_eq!(header(&everything, "host"), "shop.test");
}

#[test]
fn add_auth_cookies_to_response_replaces_the_servers() {
    let gate = gate(r#"{"addAuthCookiesToResponse": ["session", "gone"]}"#);
    let answer = map(&[("set-cookie", "session=new; Path=/"), ("set-cookie", "other=1")]);
    let mut response = map(&[
        ("set-cookie", "cart=7"),
        ("set-cookie", "session=old"),
        ("set-cookie", "gone=1; Secure"),
    ]);
    let cookies = gate.cookies.of(&answer).unwrap();
    gate.cookies.put(&mut response, cookies);
    assert_eq!(response, map(&[("set-cookie", "cart=7"), ("set-cookie", "session=new; Path=/")]));
    assert_eq!(gate.cookies.of(&map(&[])), None);
}

fn answer(status: u16, lines: &[(&'static str, &'static str)]) -> ::http::Response<Bytes> {
    let mut answer = ::http::Response::new(Bytes::from_static(b"denied"));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    *answer.headers_mut() = map(lines);
    answer
}

#[tokio::test]
async fn a_refusal_is_the_authenticators_answer() {
    let refusal = gate("{}").refusal;
    let lines = [("location", "/login?a=b"), ("x-why", "no"), ("content-length", "6")];
    let response = refusal.response(answer(303, &lines), &Method::POST).unwrap();
    assert_eq!(response.status(), 303);
    assert_eq!(header(response.headers(), "location"), "http://auth.test:8000/login?a=b");
    assert_eq!(header(response.headers(), "x-why"), "no");
    assert_eq!(text(response.into_body()).await, "denied");
    let kept = gate(r#"{"preserveLocationHeader": true}"#).refusal;
    let response = kept.response(answer(303, &lines), &Method::GET).unwrap();
    assert_eq!(header(response.headers(), "location"), "/login?a=b");
    let broken = refusal.response(answer(303, &[("location", "1:")]), &Method::GET);
    assert_eq!(broken.unwrap_err().status(), 500);
}

#[tokio::test]
async fn auth_signin_url_takes_the_place_of_a_401_alone() {
    let refusal = gate(r#"{"authSigninURL": "https://login.test/?a&b"}"#).refusal;
    let response = refusal.response(answer(401, &[]), &Method::GET).unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(header(response.headers(), "location"), "https://login.test/?a&b");
    let body = text(response.into_body()).await;
    assert_eq!(body, "<a href=\"https://login.test/?a&amp;b\">Found</a>.\n\n");
    assert_eq!(refusal.response(answer(403, &[]), &Method::GET).unwrap().status(), 403);
}

#[tokio::test]
async fn a_body_that_is_sent_along_reaches_the_server_too() {
    let mut asked = request("POST", "/", &[]);
    asked.replace_body(Body::from("12345"));
    assert_eq!(keep_body(&mut asked, 5).await.unwrap().unwrap(), "12345");
    assert_eq!(text(asked.take_body()).await, "12345");
    asked.replace_body(with_trailers(Bytes::from_static(b"12"), Some(map(&[("x-sum", "3")]))));
    assert_eq!(keep_body(&mut asked, 5).await.unwrap().unwrap(), "12");
    let whole = asked.take_body().collect().await.unwrap();
    assert_eq!(whole.trailers(), Some(&map(&[("x-sum", "3")])));
    asked.replace_body(Body::from("123456"));
    assert_eq!(keep_body(&mut asked, 5).await.unwrap(), None);
}

#[test]
fn limits_are_held_to_what_we_hold() {
    for (option, bytes) in [(None, BYTES_MAX), (Some(-1), BYTES_MAX), (Some(0), 0), (Some(7), 7)] {
        assert_eq!(limit(option), bytes);
    }
    assert_eq!(limit(Some(i64::MAX)), BYTES_MAX);
}

#[test]
fn refuses_what_cannot_work() {
    let refused = |json: &str| refused(&serde_json::from_str::<ForwardAuth>(json).unwrap());
    assert_eq!(refused("{}"), "option `address`: is no URL");
    assert_eq!(
        refused(r#"{"address": "auth.test"}"#),
        "option `address`: must begin with `http://` or `https://`"
    );
    for (json, begin) in [
        (
            r#"{"address": "http://a", "authResponseHeadersRegex": "(["}"#,
            "option `authResponseHeadersRegex`: `([`",
        ),
        (
            r#"{"address": "http://a", "authResponseHeaders": ["a b"]}"#,
            "option `authResponseHeaders`: `a b`: ",
        ),
        (
            r#"{"address": "http://a", "tls": {"cert": "x"}}"#,
            "option `tls`: `cert` and `key` go together",
        ),
        (r#"{"address": "http://a", "tls": {"ca": "x"}}"#, "option `tls`: option `rootCAs`: "),
    ] {
        let text = refused(json);
        assert!(text.starts_with(begin), "{text}");
    }
}
