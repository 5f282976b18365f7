//! `redirectScheme`: redirects to another scheme or port.
//!
//! Traefik v3: HTTP middlewares, `RedirectScheme`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::redirect::Asked;
use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default, redirect};
use crate::http::{ProxyError, Request, Response};

/// Options of `redirectScheme`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RedirectScheme {
    /// The new scheme, such as `https`. Must not be empty.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) scheme: String,
    /// The new port. Default: none, which means the scheme's own.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) port: String,
    /// 301 and 308 in place of 302 and 307. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) permanent: bool,
}

impl Build for RedirectScheme {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        if self.scheme.is_empty() {
            return Err(BuildError::Other("you must provide a target scheme".to_owned()));
        }
        let port = match self.port.as_str() {
            "" => String::new(),
            port if is_default_port(&self.scheme, port) => String::new(),
            port => format!(":{port}"),
        };
        Ok(Arc::new(Redirecter { scheme: self.scheme.clone(), port, permanent: self.permanent }))
    }
}

struct Redirecter {
    scheme: String,
    /// With its colon; empty for the scheme's own.
    port: String,
    permanent: bool,
}

#[async_trait]
impl Middleware for Redirecter {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let asked = Asked::by(&request);
        let scheme = scheme(&asked);
        let (host, port) = split_port(asked.host);
        let old_port = if is_default_port(scheme, port) { "" } else { port };
        let same_port = old_port == self.port.trim_start_matches(':');
        if scheme == self.scheme && same_port {
            return next.run(request).await;
        }
        let new = format!("{}://{host}{}{}", self.scheme, self.port, asked.target);
        redirect::to(new, "", self.permanent, request, next).await
    }
}

/// The scheme that the client used. The header tells of a WebSocket by its own schemes.
fn scheme<'a>(asked: &Asked<'a>) -> &'a str {
    match asked.forwarded_proto {
        Some(proto) if proto.eq_ignore_ascii_case("ws") => "http",
        Some(proto) if proto.eq_ignore_ascii_case("wss") => "https",
        Some(proto) => proto,
        None if asked.over_tls => "https",
        None => "http",
    }
}

/// Host and port of `host[:port]`; an IPv6 address keeps its brackets.
fn split_port(host: &str) -> (&str, &str) {
    let Some((name, port)) = host.rsplit_once(':') else { return (host, "") };
    let address_without_port = port.ends_with(']') || name.contains(':') && !name.ends_with(']');
    if address_without_port { (host, "") } else { (name, port) }
}

fn is_default_port(scheme: &str, port: &str) -> bool {
    matches!((scheme, port), ("http", "80") | ("https", "443"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::{
        forwarded, header, passed, refused, request, response, secure, text,
    };

    fn to(scheme: &str, port: &str) -> RedirectScheme {
        RedirectScheme { scheme: scheme.to_owned(), port: port.to_owned(), permanent: true }
    }

    #[tokio::test]
    async fn scheme_and_port_are_replaced() {
        for (host, port, location) in [
            ("blog.test", "18443", "https://blog.test:18443/a?b"),
            ("blog.test:18080", "18443", "https://blog.test:18443/a?b"),
            ("blog.test:18080", "", "https://blog.test/a?b"),
            ("blog.test", "443", "https://blog.test/a?b"),
            ("[::1]:80", "", "https://[::1]/a?b"),
            ("[::1]", "8443", "https://[::1]:8443/a?b"),
        ] {
            let answer =
                response(&to("https", port), request("GET", "/a?b", &[("host", host)])).await;
            assert_eq!(answer.status(), 301);
            assert_eq!(header(answer.headers(), "location"), location);
            assert_eq!(text(answer.into_body()).await, "Moved Permanently");
        }
    }

    #[tokio::test]
    async fn methods_other_than_get_are_kept() {
        for method in ["POST", "HEAD"] {
            let answer = response(&to("https", ""), request(method, "/", &[("host", "a")])).await;
            assert_eq!(answer.status(), 308);
        }
    }

    #[tokio::test]
    async fn a_redirection_may_be_for_now_only() {
        for (method, status) in [("GET", 302), ("POST", 307)] {
            let for_now = RedirectScheme { permanent: false, ..to("https", "") };
            let answer = response(&for_now, request(method, "/", &[("host", "a")])).await;
            assert_eq!(answer.status(), status);
        }
    }

    #[tokio::test]
    async fn what_has_the_scheme_already_goes_on() {
        for headers in [
            [("host", "a.test"), ("x-forwarded-proto", "https")],
            [("host", "a.test:443"), ("x-forwarded-proto", "wss")],
        ] {
            passed(&to("https", ""), request("GET", "/", &headers)).await;
        }
        passed(&to("https", "443"), secure("GET", "/", &[("host", "a.test")])).await;
        forwarded(&to("http", ""), "/").await;
    }

    #[test]
    fn refuses_to_go_without_a_scheme() {
        assert_eq!(refused(&to("", "")), "you must provide a target scheme");
    }
}
