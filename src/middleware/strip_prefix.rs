//! `stripPrefix`: takes a prefix off the request path.
//!
//! Traefik v3: HTTP middlewares, `StripPrefix`.

use std::sync::Arc;

use ::http::{HeaderName, HeaderValue};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::http::{ProxyError, Request, Response, path};

/// Options of `stripPrefix`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct StripPrefix {
    /// Tried in order; the first that the path begins with is taken off.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) prefixes: Vec<String>,
    /// Deprecated in Traefik: the result begins with a slash. Default: absent, which means true.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) force_slash: Option<bool>,
}

impl Build for StripPrefix {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        let prefixes: Result<Vec<_>, _> =
            self.prefixes.iter().map(|text| Prefix::new(text)).collect();
        let one_slash = self.force_slash.unwrap_or(false);
        Ok(Arc::new(Stripper { prefixes: prefixes?, one_slash }))
    }
}

/// Tells the server what was taken off.
pub(super) const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

struct Prefix {
    text: String,
    header: HeaderValue,
}

impl Prefix {
    fn new(text: &str) -> Result<Self, BuildError> {
        let header = HeaderValue::try_from(text.trim())
            .map_err(|error| BuildError::option("prefixes", format!("`{text}`: {error}")))?;
        Ok(Self { text: text.trim().to_owned(), header })
    }
}

struct Stripper {
    prefixes: Vec<Prefix>,
    /// Of the slashes that the result begins with, one counts.
    one_slash: bool,
}

#[async_trait]
impl Middleware for Stripper {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        for prefix in &self.prefixes {
            let path = request.uri().path();
            let Some(rest) = path::strip_prefix(path, prefix.text.as_bytes()) else { continue };
            let rest = if self.one_slash { rest.strip_prefix('/').unwrap_or(rest) } else { rest };
            let rest = path::with_leading_slash(rest.to_owned());
            put(&mut request, &rest, prefix.header.clone())?;
            break;
        }
        next.run(request).await
    }
}

/// Makes `rest` the path. One that is not clean is refused: `/api../x` must not become a way out of `/api`.
pub(super) fn put(
    request: &mut Request,
    rest: &str,
    prefix: HeaderValue,
) -> Result<(), ProxyError> {
    if !path::is_clean(rest) {
        return Err(ProxyError::BadRequest("the path without its prefix is not clean"));
    }
    path::replace(request, rest)?;
    request.headers_mut().append(FORWARDED_PREFIX, prefix);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::{answered, fine, forwarded, header, request};

    fn stripping(prefixes: &[&str]) -> StripPrefix {
        StripPrefix {
            prefixes: prefixes.iter().map(ToString::to_string).collect(),
            force_slash: None,
        }
    }

    #[tokio::test]
    async fn the_first_prefix_that_fits_goes() {
        let middleware = stripping(&["/other", "/v1", "/v1/users"]);
        let seen = forwarded(&middleware, "/v1/users?a=b").await;
        assert_eq!(seen.uri(), "/users?a=b");
        assert_eq!(header(seen.headers(), "x-forwarded-prefix"), "/v1");
    }

    #[tokio::test]
    async fn nothing_left_becomes_a_slash() {
        assert_eq!(forwarded(&stripping(&["/v1"]), "/v1").await.uri(), "/");
        assert_eq!(forwarded(&stripping(&["/v1/"]), "/v1/x").await.uri(), "/x");
        assert_eq!(forwarded(&stripping(&["/v1"]), "/v1x/").await.uri(), "/x/");
    }

    #[tokio::test]
    async fn other_paths_stay() {
        let seen = forwarded(&stripping(&["/v1"]), "/v2").await;
        assert_eq!(seen.uri(), "/v2");
        assert_eq!(seen.headers().get(FORWARDED_PREFIX), None);
    }

    #[tokio::test]
    async fn escapes_of_the_rest_stay() {
        assert_eq!(forwarded(&stripping(&["/a b"]), "/a%20b/c%2Fd").await.uri(), "/c%2Fd");
    }

    #[tokio::test]
    async fn forced_slash_swallows_a_second_one() {
        let middleware = StripPrefix { force_slash: Some(true), ..stripping(&["/v1"]) };
        assert_eq!(forwarded(&middleware, "/v1//x").await.uri(), "/x");
    }

    #[tokio::test]
    async fn a_result_that_is_not_clean_is_refused() {
        for uri in ["/v1../admin", "/v1/..", "/v1%2e%2e/admin", "/v1//x"] {
            let request = request("GET", uri, &[]);
            let error = answered(&stripping(&["/v1"]), request, fine).await.unwrap_err();
            assert_eq!(error.status(), 400, "{uri}");
        }
    }
}
