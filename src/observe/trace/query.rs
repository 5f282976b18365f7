//! `tracing.safeQueryParams`: of all other query parameters only the names are told.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What Go leaves as it is, but for the space, which becomes `+`.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');

/// The query with the values of unsafe parameters redacted, by rising names, as Go writes it.
pub(super) fn redacted(query: &str, safe: &[String]) -> String {
    if query.is_empty() {
        return String::new();
    }
    let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name);
        if safe.contains(&name) {
            parameters.entry(name).or_default().push(decoded(value));
        } else {
            parameters.insert(name, vec!["REDACTED".to_owned()]);
        }
    }
    let pairs = parameters.iter().flat_map(|(name, values)| {
        values.iter().map(move |value| format!("{}={}", encoded(name), encoded(value)))
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string().replace(' ', "+")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// static.md §9, `safeQueryParams`.
    #[test]
    fn values_of_unsafe_parameters_do_not_show() {
        let safe = ["page".to_owned()];
        for (query, expected) in [
            ("", ""),
            ("token=secret&page=2", "page=2&token=REDACTED"),
            ("page=a+b%26&page=c", "page=a+b%26&page=c"),
            ("x", "x=REDACTED"),
            ("t%6Fken=1&token=2", "token=REDACTED"),
            ("a;b=1&c=2", "c=REDACTED"),
        ] {
            assert_eq!(redacted(query, &safe), expected, "{query}");
        }
    }
}
