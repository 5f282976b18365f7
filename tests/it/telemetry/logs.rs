//! Logs at OpenTelemetry collectors, and rotated files (static.md §7).

use std::io::Read as _;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;

use super::{dynamic, hex, startup};
use crate::support::collector::{Collector, Message};
use crate::support::running::{Running, echo, eventually, get};

const SOON: &[(&str, &str)] = &[("OTEL_BLRP_SCHEDULE_DELAY", "30")];

fn records(messages: &[Message]) -> Vec<LogRecord> {
    let requests = messages.iter().map(|message| {
        ExportLogsServiceRequest::decode(&*message.body).expect("a message of records")
    });
    let all = requests.flat_map(|request| request.resource_logs).flat_map(|one| one.scope_logs);
    all.flat_map(|one| one.log_records).collect()
}

fn attribute(record: &LogRecord, key: &str) -> Option<Value> {
    let found = record.attributes.iter().find(|one| one.key == key)?;
    found.value.as_ref()?.value.clone()
}

/// static.md §7: accessLog.otlp, dualOutput; experimental.otlpLogs.
#[tokio::test]
async fn lines_of_the_access_log_go_to_a_collector() {
    let (_backend, server) = echo("one", "http").await;
    let (only, both) = (Collector::http(0).await, Collector::grpc().await);
    for (collector, otlp, dual) in [
        (&only, format!("http: {{endpoint: 'http://{}'}}", only.address), false),
        (&both, format!("grpc: {{endpoint: '{}', insecure: true}}", both.address), true),
    ] {
        let options = format!(
            "
experimental: {{otlpLogs: true}}
tracing: {{sampleRate: 0, otlp: {{http: {{endpoint: 'http://127.0.0.1:9'}}}}}}
accessLog:
  filePath: access.log
  dualOutput: {dual}
  fields: {{names: {{ClientAddr: drop}}, headers: {{names: {{X-Backend: keep}}}}}}
  otlp: {{serviceName: edge, {otlp}}}
"
        );
        let folder = Running::prepare(&startup(&options), &[("app.yml", &dynamic(&server))]);
        let running = Running::start_with(folder, SOON).await;
        running.until("/line", |answer| answer.status == 200).await;
        let wanted = |record: &LogRecord| {
            attribute(record, "DownstreamStatus") == Some(Value::IntValue(200))
        };
        let find = |messages: &[Message]| records(messages).into_iter().find(wanted);
        let record = collector.until("the record", find).await;
        let text = |key: &str| match attribute(&record, key) {
            Some(Value::StringValue(text)) => text,
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!((record.severity_number, text("RequestPath").as_str()), (9, "/line"));
        assert_eq!(
            (text("RouterName").as_str(), text("RequestMethod").as_str()),
            ("app@file", "GET")
        );
        assert_eq!(text("downstream_X-Backend"), "one");
        assert!(matches!(attribute(&record, "Duration"), Some(Value::IntValue(_))));
        assert_eq!(attribute(&record, "ClientAddr"), None, "dropped");
        assert_eq!(text("TraceId"), hex(&record.trace_id));
        let file = running.path("access.log");
        if dual {
            eventually("the line", || async {
                std::fs::read_to_string(&file).ok().filter(|text| text.contains("/line"))
            })
            .await;
        } else {
            assert!(!file.exists(), "lines go to the collector only");
        }
    }
}

/// static.md §7: log.otlp; lines also go to normal output.
#[tokio::test]
async fn what_the_program_says_goes_to_a_collector_too() {
    let collector = Collector::http(0).await;
    let options = format!(
        "
experimental: {{otlpLogs: true}}
log: {{level: INFO, otlp: {{http: {{endpoint: 'http://{}/custom'}}}}}}
",
        collector.address
    );
    let folder = Running::prepare(&startup(&options), &[]);
    let running = Running::start_with(folder, SOON).await;
    let says = |record: &LogRecord| {
        let body = record.body.clone().and_then(|body| body.value);
        body == Some(Value::StringValue("listening".to_owned()))
    };
    let find = |messages: &[Message]| records(messages).into_iter().find(says);
    let record = collector.until("the record", find).await;
    assert_eq!(record.severity_number, 9);
    assert_eq!(attribute(&record, "entry_point"), Some(Value::StringValue("web".to_owned())));
    assert_eq!(collector.messages()[0].path, "/custom");
    assert!(running.output().contains("listening"));
}

/// static.md §7: log.filePath, maxSize, maxBackups; rotations are compressed.
#[tokio::test]
async fn the_log_is_rotated_and_packed() {
    let (_backend, server) = echo("one", "http").await;
    let options =
        "log: {level: DEBUG, format: json, filePath: logs/proxy.log, maxSize: 1, maxBackups: 1}";
    let folder = Running::prepare(&startup(options), &[("app.yml", &dynamic(&server))]);
    std::fs::create_dir_all(folder.path().join("logs")).unwrap();
    // Just below a megabyte.
    let old = "x".repeat(1023) + "\n";
    std::fs::write(folder.path().join("logs/proxy.log"), old.repeat(1023)).unwrap();
    let running = Running::start_in(folder).await;
    running.until("/", |answer| answer.status == 200).await;
    let packed = eventually("a packed file", || async {
        // Each is worth a line.
        drop(get(running.address("web"), "/%zz").await);
        let files = std::fs::read_dir(running.path("logs")).unwrap();
        let mut names = files.map(|file| file.unwrap().path());
        names.find(|path| path.extension().is_some_and(|extension| extension == "gz"))
    })
    .await;
    let mut text = String::new();
    let file = std::fs::File::open(packed).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    assert!(text.starts_with("xxx"));
    let now = std::fs::read_to_string(running.path("logs/proxy.log")).unwrap();
    assert!(now.lines().all(|line| line.starts_with('{')), "JSON lines");
}
