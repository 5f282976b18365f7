//! The log to the plan: compiles what is in force and swaps it in, on every peer alike.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pontoon_cluster::{Document, Documents, Revision};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::documents::Store;
use crate::compile::{Compiled, Settings, Source, Sources, compile};
use crate::plan::{self, Plan};
use crate::service::health::Checker;
use crate::task::Group;

/// Longest wait for requests to end that began under an older plan; those that take longer pay for it themselves.
const RETIRE_MAX: Duration = Duration::from_mins(1);
const RETIRE_LOOK: Duration = Duration::from_millis(100);

/// What is in force on this peer.
#[derive(Clone, Default)]
pub(crate) struct InForce {
    pub(crate) revision: Revision,
    pub(crate) compiled: Arc<Compiled>,
    pub(crate) sources: Arc<Sources>,
    /// How long the compilation took.
    pub(crate) took: Duration,
    /// Plans that have been put in force.
    pub(crate) plans: u64,
}

/// Shows what is in force. Clones share it.
#[derive(Clone)]
pub(crate) struct View {
    now: Arc<ArcSwap<InForce>>,
    changed: watch::Receiver<Revision>,
}

impl View {
    pub(crate) fn load(&self) -> Arc<InForce> {
        self.now.load_full()
    }

    /// Changes when another plan is in force.
    pub(crate) fn changed(&self) -> watch::Receiver<Revision> {
        self.changed.clone()
    }

    /// Waits until what `revision` says is in force here, for at most `limit`.
    pub(crate) async fn reached(&self, revision: Revision, limit: Duration) -> bool {
        let mut changed = self.changed.clone();
        tokio::time::timeout(limit, changed.wait_for(|now| *now >= revision))
            .await
            .is_ok_and(|result| result.is_ok())
    }
}

/// Where what is in force is written: the other side of a [`View`].
pub(crate) struct Shown {
    now: Arc<ArcSwap<InForce>>,
    changed: watch::Sender<Revision>,
}

/// Both sides. Nothing is in force yet.
pub(crate) fn view() -> (Shown, View) {
    let (changed, receiver) = watch::channel(Revision(0));
    let now = Arc::new(ArcSwap::from_pointee(InForce::default()));
    (Shown { now: now.clone(), changed }, View { now, changed: receiver })
}

/// Follows the store and puts plans in force.
pub(crate) struct Follower {
    store: Store,
    settings: Arc<Settings>,
    plan: plan::Handle,
    shown: Shown,
    tasks: Group,
    documents: Arc<Documents>,
    checkers: HashMap<usize, (Arc<Checker>, CancellationToken)>,
    /// Lines that were logged last, so that each is logged once.
    told: HashSet<String>,
}

impl Follower {
    pub(crate) fn new(
        store: Store,
        settings: Arc<Settings>,
        plan: plan::Handle,
        tasks: Group,
        shown: Shown,
    ) -> Self {
        Self {
            store,
            settings,
            plan,
            shown,
            tasks,
            documents: Arc::default(),
            checkers: HashMap::new(),
            told: HashSet::new(),
        }
    }

    /// Compiles what the store holds now, before anything is served.
    pub(crate) async fn first(&mut self) {
        self.apply().await;
    }

    /// Follows until the group ends.
    pub(crate) async fn run(mut self) {
        let stop = self.tasks.stop_token();
        let mut watch = self.store.watch();
        loop {
            watch.borrow_and_update();
            self.apply().await;
            match stop.run_until_cancelled(watch.changed()).await {
                Some(Ok(())) => {}
                _ => return,
            }
        }
    }

