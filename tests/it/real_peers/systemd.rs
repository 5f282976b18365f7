//! systemd-socket-activate: a socket that is there before the program is.

use std::time::Duration;

use super::program;
use crate::support::running::{Running, echo, eventually, everything_to, free_address, get};

const STARTUP: &str = "
entryPoints: {web: {address: '127.0.0.1:1'}}
providers: {file: {directory: dynamic}}
";

/// static.md §3: systemd socket activation.
#[tokio::test]
async fn systemd_socket_activate_starts_it_with_the_first_connection() {
    let (_backend, address) = echo("app", "http").await;
    let dynamic = everything_to(&format!("http://{address}"));
    let folder = Running::prepare(STARTUP, &[("app.yml", &dynamic)]);
    let web = free_address();
    let _child = program("systemd-socket-activate", "systemd")
        .args([
            "--listen",
            &web,
            "--fdname=web",
            env!("CARGO_BIN_EXE_pontoon"),
            "--configFile=pontoon.yml",
        ])
        .current_dir(folder.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let web = web.parse().unwrap();
    let answer = eventually("an answer", || async {
        let answer =
            tokio::time::timeout(Duration::from_secs(5), get(web, "/")).await.ok()?.ok()?;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert!(answer.text().contains("app"), "{}", answer.text());
}
