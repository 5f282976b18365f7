//! `mirroring`: one service answers, others get copies of some requests; nobody waits for those.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ::http::header;
use async_trait::async_trait;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::buffer::{self, Kept, Whole};
use super::{BuildError, Lookup, Service, child, options};
use crate::http::{Body, Exchange, Handler, ProxyError, Request, Response};

/// Copies of one service that are on their way at the same time; there are none beyond.
const COPIES_MAX: usize = 512;
/// Bytes of bodies that these copies may hold.
const COPIES_BYTES_MAX: usize = 256 << 20;
/// A mirror that takes longer is broken off.
const COPY_TIME_MAX: Duration = Duration::from_mins(1);

pub(crate) struct Mirroring {
    main: Arc<dyn Service>,
    mirrors: Box<[Mirror]>,
    counters: Arc<Counters>,
    slots: Arc<Slots>,
    mirrors_body: bool,
    body_bytes_max: usize,
    watched: bool,
}

struct Mirror {
    service: Arc<dyn Service>,
    percent: u64,
}

/// What has been counted so far. It survives plans that leave the mirrors as they are: the first request is mirrored,
/// and changes elsewhere must not make many first ones.
struct Counters {
    mirrors: Vec<options::Mirror>,
    total: AtomicU64,
    mirrored: Box<[AtomicU64]>,
}

/// Copies on their way.
#[derive(Default)]
struct Slots {
    copies: AtomicUsize,
    bytes: AtomicUsize,
}

impl Mirroring {
    pub(super) fn new(
        options: &options::Mirroring,
        name: &str,
        lookup: &dyn Lookup,
        previous: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let watched = options.health_check.is_some();
        let main = child(lookup, &options.service, name, watched)?;
        let mut mirrors = Vec::new();
        for mirror in &options.mirrors {
            let service = child(lookup, &mirror.name, name, false)?;
            let percent = u64::try_from(mirror.percent).ok().filter(|&percent| percent <= 100);
            mirrors.push(Mirror { service, percent: percent.ok_or(BuildError::Percent)? });
        }
        let counters = match previous {
            Some(previous) if previous.counters.mirrors == options.mirrors => {
                Arc::clone(&previous.counters)
            }
            Some(_) | None => Arc::new(Counters::new(&options.mirrors)),
        };
        let limit = options.max_body_size.and_then(|limit| usize::try_from(limit).ok());
        Ok(Self {
            main,
            mirrors: mirrors.into(),
            counters,
            slots: previous.map(|previous| Arc::clone(&previous.slots)).unwrap_or_default(),
            mirrors_body: options.mirror_body.unwrap_or(true),
            body_bytes_max: limit.unwrap_or(usize::MAX).min(buffer::BYTES_MAX),
            watched,
        })
    }

    /// The mirrors that get the next request.
    fn due(&self) -> Vec<Arc<dyn Service>> {
        let total = self.counters.total.fetch_add(1, Relaxed).saturating_add(1);
        let counted = self.mirrors.iter().zip(&self.counters.mirrored);
        counted
            .filter(|(mirror, count)| {
                let due = |count: u64| {
                    let below =
                        u128::from(count) * 100 < u128::from(total) * u128::from(mirror.percent);
                    below.then_some(count + 1)
                };
                count.fetch_update(Relaxed, Relaxed, due).is_ok()
            })
            .map(|(mirror, _)| Arc::clone(&mirror.service))
            .collect()
    }

    /// The copy for mirrors; `None` where the body is too large for one. The request is as it was, either way.
    async fn copy(&self, request: &mut Request) -> Result<Option<(Request, Whole)>, ProxyError> {
        if !self.mirrors_body {
            let mut copy = request.with_body(Body::Empty);
            copy.headers_mut().remove(header::CONTENT_LENGTH);
            copy.headers_mut().remove(header::TRANSFER_ENCODING);
            return Ok(Some((copy, Whole::default())));
        }
        match buffer::keep(request.take_body(), self.body_bytes_max).await {
            Ok(Kept::Whole(kept)) => {
                request.replace_body(kept.body());
                Ok(Some((request.with_body(Body::Empty), kept)))
            }
            Ok(Kept::TooLarge(body)) => {
                request.replace_body(body);
                Ok(None)
            }
            Err(error) => Err(ProxyError::ClientBody(error.to_string())),
        }
    }

    /// Sends copies to `mirrors`, on the side.
    #[expect(
        clippy::disallowed_methods,
        reason = "copies stay on the core whose connections they use; their number and time are limited, and nobody \
                  waits for them at shutdown"
    )]
    fn send(&self, mirrors: Vec<Arc<dyn Service>>, copy: &Request, kept: &Whole) {
        for mirror in mirrors {
            let Some(slot) = Slot::take(&self.slots, kept.len()) else {
                debug!("mirroring: too many copies on their way, request not mirrored");
                return;
            };
            let (parts, body, exchange) = copy.with_body(kept.body()).into_parts();
            // An exchange of its own: what mirrors do must not show in the log line of the request.
            let exchange = Exchange::new(Arc::clone(&exchange.connection), Instant::now());
            let request = Request::new(parts, body, Arc::new(exchange));
            tokio::spawn(async move {
                let _slot = slot;
                if timeout(COPY_TIME_MAX, run(&*mirror, request)).await.is_err() {
                    debug!("mirroring: a mirror did not answer in time");
                }
            });
        }
    }
}

/// Sends a copy and reads the answer to its end, so that the connection can be used again.
async fn run(mirror: &dyn Service, request: Request) {
    match mirror.handle(request).await {
        Ok(response) => {
            let mut body = response.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        }
        Err(error) => debug!(%error, "mirroring: a mirror failed"),
    }
}

