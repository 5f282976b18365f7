//! Routing: rules, matchers, and the table that finds the route of a request.

mod matcher;
pub(crate) mod options;
mod pattern;
mod rule;
mod table;
mod target;

pub(crate) use options::Options;
pub(crate) use rule::{Rule, Syntax};
pub(crate) use table::{Entry, Table};
pub(crate) use target::Target;

#[cfg(test)]
pub(crate) use target::testing;
