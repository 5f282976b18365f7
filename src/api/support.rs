//! `/api/support-dump`: version, startup and runtime configuration as an archive, without what is nobody's business.
//!
//! Traefik: API, support dump. Differs: the runtime configuration is anonymised, too.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, header};
use serde_json::{Map, Value};

use crate::http::{Body, Response};

/// What stands for a text that is not shown.
const HIDDEN: &str = "xxxx";
/// Keys whose texts say how things are connected and chosen, never where they are or who may use them.
const SHOWN: [&str; 24] = [
    "codename",
    "defaultMode",
    "defaultRuleSyntax",
    "entryPoint",
    "entryPoints",
    "error",
    "format",
    "keyType",
    "level",
    "maxVersion",
    "middlewares",
    "minVersion",
    "mode",
    "parentRefs",
    "precedence",
    "ruleSyntax",
    "service",
    "startDate",
    "status",
    "strategy",
    "traceVerbosity",
    "underscoreHeadersStrategy",
    "usedBy",
    "using",
];
/// Maps whose keys are addresses.
const KEYS_HIDDEN: [&str; 1] = ["serverStatus"];

/// `value` with its texts hidden, but for those under [`SHOWN`] keys and durations. Numbers, truth values and the names
/// of objects stay.
pub(crate) fn anonymous(value: &Value) -> Value {
    hide("", value)
}

fn hide(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if SHOWN.contains(&key) || is_duration(text) => value.clone(),
        Value::String(_) => HIDDEN.into(),
        Value::Array(items) => items.iter().map(|item| hide(key, item)).collect(),
        Value::Object(fields) if KEYS_HIDDEN.contains(&key) => {
            let numbered = fields.values().enumerate();
            Value::Object(
                numbered.map(|(n, value)| (format!("{HIDDEN}{n}"), value.clone())).collect(),
            )
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), hide(key, value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// As Go writes them: `1m30s`, `100ms`.
fn is_duration(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let unit_first = ["ns", "µs", "us", "ms", "s", "m", "h"];
    rest.len() < text.len()
        && text.len() <= 24
        && text.ends_with(['s', 'm', 'h'])
        && text.chars().all(|c| c.is_ascii_digit() || "nuµmsh.".contains(c))
        && unit_first.iter().any(|unit| rest.starts_with(unit))
}

/// The answer: an archive of `files`, by name.
pub(super) fn dump(files: &[(&str, Vec<u8>)], seconds: u64) -> Response {
    let archive = gzip(&tar(files, seconds));
    let mut response = Response::new(Body::from(bytes::Bytes::from(archive)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=support-dump.tar.gz"),
    );
    response
}

/// POSIX.1-1988 `ustar`: names are short, files are regular and readable by their owner alone.
fn tar(files: &[(&str, Vec<u8>)], seconds: u64) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut head = Vec::with_capacity(BLOCK);
        let mut field = |text: &str, width: usize| {
            let end = head.len() + width;
            head.extend(text.bytes().take(width));
            head.resize(end, 0);
        };
        field(name, 100);
        field("0000600", 8);
        field("0000000", 8);
        field("0000000", 8);
        field(&format!("{:011o}", content.len()), 12);
        field(&format!("{seconds:011o}"), 12);
        // The checksum is counted with blanks in its own place.
        field("        ", 8);
        field("0", 1);
        field("", 100);
        field("ustar", 6);
        field("00", 2);
        head.resize(BLOCK, 0);
        let sum: u32 = head.iter().copied().map(u32::from).sum();
        archive.extend(head.iter().take(148));
        archive.extend(format!("{sum:06o}\0 ").bytes());
        archive.extend(head.iter().skip(156));
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Memory takes all that it is given.
    let written = encoder.write_all(content).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_could_identify_is_hidden_and_what_explains_stays() {
        let shown = anonymous(&json!({
            "entryPoints": {"web": {"address": ":80", "transport": {"idleTimeout": "3m0s"}}},
            "providers": {"redis": {"password": "hush", "endpoints": ["10.0.0.1:6379"], "db": 3}},
            "api": {"insecure": true},
            "services": {"s@file": {"loadBalancer": {"servers": [{"url": "http://10.0.0.1"}], "strategy": "wrr"},
                "serverStatus": {"http://10.0.0.1": "UP"}, "usedBy": ["a@file"]}},
        }));
        assert_eq!(
            shown,
            json!({
                "entryPoints": {"web": {"address": "xxxx", "transport": {"idleTimeout": "3m0s"}}},
                "providers": {"redis": {"password": "xxxx", "endpoints": ["xxxx"], "db": 3}},
                "api": {"insecure": true},
                "services": {"s@file": {"loadBalancer": {"servers": [{"url": "xxxx"}], "strategy": "wrr"},
                    "serverStatus": {"xxxx0": "UP"}, "usedBy": ["a@file"]}},
            })
        );
    }

    #[test]
    fn durations_are_what_go_writes() {
        for text in ["10s", "1m40s", "100ms", "1h0m0s", "1.5s"] {
            assert!(is_duration(text), "{text}");
        }
        for text in ["", "s", "hush", "10", "ms", "10.0.0.1", "1mX"] {
            assert!(!is_duration(text), "{text}");
        }
    }

    #[test]
    fn an_archive_is_made_of_blocks() {
        let archive = tar(&[("a", b"hello".to_vec())], 0);
        assert_eq!(archive.len(), 512 * 4);
        assert_eq!(&archive[512..517], b"hello");
        assert_eq!(&archive[257..262], b"ustar");
        let sum: u32 = archive[..512]
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        assert_eq!(&archive[148..154], format!("{sum:06o}").as_bytes());
    }
}
