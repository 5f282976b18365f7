//! The dashboard (api.md §7; static.md §10: `api.dashboard`, `basePath`, `insecure`, `dashboardName`,
//! `disableDashboardAd`).

use tokio::net::TcpStream;

use crate::support::h1::Reader;
use crate::support::running::{Answer, Running, eventually, get, send};

fn startup(api: &str) -> String {
    format!(
        "
entryPoints:
  web: {{address: '127.0.0.1:0', forwardedHeaders: {{insecure: true}}}}
  traefik: {{address: '127.0.0.1:0'}}
api: {api}
providers:
  providersThrottleDuration: 20ms
  file: {{directory: dynamic}}
"
    )
}

async fn start(api: &str) -> Running {
    let dynamic = "
http:
  routers:
    ours: {rule: 'Host(`localhost`)', service: api@internal, entryPoints: [web]}
";
    let running = Running::start_in(Running::prepare(&startup(api), &[("api.yml", dynamic)])).await;
    eventually("the router", || async {
        let base = if api.contains("/base") { "/base" } else { "" };
        let answer = get(running.address("web"), &format!("{base}/api/version")).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
    running
}

async fn ask(running: &Running, entry_point: &str, request: &str) -> Answer {
    let stream = TcpStream::connect(running.address(entry_point)).await.unwrap();
    let request = format!("{request}Host: localhost\r\n\r\n");
    send(&mut Reader::new(stream), request.as_bytes()).await.unwrap()
}

/// The page at `path` and everything that it names.
async fn whole(running: &Running, entry_point: &str, path: &str) {
    let page = get(running.address(entry_point), path).await.unwrap();
    assert_eq!(page.status, 200, "{path}");
    assert_eq!(page.header("content-type").as_deref(), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    let text = page.text();
    let named: Vec<&str> = text
        .split(['"'])
        .collect::<Vec<_>>()
        .windows(2)
        .filter(|pair| pair[0].ends_with("href=") || pair[0].ends_with("src="))
        .map(|pair| pair[1])
        .collect();
    assert!(named.len() >= 4, "{named:?}");
    for name in named {
        let file = get(running.address(entry_point), &format!("{path}{name}")).await.unwrap();
        assert_eq!(file.status, 200, "{name}");
        let kind = match name.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("a link to {other}"),
        };
        assert_eq!(file.header("content-type").as_deref(), Some(kind), "{name}");
        assert!(!file.body.is_empty(), "{name}");
    }
    let missing = get(running.address(entry_point), &format!("{path}none.js")).await.unwrap();
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn it_is_served_beside_the_insecure_api_and_by_routers_of_users() {
    let running = start("{insecure: true, dashboardName: Harbour, disableDashboardAd: true}").await;
    whole(&running, "traefik", "/dashboard/").await;
    whole(&running, "web", "/dashboard/").await;
    // The redirect of the entry point `traefik`.
    let answer = get(running.address("traefik"), "/").await.unwrap();
    assert_eq!(
        (answer.status, answer.header("location")),
        (301, Some("http://localhost/dashboard/".to_owned()))
    );
    // The one of the API's own handler.
    let answer = get(running.address("web"), "/").await.unwrap();
    assert_eq!((answer.status, answer.header("location").as_deref()), (302, Some("/dashboard/")));
    let version = get(running.address("traefik"), "/api/version").await.unwrap().text();
    assert!(version.contains(r#""dashboardName":"Harbour""#), "{version}");
    assert!(version.contains(r#""disableDashboardAd":true"#), "{version}");
    let answer = ask(&running, "web", "POST /dashboard/ HTTP/1.1\r\nContent-Length: 0\r\n").await;
    assert_eq!(answer.status, 405);
    let router =
        get(running.address("traefik"), "/api/http/routers/dashboard@internal").await.unwrap();
    assert!(router.text().contains("9223372036854775805"), "{}", router.text());
}

#[tokio::test]
async fn it_stands_below_the_base_path() {
    let running = start("{insecure: true, basePath: /base}").await;
    whole(&running, "traefik", "/base/dashboard/").await;
    whole(&running, "web", "/base/dashboard/").await;
    let answer = get(running.address("traefik"), "/base/").await.unwrap();
    let location = answer.header("location");
    assert_eq!(
        (answer.status, location.as_deref()),
        (301, Some("http://localhost/base/dashboard/"))
    );
    for (prefix, location) in [
        ("", "/base/dashboard/"),
        ("X-Forwarded-Prefix: /pre/\r\n", "/pre/base/dashboard/"),
        ("X-Forwarded-Prefix: https://evil.test/\r\n", "/base/dashboard/"),
        ("X-Forwarded-Prefix: //evil.test\r\n", "/base/dashboard/"),
    ] {
        let answer = ask(&running, "web", &format!("GET /base HTTP/1.1\r\n{prefix}")).await;
        assert_eq!(
            (answer.status, answer.header("location").as_deref()),
            (302, Some(location)),
            "{prefix}"
        );
    }
    assert_eq!(get(running.address("traefik"), "/dashboard/").await.unwrap().status, 404);
}

#[tokio::test]
async fn it_can_be_left_out() {
    let running = start("{insecure: true, dashboard: false}").await;
    for entry_point in ["traefik", "web"] {
        for path in ["/", "/dashboard/", "/dashboard/app.js"] {
            let answer = get(running.address(entry_point), path).await.unwrap();
            assert_eq!(answer.status, 404, "{entry_point} {path}");
        }
    }
    let services = get(running.address("traefik"), "/api/http/services").await.unwrap().text();
    assert!(!services.contains("dashboard@internal"), "{services}");
}
