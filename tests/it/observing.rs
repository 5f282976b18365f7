//! Access log, metrics, log and ping by their options, as a user reads them (static.md §7, §8, §10).

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::backend::Backend;
use crate::support::h1::Reader;
use crate::support::running::{
    Answer, Running, STARTUP, echo, eventually, everything_to, get, send,
};

/// Two entry points, `/again` with a retry, and whatever is added; everything goes to one server.
async fn observed(options: &str, routers: &str) -> (Backend, Running) {
    let (backend, address) = echo("app", "http").await;
    let startup = format!(
        "
entryPoints:
  web: {{address: '127.0.0.1:0'}}
  unseen: {{address: '127.0.0.1:0', observability: {{accessLogs: false, metrics: false}}}}
{options}
providers:
  providersThrottleDuration: 20ms
  file: {{directory: dynamic}}
"
    );
    let dynamic = format!(
        "
http:
  routers:
    all: {{rule: 'PathPrefix(`/`)', service: app, priority: 1}}
    again: {{rule: 'PathPrefix(`/again`)', service: app, middlewares: [again]}}
{routers}
  middlewares:
    again: {{retry: {{attempts: 2, status: ['418']}}}}
  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://{address}'}}]}}}}
"
    );
    (backend, Running::start(&startup, &[("app.yml", &dynamic)]).await)
}

async fn with_headers(running: &Running, path: &str, headers: &str) -> Answer {
    let stream = TcpStream::connect(running.address("web")).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    send(&mut Reader::new(stream), request.as_bytes()).await.unwrap()
}

async fn status(running: &Running, entry_point: &str, path: &str) -> u16 {
    get(running.address(entry_point), path).await.unwrap().status
}

/// The lines of a file, once each of `awaited` stands in one of them: each core writes its own in its own time.
async fn lines(running: &Running, file: &str, awaited: &[&str]) -> Vec<String> {
    eventually("the lines", || async {
        let text = fs::read_to_string(running.path(file)).ok()?;
        let whole = text.get(..=text.rfind('\n')?)?;
        let is_there = awaited.iter().all(|one| whole.contains(one));
        is_there.then(|| whole.lines().map(str::to_owned).collect())
    })
    .await
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// `accessLog.filters`: each lets pass what it is for, and the rest is left out; `addInternals` is false.
#[tokio::test]
async fn each_filter_of_the_access_log_lets_its_requests_pass() {
    let (_backend, running) = observed(
        "accessLog: {filePath: access.log, format: json, filters: {statusCodes: ['500-503', '404'], retryAttempts: true, minDuration: 200ms}}
ping: {entryPoint: web}",
        "",
    )
    .await;
    for (path, wanted) in [
        ("/quick", 200),
        ("/ping", 200),
        ("/__status/502/a", 502),
        ("/__status/504/b", 504),
        ("/__status/404/c", 404),
        ("/__delay/300/d", 200),
        ("/again/__flaky/1/418/e", 200),
        ("/again/f", 200),
        ("/__status/503/last", 503),
    ] {
        assert_eq!(status(&running, "web", path).await, wanted, "{path}");
    }
    let wanted = BTreeSet::from([
        "/__status/502/a",
        "/__status/404/c",
        "/__delay/300/d",
        "/again/__flaky/1/418/e",
        "/__status/503/last",
    ]);
    let lines = lines(&running, "access.log", &wanted.iter().copied().collect::<Vec<_>>()).await;
    let paths: Vec<String> =
        lines.iter().map(|line| json(line)["RequestPath"].as_str().unwrap().to_owned()).collect();
    // Before its routers are there, the program answers 404 to those who ask.
    let paths = paths.iter().map(String::as_str).filter(|path| *path != "/");
    assert_eq!(paths.collect::<BTreeSet<_>>(), wanted);
    let again = lines.iter().find(|line| line.contains("flaky")).unwrap();
    assert_eq!(json(again)["RetryAttempts"], 1);
}

/// `accessLog.fields`: `defaultMode` and `names` of fields and headers, `queryParameters.defaultMode`.
#[tokio::test]
async fn the_access_log_keeps_what_its_fields_say() {
    let common = "accessLog: {filePath: access.log, format: json, fields: ";
    let (_backend, few) = observed(
        &format!(
            "{common}{{defaultMode: drop, names: {{RequestPath: keep, DownstreamStatus: keep}}, \
             headers: {{defaultMode: drop, names: {{X-Kept: keep, X-Secret: redact}}}}, queryParameters: {{defaultMode: redact}}}}}}"
        ),
        "",
    )
    .await;
    let headers = "X-Kept: kept\r\nX-Secret: secret\r\nX-Other: other\r\n";
    with_headers(&few, "/last?user=ann", headers).await;
    let all = lines(&few, "access.log", &["/last"]).await;
    let line = json(all.iter().find(|line| line.contains("/last")).unwrap());
    let names: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        BTreeSet::from([
            "DownstreamStatus",
            "RequestPath",
            "level",
            "msg",
            "request_X-Kept",
            "request_X-Secret",
            "time",
        ])
    );
    assert_eq!(line["request_X-Kept"], "kept");
    assert_eq!(line["request_X-Secret"], "REDACTED");
    assert_eq!(line["RequestPath"], "/last?user=REDACTED");

    let (_backend, most) = observed(
        &format!(
            "{common}{{names: {{ClientHost: drop}}, headers: {{defaultMode: keep, names: {{X-Other: drop}}}}, \
             queryParameters: {{defaultMode: drop}}}}}}"
        ),
        "",
    )
    .await;
    with_headers(&most, "/last?user=ann", headers).await;
    let all = lines(&most, "access.log", &["/last"]).await;
    let line = json(all.iter().find(|line| line.contains("/last")).unwrap());
    assert_eq!((line.get("ClientHost"), line.get("request_X-Other")), (None, None));
    assert_eq!(line["request_X-Secret"], "secret");
    assert_eq!(line["RequestPath"], "/last");
    assert_eq!(line["RouterName"], "all@file");
}

