//! Custom headers of requests and responses.

use std::collections::BTreeMap;

use ::http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::{KeepForwardedFor, Request};
use crate::middleware::BuildError;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Sets a header, or deletes it.
pub(super) struct Edit {
    name: HeaderName,
    value: Option<HeaderValue>,
}

pub(super) fn edits(
    option: &'static str,
    headers: &BTreeMap<String, String>,
) -> Result<Vec<Edit>, BuildError> {
    headers.iter().map(|(name, value)| edit_of(option, name, value)).collect()
}

fn edit_of(option: &'static str, name: &str, value: &str) -> Result<Edit, BuildError> {
    let value = if value.is_empty() { None } else { Some(header_value(option, value)?) };
    Ok(Edit { name: header_name(option, name)?, value })
}

pub(super) fn header_name(option: &'static str, name: &str) -> Result<HeaderName, BuildError> {
    HeaderName::try_from(name)
        .map_err(|error| BuildError::option(option, format!("`{name}`: {error}")))
}

/// The value stays out of the message: it may be a secret.
pub(super) fn header_value(option: &'static str, value: &str) -> Result<HeaderValue, BuildError> {
    HeaderValue::try_from(value).map_err(|error| BuildError::option(option, error.to_string()))
}

pub(super) fn edit(edits: &[Edit], headers: &mut HeaderMap) {
    for edit in edits {
        match &edit.value {
            Some(value) => drop(headers.insert(edit.name.clone(), value.clone())),
            None => drop(headers.remove(&edit.name)),
        }
    }
}

/// The same for a request; there, deleting `X-Forwarded-For` also keeps the client's address out of it.
pub(super) fn edit_request(edits: &[Edit], request: &mut Request) {
    edit(edits, request.headers_mut());
    if edits.iter().any(|edit| edit.name == FORWARDED_FOR && edit.value.is_none()) {
        request.extensions_mut().insert(KeepForwardedFor);
    }
}
