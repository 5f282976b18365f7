//! `failover`: a second service answers while the first one is down, or where it answers with an error.

use std::any::Any;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ::http::StatusCode;
use async_trait::async_trait;
use tracing::debug;

use super::buffer::{self, Kept};
use super::{BuildError, Lookup, Service, child, options};
use crate::http::{Handler, ProxyError, Request, Response, Side, plain_text};

pub(crate) struct Failover {
    main: Arc<dyn Service>,
    fallback: Arc<dyn Service>,
    /// Whether the first service reports its health; it counts as up otherwise.
    main_watched: bool,
    /// The same for the second, which also makes this service report its own.
    fallback_watched: bool,
    /// Answers that count as failures; none: only health decides.
    failures: Box<[RangeInclusive<u16>]>,
    /// Bytes of a request body; `None`: as many as we keep.
    body_bytes_max: Option<usize>,
}

impl Failover {
    pub(super) fn new(
        options: &options::Failover,
        name: &str,
        lookup: &dyn Lookup,
    ) -> Result<Self, BuildError> {
        let statuses = options.errors.as_ref().map_or(&[][..], |errors| &errors.status);
        let failures = statuses.iter().map(|text| range(text)).collect::<Result<Box<[_]>, _>>()?;
        let fallback_watched = options.health_check.is_some();
        // Without answers to judge by, health is all there is to decide.
        let main = child(lookup, &options.service, name, failures.is_empty() || fallback_watched)?;
        let fallback = child(lookup, &options.fallback, name, fallback_watched)?;
        let limit = options.errors.as_ref().and_then(|errors| errors.max_request_body_bytes);
        Ok(Self {
            main_watched: main.reports_health().is_ok(),
            main,
            fallback,
            fallback_watched,
            failures,
            body_bytes_max: limit.and_then(|limit| usize::try_from(limit).ok()),
        })
    }

    fn main_up(&self) -> bool {
        !self.main_watched || self.main.up()
    }

    fn fallback_up(&self) -> bool {
        !self.fallback_watched || self.fallback.up()
    }

