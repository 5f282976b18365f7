//! The process's limit on open files, and what it allows in connections.

use tracing::debug;

/// What we need beside connections: log, store, peers, files.
const RESERVED: u64 = 128;
/// Used where the limit cannot be learned: what systems give by default.
const FALLBACK: u64 = 1024;
/// More would only be memory: the tables of a million connections stay in reach.
const CONNECTIONS_MAX: u64 = 1_000_000;

/// How many connections of clients a core may hold, when each may need one to a server too. Raises the process's
/// soft limit to the hard one first, as Go programs do.
pub(super) fn connections_max(cores: usize) -> usize {
    let files = raise_limit().unwrap_or(FALLBACK);
    let connections = (files.saturating_sub(RESERVED) / 2).clamp(16, CONNECTIONS_MAX);
    usize::try_from(connections).unwrap_or(usize::MAX).div_ceil(cores.max(1))
}

/// The limit on open files after it was raised as far as it goes.
#[expect(unsafe_code, reason = "the standard library has no way to the limits of a process")]
fn raise_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid, exclusively borrowed rlimit for the whole call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return None;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: `raised` is a valid rlimit that the call only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
        return Some(limit.rlim_max);
    }
    debug!(limit = limit.rlim_cur, "the limit on open files cannot be raised");
    Some(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_learned_and_shared_among_cores() {
        assert!(raise_limit().unwrap() > 0);
        assert!(connections_max(1) >= connections_max(4));
        assert!(connections_max(1_000_000) >= 1);
    }
}
