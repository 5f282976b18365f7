//! Headers that tell browsers to be careful, and the list of hosts that are answered.

use ::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Headers;
use super::custom::{header_name, header_value};
use crate::http::Request;
use crate::middleware::BuildError;

pub(super) struct Security {
    /// Empty: all.
    allowed_hosts: Vec<String>,
    hosts_proxy_headers: Vec<HeaderName>,
    tls_proxy_headers: Vec<(HeaderName, String)>,
    always: Vec<(HeaderName, HeaderValue)>,
    transport: Option<HeaderValue>,
    transport_without_tls: bool,
    pins: Option<HeaderValue>,
}

impl Security {
    /// `None` where no option of this kind is set.
    pub(super) fn new(options: &Headers) -> Result<Option<Self>, BuildError> {
        let live = !options.is_development;
        let hosts_proxy_headers: Result<Vec<_>, _> = options
            .hosts_proxy_headers
            .iter()
            .map(|name| header_name("hostsProxyHeaders", name))
            .collect();
        let tls_proxy_headers: Result<Vec<_>, _> = options
            .ssl_proxy_headers
            .iter()
            .map(|(name, value)| Ok((header_name("sslProxyHeaders", name)?, value.clone())))
            .collect();
        let security = Self {
            allowed_hosts: if live { options.allowed_hosts.clone() } else { Vec::new() },
            hosts_proxy_headers: hosts_proxy_headers?,
            tls_proxy_headers: tls_proxy_headers?,
            always: always(options)?,
            transport: if live { transport(options)? } else { None },
            transport_without_tls: options.force_sts_header,
            pins: if live { given("publicKey", &options.public_key)? } else { None },
        };
        let used = !security.allowed_hosts.is_empty()
            || !security.always.is_empty()
            || security.transport.is_some()
            || security.pins.is_some();
        Ok(used.then_some(security))
    }

    pub(super) fn is_over_tls(&self, request: &Request) -> bool {
        request.exchange().connection.tls.is_some()
            || self.tls_proxy_headers.iter().any(|(name, value)| {
                request.headers().get(name).is_some_and(|given| given == value.as_str())
            })
    }

    pub(super) fn is_host_allowed(&self, request: &Request) -> bool {
        if self.allowed_hosts.is_empty() {
            return true;
        }
        let told = self.hosts_proxy_headers.iter().find_map(|name| {
            request.headers().get(name)?.to_str().ok().filter(|host| !host.is_empty())
        });
        let host = told.or_else(|| request.host()).unwrap_or_default();
        self.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }

    pub(super) fn apply(&self, headers: &mut HeaderMap, over_tls: bool) {
        for (name, value) in &self.always {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(value) =
            self.transport.as_ref().filter(|_| over_tls || self.transport_without_tls)
        {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, value.clone());
        }
        if let Some(value) = self.pins.as_ref().filter(|_| over_tls) {
            headers.insert(header::PUBLIC_KEY_PINS, value.clone());
        }
    }
}

/// The headers that every response gets.
fn always(options: &Headers) -> Result<Vec<(HeaderName, HeaderValue)>, BuildError> {
    let frame = match options.custom_frame_options_value.as_str() {
        "" if options.frame_deny => "DENY",
        custom => custom,
    };
    let xss = match options.custom_browser_xss_value.as_str() {
        "" if options.browser_xss_filter => "1; mode=block",
        custom => custom,
    };
    let content_type = if options.content_type_nosniff { "nosniff" } else { "" };
    let policy = options.content_security_policy.as_str();
    let reported = options.content_security_policy_report_only.as_str();
    let permissions = HeaderName::from_static("permissions-policy");
    let mut headers = Vec::new();
    for (option, name, value) in [
        ("customFrameOptionsValue", header::X_FRAME_OPTIONS, frame),
        ("contentTypeNosniff", header::X_CONTENT_TYPE_OPTIONS, content_type),
        ("customBrowserXSSValue", header::X_XSS_PROTECTION, xss),
        ("contentSecurityPolicy", header::CONTENT_SECURITY_POLICY, policy),
        ("contentSecurityPolicyReportOnly", header::CONTENT_SECURITY_POLICY_REPORT_ONLY, reported),
        ("referrerPolicy", header::REFERRER_POLICY, options.referrer_policy.as_str()),
        ("permissionsPolicy", permissions, options.permissions_policy.as_str()),
    ] {
        if let Some(value) = given(option, value)? {
            headers.push((name, value));
        }
    }
    Ok(headers)
}

fn transport(options: &Headers) -> Result<Option<HeaderValue>, BuildError> {
    let Some(seconds) = options.sts_seconds.filter(|seconds| *seconds != 0) else {
        return Ok(None);
    };
    if seconds < 0 {
        return Err(BuildError::option("stsSeconds", "must not be negative"));
    }
    let subdomains = if options.sts_include_subdomains { "; includeSubDomains" } else { "" };
    let preload = if options.sts_preload { "; preload" } else { "" };
    given("stsSeconds", &format!("max-age={seconds}{subdomains}{preload}"))
}

fn given(option: &'static str, value: &str) -> Result<Option<HeaderValue>, BuildError> {
    if value.is_empty() { Ok(None) } else { header_value(option, value).map(Some) }
}
