//! `headers`: custom headers, CORS (Fetch standard) and security headers.
//!
//! Traefik v3: HTTP middlewares, `Headers`.

mod cors;
mod custom;
mod security;

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::StatusCode;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use self::cors::Cors;
use self::custom::Edit;
use self::security::Security;
use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::http::{ProxyError, Request, Response, plain_text};

/// Options of `headers`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "names are Traefik's")]
pub(crate) struct Headers {
    /// Set on the request; an empty value deletes. `Host` changes the request's host.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) custom_request_headers: BTreeMap<String, String>,
    /// Set on the response; an empty value deletes.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) custom_response_headers: BTreeMap<String, String>,
    /// `Access-Control-Allow-Credentials`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) access_control_allow_credentials: bool,
    /// `Access-Control-Allow-Headers` of a preflight.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) access_control_allow_headers: Vec<String>,
    /// `Access-Control-Allow-Methods` of a preflight.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) access_control_allow_methods: Vec<String>,
    /// Origins that are allowed; `*` means any.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) access_control_allow_origin_list: Vec<String>,
    /// The same, by regular expressions.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) access_control_allow_origin_list_regex: Vec<String>,
    /// `Access-Control-Expose-Headers`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) access_control_expose_headers: Vec<String>,
    /// Seconds: `Access-Control-Max-Age` of a preflight. Default: absent.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) access_control_max_age: Option<i64>,
    /// Adds `Origin` to `Vary`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) add_vary_header: bool,
    /// Hosts that are answered; others get 500. Default: all.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) allowed_hosts: Vec<String>,
    /// Headers that may hold the host in place of `Host`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) hosts_proxy_headers: Vec<String>,
    /// Deprecated in Traefik, without effect: use `redirectScheme`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ssl_redirect: bool,
    /// Deprecated in Traefik, without effect: use `redirectScheme`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ssl_temporary_redirect: bool,
    /// Deprecated in Traefik, without effect: use `redirectRegex`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ssl_host: String,
    /// Headers and values that tell that the client came over TLS.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ssl_proxy_headers: BTreeMap<String, String>,
    /// Deprecated in Traefik, without effect: use `redirectRegex`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) ssl_force_host: bool,
    /// Seconds: `max-age` of `Strict-Transport-Security`. Default: absent.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) sts_seconds: Option<i64>,
    /// Adds `includeSubDomains`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) sts_include_subdomains: bool,
    /// Adds `preload`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) sts_preload: bool,
    /// Sends `Strict-Transport-Security` without TLS too. Default: false.
    #[serde(rename = "forceSTSHeader", skip_serializing_if = "is_default")]
    pub(crate) force_sts_header: bool,
    /// `X-Frame-Options: DENY`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) frame_deny: bool,
    /// Another value of `X-Frame-Options`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) custom_frame_options_value: String,
    /// `X-Content-Type-Options: nosniff`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) content_type_nosniff: bool,
    /// `X-XSS-Protection: 1; mode=block`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) browser_xss_filter: bool,
    /// Another value of `X-XSS-Protection`.
    #[serde(rename = "customBrowserXSSValue", skip_serializing_if = "is_default")]
    pub(crate) custom_browser_xss_value: String,
    /// `Content-Security-Policy`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) content_security_policy: String,
    /// `Content-Security-Policy-Report-Only`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) content_security_policy_report_only: String,
    /// `Public-Key-Pins`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) public_key: String,
    /// `Referrer-Policy`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) referrer_policy: String,
    /// Deprecated in Traefik, without effect: use `permissionsPolicy`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) feature_policy: String,
    /// `Permissions-Policy`
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) permissions_policy: String,
    /// Leaves out allowed hosts, STS and key pins, for work on a developer's machine. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) is_development: bool,
}

impl Build for Headers {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        if is_default(self) {
            return Err(BuildError::Other("headers configuration not valid".to_owned()));
        }
        Ok(Arc::new(Editor {
            request: custom::edits("customRequestHeaders", &self.custom_request_headers)?,
            response: custom::edits("customResponseHeaders", &self.custom_response_headers)?,
            cors: Cors::new(self)?,
            security: Security::new(self)?,
        }))
    }
}

/// On the way in: CORS, custom headers, security. On the way back in reverse, so that custom headers win.
struct Editor {
    request: Vec<Edit>,
    response: Vec<Edit>,
    cors: Option<Cors>,
    security: Option<Security>,
}

#[async_trait]
impl Middleware for Editor {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        if let Some(preflight) = self.cors.as_ref().and_then(|cors| cors.preflight(&request)) {
            return Ok(preflight);
        }
        let origin = self.cors.as_ref().and_then(|cors| cors.allowed_origin(request.headers()));
        custom::edit_request(&self.request, &mut request);
        let mut over_tls = false;
        let mut bad_host = false;
        if let Some(security) = &self.security {
            over_tls = security.is_over_tls(&request);
            bad_host = !security.is_host_allowed(&request);
        }
        // Errors become responses here already, since they get the headers, too.
        let mut response = if bad_host {
            plain_text(StatusCode::INTERNAL_SERVER_ERROR, "Bad Host\n")
        } else {
            next.run(request).await.unwrap_or_else(ProxyError::into_response)
        };
        if let Some(security) = self.security.as_ref().filter(|_| !bad_host) {
            security.apply(response.headers_mut(), over_tls);
        }
        custom::edit(&self.response, response.headers_mut());
        if let Some(cors) = &self.cors {
            cors.apply(response.headers_mut(), origin);
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests;
