//! HTTP middlewares: one file each, and the registry that puts them under Traefik's names.

mod add_prefix;
mod basic_auth;
mod buffering;
mod chain;
mod circuit_breaker;
mod compress;
mod condition;
mod content_type;
mod digest_auth;
mod encoded_characters;
mod errors;
mod forward_auth;
mod grpc_web;
mod headers;
mod in_flight_req;
mod ip_allow_list;
mod pass_tls_client_cert;
mod plugin;
mod rate_limit;
mod redirect;
mod redirect_regex;
mod redirect_scheme;
mod replace_path;
mod replace_path_regex;
mod retry;
mod rewrite;
mod secret;
mod source;
mod statuses;
mod strip_prefix;
mod strip_prefix_regex;
#[cfg(test)]
mod testing;
mod traced;

use std::sync::Arc;

use ::http::StatusCode;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::config::value::is_default;
use crate::http::{Body, BodyError, Exchange, ProxyError, Request, Response, SharedHandler};

pub(crate) use chain::{Chain, Next};
pub(crate) use traced::Link;

/// Changes a request or its response, or answers itself. One instance serves all requests of the objects that use it.
#[async_trait]
pub(crate) trait Middleware: Send + Sync {
    async fn handle(&self, request: Request, next: Next<'_>) -> Result<Response, ProxyError>;
}

/// A middleware that routers share.
pub(crate) type Shared = Arc<dyn Middleware>;

/// Options from which a middleware is built.
pub(crate) trait Build {
    fn build(&self, context: &BuildContext<'_>) -> Result<Shared, BuildError>;
}

/// What a middleware may ask for while it is built.
pub(crate) struct BuildContext<'a> {
    /// Qualified name of the middleware, such as `auth@file`.
    pub(crate) name: &'a str,
    /// Looks up the objects that a middleware refers to.
    pub(crate) lookup: &'a dyn Lookup,
}

/// Finds other objects by the names that options hold; an unqualified name is looked up in the provider of the
/// object that refers to it.
pub(crate) trait Lookup {
    /// A middleware, built.
    fn middleware(&self, name: &str) -> Result<Shared, BuildError>;
    /// A service, built. It refuses circles.
    fn service(&self, name: &str) -> Result<SharedHandler, BuildError>;
}

/// Why a middleware cannot be built. The router that uses it is disabled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BuildError {
    /// An option has a value that cannot work.
    #[error("option `{option}`: {problem}")]
    Option { option: &'static str, problem: String },
    /// Anything else, as Traefik words it.
    #[error("{0}")]
    Other(String),
    /// The options decode, the behaviour does not exist yet: a router that asks for it must not run without it.
    #[error("middleware type `{0}` is not built yet")]
    NotBuilt(&'static str),
}

impl BuildError {
    pub(crate) fn option(option: &'static str, problem: impl Into<String>) -> Self {
        Self::Option { option, problem: problem.into() }
    }
}

/// Expands the registry: `Options` (a `middlewares.NAME` entry, exactly one field of which is set), and its `build`.
macro_rules! middlewares {
    ($($key:literal => $field:ident: $options:ty,)*) => {
        /// An entry of `http.middlewares`: exactly one type is set.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[schemars(rename = "Middleware")]
        pub(crate) struct Options {
            $(
                #[doc = concat!("Options of `", $key, "`.")]
                #[serde(rename = $key, default, skip_serializing_if = "Option::is_none")]
                pub(crate) $field: Option<$options>,
            )*
        }

        impl Options {
            /// Traefik's keys, in the order of the registry: none may be missing among the samples.
            #[cfg(test)]
            pub(crate) const NAMES: &[&str] = &[$($key),*];

            /// The keys that are set.
            pub(crate) fn kinds(&self) -> Vec<&'static str> {
                let mut kinds = Vec::new();
                $(if self.$field.is_some() { kinds.push($key); })*
                kinds
            }

            /// Builds the one type that is set; refuses none or two, as Traefik does.
            pub(crate) fn build(&self, context: &BuildContext<'_>) -> Result<Shared, BuildError> {
                match self.kinds().len() {
                    0 => return Err(BuildError::Other(format!(
                        "invalid middleware \"{}\" configuration: invalid middleware type or middleware does not exist",
                        context.name
                    ))),
                    1 => {}
                    _ => return Err(BuildError::Other(
                        "cannot create middleware: multi-types middleware not supported, consider declaring two \
                         different pieces of middleware instead".to_owned()
                    )),
                }
                $(if let Some(options) = &self.$field { return options.build(context); })*
                Err(BuildError::Other("no middleware type is set".to_owned()))
            }
        }
    };
}

middlewares! {
    "addPrefix" => add_prefix: add_prefix::AddPrefix,
    "basicAuth" => basic_auth: basic_auth::BasicAuth,
    "buffering" => buffering: buffering::Buffering,
    "chain" => chain: chain::ChainOptions,
    "circuitBreaker" => circuit_breaker: circuit_breaker::CircuitBreaker,
    "compress" => compress: compress::Compress,
    "contentType" => content_type: content_type::ContentType,
    "digestAuth" => digest_auth: digest_auth::DigestAuth,
    "encodedCharacters" => encoded_characters: encoded_characters::EncodedCharacters,
    "errors" => errors: errors::Errors,
    "forwardAuth" => forward_auth: forward_auth::ForwardAuth,
    "grpcWeb" => grpc_web: grpc_web::GrpcWeb,
    "headers" => headers: headers::Headers,
    "inFlightReq" => in_flight_req: in_flight_req::InFlightReq,
    "ipAllowList" => ip_allow_list: ip_allow_list::IpAllowList,
    "ipWhiteList" => ip_white_list: ip_allow_list::IpWhiteList,
    "passTLSClientCert" => pass_tls_client_cert: pass_tls_client_cert::PassTlsClientCert,
    "plugin" => plugin: plugin::Plugin,
    "rateLimit" => rate_limit: rate_limit::RateLimit,
    "redirectRegex" => redirect_regex: redirect_regex::RedirectRegex,
    "redirectScheme" => redirect_scheme: redirect_scheme::RedirectScheme,
    "replacePath" => replace_path: replace_path::ReplacePath,
    "replacePathRegex" => replace_path_regex: replace_path_regex::ReplacePathRegex,
    "retry" => retry: retry::Retry,
    "stripPrefix" => strip_prefix: strip_prefix::StripPrefix,
    "stripPrefixRegex" => strip_prefix_regex: strip_prefix_regex::StripPrefixRegex,
}

impl Options {
    /// A `redirectScheme`, for the redirections of entry points.
    pub(crate) fn redirect(scheme: String, port: String, permanent: bool) -> Self {
        let redirect = redirect_scheme::RedirectScheme { scheme, port, permanent };
        Self { redirect_scheme: Some(redirect), ..Self::default() }
    }