    async fn apply(&mut self) {
        let documents = self.store.documents();
        let before = self.shown.now.load_full();
        if before.plans > 0 && same(&documents, &self.documents) {
            // A revision without a change of a document: what is in force is in force at that revision, too.
            if documents.revision > before.revision {
                let now = InForce { revision: documents.revision, ..InForce::clone(&before) };
                self.publish(now);
            }
            return;
        }
        let (settings, previous) = (self.settings.clone(), before.clone());
        let (old, new) = (self.documents.clone(), documents.clone());
        let started = Instant::now();
        let work = move || {
            let sources = Arc::new(updated(&previous.sources, &old, &new));
            let compiled = Arc::new(compile(&sources, &settings, &previous.compiled));
            (sources, compiled)
        };
        let (sources, compiled) = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => {
                error!(%error, "compiling failed; the last plan stays in force");
                return;
            }
        };
        let took = started.elapsed();
        self.plan.store(compiled.plan.clone());
        self.tasks.spawn(retire(before.compiled.plan.clone()));
        self.watch_health(&compiled.checkers);
        self.tell(&compiled, documents.revision, took);
        self.documents = documents.clone();
        let now = InForce {
            revision: documents.revision,
            compiled,
            sources,
            took,
            plans: before.plans + 1,
        };
        self.publish(now);
    }

    /// Shows it here, and tells the other peers: revision and digest are always told together.
    fn publish(&self, now: InForce) {
        let revision = now.revision;
        let digest = now.compiled.digest.to_string();
        self.shown.now.store(Arc::new(now));
        if let Some(cluster) = self.store.cluster() {
            cluster.report(|report| {
                report.plan_revision = revision;
                report.plan_digest = digest;
            });
        }
        self.shown.changed.send_replace(revision);
    }

    /// Starts the health checks that are new and ends those that are gone.
    fn watch_health(&mut self, checkers: &[Arc<Checker>]) {
        let mut running = std::mem::take(&mut self.checkers);
        for checker in checkers {
            let address = Arc::as_ptr(checker) as usize;
            let entry = running.remove(&address).unwrap_or_else(|| {
                let stop = self.tasks.stop_token().child_token();
                self.tasks.spawn(checker.clone().run(stop.clone()));
                (checker.clone(), stop)
            });
            self.checkers.insert(address, entry);
        }
        for (_, stop) in running.into_values() {
            stop.cancel();
        }
    }

    /// One line a plan, and one for each mistake that is new.
    fn tell(&mut self, compiled: &Compiled, revision: Revision, took: Duration) {
        let report = &compiled.report;
        info!(
            revision = revision.0,
            objects = report.objects(),
            disabled = report.disabled(),
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "plan applied"
        );
        let mut lines: Vec<String> = report.problems.clone();
        for (name, router) in report.faulty.iter() {
            let errors = router.errors.join("; ");
            lines.push(format!("router {name} is {}: {errors}", router.status.as_str()));
        }
        let faults = report.streams.faults();
        lines.extend(faults.map(|(status, line)| format!("{line} ({})", status.as_str())));
        let lines: HashSet<String> = lines.into_iter().collect();
        for line in lines.difference(&self.told) {
            error!("{line}");
        }
        self.told = lines;
    }
}

/// Holds a plan until no request does, so that none of them has to take it apart on its core.
async fn retire(plan: Arc<Plan>) {
    let end = Instant::now() + RETIRE_MAX;
    // The report of what is in force held it, too, until a moment ago.
    while Arc::strong_count(&plan) > 1 && Instant::now() < end {
        tokio::time::sleep(RETIRE_LOOK).await;
    }
    drop(tokio::task::spawn_blocking(move || drop(plan)).await);
}

fn same(a: &Documents, b: &Documents) -> bool {
    a.documents.len() == b.documents.len()
        && a.documents.iter().zip(&b.documents).all(|((name, one), (other_name, other))| {
            name == other_name && (Arc::ptr_eq(one, other) || one.revision == other.revision)
        })
}

/// The sources with what has changed between two states of the documents.
fn updated(sources: &Sources, before: &Documents, now: &Documents) -> Sources {
    let empty = Document::default();
    let mut next = Sources::new();
    for (provider, document) in &now.documents {
        let old = before.documents.get(provider);
        let source = sources.get(provider.as_str());
        let source = match (old, source) {
            (Some(old), Some(source)) if Arc::ptr_eq(old, document) => source.clone(),
            (old, source) => {
                let old = old.map_or(&empty, |old| old);
                let nothing = Source::default();
                let source = source.map_or(&nothing, |source| source);
                Arc::new(source.with(changes(old, document)))
            }
        };
        next.insert(provider.as_str().into(), source);
    }
    next
}

/// Entries that differ: key, and what it holds now.
fn changes<'a>(old: &'a Document, new: &'a Document) -> Vec<(&'a str, Option<&'a [u8]>)> {
    let found = old.entries.differences(&new.entries, |a, b| a.bytes == b.bytes);
    found.into_iter().map(|one| (&**one.key, one.new.map(|entry| &*entry.bytes))).collect()
}
