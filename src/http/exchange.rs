//! One request and its response: what access log, metrics and traces will tell of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::time::Instant;

use super::{Connection, Informational};
use crate::observe::trace::Ids;

/// A request and its response, from the first byte of the head to the end of the response's body.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) connection: Arc<Connection>,
    pub(crate) started: Instant,
    record: Mutex<Record>,
    request_bytes: AtomicU64,
    /// For interim responses, where the client understands them.
    pub(crate) informational: Option<Informational>,
    /// The name that the host is an alias of, or the host itself; only with `hostResolver.cnameFlattening`.
    flat_host: OnceLock<Arc<str>>,
    /// Its trace, where it belongs to one.
    pub(crate) trace: OnceLock<Ids>,
}

/// What is learned on the way. Names are Traefik's access-log fields.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Routers passed before `router`, and what stands for a service of theirs in metrics.
    pub(crate) above: Vec<(Arc<str>, Arc<str>)>,
    /// `RouterName`: the innermost.
    pub(crate) router: Option<Arc<str>>,
    /// `ServiceName`
    pub(crate) service: Option<Arc<str>>,
    /// What stands for the service in metrics of a router that leads on to others, as long as none has taken over.
    pub(crate) muxer: Option<Arc<str>>,
    /// `ServiceURL`: the server that was tried last, as in the configuration.
    pub(crate) server_url: Option<Arc<str>>,
    /// `ServiceAddr`: its host and port.
    pub(crate) server_address: Option<Arc<str>>,
    /// `ClientUsername`
    pub(crate) username: Option<String>,
    /// `RetryAttempts`: tries after the first.
    pub(crate) retry_attempts: u32,
    /// `OriginStatus`; 0 until a server (or the proxy in its place) has answered.
    pub(crate) origin_status: u16,
    /// `OriginDuration`: from the hand-over to the service until the head of its response.
    pub(crate) origin_duration: std::time::Duration,
}

impl Record {
    /// A router takes the request: to `service`, or on to other routers.
    pub(crate) fn enter(&mut self, router: &Arc<str>, service: &Arc<str>, leads_on: bool) {
        self.router = Some(router.clone());
        self.service = (!leads_on).then(|| service.clone());
        self.muxer = leads_on.then(|| service.clone());
    }

    /// The request goes on from `parent` to a router below it. A retry does so several times.
    pub(crate) fn descend(
        &mut self,
        parent: &Arc<str>,
        (router, service, leads_on): (&Arc<str>, &Arc<str>, bool),
    ) {
        if let Some(before) = self.above.iter().position(|(router, _)| router == parent) {
            self.above.truncate(before + 1);
        } else if let (Some(router), Some(muxer)) = (self.router.take(), self.muxer.take()) {
            self.above.push((router, muxer));
        }
        self.enter(router, service, leads_on);
    }
}

impl Exchange {
    pub(crate) fn new(connection: Arc<Connection>, started: Instant) -> Self {
        Self {
            connection,
            started,
            record: Mutex::default(),
            request_bytes: AtomicU64::new(0),
            informational: None,
            flat_host: OnceLock::new(),
            trace: OnceLock::new(),
        }
    }

    /// The name that the host is an alias of; `None` where nobody has asked for it.
    pub(crate) fn flat_host(&self) -> Option<&str> {
        self.flat_host.get().map(|host| &**host)
    }

    /// Notes the name that the host is an alias of: once, before rules are looked at.
    pub(crate) fn set_flat_host(&self, host: Arc<str>) {
        let first = self.flat_host.set(host).is_ok();
        debug_assert!(first, "it is looked up once a request");
    }

    /// The record, for a moment: never across an await. Nobody else holds it, so this does not wait.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts bytes of the request's body.
    pub(crate) fn add_request_bytes(&self, bytes: u64) {
        self.request_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of the request's body so far.
    pub(crate) fn request_bytes(&self) -> u64 {
        self.request_bytes.load(Ordering::Relaxed)
    }
}
