//! `forwardAuth`: asks another server whether a request may pass.
//!
//! Traefik v3: HTTP middlewares, `ForwardAuth`.

use serde::{Deserialize, Serialize};

use super::{Build, BuildContext, BuildError, Shared, is_default};
use crate::config::value::ClientTls;

/// Options of `forwardAuth`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ForwardAuth {
    /// URL that is asked.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) address: String,
    /// How to speak TLS with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ClientTls>,
    /// True keeps the client's `X-Forwarded-*`, false takes them all off first; absent overwrites only For, Proto,
    /// Method, Host and Uri.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trust_forward_header: Option<bool>,
    /// Headers of the answer that are copied to the request.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) auth_response_headers: Vec<String>,
    /// The same, by a regular expression over their names.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) auth_response_headers_regex: String,
    /// Headers of the request that are sent along. Default: all.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) auth_request_headers: Vec<String>,
    /// Bytes; a larger answer is refused with 401. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_response_body_size: Option<i64>,
    /// Cookies of the answer that are added to the response.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) add_auth_cookies_to_response: Vec<String>,
    /// Request header that gets the user's name for the access log. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) header_field: String,
    /// Sends the body along. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) forward_body: bool,
    /// Bytes; a larger request body is refused with 401. Default: -1, no limit.
    pub(crate) max_body_size: i64,
    /// Leaves `Location` of the answer as it is. Default: false, made relative to the address.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) preserve_location_header: bool,
    /// Asks with the request's method. Default: false, GET.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) preserve_request_method: bool,
    /// Where a 401 of the answer redirects to. Default: none.
    #[serde(rename = "authSigninURL", skip_serializing_if = "is_default")]
    pub(crate) auth_signin_url: String,
}

impl Default for ForwardAuth {
    fn default() -> Self {
        Self {
            address: String::new(),
            tls: None,
            trust_forward_header: None,
            auth_response_headers: Vec::new(),
            auth_response_headers_regex: String::new(),
            auth_request_headers: Vec::new(),
            max_response_body_size: None,
            add_auth_cookies_to_response: Vec::new(),
            header_field: String::new(),
            forward_body: false,
            max_body_size: -1,
            preserve_location_header: false,
            preserve_request_method: false,
            auth_signin_url: String::new(),
        }
    }
}

impl Build for ForwardAuth {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Err(BuildError::NotBuilt("forwardAuth"))
    }
}
