//! Helpers for unit tests of single middlewares: requests, a service that answers as told, and what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ::http::HeaderMap;
use async_trait::async_trait;
use http_body_util::BodyExt;
use rustls_pki_types::CertificateDer;
use tokio::time::Instant;

use super::{Build, BuildContext, BuildError, Lookup, Next, Shared};
use crate::http::{
    Body, Connection, Exchange, Handler, ProxyError, Request, Response, SharedHandler, TlsSession,
};

/// Finds one service, named `pages`, or nothing.
struct Known(Option<SharedHandler>);

impl Lookup for Known {
    fn middleware(&self, name: &str) -> Result<Shared, BuildError> {
        Err(BuildError::Other(format!("middleware \"{name}\" does not exist")))
    }

    fn service(&self, name: &str) -> Result<SharedHandler, BuildError> {
        let missing = || BuildError::Other(format!("the service \"{name}\" does not exist"));
        self.0.clone().filter(|_| name == "pages").ok_or_else(missing)
    }
}

/// Builds a middleware named `test@file` that can refer to nothing.
pub(crate) fn built(options: &dyn Build) -> Result<Shared, BuildError> {
    options.build(&BuildContext { name: "test@file", lookup: &Known(None) })
}

/// Builds a middleware that can refer to a service named `pages`.
pub(crate) fn built_with(options: &dyn Build, pages: SharedHandler) -> Result<Shared, BuildError> {
    options.build(&BuildContext { name: "test@file", lookup: &Known(Some(pages)) })
}

/// The text of the error that building gives.
pub(crate) fn refused(options: &dyn Build) -> String {
    built(options).err().expect("must be refused").to_string()
}

fn request_of(
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    tls: Option<TlsSession>,
) -> Request {
    let mut builder = ::http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let client = SocketAddr::from(([192, 0, 2, 1], 4711));
    let connection = Connection::new(client, "web".into(), tls);
    let exchange = Exchange::new(Arc::new(connection), Instant::now());
    let parts = builder.body(()).unwrap().into_parts().0;
    Request::new(Box::new(parts), Body::Empty, Arc::new(exchange))
}

/// A request from 192.0.2.1 without TLS.
pub(crate) fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request {
    request_of(method, uri, headers, None)
}

/// A request from 192.0.2.1 over TLS.
pub(crate) fn secure(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request {
    over_tls(method, uri, headers, Vec::new())
}

/// A GET from 192.0.2.1 over TLS, from a client that has shown certificates.
pub(crate) fn with_certificates(
    uri: &str,
    headers: &[(&str, &str)],
    chain: Vec<CertificateDer<'static>>,
) -> Request {
    over_tls("GET", uri, headers, chain)
}

fn over_tls(
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    peer_certificates: Vec<CertificateDer<'static>>,
) -> Request {
    let session = TlsSession {
        version: "1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        server_name: None,
        options: "default".into(),
        peer_certificates,
    };
    request_of(method, uri, headers, Some(session))
}

/// A service that answers by a function.
pub(crate) struct Service<F>(F);

#[async_trait]
impl<F> Handler for Service<F>
where
    F: Fn(Request) -> Result<Response, ProxyError> + Send + Sync,
{
    async fn handle(&self, request: Request) -> Result<Response, ProxyError> {
        (self.0)(request)
    }
}

/// Shares a service that answers by a function.
pub(crate) fn service<F>(answer: F) -> SharedHandler
where
    F: Fn(Request) -> Result<Response, ProxyError> + Send + Sync + 'static,
{
    Arc::new(Service(answer))
}

/// What `options` make of a request in front of a service that answers by a function.
pub(crate) async fn answered<F>(
    options: &dyn Build,
    request: Request,
    answer: F,
) -> Result<Response, ProxyError>
where
    F: Fn(Request) -> Result<Response, ProxyError> + Send + Sync + 'static,
{
    let last = service(answer);
    built(options)?.handle(request, Next::directly(&last)).await
}

impl From<BuildError> for ProxyError {
    fn from(error: BuildError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// An answer of 200 with an empty body.
#[expect(clippy::unnecessary_wraps, reason = "it stands for a service, which may fail")]
pub(crate) fn fine(_: Request) -> Result<Response, ProxyError> {
    Ok(Response::new(Body::Empty))
}

/// What the service gets of a request; panics when it gets nothing.
pub(crate) async fn passed(options: &dyn Build, request: Request) -> Request {
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let outcome = answered(options, request, move |request| {
        *keep.lock().unwrap() = Some(request);
        Ok(Response::new(Body::Empty))
    })
    .await;
    let seen = seen.lock().unwrap().take();
    seen.unwrap_or_else(|| panic!("not forwarded: {outcome:?}"))
}

/// What the service gets of a GET for `uri` from `example.com`.
pub(crate) async fn forwarded(options: &dyn Build, uri: &str) -> Request {
    passed(options, request("GET", uri, &[("host", "example.com")])).await
}

/// What the client gets where the service answers 200.
pub(crate) async fn response(options: &dyn Build, request: Request) -> Response {
    answered(options, request, fine).await.unwrap_or_else(ProxyError::into_response)
}

/// A header as text; empty where there is none.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// The whole body as text.
pub(crate) async fn text(body: Body) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}
