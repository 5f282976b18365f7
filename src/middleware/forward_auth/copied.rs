//! What of the authenticator's answer reaches the server and the client: headers, cookies, or the answer itself.

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use ::regex::Regex;
use bytes::Bytes;

use super::location::Base;
use crate::http::{Body, ProxyError, Response};

/// Whose message it is, where it ends and what it turns into is not for the authenticator to say.
const KEPT: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers of the answer that go on to the server: options `authResponseHeaders` and `authResponseHeadersRegex`.
pub(super) struct Copied {
    pub(super) names: Vec<HeaderName>,
    /// Looks at names as Go writes them, `X-Auth-User`.
    pub(super) pattern: Option<Regex>,
}

impl Copied {
    /// Takes the client's headers of these names off the request, in each spelling, and puts the answer's.
    pub(super) fn apply(
        &self,
        request: &mut HeaderMap,
        answer: &HeaderMap,
    ) -> Result<(), ProxyError> {
        let forged: Vec<HeaderName> =
            request.keys().filter(|name| self.is_forged(name)).cloned().collect();
        for name in forged {
            request.remove(name);
        }
        for name in answer.keys().filter(|name| self.contains(name)) {
            for value in answer.get_all(name) {
                request.try_append(name.clone(), value.clone()).map_err(|_error| {
                    ProxyError::Internal("the authenticator's headers are too many".to_owned())
                })?;
            }
        }
        Ok(())
    }

    fn contains(&self, name: &HeaderName) -> bool {
        !KEPT.contains(name)
            && (self.names.contains(name)
                || self.pattern.as_ref().is_some_and(|p| p.is_match(&canonical(name.as_str()))))
    }

    /// True for a name of ours, also where `_` stands for `-`: CGI-like servers take both for the same.
    fn is_forged(&self, name: &HeaderName) -> bool {
        if self.contains(name) {
            return true;
        }
        if !name.as_str().contains('_') || KEPT.contains(name) {
            return false;
        }
        let dashed = name.as_str().replace('_', "-");
        self.names.iter().any(|ours| ours.as_str().replace('_', "-") == dashed)
            || self.pattern.as_ref().is_some_and(|p| p.is_match(&canonical(&dashed)))
    }
}

/// `x-auth-user` as `X-Auth-User`.
fn canonical(name: &str) -> String {
    let mut upper = true;
    let letters = name.chars().map(|letter| {
        let cased = if upper { letter.to_ascii_uppercase() } else { letter };
        upper = letter == '-';
        cased
    });
    letters.collect()
}

/// Cookies of the answer that go to the client: option `addAuthCookiesToResponse`.
pub(super) struct Cookies(pub(super) Vec<String>);

impl Cookies {
    /// The cookies of `answer` that the client gets. `None` where the response stays as it is: the answer sets none at
    /// all.
    pub(super) fn of(&self, answer: &HeaderMap) -> Option<Vec<HeaderValue>> {
        if self.0.is_empty() || !answer.contains_key(header::SET_COOKIE) {
            return None;
        }
        let set = answer.get_all(header::SET_COOKIE).iter();
        Some(set.filter(|line| self.contains(line)).cloned().collect())
    }

    /// Puts `cookies` in the place of the server's of the listed names.
    pub(super) fn put(&self, response: &mut HeaderMap, cookies: Vec<HeaderValue>) {
        let own: Vec<HeaderValue> = response
            .get_all(header::SET_COOKIE)
            .iter()
            .filter(|line| !self.contains(line))
            .cloned()
            .collect();
        response.remove(header::SET_COOKIE);
        for line in own.into_iter().chain(cookies) {
            response.append(header::SET_COOKIE, line);
        }
    }

    fn contains(&self, line: &HeaderValue) -> bool {
        let name = line.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
        self.0.iter().any(|listed| listed.as_bytes() == name.trim_ascii())
    }
}

/// What a client gets that may not pass.
pub(super) struct Refusal {
    pub(super) base: Base,
    /// Option `preserveLocationHeader`.
    pub(super) keeps_location: bool,
    /// Option `authSigninURL`.
    pub(super) sign_in: Option<HeaderValue>,
}

impl Refusal {
    /// The authenticator's own answer, or a redirect to where one can sign in.
    pub(super) fn response(
        &self,
        answer: ::http::Response<Bytes>,
        method: &Method,
    ) -> Result<Response, ProxyError> {
        if let Some(url) = &self.sign_in
            && answer.status() == StatusCode::UNAUTHORIZED
        {
            return Ok(redirect(url, method));
        }
        let (head, body) = answer.into_parts();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        let headers = response.headers_mut();
        if *method != Method::HEAD {
            headers.remove(header::CONTENT_LENGTH);
        }
        let location = headers.get(header::LOCATION).filter(|value| !value.is_empty());
        if let Some(location) = location.filter(|_| !self.keeps_location) {
            let unusable =
                || ProxyError::Internal("the authenticator's Location is no URL".to_owned());
            let text = location.to_str().map_err(|_error| unusable())?;
            let absolute = self.base.resolve(text).ok_or_else(unusable)?;
            let value = HeaderValue::try_from(absolute).map_err(|_error| unusable())?;
            headers.insert(header::LOCATION, value);
        }
        Ok(response)
    }
}

/// As Go's `http.Redirect`: people whose client does not follow get a link.
fn redirect(url: &HeaderValue, method: &Method) -> Response {
    let body = match url.to_str() {
        Ok(text) if *method == Method::GET => {
            Body::from(format!("<a href=\"{}\">Found</a>.\n\n", escaped(text)))
        }
        _ => Body::Empty,
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, url.clone());
    if matches!(*method, Method::GET | Method::HEAD) {
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, html);
    }
    response
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&#34;").replace('\'', "&#39;")
}
