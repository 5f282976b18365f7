//! Sockets of entry points: one per core on the same port (`SO_REUSEPORT`), so that a connection stays on the core that
//! accepts it, and the datagrams of a client on the core that has its session.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, TcpKeepalive, Type};

use super::address::Address;

/// Connections that the kernel holds until they are accepted; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Traefik's.
const KEEPALIVE: Duration = Duration::from_mins(3);

/// Listens `cores` times. Unless `shared`, the port must be free of other processes.
pub(super) fn listen(
    address: &Address,
    shared: bool,
    cores: usize,
) -> io::Result<Vec<TcpListener>> {
    let sockets = open(address, Type::STREAM, shared, cores)?;
    Ok(sockets.into_iter().map(Into::into).collect())
}

/// As [`listen`], for datagrams.
pub(super) fn receive(address: &Address, shared: bool, cores: usize) -> io::Result<Vec<UdpSocket>> {
    let sockets = open(address, Type::DGRAM, shared, cores)?;
    Ok(sockets.into_iter().map(Into::into).collect())
}

/// The listener that systemd opened, once for each core. Whichever is first accepts a connection, and keeps it.
pub(super) fn inherited(listener: &Socket, cores: usize) -> io::Result<Vec<TcpListener>> {
    configure(listener)?;
    (0..cores.max(1)).map(|_| listener.try_clone().map(Into::into)).collect()
}

fn open(address: &Address, kind: Type, shared: bool, cores: usize) -> io::Result<Vec<Socket>> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for candidate in address.candidates()? {
        match open_at(candidate, kind, shared, cores) {
            Err(error) if is_missing_family(&error) => last = error,
            result => return result,
        }
    }
    Err(last)
}

/// True where the machine has no IPv6.
fn is_missing_family(error: &io::Error) -> bool {
    let missing = [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| missing.contains(&code))
}

fn open_at(address: SocketAddr, kind: Type, shared: bool, cores: usize) -> io::Result<Vec<Socket>> {
    if !shared && address.port() != 0 {
        // A socket that does not share fails where another process listens, even one that would share.
        drop(bound(address, kind, false)?);
    }
    let first = opened(address, kind)?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    while sockets.len() < cores.max(1) {
        sockets.push(opened(address, kind)?);
    }
    Ok(sockets)
}

fn opened(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = bound(address, kind, true)?;
    if kind == Type::STREAM {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

/// Accepted sockets inherit what is set here: no system calls for each connection.
fn bound(address: SocketAddr, kind: Type, share_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(share_port)?;
    socket.set_nonblocking(true)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
        configure(&socket)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn configure(listener: &Socket) -> io::Result<()> {
    listener.set_tcp_nodelay(true)?;
    listener.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn cores_share_a_port_that_others_cannot_have() {
        let listeners = listen(&free("127.0.0.1:0"), false, 3).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap().port() == port));
        let again = free(&format!("127.0.0.1:{port}"));
        assert_eq!(listen(&again, false, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(listen(&again, true, 1).unwrap().len(), 1);
    }

    #[test]
    fn datagrams_share_a_port_in_the_same_way() {
        let sockets = receive(&free("127.0.0.1:0/udp"), false, 2).unwrap();
        let port = sockets[0].local_addr().unwrap().port();
        assert_eq!(sockets[1].local_addr().unwrap().port(), port);
        let again = free(&format!("127.0.0.1:{port}/udp"));
        assert_eq!(receive(&again, false, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(receive(&again, true, 1).unwrap().len(), 1);
    }

    #[test]
    fn accepted_sockets_inherit_their_options() {
        let listener = listen(&free("127.0.0.1:0"), false, 1).unwrap().remove(0);
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = Socket::from(listener.accept().unwrap().0);
        assert!(accepted.tcp_nodelay().unwrap() && accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE);
    }
}
