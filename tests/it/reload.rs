//! Changes of files while the program runs: each way of writing is seen, and no connection is lost.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;

use crate::support::h1::Reader;
use crate::support::running::{
    CERTIFICATE, Running, STARTUP, ask, echo, eventually, everything_to, get, write_certificate,
};

/// A router and a service named `name`, for the path `/NAME`; the rule is longer than that for everything.
fn part(name: &str, address: &str) -> String {
    format!(
        "
http:
  routers:
    {name}: {{rule: 'Path(`/{name}`) && Method(`GET`)', service: {name}}}
  services:
    {name}: {{loadBalancer: {{servers: [{{url: 'http://{address}'}}]}}}}
"
    )
}

async fn answered_by(running: &Running, path: &str, name: &str) {
    running.until(path, |answer| answer.header("x-backend").as_deref() == Some(name)).await;
}

#[tokio::test]
async fn an_edit_a_rename_in_its_place_a_new_and_a_deleted_file_are_seen() {
    let ((_one, first), (_two, second)) = (echo("one", "http").await, echo("two", "http").await);
    let (to_first, to_second) =
        (everything_to(&format!("http://{first}")), everything_to(&format!("http://{second}")));
    let running = Running::start(STARTUP, &[("app.yml", &to_first)]).await;
    answered_by(&running, "/", "one").await;
    fs::write(running.path("dynamic/app.yml"), &to_second).unwrap();
    answered_by(&running, "/", "two").await;
    fs::write(running.path("dynamic/.app.yml.swp"), &to_first).unwrap();
    fs::rename(running.path("dynamic/.app.yml.swp"), running.path("dynamic/app.yml")).unwrap();
    answered_by(&running, "/", "one").await;
    fs::write(running.path("dynamic/more.yml"), part("more", &second)).unwrap();
    answered_by(&running, "/more", "two").await;
    fs::remove_file(running.path("dynamic/more.yml")).unwrap();
    answered_by(&running, "/more", "one").await;
}

#[tokio::test]
async fn a_single_file_replaced_by_rename_is_seen() {
    let ((_one, first), (_two, second)) = (echo("one", "http").await, echo("two", "http").await);
    let startup = STARTUP.replace("directory: dynamic", "filename: dynamic/app.yml");
    let app = everything_to(&format!("http://{first}"));
    let running = Running::start(&startup, &[("app.yml", &app)]).await;
    for (address, name) in [(&second, "two"), (&first, "one")] {
        fs::write(running.path("new"), everything_to(&format!("http://{address}"))).unwrap();
        fs::rename(running.path("new"), running.path("dynamic/app.yml")).unwrap();
        answered_by(&running, "/", name).await;
    }
}

