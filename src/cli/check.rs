//! `pontoon check`: decodes and compiles configuration files without starting anything.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::output;
use crate::app;
use crate::compile::{Compiled, Source, Sources, Status, compile};
use crate::config::dynamic::Configuration;
use crate::config::startup::{self, Loaded};
use crate::provider::file::read_file;

#[derive(Args)]
pub(super) struct Arguments {
    /// Files with startup or dynamic configuration. Default: those that a start would read
    files: Vec<PathBuf>,
    /// Exit code 2 if there are warnings
    #[arg(long)]
    strict: bool,
}

/// What was found.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<String>,
    pub(super) warnings: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    let mut loaded = None;
    let mut dynamic = Configuration::default();
    let mut read = Vec::new();
    if arguments.files.is_empty() {
        match super::load(&[]) {
            Ok(found) => loaded = Some(found),
            Err(error) => findings.errors.push(error.to_string()),
        }
    }
    for path in &arguments.files {
        read.push(path.clone());
        startup_part(path, &mut loaded, &mut findings);
        dynamic_part(path, &mut dynamic, &mut findings);
    }
    let loaded = loaded.unwrap_or_else(|| Loaded {
        startup: startup::Startup::default(),
        origin: startup::Origin::Defaults,
        warnings: Vec::new(),
    });
    findings.warnings.extend(loaded.warnings.iter().cloned());
    let not_built = startup::not_built(&loaded.startup);
    findings.warnings.extend(not_built.iter().map(|line| format!("not built yet: {line}")));
    if let Some(file) = &loaded.startup.providers.file {
        for path in app::files_of(file) {
            if !read.contains(&path) {
                dynamic_part(&path, &mut dynamic, &mut findings);
                read.push(path);
            }
        }
    }
    compiled(&loaded.startup, &dynamic, &mut findings)?;
    for error in &findings.errors {
        output::line(&format!("error: {error}"));
    }
    for warning in &findings.warnings {
        output::line(&format!("warning: {warning}"));
    }
    output::line(&format!(
        "{} files, {} errors, {} warnings",
        read.len(),
        findings.errors.len(),
        findings.warnings.len()
    ));
    Ok(match (findings.errors.is_empty(), findings.warnings.is_empty()) {
        (false, _) => ExitCode::FAILURE,
        (true, false) if arguments.strict => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    })
}

/// The startup configuration of a file, if it holds one.
pub(super) fn startup_part(path: &Path, loaded: &mut Option<Loaded>, findings: &mut Findings) {
    let flag = format!("--configFile={}", path.display());
    match super::load(&[flag]) {
        Ok(found) if app::says_something(&found.startup) => *loaded = Some(found),
        Ok(_) => {}
        // A file with templates is dynamic configuration: what is wrong with it is said there.
        Err(error) => {
            let templated = std::fs::read_to_string(path).is_ok_and(|text| text.contains("{{"));
            if !templated {
                findings.errors.push(error.to_string());
            }
        }
    }
}

pub(super) fn dynamic_part(path: &Path, dynamic: &mut Configuration, findings: &mut Findings) {
    match read_file(path) {
        Ok((configuration, warnings)) => {
            findings.warnings.extend(warnings.iter().map(ToString::to_string));
            for key in dynamic.merge(configuration) {
                findings
                    .warnings
                    .push(format!("{}: {key} is in another file already", path.display()));
            }
        }
        Err(problems) => {
            for problem in problems.iter().map(ToString::to_string) {
                if !findings.errors.contains(&problem) {
                    findings.errors.push(problem);
                }
            }
        }
    }
}

/// Compiles it all and notes what does not work.
fn compiled(
    startup: &startup::Startup,
    dynamic: &Configuration,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let settings = app::settings(startup, app::names_of_internal_services(startup))?;
    let entries = dynamic.entries();
    let changes = entries.iter().map(|(key, value)| (key.as_str(), Some(value.as_slice())));
    let source = Source::default().with(changes);
    let mut sources = Sources::new();
    sources.insert("file".into(), Arc::new(source));
    let result = compile(&sources, &settings, &Compiled::default());
    findings.errors.extend(result.report.problems.iter().cloned());
    for (name, router) in result.report.routers.iter() {
        let line = format!("router {name}: {}", router.errors.join("; "));
        match router.status {
            Status::Enabled => {}
            Status::Warning => findings.warnings.push(line),
            Status::Disabled => findings.errors.push(line),
        }
    }
    for (status, line) in result.report.streams.faults() {
        if status == Status::Disabled {
            findings.errors.push(line);
        } else {
            findings.warnings.push(line);
        }
    }
    Ok(())
}
