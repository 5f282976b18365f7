//! Lines of the access log, its filters and its file.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::http::{HeaderValue, Uri};
use time::UtcOffset;

use super::fields::Fields;
use super::line::{Format, Line};
use super::{AccessLog, Filter, Options, range};
use crate::config::value;
use crate::observe::options::{
    AccessLogFields, AccessLogFilters, AccessLogHeaders, AccessLogQuery,
};
use crate::observe::testing::{Sample, nowhere};
use crate::observe::trace::Ids;

fn line(sample: &Sample, options: &AccessLogFields, format: Format) -> String {
    let fields = Fields::new(Some(options));
    let mut out = Vec::new();
    sample.summary(|summary| {
        Line {
            summary,
            fields: &fields,
            count: 7,
            now: Duration::new(1_700_000_000, 512_000_000),
            offset: UtcOffset::from_hms(2, 0, 0).unwrap(),
        }
        .write(format, &mut out);
    });
    String::from_utf8(out).unwrap()
}

fn keeping_headers(mode: &str) -> AccessLogFields {
    AccessLogFields {
        headers: Some(AccessLogHeaders { default_mode: mode.to_owned(), names: BTreeMap::new() }),
        ..AccessLogFields::default()
    }
}

#[test]
fn common_line() {
    assert_eq!(
        line(&Sample::default(), &AccessLogFields::default(), Format::Common),
        "192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /a?b=c HTTP/1.1\" 200 5 \"-\" \"-\" 7 \
         \"web@file\" \"http://10.0.0.1:80\" 12ms\n"
    );
}

/// static.md §7: `TraceId`, `SpanId`, `trace_id`, `span_id`.
#[test]
fn traces_are_named_where_there_are_any() {
    let ids = Ids { trace: [0xab; 16], span: [1; 8], sampled: false };
    let sample = Sample { trace: Some(ids), ..Sample::default() };
    let text = line(&sample, &AccessLogFields::default(), Format::Json);
    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (field, value) in [
        ("TraceId", "ab".repeat(16)),
        ("trace_id", "ab".repeat(16)),
        ("SpanId", "01".repeat(8)),
        ("span_id", "01".repeat(8)),
    ] {
        assert_eq!(object[field], value, "{field}");
    }
    let mut sorted: Vec<&String> = object.as_object().unwrap().keys().collect();
    let written = sorted.clone();
    sorted.sort();
    assert_eq!(written, sorted, "members stand in the order of their names");
    let none = line(&Sample::default(), &AccessLogFields::default(), Format::Json);
    assert!(!none.contains("race"), "{none}");
}

#[test]
fn generic_line_ends_behind_the_user_agent() {
    assert_eq!(
        line(&Sample::default(), &keeping_headers("keep"), Format::Generic),
        "192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /a?b=c HTTP/1.1\" 200 5 \"-\" \
         \"curl \\\"8\\\"\"\n"
    );
}

#[test]
fn common_line_without_router_and_fields() {
    let sample = Sample { router: None, server_url: None, ..Sample::default() };
    let mut options = AccessLogFields { default_mode: "drop".to_owned(), ..Default::default() };
    options.names.insert("requestmethod".to_owned(), "keep".to_owned());
    options.names.insert("StartLocal".to_owned(), "keep".to_owned());
    assert_eq!(
        line(&sample, &options, Format::Common),
        "- - - [15/Nov/2023:00:13:20 +0200] \"GET - -\" - - \"-\" \"-\" - \"-\" \"-\" 0ms\n"
    );
}

