//! `traffic`: a request may only be lost at a peer that is down by our hand while the request is under way.

use crate::history::{Loss, Outage};

/// What is wrong: requests that were lost without an excuse, and peers that never answered.
pub(crate) fn check(answered: &[u64], losses: &[Loss], outages: &[Outage]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (peer, &count) in answered.iter().enumerate() {
        if count == 0 {
            wrong.push(format!("peer {} has answered no request", peer + 1));
        }
    }
    for loss in losses {
        let excused =
            |outage: &Outage| outage.peer == loss.peer && outage.touches(loss.start, loss.end);
        if !outages.iter().any(excused) {
            wrong.push(format!(
                "[{} to {}] a request was lost at peer {}, which was up: {}",
                loss.start,
                loss.end,
                loss.peer + 1,
                loss.reason
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Moment;

    fn loss(peer: usize, start: u64, end: u64) -> Loss {
        let (start, end) = (Moment(start), Moment(end));
        Loss { peer, start, end, reason: "reset".to_owned() }
    }

    const OUTAGES: [Outage; 2] = [
        Outage { peer: 0, from: Moment(10), to: Some(Moment(20)) },
        Outage { peer: 1, from: Moment(30), to: None },
    ];

    #[test]
    fn losses_at_a_peer_that_is_down_are_excused() {
        // Under way when it was killed; begun before it listened again; while it is still down.
        let losses = [loss(0, 5, 10), loss(0, 12, 14), loss(0, 20, 25), loss(1, 40, 41)];
        assert_eq!(check(&[1, 1], &losses, &OUTAGES), Vec::<String>::new());
    }

    #[test]
    fn losses_at_a_peer_that_is_up_are_found() {
        // Before, after, at the other peer.
        for lost in [loss(0, 5, 9), loss(0, 21, 25), loss(1, 12, 14)] {
            let wrong = check(&[1, 1], &[lost], &OUTAGES);
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert!(wrong[0].contains("which was up: reset"), "{wrong:?}");
        }
    }

    #[test]
    fn a_peer_without_answers_is_found() {
        assert_eq!(check(&[1, 0], &[], &OUTAGES), ["peer 2 has answered no request"]);
    }
}
