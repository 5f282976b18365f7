//! What others see of us: the hook that the data plane calls; log, access log and metrics hang on it.

mod access_log;
mod delivery;
mod file;
pub(crate) mod log;
mod metrics;
mod observers;
pub(crate) mod options;
mod otlp;
mod outlet;
mod protocol;
mod records;
#[cfg(test)]
mod testing;
pub(crate) mod trace;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, Uri, Version};

pub(crate) use metrics::{Certificate, Kind, Number, ServerUp, Source};
pub(crate) use observers::{Error, Observers};
pub(crate) use outlet::{Outlet, Reply};
pub(crate) use protocol::{Protocol, grpc_status};

/// Is told of connections and of requests that have ended. Called on the data plane's cores: it must not wait.
pub(crate) trait Observer: Send + Sync {
    /// A client has connected.
    fn connection_opened(&self, entry_point: &Arc<str>);

    /// A client's connection has ended.
    fn connection_closed(&self, entry_point: &Arc<str>);

    /// A request and its response have ended.
    fn finished(&self, summary: &Summary<'_>);

    /// True to be given the target of requests, their host and addresses: see [`Summary`].
    fn wants_target(&self) -> bool;

    /// True to be given the headers of requests and responses, which costs a copy of each.
    fn wants_headers(&self) -> bool;
}

/// A request and its response, at their end.
#[derive(Debug)]
pub(crate) struct Summary<'a> {
    pub(crate) entry_point: &'a Arc<str>,
    /// `host:port` of the client, by the PROXY protocol where that is trusted.
    pub(crate) client: std::net::SocketAddr,
    /// Routers that were passed before `router`, outermost first, and what stands for a service of theirs.
    pub(crate) above: &'a [(Arc<str>, Arc<str>)],
    /// `name@provider`; `None` where no router has taken the request.
    pub(crate) router: Option<&'a Arc<str>>,
    /// `name@provider`
    pub(crate) service: Option<&'a Arc<str>>,
    /// What stands for a service where `router` leads on to others and none of these has taken the request.
    pub(crate) muxer: Option<&'a Arc<str>>,
    /// The server that was tried last, as configured.
    pub(crate) server_url: Option<&'a Arc<str>>,
    /// Its host and port.
    pub(crate) server_address: Option<&'a Arc<str>>,
    pub(crate) username: Option<&'a str>,
    /// Tries after the first.
    pub(crate) retry_attempts: u32,
    /// 0 where no server has answered.
    pub(crate) origin_status: u16,
    /// From the hand-over to the service until the head of its response.
    pub(crate) origin_duration: Duration,
    pub(crate) method: &'a Method,
    /// The request target as it came, before any clean-up. Only where the observer wants it.
    pub(crate) uri: Option<&'a Uri>,
    pub(crate) version: Version,
    /// `Host`, or HTTP/2's `:authority`. Only where the observer wants the target.
    pub(crate) host: Option<&'a HeaderValue>,
    /// `X-Forwarded-For` as servers see it before the proxy adds to it: empty of what is not believed.
    /// Only where the observer wants the target.
    pub(crate) forwarded_for: Option<&'a HeaderValue>,
    /// What is spoken over HTTP.
    pub(crate) protocol: Protocol,
    /// Of the response's head or trailers.
    pub(crate) grpc_status: Option<u16>,
    /// Only where the observer wants headers.
    pub(crate) request_headers: Option<&'a HeaderMap>,
    /// Only where the observer wants headers and there was a response.
    pub(crate) response_headers: Option<&'a HeaderMap>,
    /// What the client got; 499 where it went away before that.
    pub(crate) status: u16,
    /// Of the request's body.
    pub(crate) request_bytes: u64,
    /// Of the response's body, as far as it was taken.
    pub(crate) response_bytes: u64,
    /// From the end of the request's head to the end of the response's body.
    pub(crate) duration: Duration,
    /// Present on TLS.
    pub(crate) tls: Option<Tls<'a>>,
    /// Present where the request belongs to a trace, recorded or not.
    pub(crate) trace: Option<trace::Ids>,
    /// What the router, or else the entry point, wants observed.
    pub(crate) access_logs: bool,
    pub(crate) metrics: bool,
    /// The router is an internal one such as `ping@internal`.
    pub(crate) internal: bool,
}

impl Summary<'_> {
    /// `RouterName`: all that were passed.
    pub(crate) fn router_name(&self) -> Option<Cow<'_, str>> {
        let router = self.router?;
        if self.above.is_empty() {
            return Some(Cow::Borrowed(router));
        }
        let above = self.above.iter().map(|(router, _)| &**router);
        Some(Cow::Owned(above.chain([&**router]).collect::<Vec<_>>().join(" -> ")))
    }
}

/// What a summary tells of TLS.
#[derive(Debug)]
pub(crate) struct Tls<'a> {
    /// `1.2`, `1.3`
    pub(crate) version: &'static str,
    /// The IANA name.
    pub(crate) cipher: &'static str,
    /// The client's certificate, in DER.
    pub(crate) client_certificate: Option<&'a [u8]>,
}
