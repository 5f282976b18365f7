//! The field `Date`, made once a second on each thread (RFC 9110, 6.6.1).

use std::cell::RefCell;

use ::http::HeaderValue;
use time::OffsetDateTime;

use crate::clock;

thread_local! {
    /// The second for which it was made.
    static TODAY: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

/// The value for now.
pub(super) fn today() -> Option<HeaderValue> {
    with_today(HeaderValue::clone)
}

/// Writes the line for now, its end included.
pub(super) fn put(out: &mut Vec<u8>) {
    with_today(|value| {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    });
}

fn with_today<T>(take: impl FnOnce(&HeaderValue) -> T) -> Option<T> {
    let second = clock::now().as_secs();
    TODAY.with_borrow_mut(|today| match today {
        Some((made_for, value)) if *made_for == second => Some(take(value)),
        _ => {
            let value = HeaderValue::try_from(text(second)).ok()?;
            let (_, value) = today.insert((second, value));
            Some(take(value))
        }
    })
}

/// RFC 9110, section 5.6.7.
fn text(second: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let second = i64::try_from(second).unwrap_or_default();
    let at = OffsetDateTime::from_unix_timestamp(second).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let weekday = at.weekday().to_string();
    let weekday = weekday.get(..3).unwrap_or_default();
    let month = MONTHS.get(usize::from(u8::from(at.month()) - 1)).unwrap_or(&"Jan");
    let (day, year, hour) = (at.day(), at.year(), at.hour());
    let (minute, second) = (at.minute(), at.second());
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_rfc() {
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn the_line_is_whole_and_says_the_same_as_the_value() {
        let mut line = Vec::new();
        put(&mut line);
        let line = String::from_utf8(line).unwrap();
        let value = line.strip_prefix("Date: ").and_then(|rest| rest.strip_suffix("\r\n"));
        assert_eq!(value.map(str::len), Some("Sun, 06 Nov 1994 08:49:37 GMT".len()));
        assert_eq!(today().unwrap().len(), line.len() - "Date: \r\n".len());
    }
}