    /// A permanent `redirectRegex`, for the way to the dashboard.
    pub(crate) fn redirect_regex(regex: String, replacement: String) -> Self {
        let redirect = redirect_regex::RedirectRegex { regex, replacement, permanent: true };
        Self { redirect_regex: Some(redirect), ..Self::default() }
    }

    /// A `stripPrefix`, for the dashboard.
    pub(crate) fn strip_prefix(prefixes: Vec<String>) -> Self {
        let strip = strip_prefix::StripPrefix { prefixes, force_slash: None };
        Self { strip_prefix: Some(strip), ..Self::default() }
    }

    /// Traefik's name of the type's spans; `None` for what makes them itself.
    pub(crate) fn span_name(&self) -> Option<&'static str> {
        Some(match *self.kinds().first()? {
            "addPrefix" => "AddPrefix",
            "basicAuth" => "BasicAuth",
            "buffering" => "Buffer",
            "chain" => "Chain",
            "circuitBreaker" => "CircuitBreaker",
            "compress" => "Compress",
            "contentType" => "ContentType",
            "digestAuth" => "digestAuth",
            "encodedCharacters" => "EncodedCharacters",
            "errors" => "CustomError",
            "forwardAuth" => "ForwardAuth",
            "grpcWeb" => "GRPCWeb",
            "headers" => "Headers",
            "inFlightReq" => "InFlightReq",
            "ipAllowList" => "IPAllowLister",
            "ipWhiteList" => "IPWhiteLister",
            "passTLSClientCert" => "PassClientTLSCert",
            "rateLimit" => "RateLimiter",
            "redirectRegex" | "redirectScheme" => "Redirect",
            "replacePath" => "ReplacePath",
            "replacePathRegex" => "ReplacePathRegex",
            "stripPrefix" => "StripPrefix",
            "stripPrefixRegex" => "StripPrefixRegex",
            "retry" => return None,
            _ => "Plugin",
        })
    }

    /// The API's name of the type: the key in lower case; of a plugin, the plugin's own name.
    pub(crate) fn type_name(&self) -> String {
        if let Some(name) = self.plugin.as_ref().and_then(|plugin| plugin.0.keys().next()) {
            return name.clone();
        }
        self.kinds().first().map(|kind| kind.to_ascii_lowercase()).unwrap_or_default()
    }
}

/// A response's body has ended early, before the client has got anything of the response.
fn broken_off(exchange: &Exchange, error: &BodyError) -> ProxyError {
    let server = exchange.record().server_address.as_deref().unwrap_or("the service").to_owned();
    ProxyError::Upstream { server, reason: error.to_string() }
}

/// An answer of our own: the status and its text, without a content type, as Traefik writes it.
fn status_response(status: StatusCode) -> Response {
    let mut response = Response::new(Body::from(status_text(status)));
    *response.status_mut() = status;
    response
}

