//! Lists: filters, order and pages (api.md §2).

use http::{HeaderValue, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::answer;
use crate::http::Response;

/// Parameters of a list call.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let decode = |text: &str| {
            percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that may be given several times.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let found = self.0.iter().filter(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    fn number(&self, name: &str, default: usize) -> Result<usize, String> {
        let Some(text) = self.get(name) else { return Ok(default) };
        // What is no number counts as 0.
        let number = text.parse::<i64>().unwrap_or(0);
        match usize::try_from(number) {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("invalid request: {name}: {number}")),
        }
    }
}

fn bad(message: &str) -> Response {
    answer(StatusCode::BAD_REQUEST, &json!({ "message": message }))
}

fn text<'a>(element: &'a Value, field: &str) -> &'a str {
    element[field].as_str().unwrap_or_default()
}

fn length(element: &Value, field: &str) -> usize {
    element[field].as_array().map_or(0, Vec::len)
}

/// One page of `all`; `X-Next-Page` is 1 on the last one.
pub(super) fn page(all: Vec<Value>, query: &Query) -> Response {
    let numbers = query
        .number("per_page", 100)
        .and_then(|size| query.number("page", 1).map(|page| (page, size)));
    let (page, size) = match numbers {
        Ok(numbers) => numbers,
        Err(message) => return bad(&message),
    };
    let start = (page - 1).saturating_mul(size);
    if start > 0 && start >= all.len() {
        return bad(&format!("invalid request: page: {page}, per_page: {size}"));
    }
    let more = start.saturating_add(size) < all.len();
    let shown: Vec<Value> = all.into_iter().skip(start).take(size).collect();
    let mut response = answer(StatusCode::OK, &shown);
    let next = if more { page + 1 } else { 1 };
    response.headers_mut().insert("x-next-page", HeaderValue::from(next));
    response
}

/// A list of routers, services or middlewares.
pub(super) fn objects(mut all: Vec<Value>, kind: &str, query: &Query) -> Response {
    if let Some(search) = query.get("search") {
        let search = search.to_lowercase();
        all.retain(|one| {
            text(one, "name").to_lowercase().contains(&search)
                || kind == "routers" && text(one, "rule").to_lowercase().contains(&search)
        });
    }
    if let Some(status) = query.get("status") {
        all.retain(|one| text(one, "status").eq_ignore_ascii_case(status));
    }
    if let Some(service) = query.get("serviceName").filter(|_| kind == "routers") {
        all.retain(|one| {
            let used = text(one, "service");
            if used.contains('@') {
                used == service
            } else {
                used == service.split('@').next().unwrap_or_default()
            }
        });
    }
    if let Some(middleware) = query.get("middlewareName").filter(|_| kind == "routers") {
        all.retain(|one| {
            let mut used = one["middlewares"].as_array().into_iter().flatten();
            used.any(|name| name.as_str() == Some(middleware))
        });
    }
    sort(&mut all, kind, query);
    page(all, query)
}

fn sort(all: &mut [Value], kind: &str, query: &Query) {
    let by = query.get("sortBy").unwrap_or("name");
    let servers = |one: &Value| {
        one.pointer("/loadBalancer/servers").and_then(Value::as_array).map_or(0, Vec::len)
    };
    all.sort_by(|a, b| {
        let order = match (kind, by) {
            ("routers", "priority") => a["priority"].as_i64().cmp(&b["priority"].as_i64()),
            ("routers", "entryPoints") => length(a, "entryPoints").cmp(&length(b, "entryPoints")),
            ("services", "servers") => servers(a).cmp(&servers(b)),
            (_, "provider" | "status" | "rule" | "service" | "type") => {
                text(a, by).cmp(text(b, by))
            }
            _ => std::cmp::Ordering::Equal,
        };
        order.then_with(|| text(a, "name").cmp(text(b, "name")))
    });
    if query.get("direction") == Some("desc") {
        all.reverse();
    }
}

/// A list of certificates.
pub(super) fn certificates(mut all: Vec<Value>, query: &Query) -> Response {
    if let Some(search) = query.get("search") {
        let search = search.to_lowercase();
        all.retain(|one| {
            let mut names = one["sans"].as_array().into_iter().flatten().filter_map(Value::as_str);
            [
                text(one, "name"),
                text(one, "commonName"),
                text(one, "issuerCN"),
                text(one, "issuerOrg"),
            ]
            .iter()
            .any(|name| name.to_lowercase().contains(&search))
                || names.any(|name| name.to_lowercase().contains(&search))
        });
    }
    if let Some(status) = query.get("status") {
        all.retain(|one| text(one, "status").eq_ignore_ascii_case(status));
    }
    let by = match query.get("sortBy") {
        Some("status") => "status",
        Some("issuer") => "issuerCN",
        Some("validUntil") => "notAfter",
        _ => "commonName",
    };
    all.sort_by(|a, b| {
        text(a, by).cmp(text(b, by)).then_with(|| text(a, "name").cmp(text(b, "name")))
    });
    if query.get("direction") == Some("desc") {
        all.reverse();
    }
    page(all, query)
}

#[cfg(test)]
mod tests;
