//! Traefik's read calls, as a client sees them (api.md).

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::h1::Reader;
use crate::support::running::{Answer, Running, echo, eventually, get};

const STARTUP: &str = "
entryPoints:
  web: {address: '127.0.0.1:0'}
  secure: {address: '127.0.0.1:0', http: {tls: {}, middlewares: ['early@file']}}
  plain: {address: '127.0.0.1:0', http: {redirections: {entryPoint: {to: secure}}}}
  traefik: {address: '127.0.0.1:0'}
api: {insecure: true, basePath: /base}
ping: {}
providers:
  providersThrottleDuration: 20ms
  file: {directory: dynamic}
";

fn dynamic(server: &str) -> String {
    format!(
        "
http:
  routers:
    app: {{rule: 'Host(`localhost`)', service: app, entryPoints: [web, secure]}}
    lost: {{rule: 'Host(`lost`)', service: app, entryPoints: [web, nowhere]}}
    bad: {{rule: 'Host(`bad`)', service: missing, entryPoints: [web]}}
    'a/b': {{rule: 'Path(`/a`)', service: app, entryPoints: [web]}}
  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://{server}'}}]}}}}
  middlewares:
    early: {{addPrefix: {{prefix: /x}}}}
    unused: {{addPrefix: {{prefix: /y}}}}
"
    )
}

async fn running() -> (crate::support::backend::Backend, Running) {
    let (backend, address) = echo("one", "http").await;
    let folder = Running::prepare(STARTUP, &[("app.yml", &dynamic(&address))]);
    let running = Running::start_in(folder).await;
    eventually("the routers", || async {
        get(running.address("traefik"), "/base/api/http/routers/app@file")
            .await
            .ok()
            .filter(|answer| answer.status == 200)
    })
    .await;
    (backend, running)
}

async fn call(running: &Running, path: &str) -> Answer {
    get(running.address("traefik"), &format!("/base/api/{path}")).await.unwrap()
}

