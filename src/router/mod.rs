//! Routing: rules, matchers, and the tables that find the route of a request or of a TCP connection.

mod matcher;
pub(crate) mod options;
mod pattern;
mod rule;
mod table;
mod target;
pub(crate) mod tcp;

pub(crate) use options::Options;
pub(crate) use rule::{Rule, Syntax};
pub(crate) use table::{Entry, Table};
pub(crate) use target::{Target, canonical_host};

#[cfg(test)]
pub(crate) use target::testing;
