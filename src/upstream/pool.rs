//! Connections to one server, kept per core.
//!
//! HTTP/1 connections wait idle, the one used last on top, so that the others can expire. HTTP/2 connections are
//! shared by requests. A server may turn out to speak either: ALPN says so on each new connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::connector::{ConnectError, Protocol, Scheme, Stream, Target};
use super::h1::Connection;
use super::h2::{self, Multiplexed};
use super::tls::Configs;
use crate::cores;

/// Times that a request waits for a connection which others then have filled, before it makes one of its own.
const SHARED_DIALS_MAX: usize = 4;
/// A connection above the limit is closed once it has been idle for so long. At once would be too soon: requests that
/// end together would close most of their connections, and those that follow would open them again.
const SPARE: Duration = Duration::from_secs(1);
/// Idle connections for however short a time, as a multiple of the limit.
const SPARE_TIMES_MAX: usize = 16;

/// What a transport says about its pools.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) dial_timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) idle_per_core: usize,
    pub(super) http2: h2::Settings,
    pub(super) tls: Arc<Configs>,
    /// `https` servers may choose HTTP/2.
    pub(super) offers_http2: bool,
}

/// The connections to one server.
pub(super) struct Pool {
    target: Target,
    settings: Settings,
    /// One per core, and the last for threads that are none: health probes and the like keep their connections to
    /// themselves, since a connection wakes the runtime on which it was made.
    cells: Box<[Arc<Cell>]>,
}

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Any connection.
    Any,
    /// A connection that may leave HTTP: upgrades and CONNECT.
    Http1,
    /// A new one: an idle connection has just turned out to be closed.
    Fresh,
}

/// A connection for one request.
pub(super) enum Lease {
    /// It goes back to the cell.
    Http1(Connection<Stream>, Arc<Cell>),
    Http2(h2::Lease),
}

impl Pool {
    pub(super) fn new(target: Target, settings: Settings) -> Self {
        let cell = |_| {
            Arc::new(Cell {
                state: Mutex::new(State::new(settings.idle_per_core)),
                idle_timeout: settings.idle_timeout,
            })
        };
        Self { cells: (0..=cores::count()).map(cell).collect(), target, settings }
    }

    /// A connection of the calling core that is there already: an idle one, or a stream on a shared one.
    pub(super) fn ready(&self, want: Want, now: Instant) -> Option<Lease> {
        let home = self.local();
        home.lock().take(want, now, home)
    }

    /// As [`Self::ready`], or a new one.
    pub(super) async fn lease(&self, want: Want) -> Result<Lease, ConnectError> {
        let home = self.local();
        for _ in 0..SHARED_DIALS_MAX {
            match self.way(want, home) {
                Way::Ready(lease) => return Ok(lease),
                Way::Alone => break,
                Way::First(sender) => {
                    let ending = DialGuard { home, sender };
                    let result = self.connect(want, home).await;
                    ending.end(result.as_ref().err());
                    return result;
                }
                Way::Wait(mut dial) => {
                    // An error here means that whoever dialled has gone: look again.
                    if let Ok(ended) = dial.wait_for(Option::is_some).await
                        && let Some(Err(error)) = &*ended
                    {
                        return Err(error.clone());
                    }
                }
            }
        }
        self.connect(want, home).await
    }

    fn way(&self, want: Want, home: &Arc<Cell>) -> Way {
        let mut state = home.lock();
        if let Some(lease) = state.take(want, Instant::now(), home) {
            return Way::Ready(lease);
        }
        if !self.shares(want, state.speaks) {
            return Way::Alone;
        }
        if let Some(dial) = &state.dial {
            return Way::Wait(dial.clone());
        }
        let (sender, receiver) = watch::channel(None);
        state.dial = Some(receiver);
        Way::First(sender)
    }

    /// True where a new connection will probably serve many requests, so that one dial at a time is enough.
    fn shares(&self, want: Want, speaks: Option<Protocol>) -> bool {
        match self.target.scheme {
            Scheme::Http => false,
            Scheme::H2c => true,
            Scheme::Https => {
                want != Want::Http1 && self.settings.offers_http2 && speaks != Some(Protocol::Http1)
            }
        }
    }

    async fn connect(&self, want: Want, home: &Arc<Cell>) -> Result<Lease, ConnectError> {
        let settings = &self.settings;
        let http1_only = want == Want::Http1;
        let (stream, protocol) =
            self.target.connect(settings.dial_timeout, &settings.tls, http1_only).await?;
        if !http1_only {
            home.lock().speaks = Some(protocol);
        }
        match protocol {
            Protocol::Http1 => Ok(Lease::Http1(Connection::new(stream), home.clone())),
            Protocol::Http2 => {
                let mut shared = Multiplexed::open(stream, settings.http2).await?;
                let lease = shared.lease(Instant::now()).ok_or_else(|| {
                    ConnectError::Refused("the connection closed at once".to_owned())
                })?;
                home.lock().http2.push(shared);
                home.watch_expiry();
                Ok(Lease::Http2(lease))
            }
        }
    }

