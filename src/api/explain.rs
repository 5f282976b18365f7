//! `GET /explain`: what happens to a request, asked by its method, URL and headers.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde_json::{Value, json};

use crate::compile::explain::{Question, explain};
use crate::compile::{Compiled, Settings};
use crate::router::Target;

/// Most headers of a request that is asked about.
const HEADERS_MAX: usize = 100;

/// A request that is only asked about.
#[derive(Debug)]
pub(crate) struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    client: IpAddr,
    secure: bool,
}

impl Asked {
    /// `headers` are `Name: value`. The host is that of the URL, unless one of them says another.
    pub(crate) fn new(
        method: &str,
        url: &str,
        headers: &[&str],
        client: Option<&str>,
    ) -> Result<Self, String> {
        let bad_method = |_source| format!("`{method}` is no method");
        let method = Method::from_bytes(method.as_bytes()).map_err(bad_method)?;
        let uri: Uri = url.parse().map_err(|error| format!("`{url}` is no URL: {error}"))?;
        let secure = match uri.scheme_str() {
            None | Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            Some(other) => {
                return Err(format!("the scheme of the URL is http or https, not {other}"));
            }
        };
        let client = match client {
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(text) => text.parse().map_err(|_source| format!("`{text}` is no IP address"))?,
        };
        if headers.len() > HEADERS_MAX {
            return Err(format!("more than {HEADERS_MAX} headers"));
        }
        let mut map = HeaderMap::new();
        for line in headers {
            let bad = || format!("`{line}` is no header: write `Name: value`");
            let (name, value) = line.split_once(':').ok_or_else(bad)?;
            let name: HeaderName = name.trim().parse().map_err(|_source| bad())?;
            let value = HeaderValue::from_str(value.trim()).map_err(|_source| bad())?;
            map.append(name, value);
        }
        if !map.contains_key(header::HOST)
            && let Some(authority) = uri.authority()
        {
            let host = authority.as_str().rsplit('@').next().unwrap_or_default();
            let host = HeaderValue::from_str(host).map_err(|error| error.to_string())?;
            map.insert(header::HOST, host);
        }
        Ok(Self { method, uri, headers: map, client, secure })
    }

    /// The answer, for the plan in force or one that was only compiled.
    pub(crate) fn answer(
        &self,
        compiled: &Compiled,
        settings: &Settings,
        entry_point: Option<&str>,
    ) -> Result<Value, String> {
        if let Some(name) = entry_point.filter(|name| !settings.entry_points.contains_key(*name)) {
            return Err(format!("there is no entry point `{name}`"));
        }
        let target = Target::new(&self.method, &self.uri, &self.headers, self.client)
            .map_err(|error| error.to_string())?;
        let question = Question { target, secure: self.secure, entry_point };
        let explanations = explain(compiled, settings, &question);
        Ok(json!({
            "method": self.method.as_str(),
            "url": self.uri.to_string(),
            "entryPoints": explanations,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_that_of_the_url_unless_a_header_says_another() {
        let asked = Asked::new("GET", "https://a.example:8443/x", &[], None).unwrap();
        assert!(asked.secure);
        assert_eq!(asked.headers["host"], "a.example:8443");
        let asked = Asked::new("GET", "/x", &["Host: b.example", "X-A: 1"], None).unwrap();
        assert!(!asked.secure);
        assert_eq!(asked.headers["host"], "b.example");
        assert_eq!(asked.headers["x-a"], "1");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Asked::new("G T", "/", &[], None).is_err());
        assert!(Asked::new("GET", "ftp://a/", &[], None).is_err());
        assert!(Asked::new("GET", "/", &["no header"], None).is_err());
        assert!(Asked::new("GET", "/", &[], Some("localhost")).is_err());
    }
}
