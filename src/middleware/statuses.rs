//! Lists of statuses and ranges of them, as `retry` and `errors` have them.

use std::ops::RangeInclusive;

use ::http::StatusCode;

use super::BuildError;

/// Statuses, such as `500` and `502-504`.
pub(super) struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    pub(super) fn new(option: &'static str, texts: &[String]) -> Result<Self, BuildError> {
        let ranges: Result<Vec<_>, _> = texts.iter().map(|text| range(option, text)).collect();
        ranges.map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, status: StatusCode) -> bool {
        self.0.iter().any(|range| range.contains(&status.as_u16()))
    }
}

fn range(option: &'static str, text: &str) -> Result<RangeInclusive<u16>, BuildError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err(BuildError::option(option, format!("`{text}` is no status and no range of them"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_ranges_are_read() {
        let listed = |texts: &[&str]| {
            Statuses::new("status", &texts.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let statuses = listed(&["500", "502-504"]).unwrap();
        for (status, wanted) in [(500, true), (501, false), (502, true), (504, true), (505, false)]
        {
            assert_eq!(statuses.contains(StatusCode::from_u16(status).unwrap()), wanted);
        }
        for text in ["", "x", "504-502", "5-", "-5", "1-2-3"] {
            assert!(listed(&[text]).is_err(), "{text}");
        }
    }
}
