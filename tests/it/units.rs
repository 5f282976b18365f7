//! What systemd does with services: sockets that it opens, and what it wants to hear (static.md §3, "systemd socket
//! activation").

use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixDatagram;
use tokio::process::Command;

use crate::support::running::{PATIENCE, Running, echo, eventually, everything_to, get};

const STARTUP: &str = "
log: {level: WARN}
entryPoints:
  web: {address: '127.0.0.1:1'}
  other: {address: '127.0.0.1:0'}
  dns: {address: '127.0.0.1:1/udp', udp: {timeout: 10s}}
providers:
  file: {directory: dynamic}
";

/// The program in `folder` with sockets as descriptors 3 and following; a shell puts them there and says its own id.
fn with_sockets(folder: &Path, sockets: &[(&str, i32)]) -> Command {
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    // Out of the way first: a low number may be among the sources.
    let moved = |number: usize| 60 + number;
    let mut script = String::new();
    for (number, (_, descriptor)) in sockets.iter().enumerate() {
        script += &format!("exec {}<&{descriptor}; ", moved(number));
    }
    for number in 0..sockets.len() {
        script += &format!("exec {}<&{}; ", number + 3, moved(number));
    }
    script += &format!(
        "LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={} exec {} --configFile=pontoon.yml",
        sockets.len(),
        names.join(":"),
        env!("CARGO_BIN_EXE_pontoon"),
    );
    let mut command = Command::new("/bin/bash");
    command.args(["-c", &script]).current_dir(folder).kill_on_drop(true);
    command
}

/// Duplicates without close-on-exec, for the child.
fn passable(socket: &impl std::os::fd::AsFd) -> socket2::Socket {
    let copy = socket2::Socket::from(socket.as_fd().try_clone_to_owned().unwrap());
    copy.set_cloexec(false).unwrap();
    copy
}

#[tokio::test]
async fn entry_points_take_the_sockets_of_their_names() {
    let (_backend, address) = echo("app", "http").await;
    let udp_backend = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dynamic = everything_to(&format!("http://{address}"))
        + &format!(
            "udp:\n  routers: {{dns: {{entryPoints: [dns], service: dns}}}}\n  services: {{dns: {{loadBalancer: \
             {{servers: [{{address: '{}'}}]}}}}}}\n",
            udp_backend.local_addr().unwrap()
        );
    let folder = Running::prepare(STARTUP, &[("app.yml", &dynamic)]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (web, dns) = (listener.local_addr().unwrap(), datagrams.local_addr().unwrap());
    // Who comes before the program waits for it.
    let early = tokio::spawn(get(web, "/early"));
    let (listener, datagrams) = (passable(&listener), passable(&datagrams));
    let mut child = with_sockets(
        folder.path(),
        &[
            ("dns", datagrams.as_raw_fd()),
            ("web", listener.as_raw_fd()),
            ("x", listener.as_raw_fd()),
        ],
    )
    .stdout(std::process::Stdio::piped())
    .spawn()
    .unwrap();
    drop((listener, datagrams));
    let answer = tokio::time::timeout(PATIENCE, early).await.unwrap().unwrap().unwrap();
    assert!(answer.status == 200 || answer.status == 404, "{}", answer.status);
    eventually("an answer", || async {
        get(web, "/").await.ok().filter(|answer| answer.status == 200)
    })
    .await;
    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(b"ask", dns).await.unwrap();
    let mut buffer = [0; 16];
    let heard = tokio::time::timeout(PATIENCE, udp_backend.recv_from(&mut buffer)).await;
    assert_eq!(heard.unwrap().unwrap().0, 3);
    child.start_kill().unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert!(text.contains("no entry point has the name of"), "{text}");
}

#[tokio::test]
async fn the_service_manager_hears_ready_alive_and_stopping() {
    let startup = STARTUP.replace("127.0.0.1:1'", "127.0.0.1:0'").replace(":1/udp", ":0/udp");
    let folder = Running::prepare(&startup, &[]);
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pontoon"))
        .arg("--configFile=pontoon.yml")
        .current_dir(folder.path())
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let hear = async || {
        let mut buffer = [0; 128];
        let length =
            tokio::time::timeout(PATIENCE, manager.recv(&mut buffer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(hear().await, "READY=1");
    assert_eq!(hear().await, "WATCHDOG=1");
    assert_eq!(hear().await, "WATCHDOG=1");
    let sent = std::process::Command::new("kill").arg(child.id().unwrap().to_string()).status();
    assert!(sent.unwrap().success());
    let mut heard = hear().await;
    while heard == "WATCHDOG=1" {
        heard = hear().await;
    }
    assert_eq!(heard, "STOPPING=1");
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(ended.success());
}