    async fn fall_back(&self, request: Request) -> Result<Response, ProxyError> {
        if self.fallback_up() {
            return self.fallback.handle(request).await;
        }
        Ok(plain_text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable\n"))
    }

    fn is_failure(&self, result: &Result<Response, ProxyError>) -> bool {
        let status = match result {
            Ok(response) => response.status(),
            Err(error) if error.side() == Side::Client => return false,
            Err(error) => error.status(),
        };
        self.failures.iter().any(|range| range.contains(&status.as_u16()))
    }

    /// Asks the first service, and the second one if the answer is a failure.
    async fn try_main(&self, mut request: Request) -> Result<Response, ProxyError> {
        let limit = self.body_bytes_max.unwrap_or(buffer::BYTES_MAX);
        let kept = match buffer::keep(request.take_body(), limit.min(buffer::BYTES_MAX)).await {
            Ok(Kept::Whole(kept)) => kept,
            Ok(Kept::TooLarge(body)) if self.body_bytes_max.is_none() => {
                debug!("failover: the body is too large to be sent twice");
                request.replace_body(body);
                return self.main.handle(request).await;
            }
            Ok(Kept::TooLarge(_)) => {
                return Ok(plain_text(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large\n"));
            }
            Err(error) => return Err(ProxyError::ClientBody(error.to_string())),
        };
        // The copy is for the second service: only the first may upgrade the connection.
        let copy = request.with_body(kept.body());
        request.replace_body(kept.body());
        let result = self.main.handle(request).await;
        if self.is_failure(&result) {
            drop(result);
            return self.fall_back(copy).await;
        }
        result
    }
}

#[async_trait]
impl Handler for Failover {
    async fn handle(&self, request: Request) -> Result<Response, ProxyError> {
        if !self.main_up() {
            return self.fall_back(request).await;
        }
        if self.failures.is_empty() {
            return self.main.handle(request).await;
        }
        self.try_main(request).await
    }
}

impl Service for Failover {
    fn up(&self) -> bool {
        self.main_up() || self.fallback_up()
    }

    fn reports_health(&self) -> Result<(), &'static str> {
        if self.fallback_watched {
            return Ok(());
        }
        Err("healthCheck not enabled in config for this failover service")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `503` or `500-504`.
fn range(text: &str) -> Result<RangeInclusive<u16>, BuildError> {
    let bad = |problem: &str| {
        BuildError::option("failover.errors.status", format!("`{text}`: {problem}"))
    };
    let code = |code: &str| {
        let code = code.trim().parse::<u16>().ok().filter(|code| (100..1000).contains(code));
        code.ok_or_else(|| bad("not a status code (`503`) or a range of them (`500-504`)"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = code(first)?..=code(last)?;
    if range.is_empty() {
        return Err(bad("the range is empty"));
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Services, answers, request};
    use super::*;
    use crate::http::Body;

    fn built(services: &Services, options: Value) -> Result<Failover, BuildError> {
        let options = serde_json::from_value(options).unwrap();
        Failover::new(&options, "x@p", services)
    }

    #[tokio::test]
    async fn health_decides() {
        let services = Services::of(&[("main", true), ("backup", true)]);
        let options = json!({"service": "main", "fallback": "backup", "healthCheck": {}});
        let failover = built(&services, options).unwrap();
        answers(&failover, 2).await;
        services.set_up("main", false);
        answers(&failover, 3).await;
        assert_eq!(services.hits(), [("backup", 3), ("main", 2)]);
        assert!(failover.up());
        services.set_up("backup", false);
        assert!(!failover.up());
        let response = failover.handle(request("/").0).await.unwrap();
        assert_eq!(response.status(), 503);
        assert!(
            matches!(response.into_body(), Body::Full(text) if text == "Service Unavailable\n")
        );
    }

    #[tokio::test]
    async fn an_unwatched_fallback_counts_as_up() {
        let services = Services::of(&[("main", true), ("backup", false)]);
        let failover = built(&services, json!({"service": "main", "fallback": "backup"})).unwrap();
        services.set_up("main", false);
        services.set_up("backup", false);
        assert_eq!(answers(&failover, 1).await, [200]);
        assert!(failover.reports_health().is_err());
    }

    #[tokio::test]
    async fn answers_decide_and_the_body_is_sent_again() {
        let services = Services::of(&[("main", false), ("backup", false)]);
        let options = json!({"service": "main", "fallback": "backup", "errors": {"status": ["500-504", "404"]}});
        let failover = built(&services, options).unwrap();
        for (status, hits) in [(200, 0), (404, 1), (503, 2), (505, 2)] {
            services.answer_with("main", status);
            let (mut request, _) = request("/x");
            request.replace_body(Body::from("order=1"));
            let response = failover.handle(request).await.unwrap();
            let fell_back = status == 404 || status == 503;
            assert_eq!(response.status(), if fell_back { 200 } else { status });
            assert_eq!(services.hits().first(), Some(&("backup", hits)));
        }
        assert_eq!(services.bodies("backup"), ["order=1", "order=1"]);
        services.fail("main");
        assert_eq!(answers(&failover, 1).await, [200], "no connection is a 502");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_413() {
        let services = Services::of(&[("main", false), ("backup", false)]);
        let options = json!({"service": "main", "fallback": "backup",
            "errors": {"status": ["503"], "maxRequestBodyBytes": 3}});
        let failover = built(&services, options).unwrap();
        for (body, status) in [("123", 200), ("1234", 413)] {
            let (mut request, _) = request("/");
            request.replace_body(Body::from(body));
            assert_eq!(failover.handle(request).await.unwrap().status(), status);
        }
        assert_eq!(services.hits(), [("backup", 0), ("main", 1)]);
    }

    #[test]
    fn odd_ranges_are_refused() {
        for text in ["", "x", "99", "1000", "504-500", "500-", "-500"] {
            assert!(range(text).is_err(), "{text}");
        }
        assert_eq!(range("500-504").unwrap(), 500..=504);
    }
}
