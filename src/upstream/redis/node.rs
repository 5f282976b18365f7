//! One Redis server and the connections to it, kept per core.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::reply::{self, REPLY_BYTES_MAX, Reply};
use super::{Error, Settings};
use crate::cores;
use crate::upstream::{ServerStream, StreamServer};

/// A connection that was idle for longer is closed, as the client that Traefik uses does.
const IDLE_MAX: Duration = Duration::from_mins(30);

/// A server.
pub(super) struct Node {
    pub(super) address: String,
    server: StreamServer,
    settings: Arc<Settings>,
    /// One per core, and the last for threads that are none.
    cells: Box<[Arc<Cell>]>,
}

/// One core's connections.
struct Cell {
    state: Mutex<State>,
    /// Connections in use at once.
    slots: Semaphore,
}

#[derive(Default)]
struct State {
    idle: Vec<(Connection, Instant)>,
    /// Connections that there are, idle ones included.
    open: usize,
    /// A task makes more of them.
    filling: bool,
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Connection {
    stream: ServerStream,
    /// What has come and was not read.
    buffer: Vec<u8>,
}

impl Node {
    /// `None` where `address` is not `host:port`, or the host cannot stand in a certificate that is needed.
    pub(super) fn new(address: &str, settings: &Arc<Settings>) -> Option<Self> {
        let transport = settings.transport.clone();
        let server = StreamServer::new(address, None, settings.over_tls, transport).ok()?;
        let cell = |_| {
            Arc::new(Cell {
                state: Mutex::default(),
                slots: Semaphore::new(settings.connections_per_core),
            })
        };
        Some(Self {
            address: address.to_owned(),
            server,
            settings: settings.clone(),
            cells: (0..=cores::count()).map(cell).collect(),
        })
    }

    /// Sends `commands`, which hold `count` of them, and gives the last reply. A connection that has waited idle may
    /// have been closed meanwhile: then a new one is tried.
    pub(super) async fn call(
        self: &Arc<Self>,
        commands: &[u8],
        count: usize,
    ) -> Result<Reply, Error> {
        let cell = self.local().clone();
        let waiting = self.settings.read_timeout + Duration::from_secs(1);
        let _slot: SemaphorePermit<'_> = timeout(waiting, cell.slots.acquire())
            .await
            .map_err(|_elapsed| self.error("all connections are in use"))?
            .map_err(|_closed| self.error("it is used no longer"))?;
        if let Some(mut connection) = self.idle(&cell) {
            let lease = Open { cell: &cell, kept: false };
            if let Ok(reply) = self.exchange(&mut connection, commands, count).await {
                lease.keep(connection);
                return Ok(reply);
            }
        }
        let lease = Open::new(&cell);
        let mut connection = self.connect().await?;
        let reply = self.exchange(&mut connection, commands, count).await?;
        lease.keep(connection);
        Ok(reply)
    }

    /// The idle connection that was used last. Has more made where there are too few.
    fn idle(self: &Arc<Self>, cell: &Arc<Cell>) -> Option<Connection> {
        let now = Instant::now();
        let mut state = cell.lock();
        let before = state.idle.len();
        state.idle.retain(|(_, since)| *since + IDLE_MAX > now);
        state.open = state.open.saturating_sub(before - state.idle.len());
        let found = state.idle.pop().map(|(connection, _)| connection);
        if self.is_short(&state) && !state.filling {
            state.filling = true;
            let (node, cell) = (self.clone(), cell.clone());
            crate::upstream::spawn(async move { node.fill(&cell).await });
        }
        found
    }

    fn is_short(&self, state: &State) -> bool {
        state.idle.len() < self.settings.idle_per_core
            && state.open < self.settings.connections_per_core
    }

    /// Makes connections until enough are idle.
    async fn fill(&self, cell: &Cell) {
        loop {
            {
                let mut state = cell.lock();
                state.filling = self.is_short(&state);
                if !state.filling {
                    return;
                }
            }
            let lease = Open::new(cell);
            match self.connect().await {
                Ok(connection) => lease.keep(connection),
                Err(error) => {
                    tracing::debug!(%error, "no idle connection");
                    drop(lease);
                    cell.lock().filling = false;
                    return;
                }
            }
        }
    }

    /// A new connection that has introduced itself.
    async fn connect(&self) -> Result<Connection, Error> {
        let connected = self.server.connect(b"").await;
        let stream = connected.map_err(|error| self.error(error.to_string()))?;
        let mut connection = Connection { stream, buffer: Vec::new() };
        for command in &self.settings.introduction {
            let reply = self.exchange(&mut connection, command, 1).await?;
            if let Reply::Error(text) = reply {
                return Err(self.error(text));
            }
        }
        Ok(connection)
    }

    async fn exchange(
        &self,
        connection: &mut Connection,
        commands: &[u8],
        count: usize,
    ) -> Result<Reply, Error> {
        timeout(self.settings.write_timeout, async {
            connection.stream.write_all(commands).await?;
            connection.stream.flush().await
        })
        .await
        .map_err(|_elapsed| self.error("it takes no command"))?
        .map_err(|error| self.error(error.to_string()))?;
        let replies = async {
            let mut last = connection.reply().await?;
            for _ in 1..count {
                last = connection.reply().await?;
            }
            Ok(last)
        };
        timeout(self.settings.read_timeout, replies)
            .await
            .map_err(|_elapsed| self.error("it does not answer"))?
            .map_err(|error: std::io::Error| self.error(error.to_string()))
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> Error {
        Error { server: self.address.clone(), reason: reason.into() }
    }

    fn local(&self) -> &Arc<Cell> {
        let cell = cores::here().and_then(|core| self.cells.get(core)).or(self.cells.last());
        cell.expect("there is at least one core")
    }
}

impl Connection {
    async fn reply(&mut self) -> std::io::Result<Reply> {
        loop {
            let parsed = reply::parse(&self.buffer).map_err(std::io::Error::other)?;
            if let Some((reply, length)) = parsed {
                self.buffer.drain(..length);
                return Ok(reply);
            }
            let room = REPLY_BYTES_MAX.saturating_sub(self.buffer.len());
            let mut limited = (&mut self.stream).take(u64::try_from(room).unwrap_or(0));
            if limited.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Counts a connection as open until it is dropped or kept.
struct Open<'a> {
    cell: &'a Cell,
    kept: bool,
}

impl<'a> Open<'a> {
    fn new(cell: &'a Cell) -> Self {
        cell.lock().open += 1;
        Self { cell, kept: false }
    }

    /// Puts the connection among the idle ones.
    fn keep(mut self, connection: Connection) {
        self.kept = true;
        // What came unasked belongs to no command: such a connection cannot be used again.
        let clean = connection.buffer.is_empty();
        let mut state = self.cell.lock();
        if clean {
            state.idle.push((connection, Instant::now()));
        } else {
            state.open = state.open.saturating_sub(1);
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let mut state = self.cell.lock();
            state.open = state.open.saturating_sub(1);
        }
    }
}
