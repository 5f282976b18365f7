//! Routers in layers, as clients, the access log and metrics see them (http.md §2, "Multi-layer routing").

use std::fs;

use serde_json::Value;

use crate::support::running::{Running, echo, eventually, get};

const STARTUP: &str = "
entryPoints:
  web: {address: '127.0.0.1:0'}
  traefik: {address: '127.0.0.1:0'}
api: {insecure: true, dashboard: false}
accessLog: {filePath: access.log, format: json}
metrics: {prometheus: {addRoutersLabels: true}}
providers:
  providersThrottleDuration: 20ms
  file: {directory: dynamic}
";

fn dynamic(first: &str, second: &str, header: &str) -> String {
    format!(
        "
http:
  routers:
    top: {{rule: 'PathPrefix(`/`)', middlewares: [mark, strip]}}
    one: {{rule: 'Header(`X-Mark`, `yes`) && Path(`/one`)', service: one, parentRefs: [top]}}
    middle: {{rule: 'PathPrefix(`/deep`)', parentRefs: [top]}}
    two: {{rule: 'Path(`/deep/two`)', service: two, parentRefs: [middle]}}
  middlewares:
    mark: {{headers: {{customRequestHeaders: {{X-Mark: '{header}'}}}}}}
    strip: {{stripPrefix: {{prefixes: [/gone]}}}}
  services:
    one: {{loadBalancer: {{servers: [{{url: 'http://{first}'}}]}}}}
    two: {{loadBalancer: {{servers: [{{url: 'http://{second}'}}]}}}}
"
    )
}

#[tokio::test]
async fn children_are_asked_after_the_middlewares_of_their_parents() {
    let ((_one, first), (_two, second)) = (echo("one", "http").await, echo("two", "http").await);
    let text = dynamic(&first, &second, "yes");
    let running = Running::start_in(Running::prepare(STARTUP, &[("app.yml", &text)])).await;
    let by = |name: &'static str| {
        move |answer: &crate::support::running::Answer| {
            answer.header("x-backend").as_deref() == Some(name)
        }
    };
    running.until("/one", by("one")).await;
    // What the middlewares have made of the path decides.
    running.until("/gone/one", by("one")).await;
    running.until("/deep/two", by("two")).await;
    let answer = get(running.address("web"), "/deep/nothing").await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (404, "404 page not found\n"));
    assert_eq!(get(running.address("web"), "/nothing").await.unwrap().status, 404);

    let lines = eventually("lines of the access log", || async {
        let text = fs::read_to_string(running.path("access.log")).unwrap_or_default();
        let lines: Vec<Value> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let has = |path: &str| lines.iter().any(|line| line["RequestPath"] == path);
        (has("/deep/two") && has("/one") && has("/nothing")).then_some(lines)
    })
    .await;
    let line = |path: &str| lines.iter().rfind(|line| line["RequestPath"] == path).unwrap();
    assert_eq!(line("/one")["RouterName"], "top@file -> one@file");
    assert_eq!(line("/one")["ServiceName"], "one@file");
    assert_eq!(line("/deep/two")["RouterName"], "top@file -> middle@file -> two@file");
    assert_eq!(line("/nothing")["RouterName"], "top@file");
    assert_eq!(line("/nothing")["ServiceName"], Value::Null);
    assert_eq!(line("/deep/nothing")["RouterName"], "top@file -> middle@file");

    let metrics = get(running.address("traefik"), "/metrics").await.unwrap().text();
    for labels in [
        r#"router="top@file",service="top@file-muxer""#,
        r#"router="middle@file",service="middle@file-muxer""#,
        r#"router="two@file",service="two@file""#,
    ] {
        assert!(metrics.contains(labels), "{labels}\n{metrics}");
    }
    assert!(!metrics.contains("->"));
    let served: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("traefik_service_requests_total") && line.contains("muxer"))
        .collect();
    assert_eq!(served, [""; 0]);
}

#[tokio::test]
async fn a_change_of_the_parent_changes_what_its_children_see() {
    let ((_one, first), (_two, second)) = (echo("one", "http").await, echo("two", "http").await);
    let text = dynamic(&first, &second, "yes");
    let running = Running::start_in(Running::prepare(STARTUP, &[("app.yml", &text)])).await;
    running.until("/one", |answer| answer.status == 200).await;
    fs::write(running.path("dynamic/app.yml"), dynamic(&first, &second, "no")).unwrap();
    running.until("/one", |answer| answer.status == 404).await;
    running.until("/deep/two", |answer| answer.status == 200).await;
    let without_child =
        dynamic(&first, &second, "yes").replace("parentRefs: [middle]", "parentRefs: [x]");
    fs::write(running.path("dynamic/app.yml"), without_child).unwrap();
    running.until("/deep/two", |answer| answer.status == 404).await;
    let router = get(running.address("traefik"), "/api/http/routers/two@file").await.unwrap();
    let router: Value = serde_json::from_slice(&router.body).unwrap();
    assert_eq!(router["status"], "disabled");
    assert_eq!(
        router["error"],
        serde_json::json!(["parent router \"x@file\" does not exist", "router is not reachable"])
    );
}
