//! The program's commands and what it does not start with (static.md §1).

use std::path::Path;
use std::process::Output;

use tokio::process::Command;
use tokio::time::timeout;

use crate::support::running::PATIENCE;

/// Runs the program in `folder` to its end.
async fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontoon"));
    command.args(arguments).env_clear().env("HOME", folder).current_dir(folder);
    let running = command.envs(environment.iter().copied()).kill_on_drop(true).output();
    timeout(PATIENCE, running).await.expect("it ends").unwrap()
}

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(all).unwrap()
}

/// static.md §1, commands: `version`, and `--help` with `Usage:`.
#[tokio::test]
async fn version_and_help_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for (argument, part) in [
        ("version", concat!("Version:      ", env!("CARGO_PKG_VERSION"))),
        ("--help", "Usage: pontoon"),
    ] {
        let output = run(folder.path(), &[argument], &[]).await;
        assert!(output.status.success() && text(&output).contains(part), "{}", text(&output));
    }
}

/// static.md §1, unknown keys: below a known root they end the start, in files, flags and the environment.
#[tokio::test]
async fn a_key_that_nobody_knows_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("named.yml");
    std::fs::write(&file, "entryPoints: {web: {adress: ':0'}}\nunknownRoot: 1\n").unwrap();
    let variable = [("TRAEFIK_ENTRYPOINTS_WEB_ADRESS", ":0")];
    for (arguments, environment) in [
        (&["--configFile=named.yml"][..], &[][..]),
        (&["--entryPoints.web.adress=:0"], &[]),
        (&[], &variable),
    ] {
        let output = run(folder.path(), arguments, environment).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output));
        let said = text(&output).to_lowercase();
        assert!(said.contains("field not found, node: adress"), "{arguments:?}: {said}");
    }
}
