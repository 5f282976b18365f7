//! The digest of a plan: equal on peers that compiled the same documents, whatever the order they came in.

use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::report::{ObjectReport, Report, RouterReport};
use super::routers::Kept;

/// The sum of the hashes of all objects, which can be changed object by object.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Sum([u64; 4]);

impl Sum {
    pub(crate) fn add_router(&mut self, router: &Kept) {
        self.change(of_router(router), u64::wrapping_add);
    }

    pub(crate) fn remove_router(&mut self, router: &Kept) {
        self.change(of_router(router), u64::wrapping_sub);
    }

    pub(crate) fn add_object<O: Serialize>(
        &mut self,
        name: &str,
        object: Option<&ObjectReport<O>>,
    ) {
        self.change(object.and_then(|object| of_object(name, object)), u64::wrapping_add);
    }

    pub(crate) fn remove_object<O: Serialize>(
        &mut self,
        name: &str,
        object: Option<&ObjectReport<O>>,
    ) {
        self.change(object.and_then(|object| of_object(name, object)), u64::wrapping_sub);
    }

    fn change(&mut self, hash: Option<[u64; 4]>, step: fn(u64, u64) -> u64) {
        for (total, word) in self.0.iter_mut().zip(hash.unwrap_or_default()) {
            *total = step(*total, word);
        }
    }

    /// Adds a router of TCP or UDP.
    pub(crate) fn add_stream_router<O: Serialize>(&mut self, name: &str, report: &RouterReport<O>) {
        let mut hash = start("stream router", name);
        hash.update(serde_json::to_vec(&*report.options).unwrap_or_default());
        found(&mut hash, report);
        self.change(Some(words(&hash.finalize())), u64::wrapping_add);
    }

    /// The digest of everything, in hex; `streams` is that of TCP and UDP.
    pub(crate) fn text(&self, report: &Report, streams: &Self) -> Arc<str> {
        let mut hash = Sha256::new();
        for word in self.0.iter().chain(&streams.0) {
            hash.update(word.to_le_bytes());
        }
        for problem in &report.problems {
            hash.update(problem.as_bytes());
            hash.update([0]);
        }
        crate::hex::lower(&hash.finalize()).into()
    }
}

/// Internal objects follow from the startup configuration, which may differ between peers.
fn counts(name: &str) -> bool {
    !name.ends_with("@internal")
}

fn of_router(router: &Kept) -> Option<[u64; 4]> {
    counts(&router.name).then_some(())?;
    let report = &router.report;
    let mut hash = start("router", &router.name);
    // Options serialise in the order of their fields, maps in the order of their keys.
    hash.update(serde_json::to_vec(&*report.options).unwrap_or_default());
    if let Some(applied) = &report.applied {
        hash.update(serde_json::to_vec(&applied.observability).unwrap_or_default());
        for entry_point in &applied.entry_points {
            hash.update(entry_point.as_bytes());
            hash.update([0]);
        }
    }
    found(&mut hash, report);
    Some(words(&hash.finalize()))
}

/// What was found out about a router.
fn found<O>(hash: &mut Sha256, report: &RouterReport<O>) {
    hash.update(report.status.as_str());
    for text in report.using.iter().chain(&report.errors) {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
}

fn of_object<O: Serialize>(name: &str, object: &ObjectReport<O>) -> Option<[u64; 4]> {
    counts(name).then_some(())?;
    let mut hash = start("object", name);
    hash.update(serde_json::to_vec(&*object.options).unwrap_or_default());
    hash.update(object.status.as_str());
    Some(words(&hash.finalize()))
}

fn start(kind: &str, name: &str) -> Sha256 {
    let mut hash = Sha256::new();
    for text in [kind, name] {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    hash
}

fn words(hash: &[u8]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(hash.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    words
}