/// What kubelet does: a new hidden folder, and `..data` renamed to lead there.
fn swap(folder: &Path, version: &str, text: &str) {
    let data = folder.join(format!("..{version}"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("app.yml"), text).unwrap();
    symlink(format!("..{version}"), folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn kubernetes_swap_of_symlinks_is_seen() {
    for source in ["directory: dynamic", "filename: dynamic/app.yml"] {
        let ((_one, first), (_two, second)) =
            (echo("one", "http").await, echo("two", "http").await);
        let folder = Running::prepare(&STARTUP.replace("directory: dynamic", source), &[]);
        let dynamic = folder.path().join("dynamic");
        swap(&dynamic, "2026_01", &everything_to(&format!("http://{first}")));
        symlink("..data/app.yml", dynamic.join("app.yml")).unwrap();
        let running = Running::start_in(folder).await;
        answered_by(&running, "/", "one").await;
        swap(&dynamic, "2026_02", &everything_to(&format!("http://{second}")));
        fs::remove_dir_all(dynamic.join("..2026_01")).unwrap();
        answered_by(&running, "/", "two").await;
    }
}

#[tokio::test]
async fn a_bad_file_keeps_its_last_content_while_others_go_live() {
    let ((_one, first), (_two, second)) = (echo("one", "http").await, echo("two", "http").await);
    let files = [("a.yml", part("a", &first)), ("b.yml", part("b", &first))];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let running = Running::start_in(Running::prepare(STARTUP, &files)).await;
    answered_by(&running, "/a", "one").await;
    answered_by(&running, "/b", "one").await;
    fs::write(running.path("dynamic/a.yml"), "http:\n  routes: {}\n").unwrap();
    fs::write(running.path("dynamic/b.yml"), part("b", &second)).unwrap();
    answered_by(&running, "/b", "two").await;
    assert_eq!(
        get(running.address("web"), "/a").await.unwrap().header("x-backend").as_deref(),
        Some("one")
    );
    eventually("a line that names the file", || async {
        running.output().contains("a.yml:2").then_some(())
    })
    .await;
    fs::write(running.path("dynamic/a.yml"), part("a", &second)).unwrap();
    answered_by(&running, "/a", "two").await;
}

#[tokio::test]
async fn keep_alive_and_websocket_connections_survive() {
    let ((_one, first), (_two, second)) = (echo("one", "http").await, echo("two", "http").await);
    let running = Running::before(&format!("http://{first}")).await;
    let web = running.address("web");
    let mut kept = Reader::new(TcpStream::connect(web).await.unwrap());
    assert_eq!(ask(&mut kept, "/").await.unwrap().header("x-backend").as_deref(), Some("one"));
    let stream = TcpStream::connect(web).await.unwrap();
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("ws://{web}/chat"), stream).await.unwrap();
    socket.send(Message::text("before")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("one: before"));
    fs::write(running.path("dynamic/app.yml"), everything_to(&format!("http://{second}"))).unwrap();
    answered_by(&running, "/", "two").await;
    assert_eq!(
        ask(&mut kept, "/").await.unwrap().header("x-backend").as_deref(),
        Some("two"),
        "the next request of an open connection goes by the new plan"
    );
    socket.send(Message::text("after")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("one: after"));
}

async fn tls(
    running: &Running,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<Reader<tokio_rustls::client::TlsStream<TcpStream>>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(running.address("secure")).await?;
    let name = ServerName::try_from("localhost").unwrap();
    Ok(Reader::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

#[tokio::test]
async fn a_certificate_is_replaced_without_dropping_a_connection() {
    let (_one, address) = echo("one", "http").await;
    let app = everything_to(&format!("http://{address}")) + CERTIFICATE;
    let folder = Running::prepare(STARTUP, &[("app.yml", &app)]);
    let old = write_certificate(folder.path());
    let running = Running::start_in(folder).await;
    let mut kept =
        eventually("the first certificate", || async { tls(&running, &old).await.ok() }).await;
    assert_eq!(ask(&mut kept, "/").await.unwrap().status, 200);
    let new = write_certificate(running.folder.path());
    // As after `certbot renew`: the configuration file is touched.
    fs::write(running.path("dynamic/app.yml"), &app).unwrap();
    let mut fresh =
        eventually("the second certificate", || async { tls(&running, &new).await.ok() }).await;
    assert_eq!(ask(&mut fresh, "/").await.unwrap().status, 200);
    assert_eq!(ask(&mut kept, "/").await.unwrap().status, 200, "the old connection still works");
    assert!(tls(&running, &old).await.is_err(), "the old certificate is gone");
}

/// static.md §5, `providers.file.watch` and SIGHUP: without watching, an edit counts once it is asked for.
#[tokio::test]
async fn without_watch_an_edit_counts_after_a_hangup() {
    let ((_one, first), (_two, second)) = (echo("one", "http").await, echo("two", "http").await);
    let startup = STARTUP.replace("directory: dynamic", "directory: dynamic, watch: false");
    let running =
        Running::start(&startup, &[("app.yml", &everything_to(&format!("http://{first}")))]).await;
    fs::write(running.path("dynamic/app.yml"), everything_to(&format!("http://{second}"))).unwrap();
    // Where files are watched, an edit counts within a few hundredths of a second.
    let edited = Instant::now();
    while edited.elapsed() < Duration::from_millis(400) {
        let answer = get(running.address("web"), "/").await.unwrap();
        assert_eq!(answer.header("x-backend").as_deref(), Some("one"));
    }
    running.signal("HUP");
    answered_by(&running, "/", "two").await;
}

/// static.md §5, `providers.providersThrottleDuration`: of two edits, the second waits.
#[tokio::test]
async fn edits_count_no_more_often_than_the_throttle_says() {
    let ((_one, first), (_two, second)) = (echo("one", "http").await, echo("two", "http").await);
    let startup =
        STARTUP.replace("providersThrottleDuration: 20ms", "providersThrottleDuration: 800ms");
    let to = |address: &str| everything_to(&format!("http://{address}"));
    let running = Running::start(&startup, &[("app.yml", &to(&first))]).await;
    fs::write(running.path("dynamic/app.yml"), to(&second)).unwrap();
    answered_by(&running, "/", "two").await;
    let edited = Instant::now();
    fs::write(running.path("dynamic/app.yml"), to(&first)).unwrap();
    answered_by(&running, "/", "one").await;
    assert!(edited.elapsed() > Duration::from_millis(600), "{:?}", edited.elapsed());
}
