//! `errors`: shows the page of a service in the place of an error.
//!
//! Traefik v3: HTTP middlewares, `Errors`.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, TRANSFER_ENCODING, UPGRADE};
use ::http::uri::PathAndQuery;
use ::http::{HeaderName, Method, StatusCode};
use async_trait::async_trait;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::statuses::Statuses;
use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default, status_text};
use crate::http::{
    Body, KeepForwardedFor, ProxyError, Request, Response, SharedHandler, plain_text,
};

/// What Go's `url.QueryEscape` leaves as it is is not in here. There are no spaces in what is escaped.
const NOT_IN_QUERY_VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What cannot stand in a request target.
const NOT_IN_TARGET: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'|');

/// Options of `errors`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Errors {
    /// Statuses and ranges (`502-504`) that are caught.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) status: Vec<String>,
    /// New statuses (200 or above) by statuses and ranges; where several fit, the first in the order of their texts.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) status_rewrites: BTreeMap<String, u16>,
    /// Service that has the pages.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) service: String,
    /// Path and query of the page; `{status}` (as the client gets it), `{originalStatus}` and `{url}` (of the request,
    /// escaped as a value of a query) are replaced. Default: empty, which means `/`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) query: String,
    /// Request headers that the page request gets; `Host` always is one. Default: absent, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_request_headers: Option<Vec<String>>,
}

impl Build for Errors {
    fn build(&self, context: &BuildContext<'_>) -> Result<Shared, BuildError> {
        let rewrites: Result<_, _> = self.status_rewrites.iter().map(rewrite).collect();
        let names = self.error_request_headers.as_ref();
        let headers = names.map(|names| names.iter().map(|name| header(name)).collect());
        Ok(Arc::new(Pages {
            caught: Statuses::new("status", &self.status)?,
            rewrites: rewrites?,
            target: Target::new(&self.query)?,
            headers: headers.transpose()?,
            service: context.lookup.service(&self.service)?,
        }))
    }
}

fn rewrite((from, to): (&String, &u16)) -> Result<(Statuses, StatusCode), BuildError> {
    let status = StatusCode::from_u16(*to).ok().filter(|status| !status.is_informational());
    let status = status.ok_or_else(|| {
        BuildError::option("statusRewrites", format!("`{to}` is no status of a response"))
    })?;
    Ok((Statuses::new("statusRewrites", std::slice::from_ref(from))?, status))
}

fn header(name: &str) -> Result<HeaderName, BuildError> {
    name.parse().map_err(|_invalid| {
        BuildError::option("errorRequestHeaders", format!("`{name}` is no name of a header"))
    })
}

/// Where the page of an error is.
struct Target(String);

impl Target {
    fn new(query: &str) -> Result<Self, BuildError> {
        let query = query.strip_prefix('/').unwrap_or(query);
        let target = Self(format!("/{}", utf8_percent_encode(query, NOT_IN_TARGET)));
        // What is filled in are digits and escapes: if one can be parsed, all can.
        match target.of(StatusCode::OK, StatusCode::OK, "") {
            Some(_) => Ok(target),
            None => Err(BuildError::option("query", "is no path and query")),
        }
    }

    fn of(&self, status: StatusCode, original: StatusCode, url: &str) -> Option<PathAndQuery> {
        let url = utf8_percent_encode(url, NOT_IN_QUERY_VALUE).to_string();
        self.0
            .replace("{status}", status.as_str())
            .replace("{originalStatus}", original.as_str())
            .replace("{url}", &url)
            .try_into()
            .ok()
    }
}

struct Pages {
    caught: Statuses,
    rewrites: Box<[(Statuses, StatusCode)]>,
    target: Target,
    /// `None`: all.
    headers: Option<Box<[HeaderName]>>,
    service: SharedHandler,
}

#[async_trait]
impl Middleware for Pages {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let original = request.with_body(Body::Empty);
        let outcome = next.run(request).await;
        let status = match &outcome {
            Ok(response) => response.status(),
            Err(error) => error.status(),
        };
        if !self.caught.contains(status) {
            return outcome;
        }
        // The connection that the caught response came over is free for the page.
        drop(outcome);
        Ok(self.page(original, status).await)
    }
}

impl Pages {
    /// The answer in the place of one with `original` as its status.
    async fn page(&self, mut request: Request, original: StatusCode) -> Response {
        let rewritten = self.rewrites.iter().find(|(from, _)| from.contains(original));
        let status = rewritten.map_or(original, |(_, to)| *to);
        let Some(target) = self.target.of(status, original, &url(&request)) else {
            return plain_text(status, format!("{}\n", status_text(status)));
        };
        request.set_method(Method::GET);
        *request.uri_mut() = target.into();
        self.select(request.headers_mut());
        request.extensions_mut().insert(KeepForwardedFor);
        let mut response = self.service.handle(request).await.unwrap_or_else(|error| {
            debug!(%error, "the page of an error cannot be had");
            error.into_response()
        });
        *response.status_mut() = status;
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            *response.body_mut() = Body::Empty;
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        response
    }

    /// Leaves what goes to the service of the pages. That the request had a body, or asked for another protocol, is
    /// not for the page.
    fn select(&self, headers: &mut HeaderMap) {
        if let Some(names) = &self.headers {
            let mut all = std::mem::take(headers);
            for name in names.iter().chain([&HOST]) {
                let values: Vec<_> = all.get_all(name).iter().cloned().collect();
                all.remove(name);
                for value in values {
                    headers.append(name, value);
                }
            }
        }
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT, UPGRADE] {
            headers.remove(name);
        }
    }
}

/// What the client has asked for, as far as we know it.
fn url(request: &Request) -> String {
    let scheme = if request.exchange().connection.tls.is_some() { "https" } else { "http" };
    let target = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    format!("{scheme}://{}{target}", request.host().unwrap_or_default())
}

#[cfg(test)]
mod tests;
