//! `pontoon check`: exit codes, and messages that say where and what to do.

use std::process::Command;

use crate::support::running::{CERTIFICATE, Running, STARTUP, everything_to};

/// Exit code and output for the files `dynamic`, with `arguments`.
fn check(dynamic: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let folder = Running::prepare(STARTUP, dynamic);
    let output = Command::new(env!("CARGO_BIN_EXE_pontoon"))
        .arg("check")
        .args(arguments)
        .arg("pontoon.yml")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

#[test]
fn a_good_installation_passes() {
    let app = everything_to("http://127.0.0.1:9") + CERTIFICATE;
    let (code, text) = check(&[("app.yml", &app)], &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("2 files, 0 errors"), "{text}");
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_what_was_meant() {
    let bad = "http:\n  routers:\n    shop:\n      rul: 'Host(`a`)'\n      service: app\n";
    let (code, text) = check(&[("app.yml", bad)], &[]);
    assert_eq!(code, Some(1), "{text}");
    for part in ["app.yml:4", "rul", "rule"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[test]
fn a_file_that_does_not_parse_is_named_with_its_line() {
    let (code, text) = check(&[("a.toml", "[http]\n[http.routers\n")], &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("a.toml:2"), "{text}");
}

#[test]
fn unknown_services_and_wrong_rules_are_named_with_their_router() {
    let bad = "
http:
  routers:
    lost: {rule: 'Host(`a`)', service: nowhere}
    wrong: {rule: 'Hots(`a`)', service: app}
  services:
    app: {loadBalancer: {servers: [{url: 'http://127.0.0.1:9'}]}}
";
    let (code, text) = check(&[("app.yml", bad)], &[]);
    assert_eq!(code, Some(1), "{text}");
    for part in ["lost@file", "nowhere", "wrong@file", "Hots"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[test]
fn warnings_fail_only_when_asked() {
    let doubled = everything_to("http://127.0.0.1:9");
    let files = [("a.yml", doubled.as_str()), ("b.yml", doubled.as_str())];
    let (code, text) = check(&files, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("warning: ") && text.contains("b.yml"), "{text}");
    let (code, text) = check(&files, &["--strict"]);
    assert_eq!(code, Some(2), "{text}");
}

#[test]
fn a_wrong_flag_in_the_startup_file_is_an_error() {
    let folder = Running::prepare("entryPoints:\n  web:\n    adress: ':80'\n", &[]);
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_pontoon"))
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        )
    };
    // Starting says the same as checking.
    for arguments in [&["check", "pontoon.yml"][..], &["--configFile=pontoon.yml"]] {
        let (code, text) = run(arguments);
        assert_eq!(code, Some(1), "{text}");
        for part in ["pontoon.yml:3", "adress", "address"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
}
