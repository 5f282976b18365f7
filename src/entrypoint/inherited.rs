//! Sockets that systemd opened for us: `LISTEN_FDS` and `LISTEN_FDNAMES`, as `sd_listen_fds(3)` says.
//!
//! Traefik v3: socket activation. A socket belongs to the entry point of its name (`FileDescriptorName=` in the unit)
//! and stands in the place of that entry point's `address`.
//!
//! Differs: datagram sockets are taken, too; one that no entry point has the name of is said at start.

use std::collections::HashMap;
use std::env;
use std::io;
use std::os::fd::{FromRawFd as _, RawFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use socket2::{Socket, Type};
use tracing::warn;

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;
/// More descriptors than this are not looked at.
const COUNT_MAX: usize = 1024;

type Sockets = HashMap<String, Vec<Socket>>;

/// Takes the socket for `name`; `None` where systemd passed none. It is an error if there are several, or if the one
/// is of another kind.
pub(super) fn take(name: &str, kind: Type) -> io::Result<Option<Socket>> {
    let mut sockets = all().lock().unwrap_or_else(PoisonError::into_inner);
    one(sockets.remove(name).unwrap_or_default(), kind)
}

/// Says which of the sockets nobody took.
pub(crate) fn tell_unused() {
    let sockets = all().lock().unwrap_or_else(PoisonError::into_inner);
    for name in sockets.keys() {
        warn!(name, "systemd passed a socket that no entry point has the name of");
    }
}

fn all() -> &'static Mutex<Sockets> {
    static ALL: OnceLock<Mutex<Sockets>> = OnceLock::new();
    ALL.get_or_init(|| {
        let variable = |name: &str| env::var(name).ok();
        let names = passed(
            std::process::id(),
            variable("LISTEN_PID").as_deref(),
            variable("LISTEN_FDS").as_deref(),
            variable("LISTEN_FDNAMES").as_deref(),
        );
        let mut sockets = Sockets::new();
        for (descriptor, name) in (FIRST..).zip(names) {
            match adopt(descriptor) {
                Ok(socket) => sockets.entry(name).or_default().push(socket),
                Err(error) => warn!(%error, name, "systemd passed what is no socket"),
            }
        }
        Mutex::new(sockets)
    })
}

/// The names of the descriptors that were passed to this process, and not to one that started it.
fn passed(me: u32, pid: Option<&str>, count: Option<&str>, names: Option<&str>) -> Vec<String> {
    if pid.and_then(|pid| pid.parse().ok()) != Some(me) {
        return Vec::new();
    }
    let count: usize = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    let names = names.unwrap_or_default().split(':');
    // What has no name is `unknown`, as sd_listen_fds_with_names(3) says.
    let named = names.map(|name| if name.is_empty() { "unknown" } else { name });
    let all = named.chain(std::iter::repeat("unknown"));
    all.take(count.min(COUNT_MAX)).map(str::to_owned).collect()
}

fn one(mut sockets: Vec<Socket>, kind: Type) -> io::Result<Option<Socket>> {
    let Some(socket) = sockets.pop() else { return Ok(None) };
    if !sockets.is_empty() {
        return Err(io::Error::other("systemd passed several sockets of this name"));
    }
    if socket.r#type()? != kind {
        return Err(io::Error::other("the socket that systemd passed is of another kind"));
    }
    if kind == Type::STREAM && !socket.is_listener()? {
        return Err(io::Error::other("the socket that systemd passed does not listen"));
    }
    Ok(Some(socket))
}

#[expect(unsafe_code, reason = "the standard library cannot take over descriptors by number")]
fn adopt(descriptor: RawFd) -> io::Result<Socket> {
    // SAFETY: the call only looks at a number; what is not open is an error.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, LISTEN_PID says that it was passed to this process for its use, and `all` runs
    // once, so that nothing else in it owns the number.
    let socket = unsafe { Socket::from_raw_fd(descriptor) };
    socket.set_cloexec(true)?;
    socket.set_nonblocking(true)?;
    // Fails for what is no socket.
    socket.r#type()?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use socket2::Domain;

    use super::*;

    /// static.md §3: "listener picked by FD name = EP name".
    #[test]
    fn descriptors_have_their_names_in_order() {
        let names = |pid, count, names| passed(7, pid, count, names);
        assert_eq!(names(Some("7"), Some("2"), Some("web:secure")), ["web", "secure"]);
        assert_eq!(names(Some("7"), Some("3"), Some("web:")), ["web", "unknown", "unknown"]);
        assert_eq!(names(Some("7"), Some("1"), None), ["unknown"]);
        assert_eq!(names(Some("7"), Some("99999"), None).len(), COUNT_MAX);
        for (pid, count) in [(Some("8"), Some("1")), (None, Some("1")), (Some("7"), None)] {
            assert!(names(pid, count, Some("web")).is_empty(), "{pid:?} {count:?}");
        }
    }

    #[test]
    fn a_socket_must_be_the_only_one_and_of_the_right_kind() {
        let socket = |kind| Socket::new(Domain::IPV4, kind, None).unwrap();
        assert!(one(Vec::new(), Type::STREAM).unwrap().is_none());
        assert!(one(vec![socket(Type::DGRAM)], Type::DGRAM).unwrap().is_some());
        assert!(one(vec![socket(Type::DGRAM)], Type::STREAM).is_err());
        assert!(one(vec![socket(Type::STREAM)], Type::STREAM).is_err(), "it does not listen");
        assert!(one(vec![socket(Type::DGRAM), socket(Type::DGRAM)], Type::DGRAM).is_err());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(one(vec![listener.into()], Type::STREAM).unwrap().is_some());
    }
}
