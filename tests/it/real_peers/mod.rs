//! Programs that others wrote, as clients, in front and behind: what they take for right is right.
//!
//! They are Debian packages; `tests/run` installs them.

mod curl;
mod grpc;
mod haproxy;
mod nghttp2;
mod ngtcp2;
mod ocsp;
mod openssl;
mod redis;
mod systemd;
mod websocket;

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::running::PATIENCE;

/// Debian's own interpreter: another one does not see Debian's modules.
const PYTHON: &str = "/usr/bin/python3";

/// A command of the Debian package `package`.
fn program(name: &str, package: &str) -> Command {
    let found = name.starts_with('/').then(|| PathBuf::from(name)).or_else(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into()])
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    });
    let Some(found) = found.filter(|file| file.is_file()) else {
        panic!("{name} is missing: apt-get install {package}");
    };
    let mut command = Command::new(found);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A Python script of this folder, which needs `package`.
fn python(script: &str, module: &str, package: &str) -> Command {
    let there = std::process::Command::new(PYTHON)
        .args(["-c", &format!("import {module}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(there, "Python's {module} is missing: apt-get install {package}");
    let mut command = program(PYTHON, "python3");
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/real_peers");
    command.arg(folder.join(script));
    command
}

/// Runs a command to its end; its output, errors included. It must succeed.
async fn output(command: &mut Command) -> String {
    let shown = format!("{:?}", command.as_std());
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .unwrap_or_else(|_| panic!("{shown} does not end"))
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown} ended with {}: {text}", output.status);
    text
}

/// Starts a server that prints its port on its first line.
async fn server(command: &mut Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    (child, format!("127.0.0.1:{port}"))
}
