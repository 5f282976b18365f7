//! `redirectRegex`: redirects by a regular expression over the whole URL.
//!
//! Traefik v3: HTTP middlewares, `RedirectRegex`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::redirect::Asked;
use super::rewrite::Rewrite;
use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default, redirect};
use crate::http::{ProxyError, Request, Response};

/// Options of `redirectRegex`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RedirectRegex {
    /// Matched against `scheme://host[:port]/path?query`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) regex: String,
    /// The new URL in Go's notation: `$1`, `${1}`, `${name}`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) replacement: String,
    /// 301 and 308 in place of 302 and 307. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) permanent: bool,
}

impl Build for RedirectRegex {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        let rewrite = Rewrite::new(&self.regex, &self.replacement)?;
        Ok(Arc::new(Redirecter { rewrite, permanent: self.permanent }))
    }
}

struct Redirecter {
    rewrite: Rewrite,
    permanent: bool,
}

#[async_trait]
impl Middleware for Redirecter {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let old = url(&Asked::by(&request));
        match self.rewrite.apply(&old) {
            Some(new) => redirect::to(new, &old, self.permanent, request, next).await,
            None => next.run(request).await,
        }
    }
}

/// The URL that was asked for, with the port only where `Host` has one.
fn url(asked: &Asked<'_>) -> String {
    let secure = asked.over_tls || asked.forwarded_proto == Some("https");
    let scheme = if secure { "https" } else { "http" };
    format!("{scheme}://{}{}", asked.host, asked.target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::{forwarded, header, refused, request, response, secure, text};

    fn www_to_apex(permanent: bool) -> RedirectRegex {
        RedirectRegex {
            regex: r"^https://www\.blog\.test(:\d+)?/(.*)".to_owned(),
            replacement: "https://blog.test${1}/${2}".to_owned(),
            permanent,
        }
    }

    #[tokio::test]
    async fn the_whole_url_is_matched() {
        for (host, location) in [
            ("www.blog.test", "https://blog.test/a?b=c"),
            ("www.blog.test:18443", "https://blog.test:18443/a?b=c"),
        ] {
            let answer =
                response(&www_to_apex(true), secure("GET", "/a?b=c", &[("host", host)])).await;
            assert_eq!(answer.status(), 301);
            assert_eq!(header(answer.headers(), "location"), location);
            assert_eq!(text(answer.into_body()).await, "Moved Permanently");
        }
    }

    #[tokio::test]
    async fn statuses_follow_method_and_permanence() {
        for (method, permanent, status) in
            [("GET", false, 302), ("GET", true, 301), ("POST", false, 307), ("HEAD", true, 308)]
        {
            let request =
                request(method, "/", &[("host", "www.blog.test"), ("x-forwarded-proto", "https")]);
            assert_eq!(response(&www_to_apex(permanent), request).await.status(), status);
        }
    }

    #[tokio::test]
    async fn other_urls_and_the_same_url_go_on() {
        assert_eq!(forwarded(&www_to_apex(true), "/x").await.uri(), "/x");
        let same = RedirectRegex {
            regex: "^(.*)$".to_owned(),
            replacement: "$1".to_owned(),
            permanent: false,
        };
        assert_eq!(forwarded(&same, "/x").await.uri(), "/x");
    }

    #[test]
    fn refuses_a_broken_expression() {
        let broken = RedirectRegex { regex: "(".to_owned(), ..RedirectRegex::default() };
        assert!(refused(&broken).starts_with("option `regex`: "));
    }
}
