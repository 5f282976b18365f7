//! Times of a line. What does not change within a second is made once a second on each thread.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

use time::UtcOffset;

use crate::observe::file::utc;

/// A second in one zone, as both formats write it.
struct Second {
    since_epoch: u64,
    offset: UtcOffset,
    /// `2026-01-31T12:00:00`
    rfc3339: String,
    /// `Z` or `+01:00`
    zone: String,
    /// `31/Jan/2026:12:00:00 +0100`
    clf: String,
}

thread_local! {
    /// The last second in UTC, and in local time.
    static SECONDS: RefCell<[Option<Second>; 2]> = const { RefCell::new([None, None]) };
}

/// RFC 3339 with as much of the fraction as there is, as Go's `RFC3339Nano`.
pub(super) fn put_rfc3339(out: &mut Vec<u8>, since_epoch: Duration, offset: UtcOffset) {
    with_second(since_epoch.as_secs(), offset, |second| {
        out.extend_from_slice(second.rfc3339.as_bytes());
        put_fraction(out, since_epoch.subsec_nanos());
        out.extend_from_slice(second.zone.as_bytes());
    });
}

/// The Common Log Format's.
pub(super) fn put_clf(out: &mut Vec<u8>, since_epoch: Duration, offset: UtcOffset) {
    with_second(since_epoch.as_secs(), offset, |second| {
        out.extend_from_slice(second.clf.as_bytes());
    });
}

fn put_fraction(out: &mut Vec<u8>, nanoseconds: u32) {
    if nanoseconds == 0 {
        return;
    }
    // A digit in front keeps the zeros behind it.
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(nanoseconds + 1_000_000_000).trim_end_matches('0');
    out.push(b'.');
    out.extend_from_slice(digits.get(1..).unwrap_or_default().as_bytes());
}

fn with_second(second: u64, offset: UtcOffset, take: impl FnOnce(&Second)) {
    SECONDS.with_borrow_mut(|[universal, local]| {
        let kept = if offset.is_utc() { universal } else { local };
        match kept {
            Some(kept) if kept.since_epoch == second && kept.offset == offset => take(kept),
            _ => take(kept.insert(Second::new(second, offset))),
        }
    });
}

impl Second {
    fn new(second: u64, offset: UtcOffset) -> Self {
        let time = utc(Duration::from_secs(second)).to_offset(offset);
        let (year, month, day) = (time.year(), time.month(), time.day());
        let (hour, minute, of_minute) = time.to_hms();
        let (offset_hours, offset_minutes, _) = offset.as_hms();
        let sign = if offset.is_negative() { '-' } else { '+' };
        let (east, past) = (offset_hours.unsigned_abs(), offset_minutes.unsigned_abs());
        let clock = format!("{hour:02}:{minute:02}:{of_minute:02}");
        let name = month.to_string();
        let name = name.get(..3).unwrap_or(&name);
        let mut zone = String::from("Z");
        if !offset.is_utc() {
            zone.clear();
            write!(zone, "{sign}{east:02}:{past:02}").expect("memory takes all that is written");
        }
        Self {
            since_epoch: second,
            offset,
            rfc3339: format!("{year:04}-{:02}-{day:02}T{clock}", u8::from(month)),
            zone,
            clf: format!("{day:02}/{name}/{year:04}:{clock} {sign}{east:02}{past:02}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    fn written(
        put: fn(&mut Vec<u8>, Duration, UtcOffset),
        at: Duration,
        zone: UtcOffset,
    ) -> String {
        let mut out = Vec::new();
        put(&mut out, at, zone);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_common_log_format_has_its_own_form() {
        let zone = UtcOffset::from_hms(-3, -30, 0).unwrap();
        let at = Duration::from_millis(784_111_777_500);
        assert_eq!(written(put_clf, at, zone), "06/Nov/1994:05:19:37 -0330");
        assert_eq!(written(put_clf, at, UtcOffset::UTC), "06/Nov/1994:08:49:37 +0000");
    }

    proptest! {
        #[test]
        fn times_are_those_of_the_library(
            seconds in 0_u64..4_000_000_000,
            nanoseconds in prop_oneof![Just(0_u32), Just(500_000_000), 0_u32..1_000_000_000],
            hours in -12_i8..13,
        ) {
            let zone = UtcOffset::from_hms(hours, 0, 0).unwrap();
            let at = Duration::new(seconds, nanoseconds);
            let expected = utc(at).to_offset(zone).format(&Rfc3339).unwrap();
            prop_assert_eq!(written(put_rfc3339, at, zone), expected);
        }
    }
}
