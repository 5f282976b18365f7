//! `replacePath`: puts another path in the place of the request's.
//!
//! Traefik v3: HTTP middlewares, `ReplacePath`.

use std::sync::Arc;

use ::http::{HeaderName, HeaderValue};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::http::{ProxyError, Request, Response, path};

/// Options of `replacePath`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ReplacePath {
    /// The new path; may be percent-encoded.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) path: String,
}

/// Tells the server which path the client had asked for.
pub(super) const REPLACED_PATH: HeaderName = HeaderName::from_static("x-replaced-path");

impl Build for ReplacePath {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        if path::decode(&self.path).is_none() {
            return Err(BuildError::option(
                "path",
                format!("`{}`: broken percent-encoding", self.path),
            ));
        }
        Ok(Arc::new(Replacer { path: self.path.clone() }))
    }
}

struct Replacer {
    path: String,
}

#[async_trait]
impl Middleware for Replacer {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let replaced = HeaderValue::try_from(request.uri().path())
            .map_err(|_error| ProxyError::BadRequest("the path cannot stand in a header"))?;
        path::replace(&mut request, &self.path)?;
        request.headers_mut().append(REPLACED_PATH, replaced);
        next.run(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::{forwarded, header, refused};

    #[tokio::test]
    async fn replaces_the_path_and_tells_the_old_one() {
        let seen = forwarded(&ReplacePath { path: "/new%20one".into() }, "/old%2Fone?q=1").await;
        assert_eq!(seen.uri(), "/new%20one?q=1");
        assert_eq!(header(seen.headers(), "x-replaced-path"), "/old%2Fone");
    }

    #[tokio::test]
    async fn an_empty_path_is_the_root() {
        assert_eq!(forwarded(&ReplacePath { path: String::new() }, "/a").await.uri(), "/");
        assert_eq!(forwarded(&ReplacePath { path: "a?b".into() }, "/a").await.uri(), "/a%3Fb");
    }

    #[test]
    fn refuses_broken_encoding() {
        let error = refused(&ReplacePath { path: "/%zz".into() });
        assert_eq!(error, "option `path`: `/%zz`: broken percent-encoding");
    }
}
