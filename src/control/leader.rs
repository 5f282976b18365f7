//! What only the leader runs: it starts and stops with leadership, and what it proposes carries its term.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::documents::Store;
use super::publish::publish;
use crate::provider::{Provider, Updates};
use crate::task::Group;

/// Runs the providers while this peer leads; for ever where it is alone.
pub(crate) async fn lead(
    store: Store,
    providers: Vec<Arc<dyn Provider>>,
    throttle: Duration,
    tasks: Group,
) {
    let stop = tasks.stop_token();
    let Some(cluster) = store.cluster() else {
        start(&store, &providers, (0, throttle), &tasks, &stop);
        return;
    };
    let mut leadership = cluster.leadership();
    let mut term: Option<(u64, CancellationToken)> = None;
    loop {
        let now = leadership.borrow_and_update().clone();
        let leads = now.me.then_some(now.term);
        if term.as_ref().map(|(term, _)| *term) != leads {
            if let Some((_, running)) = term.take() {
                running.cancel();
            }
            if let Some(new) = leads {
                let running = stop.child_token();
                start(&store, &providers, (new, throttle), &tasks, &running);
                term = Some((new, running));
            }
        }
        match stop.run_until_cancelled(leadership.changed()).await {
            Some(Ok(())) => {}
            _ => return,
        }
    }
}

fn start(
    store: &Store,
    providers: &[Arc<dyn Provider>],
    (term, throttle): (u64, Duration),
    tasks: &Group,
    stop: &CancellationToken,
) {
    for provider in providers {
        info!(provider = provider.name(), "Starting provider");
        let (updates, receiver) = Updates::channel();
        let name = provider.name();
        tasks.spawn(publish(store.clone(), name, receiver, (term, throttle), stop.clone()));
        let (provider, stop) = (provider.clone(), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = provider.run(updates, stop).await {
                error!(%error, provider = provider.name(), "provider ended");
            }
        });
    }
}
