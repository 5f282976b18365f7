//! Options of `providers.rest`.
//!
//! Traefik v3: providers. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::is_default;

/// `providers.rest`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rest {
    /// Takes configurations on the entry point `traefik`, from anybody. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) insecure: bool,
}
