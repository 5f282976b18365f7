//! The digest of a plan: equal on peers that compiled the same documents, whatever the order they came in.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::report::{Report, RouterReport};
use super::routers::Kept;

/// Hash of one router's report.
pub(crate) fn of_router(name: &str, report: &RouterReport) -> [u64; 4] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([0]);
    // Options serialise in the order of their fields, maps in the order of their keys.
    hash.update(serde_json::to_vec(&*report.options).unwrap_or_default());
    hash.update(report.status.as_str());
    for text in report.using.iter().chain(&report.errors) {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    words(&hash.finalize())
}

fn words(hash: &[u8]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(hash.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    words
}

/// The digest of everything: sums of the hashes of routers (kept with them), and a hash of the rest.
pub(crate) fn of(report: &Report, routers: &[Arc<Kept>]) -> Arc<str> {
    let mut sum = [0_u64; 4];
    // Internal routers follow from the startup configuration, which may differ between peers.
    for router in routers.iter().filter(|router| &*router.provider != "internal") {
        for (total, word) in sum.iter_mut().zip(router.digest) {
            *total = total.wrapping_add(word);
        }
    }
    let mut hash = Sha256::new();
    for word in sum {
        hash.update(word.to_le_bytes());
    }
    let mut object = |name: &str, options: Vec<u8>, status: &str| {
        if !name.ends_with("@internal") {
            hash.update(name.as_bytes());
            hash.update([0]);
            hash.update(options);
            hash.update(status);
        }
    };
    for (name, service) in &report.services {
        let options = serde_json::to_vec(&*service.object.options).unwrap_or_default();
        object(name, options, service.object.status.as_str());
    }
    for (name, middleware) in &report.middlewares {
        let options = serde_json::to_vec(&*middleware.options).unwrap_or_default();
        object(name, options, middleware.status.as_str());
    }
    for problem in &report.problems {
        hash.update(problem.as_bytes());
        hash.update([0]);
    }
    let hash = hash.finalize();
    crate::hex::lower(&hash).into()
}
