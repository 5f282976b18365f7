//! What commands print. A terminal that is gone is nobody's fault.

use std::io::Write as _;

/// A line for the one who asked.
pub(crate) fn line(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// A line about what went wrong.
pub(crate) fn error(text: &str) {
    drop(writeln!(std::io::stderr(), "pontoon: {text}"));
}
