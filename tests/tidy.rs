//! The rules of ARCHITECTURE.md and docs/STYLE.md that a program can check: layers, homes of dependencies, sizes of
//! files, registries, and the map of folders.

#![expect(clippy::string_slice, clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Lines that a file may have; tests in `tests.rs` files are not counted.
const LINES_MAX: usize = 800;

/// Which modules a module may name with `crate::`, from "Who may use whom". `config::value` and the like stand for
/// row 1 and are open to all; option types look downwards, as the page says.
const LAYERS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("cores", &[]),
    ("hex", &[]),
    ("systemd", &["task"]),
    ("task", &[]),
    ("timer", &["cores", "task"]),
    ("observe", &["config", "http", "cores", "clock", "task", "timer", "hex"]),
    ("http", &["config", "clock", "cores", "task", "timer", "observe"]),
    ("tls", &["config", "clock", "http", "hex"]),
    ("upstream", &["config", "clock", "hex", "cores", "task", "timer", "http", "tls", "observe"]),
    ("router", &["config", "http"]),
    (
        "middleware",
        &["config", "clock", "hex", "cores", "task", "timer", "http", "tls", "observe", "upstream"],
    ),
    (
        "service",
        &["config", "clock", "hex", "cores", "task", "timer", "http", "tls", "observe", "upstream"],
    ),
    ("tcp", &["config", "http", "tls", "upstream", "task", "timer", "service"]),
    ("udp", &["config", "task", "timer", "upstream", "service"]),
    (
        "plan",
        &[
            "config",
            "http",
            "router",
            "tls",
            "service",
            "middleware",
            "tcp",
            "udp",
            "cores",
            "observe",
        ],
    ),
    (
        "compile",
        &[
            "config",
            "http",
            "router",
            "tls",
            "service",
            "middleware",
            "tcp",
            "udp",
            "upstream",
            "plan",
            "entrypoint",
            "observe",
            "clock",
            "hex",
            "cores",
        ],
    ),
    (
        "entrypoint",
        &[
            "config", "plan", "http", "tls", "tcp", "udp", "router", "observe", "cores", "task",
            "timer", "clock",
        ],
    ),
    ("provider", &["config", "upstream", "task", "clock", "hex", "tls", "http", "middleware"]),
    ("acme", &["config", "plan", "upstream", "task", "clock"]),
    (
        "control",
        &[
            "config",
            "provider",
            "acme",
            "compile",
            "entrypoint",
            "plan",
            "task",
            "clock",
            "observe",
            "service",
            "router",
            "middleware",
            "upstream",
            "tls",
            "tcp",
            "udp",
        ],
    ),
];

/// Crates that only their home may name (ARCHITECTURE.md).
const HOMES: &[(&str, &[&str])] = &[
    (
        "openraft",
        &[
            "cluster/src/raft",
            "cluster/src/transport",
            "cluster/src/codec.rs",
            "cluster/src/peer.rs",
            "cluster/src/start.rs",
        ],
    ),
    ("sled", &["cluster/src/store"]),
    ("tonic", &["cluster/src/transport", "cluster/src/codec.rs", "cluster/build.rs"]),
    ("hyper", &["src/http", "src/upstream", "src/entrypoint"]),
    ("hyper_util", &["src/http", "src/upstream", "src/entrypoint", "cluster/src/transport"]),
    ("quinn", &["src/http/h3", "src/entrypoint"]),
    ("quinn_proto", &["src/tls/quic.rs"]),
    ("prometheus", &["src/observe"]),
    ("hickory_resolver", &["src/entrypoint/host_resolver.rs"]),
    ("x509_ocsp", &["src/tls/ocsp.rs", "src/tls/ocsp"]),
    ("clap", &["src/cli"]),
    ("opentelemetry_proto", &["src/observe"]),
    ("prost", &["src/observe", "src/upstream/spiffe", "cluster"]),
    ("flate2", &["src/middleware/compress", "src/api/support.rs", "src/observe"]),
    ("brotli", &["src/middleware/compress"]),
    ("zstd", &["src/middleware/compress"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &str) -> Vec<(String, String)> {
    let root = root();
    WalkDir::new(root.join(folder))
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"))
        .map(|entry| {
            let path = entry.path().strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            (path, fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

fn sources() -> Vec<(String, String)> {
    ["src", "cluster/src", "jepsen-like/src"].into_iter().flat_map(rust_files).collect()
}

/// The module of `src/` that a file belongs to.
fn module(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

#[test]
fn modules_use_only_rows_above_their_own() {
    let known: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src") {
        let own = module(&path);
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == own) else { continue };
        for (number, line) in text.lines().enumerate() {
            let mut rest = line;
            while let Some(at) = rest.find("crate::") {
                rest = &rest[at + "crate::".len()..];
                let used: String =
                    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if used != own && known.contains(used.as_str()) && !allowed.contains(&used.as_str())
                {
                    wrong.push(format!("{path}:{}: `{own}` uses `{used}`", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "layers of ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn large_dependencies_are_named_at_home_only() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (name, homes) in HOMES {
            let names_it =
                text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
                    line.contains(&format!(" {name}::"))
                        || line.contains(&format!("({name}::"))
                        || line.contains(&format!("<{name}::"))
                });
            if names_it && !homes.iter().any(|home| path.starts_with(home)) {
                wrong.push(format!("{path} names `{name}`, whose home is {homes:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_begin_with_what_they_are_for_and_stay_small() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{path}: no `//!` line"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX && !path.ends_with("tests.rs") {
            wrong.push(format!("{path}: {lines} lines, {LINES_MAX} at most"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_middleware_and_matcher_is_registered() {
    for (folder, registry) in [
        ("src/middleware", "src/middleware/mod.rs"),
        ("src/router/matcher", "src/router/matcher/mod.rs"),
    ] {
        let listed = fs::read_to_string(root().join(registry)).unwrap();
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            let Some(stem) = name.strip_suffix(".rs").filter(|stem| *stem != "mod") else {
                continue;
            };
            assert!(
                listed.contains(&format!("mod {stem};")),
                "{folder}/{name} has no line in {registry}"
            );
        }
    }
}

#[test]
fn the_map_names_every_folder() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for folder in ["src", "cluster/src", "jepsen-like/src"] {
        let Ok(entries) = fs::read_dir(root().join(folder)) else { continue };
        for entry in entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(
                page.contains(&format!("{name}/")),
                "ARCHITECTURE.md does not name {folder}/{name}/"
            );
        }
    }
}

#[test]
fn nothing_waits_to_be_written() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if ["todo!(", "unimplemented!(", "FIXME", "XXX"].iter().any(|mark| line.contains(mark))
            {
                wrong.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn replicated_state_knows_no_clock_chance_or_hash_order() {
    let folder = root().join("cluster/src/state");
    for (path, text) in rust_files("cluster/src")
        .into_iter()
        .filter(|(path, _)| root().join(path).starts_with(&folder))
    {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for banned in ["HashMap", "HashSet", "Instant", "SystemTime", "rand::", "f32", "f64"] {
            assert!(!code.contains(banned), "{path} uses `{banned}`");
        }
    }
}

#[test]
fn fixtures_have_their_expectations() {
    for entry in fs::read_dir(root().join("tests/fixtures/traefik")).unwrap().filter_map(Result::ok)
    {
        if entry.path().is_dir() {
            for name in ["folder.json", "cases.json"] {
                assert!(
                    Path::new(&entry.path()).join(name).is_file(),
                    "{:?} has no {name}",
                    entry.path()
                );
            }
        }
    }
}
