//! `retry`: sends a request again when it failed.
//!
//! Traefik v3: HTTP middlewares, `Retry`.

mod replay;

use std::sync::Arc;
use std::time::Duration;

use ::http::Method;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::replay::Replay;
use super::statuses::Statuses;
use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::config::value;
use crate::http::{Body, NothingSent, ProxyError, Request, Response, Side};
use crate::observe::trace::Span;

/// Options of `retry`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "names are Traefik's")]
pub(crate) struct Retry {
    /// Tries in total; 1 means no second one. At least 1.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) attempts: i64,
    /// Time after which nothing is tried again. Default: 0, no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) timeout: value::Duration,
    /// Pause before the second try; later ones grow by the factor 2^(1/(attempts-1)). Default: 0, no pause.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) initial_interval: value::Duration,
    /// Bytes; a request with a larger body is not tried again for its status. Default: 2 MiB; negative: no limit.
    pub(crate) max_request_body_bytes: i64,
    /// Statuses and ranges (`502-504`) that are tried again. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) status: Vec<String>,
    /// Leaves failed connections alone. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) disable_retry_on_network_error: bool,
    /// Tries POST, PATCH and LOCK again for their status too. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) retry_non_idempotent_method: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 0,
            timeout: value::Duration::ZERO,
            initial_interval: value::Duration::ZERO,
            max_request_body_bytes: 2 * 1024 * 1024,
            status: Vec::new(),
            disable_retry_on_network_error: false,
            retry_non_idempotent_method: false,
        }
    }
}

impl Build for Retry {
    fn build(&self, context: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Ok(Arc::new(Retrier { name: context.name.into(), ..self.retrier()? }))
    }
}

impl Retry {
    fn retrier(&self) -> Result<Retrier, BuildError> {
        let attempts = u32::try_from(self.attempts).ok().filter(|attempts| *attempts > 0);
        let Some(attempts) = attempts else {
            let text = format!("incorrect (or empty) value for attempt ({})", self.attempts);
            return Err(BuildError::Other(text));
        };
        if self.timeout.is_negative() || self.initial_interval.is_negative() {
            return Err(BuildError::Other(
                "timeout and initialInterval must not be negative".to_owned(),
            ));
        }
        let statuses = Statuses::new("status", &self.status)?;
        if statuses.is_empty() && self.disable_retry_on_network_error {
            return Err(BuildError::Other(
                "nothing to retry: give `status`, or leave disableRetryOnNetworkError off"
                    .to_owned(),
            ));
        }
        Ok(Retrier {
            name: "".into(),
            attempts,
            timeout: self.timeout.positive(),
            pause: self.initial_interval.positive().unwrap_or_default(),
            growth: f64::exp2(1.0 / f64::from(attempts.saturating_sub(1).max(1))),
            body_bytes_max: u64::try_from(self.max_request_body_bytes).unwrap_or(u64::MAX),
            statuses,
            on_network_error: !self.disable_retry_on_network_error,
            any_method: self.retry_non_idempotent_method,
        })
    }
}

struct Retrier {
    /// `name@provider`
    name: Arc<str>,
    attempts: u32,
    timeout: Option<Duration>,
    /// Before the second try.
    pause: Duration,
    growth: f64,
    body_bytes_max: u64,
    statuses: Statuses,
    on_network_error: bool,
    any_method: bool,
}

#[async_trait]
impl Middleware for Retrier {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let by_status = self.is_tried_for_its_status(request.method());
        if self.attempts == 1 || !(by_status || self.on_network_error) {
            let _span = self.span(&mut request, 1);
            return next.run(request).await;
        }
        let started = Instant::now();
        let body =
            Replay::new(request.take_body(), if by_status { self.body_bytes_max } else { 0 });
        for number in 1..self.attempts {
            let pause = self.pause_after(number);
            let mut again = request.with_body(Body::Empty);
            again.extensions_mut().clone_from(request.extensions_mut());
            request.replace_body(body.next());
            let span = self.span(&mut request, number);
            let outcome = next.run(request).await;
            drop(span);
            let late = self
                .timeout
                .is_some_and(|timeout| started.elapsed().saturating_add(pause) >= timeout);
            if late || !self.is_worth_another(&outcome, by_status, &body) {
                return outcome;
            }
            drop(outcome);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            again.exchange().record().retry_attempts += 1;
            request = again;
        }
        request.replace_body(body.next());
        let _span = self.span(&mut request, self.attempts);
        next.run(request).await
    }
}

impl Retrier {
    /// A span of the so many-th try, where the request is recorded in detail.
    fn span(&self, request: &mut Request, number: u32) -> Option<Box<Span>> {
        let mut span = Box::new(request.span()?.inner("Retry")?);
        span.text("traefik.middleware.name", &*self.name);
        if number > 1 {
            span.resent(number - 1);
        }
        request.enter(&span);
        Some(span)
    }

    /// The pause after the so many-th try.
    fn pause_after(&self, number: u32) -> Duration {
        let factor = self.growth.powf(f64::from(number.saturating_sub(1)));
        Duration::try_from_secs_f64(self.pause.as_secs_f64() * factor).unwrap_or(Duration::MAX)
    }

    /// A method that changes things may have done so, whatever the status says.
    fn is_tried_for_its_status(&self, method: &Method) -> bool {
        let changes = matches!(method.as_str(), "POST" | "PATCH" | "LOCK");
        !self.statuses.is_empty() && (self.any_method || !changes)
    }

    fn is_worth_another(
        &self,
        outcome: &Result<Response, ProxyError>,
        by_status: bool,
        body: &Replay,
    ) -> bool {
        let (status, nothing_sent, client) = match outcome {
            Ok(response) => {
                let nothing_sent = response.extensions().get::<NothingSent>().is_some();
                (response.status(), nothing_sent, false)
            }
            Err(error) => (error.status(), error.nothing_sent(), error.side() == Side::Client),
        };
        if client {
            return false;
        }
        if nothing_sent && self.on_network_error {
            return body.is_untouched();
        }
        by_status && self.statuses.contains(status) && body.is_complete()
    }
}

#[cfg(test)]
mod tests;