    fn local(&self) -> &Arc<Cell> {
        let cell = cores::here().and_then(|core| self.cells.get(core)).or(self.cells.last());
        cell.expect("there is at least one core")
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("target", &self.target).finish_non_exhaustive()
    }
}

/// How a dial ended; `None` while it goes on.
type Dial = Option<Result<(), ConnectError>>;

/// What a request has to do for its connection.
enum Way {
    Ready(Lease),
    /// Others dial already.
    Wait(watch::Receiver<Dial>),
    /// Dial, and tell those who wait.
    First(watch::Sender<Dial>),
    /// Dial; nobody waits for it.
    Alone,
}

/// Tells those who wait how the dial ended, even if it was given up.
struct DialGuard<'a> {
    home: &'a Arc<Cell>,
    sender: watch::Sender<Dial>,
}

impl DialGuard<'_> {
    fn end(self, error: Option<&ConnectError>) {
        self.home.lock().dial = None;
        self.sender.send_replace(Some(error.map_or(Ok(()), |error| Err(error.clone()))));
    }
}

impl Drop for DialGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.home.lock();
        // After `end`, this may already be somebody else's dial.
        if state.dial.as_ref().is_some_and(|dial| dial.same_channel(&self.sender.subscribe())) {
            state.dial = None;
        }
    }
}

/// One core's connections to the server.
pub(super) struct Cell {
    state: Mutex<State>,
    idle_timeout: Option<Duration>,
}

struct State {
    http1: Idle<Connection<Stream>>,
    http2: Vec<Multiplexed>,
    /// What the last new connection turned out to speak.
    speaks: Option<Protocol>,
    /// A dial that others wait for.
    dial: Option<watch::Receiver<Dial>>,
    /// A task closes what expires.
    watched: bool,
    /// A task closes what is above the limit.
    trimmed: bool,
}

impl State {
    fn new(idle_max: usize) -> Self {
        Self {
            http1: Idle::new(idle_max),
            http2: Vec::new(),
            speaks: None,
            dial: None,
            watched: false,
            trimmed: false,
        }
    }

    fn take(&mut self, want: Want, now: Instant, home: &Arc<Cell>) -> Option<Lease> {
        if want != Want::Http1 && !self.http2.is_empty() {
            self.http2.retain(Multiplexed::open_for_requests);
            if let Some(lease) = self.http2.iter_mut().find_map(|shared| shared.lease(now)) {
                return Some(Lease::Http2(lease));
            }
        }
        if want == Want::Fresh {
            return None;
        }
        while let Some(mut connection) = self.http1.pop(now, home.idle_timeout) {
            if connection.is_alive() {
                return Some(Lease::Http1(connection, home.clone()));
            }
        }
        None
    }

    /// Closes what has been unused for `timeout`; gives when to look again.
    fn expire(&mut self, now: Instant, timeout: Duration) -> Option<Instant> {
        self.http1.expire(now, timeout);
        self.http1.entries.iter_mut().for_each(|(connection, _)| connection.park());
        self.http2.retain(|shared| {
            let unused = shared.unused_since().is_some_and(|since| since + timeout <= now);
            shared.open_for_requests() && !unused
        });
        let shared =
            self.http2.iter().map(|shared| shared.unused_since().unwrap_or(now) + timeout).min();
        self.http1.oldest().map(|since| since + timeout).into_iter().chain(shared).min()
    }
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back an HTTP/1 connection that is ready for another request.
    pub(super) fn put_back(self: &Arc<Self>, connection: Connection<Stream>) {
        let mut state = self.lock();
        let refused = state.http1.push(connection, Instant::now());
        let (watched, trimmed) = (state.watched, state.trimmed || !state.http1.is_over());
        drop(state);
        // One too many is closed, outside of the lock.
        if refused.is_none() && !watched {
            self.watch_expiry();
        }
        if !trimmed {
            self.trim();
        }
    }

    /// Has a task close what is above the limit, until nothing is.
    fn trim(self: &Arc<Self>) {
        if Handle::try_current().is_err() {
            return;
        }
        self.lock().trimmed = true;
        let cell = Arc::downgrade(self);
        super::spawn(async move {
            loop {
                sleep_until(Instant::now() + SPARE).await;
                let Some(cell) = cell.upgrade() else { return };
                let mut state = cell.lock();
                state.http1.trim(Instant::now());
                if !state.http1.is_over() {
                    state.trimmed = false;
                    return;
                }
            }
        });
    }

