//! `forwardAuth` as clients, servers and authenticators see it: the rows that no fixture shows.

use std::net::SocketAddr;

use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpStream;

use crate::support::backend::{Backend, Record};
use crate::support::h1::{Reader, joined};
use crate::support::running::{Answer, Running, STARTUP, echo, eventually, free_address, send};

/// The program before the server `app`, with a router for `PathPrefix(/NAME)` and each `(NAME, options of forwardAuth)`;
/// `AUTH` stands for the authenticator's `host:port`.
struct Guarded {
    running: Running,
    app: Backend,
    auth: Backend,
    auth_address: String,
}

impl Guarded {
    async fn start(startup: &str, routes: &[(&str, &str)]) -> Self {
        let (app, app_address) = echo("app", "http").await;
        let (auth, auth_address) = echo("auth", "http").await;
        let (mut routers, mut middlewares) = (String::new(), String::new());
        for (name, options) in routes {
            let options = options.replace("AUTH", &auth_address);
            routers.push_str(&format!(
                "    {name}: {{rule: 'PathPrefix(`/{name}`)', service: app, middlewares: [{name}]}}\n"
            ));
            middlewares.push_str(&format!("    {name}: {{forwardAuth: {{{options}}}}}\n"));
        }
        let dynamic = format!(
            "
http:
  routers:
    open: {{rule: 'Path(`/`)', service: app}}
{routers}  middlewares:
{middlewares}  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://{app_address}'}}]}}}}
"
        );
        let running = Running::start(startup, &[("app.yml", &dynamic)]).await;
        app.reset();
        Self { running, app, auth, auth_address }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        ask(self.running.address("web"), method, path, headers, body).await
    }

    /// What the authenticator has been asked last.
    fn asked(&self) -> Record {
        self.auth.all(0).pop().unwrap()
    }
}

async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: shop.test\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let mut reader = Reader::new(TcpStream::connect(address).await.unwrap());
    send(&mut reader, format!("{request}\r\n{body}").as_bytes()).await.unwrap()
}

fn told(record: &Record, name: &str) -> Option<String> {
    joined(&record.headers, name)
}

#[tokio::test]
async fn forward_body_sends_the_body_along_up_to_max_body_size() {
    let guarded = Guarded::start(
        STARTUP,
        &[
            ("body", "address: 'http://AUTH/', forwardBody: true, maxBodySize: 5"),
            ("none", "address: 'http://AUTH/'"),
        ],
    )
    .await;
    let answer = guarded.ask("POST", "/body", &[("Expect", "100-continue")], "12345").await;
    assert_eq!((answer.status, answer.header("x-backend").as_deref()), (200, Some("app")));
    let asked = guarded.asked();
    assert_eq!((asked.method.as_str(), asked.body.as_slice()), ("GET", b"12345".as_slice()));
    assert_eq!(guarded.app.all(0).pop().unwrap().body, b"12345");
    let before = guarded.app.count();
    let refused = guarded.ask("POST", "/body", &[], "123456").await;
    assert_eq!((refused.status, refused.body.len(), guarded.app.count()), (401, 0, before));
    assert_eq!(guarded.ask("POST", "/none", &[], "123456").await.status, 200);
    let asked = guarded.asked();
    assert_eq!((asked.body.len(), told(&asked, "content-length")), (0, None));
}

#[tokio::test]
async fn max_response_body_size_refuses_larger_answers() {
    let guarded = Guarded::start(
        STARTUP,
        &[
            ("small", "address: 'http://AUTH/__bytes/11', maxResponseBodySize: 10"),
            ("large", "address: 'http://AUTH/__bytes/11', maxResponseBodySize: 11"),
        ],
    )
    .await;
    let refused = guarded.ask("GET", "/small", &[], "").await;
    assert_eq!((refused.status, refused.body.len()), (401, 0));
    assert_eq!(guarded.ask("GET", "/large", &[], "").await.status, 200);
}

#[tokio::test]
async fn redirects_of_the_authenticator_go_to_the_client() {
    let address = "address: 'http://AUTH/in/__status/302/__header/Location/login'";
    let kept = format!("{address}, preserveLocationHeader: true");
    let guarded = Guarded::start(STARTUP, &[("absolute", address), ("kept", &kept)]).await;
    let answer = guarded.ask("GET", "/absolute", &[], "").await;
    assert_eq!((answer.status, guarded.auth.count()), (302, 1));
    let folder = format!("http://{}/in/__status/302/__header/Location", guarded.auth_address);
    assert_eq!(answer.header("location"), Some(format!("{folder}/login")));
    let answer = guarded.ask("GET", "/kept", &[], "").await;
    assert_eq!((answer.status, answer.header("location").as_deref()), (302, Some("login")));
}

