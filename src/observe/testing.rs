//! A request for the tests of logs and metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use async_trait::async_trait;
use bytes::Bytes;

use super::{Outlet, Protocol, Reply, Summary, Tls};
use crate::config::value::ClientTls;

/// A way to nobody.
struct Nowhere;

#[async_trait]
impl Outlet for Nowhere {
    async fn post(&self, _: Request<Bytes>) -> Result<Reply, String> {
        Err("nobody is there".to_owned())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "stands for one that may fail")]
pub(super) fn nowhere(_: &str, _: Option<&ClientTls>) -> Result<Arc<dyn Outlet>, String> {
    Ok(Arc::new(Nowhere))
}

/// What a summary borrows.
pub(super) struct Sample {
    pub(super) entry_point: Arc<str>,
    pub(super) client: SocketAddr,
    pub(super) above: Vec<(Arc<str>, Arc<str>)>,
    pub(super) router: Option<Arc<str>>,
    pub(super) service: Option<Arc<str>>,
    pub(super) server_url: Option<Arc<str>>,
    pub(super) username: Option<String>,
    pub(super) retry_attempts: u32,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) forwarded_for: Option<HeaderValue>,
    pub(super) protocol: Protocol,
    pub(super) grpc_status: Option<u16>,
    pub(super) request_headers: HeaderMap,
    pub(super) status: u16,
    pub(super) duration: Duration,
    pub(super) secure: bool,
    pub(super) internal: bool,
    pub(super) trace: Option<super::trace::Ids>,
}

impl Default for Sample {
    fn default() -> Self {
        let agent = HeaderValue::from_static("curl \"8\"");
        Self {
            entry_point: "web".into(),
            client: "192.0.2.7:4711".parse().unwrap(),
            above: Vec::new(),
            router: Some("web@file".into()),
            service: Some("app@file".into()),
            server_url: Some("http://10.0.0.1:80".into()),
            username: None,
            retry_attempts: 0,
            method: Method::GET,
            uri: Uri::from_static("/a?b=c"),
            forwarded_for: None,
            protocol: Protocol::Http,
            grpc_status: None,
            request_headers: HeaderMap::from_iter([(::http::header::USER_AGENT, agent)]),
            status: 200,
            duration: Duration::from_millis(12),
            secure: false,
            internal: false,
            trace: None,
        }
    }
}

impl Sample {
    pub(super) fn summary(&self, look: impl FnOnce(&Summary<'_>)) {
        let host = HeaderValue::from_static("example.org:8080");
        let address: Arc<str> = "10.0.0.1:80".into();
        let tls =
            Tls { version: "1.3", cipher: "TLS_AES_128_GCM_SHA256", client_certificate: None };
        look(&Summary {
            entry_point: &self.entry_point,
            client: self.client,
            above: &self.above,
            muxer: None,
            router: self.router.as_ref(),
            service: self.service.as_ref(),
            server_url: self.server_url.as_ref(),
            server_address: Some(&address),
            username: self.username.as_deref(),
            retry_attempts: self.retry_attempts,
            origin_status: if self.server_url.is_some() { self.status } else { 0 },
            origin_duration: Duration::from_millis(10),
            method: &self.method,
            uri: Some(&self.uri),
            version: Version::HTTP_11,
            host: Some(&host),
            forwarded_for: self.forwarded_for.as_ref(),
            protocol: self.protocol,
            grpc_status: self.grpc_status,
            request_headers: Some(&self.request_headers),
            response_headers: None,
            status: self.status,
            request_bytes: 3,
            response_bytes: 5,
            duration: self.duration,
            tls: self.secure.then_some(tls),
            trace: self.trace,
            access_logs: true,
            metrics: true,
            internal: self.internal,
        });
    }
}
