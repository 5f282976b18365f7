//! `circuitBreaker`: stops asking a service that fails, and tries it again by and by.
//!
//! Traefik v3: HTTP middlewares, `CircuitBreaker`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};
use crate::config::value::Duration;

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
        Err(BuildError::NotBuilt("circuitBreaker"))
    }
}
