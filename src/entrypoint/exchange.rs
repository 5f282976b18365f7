//! The path of one request: clean-up, router, middlewares and service, and the response back (ARCHITECTURE.md,
//! "A request", steps 5 to 9).

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use ::http::HeaderValue;
use ::http::header::{ALT_SVC, HOST};
use ::http::request::Parts;
use futures_util::FutureExt;
use http_body::Body as _;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, error};

use super::Entry;
use super::host_resolver::Flat;
use super::observation::Observation;
use crate::http::{
    Body, Connection, Exchange, Informational, ProxyError, Request, Response, TlsSession, h1,
};
use crate::observe::trace::{Incoming, Recorded};
use crate::plan::{EntryPoint, Route, Routed};
use crate::router::{Target, canonical_host};
use crate::tls;

/// The two ends of a client's connection: its socket's, or what a PROXY header said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) remote: SocketAddr,
    pub(super) local: SocketAddr,
}

/// A request with its route, or why there is none.
type Found = Result<(Arc<Routed>, Request), ProxyError>;

/// The same, with its spans where it is recorded.
type Traced = (Found, Option<Box<Recorded>>);

/// When the route of a request is known.
enum Routing {
    Now(Traced),
    /// Its host is being looked up: only with `hostResolver`, and not for hosts that are known.
    Later(Pin<Box<dyn Future<Output = Traced> + Send>>),
}

/// Answers the requests of one connection.
#[derive(Clone)]
pub(super) struct Requests {
    entry: Arc<Entry>,
    connection: Arc<Connection>,
    /// The client's `X-Forwarded-*` headers are believed.
    trusted: bool,
    /// Told to clients that could speak HTTP/3 instead.
    alt_svc: Option<Arc<HeaderValue>>,
}

impl Requests {
    /// For a client's connection, with what a handshake has settled.
    pub(super) fn new(entry: Arc<Entry>, ends: Ends, session: Option<tls::Session>) -> Self {
        let trusted = entry.trusts(ends.remote.ip());
        let alt_svc = entry.alt_svc.clone().filter(|_| session.is_some());
        let session = session.map(|session| TlsSession {
            version: session.version,
            cipher: session.cipher,
            server_name: session.server_name,
            options: session.options,
            peer_certificates: session.peer_certificates,
        });
        let mut connection = Connection::new(ends.remote, entry.name.clone(), session);
        connection.append_forwarded_for = entry.append_forwarded_for;
        Self { entry, connection: Arc::new(connection), trusted, alt_svc }
    }

