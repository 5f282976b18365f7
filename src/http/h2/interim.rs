//! Interim responses of a connection's requests, until their own future sends them: of HTTP/2 and of HTTP/3.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderMap, StatusCode};

use super::head;

/// Heads that may wait; nearly always there is none.
const WAITING_MAX: usize = 32;

/// The interim responses that wait.
#[derive(Default)]
pub(in crate::http) struct Interims {
    any: AtomicBool,
    heads: Mutex<Vec<Head>>,
}

struct Head {
    request: u64,
    status: StatusCode,
    headers: HeaderMap,
}

impl Interims {
    /// For one request of the connection.
    pub(in crate::http) fn of(self: &Arc<Self>, request: u64) -> Interim {
        Interim { interims: self.clone(), request }
    }

    /// Forgets what requests have left that have ended.
    pub(in crate::http) fn clear(&self) {
        if self.any.swap(false, Ordering::Relaxed) {
            self.lock().clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Head>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's way to send interim responses.
#[derive(Clone)]
pub(crate) struct Interim {
    interims: Arc<Interims>,
    request: u64,
}

impl Interim {
    /// Sent once the request's future has been polled, which is what calls this.
    pub(crate) fn send(&self, status: StatusCode, headers: &HeaderMap) {
        let mut heads = self.interims.lock();
        if heads.len() < WAITING_MAX {
            let mut headers = headers.clone();
            head::remove_foreign(&mut headers);
            headers.remove(CONTENT_LENGTH);
            heads.push(Head { request: self.request, status, headers });
            self.interims.any.store(true, Ordering::Relaxed);
        }
    }

    /// What was sent and is still to go to the client.
    pub(in crate::http) fn take(&self) -> Vec<::http::Response<()>> {
        if !self.interims.any.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut heads = self.interims.lock();
        let mine = heads.extract_if(.., |head| head.request == self.request);
        let responses = mine.map(|head| {
            let mut response = ::http::Response::new(());
            *response.status_mut() = head.status;
            *response.headers_mut() = head.headers;
            response
        });
        let responses: Vec<_> = responses.collect();
        self.interims.any.store(!heads.is_empty(), Ordering::Relaxed);
        responses
    }
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interim").field("request", &self.request).finish_non_exhaustive()
    }
}
