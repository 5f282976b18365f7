//! Options of `providers.file`.
//!
//! Traefik v3: providers. Same keys, same defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::is_default;

/// `providers.file`: one of `filename` and `directory`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct File {
    /// Folder whose `.toml`, `.yaml` and `.yml` files are read, with its sub-folders.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) directory: String,
    /// The one file that is read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) filename: String,
    /// Follows changes. Default: true.
    pub(crate) watch: bool,
    /// Logs files before and after templating, at level DEBUG, whenever they change. They may hold secrets. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) debug_log_generated_template: bool,
}

impl Default for File {
    fn default() -> Self {
        Self {
            directory: String::new(),
            filename: String::new(),
            watch: true,
            debug_log_generated_template: false,
        }
    }
}
