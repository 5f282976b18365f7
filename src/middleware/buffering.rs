//! `buffering`: takes in whole bodies, up to a limit, before they go on.
//!
//! Traefik v3: HTTP middlewares, `Buffering`. Differs: a request without a body is tried again too, as Traefik's page
//! says; trailers cross the proxy.

mod expression;
mod spool;

use std::sync::Arc;

use ::http::{Method, StatusCode};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use self::expression::{Condition, Outcome};
use self::spool::{Failure, Limits, Whole};
use super::{
    Build, BuildContext, BuildError, Middleware, Next, Shared, broken_off, is_default,
    status_response,
};
use crate::http::{Body, ProxyError, Request, Response, Side};

/// Bytes in memory where the option says nothing.
const MEMORY: usize = 1024 * 1024;

/// How often a request is tried again, whatever the expression says.
const RETRIES_MAX: u32 = 10;

/// Options of `buffering`. What is not held in memory goes to a file in the system's folder for temporary files, and is
/// deleted with the request: without a limit, the disk is the limit. A body that does not fit there is answered with 500.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Buffering {
    /// Bytes; a larger request body is answered with 413. Default: 0, no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) max_request_body_bytes: i64,
    /// Bytes held in memory. Default: 0, which means 1 MiB.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) mem_request_body_bytes: i64,
    /// Bytes; a larger response body is answered with 500. Default: 0, no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) max_response_body_bytes: i64,
    /// Bytes held in memory. Default: 0, which means 1 MiB.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) mem_response_body_bytes: i64,
    /// When to try again, such as `IsNetworkError() && Attempts() < 2`; at most ten times. Default: never.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) retry_expression: String,
}

impl Build for Buffering {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        let expression = Some(self.retry_expression.as_str()).filter(|text| !text.is_empty());
        let retry = expression.map(expression::parse).transpose();
        let max = |option, value| match bytes(option, value)? {
            0 => Ok(None),
            max => Ok(Some(max)),
        };
        let memory = |option, value| match bytes(option, value)? {
            0 => Ok(MEMORY),
            bytes => Ok(usize::try_from(bytes).unwrap_or(usize::MAX)),
        };
        Ok(Arc::new(Buffer {
            request: Limits {
                memory: memory("memRequestBodyBytes", self.mem_request_body_bytes)?,
                max: max("maxRequestBodyBytes", self.max_request_body_bytes)?,
            },
            response: Limits {
                memory: memory("memResponseBodyBytes", self.mem_response_body_bytes)?,
                max: max("maxResponseBodyBytes", self.max_response_body_bytes)?,
            },
            retry: retry.map_err(|problem| BuildError::option("retryExpression", problem))?,
        }))
    }
}

fn bytes(option: &'static str, value: i64) -> Result<u64, BuildError> {
    u64::try_from(value).map_err(|_negative| BuildError::option(option, "cannot be negative"))
}

struct Buffer {
    request: Limits,
    response: Limits,
    retry: Option<Condition>,
}

#[async_trait]
impl Middleware for Buffer {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let body = match Whole::read(request.take_body(), self.request).await {
            Ok(body) => body,
            Err(Failure::TooLarge) => return Ok(status_response(StatusCode::PAYLOAD_TOO_LARGE)),
            Err(Failure::Source(error)) => return Err(ProxyError::ClientBody(error.to_string())),
            Err(failure @ Failure::Disk(_)) => {
                return Err(ProxyError::Internal(failure.to_string()));
            }
        };
        let mut attempts = 1;
        while let Some(retry) = self.retry.as_ref().filter(|_| attempts <= RETRIES_MAX) {
            let mut again = request.with_body(Body::Empty);
            again.extensions_mut().clone_from(request.extensions_mut());
            request.replace_body(body.body());
            let Answer { result, may_retry } = self.answer(request, next).await;
            let status = match &result {
                Ok(response) => response.status(),
                Err(error) => error.status(),
            };
            let outcome = Outcome { attempts, status, method: again.method() };
            if !may_retry || !retry.holds(&|term| term.holds(outcome)) {
                return result;
            }
            attempts += 1;
            request = again;
        }
        request.replace_body(body.body());
        self.answer(request, next).await.result
    }
}

/// What came of one try.
struct Answer {
    result: Result<Response, ProxyError>,
    /// False where another try could not be sent, or would end the same.
    may_retry: bool,
}

impl Buffer {
    async fn answer(&self, request: Request, next: Next<'_>) -> Answer {
        let has_body = request.method() != Method::HEAD && request.method() != Method::CONNECT;
        let exchange = request.exchange().clone();
        let mut response = match next.run(request).await {
            Ok(response) => response,
            Err(error) => {
                let may_retry = error.side() != Side::Client;
                return Answer { result: Err(error), may_retry };
            }
        };
        if response.status().is_informational() {
            return Answer { result: Ok(response), may_retry: false };
        }
        if !has_body {
            return Answer { result: Ok(response), may_retry: true };
        }
        match Whole::read(std::mem::take(response.body_mut()), self.response).await {
            Ok(body) => {
                *response.body_mut() = body.body();
                Answer { result: Ok(response), may_retry: true }
            }
            Err(Failure::TooLarge) => {
                let refusal = status_response(StatusCode::INTERNAL_SERVER_ERROR);
                Answer { result: Ok(refusal), may_retry: false }
            }
            Err(Failure::Source(error)) => {
                Answer { result: Err(broken_off(&exchange, &error)), may_retry: true }
            }
            Err(failure @ Failure::Disk(_)) => {
                let error = ProxyError::Internal(failure.to_string());
                Answer { result: Err(error), may_retry: false }
            }
        }
    }
}

#[cfg(test)]
mod tests;
