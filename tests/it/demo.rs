//! `pontoon demo`: three peers come up, agree, serve, and leave nothing behind.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::support::h1::Reader;
use crate::support::running::eventually;

/// Longest wait for the demo to be up and for its end.
const PATIENCE: Duration = Duration::from_secs(90);

fn demo(folder: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontoon"));
    command
        .arg("demo")
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn assert_nothing_left(folder: &tempfile::TempDir) {
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[tokio::test]
async fn demo_starts_three_peers_that_serve_and_ends_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let run = demo(&folder).arg("--once").output();
    let output = tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{wrong}");
    for peer in ["edge-1", "edge-2", "edge-3"] {
        let answer = told.lines().find(|line| line.starts_with(&format!("{peer}: ")));
        assert!(answer.is_some_and(|line| line.contains("answers /")), "{told}");
    }
    assert_nothing_left(&folder);
}

/// Reads what the demo prints until a line begins with `last`.
async fn read_until(lines: &mut Lines<BufReader<ChildStdout>>, last: &str) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line.expect("a line in time").unwrap();
        told.push(line.unwrap_or_else(|| panic!("it ends before `{last}`: {told:?}")));
        if told.last().is_some_and(|line| line.starts_with(last)) {
            return told;
        }
    }
}

async fn serves(web: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(web).await else { return false };
    let request = "GET / HTTP/1.1\r\nHost: demo.localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = Reader::new(stream).head().await;
    head.is_ok_and(|head| head.is_some_and(|head| head.start.starts_with("HTTP/1.1 200")))
}

/// A printed command, run as whoever pastes it into a shell does, from anywhere.
fn pasted(line: &str) -> Child {
    Command::new("sh")
        .args(["-c", line.trim()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn the_printed_lines_kill_a_peer_and_bring_it_back() {
    let folder = tempfile::Builder::new().prefix("with a space ").tempdir().unwrap();
    let mut child = demo(&folder).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = read_until(&mut lines, "Ctrl-C").await;
    let found = |mark: &str| {
        let line = told.iter().find(|line| line.contains(mark));
        line.unwrap_or_else(|| panic!("no `{mark}`: {told:?}")).trim().to_owned()
    };
    let web = |peer: &str| {
        let line = found(&format!("{peer}   traffic http://"));
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        address.unwrap().to_owned()
    };
    let (first, third) = (web("edge-1"), web("edge-3"));
    assert!(serves(&third).await);

    assert!(pasted(&found("kill -9 ")).wait().await.unwrap().success());
    read_until(&mut lines, "edge-3 ended").await;
    assert!(TcpStream::connect(&third).await.is_err(), "it is gone");
    assert!(serves(&first).await, "the others go on");

    let mut back = pasted(&found("--configFile="));
    eventually("the peer serves again", || async { serves(&third).await.then_some(()) }).await;
    let group = back.id().unwrap();
    assert!(pasted(&format!("kill -s KILL -- -{group}")).wait().await.unwrap().success());
    back.wait().await.unwrap();

    let stop = format!("kill -INT {}", child.id().unwrap());
    assert!(pasted(&stop).wait().await.unwrap().success());
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap();
    assert!(ended.success(), "{ended}");
    assert_nothing_left(&folder);
}
