//! The short run of the gate: real processes, killed under load.

use std::path::Path;
use std::process::Command;

/// Fixed, so that the gate does the same each time; `pontoon-jepsen run` finds others.
const SEED: &str = "20";

#[test]
fn nothing_is_lost_when_peers_are_killed_under_load() {
    let own = Path::new(env!("CARGO_BIN_EXE_pontoon-jepsen"));
    let proxy = own.with_file_name("pontoon");
    assert!(
        std::env::var_os("PONTOON_BIN").is_some() || proxy.is_file(),
        "there is no {}: build the proxy first with `cargo build`",
        proxy.display()
    );
    let output = Command::new(own).args(["run", "--seed", SEED, "--kills", "10"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    assert!(told.contains("all held"), "{told}");
}
