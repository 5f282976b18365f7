//! `compress`: compresses response bodies.
//!
//! Traefik v3: HTTP middlewares, `Compress`. As there, an `ETag` stays as it is.
//!
//! Differs: left alone are, besides what Traefik leaves alone, all kinds of `application/grpc+…`, parts (206) with each
//! encoding, and what must not be changed (`Cache-Control: no-transform`; RFC 9110, 7.7); `*` does not stand for an
//! encoding that the client refuses by name; a media type that is not told is none of `includedContentTypes`.

mod accept;
mod body;

use std::sync::Arc;

use ::http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, VARY,
};
use ::http::{Method, StatusCode};
use async_trait::async_trait;
use http_body::Body as _;
use serde::{Deserialize, Serialize};

use self::accept::{Encoding, Preferences};
use self::body::Compressed;
use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::http::{Body, ProxyError, Request, Response};

/// Bytes of a body that is worth it, where the option says nothing.
const BYTES_MIN: u64 = 1024;

/// Options of `compress`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Compress {
    /// Media types of responses, and of requests, that are left alone; `application/grpc` always is. Not together with `includedContentTypes`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) excluded_content_types: Vec<String>,
    /// The only media types that are compressed.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) included_content_types: Vec<String>,
    /// Bytes; a smaller body is left alone. One whose length is not known beforehand counts as large. Default: 0, which
    /// means 1024.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) min_response_body_bytes: i64,
    /// `gzip`, `br` and `zstd` in the server's order of preference. Default: all, in this order.
    pub(crate) encodings: Vec<String>,
    /// Used where the client names none; must be among `encodings`. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) default_encoding: String,
}

impl Default for Compress {
    fn default() -> Self {
        Self {
            excluded_content_types: Vec::new(),
            included_content_types: Vec::new(),
            min_response_body_bytes: 0,
            encodings: ["gzip", "br", "zstd"].map(str::to_owned).to_vec(),
            default_encoding: String::new(),
        }
    }
}

impl Build for Compress {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Ok(Arc::new(self.compressor()?))
    }
}

impl Compress {
    fn compressor(&self) -> Result<Compressor, BuildError> {
        if !self.excluded_content_types.is_empty() && !self.included_content_types.is_empty() {
            return Err(BuildError::Other(
                "excludedContentTypes and includedContentTypes options are mutually exclusive"
                    .to_owned(),
            ));
        }
        let types = |option, texts: &[String]| {
            let types = texts.iter().map(|text| {
                media_type(text)
                    .ok_or_else(|| BuildError::option(option, format!("`{text}` is no media type")))
            });
            types.collect::<Result<Box<[String]>, _>>()
        };
        let unsupported = |name: &str| BuildError::Other(format!("unsupported encoding: {name}"));
        let encodings = self
            .encodings
            .iter()
            .map(|name| Encoding::named(name).ok_or_else(|| unsupported(name)));
        let encodings: Box<[Encoding]> = encodings.collect::<Result<_, _>>()?;
        if encodings.is_empty() {
            return Err(BuildError::Other("at least one encoding must be specified".to_owned()));
        }
        let default = Encoding::named(&self.default_encoding);
        if !self.default_encoding.is_empty() && default.is_none_or(|it| !encodings.contains(&it)) {
            let text = format!("unsupported default encoding: {}", self.default_encoding);
            return Err(BuildError::Other(text));
        }
        Ok(Compressor {
            preferences: Preferences { encodings, default },
            excluded: types("excludedContentTypes", &self.excluded_content_types)?,
            included: types("includedContentTypes", &self.included_content_types)?,
            bytes_min: u64::try_from(self.min_response_body_bytes)
                .ok()
                .filter(|bytes| *bytes > 0)
                .unwrap_or(BYTES_MIN),
        })
    }
}

/// Type and subtype in lower case, without parameters; `None` where it cannot be read.
fn media_type(text: &str) -> Option<String> {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
    };
    essence.split('/').all(is_token).then(|| essence.to_ascii_lowercase())
}

struct Compressor {
    preferences: Preferences,
    excluded: Box<[String]>,
    /// Empty: all.
    included: Box<[String]>,
    bytes_min: u64,
}

#[async_trait]
impl Middleware for Compressor {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let excluded = kind.and_then(media_type).is_some_and(|kind| self.excludes(&kind));
        if excluded || request.method() == Method::HEAD {
            return next.run(request).await;
        }
        let Some(encoding) = self.preferences.choose(request.headers()) else {
            return next.run(request).await;
        };
        let mut response = next.run(request).await?;
        if response.status().is_informational() {
            return Ok(response);
        }
        vary(response.headers_mut());
        if self.is_worth_it(&response) { compressed(response, encoding) } else { Ok(response) }
    }
}

impl Compressor {
    fn excludes(&self, kind: &str) -> bool {
        kind == "application/grpc"
            || kind.starts_with("application/grpc+")
            || self.excluded.iter().any(|excluded| excluded == kind)
    }

    /// Whether a response may be compressed, and is large enough.
    fn is_worth_it(&self, response: &Response) -> bool {
        let headers = response.headers();
        let given = |name: HeaderName| headers.get(name).is_some_and(|value| !value.is_empty());
        let status = response.status();
        if given(CONTENT_ENCODING)
            || given(CONTENT_RANGE)
            || lists(headers, &CACHE_CONTROL, "no-transform")
            || matches!(
                status,
                StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
            )
        {
            return false;
        }
        let large = response.body().size_hint().exact().is_none_or(|size| size >= self.bytes_min);
        large && self.is_wanted(headers)
    }

    fn is_wanted(&self, headers: &HeaderMap) -> bool {
        let Some(kind) = headers.get(CONTENT_TYPE).filter(|kind| !kind.is_empty()) else {
            return self.included.is_empty();
        };
        let kind = kind.to_str().ok().and_then(media_type);
        kind.is_some_and(|kind| {
            let included = self.included.is_empty() || self.included.contains(&kind);
            included && !self.excludes(&kind)
        })
    }
}

/// Says that the response depends on what the client accepts.
fn vary(headers: &mut HeaderMap) {
    if !lists(headers, &VARY, ACCEPT_ENCODING.as_str()) && !lists(headers, &VARY, "*") {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// True where a comma-separated header has `token`, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn compressed(response: Response, encoding: Encoding) -> Result<Response, ProxyError> {
    let (mut head, body) = response.into_parts();
    let body = Compressed::new(body, encoding)
        .map_err(|error| ProxyError::Internal(format!("compressing the response: {error}")))?;
    head.headers.remove(CONTENT_LENGTH);
    // Ranges are asked for in the bytes of what the server has, not of what the client gets.
    head.headers.remove(ACCEPT_RANGES);
    head.headers.insert(CONTENT_ENCODING, encoding.header());
    Ok(Response::from_parts(head, Body::stream(body)))
}

#[cfg(test)]
mod tests;
