//! `grpcWeb`: lets browsers call gRPC services.
//!
//! Traefik v3: HTTP middlewares, `GrpcWeb`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `grpcWeb`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct GrpcWeb {
    /// Origins that may call; `*` means any.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_origins: Vec<String>,
}

impl Build for GrpcWeb {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("grpcWeb"))
    }
}