    /// For a connection that speaks HTTP/3 already.
    pub(super) fn over_quic(entry: Arc<Entry>, ends: Ends, session: tls::Session) -> Self {
        Self { alt_svc: None, ..Self::new(entry, ends, Some(session)) }
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Answers a request. Errors become responses here, and nowhere else.
    ///
    /// What needs no waiting is done at once, so that the future holds no more than the chain's.
    pub(super) fn exchange(
        &self,
        mut parts: Box<Parts>,
        body: Body,
        interim: Option<Informational>,
    ) -> impl Future<Output = Response> + Send + use<> {
        let mut exchange = Exchange::new(self.connection.clone(), Instant::now());
        exchange.informational = interim;
        let exchange = Arc::new(exchange);
        let mut observation = Observation::begin(
            self.entry.observer.as_ref(),
            self.entry.observed,
            &exchange,
            &parts,
        );
        let body = observation.count_request(body);
        let prepared = self.entry.pipeline.prepare(&mut parts, &self.connection, self.trusted);
        observation.host(&parts.headers);
        let looked_up = prepared.as_ref().ok().and_then(|()| self.look_up(&parts, &exchange));
        let routing = match looked_up {
            Some(answer) => {
                Routing::Later(Box::pin(self.clone().find_with(answer, parts, body, exchange)))
            }
            None => Routing::Now(match prepared {
                Ok(()) => self.find(parts, body, exchange),
                Err(error) => (Err(error), None),
            }),
        };
        let alt_svc = self.alt_svc.clone();
        async move {
            let (routed, recorded) = match routing {
                Routing::Now(routed) => routed,
                Routing::Later(routed) => routed.await,
            };
            observation.record(recorded);
            if let Ok((route, _)) = &routed {
                observation.routed(route);
            }
            let result = match routed {
                // A panic in the chain is an error of this request alone.
                Ok((route, request)) => AssertUnwindSafe(route.value.handler.handle(request))
                    .catch_unwind()
                    .await
                    .unwrap_or_else(|_panic| Err(panicked(&route))),
                Err(error) => Err(error),
            };
            let mut response = result.unwrap_or_else(|error| {
                debug!(%error, side = ?error.side(), "request failed");
                error.into_response()
            });
            if let Some(value) = alt_svc {
                response.headers_mut().append(ALT_SVC, HeaderValue::clone(&value));
            }
            observation.answered(response)
        }
    }

    /// With `hostResolver`, notes the name behind the request's host; the answer to wait for where it is not known.
    fn look_up(&self, parts: &Parts, exchange: &Exchange) -> Option<oneshot::Receiver<Arc<str>>> {
        let resolver = self.entry.host_resolver.as_ref()?;
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        match resolver.flat(&canonical_host(host)) {
            Flat::Known(flat) => {
                exchange.set_flat_host(flat);
                None
            }
            Flat::Soon(answer) => Some(answer),
        }
    }

    async fn find_with(
        self,
        answer: oneshot::Receiver<Arc<str>>,
        parts: Box<Parts>,
        body: Body,
        exchange: Arc<Exchange>,
    ) -> Traced {
        // Without an answer, because we end, the host is matched as it is.
        if let Ok(flat) = answer.await {
            exchange.set_flat_host(flat);
        }
        self.find(parts, body, exchange)
    }

    fn find(&self, mut parts: Box<Parts>, body: Body, exchange: Arc<Exchange>) -> Traced {
        let route = self.route(&parts, &exchange);
        let recorded = match &self.entry.tracer {
            Some(_) => {
                let value = route.as_deref().ok().map(|router| &router.value);
                self.trace(value, (&mut parts, &body), &exchange)
            }
            None => None,
        };
        (route.map(|route| (route, Request::new(parts, body, exchange))), recorded)
    }

    /// Begins the trace of a request, where its router, or else the entry point, wants it.
    fn trace(
        &self,
        route: Option<&Route>,
        (parts, body): (&mut Parts, &Body),
        exchange: &Exchange,
    ) -> Option<Box<Recorded>> {
        let incoming = Incoming {
            entry_point: &self.entry.name,
            client: self.connection.remote,
            traces: route.map_or(self.entry.observed, |route| route.observed).traces,
            internal: route.is_some_and(|route| route.internal),
            body: body.size_hint().exact(),
        };
        let (ids, recorded) = self.entry.tracer.as_ref()?.begin(parts, &incoming)?;
        exchange.trace.get_or_init(|| ids);
        recorded
    }

    /// The route in the plan that is in force now; the request keeps it to its end.
    fn route(&self, parts: &Parts, exchange: &Exchange) -> Result<Arc<Routed>, ProxyError> {
        let plan = self.entry.plan.load();
        let found = plan.entry_points.get(&self.entry.name);
        let entry_point = found.ok_or(ProxyError::NotFound)?;
        let client = self.connection.remote.ip();
        let target = Target::new(&parts.method, &parts.uri, &parts.headers, client)
            .map_err(|_invalid| ProxyError::BadRequest("percent-encoding of the path"))?
            .with_flat_host(exchange.flat_host());
        let table = match &self.connection.tls {
            Some(tls) if is_misdirected(tls, target.host(), entry_point) => {
                return Err(ProxyError::Misdirected);
            }
            Some(_) => &entry_point.secure,
            None => &entry_point.plain,
        };
        let route = table.find(&target).ok_or(ProxyError::NotFound)?;
        self.entry.pipeline.check_encoded_characters(parts.uri.path())?;
        Ok(route.clone())
    }
}

/// True where the request's host has other TLS options than the handshake had: its client may have shown no
/// certificate where one is asked for. `host` is in lower case and has no port.
fn is_misdirected(tls: &TlsSession, host: &str, entry_point: &EntryPoint) -> bool {
    tls.server_name.as_deref() != Some(host)
        && entry_point.tls.options_of(host).is_none_or(|options| *options != tls.options)
}

impl h1::Service for Requests {
    fn call(
        &self,
        parts: Box<Parts>,
        body: Body,
        interim: Option<Informational>,
    ) -> impl Future<Output = Response> + Send {
        self.exchange(parts, body, interim)
    }
}

fn panicked(route: &Routed) -> ProxyError {
    error!(router = %route.name, "a handler has panicked");
    ProxyError::Internal("a handler has panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Acceptance, Tables};

    #[test]
    fn a_host_with_other_tls_options_is_misdirected() {
        let acceptance =
            |options: &str| Arc::new(Acceptance { options: options.into(), config: None });
        let hosts = [("strict.test".to_owned(), acceptance("mutual@file"))];
        let tables = Tables::new(hosts, acceptance("default"));
        let entry_point = EntryPoint { tls: Arc::new(tables), ..EntryPoint::default() };
        let session = |name: &str, options: &str| TlsSession {
            version: "1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            server_name: Some(name.into()),
            options: options.into(),
            peer_certificates: Vec::new(),
        };
        let open = session("open.test", "default");
        assert!(is_misdirected(&open, "strict.test", &entry_point));
        assert!(!is_misdirected(&open, "another.test", &entry_point));
        assert!(!is_misdirected(&open, "", &entry_point));
        let strict = session("strict.test", "mutual@file");
        assert!(!is_misdirected(&strict, "strict.test", &entry_point));
        assert!(is_misdirected(&strict, "open.test", &entry_point));
    }
}
