//! One run: peers, load, faults, and what the checkers say of it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::checker::{self, agreement::End, changes::Merged};
use crate::client::{self, Client};
use crate::history::{Clock, Condition, Operation, Outcome};
use crate::nemesis::kill::{self, Kill, Step};
use crate::output;
use crate::peers::{self, PEERS, Peers};
use crate::random::Random;
use crate::workload::{changes, documents, traffic};

/// Longest wait until all peers agree, once nothing changes any more.
const AGREE_MAX: Duration = Duration::from_mins(1);
/// Pause between two looks at that.
const AGREE_LOOK: Duration = Duration::from_millis(100);
/// The load goes on for so long before the first and after the last fault.
const CALM: Duration = Duration::from_secs(1);
/// Violations that are printed.
const SHOWN_MAX: usize = 20;

/// How long a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Until so many processes have been killed.
    Kills(usize),
    Time(Duration),
}

/// The load, and what it records.
struct Load {
    writes: Arc<documents::Recorder>,
    requests: Arc<traffic::Recorder>,
    merged: Arc<Mutex<Merged>>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Load {
    fn start(seed: u64, client: &Client, clock: Clock) -> Self {
        let mut load = Self {
            writes: Arc::default(),
            requests: Arc::default(),
            merged: Arc::default(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
        };
        for number in 0..documents::CLIENTS {
            let user = documents::User::new(number, seed, client.clone(), clock);
            let (recorder, stop) = (load.writes.clone(), load.stop.clone());
            load.tasks.spawn(async move { user.run(&recorder, &stop).await });
        }
        let (reader, merged, stop) = (client.clone(), load.merged.clone(), load.stop.clone());
        load.tasks.spawn(async move { changes::run(&reader, &merged, &stop).await });
        for (peer, address) in client.peers.iter().enumerate() {
            for number in 0..traffic::USERS_PER_PEER {
                let stream = u64::try_from(2000 + peer * 100 + number).unwrap_or(0);
                let random = Random::of(seed, stream);
                let user = traffic::User::new(peer, address.clone(), random, clock);
                let (recorder, stop) = (load.requests.clone(), load.stop.clone());
                load.tasks.spawn(async move { user.run(&recorder, &stop).await });
            }
        }
        load
    }

    /// Lets what is under way come to its end.
    async fn end(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a user of the run died")?;
        }
        Ok(())
    }

    fn progress(&self) -> String {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "writes: {} acknowledged, {} failed, {} unknown; {} reads; {} requests answered",
            count(&self.writes.acknowledged),
            count(&self.writes.failed),
            count(&self.writes.unknown),
            count(&self.writes.reads),
            self.requests.total(),
        )
    }
}

/// Runs, prints what happens, and says whether all held.
pub(crate) async fn run(seed: u64, length: Length) -> anyhow::Result<bool> {
    let program = peers::program()?;
    output::line(&format!("seed {seed}, {length:?}, {}", program.display()));
    let clock = Clock::start();
    let mut peers = Peers::start(program, clock).await?;
    let result = faults(seed, length, &mut peers, clock).await;
    let outcome = match &result {
        Ok(wrong) => wrong.clone(),
        Err(error) => vec![format!("the run broke off: {error:#}")],
    };
    for text in outcome.iter().take(SHOWN_MAX) {
        output::line(&format!("VIOLATION {text}"));
    }
    if outcome.len() > SHOWN_MAX {
        output::line(&format!("… and {} more", outcome.len() - SHOWN_MAX));
    }
    if let Some(folder) = peers.end(!outcome.is_empty()).await {
        output::line(&format!("logs and stores of the peers are kept in {}", folder.display()));
    }
    let verdict = if outcome.is_empty() { "all held" } else { "NOT all held" };
    output::line(&format!("seed {seed}: {verdict}"));
    Ok(outcome.is_empty())
}

/// The run itself: what is wrong.
async fn faults(
    seed: u64,
    length: Length,
    peers: &mut Peers,
    clock: Clock,
) -> anyhow::Result<Vec<String>> {
    let client = Client::new(peers.addresses(), peers.token());
    let mut origin = JoinSet::new();
    let address = traffic::origin(&mut origin).await?;
    peers.wait_up().await?;
    let before = set_up(seed, &client, clock, &address).await?;
    output::progress(clock.now(), "three peers follow one leader; the load begins");
    let mut load = Load::start(seed, &client, clock);
    for operation in before {
        load.writes.record(operation);
    }
    peers.pause(CALM).await?;
    let kills = nemesis(seed, length, peers, &client, (&load, clock)).await?;
    peers.wait_up().await?;
    peers.pause(CALM).await?;
    load.end().await?;

    output::progress(clock.now(), "the load has ended; all peers are killed and started again");
    peers.kill(&(0..PEERS).collect::<Vec<_>>()).await?;
    for peer in 0..PEERS {
        peers.spawn(peer)?;
    }
    peers.wait_up().await?;
    let ends = agreed(peers, &client).await?;
    for operation in last_reads(seed, &client, clock).await {
        load.writes.record(operation);
    }
    for peer in 0..PEERS {
        let told = client.changes(peer).await?;
        load.merged.lock().unwrap_or_else(PoisonError::into_inner).add(peer, &told);
    }
    output::progress(clock.now(), &load.progress());
    Ok(judge(&load, &kills, &ends, peers))
}

