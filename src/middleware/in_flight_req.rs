//! `inFlightReq`: limits the requests that one source has under way.
//!
//! Traefik v3: HTTP middlewares, `InFlightReq`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::StatusCode;
use async_trait::async_trait;
use bytes::Bytes;
use http_body::Body as _;
use serde::{Deserialize, Serialize};

use super::source::{Source, SourceCriterion};
use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::http::{Body, ProxyError, Request, Response};

/// Options of `inFlightReq`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct InFlightReq {
    /// Requests of one source at once.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) amount: i64,
    /// What counts as one source. Default: the request's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_criterion: Option<SourceCriterion>,
}

impl Build for InFlightReq {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        let by_host = SourceCriterion { request_host: true, ..Default::default() };
        Ok(Arc::new(Limiter {
            amount: u32::try_from(self.amount.max(0)).unwrap_or(u32::MAX),
            refusal: format!("max connections reached: {}", self.amount).into(),
            source: Source::new(self.source_criterion.as_ref(), &by_host)?,
            counts: Arc::default(),
        }))
    }
}

const SHARDS: usize = 16;

/// Requests under way, by source; a source without any is not held, so the requests themselves bound it.
#[derive(Default)]
struct Counts {
    hasher: RandomState,
    shards: [Mutex<HashMap<Vec<u8>, u32>>; SHARDS],
}

impl Counts {
    fn shard(&self, source: &[u8]) -> Option<MutexGuard<'_, HashMap<Vec<u8>, u32>>> {
        let index = self.hasher.hash_one(source) % u64::try_from(SHARDS).ok()?;
        let shard = self.shards.get(usize::try_from(index).ok()?)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Limiter {
    amount: u32,
    refusal: Bytes,
    source: Source,
    counts: Arc<Counts>,
}

#[async_trait]
impl Middleware for Limiter {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let Some(turn) = self.turn(self.source.of(&request).into_owned()) else {
            let mut response = Response::new(Body::from(self.refusal.clone()));
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            return Ok(response);
        };
        let response = next.run(request).await?;
        Ok(response.map(|body| if body.is_end_stream() { body } else { body.guarded(turn) }))
    }
}

impl Limiter {
    /// `None` where the source has all its requests under way.
    fn turn(&self, source: Vec<u8>) -> Option<Turn> {
        let mut shard = self.counts.shard(&source)?;
        let count = shard.get(&source).copied().unwrap_or(0);
        if count >= self.amount {
            return None;
        }
        shard.insert(source.clone(), count + 1);
        Some(Turn { counts: self.counts.clone(), source })
    }
}

/// A request under way, until it is dropped.
struct Turn {
    counts: Arc<Counts>,
    source: Vec<u8>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(mut shard) = self.counts.shard(&self.source) else { return };
        if let Entry::Occupied(mut entry) = shard.entry(std::mem::take(&mut self.source)) {
            *entry.get_mut() = entry.get().saturating_sub(1);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::{built, request, service, text};

    fn one() -> Shared {
        built(&InFlightReq { amount: 1, source_criterion: None }).unwrap()
    }

    async fn ask(limiter: &Shared, host: &str) -> Response {
        let last = service(|_| Ok(Response::new(Body::from("hello"))));
        let asked = request("GET", "/", &[("host", host)]);
        limiter.handle(asked, Next::directly(&last)).await.unwrap()
    }

    #[tokio::test]
    async fn one_too_many_is_refused_until_the_body_has_ended() {
        let limiter = one();
        let first = ask(&limiter, "a.test").await;
        assert_eq!(first.status(), 200);
        let second = ask(&limiter, "a.test").await;
        assert_eq!(second.status(), 429);
        assert_eq!(text(second.into_body()).await, "max connections reached: 1");
        assert_eq!(ask(&limiter, "b.test").await.status(), 200);
        assert_eq!(text(first.into_body()).await, "hello");
        assert_eq!(ask(&limiter, "a.test").await.status(), 200);
    }

    #[tokio::test]
    async fn failures_give_their_turn_back() {
        let limiter = one();
        for _ in 0..3 {
            let dead = service(|_| Err(ProxyError::NoServer));
            let asked = request("GET", "/", &[]);
            let outcome = limiter.handle(asked, Next::directly(&dead)).await;
            assert_eq!(outcome.unwrap_err().status(), 503);
        }
    }

    #[tokio::test]
    async fn an_amount_of_zero_lets_nothing_pass() {
        let limiter = built(&InFlightReq::default()).unwrap();
        assert_eq!(ask(&limiter, "a.test").await.status(), 429);
    }
}
