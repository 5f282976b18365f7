//! What clients and servers get of `headers`.

use super::*;
use crate::http::{Body, KeepForwardedFor};
use crate::middleware::testing::{
    answered, header, passed, refused, request, response, secure, text,
};

fn headers(json: &str) -> Headers {
    serde_json::from_str(json).unwrap()
}

#[tokio::test]
async fn custom_request_headers_are_set_and_deleted() {
    let options =
        headers(r#"{"customRequestHeaders": {"X-A": "new", "X-B": "", "Host": "inner.test"}}"#);
    let asked = request("GET", "/", &[("x-a", "old"), ("x-b", "b"), ("host", "outer.test")]);
    let seen = passed(&options, asked).await;
    assert_eq!(header(seen.headers(), "x-a"), "new");
    assert_eq!(header(seen.headers(), "x-b"), "");
    assert_eq!(seen.host(), Some("inner.test"));
}

#[tokio::test]
async fn an_empty_forwarded_for_also_keeps_the_address_out() {
    let options = headers(r#"{"customRequestHeaders": {"X-Forwarded-For": ""}}"#);
    let mut seen = passed(&options, request("GET", "/", &[("x-forwarded-for", "::1")])).await;
    assert!(seen.headers().get("x-forwarded-for").is_none());
    assert!(seen.extensions_mut().get::<KeepForwardedFor>().is_some());
}

#[tokio::test]
async fn custom_response_headers_win_over_the_server_and_security() {
    let options = headers(
        r#"{"frameDeny": true, "customResponseHeaders": {"X-Frame-Options": "SAMEORIGIN", "X-Powered-By": ""}}"#,
    );
    let answer = answered(&options, request("GET", "/", &[]), |_| {
        Ok(::http::Response::builder().header("x-powered-by", "php").body(Body::Empty).unwrap())
    });
    let answer = answer.await.unwrap();
    assert_eq!(header(answer.headers(), "x-frame-options"), "SAMEORIGIN");
    assert_eq!(header(answer.headers(), "x-powered-by"), "");
}

#[tokio::test]
async fn errors_get_the_headers_and_stay_safe_to_retry() {
    let options = headers(r#"{"frameDeny": true}"#);
    let answer = answered(&options, request("GET", "/", &[]), |_| {
        Err(ProxyError::ConnectTimeout { server: "a".to_owned() })
    });
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 504);
    assert_eq!(header(answer.headers(), "x-frame-options"), "DENY");
    assert!(answer.extensions().get::<crate::http::NothingSent>().is_some());
}

fn preflight(origin: &str) -> Request {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "X-One"),
    ];
    request("OPTIONS", "/", &headers)
}