/// Stores what the load works on: the origin, a router that stays, and each register, once.
async fn set_up(
    seed: u64,
    client: &Client,
    clock: Clock,
    origin: &str,
) -> anyhow::Result<Vec<Operation>> {
    wait_leader(client).await?;
    let service = json!({ "loadBalancer": { "servers": [{ "url": format!("http://{origin}") }] } });
    client.put(0, &format!("http/services/{}", client::SERVICE), &service).await?;
    client.put(1, "http/routers/traffic", &client::router(traffic::HOST, 1)).await?;
    let mut user = documents::User::new(documents::CLIENTS, seed, client.clone(), clock);
    let mut done = Vec::new();
    for register in 0..documents::REGISTERS {
        let peer = register % PEERS;
        let operation = user.write(peer, register, Condition::Absent, true).await;
        if !matches!(operation.outcome, Outcome::Ok { .. }) {
            bail!("the first write to a register failed: {operation}");
        }
        done.push(operation);
    }
    // Every peer answers requests to them before any are made.
    client.put(2, "http/routers/traffic", &client::router(traffic::HOST, 2)).await?;
    Ok(done)
}

async fn wait_leader(client: &Client) -> anyhow::Result<()> {
    let deadline = Instant::now() + AGREE_MAX;
    for peer in 0..PEERS {
        loop {
            let status = client.status(peer).await;
            if status.as_ref().is_ok_and(|status| status.leader.is_some()) {
                break;
            }
            if Instant::now() > deadline {
                bail!("peer {} knows no leader after {AGREE_MAX:?}: {status:?}", peer + 1);
            }
            sleep(AGREE_LOOK).await;
        }
    }
    Ok(())
}

/// Kills until the length is reached.
async fn nemesis(
    seed: u64,
    length: Length,
    peers: &mut Peers,
    client: &Client,
    (load, clock): (&Load, Clock),
) -> anyhow::Result<Vec<Kill>> {
    let mut random = Random::new(seed);
    let begin = Instant::now();
    let mut kills = Vec::new();
    let mut killed = 0;
    loop {
        let left = match length {
            Length::Kills(kills) => kills.saturating_sub(killed),
            Length::Time(time) if begin.elapsed() < time => usize::MAX,
            Length::Time(_) => 0,
        };
        if left == 0 {
            return Ok(kills);
        }
        let step = Step::next(&mut random, left);
        let kill = kill::carry_out(&step, peers, client, || clock.now()).await?;
        killed += kill.victims.len();
        output::progress(clock.now(), &format!("{killed}: {}; {}", kill.text, load.progress()));
        kills.push(kill);
    }
}

/// Waits until all peers tell the same, and gives what they tell in any case.
async fn agreed(peers: &mut Peers, client: &Client) -> anyhow::Result<Vec<End>> {
    wait_leader(client).await?;
    let deadline = Instant::now() + AGREE_MAX;
    loop {
        peers.look()?;
        let mut ends = Vec::new();
        for peer in 0..PEERS {
            let status = client.status(peer).await?;
            ends.push(End { status, document: client.document(peer).await? });
        }
        if checker::agreement::check(&ends).is_empty() || Instant::now() > deadline {
            return Ok(ends);
        }
        sleep(AGREE_LOOK).await;
    }
}

/// Reads every register through every peer.
async fn last_reads(seed: u64, client: &Client, clock: Clock) -> Vec<Operation> {
    let mut user = documents::User::new(documents::CLIENTS + 1, seed, client.clone(), clock);
    let mut reads = Vec::new();
    for register in 0..documents::REGISTERS {
        for peer in 0..PEERS {
            reads.push(user.read(peer, register).await);
        }
    }
    reads
}

/// What all checkers say.
fn judge(load: &Load, kills: &[Kill], ends: &[End], peers: &Peers) -> Vec<String> {
    let operations = load.writes.all();
    let mut wrong = checker::registers::check(&operations);
    let last = operations.len().saturating_sub(documents::REGISTERS * PEERS);
    for read in operations.get(last..).unwrap_or_default() {
        if read.seen().is_none() {
            wrong.push(format!("a register cannot be read at the end: {read}"));
        }
    }
    let merged = load.merged.lock().unwrap_or_else(PoisonError::into_inner);
    let (lacking, found) = merged.check(&operations);
    wrong.extend(lacking);
    wrong.extend(checker::agreement::check(ends));
    let answered = load.requests.answered.each_ref().map(|count| count.load(Ordering::Relaxed));
    let losses = load.requests.losses();
    wrong.extend(checker::traffic::check(&answered, &losses, peers.outages()));
    if load.requests.forgotten.load(Ordering::Relaxed) > 0 {
        wrong.push("more requests were lost than can be looked at".to_owned());
    }
    let acknowledged = load.writes.acknowledged.load(Ordering::Relaxed);
    output::line(&format!(
        "{found} of {acknowledged} acknowledged writes looked up in the history; \
         {} requests not answered, at peers that were down",
        losses.len()
    ));
    if let Some(text) = failover(&operations, kills) {
        output::line(&text);
    }
    wrong
}

/// How long it took until a write was accepted again, where the leader alone was killed.
fn failover(operations: &[Operation], kills: &[Kill]) -> Option<String> {
    let next = |kill: &Kill| {
        let after = operations
            .iter()
            .filter(|operation| operation.acknowledged().is_some() && operation.start > kill.at);
        Some(after.map(|operation| operation.end).min()?.since(kill.at))
    };
    let mut times: Vec<Duration> =
        kills.iter().filter(|kill| kill.leader_alone).filter_map(next).collect();
    times.sort();
    let (median, longest) = (times.get(times.len() / 2)?, times.last()?);
    Some(format!(
        "the leader alone was killed {} times: next write accepted after {} ms (median), {} ms (longest)",
        times.len(),
        median.as_millis(),
        longest.as_millis()
    ))
}
