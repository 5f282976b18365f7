//! SIGTERM: no accepted request is lost within its grace time.

use tokio::net::TcpStream;

use crate::support::h1::Reader;
use crate::support::running::{Running, STARTUP, ask, echo, eventually, everything_to, get};

#[tokio::test]
async fn requests_in_flight_finish_and_new_connections_are_refused() {
    let (backend, address) = echo("app", "http").await;
    let mut running = Running::before(&format!("http://{address}")).await;
    let web = running.address("web");
    let mut idle = Reader::new(TcpStream::connect(web).await.unwrap());
    ask(&mut idle, "/").await.unwrap();
    let mark = backend.count();
    let in_flight = tokio::spawn(async move { get(web, "/__delay/1000").await });
    eventually("the request", || async { (backend.count() > mark).then_some(()) }).await;
    running.signal("TERM");
    eventually("a refused connection", || async { TcpStream::connect(web).await.err() }).await;
    assert!(!in_flight.is_finished(), "the request is still under way");
    let answer = in_flight.await.unwrap().expect("the request in flight is answered");
    assert_eq!((answer.status, answer.header("connection").as_deref()), (200, Some("close")));
    assert!(ask(&mut idle, "/").await.is_err(), "an idle connection is closed");
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.output());
}

#[tokio::test]
async fn requests_are_cut_off_after_the_grace_time() {
    let (backend, address) = echo("app", "http").await;
    let startup = STARTUP.replace(
        "web: {address: '127.0.0.1:0'}",
        "web: {address: '127.0.0.1:0', transport: {lifeCycle: {graceTimeOut: 200ms}}}",
    );
    let app = everything_to(&format!("http://{address}"));
    let mut running = Running::start(&startup, &[("app.yml", &app)]).await;
    let web = running.address("web");
    let mark = backend.count();
    let in_flight = tokio::spawn(async move { get(web, "/__delay/60000").await });
    eventually("the request", || async { (backend.count() > mark).then_some(()) }).await;
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.output());
    assert!(in_flight.await.unwrap().is_err());
}

#[tokio::test]
async fn ping_says_so_while_requests_are_still_accepted() {
    let (_backend, address) = echo("app", "http").await;
    let startup = STARTUP.replace(
        "web: {address: '127.0.0.1:0'}",
        "web: {address: '127.0.0.1:0', transport: {lifeCycle: {requestAcceptGraceTimeout: 1s}}}",
    ) + "ping: {entryPoint: web}\n";
    let app = everything_to(&format!("http://{address}"));
    let mut running = Running::start(&startup, &[("app.yml", &app)]).await;
    let web = running.address("web");
    assert_eq!(get(web, "/ping").await.unwrap().status, 200);
    assert_eq!(get(web, "/ready").await.unwrap().status, 200);
    running.signal("TERM");
    let answer = running.until("/ping", |answer| answer.status != 200).await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "Service Unavailable"));
    let ready = get(web, "/ready").await.unwrap();
    assert_eq!((ready.status, ready.text().trim()), (503, "draining"));
    assert_eq!(get(web, "/work").await.unwrap().status, 200, "a new connection is still served");
    assert_eq!(running.ended().await.code(), Some(0), "{}", running.output());
    assert!(TcpStream::connect(web).await.is_err());
}
