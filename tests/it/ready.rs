//! How a supervisor learns that the program is ready: the file, `/ping`, `/ready`, `pontoon healthcheck`.

use std::process::Command;

use crate::support::running::{Running, free_address, get};

#[tokio::test]
async fn the_ready_file_names_every_entry_point_and_ready_answers() {
    let address = free_address();
    let startup = format!(
        "
entryPoints:
  web: {{address: '127.0.0.1:0'}}
  health: {{address: '{address}'}}
ping: {{entryPoint: health}}
"
    );
    let running = Running::start_in(Running::prepare(&startup, &[])).await;
    let health = running.address("health");
    assert_eq!(health.to_string(), address);
    assert_ne!(running.address("web").port(), 0);
    let ping = get(health, "/ping").await.unwrap();
    assert_eq!((ping.status, ping.text().as_str()), (200, "OK"));
    let ready = get(health, "/ready").await.unwrap();
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\n"));
    assert_eq!(get(running.address("web"), "/ping").await.unwrap().status, 404);
    let check = Command::new(env!("CARGO_BIN_EXE_pontoon"))
        .args(["healthcheck", "--configFile=pontoon.yml"])
        .current_dir(running.folder.path())
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
}

#[tokio::test]
async fn healthcheck_fails_where_nothing_runs() {
    let address = free_address();
    let startup = format!(
        "
entryPoints:
  traefik: {{address: '{address}'}}
ping: {{}}
"
    );
    let folder = Running::prepare(&startup, &[]);
    let check = Command::new(env!("CARGO_BIN_EXE_pontoon"))
        .args(["healthcheck", "--configFile=pontoon.yml"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(1), "{check:?}");
}
