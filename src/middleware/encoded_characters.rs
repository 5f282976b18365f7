//! `encodedCharacters`: refuses paths that hold certain characters in percent-encoding.
//!
//! Traefik v3: HTTP middlewares, `EncodedCharacters`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};

/// Options of `encodedCharacters`. Default of all: false, refused.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct EncodedCharacters {
    /// `%2F`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_slash: bool,
    /// `%5C`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_back_slash: bool,
    /// `%00`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_null_character: bool,
    /// `%3B`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_semicolon: bool,
    /// `%25`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_percent: bool,
    /// `%3F`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_question_mark: bool,
    /// `%23`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allow_encoded_hash: bool,
}

impl Build for EncodedCharacters {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("encodedCharacters"))
    }
}
