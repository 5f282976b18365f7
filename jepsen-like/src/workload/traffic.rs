//! `traffic`: proxied requests through every peer, to routers that stand and to routers that change meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::documents::REGISTERS;
use crate::client;
use crate::history::{Clock, Loss};
use crate::http::{Connection, Request};
use crate::peers::{Address, PEERS};
use crate::random::Random;

/// Users of each peer.
pub(crate) const USERS_PER_PEER: usize = 2;
/// The host of the router that is never changed.
pub(crate) const HOST: &str = "traffic.test";
/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest pause between two requests of a user.
const PAUSE_MAX: Duration = Duration::from_millis(10);
/// Pause after a request without an answer.
const PAUSE_AFTER_LOSS: Duration = Duration::from_millis(50);
/// Connections of the origin at once.
const CONNECTIONS_MAX: usize = 4096;
/// Losses that are kept.
const LOSSES_MAX: usize = 1_000_000;
/// Longest head that the origin reads.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What came of all requests.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) answered: [AtomicU64; PEERS],
    losses: Mutex<Vec<Loss>>,
    /// Losses that are not kept.
    pub(crate) forgotten: AtomicU64,
}

impl Recorder {
    pub(crate) fn losses(&self) -> Vec<Loss> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn total(&self) -> u64 {
        self.answered.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn lose(&self, loss: Loss) {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        if losses.len() < LOSSES_MAX {
            losses.push(loss);
        } else {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A user of one peer.
pub(crate) struct User {
    peer: usize,
    address: Address,
    random: Random,
    clock: Clock,
    connection: Option<Connection>,
    requests: u64,
}

impl User {
    pub(crate) fn new(peer: usize, address: Address, random: Random, clock: Clock) -> Self {
        Self { peer, address, random, clock, connection: None, requests: 0 }
    }

    /// Makes requests until told to stop.
    pub(crate) async fn run(mut self, recorder: &Recorder, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let start = self.clock.now();
            let pause = match self.request().await {
                Ok(()) => {
                    if let Some(count) = recorder.answered.get(self.peer) {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    self.random.up_to(PAUSE_MAX)
                }
                Err(error) => {
                    let (end, reason) = (self.clock.now(), format!("{error:#}"));
                    recorder.lose(Loss { peer: self.peer, start, end, reason });
                    PAUSE_AFTER_LOSS
                }
            };
            let _stopped = stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// One request; most on a connection that has been used before.
    async fn request(&mut self) -> anyhow::Result<()> {
        self.requests += 1;
        let host = match self.random.below(2) {
            0 => HOST.to_owned(),
            _ => client::host(self.random.below(REGISTERS)),
        };
        let target = format!("/{host}/{}", self.requests);
        let fresh = self.random.percent(10);
        let deadline = Instant::now() + ANSWER_MAX;
        let kept = self.connection.take().filter(|connection| connection.reusable() && !fresh);
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(&self.address.web, deadline).await?,
        };
        let request = Request { method: "GET", target: &target, host: &host, ..Request::default() };
        let response = connection.send(&request, deadline).await.with_context(|| host.clone())?;
        let text = response.text();
        anyhow::ensure!(
            response.status == 200 && text == target,
            "{host}: answered {} `{}` to `{target}`",
            response.status,
            text.trim_end()
        );
        self.connection = Some(connection);
        Ok(())
    }
}

/// The server behind the proxy: answers each request with its target. Gives its address.
pub(crate) async fn origin(tasks: &mut JoinSet<()>) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            if connections.len() < CONNECTIONS_MAX {
                connections.spawn(serve(stream));
            }
        }
    });
    Ok(address)
}

/// Ends with the connection, whatever ended it.
async fn serve(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    while let Ok(Some(target)) = asked(&mut stream).await {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The target of the next request, which has no body.
async fn asked(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let (mut target, mut bytes) = (None, 0);
    loop {
        let mut line = String::new();
        bytes += stream.read_line(&mut line).await?;
        if line.is_empty() || bytes > HEAD_BYTES_MAX {
            return Ok(None);
        }
        if line.trim_end().is_empty() {
            return Ok(target);
        }
        target = target.or_else(|| line.split(' ').nth(1).map(ToOwned::to_owned));
    }
}