/// `accessLog.format`, `filePath`, `bufferingSize`, `addInternals`; `observability.accessLogs` of an entry point.
#[tokio::test]
async fn the_access_log_has_the_format_that_was_asked_for() {
    let (_backend, generic) = observed(
        "accessLog: {filePath: access.log, format: genericCLF, bufferingSize: 100, addInternals: true, dualOutput: true}
ping: {entryPoint: web}",
        "",
    )
    .await;
    for (entry_point, path) in [("unseen", "/hidden"), ("web", "/ping"), ("web", "/last")] {
        assert_eq!(status(&generic, entry_point, path).await, 200);
    }
    // One line, or three, and not a hundred are there: a buffer holds nothing back.
    let all = lines(&generic, "access.log", &["/ping", "/last"]).await;
    assert!(!all.iter().any(|line| line.contains("/hidden")), "{all:?}");
    let ping = all.iter().find(|line| line.contains("/ping")).expect("the internal router's line");
    assert!(ping.starts_with("127.0.0.1 - - ["), "{ping}");
    assert!(ping.ends_with("\"GET /ping HTTP/1.1\" 200 2 \"-\" \"-\""), "{ping}");

    // To standard output, in the format that is usual.
    let (_backend, usual) = observed("accessLog: {}", "").await;
    assert_eq!(status(&usual, "web", "/last").await, 200);
    let all = lines(&usual, "pontoon.out", &["/last"]).await;
    let line = all.iter().find(|line| line.contains("/last")).unwrap();
    assert!(line.contains("\"all@file\" \"http://127.0.0.1:") && line.ends_with("ms"), "{line}");
}

/// static.md §1: SIGUSR1 opens the files of the log and of the access log again.
#[tokio::test]
async fn files_that_were_moved_away_are_opened_again_when_asked() {
    let (_backend, running) =
        observed("accessLog: {filePath: access.log}\nlog: {level: DEBUG, filePath: own.log}", "")
            .await;
    assert_eq!(status(&running, "web", "/before").await, 200);
    lines(&running, "access.log", &["/before"]).await;
    for file in ["access.log", "own.log"] {
        fs::rename(running.path(file), running.path(&format!("{file}.1"))).unwrap();
    }
    running.signal("USR1");
    for file in ["access.log", "own.log"] {
        eventually(file, || async { running.path(file).is_file().then_some(()) }).await;
    }
    assert_eq!(status(&running, "web", "/after").await, 200);
    let new = lines(&running, "access.log", &["/after"]).await;
    assert!(!new.iter().any(|line| line.contains("/before")), "{new:?}");
}

