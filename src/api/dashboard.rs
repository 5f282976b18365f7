//! The dashboard: a page of our own that shows what the read calls tell.
//!
//! Traefik v3: `api.dashboard`, api.md §7. Same addresses and redirects.
//!
//! Differs: the page is our own, loads nothing from elsewhere and shows no advertisement, with and without
//! `disableDashboardAd`; its parts are told by what follows `#`, and its content security policy allows nothing else.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, header};

use crate::http::{Body, Handler, ProxyError, Request, Response};

/// All that the page may load is beside it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Name below the page, kind, content.
const FILES: [(&str, &str, &[u8]); 4] = [
    ("", "text/html; charset=utf-8", include_bytes!("dashboard/index.html")),
    ("app.js", "text/javascript; charset=utf-8", include_bytes!("dashboard/app.js")),
    ("style.css", "text/css; charset=utf-8", include_bytes!("dashboard/style.css")),
    ("icon.svg", "image/svg+xml", include_bytes!("dashboard/icon.svg")),
];

/// `dashboard@internal`: what is in front has taken `/dashboard` off the path.
pub(crate) struct Dashboard;

#[async_trait]
impl Handler for Dashboard {
    async fn handle(&self, request: Request) -> Result<Response, ProxyError> {
        let file = file(request.uri().path().trim_start_matches('/'))?;
        Ok(only_get(&request, file))
    }
}

/// The file `name`; the page itself without a name.
pub(super) fn file(name: &str) -> Result<Response, ProxyError> {
    let (_, kind, content) =
        FILES.into_iter().find(|(known, ..)| *known == name).ok_or(ProxyError::NotFound)?;
    let mut response = Response::new(Body::from(Bytes::from_static(content)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Another release has other files.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// From `api.basePath` to the page, below what proxies in front have taken off the path.
pub(super) fn redirect(request: &Request, base_path: &str) -> Response {
    let prefix = request.headers().get("x-forwarded-prefix").and_then(|value| value.to_str().ok());
    let location =
        format!("{}{base_path}/dashboard/", prefix.and_then(path_only).unwrap_or_default());
    let mut response = Response::new(Body::Empty);
    if let Ok(location) = HeaderValue::try_from(location) {
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A prefix that leads nowhere else: an absolute path without scheme and host, and no slash at its end.
fn path_only(prefix: &str) -> Option<&str> {
    let uri: Uri = prefix.parse().ok()?;
    let is_path = uri.scheme().is_none() && uri.authority().is_none() && prefix.starts_with('/');
    // Browsers take backslashes for slashes, and `//` leads to another host.
    let leads_away = prefix.starts_with("//") || prefix.contains('\\');
    (is_path && !leads_away).then(|| prefix.trim_end_matches('/'))
}

/// Other methods are answered 405, where there is something to get.
pub(super) fn only_get(request: &Request, response: Response) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return response;
    }
    let mut refusal = Response::new(Body::Empty);
    *refusal.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_never_leads_to_another_host() {
        for (prefix, kept) in [
            ("/pre", Some("/pre")),
            ("/pre/", Some("/pre")),
            ("/", Some("")),
            ("//evil.test", None),
            ("/\\evil.test", None),
            ("https://evil.test/x", None),
            ("evil.test", None),
            ("", None),
        ] {
            assert_eq!(path_only(prefix), kept, "{prefix}");
        }
    }

    #[test]
    fn there_are_no_other_files() {
        for name in ["index.html", "..", "../mod.rs", "app.js/", "nothing"] {
            assert!(matches!(file(name), Err(ProxyError::NotFound)), "{name}");
        }
        let page = String::from_utf8(FILES[0].2.to_vec()).unwrap();
        for (name, ..) in &FILES[1..] {
            assert!(page.contains(&format!("\"{name}\"")), "{name} is used by nothing");
        }
        for (name, _, content) in FILES {
            let text = String::from_utf8_lossy(content).replace("http://www.w3.org/2000/svg", "");
            assert!(
                !text.contains("http://") && !text.contains("https://"),
                "{name} leads elsewhere"
            );
            assert!(!text.contains("innerHTML"), "{name}");
        }
    }
}
