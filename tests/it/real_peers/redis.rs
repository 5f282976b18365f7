//! Redis, where peers share the buckets of a rate limit: one server, with a password and over TLS, and a cluster.

use std::path::Path;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::{output, program};
use crate::support::h1::Reader;
use crate::support::running::{
    Answer, Running, STARTUP, echo, eventually, free_address, send, write_certificate,
};

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

/// A server at `address` that keeps nothing.
async fn redis(folder: &Path, address: &str, arguments: &[&str]) -> Child {
    let log = std::fs::File::create(folder.join(format!("redis-{}.out", port(address)))).unwrap();
    let child = program("redis-server", "redis-server")
        .args(["--bind", "127.0.0.1", "--port", port(address), "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder)
        .args(arguments)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    eventually("redis", || async { TcpStream::connect(address).await.ok() }).await;
    child
}

fn cli(address: &str, arguments: &[&str]) -> Command {
    let mut command = program("redis-cli", "redis-tools");
    command.args(["-p", port(address), "--no-auth-warning"]).args(arguments);
    command
}

/// The program before a server, with a rate limit that Redis keeps: `options` are those of `rateLimit`.
async fn limited(server: &str, options: &str) -> Running {
    let dynamic = format!(
        "
http:
  routers:
    open: {{rule: 'Path(`/`)', service: app}}
    limited: {{rule: 'PathPrefix(`/limited`)', service: app, middlewares: [limit]}}
  middlewares:
    limit: {{rateLimit: {{{options}}}}}
  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://{server}'}}]}}}}
"
    );
    Running::start(STARTUP, &[("app.yml", &dynamic)]).await
}

async fn ask(running: &Running, user: &str) -> Answer {
    let address = running.address("web");
    let mut reader = Reader::new(TcpStream::connect(address).await.unwrap());
    let request = format!("GET /limited HTTP/1.1\r\nHost: localhost\r\nX-User: {user}\r\n\r\n");
    send(&mut reader, request.as_bytes()).await.unwrap()
}

#[tokio::test]
async fn peers_share_the_buckets_of_a_rate_limit() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let file = |name: &str| folder.path().join("tls").join(name).display().to_string();
    let (certificate, key) = (file("cert.pem"), file("key.pem"));
    let (plain, secure) = (free_address(), free_address());
    let mut server = redis(
        folder.path(),
        &plain,
        &[
            "--requirepass",
            "secret",
            "--tls-port",
            port(&secure),
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &certificate,
            "--tls-auth-clients",
            "no",
        ],
    )
    .await;
    let (_backend, app) = echo("app", "http").await;
    let options =
        "average: 1, period: 1h, burst: 3, sourceCriterion: {requestHeaderName: X-User}, redis: ";
    let clear =
        format!("{options}{{endpoints: ['{plain}'], password: secret, db: 2, minIdleConns: 1}}");
    let tls = format!(
        "{options}{{endpoints: ['localhost:{}'], username: default, password: secret, db: 2, poolSize: 2, \
         maxActiveConns: 1, tls: {{ca: '{certificate}'}}}}",
        port(&secure)
    );
    let (one, two) = (limited(&app, &clear).await, limited(&app, &tls).await);
    assert_eq!(ask(&one, "ann").await.status, 200);
    assert_eq!(ask(&two, "ann").await.status, 200, "{}", two.output());
    assert_eq!(ask(&one, "ann").await.status, 200);
    for peer in [&one, &two] {
        let refused = ask(peer, "ann").await;
        assert_eq!((refused.status, refused.text().as_str()), (429, "Too Many Requests"));
        let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&seconds), "{seconds}");
        assert!(refused.header("x-retry-in").unwrap().starts_with("59m"));
    }
    assert_eq!(ask(&two, "bob").await.status, 200);
    let asked = ["-a", "secret", "-n", "2", "hkeys", "rate:limit@file:ann"];
    assert_eq!(output(&mut cli(&plain, &asked)).await, "last\ntokens\n");
    let asked = ["-a", "secret", "-n", "2", "ttl", "rate:limit@file:ann"];
    let left: i64 = output(&mut cli(&plain, &asked)).await.trim().parse().unwrap();
    assert!((10_000..=10_801).contains(&left), "{left}");
    clients_of_redis_show_their_certificates(&app, &plain, port(&secure), &certificate, &key).await;
    server.kill().await.unwrap();
    let failed = ask(&one, "ann").await;
    assert_eq!((failed.status, failed.text().as_str()), (500, "Could not insert/update bucket\n"));
    let _again = redis(folder.path(), &plain, &["--requirepass", "secret"]).await;
    assert_eq!(ask(&one, "ann").await.status, 200, "{}", one.output());
}