/// `metrics.prometheus`: `buckets`, `add…Labels`, `headerLabels`, `entryPoint`; `metrics.addInternals`.
#[tokio::test]
async fn metrics_have_the_labels_and_buckets_that_were_asked_for() {
    let (_backend, running) = observed(
        "metrics: {addInternals: true, prometheus: {entryPoint: web, buckets: [0.5, 7], addEntryPointsLabels: false, \
         addRoutersLabels: true, addServicesLabels: false, headerLabels: {agent: X-Agent}}}
ping: {entryPoint: web}",
        "",
    )
    .await;
    with_headers(&running, "/a", "X-Agent: robot\r\n").await;
    assert_eq!(status(&running, "web", "/ping").await, 200);
    let text = get(running.address("web"), "/metrics").await.unwrap().text();
    let has =
        |parts: &[&str]| text.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(
        has(&["traefik_router_requests_total", "router=\"all@file\"", "agent=\"robot\""]),
        "{text}"
    );
    assert!(has(&["traefik_router_requests_total", "router=\"ping@internal\""]), "{text}");
    let bounds: BTreeSet<&str> = text
        .lines()
        .filter(|line| line.starts_with("traefik_router_request_duration_seconds_bucket"))
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(bounds, BTreeSet::from(["+Inf", "0.5", "7"]));
    assert!(!has(&["duration", "agent="]), "headers are labels of counts alone");
    for none in ["traefik_entrypoint_requests", "traefik_service_requests"] {
        assert!(!text.contains(none), "{none}: {text}");
    }
    // No label of these three options: Traefik always has it.
    assert!(has(&["traefik_open_connections", "entrypoint=\"web\""]), "{text}");
}

/// The defaults of `metrics.prometheus`, its `manualRouting` and that of `ping`; `observability.metrics` of an entry
/// point and of a router.
#[tokio::test]
async fn what_is_routed_by_hand_has_no_router_of_its_own() {
    let (_backend, running) = observed(
        "metrics: {prometheus: {entryPoint: web, manualRouting: true}}
ping: {entryPoint: web, manualRouting: true}
accessLog: {filePath: access.log}",
        "    numbers: {rule: 'Path(`/numbers`)', service: prometheus@internal}
    alive: {rule: 'Path(`/alive`)', service: ping@internal}
    silent: {rule: 'Path(`/silent`)', service: app, observability: {metrics: false, accessLogs: false}}
",
    )
    .await;
    let alive = get(running.address("web"), "/alive").await.unwrap();
    assert_eq!((alive.status, alive.text().as_str()), (200, "OK"));
    for path in ["/ping", "/metrics"] {
        let answer = get(running.address("web"), path).await.unwrap();
        assert_eq!(answer.header("x-backend").as_deref(), Some("app"), "{path}");
    }
    let value = |text: &str, parts: &[&str]| -> u64 {
        text.lines()
            .filter(|line| parts.iter().all(|part| line.contains(part)))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    };
    let numbers = async || get(running.address("web"), "/numbers").await.unwrap().text();
    let service = ["traefik_service_requests_total", "service=\"app@file\""];
    let before = value(&numbers().await, &service);
    assert_eq!(status(&running, "web", "/silent").await, 200);
    assert_eq!(status(&running, "unseen", "/counted-nowhere").await, 200);
    assert_eq!(status(&running, "web", "/last").await, 200);
    let text = numbers().await;
    assert_eq!(value(&text, &service) - before, 1, "{text}");
    assert!(!text.contains("entrypoint=\"unseen\",method"), "{text}");
    assert!(text.contains("traefik_entrypoint_requests_total"), "{text}");
    assert!(!text.contains("traefik_router_requests_total"), "{text}");
    for bound in ["0.1", "0.3", "1.2", "5"] {
        assert!(text.contains(&format!("le=\"{bound}\"")), "{bound}: {text}");
    }
    let all = lines(&running, "access.log", &["/last"]).await;
    assert!(
        !all.iter().any(|line| line.contains("/silent") || line.contains("/counted")),
        "{all:?}"
    );
}

