//! `kill`: kill -9 of peers at moments that the seed chooses, also while they start, then a restart.
//!
//! SIGKILL ends a process between any two instructions, but the kernel still writes what it was given: a loss of
//! power needs another fault.

use std::time::Duration;

use crate::client::Client;
use crate::history::Moment;
use crate::peers::{PEERS, Peers};
use crate::random::Random;

/// Longest time between a restart and the next kill.
const WAIT_MAX: Duration = Duration::from_millis(1500);
/// Longest time that a peer is down before it is started again.
const DOWN_MAX: Duration = Duration::from_millis(1200);
/// As [`WAIT_MAX`], where peers are killed while they start.
const HASTE_MAX: Duration = Duration::from_millis(400);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victims {
    /// The leader; this peer, where none is known.
    Leader {
        or: usize,
    },
    One(usize),
    /// All but one, so that there is no quorum.
    AllBut(usize),
    All,
}

/// One kill and the restart after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// From the restart before.
    wait: Duration,
    /// Kill without waiting until all peers listen again.
    haste: bool,
    victims: Victims,
    down: Duration,
}

impl Step {
    /// The next step of a schedule that may kill `left` more processes.
    pub(crate) fn next(random: &mut Random, left: usize) -> Self {
        let (kind, peer) = (random.below(100), random.below(PEERS));
        let victims = match kind {
            0..40 => Victims::Leader { or: peer },
            40..80 => Victims::One(peer),
            80..92 => Victims::AllBut(peer),
            _ => Victims::All,
        };
        let victims = if victims.count() > left { Victims::One(peer) } else { victims };
        let haste = random.percent(20);
        let wait = random.up_to(if haste { HASTE_MAX } else { WAIT_MAX });
        Self { wait, haste, victims, down: random.up_to(DOWN_MAX) }
    }
}

impl Victims {
    /// Processes that are killed.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Leader { .. } | Self::One(_) => 1,
            Self::AllBut(_) => PEERS - 1,
            Self::All => PEERS,
        }
    }

    /// The peers, and whether the leader is known to be among them.
    async fn chosen(self, client: &Client) -> (Vec<usize>, bool) {
        let leader = leader(client).await;
        let victims: Vec<usize> = match self {
            Self::Leader { or } => vec![leader.unwrap_or(or)],
            Self::One(peer) => vec![peer],
            Self::AllBut(spared) => (0..PEERS).filter(|&peer| peer != spared).collect(),
            Self::All => (0..PEERS).collect(),
        };
        let leads = leader.is_some_and(|leader| victims.contains(&leader));
        (victims, leads)
    }
}

/// The leader of the newest term that any peer knows of.
async fn leader(client: &Client) -> Option<usize> {
    let mut newest = None;
    for peer in 0..PEERS {
        let Ok(status) = client.status(peer).await else { continue };
        let position = |name: &String| client.peers.iter().position(|peer| peer.name == *name);
        let leader = status.leader.as_ref().and_then(position);
        newest = newest.max(leader.map(|leader| (status.term, leader)));
    }
    newest.map(|(_, leader)| leader)
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) at: Moment,
    pub(crate) victims: Vec<usize>,
    /// The leader was killed while all others were up.
    pub(crate) leader_alone: bool,
    /// For people.
    pub(crate) text: String,
}

/// Carries out a step. At its end all peers run, but may not listen yet.
pub(crate) async fn carry_out(
    step: &Step,
    peers: &mut Peers,
    client: &Client,
    now: impl Fn() -> Moment,
) -> anyhow::Result<Kill> {
    if !step.haste {
        peers.wait_up().await?;
    }
    peers.pause(step.wait).await?;
    let (victims, leads) = step.victims.chosen(client).await;
    peers.look()?;
    let others_up = (0..PEERS).all(|peer| peers.up(peer));
    let at = now();
    peers.kill(&victims).await?;
    peers.pause(step.down).await?;
    for &peer in &victims {
        peers.spawn(peer)?;
    }
    let names: Vec<&str> = victims.iter().map(|&peer| peers.name(peer)).collect();
    let text = format!(
        "killed {}{}{}, started again after {} ms",
        names.join(", "),
        if leads { " (with the leader)" } else { "" },
        if others_up { "" } else { " while peers were starting" },
        step.down.as_millis(),
    );
    let leader_alone = leads && victims.len() == 1 && others_up;
    Ok(Kill { at, victims, leader_alone, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64, kills: usize) -> Vec<Step> {
        let (mut random, mut left, mut steps) = (Random::new(seed), kills, Vec::new());
        while left > 0 {
            let step = Step::next(&mut random, left);
            left -= step.victims.count();
            steps.push(step);
        }
        steps
    }

    #[test]
    fn a_seed_repeats_its_schedule() {
        assert_eq!(schedule(7, 50), schedule(7, 50));
        assert_ne!(schedule(7, 50), schedule(8, 50));
    }

    #[test]
    fn a_schedule_kills_as_often_as_it_is_told_in_all_ways() {
        let steps = schedule(1, 200);
        assert_eq!(steps.iter().map(|step| step.victims.count()).sum::<usize>(), 200);
        for wanted in ["Leader", "One", "AllBut", "All"] {
            assert!(
                steps.iter().any(|step| format!("{:?}", step.victims).starts_with(wanted)),
                "{wanted}"
            );
        }
        assert!(steps.iter().any(|step| step.haste));
    }
}