async fn json_of(running: &Running, path: &str) -> Value {
    let answer = call(running, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert_eq!(answer.header("content-type").as_deref(), Some("application/json"), "{path}");
    serde_json::from_slice(&answer.body).unwrap()
}

/// api.md §3, and http.md §2: "model effects".
#[tokio::test]
async fn routers_have_the_names_and_the_options_that_entry_points_give_them() {
    let (_backend, running) = running().await;
    let router = json_of(&running, "http/routers/secure-app@file").await;
    assert_eq!(
        router,
        json!({
            "entryPoints": ["secure"], "middlewares": ["early@file"], "service": "app",
            "rule": "Host(`localhost`)", "priority": 17, "tls": {"options": "default"},
            "observability": {"accessLogs": true, "metrics": true, "tracing": true, "traceVerbosity": "minimal"},
            "status": "enabled", "using": ["secure"], "priorityStr": "17",
            "name": "secure-app@file", "provider": "file",
        })
    );
    let router = json_of(&running, "http/routers/app@file").await;
    assert_eq!((&router["entryPoints"], &router["tls"]), (&json!(["web"]), &Value::Null));
    let middleware = json_of(&running, "http/middlewares/early@file").await;
    assert_eq!(
        middleware,
        json!({
            "addPrefix": {"prefix": "/x"}, "status": "enabled", "usedBy": ["secure-app@file"],
            "name": "early@file", "provider": "file", "type": "addprefix",
        })
    );
    let router = json_of(&running, "http/routers/plain-to-secure@internal").await;
    assert_eq!(router["middlewares"], json!(["redirect-plain-to-secure@internal"]));
    assert_eq!(router["priorityStr"], "9223372036854775806");
    assert_eq!(json_of(&running, "http/routers/a%2Fb@file").await["name"], "a/b@file");
}

/// api.md §3: status, with Traefik's texts.
#[tokio::test]
async fn statuses_say_what_is_wrong() {
    let (_backend, running) = running().await;
    let router = json_of(&running, "http/routers/lost@file").await;
    assert_eq!(router["status"], "warning");
    assert_eq!(router["error"], json!(["entryPoint \"nowhere\" doesn't exist"]));
    assert_eq!(router["using"], json!(["web"]));
    let router = json_of(&running, "http/routers/bad@file").await;
    assert_eq!(router["status"], "disabled");
    assert_eq!(router["error"], json!(["the service \"missing@file\" does not exist"]));
    let service = json_of(&running, "http/services/app@file").await;
    assert_eq!(service["status"], "enabled");
    assert_eq!(service["type"], "loadbalancer");
    assert_eq!(service["usedBy"], json!(["a/b@file", "app@file", "lost@file", "secure-app@file"]));
    let url = service["loadBalancer"]["servers"][0]["url"].as_str().unwrap();
    assert_eq!(service["serverStatus"], json!({ url: "UP" }));
    let overview = json_of(&running, "overview").await;
    assert_eq!(overview["http"]["routers"]["warnings"], 1);
    assert_eq!(overview["http"]["routers"]["errors"], 1);
    assert_eq!(overview["providers"], json!(["File"]));
    assert_eq!(overview["features"], json!({"tracing": "", "metrics": "", "accessLog": false}));
}

/// api.md §1 and §2.
#[tokio::test]
async fn lists_are_paged_searched_and_filtered() {
    let (_backend, running) = running().await;
    let names = |value: &Value| -> Vec<String> {
        let all = value.as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = json_of(&running, "http/routers?search=@file").await;
    assert_eq!(names(&all), ["a/b@file", "app@file", "bad@file", "lost@file", "secure-app@file"]);
    let answer = call(&running, "http/routers?search=@file&per_page=2&page=2").await;
    assert_eq!(answer.header("x-next-page").as_deref(), Some("3"));
    assert_eq!(names(&serde_json::from_slice(&answer.body).unwrap()), ["bad@file", "lost@file"]);
    let answer = call(&running, "http/routers?search=@file&per_page=2&page=3").await;
    assert_eq!(answer.header("x-next-page").as_deref(), Some("1"));
    let answer = call(&running, "http/routers?search=@file&per_page=2&page=4").await;
    assert_eq!(
        (answer.status, answer.text().trim()),
        (400, r#"{"message":"invalid request: page: 4, per_page: 2"}"#)
    );
    assert_eq!(names(&json_of(&running, "http/routers?status=Disabled").await), ["bad@file"]);
    assert_eq!(
        names(&json_of(&running, "entrypoints").await),
        ["plain", "secure", "traefik", "web"]
    );
    assert_eq!(json_of(&running, "entrypoints/web").await["address"], "127.0.0.1:0");
    let services = json_of(&running, "http/services?search=internal").await;
    assert_eq!(
        names(&services),
        ["api@internal", "dashboard@internal", "noop@internal", "ping@internal"]
    );
}

/// api.md §2, "Unknown id" and §1, "other methods".
#[tokio::test]
async fn what_is_not_there_is_refused_in_traefiks_words() {
    let (_backend, running) = running().await;
    for (path, status, message) in [
        ("http/routers/x@file", 404, "router not found: x@file"),
        ("http/services/x@file", 404, "service not found: x@file"),
        ("http/middlewares/x@file", 404, "middleware not found: x@file"),
        ("tcp/routers/x@file", 404, "router not found: x@file"),
        ("udp/services/x@file", 404, "service not found: x@file"),
        ("entrypoints/x", 404, "entry point not found: x"),
        ("certificates/00", 404, "certificate not found: 00"),
        ("http/routers?page=0", 400, "invalid request: page: 0"),
    ] {
        let answer = call(&running, path).await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        assert_eq!((answer.status, &body["message"]), (status, &json!(message)), "{path}");
    }
    assert_eq!(call(&running, "http/routers/a%2").await.status, 400);
    for path in ["nothing", "http", "http/nothing", "udp/middlewares", "http/routers/", ""] {
        assert_eq!(call(&running, path).await.status, 404, "{path}");
    }
    // Below another path, and with what only looks like it, there is nothing.
    for path in ["/api/version", "/baseapi/version", "/base/base/api/version"] {
        assert_eq!(get(running.address("traefik"), path).await.unwrap().status, 404, "{path}");
    }
    let stream = TcpStream::connect(running.address("traefik")).await.unwrap();
    let mut reader = Reader::new(stream);
    for (method, path, status) in [
        ("POST", "/base/api/version", "405"),
        ("DELETE", "/base/api/rawdata", "405"),
        ("POST", "/base/api/x", "404"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        reader.stream.write_all(request.as_bytes()).await.unwrap();
        let head = reader.head().await.unwrap().unwrap();
        assert_eq!(head.start.split(' ').nth(1), Some(status), "{method} {path}");
        reader.body(&head, true).await.unwrap();
    }
}

/// api.md §4.
#[tokio::test]
async fn rawdata_is_all_without_names() {
    let (_backend, running) = running().await;
    let all = json_of(&running, "rawdata").await;
    let keys: Vec<&String> = all.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["routers", "middlewares", "services"]);
    let router = &all["routers"]["app@file"];
    assert_eq!(router["priority"], 17);
    for key in ["name", "provider", "priorityStr"] {
        assert_eq!(router[key], Value::Null);
    }
    assert!(all["services"]["app@file"]["serverStatus"].is_object());
    assert_eq!(
        all["services"]["noop@internal"],
        json!({"status": "enabled", "usedBy": ["plain-to-secure@internal"]})
    );
}

/// api.md §1, `/api/support-dump`.
#[tokio::test]
async fn the_support_dump_tells_nothing_that_identifies() {
    let (_backend, running) = running().await;
    let answer = call(&running, "support-dump").await;
    assert_eq!(answer.header("content-type").as_deref(), Some("application/gzip"));
    assert_eq!(
        answer.header("content-disposition").as_deref(),
        Some("attachment; filename=support-dump.tar.gz")
    );
    std::fs::write(running.path("dump.tar.gz"), &answer.body).unwrap();
    let unpack = std::process::Command::new("tar")
        .args(["-xzf", "dump.tar.gz"])
        .current_dir(running.folder.path())
        .status()
        .unwrap();
    assert!(unpack.success());
    let file = |name: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(running.path(name)).unwrap()).unwrap()
    };
    assert_eq!(file("version.json")["codename"], "pontoon");
    assert_eq!(file("static-config.json")["entryPoints"]["web"]["address"], "xxxx");
    let runtime = file("runtime-config.json");
    assert_eq!(runtime["routers"]["app@file"]["rule"], "xxxx");
    assert_eq!(runtime["services"]["app@file"]["loadBalancer"]["servers"][0]["url"], "xxxx");
    assert_eq!(runtime["routers"]["bad@file"]["status"], "disabled");
    assert!(!runtime.to_string().contains("127.0.0.1"));
}