    /// Has a task close what expires, as long as there is something to close.
    fn watch_expiry(self: &Arc<Self>) {
        let Some(timeout) = self.idle_timeout else { return };
        {
            let mut state = self.lock();
            if state.watched || Handle::try_current().is_err() {
                return;
            }
            state.watched = true;
        }
        let cell = Arc::downgrade(self);
        super::spawn(async move {
            let mut next = Some(Instant::now() + timeout);
            while let Some(at) = next {
                sleep_until(at).await;
                let Some(cell) = cell.upgrade() else { return };
                let mut state = cell.lock();
                next = state.expire(Instant::now(), timeout);
                state.watched = next.is_some();
            }
        });
    }
}

/// A stack of idle connections.
struct Idle<C> {
    /// The one used last is at the end.
    entries: VecDeque<(C, Instant)>,
    max: usize,
}

impl<C> Idle<C> {
    fn new(max: usize) -> Self {
        Self { entries: VecDeque::new(), max }
    }

    /// Gives the connection back where there are more than enough.
    fn push(&mut self, connection: C, now: Instant) -> Option<C> {
        if self.entries.len() >= self.max.saturating_mul(SPARE_TIMES_MAX) {
            return Some(connection);
        }
        self.entries.push_back((connection, now));
        None
    }

    fn is_over(&self) -> bool {
        self.entries.len() > self.max
    }

    /// Closes what is above the limit and was not used for a while.
    fn trim(&mut self, now: Instant) {
        while self.is_over() && self.oldest().is_some_and(|since| since + SPARE <= now) {
            self.entries.pop_front();
        }
    }

    /// The one used last, unless all have expired.
    fn pop(&mut self, now: Instant, timeout: Option<Duration>) -> Option<C> {
        let (connection, since) = self.entries.pop_back()?;
        if timeout.is_some_and(|timeout| since + timeout <= now) {
            self.entries.clear();
            return None;
        }
        Some(connection)
    }

    fn expire(&mut self, now: Instant, timeout: Duration) {
        while self.oldest().is_some_and(|since| since + timeout <= now) {
            self.entries.pop_front();
        }
    }

    fn oldest(&self) -> Option<Instant> {
        self.entries.front().map(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(90);

    #[test]
    fn the_last_used_connection_is_taken_first() {
        let now = Instant::now();
        let mut idle = Idle::new(2);
        assert_eq!(idle.push("a", now), None);
        assert_eq!(idle.push("b", now), None);
        assert_eq!(idle.pop(now, Some(TIMEOUT)), Some("b"));
        assert_eq!(idle.pop(now, Some(TIMEOUT)), Some("a"));
        assert_eq!(idle.pop(now, Some(TIMEOUT)), None);
    }

    #[test]
    fn what_is_above_the_limit_stays_for_a_moment_only() {
        let start = Instant::now();
        let mut idle = Idle::new(2);
        for name in 0..4 {
            assert_eq!(idle.push(name, start + SPARE * name), None);
        }
        idle.trim(start);
        assert_eq!(idle.entries.len(), 4);
        idle.trim(start + SPARE);
        assert_eq!(idle.oldest(), Some(start + SPARE));
        idle.trim(start + SPARE * 9);
        assert_eq!(idle.entries.len(), 2, "not below the limit");
        assert!(!idle.is_over());
        let refused = (0..100).filter(|&name| idle.push(name, start).is_some()).count();
        assert_eq!(refused, 100 + 2 - 2 * SPARE_TIMES_MAX);
        assert_eq!(Idle::new(0).push("a", start), Some("a"), "none are kept at all");
    }

    #[test]
    fn expired_connections_are_neither_taken_nor_kept() {
        let start = Instant::now();
        let mut idle = Idle::new(9);
        for (name, at) in [("a", 0), ("b", 50), ("c", 60)] {
            assert_eq!(idle.push(name, start + Duration::from_secs(at)), None);
        }
        idle.expire(start + Duration::from_secs(100), TIMEOUT);
        assert_eq!(idle.oldest(), Some(start + Duration::from_secs(50)));
        assert_eq!(idle.pop(start + Duration::from_secs(145), Some(TIMEOUT)), Some("c"));
        assert_eq!(idle.pop(start + Duration::from_secs(145), Some(TIMEOUT)), None);
        let mut forever = Idle::new(1);
        assert_eq!(forever.push("a", start), None);
        assert_eq!(forever.pop(start + TIMEOUT * 100, None), Some("a"));
    }
}