/// `log.level`, `log.format`, `log.filePath`.
#[tokio::test]
async fn the_log_has_its_level_its_format_and_its_file() {
    let (_backend, detailed) =
        observed("log: {level: debug, format: json, filePath: own.log}", "").await;
    let all = lines(&detailed, "own.log", &["DEBUG"]).await;
    assert!(all.iter().all(|line| json(line)["level"].is_string()), "each is an object of JSON");
    assert_eq!(detailed.output(), "", "standard output has nothing of it");
    let (_backend, usual) = observed("", "").await;
    assert_eq!(usual.output(), "", "by default only errors are told");
    let (_backend, common) = observed("log: {level: INFO}", "").await;
    let output = common.output();
    assert!(output.contains(" INFO ") && !output.contains("DEBUG"), "{output}");
    assert!(serde_json::from_str::<Value>(output.lines().next().unwrap()).is_err());
}

/// `log.noColor`: on a terminal lines have colours, and else not.
#[tokio::test]
async fn colours_on_a_terminal_can_be_turned_off() {
    for (options, has_colours) in [("level: INFO", true), ("level: INFO, noColor: true", false)] {
        let startup =
            format!("entryPoints: {{web: {{address: '127.0.0.1:0'}}}}\nlog: {{{options}}}\n");
        let folder = Running::prepare(&startup, &[]);
        let ready = folder.path().join("ready");
        // `script` gives it a terminal.
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command"])
            .arg(format!("{} --configFile=pontoon.yml", env!("CARGO_BIN_EXE_pontoon")))
            .arg(folder.path().join("typescript"))
            .env("PONTOON_READY_FILE", &ready)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually("its start", || async { ready.is_file().then_some(()) }).await;
        // Ctrl-C
        child.stdin.as_mut().unwrap().write_all(b"\x03").await.unwrap();
        eventually("its end", || {
            let ended = child.try_wait().unwrap();
            async move { ended }
        })
        .await;
        let text = fs::read_to_string(folder.path().join("typescript")).unwrap();
        assert!(text.contains("INFO"), "{text}");
        assert_eq!(text.contains("\x1b["), has_colours, "{options}: {text}");
    }
}

/// `ping.terminatingStatusCode`, and its text.
#[tokio::test]
async fn ping_answers_with_the_status_that_was_chosen_while_it_ends() {
    let (_backend, address) = echo("app", "http").await;
    let startup = STARTUP.replace(
        "web: {address: '127.0.0.1:0'}",
        "web: {address: '127.0.0.1:0', transport: {lifeCycle: {requestAcceptGraceTimeout: 1s}}}",
    ) + "ping: {entryPoint: web, terminatingStatusCode: 429}\n";
    let app = everything_to(&format!("http://{address}"));
    let mut running = Running::start(&startup, &[("app.yml", &app)]).await;
    assert_eq!(status(&running, "web", "/ping").await, 200);
    running.signal("TERM");
    let answer = running.until("/ping", |answer| answer.status != 200).await;
    assert_eq!((answer.status, answer.text().trim_end()), (429, "Too Many Requests"));
    assert!(running.ended().await.success());
}

/// `global`, `experimental` and other options that change nothing are taken, and requests are served as ever.
#[tokio::test]
async fn options_without_an_effect_here_are_taken() {
    let (_backend, running) = observed(
        "global: {checkNewVersion: true, sendAnonymousUsage: true, notAppendXForwardedFor: true}
experimental: {abortOnPluginFailure: true, kubernetesGateway: true, kubernetesIngressNGINX: true, knative: true, otlpLogs: true}
log: {level: WARN}",
        "",
    )
    .await;
    let answer = with_headers(&running, "/", "").await;
    let seen: Value = serde_json::from_slice(&answer.body).unwrap();
    // static.md §2: nothing reads `global.notAppendXForwardedFor`.
    assert_eq!(seen["headers"]["X-Forwarded-For"][0], "127.0.0.1");
    // It speaks to nobody but those who speak to it.
    let remote = fs::read_to_string(format!("/proc/{}/net/tcp", running.pid())).unwrap();
    let outside = remote.lines().skip(1).filter(|line| {
        let inode = line.split_whitespace().nth(9).unwrap().to_owned();
        let far = line.split_whitespace().nth(2).unwrap();
        let is_local = far.starts_with("00000000:") || far.starts_with("0100007F:");
        !is_local && sockets(running.pid()).contains(&inode)
    });
    assert_eq!(outside.count(), 0);
}

/// The sockets that a process has.
fn sockets(pid: u32) -> BTreeSet<String> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .filter_map(|link| {
            Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect()
}
