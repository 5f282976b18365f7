//! `replacePathRegex`: rewrites a request path that a regular expression matches.
//!
//! Traefik v3: HTTP middlewares, `ReplacePathRegex`.

use std::sync::Arc;

use ::http::HeaderValue;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::replace_path::REPLACED_PATH;
use super::rewrite::Rewrite;
use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::http::{ProxyError, Request, Response, path};

/// Options of `replacePathRegex`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ReplacePathRegex {
    /// Where it matches the escaped path, that part is replaced.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) regex: String,
    /// Go's notation: `$1`, `${1}`, `${name}`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) replacement: String,
}

impl Build for ReplacePathRegex {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        let rewrite = Rewrite::new(&self.regex, self.replacement.trim())?;
        Ok(Arc::new(Replacer { rewrite }))
    }
}

struct Replacer {
    rewrite: Rewrite,
}

#[async_trait]
impl Middleware for Replacer {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let old = request.uri().path();
        let Some(new) = self.rewrite.apply(old) else { return next.run(request).await };
        let replaced = HeaderValue::try_from(old)
            .map_err(|_error| ProxyError::BadRequest("the path cannot stand in a header"))?;
        if path::decode(&new).is_none() {
            return Err(ProxyError::Internal(format!("broken percent-encoding in `{new}`")));
        }
        let new = path::with_leading_slash(new);
        if !path::is_clean(&new) {
            return Err(ProxyError::BadRequest("the rewritten path is not clean"));
        }
        path::replace(&mut request, &new)?;
        request.headers_mut().insert(REPLACED_PATH, replaced);
        next.run(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::{answered, fine, forwarded, header, refused, request};

    fn replacing(regex: &str, replacement: &str) -> ReplacePathRegex {
        ReplacePathRegex { regex: regex.to_owned(), replacement: replacement.to_owned() }
    }

    #[tokio::test]
    async fn rewrites_and_tells_the_old_path() {
        let seen = forwarded(&replacing("^/who/([a-z]+)", "/user/${1}"), "/who/ann%2F?q=1").await;
        assert_eq!(seen.uri(), "/user/ann%2F?q=1");
        assert_eq!(header(seen.headers(), "x-replaced-path"), "/who/ann%2F");
    }

    #[tokio::test]
    async fn without_a_match_nothing_changes() {
        let seen = forwarded(&replacing("^/who", "/x"), "/a").await;
        assert_eq!(seen.uri(), "/a");
        assert_eq!(header(seen.headers(), "x-replaced-path"), "");
    }

    #[tokio::test]
    async fn results_that_are_unclean_or_broken_are_refused() {
        for (replacement, status) in [("/../x", 400), ("/a//b", 400), ("/%", 500)] {
            let request = request("GET", "/a", &[]);
            let error = answered(&replacing("^/a$", replacement), request, fine).await.unwrap_err();
            assert_eq!(error.status(), status, "{replacement}");
        }
    }

    #[test]
    fn refuses_a_broken_expression() {
        assert!(refused(&replacing("([", "/x")).starts_with("option `regex`: `([`: "));
    }
}
