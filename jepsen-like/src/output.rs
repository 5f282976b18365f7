//! What a run tells on its standard output.

use crate::history::Moment;

#[expect(clippy::print_stdout, reason = "the program's output")]
pub(crate) fn line(text: &str) {
    println!("{text}");
}

/// A line with the time of the run before it.
pub(crate) fn progress(now: Moment, text: &str) {
    line(&format!("{:>10}  {text}", now.to_string()));
}
