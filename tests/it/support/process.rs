//! The program under test as a process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// Longest wait for the program to accept connections.
const START_MAX: Duration = Duration::from_secs(20);

/// A running program; it is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    log: std::path::PathBuf,
}

impl Process {
    /// Starts the program in `folder` and waits until every one of `addresses` accepts.
    pub(crate) async fn start(
        folder: &Path,
        arguments: &[String],
        environment: &[(String, String)],
        addresses: &[String],
    ) -> Result<Self, String> {
        let log = folder.join("pontoon.out");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|error| error.to_string())?;
        let errors = file.try_clone().map_err(|error| error.to_string())?;
        let child = Command::new(env!("CARGO_BIN_EXE_pontoon"))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .envs(environment.iter().cloned())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start the program: {error}"))?;
        let mut process = Self { child, log };
        let deadline = Instant::now() + START_MAX;
        for address in addresses {
            process.wait_for(address, deadline).await?;
        }
        Ok(process)
    }

    async fn wait_for(&mut self, address: &str, deadline: Instant) -> Result<(), String> {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        loop {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the program ended with {status}: {}", self.output()));
            }
            if Instant::now() > deadline {
                return Err(format!("nothing accepts at {address}: {}", self.output()));
            }
            tick.tick().await;
        }
    }

    /// What it has printed.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        drop(self.child.kill().await);
    }
}
