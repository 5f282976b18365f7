//! `encodedCharacters`: refuses paths that hold certain characters in percent-encoding.
//!
//! Traefik v3: HTTP middlewares, `EncodedCharacters`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::http::{ProxyError, Request, Response};

/// Options of `encodedCharacters`. Default of all: false, refused.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct EncodedCharacters {
    /// `%2F`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_slash: bool,
    /// `%5C`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_back_slash: bool,
    /// `%00`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_null_character: bool,
    /// `%3B`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_semicolon: bool,
    /// `%25`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_percent: bool,
    /// `%3F`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_question_mark: bool,
    /// `%23`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_hash: bool,
}

impl Build for EncodedCharacters {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        let denied = [
            (self.allow_encoded_slash, *b"2f"),
            (self.allow_encoded_back_slash, *b"5c"),
            (self.allow_encoded_null_character, *b"00"),
            (self.allow_encoded_semicolon, *b"3b"),
            (self.allow_encoded_percent, *b"25"),
            (self.allow_encoded_question_mark, *b"3f"),
            (self.allow_encoded_hash, *b"23"),
        ];
        let denied = denied.into_iter().filter(|(allowed, _)| !allowed).map(|(_, digits)| digits);
        Ok(Arc::new(Checker { denied: denied.collect() }))
    }
}

struct Checker {
    /// Hexadecimal digits, in lower case.
    denied: Vec<[u8; 2]>,
}

#[async_trait]
impl Middleware for Checker {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        if self.is_denied(request.uri().path()) {
            return Err(ProxyError::BadRequest(
                "the path holds an encoded character that is denied",
            ));
        }
        next.run(request).await
    }
}

impl Checker {
    fn is_denied(&self, path: &str) -> bool {
        path.as_bytes().windows(3).any(|window| match window {
            [b'%', high, low] => {
                self.denied.contains(&[high.to_ascii_lowercase(), low.to_ascii_lowercase()])
            }
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::{request, response};

    #[tokio::test]
    async fn what_is_not_allowed_is_refused() {
        let strict = EncodedCharacters::default();
        for path in ["/a%2Fb", "/a%2f", "/%5C", "/%00", "/%3b", "/%25", "/%3F", "/%23"] {
            assert_eq!(response(&strict, request("GET", path, &[])).await.status(), 400, "{path}");
        }
        for path in ["/", "/a%20b", "/a?b=%2F"] {
            assert_eq!(response(&strict, request("GET", path, &[])).await.status(), 200, "{path}");
        }
        let slash = EncodedCharacters { allow_encoded_slash: true, ..Default::default() };
        assert_eq!(response(&slash, request("GET", "/a%2Fb", &[])).await.status(), 200);
        assert_eq!(response(&slash, request("GET", "/a%5Cb", &[])).await.status(), 400);
    }
}
