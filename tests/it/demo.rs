//! `pontoon demo`: three peers come up, agree, serve, and leave nothing behind.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

#[tokio::test]
async fn demo_starts_three_peers_that_serve_and_ends_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_pontoon"))
        .args(["demo", "--once"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(90), run).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{wrong}");
    for peer in ["edge-1", "edge-2", "edge-3"] {
        let answer = told.lines().find(|line| line.starts_with(&format!("{peer}: ")));
        assert!(answer.is_some_and(|line| line.contains("answers /")), "{told}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