/// Go's text of a status, which is the IANA registry's of its time.
fn status_text(status: StatusCode) -> &'static str {
    match status.as_u16() {
        203 => "Non-Authoritative Information",
        413 => "Request Entity Too Large",
        414 => "Request URI Too Long",
        416 => "Requested Range Not Satisfiable",
        _ => status.canonical_reason().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every type, with options of each kind: what the decoder and the API must agree on.
    const ALL: &str = r#"[
        {"addPrefix": {"prefix": "/a"}},
        {"basicAuth": {"users": ["a:b"], "usersFile": "f", "realm": "r", "removeHeader": true, "headerField": "X"}},
        {"buffering": {"maxRequestBodyBytes": 1, "memRequestBodyBytes": 2, "maxResponseBodyBytes": 3,
            "memResponseBodyBytes": 4, "retryExpression": "Attempts() < 2"}},
        {"chain": {"middlewares": ["a", "b"]}},
        {"circuitBreaker": {"expression": "NetworkErrorRatio() > 0.5", "checkPeriod": "100ms",
            "fallbackDuration": "10s", "recoveryDuration": "10s", "responseCode": 503}},
        {"compress": {"encodings": ["gzip"], "defaultEncoding": "gzip"}},
        {"contentType": {}},
        {"digestAuth": {"users": ["a:b:c"], "realm": "traefik"}},
        {"encodedCharacters": {"allowEncodedBackSlash": true}},
        {"errors": {"status": ["500"], "statusRewrites": {"500": 200}, "service": "s", "query": "/{status}",
            "errorRequestHeaders": []}},
        {"forwardAuth": {"address": "http://a", "tls": {"ca": "x", "insecureSkipVerify": true},
            "trustForwardHeader": false, "maxBodySize": -1, "authSigninURL": "http://b"}},
        {"grpcWeb": {"allowOrigins": ["*"]}},
        {"headers": {"customRequestHeaders": {"A": ""}, "stsSeconds": 0, "forceSTSHeader": true,
            "browserXssFilter": true, "customBrowserXSSValue": "1", "contentTypeNosniff": true}},
        {"inFlightReq": {"amount": 1, "sourceCriterion": {"requestHost": true}}},
        {"ipAllowList": {"sourceRange": ["::1"], "ipStrategy": {"depth": 1, "excludedIPs": ["::2"], "ipv6Subnet": 64},
            "rejectStatusCode": 404}},
        {"ipWhiteList": {"sourceRange": ["::1"]}},
        {"passTLSClientCert": {"pem": true, "info": {"notAfter": true, "subject": {"organizationalUnit": true},
            "issuer": {"domainComponent": true}}}},
        {"plugin": {"demo": {"anything": [1, true, "x"]}}},
        {"rateLimit": {"average": 10, "period": "1m0s", "burst": 1, "redis": {"endpoints": ["a:1"], "password": "p",
            "minIdleConns": 1, "readTimeout": "3s", "writeTimeout": "3s", "dialTimeout": "5s"}}},
        {"redirectRegex": {"regex": "a", "replacement": "b", "permanent": true}},
        {"redirectScheme": {"scheme": "https", "port": "443"}},
        {"replacePath": {"path": "/a"}},
        {"replacePathRegex": {"regex": "a", "replacement": "$1"}},
        {"retry": {"attempts": 3, "initialInterval": "10ms", "maxRequestBodyBytes": 2097152, "status": ["503"]}},
        {"stripPrefix": {"prefixes": ["/a"], "forceSlash": false}},
        {"stripPrefixRegex": {"regex": ["a"]}}
    ]"#;

    #[test]
    fn every_type_decodes_and_is_shown_as_it_was_written() {
        let written: serde_json::Value = serde_json::from_str(ALL).unwrap();
        let decoded: Vec<Options> = serde_json::from_str(ALL).unwrap();
        assert_eq!(serde_json::to_value(&decoded).unwrap(), written);
        let kinds: Vec<_> = decoded.iter().flat_map(Options::kinds).collect();
        assert_eq!(kinds, Options::NAMES);
    }

    #[test]
    fn type_names_are_the_keys_in_lower_case() {
        let named = |json: &str| serde_json::from_str::<Options>(json).unwrap().type_name();
        assert_eq!(named(r#"{"ipAllowList": {}}"#), "ipallowlist");
        assert_eq!(named(r#"{"plugin": {"demoPlugin": {}}}"#), "demoPlugin");
    }

    #[test]
    fn secrets_do_not_show() {
        let options: Vec<Options> = serde_json::from_str(ALL).unwrap();
        let shown = format!("{options:?}");
        assert!(!shown.contains("a:b") && !shown.contains("\"p\""), "{shown}");
    }
}
