//! What a service manager is told: ready, stopping, still alive (`sd_notify(3)`, `sd_watchdog_enabled(3)`).

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::task::Group;

/// The service manager, where there is one.
pub(crate) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it must hear of us, if it asks for that.
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub(crate) fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|path| {
            let open = || Ok::<_, io::Error>((UnixDatagram::unbound()?, address(path.as_bytes())?));
            let opened = open().and_then(|(socket, address)| {
                socket.set_nonblocking(true)?;
                Ok((socket, address))
            });
            opened.inspect_err(|error| warn!(%error, "NOTIFY_SOCKET cannot be used")).ok()
        });
        let variable = |name: &str| std::env::var(name).ok();
        let watchdog = watchdog(
            std::process::id(),
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
        );
        Self { socket, watchdog }
    }

    /// We accept connections.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// We end.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Tells the watchdog, twice in its time, that every core still gets on with its work. Returns at once where there
    /// is no watchdog.
    pub(crate) async fn keep_alive(&self, cores: Vec<Handle>, stop: CancellationToken) {
        let (Some(time), Some(_)) = (self.watchdog, &self.socket) else { return };
        let groups: Vec<Group> = cores.into_iter().map(Group::new).collect();
        let mut ticks = tokio::time::interval(time / 2);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            // A core that hangs is not waited for: the manager acts when it hears nothing.
            let alive = tokio::time::timeout(time, all_answer(&groups));
            if stop.run_until_cancelled(alive).await.is_some_and(|answered| answered.is_ok()) {
                self.tell("WATCHDOG=1");
            }
        }
    }

    fn tell(&self, state: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            warn!(%error, state, "the service manager cannot be told");
        }
    }
}

/// Returns when a task has run on each core.
async fn all_answer(groups: &[Group]) {
    let (answers, mut answered) = mpsc::channel::<()>(groups.len().max(1));
    for group in groups {
        let answers = answers.clone();
        group.spawn(async move { drop(answers) });
    }
    drop(answers);
    // Nothing is ever sent: it ends with the last task.
    answered.recv().await;
}

/// A path, or a name in the abstract space behind `@`.
fn address(path: &[u8]) -> io::Result<SocketAddr> {
    match path.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
    }
}

fn watchdog(me: u32, time: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(me)) {
        return None;
    }
    time?.parse().ok().filter(|&time| time > 1).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let time = Some(Duration::from_secs(20));
        assert_eq!(watchdog(7, Some("20000000"), Some("7")), time);
        assert_eq!(watchdog(7, Some("20000000"), None), time);
        assert_eq!(watchdog(7, Some("20000000"), Some("8")), None);
        assert_eq!(watchdog(7, None, Some("7")), None);
        for bad in ["", "0", "-1", "soon"] {
            assert_eq!(watchdog(7, Some(bad), None), None, "{bad}");
        }
    }

    #[test]
    fn addresses_are_paths_or_abstract_names() {
        assert_eq!(address(b"@some/name").unwrap().as_abstract_name(), Some(&b"some/name"[..]));
        let path = address(b"/run/notify").unwrap();
        assert_eq!(path.as_pathname(), Some(std::path::Path::new("/run/notify")));
        assert!(address(&[b'a'; 200]).is_err());
    }

    #[tokio::test]
    async fn it_hears_of_us_until_a_core_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = tokio::net::UnixDatagram::bind(&path).unwrap();
        let us = Manager {
            socket: Some((
                UnixDatagram::unbound().unwrap(),
                SocketAddr::from_pathname(&path).unwrap(),
            )),
            watchdog: Some(Duration::from_millis(20)),
        };
        let stop = CancellationToken::new();
        let run = us.keep_alive(vec![Handle::current()], stop.clone());
        let hear = async {
            let mut buffer = [0; 64];
            for _ in 0..2 {
                let length = manager.recv(&mut buffer).await.unwrap();
                assert_eq!(&buffer[..length], b"WATCHDOG=1");
            }
            stop.cancel();
        };
        tokio::join!(run, hear);
        let hung = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let stop = CancellationToken::new();
        let run = us.keep_alive(vec![hung.handle().clone()], stop.clone());
        let silent = async {
            let mut buffer = [0; 64];
            let heard = tokio::time::timeout(Duration::from_millis(100), manager.recv(&mut buffer));
            assert!(heard.await.is_err(), "a core that runs nothing is not alive");
            stop.cancel();
        };
        tokio::join!(run, silent);
        hung.shutdown_background();
    }
}
