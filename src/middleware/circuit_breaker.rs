//! `circuitBreaker`: stops asking a service that fails, and tries it again by and by.
//!
//! Traefik v3: HTTP middlewares, `CircuitBreaker`.

mod expression;
mod metrics;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::StatusCode;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::expression::Condition;
use self::metrics::Metrics;
use super::{
    Build, BuildContext, BuildError, Middleware, Next, Shared, is_default, status_response,
};
use crate::config::value::Duration;
use crate::http::{ProxyError, Request, Response};

/// Options of `circuitBreaker`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct CircuitBreaker {
    /// Trips while it is true, such as `NetworkErrorRatio() > 0.5`. Must not be empty.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) expression: String,
    /// Shortest time between two looks at the expression. Default: 100 ms.
    pub(crate) check_period: Duration,
    /// How long it stays tripped. Default: 10 s.
    pub(crate) fallback_duration: Duration,
    /// How long it takes to let requests through again. Default: 10 s.
    pub(crate) recovery_duration: Duration,
    /// Status of the answer while tripped. Default: 503.
    pub(crate) response_code: u16,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            expression: String::new(),
            check_period: Duration::from_millis(100),
            fallback_duration: Duration::from_secs(10),
            recovery_duration: Duration::from_secs(10),
            response_code: 503,
        }
    }
}

impl Build for CircuitBreaker {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Ok(Arc::new(self.breaker(Instant::now())?))
    }
}

