//! Routing: rules, matchers, and the table that finds the route of a request.

pub(crate) mod options;
mod table;

use std::net::IpAddr;

use ::http::{HeaderMap, Method};

pub(crate) use options::Options;
pub(crate) use table::Table;

/// What matchers look at.
pub(crate) struct Target<'a> {
    /// The `Host` header as the client sent it; the table lower-cases it and strips port and trailing dot.
    pub(crate) host: Option<&'a str>,
    /// The path of the request target, percent-encoded as it came after the entry point's clean-up.
    pub(crate) path: &'a str,
    /// The query without `?`.
    pub(crate) query: Option<&'a str>,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    /// The client's address: socket peer or PROXY header, never `X-Forwarded-For`.
    pub(crate) client: IpAddr,
}
