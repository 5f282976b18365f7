//! The program with a configuration of the test's own, on ports that the system gives out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::backend::Backend;
use super::h1::{Reader, Stream};

/// Longest wait for anything that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Two entry points and a watched folder.
pub(crate) const STARTUP: &str = "
entryPoints:
  web: {address: '127.0.0.1:0'}
  secure: {address: '127.0.0.1:0'}
providers:
  providersThrottleDuration: 20ms
  file: {directory: dynamic}
";

/// Everything to the server at `url`, on all entry points, in clear text and with the certificate of
/// [`write_certificate`].
pub(crate) fn everything_to(url: &str) -> String {
    format!(
        "
http:
  routers:
    plain: {{rule: 'PathPrefix(`/`)', service: app}}
    secure: {{rule: 'PathPrefix(`/`)', service: app, tls: {{}}}}
  services:
    app: {{loadBalancer: {{servers: [{{url: '{url}'}}]}}}}
"
    )
}

/// The part of the configuration that names the certificate.
pub(crate) const CERTIFICATE: &str = "
tls:
  certificates: [{certFile: tls/cert.pem, keyFile: tls/key.pem}]
";

/// Writes a new certificate for `localhost` below `folder`, and returns it.
pub(crate) fn write_certificate(folder: &Path) -> rustls::pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::create_dir_all(folder.join("tls")).unwrap();
    std::fs::write(folder.join("tls/key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("tls/cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

/// An address that was free a moment ago, for programs that cannot choose one themselves.
pub(crate) fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// An echo server of `kind` at a free address.
pub(crate) async fn echo(name: &str, kind: &str) -> (Backend, String) {
    let address = free_address();
    (Backend::start(name, kind, &address, None, None).await, address)
}

/// Looks again and again until there is something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    loop {
        tick.tick().await;
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
    }
}

/// A running program; it is killed when this is dropped.
pub(crate) struct Running {
    pub(crate) folder: tempfile::TempDir,
    child: Child,
    addresses: BTreeMap<String, SocketAddr>,
}

impl Running {
    /// A folder with the files of an installation, among them a certificate.
    pub(crate) fn prepare(startup: &str, dynamic: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        std::fs::create_dir_all(folder.path().join("dynamic")).unwrap();
        std::fs::write(folder.path().join("pontoon.yml"), startup).unwrap();
        for (name, text) in dynamic {
            std::fs::write(folder.path().join("dynamic").join(name), text).unwrap();
        }
        folder
    }

    /// Starts the program in a prepared folder, and waits until it says that it is ready.
    pub(crate) async fn start_in(folder: tempfile::TempDir) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// The same, with these variables of the environment.
    pub(crate) async fn start_with(
        folder: tempfile::TempDir,
        environment: &[(&str, &str)],
    ) -> Self {
        let ready = folder.path().join("ready");
        let log = std::fs::File::create(folder.path().join("pontoon.out")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_pontoon"))
            .arg("--configFile=pontoon.yml")
            .env_clear()
            .env("PONTOON_READY_FILE", &ready)
            .envs(environment.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut running = Self { folder, child, addresses: BTreeMap::new() };
        let deadline = Instant::now() + PATIENCE;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while !ready.is_file() {
            tick.tick().await;
            let ended = running.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the program does not start: {}",
                running.output()
            );
        }
        for line in std::fs::read_to_string(ready).unwrap().lines() {
            let (name, address) = line.split_once(' ').unwrap();
            running.addresses.insert(name.to_owned(), address.parse().unwrap());
        }
        running
    }

    /// Starts the program with these files, and waits until requests for `/` find a router.
    pub(crate) async fn start(startup: &str, dynamic: &[(&str, &str)]) -> Self {
        let running = Self::start_in(Self::prepare(startup, dynamic)).await;
        running.until("/", |answer| answer.status != 404).await;
        running
    }

    /// Starts the program with everything going to the server at `url`.
    pub(crate) async fn before(url: &str) -> Self {
        Self::start(STARTUP, &[("app.yml", &(everything_to(url) + CERTIFICATE))]).await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn address(&self, entry_point: &str) -> SocketAddr {
        self.addresses[entry_point]
    }

    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.path("pontoon.out")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// Asks until the answer is as it should be.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let what = format!("the wanted answer for {path}");
        let address = self.address("web");
        let wanted = &wanted;
        eventually(&what, || async move {
            get(address, path).await.ok().filter(|answer| wanted(answer))
        })
        .await
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.pid());
        let sent = std::process::Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(sent.success(), "{command}");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("it does not end: {}", self.output()))
            .unwrap()
    }
}

/// A response.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// When each piece of the body ended, with its length until then.
    pub(crate) arrivals: Vec<(usize, Instant)>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        super::h1::joined(&self.headers, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    ask(&mut Reader::new(TcpStream::connect(address).await?), path).await
}

/// A request on a connection that stays open.
pub(crate) async fn ask<S: Stream>(reader: &mut Reader<S>, path: &str) -> std::io::Result<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    send(reader, request.as_bytes()).await
}

/// A request as it is written, on a connection that stays open.
pub(crate) async fn send<S: Stream>(
    reader: &mut Reader<S>,
    request: &[u8],
) -> std::io::Result<Answer> {
    reader.stream.write_all(request).await?;
    let ended = || std::io::Error::other("the connection ended");
    let head = reader.head().await?.ok_or_else(ended)?;
    let status = head.start.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = reader.body(&head, true).await?;
    Ok(Answer {
        status: status.unwrap_or(0),
        headers: head.headers,
        body: body.bytes,
        arrivals: body.arrivals,
    })
}

/// Sends bytes as they are, and returns all that comes until the other side closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let bytes = bytes.to_vec();
    // Beside the reading: who is refused in the middle may not be listened to any longer.
    let writing = tokio::spawn(async move {
        drop(write.write_all(&bytes).await);
        write
    });
    let mut answer = Vec::new();
    let reading = read.read_to_end(&mut answer);
    drop(tokio::time::timeout(PATIENCE, reading).await.expect("the connection is closed"));
    drop(writing.await);
    answer
}
