//! `addPrefix`: puts a prefix before the request path.
//!
//! Traefik v3: HTTP middlewares, `AddPrefix`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::http::{ProxyError, Request, Response, path};

/// Options of `addPrefix`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct AddPrefix {
    /// Put before the path; a missing leading `/` is added. Must not be empty.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) prefix: String,
}

impl Build for AddPrefix {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        if self.prefix.is_empty() {
            return Err(BuildError::option("prefix", "cannot be empty"));
        }
        Ok(Arc::new(Prefixer { prefix: path::encode(&self.prefix).into_owned() }))
    }
}

struct Prefixer {
    /// Percent-encoded.
    prefix: String,
}

#[async_trait]
impl Middleware for Prefixer {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let prefixed = format!("{}{}", self.prefix, request.uri().path());
        path::replace(&mut request, &path::with_leading_slash(prefixed))?;
        next.run(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::{forwarded, refused};

    #[tokio::test]
    async fn adds_a_missing_slash_and_keeps_the_query() {
        let middleware = AddPrefix { prefix: "api".into() };
        assert_eq!(forwarded(&middleware, "/users?page=2").await.uri(), "/api/users?page=2");
    }

    #[tokio::test]
    async fn keeps_escapes_of_the_path_and_escapes_the_prefix() {
        let middleware = AddPrefix { prefix: "/a b".into() };
        assert_eq!(forwarded(&middleware, "/c%2Fd").await.uri(), "/a%20b/c%2Fd");
        let absolute = forwarded(&middleware, "http://example.com/c?d").await;
        assert_eq!(absolute.uri(), "http://example.com/a%20b/c?d");
    }

    #[test]
    fn refuses_an_empty_prefix() {
        let error = refused(&AddPrefix { prefix: String::new() });
        assert_eq!(error, "option `prefix`: cannot be empty");
    }
}
