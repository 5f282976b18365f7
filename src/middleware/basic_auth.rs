//! `basicAuth`: asks for a name and a password (RFC 7617).
//!
//! Traefik v3: HTTP middlewares, `BasicAuth`.

use serde::{Deserialize, Serialize};

use super::secret::Secrets;
use super::{Build, BuildContext, BuildError, Shared, is_default};
use crate::config::value::FileOrContent;

/// Options of `basicAuth`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct BasicAuth {
    /// `name:hash`; hashes are bcrypt, MD5 as Apache has it (`$apr1$`), or `{SHA}`. They win over the file's.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) users: Secrets,
    /// The same, one a line; empty lines and those that begin with `#` do not count.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) users_file: FileOrContent,
    /// Told to the client. Default: `traefik`.
    pub(crate) realm: String,
    /// Takes `Authorization` off the request that goes on. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) remove_header: bool,
    /// Request header that gets the user's name. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) header_field: String,
}

impl Default for BasicAuth {
    fn default() -> Self {
        Self {
            users: Secrets::default(),
            users_file: FileOrContent::default(),
            realm: "traefik".to_owned(),
            remove_header: false,
            header_field: String::new(),
        }
    }
}

impl Build for BasicAuth {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("basicAuth"))
    }
}