#[async_trait]
impl Handler for Mirroring {
    /// Differs: mirrors start once the head of the answer is here; Traefik waits for its body too.
    async fn handle(&self, mut request: Request) -> Result<Response, ProxyError> {
        // A connection that is upgraded cannot be shared.
        if request.headers().contains_key(header::UPGRADE) {
            return self.main.handle(request).await;
        }
        let mirrors = self.due();
        if mirrors.is_empty() {
            return self.main.handle(request).await;
        }
        let Some((copy, kept)) = self.copy(&mut request).await? else {
            return self.main.handle(request).await;
        };
        let result = self.main.handle(request).await;
        self.send(mirrors, &copy, &kept);
        result
    }
}

impl Service for Mirroring {
    fn up(&self) -> bool {
        !self.watched || self.main.up()
    }

    fn reports_health(&self) -> Result<(), &'static str> {
        if self.watched {
            return Ok(());
        }
        Err("healthCheck not enabled in config for this mirroring service")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Counters {
    fn new(mirrors: &[options::Mirror]) -> Self {
        Self {
            mirrors: mirrors.to_vec(),
            total: AtomicU64::new(0),
            mirrored: mirrors.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

/// A place for one copy; free again when dropped.
struct Slot {
    slots: Arc<Slots>,
    bytes: usize,
}

impl Slot {
    fn take(slots: &Arc<Slots>, bytes: usize) -> Option<Self> {
        // Counted first and looked at then: dropping the slot takes it back.
        let copies = slots.copies.fetch_add(1, Relaxed);
        let held = slots.bytes.fetch_add(bytes, Relaxed);
        let slot = Self { slots: Arc::clone(slots), bytes };
        (copies < COPIES_MAX && held.saturating_add(bytes) <= COPIES_BYTES_MAX).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.copies.fetch_sub(1, Relaxed);
        self.slots.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Services, answers, request};
    use super::*;

    fn built(services: &Services, options: Value, previous: Option<&Mirroring>) -> Mirroring {
        let options = serde_json::from_value(options).unwrap();
        Mirroring::new(&options, "x@p", services, previous).unwrap()
    }

    /// Lets the mirrors run.
    async fn settled(mirroring: &Mirroring) {
        while mirroring.slots.copies.load(Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    }

    fn services() -> Services {
        Services::of(&[("audit", false), ("main", false), ("shadow", false)])
    }

    #[tokio::test]
    async fn percentages_are_exact_and_the_first_is_mirrored() {
        let services = services();
        let options = json!({"service": "main",
            "mirrors": [{"name": "shadow", "percent": 50}, {"name": "audit", "percent": 10}]});
        let mirroring = built(&services, options.clone(), None);
        answers(&mirroring, 2).await;
        settled(&mirroring).await;
        assert_eq!(services.hits(), [("audit", 1), ("main", 2), ("shadow", 1)]);
        let mirroring = built(&services, options, Some(&mirroring));
        answers(&mirroring, 8).await;
        settled(&mirroring).await;
        assert_eq!(
            services.hits(),
            [("audit", 1), ("main", 10), ("shadow", 5)],
            "counting goes on"
        );
    }

    #[tokio::test]
    async fn bodies_are_copied_up_to_the_limit() {
        let services = services();
        let options = json!({"service": "main", "maxBodySize": 8, "mirrors": [{"name": "shadow", "percent": 100}]});
        let mirroring = built(&services, options, None);
        for body in ["12345678", "123456789"] {
            let (mut request, exchange) = request("/first?x=1");
            request.replace_body(Body::from(body));
            mirroring.handle(request).await.unwrap();
            settled(&mirroring).await;
            assert_eq!(exchange.record().service.as_deref(), Some("main"), "not the mirror");
        }
        assert_eq!(services.bodies("main"), ["12345678", "123456789"]);
        assert_eq!(services.bodies("shadow"), ["12345678"]);
    }

    #[tokio::test]
    async fn mirrors_get_no_body_where_it_is_not_mirrored() {
        let services = services();
        let options = json!({"service": "main", "mirrorBody": false, "mirrors": [{"name": "shadow", "percent": 100}]});
        let mirroring = built(&services, options, None);
        let (mut request, _) = request("/");
        request.replace_body(Body::from("secret"));
        mirroring.handle(request).await.unwrap();
        settled(&mirroring).await;
        assert_eq!(services.bodies("main"), ["secret"]);
        assert_eq!(services.bodies("shadow"), [""]);
    }

    #[tokio::test]
    async fn a_mirror_that_fails_is_not_noticed() {
        let services = services();
        services.fail("shadow");
        let options = json!({"service": "main", "mirrors": [{"name": "shadow", "percent": 100}]});
        let mirroring = built(&services, options, None);
        assert_eq!(answers(&mirroring, 3).await, [200, 200, 200]);
        settled(&mirroring).await;
        assert_eq!(services.hits(), [("audit", 0), ("main", 3), ("shadow", 3)]);
    }

    #[test]
    fn copies_on_their_way_are_bounded() {
        let slots: Arc<Slots> = Arc::default();
        let taken: Vec<_> = (0..COPIES_MAX).map_while(|_| Slot::take(&slots, 1)).collect();
        assert_eq!(taken.len(), COPIES_MAX);
        assert!(Slot::take(&slots, 1).is_none());
        drop(taken);
        assert!(Slot::take(&slots, COPIES_BYTES_MAX + 1).is_none());
        assert!(Slot::take(&slots, COPIES_BYTES_MAX).is_some());
        assert_eq!((slots.copies.load(Relaxed), slots.bytes.load(Relaxed)), (0, 0));
    }
}
