//! `plugin`: a middleware that is not ours.
//!
//! Traefik v3: plugins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared};

/// Options of `plugin`: those of the plugin under its name, exactly one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub(crate) struct Plugin(pub(crate) BTreeMap<String, serde_json::Value>);

impl Build for Plugin {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("plugin"))
    }
}
