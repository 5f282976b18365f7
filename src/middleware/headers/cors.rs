//! Cross-origin resource sharing: preflights are answered here, responses get their headers (Fetch standard).

use ::http::{HeaderMap, HeaderValue, Method, header};
use ::regex::Regex;

use super::Headers;
use super::custom::header_value;
use crate::http::{Body, Request, Response};
use crate::middleware::{BuildError, rewrite};

pub(super) struct Cors {
    credentials: bool,
    allow_headers: Option<HeaderValue>,
    allow_methods: Option<HeaderValue>,
    expose_headers: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    origins: Vec<HeaderValue>,
    expressions: Vec<Regex>,
    vary: bool,
}

impl Cors {
    /// `None` where no option of CORS is set.
    pub(super) fn new(options: &Headers) -> Result<Option<Self>, BuildError> {
        let expressions: Result<Vec<_>, _> = options
            .access_control_allow_origin_list_regex
            .iter()
            .map(|pattern| rewrite::compile("accessControlAllowOriginListRegex", pattern))
            .collect();
        let origins: Result<Vec<_>, _> = options
            .access_control_allow_origin_list
            .iter()
            .map(|origin| header_value("accessControlAllowOriginList", origin))
            .collect();
        let cors = Self {
            credentials: options.access_control_allow_credentials,
            allow_headers: joined(
                "accessControlAllowHeaders",
                &options.access_control_allow_headers,
            )?,
            allow_methods: joined(
                "accessControlAllowMethods",
                &options.access_control_allow_methods,
            )?,
            expose_headers: joined(
                "accessControlExposeHeaders",
                &options.access_control_expose_headers,
            )?,
            max_age: options.access_control_max_age.map(HeaderValue::from),
            origins: origins?,
            expressions: expressions?,
            vary: options.add_vary_header,
        };
        Ok(cors.is_used().then_some(cors))
    }

    fn is_used(&self) -> bool {
        self.credentials
            || self.vary
            || self.allow_headers.is_some()
            || self.allow_methods.is_some()
            || self.expose_headers.is_some()
            || self.max_age.is_some()
            || !self.origins.is_empty()
            || !self.expressions.is_empty()
    }

    /// The answer to a preflight; `None` for other requests.
    pub(super) fn preflight(&self, request: &Request) -> Option<Response> {
        let asked = request.headers();
        let method = asked.get(header::ACCESS_CONTROL_REQUEST_METHOD);
        let method = method.filter(|value| !value.is_empty())?;
        asked.get(header::ORIGIN).filter(|value| !value.is_empty())?;
        if request.method() != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(Body::Empty);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        if self.credentials {
            headers
                .insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        if let Some(value) = self.or_echo(self.allow_headers.as_ref(), wanted) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, value);
        }
        if let Some(value) = self.or_echo(self.allow_methods.as_ref(), Some(method)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, value);
        }
        if let Some(value) = self.allowed_origin(asked) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
        }
        if let Some(value) = &self.max_age {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, value.clone());
        }
        Some(response)
    }

    /// The value as configured. Browsers take `*` literally where credentials are allowed, so what was asked for
    /// stands in its place there.
    fn or_echo(
        &self,
        configured: Option<&HeaderValue>,
        asked: Option<&HeaderValue>,
    ) -> Option<HeaderValue> {
        match configured {
            Some(value) if value == "*" && self.credentials => asked.cloned(),
            other => other.cloned(),
        }
    }

    /// What `Access-Control-Allow-Origin` says to a request; `None` where its origin is not allowed.
    pub(super) fn allowed_origin(&self, asked: &HeaderMap) -> Option<HeaderValue> {
        let origin = asked.get(header::ORIGIN).filter(|value| !value.is_empty());
        for allowed in &self.origins {
            if allowed == "*" {
                return self.or_echo(Some(allowed), origin);
            }
            if Some(allowed) == origin {
                return Some(allowed.clone());
            }
        }
        let text = origin?.to_str().ok()?;
        self.expressions
            .iter()
            .any(|expression| expression.is_match(text))
            .then(|| origin.cloned())?
    }

    /// Puts the headers of a response that is no answer to a preflight.
    pub(super) fn apply(&self, headers: &mut HeaderMap, origin: Option<HeaderValue>) {
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        if self.credentials {
            headers
                .insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(value) = &self.expose_headers {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, value.clone());
        }
        if self.vary {
            vary_by_origin(headers);
        }
    }
}

fn joined(option: &'static str, values: &[String]) -> Result<Option<HeaderValue>, BuildError> {
    let text = values.join(",");
    if text.is_empty() { Ok(None) } else { header_value(option, &text).map(Some) }
}

fn vary_by_origin(headers: &mut HeaderMap) {
    let old: Vec<&[u8]> = headers.get_all(header::VARY).iter().map(HeaderValue::as_bytes).collect();
    let mut named = old.iter().flat_map(|line| line.split(|byte| *byte == b','));
    if named.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"origin")) {
        return;
    }
    let mut line = old.join(&b","[..]);
    if !line.is_empty() {
        line.push(b',');
    }
    line.extend_from_slice(b"Origin");
    if let Ok(value) = HeaderValue::from_bytes(&line) {
        headers.insert(header::VARY, value);
    }
}