#[tokio::test]
async fn preflights_are_answered_here() {
    let options = headers(
        r#"{"accessControlAllowOriginList": ["https://a.test"], "accessControlAllowMethods": ["GET", "PUT"],
            "accessControlAllowHeaders": ["X-One", "X-Two"], "accessControlMaxAge": 100}"#,
    );
    let answer = response(&options, preflight("https://a.test")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(answer.headers(), "content-length"), "0");
    assert_eq!(header(answer.headers(), "access-control-allow-origin"), "https://a.test");
    assert_eq!(header(answer.headers(), "access-control-allow-methods"), "GET,PUT");
    assert_eq!(header(answer.headers(), "access-control-allow-headers"), "X-One,X-Two");
    assert_eq!(header(answer.headers(), "access-control-max-age"), "100");
    let other = response(&options, preflight("https://b.test")).await;
    assert_eq!(header(other.headers(), "access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_preflight_without_cors_options_goes_on() {
    let seen = passed(&headers(r#"{"frameDeny": true}"#), preflight("https://a.test")).await;
    assert_eq!(seen.method(), "OPTIONS");
}

#[tokio::test]
async fn wildcards_with_credentials_echo_what_was_asked() {
    let options = headers(
        r#"{"accessControlAllowOriginList": ["*"], "accessControlAllowMethods": ["*"],
            "accessControlAllowHeaders": ["*"], "accessControlAllowCredentials": true}"#,
    );
    let answer = response(&options, preflight("https://a.test")).await;
    assert_eq!(header(answer.headers(), "access-control-allow-origin"), "https://a.test");
    assert_eq!(header(answer.headers(), "access-control-allow-methods"), "PUT");
    assert_eq!(header(answer.headers(), "access-control-allow-headers"), "X-One");
    assert_eq!(header(answer.headers(), "access-control-allow-credentials"), "true");
    let plain = headers(r#"{"accessControlAllowOriginList": ["*"]}"#);
    let answer = response(&plain, preflight("https://a.test")).await;
    assert_eq!(header(answer.headers(), "access-control-allow-origin"), "*");
}

#[tokio::test]
async fn responses_tell_origin_exposed_headers_and_vary() {
    let options = headers(
        r#"{"accessControlAllowOriginListRegex": ["^https://[a-z]+\\.test$"], "addVaryHeader": true,
            "accessControlExposeHeaders": ["X-A", "X-B"]}"#,
    );
    let asked = request("GET", "/", &[("origin", "https://abc.test")]);
    let answer = answered(&options, asked, |_| {
        Ok(::http::Response::builder().header("vary", "Accept").body(Body::Empty).unwrap())
    });
    let answer = answer.await.unwrap();
    assert_eq!(header(answer.headers(), "access-control-allow-origin"), "https://abc.test");
    assert_eq!(header(answer.headers(), "access-control-expose-headers"), "X-A,X-B");
    assert_eq!(header(answer.headers(), "vary"), "Accept,Origin");
    let asked = request("GET", "/", &[("origin", "https://1.test")]);
    let answer = response(&options, asked).await;
    assert_eq!(header(answer.headers(), "access-control-allow-origin"), "");
    assert_eq!(header(answer.headers(), "vary"), "Origin");
}

#[tokio::test]
async fn security_headers_are_traefik_s() {
    let options = headers(
        r#"{"stsSeconds": 31536000, "stsIncludeSubdomains": true, "stsPreload": true, "frameDeny": true,
            "contentTypeNosniff": true, "browserXssFilter": true, "referrerPolicy": "same-origin",
            "contentSecurityPolicy": "default-src 'self'", "contentSecurityPolicyReportOnly": "x",
            "permissionsPolicy": "camera=()", "publicKey": "pin"}"#,
    );
    let answer = response(&options, secure("GET", "/", &[])).await;
    for (name, value) in [
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("x-xss-protection", "1; mode=block"),
        ("referrer-policy", "same-origin"),
        ("content-security-policy", "default-src 'self'"),
        ("content-security-policy-report-only", "x"),
        ("permissions-policy", "camera=()"),
        ("public-key-pins", "pin"),
    ] {
        assert_eq!(header(answer.headers(), name), value, "{name}");
    }
}

/// http.md §5, `headers`: `sslRedirect`, `sslTemporaryRedirect`, `sslHost`, `sslForceHost` and `featurePolicy` are taken
/// and change nothing.
#[tokio::test]
async fn deprecated_options_change_nothing() {
    let deprecated = headers(
        r#"{"frameDeny": true, "sslRedirect": true, "sslTemporaryRedirect": true, "sslHost": "secure.test",
            "sslForceHost": true, "featurePolicy": "camera 'none'"}"#,
    );
    let seen = passed(&deprecated, request("GET", "/", &[("host", "plain.test")])).await;
    assert_eq!(seen.host(), Some("plain.test"));
    let with = response(&deprecated, request("GET", "/", &[("host", "plain.test")])).await;
    let plain = headers(r#"{"frameDeny": true}"#);
    let without = response(&plain, request("GET", "/", &[("host", "plain.test")])).await;
    assert_eq!((with.status(), with.headers()), (without.status(), without.headers()));
}

#[tokio::test]
async fn strict_transport_needs_tls_or_force() {
    let sts = |options: &str, asked| {
        let options = headers(options);
        async move {
            let answer = response(&options, asked).await;
            header(answer.headers(), "strict-transport-security").to_owned()
        }
    };
    let proxied = || request("GET", "/", &[("x-forwarded-proto", "https")]);
    assert_eq!(sts(r#"{"stsSeconds": 1}"#, proxied()).await, "");
    assert_eq!(sts(r#"{"stsSeconds": 1, "forceSTSHeader": true}"#, proxied()).await, "max-age=1");
    let by_header = r#"{"stsSeconds": 1, "sslProxyHeaders": {"X-Forwarded-Proto": "https"}}"#;
    assert_eq!(sts(by_header, proxied()).await, "max-age=1");
    let developing = r#"{"stsSeconds": 1, "forceSTSHeader": true, "isDevelopment": true}"#;
    assert_eq!(sts(developing, proxied()).await, "");
}

#[tokio::test]
async fn custom_values_win_over_switches() {
    let options = headers(
        r#"{"frameDeny": true, "customFrameOptionsValue": "SAMEORIGIN", "browserXssFilter": true,
            "customBrowserXSSValue": "0"}"#,
    );
    let answer = response(&options, request("GET", "/", &[])).await;
    assert_eq!(header(answer.headers(), "x-frame-options"), "SAMEORIGIN");
    assert_eq!(header(answer.headers(), "x-xss-protection"), "0");
}

#[tokio::test]
async fn hosts_that_are_not_listed_are_refused() {
    let options =
        headers(r#"{"allowedHosts": ["a.test"], "hostsProxyHeaders": ["X-Forwarded-Host"]}"#);
    assert_eq!(response(&options, request("GET", "/", &[("host", "A.test")])).await.status(), 200);
    let answer = response(&options, request("GET", "/", &[("host", "b.test")])).await;
    assert_eq!(answer.status(), 500);
    assert_eq!(text(answer.into_body()).await, "Bad Host\n");
    let told = request("GET", "/", &[("host", "b.test"), ("x-forwarded-host", "a.test")]);
    assert_eq!(response(&options, told).await.status(), 200);
}

#[test]
fn refuses_empty_and_broken_options() {
    assert_eq!(refused(&headers("{}")), "headers configuration not valid");
    let broken = headers(r#"{"customRequestHeaders": {"not a name": "x"}}"#);
    assert!(refused(&broken).starts_with("option `customRequestHeaders`: `not a name`: "));
    let broken = headers(r#"{"accessControlAllowOriginListRegex": ["("]}"#);
    assert!(refused(&broken).starts_with("option `accessControlAllowOriginListRegex`: "));
}
