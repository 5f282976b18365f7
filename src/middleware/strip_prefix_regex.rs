//! `stripPrefixRegex`: takes off what a regular expression matches at the start of the request path.
//!
//! Traefik v3: HTTP middlewares, `StripPrefixRegex`.

use std::sync::Arc;

use ::http::HeaderValue;
use ::regex::Regex;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    Build, BuildContext, BuildError, Middleware, Next, Shared, is_default, rewrite, strip_prefix,
};
use crate::http::{ProxyError, Request, Response, path};

/// Options of `stripPrefixRegex`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct StripPrefixRegex {
    /// Tried in order; the first that matches at the start of the path is taken off.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) regex: Vec<String>,
}

impl Build for StripPrefixRegex {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        let expressions: Result<Vec<_>, _> =
            self.regex.iter().map(|pattern| rewrite::compile("regex", pattern.trim())).collect();
        Ok(Arc::new(Stripper { expressions: expressions? }))
    }
}

struct Stripper {
    expressions: Vec<Regex>,
}

#[async_trait]
impl Middleware for Stripper {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        if let Some((rest, prefix)) = self.stripped(request.uri().path()) {
            strip_prefix::put(&mut request, &rest, prefix)?;
        }
        next.run(request).await
    }
}

impl Stripper {
    /// What stays of an escaped path, and what the first expression that matches at its start took off.
    fn stripped(&self, escaped: &str) -> Option<(String, HeaderValue)> {
        let decoded = path::decode(escaped)?;
        let decoded = std::str::from_utf8(&decoded).ok()?;
        for expression in &self.expressions {
            let found = expression.find(decoded).map_or("", |found| found.as_str());
            if found.is_empty() {
                continue;
            }
            if let Some(rest) = path::strip_prefix(escaped, found.as_bytes()) {
                let header = HeaderValue::try_from(&*path::encode(found)).ok()?;
                return Some((path::with_leading_slash(rest.to_owned()), header));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::{answered, fine, forwarded, header, refused, request};

    fn stripping(regex: &[&str]) -> StripPrefixRegex {
        StripPrefixRegex { regex: regex.iter().map(ToString::to_string).collect() }
    }

    #[tokio::test]
    async fn takes_off_what_matches_at_the_start() {
        let seen = forwarded(&stripping(&["/x", "/v[0-9]+/[a-z]+"]), "/v12/api/users%2F1?q").await;
        assert_eq!(seen.uri(), "/users%2F1?q");
        assert_eq!(header(seen.headers(), "x-forwarded-prefix"), "/v12/api");
    }

    #[tokio::test]
    async fn a_match_further_on_does_not_count() {
        let seen = forwarded(&stripping(&["/v1"]), "/api/v1").await;
        assert_eq!(seen.uri(), "/api/v1");
        assert_eq!(header(seen.headers(), "x-forwarded-prefix"), "");
    }

    #[tokio::test]
    async fn a_result_that_is_not_clean_is_refused() {
        let request = request("GET", "/v1../admin", &[]);
        let error = answered(&stripping(&["/v1"]), request, fine).await.unwrap_err();
        assert_eq!(error.status(), 400);
    }

    #[test]
    fn refuses_a_broken_expression() {
        assert!(refused(&stripping(&["(["])).starts_with("option `regex`: `([`: "));
    }
}