impl CircuitBreaker {
    fn breaker(&self, started: Instant) -> Result<Breaker, BuildError> {
        if self.expression.trim().is_empty() {
            return Err(BuildError::option("expression", "cannot be empty"));
        }
        let (condition, measures) = expression::parse(&self.expression)
            .map_err(|problem| BuildError::option("expression", problem))?;
        let refusal = StatusCode::from_u16(self.response_code)
            .map_err(|error| BuildError::option("responseCode", error.to_string()))?;
        Ok(Breaker {
            condition,
            check_period: self.check_period.into(),
            fallback_duration: self.fallback_duration.into(),
            recovery_duration: self.recovery_duration.into(),
            refusal,
            started,
            standby: AtomicBool::new(true),
            inner: Mutex::new(Inner {
                state: State::Standby,
                checked_next: started,
                metrics: Metrics::new(measures),
            }),
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Everything passes.
    Standby,
    /// Nothing passes, until then.
    Tripped(Instant),
    /// A share passes that grows from none to a half.
    Recovering { since: Instant, allowed: u32, denied: u32 },
}

struct Breaker {
    condition: Condition,
    check_period: std::time::Duration,
    fallback_duration: std::time::Duration,
    recovery_duration: std::time::Duration,
    refusal: StatusCode,
    started: Instant,
    /// True in standby: the common case takes no lock on the way in.
    standby: AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    /// Before this, the expression is not looked at again.
    checked_next: Instant,
    metrics: Metrics,
}

#[async_trait]
impl Middleware for Breaker {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let asked = Instant::now();
        if !self.lets_pass(asked) {
            return Ok(status_response(self.refusal));
        }
        let outcome = next.run(request).await;
        let status = match &outcome {
            Ok(response) => response.status(),
            Err(error) => error.status(),
        };
        self.record(asked, Instant::now(), status);
        outcome
    }
}

impl Breaker {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, inner: &mut Inner, state: State) {
        self.standby.store(matches!(state, State::Standby), Ordering::Release);
        inner.state = state;
    }

    fn lets_pass(&self, now: Instant) -> bool {
        if self.standby.load(Ordering::Acquire) {
            return true;
        }
        let mut inner = self.inner();
        if let State::Tripped(until) = inner.state {
            if now < until {
                return false;
            }
            self.enter(&mut inner, State::Recovering { since: now, allowed: 0, denied: 0 });
        }
        let State::Recovering { since, allowed, denied } = inner.state else { return true };
        let passed = now.saturating_duration_since(since);
        if passed > self.recovery_duration {
            self.enter(&mut inner, State::Standby);
            return true;
        }
        let target = 0.5 * passed.as_secs_f64() / self.recovery_duration.as_secs_f64();
        let share = f64::from(allowed + 1) / f64::from(allowed.saturating_add(denied) + 1);
        let passes = share < target;
        let (allowed, denied) = if passes { (allowed + 1, denied) } else { (allowed, denied + 1) };
        inner.state = State::Recovering { since, allowed, denied };
        passes
    }

    /// Counts a response, and trips where the expression says so.
    fn record(&self, asked: Instant, now: Instant, status: StatusCode) {
        let mut inner = self.inner();
        let since_start = now.saturating_duration_since(self.started);
        inner.metrics.record(since_start, status.as_u16(), now.saturating_duration_since(asked));
        if now < inner.checked_next {
            return;
        }
        inner.checked_next = now + self.check_period;
        if matches!(inner.state, State::Tripped(_)) {
            return;
        }
        let metrics = &inner.metrics;
        if self.condition.holds(&|one| one.holds(metrics.value(one.measure))) {
            inner.metrics.reset();
            self.enter(&mut inner, State::Tripped(now + self.fallback_duration));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration as Time;

    use super::*;
    use crate::http::Body;
    use crate::middleware::testing::{built, refused, request, service, text};

    const FUSE: &str = r#"{"expression": "ResponseCodeRatio(500, 600, 0, 600) > 0.5",
        "fallbackDuration": "2s", "recoveryDuration": "1s"}"#;

    /// A breaker and the time of its making.
    fn fuse() -> (Breaker, Instant) {
        let start = Instant::now();
        (serde_json::from_str::<CircuitBreaker>(FUSE).unwrap().breaker(start).unwrap(), start)
    }

    /// Asks so many milliseconds after the start; true where the request passed, and was answered with `status`.
    fn ask((breaker, start): &(Breaker, Instant), at: u64, status: u16) -> bool {
        let now = *start + Time::from_millis(at);
        let passes = breaker.lets_pass(now);
        if passes {
            breaker.record(now, now, StatusCode::from_u16(status).unwrap());
        }
        passes
    }

    #[test]
    fn trips_at_the_first_response_then_recovers_to_standby() {
        let fuse = fuse();
        assert!(ask(&fuse, 0, 500));
        assert!(!ask(&fuse, 1, 200));
        assert!(!ask(&fuse, 1999, 200));
        let passed = (2000..3000).step_by(10).filter(|at| ask(&fuse, *at, 200)).count();
        assert!((10..50).contains(&passed), "{passed}");
        assert!((3001..3100).all(|at| ask(&fuse, at, 200)));
    }

    #[test]
    fn the_share_that_passes_grows() {
        let fuse = fuse();
        ask(&fuse, 0, 500);
        let passed = |times: std::ops::Range<u64>| {
            times.step_by(5).filter(|at| ask(&fuse, *at, 200)).count()
        };
        let (early, late) = (passed(2000..2500), passed(2500..3000));
        assert!(early < late, "{early} {late}");
    }

    #[test]
    fn trips_again_while_it_recovers() {
        let fuse = fuse();
        ask(&fuse, 0, 500);
        let first = (2000..3000).find(|at| ask(&fuse, *at, 500)).unwrap();
        assert!((first + 1..first + 2000).step_by(100).all(|at| !ask(&fuse, at, 200)));
    }

    #[test]
    fn looks_only_once_a_check_period() {
        let longer = FUSE.replacen('{', r#"{"checkPeriod": "300ms", "#, 1);
        for (options, period) in [(FUSE, 100), (&longer, 300)] {
            let start = Instant::now();
            let options: CircuitBreaker = serde_json::from_str(options).unwrap();
            let fuse = (options.breaker(start).unwrap(), start);
            ask(&fuse, 0, 200);
            assert!((1..period).all(|at| ask(&fuse, at, 500)));
            assert!(ask(&fuse, period, 500));
            assert!(!ask(&fuse, period + 1, 500));
        }
    }

    #[tokio::test]
    async fn network_errors_count_and_the_status_can_be_chosen() {
        let json = r#"{"expression": "NetworkErrorRatio() >= 1.0", "responseCode": 429}"#;
        let breaker = built(&serde_json::from_str::<CircuitBreaker>(json).unwrap()).unwrap();
        let dead = service(|_| Err(ProxyError::ConnectTimeout { server: "a".to_owned() }));
        let outcome = breaker.handle(request("GET", "/", &[]), Next::directly(&dead)).await;
        assert_eq!(outcome.unwrap_err().status(), 504);
        let fine = service(|_| Ok(Response::new(Body::Empty)));
        let answer = breaker.handle(request("GET", "/", &[]), Next::directly(&fine)).await.unwrap();
        assert_eq!(answer.status(), 429);
        assert_eq!(text(answer.into_body()).await, "Too Many Requests");
    }

    #[test]
    fn refuses_broken_options() {
        let refused = |json: &str| refused(&serde_json::from_str::<CircuitBreaker>(json).unwrap());
        assert_eq!(refused("{}"), "option `expression`: cannot be empty");
        assert_eq!(
            refused(r#"{"expression": "Foo() > 1"}"#),
            "option `expression`: unsupported function: Foo"
        );
        let odd = r#"{"expression": "NetworkErrorRatio() > 0.5", "responseCode": 1}"#;
        assert!(refused(odd).starts_with("option `responseCode`: "));
    }
}