#[tokio::test]
async fn cookies_of_the_authenticator_replace_the_servers() {
    let options = "address: 'http://AUTH/__header/Set-Cookie/session=new', preserveRequestMethod: true, \
                   addAuthCookiesToResponse: [session]";
    let guarded = Guarded::start(STARTUP, &[("shop", options)]).await;
    let path = "/shop/__header/Set-Cookie/session=old/__header/Set-Cookie/cart=7";
    let answer = guarded.ask("DELETE", path, &[], "").await;
    assert_eq!(answer.status, 200);
    let cookies: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(cookies, ["cart=7", "session=new"]);
    assert_eq!(guarded.asked().method, "DELETE");
}

#[tokio::test]
async fn the_authenticator_is_told_what_the_entry_point_believes() {
    let startup =
        STARTUP.replacen("'127.0.0.1:0'", "'127.0.0.1:0', forwardedHeaders: {insecure: true}", 1);
    let guarded = Guarded::start(
        &startup,
        &[
            ("all", "address: 'http://AUTH/', trustForwardHeader: true"),
            ("none", "address: 'http://AUTH/', trustForwardHeader: false"),
            ("unsaid", "address: 'http://AUTH/'"),
        ],
    )
    .await;
    let sent = [
        ("X-Forwarded-For", "10.0.0.9"),
        ("X-Forwarded-Host", "forged.test"),
        ("X-Forwarded-Uri", "/forged"),
        ("X-Forwarded-Prefix", "/prefix"),
        ("Connection", "X-Hop"),
        ("X-Hop", "1"),
        ("TE", "trailers"),
    ];
    for (path, for_, host, uri, prefix) in [
        ("/all", "10.0.0.9, 127.0.0.1", "forged.test", "/forged", Some("/prefix")),
        ("/none", "127.0.0.1", "shop.test", "/none?q", None),
        ("/unsaid", "127.0.0.1", "shop.test", "/unsaid?q", Some("/prefix")),
    ] {
        assert_eq!(guarded.ask("GET", &format!("{path}?q"), &sent, "").await.status, 200);
        let asked = guarded.asked();
        assert_eq!(told(&asked, "x-forwarded-for").as_deref(), Some(for_), "{path}");
        assert_eq!(told(&asked, "x-forwarded-host").as_deref(), Some(host), "{path}");
        assert_eq!(told(&asked, "x-forwarded-uri").as_deref(), Some(uri), "{path}");
        assert_eq!(told(&asked, "x-forwarded-prefix").as_deref(), prefix, "{path}");
        assert_eq!(told(&asked, "host"), Some(guarded.auth_address.clone()), "{path}");
        for hop in ["x-hop", "te", "connection"] {
            assert_eq!(told(&asked, hop), None, "{path} {hop}");
        }
    }
}

#[tokio::test]
async fn tls_options_say_whom_to_trust() {
    let address = free_address();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let identity = (vec![made.cert.der().clone()], key);
    let _auth = Backend::start("auth", "https", &address, Some(identity), None).await;
    let authority = tempfile::tempdir().unwrap();
    let file = authority.path().join("auth.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let url = format!("address: 'https://{address}/'");
    let (known, skipped) = (
        format!("{url}, tls: {{ca: '{}'}}", file.display()),
        format!("{url}, tls: {{insecureSkipVerify: true}}"),
    );
    let routes = [("known", known.as_str()), ("skipped", &skipped), ("unknown", &url)];
    let guarded = Guarded::start(STARTUP, &routes).await;
    for (path, status) in [("/known", 200), ("/skipped", 200), ("/unknown", 500)] {
        assert_eq!(guarded.ask("GET", path, &[], "").await.status, status, "{path}");
    }
}

#[tokio::test]
async fn header_field_names_the_user_in_the_access_log() {
    let startup = format!("{STARTUP}accessLog: {{format: json, filePath: access.log}}\n");
    let options = "address: 'http://AUTH/__auth', headerField: X-Auth-User";
    let guarded = Guarded::start(&startup, &[("user", options)]).await;
    let bearer = [("Authorization", "Bearer good-ann")];
    assert_eq!(guarded.ask("GET", "/user", &bearer, "").await.status, 200);
    let log = guarded.running.path("access.log");
    eventually("the user's name in the access log", || async {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains(r#""ClientUsername":"ann""#).then_some(())
    })
    .await;
}