/// `redis.tls.cert`, `redis.tls.key`, `redis.tls.insecureSkipVerify`, at a server that wants certificates of clients.
async fn clients_of_redis_show_their_certificates(
    app: &str,
    plain: &str,
    secure: &str,
    certificate: &str,
    key: &str,
) {
    let wanted = ["-a", "secret", "config", "set", "tls-auth-clients", "yes"];
    output(&mut cli(plain, &wanted)).await;
    let own = format!("cert: '{certificate}', key: '{key}'");
    for (endpoint, tls, status) in [
        (format!("localhost:{secure}"), format!("ca: '{certificate}', {own}"), 200),
        (format!("localhost:{secure}"), format!("ca: '{certificate}'"), 500),
        // The certificate of the server is for another name.
        (format!("127.0.0.1:{secure}"), format!("ca: '{certificate}', {own}"), 500),
        (format!("127.0.0.1:{secure}"), format!("insecureSkipVerify: true, {own}"), 200),
    ] {
        let options = format!(
            "average: 1000, redis: {{endpoints: ['{endpoint}'], password: secret, tls: {{{tls}}}}}"
        );
        let running = limited(app, &options).await;
        let answer = ask(&running, "carl").await;
        assert_eq!(answer.status, status, "{endpoint} {tls}: {}", running.output());
    }
}

/// `redis.readTimeout`, `redis.dialTimeout`: a server that does not answer, or not even accept.
#[tokio::test]
async fn a_rate_limit_does_not_wait_for_its_redis_for_ever() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let full = crate::support::full::Full::start().await;
    let (_backend, app) = echo("app", "http").await;
    for (endpoint, option, seconds_by_default) in [
        (silent.local_addr().unwrap().to_string(), "readTimeout", 3),
        (full.address.clone(), "dialTimeout", 5),
    ] {
        let options = format!("average: 1, redis: {{endpoints: ['{endpoint}'], {option}: 300ms}}");
        let running = limited(&app, &options).await;
        let started = tokio::time::Instant::now();
        let failed = ask(&running, "ann").await;
        let failure = (failed.status, failed.text());
        assert_eq!(failure, (500, "Could not insert/update bucket\n".to_owned()), "{option}");
        let (least, most) = (300, seconds_by_default * 1000);
        assert!(
            (least..most).contains(&started.elapsed().as_millis()),
            "{option}: {:?}",
            started.elapsed()
        );
    }
}

#[tokio::test]
async fn the_nodes_of_a_cluster_each_keep_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = [free_address(), free_address()];
    let buses = [free_address(), free_address()];
    let mut children = Vec::new();
    for ((node, bus), slots) in nodes.iter().zip(&buses).zip([("0", "8191"), ("8192", "16383")]) {
        let file = format!("nodes-{}.conf", port(node));
        let arguments = [
            "--cluster-enabled",
            "yes",
            "--cluster-config-file",
            &file,
            "--cluster-port",
            port(bus),
        ];
        children.push(redis(folder.path(), node, &arguments).await);
        output(&mut cli(node, &["cluster", "addslotsrange", slots.0, slots.1])).await;
    }
    let meet = ["cluster", "meet", "127.0.0.1", port(&nodes[0]), port(&buses[0])];
    output(&mut cli(&nodes[1], &meet)).await;
    for node in &nodes {
        eventually("the cluster", || async {
            let info = output(&mut cli(node, &["cluster", "info"])).await;
            info.contains("cluster_state:ok").then_some(())
        })
        .await;
    }
    let (_backend, app) = echo("app", "http").await;
    let options = format!(
        "average: 1, period: 1h, sourceCriterion: {{requestHeaderName: X-User}}, redis: {{endpoints: ['{}', '{}']}}",
        nodes[0], nodes[1]
    );
    let running = limited(&app, &options).await;
    for number in 0..12 {
        let user = format!("user-{number}");
        for status in [200, 429] {
            assert_eq!(ask(&running, &user).await.status, status, "{user}: {}", running.output());
        }
    }
    for node in &nodes {
        let keys = output(&mut cli(node, &["dbsize"])).await;
        assert_ne!(keys.trim(), "0");
    }
}
