//! The HTTP API: Traefik's read calls, our write calls, health.
//!
//! Every path is served by the one handler behind `api@internal`; encoded path segments are kept while matching
//! (api.md §1).

pub(crate) mod calls;
mod certificates;
mod condition;
pub(crate) mod dashboard;
mod document;
mod elements;
pub(crate) mod explain;
mod idempotency;
mod list;
mod overview;
pub(crate) mod ping;
mod problem;
mod route;
pub(crate) mod support;
mod tokens;
mod watch;
mod write;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Value, json};

use crate::compile::Report;
use crate::control::follow::{InForce, View};
use crate::http::{Body, Handler, ProxyError, Request, Response};

/// What the API tells of the startup configuration.
pub(crate) struct Facts {
    /// `api.basePath`, without a slash at its end.
    pub(crate) base_path: String,
    /// Entry points: name to options as JSON.
    pub(crate) entry_points: Vec<(String, Value)>,
    /// The whole, anonymised.
    pub(crate) anonymous: Value,
    /// `features` of the overview.
    pub(crate) features: Value,
    /// `providers` of the overview.
    pub(crate) providers: Vec<&'static str>,
    /// RFC 3339.
    pub(crate) started: String,
    pub(crate) dashboard_name: String,
    pub(crate) disable_dashboard_ad: bool,
    /// `api.dashboard`
    pub(crate) dashboard: bool,
}

/// Answers the API's calls.
pub(crate) struct Api {
    facts: Facts,
    view: View,
    /// The calls of CLUSTER.md §4.
    more: Option<Arc<dyn Handler>>,
}

impl Api {
    pub(crate) fn new(facts: Facts, view: View, more: Option<Arc<dyn Handler>>) -> Self {
        Self { facts, view, more }
    }
}

#[async_trait]
impl Handler for Api {
    async fn handle(&self, request: Request) -> Result<Response, ProxyError> {
        let path = request.uri().path();
        let inside = path.strip_prefix(self.facts.base_path.as_str());
        if self.facts.dashboard && matches!(inside, Some("" | "/")) {
            let response = dashboard::redirect(&request, &self.facts.base_path);
            return Ok(dashboard::only_get(&request, response));
        }
        let Some(inside) = inside.and_then(|inside| inside.strip_prefix('/')) else {
            return Err(ProxyError::NotFound);
        };
        let segments: Vec<&str> = inside.split('/').collect();
        if let Some(more) = &self.more
            && is_ours(&segments)
        {
            return more.handle(request).await;
        }
        let query = list::Query::parse(request.uri().query().unwrap_or_default());
        let now = self.view.load();
        let answer = self.read(&segments, &query, &now)?;
        // Of the paths that there are, only GET is routed.
        if request.method() != Method::GET {
            let mut refusal = Response::new(Body::Empty);
            *refusal.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            return Ok(refusal);
        }
        Ok(answer)
    }
}

/// True for the calls that Traefik does not have.
fn is_ours(segments: &[&str]) -> bool {
    matches!(
        segments,
        ["api", "config" | "cluster" | "servers" | "explain" | "check" | "ready", ..]
    )
}

impl Api {
    fn read(
        &self,
        segments: &[&str],
        query: &list::Query,
        now: &InForce,
    ) -> Result<Response, ProxyError> {
        let report = &now.compiled.report;
        match segments {
            ["api", "version"] => Ok(answer(StatusCode::OK, &self.version())),
            ["api", "support-dump"] => Ok(self.dump(report)),
            ["api", "rawdata"] => Ok(answer(StatusCode::OK, &elements::rawdata(report))),
            ["api", "overview"] => Ok(answer(StatusCode::OK, &overview::of(now, &self.facts))),
            ["api", "entrypoints"] => {
                let all =
                    self.facts.entry_points.iter().map(|(name, options)| named(options, name));
                Ok(list::page(all.collect(), query))
            }
            ["api", "entrypoints", id] => {
                let id = decoded(id);
                let found = self.facts.entry_points.iter().find(|(name, _)| *name == id);
                Ok(match found {
                    Some((name, options)) => answer(StatusCode::OK, &named(options, name)),
                    None => missing("entry point", &id),
                })
            }
            ["api", "certificates"] => {
                Ok(list::certificates(certificates::all(&now.compiled.certificates), query))
            }
            ["api", "certificates", id] => {
                let all = certificates::all(&now.compiled.certificates);
                let found = all.into_iter().find(|one| one["name"].as_str() == Some(id));
                Ok(found
                    .map_or_else(|| missing("certificate", id), |one| answer(StatusCode::OK, &one)))
            }
            [
                "api",
                protocol @ ("http" | "tcp" | "udp"),
                kind @ ("routers" | "services" | "middlewares"),
            ] => {
                let Some(all) = elements::all(report, protocol, kind) else {
                    return Err(ProxyError::NotFound);
                };
                Ok(list::objects(all, kind, query))
            }
            [
                "api",
                protocol @ ("http" | "tcp" | "udp"),
                kind @ ("routers" | "services" | "middlewares"),
                id,
            ] => {
                let what = kind.trim_end_matches('s');
                let id = decoded(id);
                let Some(all) = elements::all(report, protocol, kind) else {
                    return Err(ProxyError::NotFound);
                };
                let found = all.into_iter().find(|one| one["name"].as_str() == Some(&*id));
                Ok(found.map_or_else(|| missing(what, &id), |one| answer(StatusCode::OK, &one)))
            }
            ["dashboard", file] if self.facts.dashboard => dashboard::file(file),
            _ => Err(ProxyError::NotFound),
        }
    }

    fn dump(&self, report: &Report) -> Response {
        let version = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "codename": "pontoon",
            "startDate": self.facts.started,
        });
        let bytes = |value: &Value| serde_json::to_vec(value).unwrap_or_default();
        let runtime = support::anonymous(&elements::rawdata(report));
        let files = [
            ("version.json", bytes(&version)),
            ("static-config.json", bytes(&self.facts.anonymous)),
            ("runtime-config.json", bytes(&runtime)),
        ];
        support::dump(&files, crate::clock::now().as_secs())
    }

    fn version(&self) -> Value {
        let mut version = json!({
            "Version": env!("CARGO_PKG_VERSION"),
            "Codename": "pontoon",
            "startDate": self.facts.started,
        });
        if let Some(fields) = version.as_object_mut() {
            if self.facts.disable_dashboard_ad {
                fields.insert("disableDashboardAd".to_owned(), json!(true));
            }
            if !self.facts.dashboard_name.is_empty() {
                fields.insert("dashboardName".to_owned(), json!(self.facts.dashboard_name));
            }
        }
        version
    }
}

fn named(options: &Value, name: &str) -> Value {
    let mut element = options.clone();
    if let Some(fields) = element.as_object_mut() {
        fields.insert("name".to_owned(), json!(name));
    }
    element
}

/// The name in a segment of the path. Escapes that are none have been refused at the entry point; what is not UTF-8 is
/// the name of nothing.
fn decoded(segment: &str) -> Cow<'_, str> {
    percent_decode_str(segment).decode_utf8_lossy()
}

/// A JSON answer.
pub(crate) fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    let mut response = Response::new(Body::from(bytes::Bytes::from(bytes)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn missing(what: &str, id: &str) -> Response {
    answer(StatusCode::NOT_FOUND, &json!({ "message": format!("{what} not found: {id}") }))
}
