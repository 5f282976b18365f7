//! One file to a configuration: templated, decoded, with the contents of the files that it names.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Source, inline, template};
use crate::config::decode::{self, Root};
use crate::config::dynamic::Configuration;
use crate::config::node::{Document, Format, SIZE_MAX};

/// Folders below the one that is read; links in circles end here.
const DEPTH_MAX: usize = 16;
const FILES_MAX: usize = 10_000;

/// What is wrong with a file.
#[derive(Debug)]
pub(crate) enum Problem {
    Decode(decode::Error),
    Other(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => error.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// The files of a source, in the order in which they count.
pub(super) fn files(source: &Source) -> Result<Vec<PathBuf>, String> {
    match source {
        Source::File(file) => {
            if Format::of(file).is_none() {
                return Err(format!(
                    "{}: unsupported file extension: use .toml, .yaml or .yml",
                    file.display()
                ));
            }
            Ok(vec![file.clone()])
        }
        Source::Folder(folder) => {
            let mut files = Vec::new();
            walk(folder, DEPTH_MAX, &mut files)?;
            files.sort();
            Ok(files)
        }
    }
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // Kubernetes keeps the real files in hidden folders beside the links to them.
        let hidden = entry.file_name().to_string_lossy().starts_with("..");
        if hidden {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                walk(&path, depth - 1, files)?;
            }
        } else if matches!(Format::of(&path), Some(Format::Toml | Format::Yaml))
            && files.len() < FILES_MAX
        {
            files.push(path);
        }
    }
    Ok(())
}

/// What a file says.
pub(super) struct Read {
    pub(super) configuration: Configuration,
    /// For what was left out of it.
    pub(super) warnings: Vec<Problem>,
    /// It says the same as long as it does not change: no template, no content of another file.
    pub(super) stands_alone: bool,
}

/// Reads a file. Warnings are for what was left out of it.
pub(crate) fn read_file(path: &Path) -> Result<(Configuration, Vec<Problem>), Vec<Problem>> {
    read(path, |_, _| {}).map(|read| (read.configuration, read.warnings))
}

/// `rendered` is shown the text before and after templating, before anything of it is understood.
pub(super) fn read(path: &Path, rendered: impl FnOnce(&str, &str)) -> Result<Read, Vec<Problem>> {
    let other = |text: String| vec![Problem::Other(text)];
    let shown = path.display().to_string();
    let format =
        Format::of(path).ok_or_else(|| other(format!("{shown}: unsupported file extension")))?;
    let size = fs::metadata(path).map_err(|error| other(format!("{shown}: {error}")))?.len();
    if size > SIZE_MAX as u64 {
        return Err(other(format!("{shown}: {size} bytes, {SIZE_MAX} at most")));
    }
    let text = fs::read_to_string(path).map_err(|error| other(format!("{shown}: {error}")))?;
    let templated = text.contains("{{");
    let text = if templated {
        let result = template::render(&shown, text.clone()).map_err(other)?;
        rendered(&text, &result);
        result
    } else {
        rendered(&text, &text);
        text
    };
    let document =
        Document::parse(&shown, &text, format).map_err(|error| vec![Problem::Decode(error)])?;
    let mut configuration: Configuration =
        decode::document(&document, Root::Shared).map_err(|error| vec![Problem::Decode(error)])?;
    let inlined = inline::contents(&mut configuration);
    let warnings =
        inlined.problems.into_iter().map(|text| Problem::Other(format!("{shown}: {text}")));
    Ok(Read {
        configuration,
        warnings: warnings.collect(),
        stands_alone: !templated && !inlined.any,
    })
}