#[test]
fn json_line() {
    assert_eq!(
        line(&Sample::default(), &keeping_headers("redact"), Format::Json),
        "{\"ClientAddr\":\"192.0.2.7:4711\",\"ClientHost\":\"192.0.2.7\",\"ClientPort\":\"4711\",\
         \"ClientUsername\":\"-\",\"DownstreamContentSize\":5,\"DownstreamStatus\":200,\
         \"Duration\":12000000,\"OriginDuration\":10000000,\"OriginStatus\":200,\
         \"Overhead\":2000000,\"RequestAddr\":\"example.org:8080\",\"RequestContentSize\":3,\
         \"RequestCount\":7,\"RequestHost\":\"example.org\",\"RequestMethod\":\"GET\",\
         \"RequestPath\":\"/a?b=c\",\"RequestPort\":\"8080\",\"RequestProtocol\":\"HTTP/1.1\",\
         \"RequestScheme\":\"http\",\"RetryAttempts\":0,\"RouterName\":\"web@file\",\
         \"ServiceAddr\":\"10.0.0.1:80\",\"ServiceName\":\"app@file\",\
         \"ServiceURL\":\"http://10.0.0.1:80\",\
         \"StartLocal\":\"2023-11-15T00:13:20.5+02:00\",\
         \"StartUTC\":\"2023-11-14T22:13:20.5Z\",\"entryPointName\":\"web\",\"level\":\"info\",\
         \"msg\":\"\",\"request_User-Agent\":\"REDACTED\",\"time\":\"2023-11-15T00:13:20+02:00\"}\n"
    );
}

#[test]
fn queries_are_redacted_or_dropped() {
    let options = |mode: &str| AccessLogFields {
        query_parameters: Some(AccessLogQuery { default_mode: mode.to_owned() }),
        ..Default::default()
    };
    let uri = Uri::from_static("/a?token=secret&flag");
    let sample = Sample { uri, ..Sample::default() };
    let line = |mode| line(&sample, &options(mode), Format::Generic);
    assert!(line("redact").contains("\"GET /a?token=REDACTED&flag HTTP/1.1\""));
    assert!(line("drop").contains("\"GET /a HTTP/1.1\""));
}

#[test]
fn what_clients_send_cannot_end_a_line() {
    let sample = Sample {
        username: Some("eve\n- \"x\"".to_owned()),
        forwarded_for: Some(HeaderValue::from_static("203.0.113.9, 192.0.2.1")),
        ..Sample::default()
    };
    let line = line(&sample, &AccessLogFields::default(), Format::Common);
    assert!(line.starts_with("203.0.113.9, 192.0.2.1 - eve\\n- \\\"x\\\" ["), "{line}");
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn one_filter_is_enough() {
    let passes = |filters: &AccessLogFilters, change: fn(&mut Sample)| {
        let mut sample = Sample::default();
        change(&mut sample);
        let filter = Filter::new(Some(filters)).unwrap();
        let mut passed = false;
        sample.summary(|summary| passed = filter.passes(summary));
        passed
    };
    assert!(passes(&AccessLogFilters::default(), |_| {}));
    let filters = AccessLogFilters {
        status_codes: vec!["404".to_owned(), "500-599".to_owned()],
        retry_attempts: true,
        min_duration: value::Duration::from_millis(50),
    };
    assert!(!passes(&filters, |_| {}));
    assert!(passes(&filters, |sample| sample.status = 404));
    assert!(passes(&filters, |sample| sample.status = 599));
    assert!(passes(&filters, |sample| sample.retry_attempts = 1));
    assert!(passes(&filters, |sample| sample.duration = Duration::from_millis(51)));
}

#[test]
fn wrong_ranges_are_refused() {
    for text in ["", "x", "500-", "599-500", "70000"] {
        assert_eq!(range(text), None, "{text}");
    }
}

#[test]
fn lines_reach_the_file_and_follow_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("moved"));
    let options = Options { file_path: path.to_str().unwrap().to_owned(), ..Options::default() };
    let log = AccessLog::start(&options, nowhere).unwrap().0;
    Sample::default().summary(|summary| log.finished(summary));
    let internal = Sample { internal: true, ..Sample::default() };
    internal.summary(|summary| log.finished(summary));
    std::fs::rename(&path, &moved).unwrap();
    log.reopen();
    // Lines that are still waiting go to the old file; the new one appears after that.
    while !path.exists() {
        std::thread::yield_now();
    }
    for _ in 0..1000 {
        Sample::default().summary(|summary| log.finished(summary));
    }
    log.end();
    assert_eq!(std::fs::read_to_string(moved).unwrap().lines().count(), 1);
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1000);
    assert_eq!(log.dropped().unwrap().load(Ordering::Relaxed), 0);
}
