//! Writes lines to their file on a thread of its own. Cores hand over filled buffers through a bounded queue.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::cores::PerCore;
use crate::observe::file::LineFile;

/// Buffers that may wait to be written.
const QUEUE_MAX: usize = 256;
/// A buffer of this size is handed over.
const HAND_OVER_BYTES: usize = 32 << 10;
/// Beyond this a core drops lines.
const BUFFER_BYTES_MAX: usize = 1 << 20;
/// Lines of a quiet core wait so long at most.
const DELAY: Duration = Duration::from_millis(20);

enum Message {
    /// Some buffer has lines.
    Wake,
    Lines(Vec<u8>),
    Reopen,
    End,
}

/// Where lines go.
pub(super) enum Output {
    File(LineFile),
    Stdout,
}

/// Buffers of the cores, and the way to the thread.
pub(super) struct Writer {
    buffers: Arc<PerCore<Buffer>>,
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    lines: usize,
}

impl Writer {
    pub(super) fn start(output: Output) -> io::Result<Self> {
        let buffers = Arc::new(PerCore::new(Buffer::default));
        let dropped = Arc::new(AtomicU64::new(0));
        let (queue, messages) = sync_channel(QUEUE_MAX);
        let writing =
            Writing { output, buffers: buffers.clone(), dropped: dropped.clone(), told: 0 };
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writing.run(&messages))?;
        Ok(Self { buffers, queue, dropped, thread: std::sync::Mutex::new(Some(thread)) })
    }

    /// Adds a line to the core's buffer. Never waits: where the thread is too slow, the line is dropped and counted.
    pub(super) fn add(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = self.buffers.local();
        if buffer.bytes.len() >= BUFFER_BYTES_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            write(&mut buffer.bytes);
            buffer.lines += 1;
        }
        if buffer.lines == 1 {
            // A full queue means that the thread is awake, and it looks at all buffers before it sleeps.
            drop(self.queue.try_send(Message::Wake));
        } else if buffer.bytes.len() >= HAND_OVER_BYTES {
            let lines = std::mem::take(&mut *buffer);
            if let Err(refused) = self.queue.try_send(Message::Lines(lines.bytes)) {
                let (std::sync::mpsc::TrySendError::Full(message)
                | std::sync::mpsc::TrySendError::Disconnected(message)) = refused;
                if let Message::Lines(bytes) = message {
                    *buffer = Buffer { bytes, lines: lines.lines };
                }
            }
        }
    }

    /// Opens the file again.
    pub(super) fn reopen(&self) {
        drop(self.queue.try_send(Message::Reopen));
    }

    /// Counts lines that were dropped.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }

    /// Writes all lines and ends the thread. Blocks.
    pub(super) fn end(&self) {
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread
            && self.queue.send(Message::End).is_ok()
            && thread.join().is_err()
        {
            warn!("the thread of the access log has panicked");
        }
    }
}

/// What the thread has.
struct Writing {
    output: Output,
    buffers: Arc<PerCore<Buffer>>,
    dropped: Arc<AtomicU64>,
    /// Dropped lines that were reported.
    told: u64,
}

impl Writing {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut due: Option<Instant> = None;
        loop {
            let message = match due {
                Some(due) => messages.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => messages.recv().map_err(|_ended| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(Message::Wake) => due = due.or_else(|| Some(Instant::now() + DELAY)),
                Ok(Message::Lines(lines)) => {
                    self.write(&lines);
                    due = due.or_else(|| Some(Instant::now() + DELAY));
                }
                Ok(Message::Reopen) => self.reopen(),
                Err(RecvTimeoutError::Timeout) => {
                    self.drain();
                    due = None;
                }
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => {
                    self.drain();
                    return;
                }
            }
        }
    }

    /// Writes what is in the buffers.
    fn drain(&mut self) {
        let mut taken = Vec::new();
        self.buffers.each(|buffer| taken.push(std::mem::take(buffer)));
        for buffer in taken {
            self.write(&buffer.bytes);
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > self.told {
            warn!(lines = dropped - self.told, "the access log is too slow; lines were dropped");
            self.told = dropped;
        }
    }

    fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let written = match &mut self.output {
            Output::File(file) => file.write_all(lines),
            Output::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines).and_then(|()| stdout.flush())
            }
        };
        if let Err(error) = written {
            warn!(%error, "cannot write the access log");
        }
    }

    fn reopen(&mut self) {
        self.drain();
        if let Output::File(file) = &mut self.output
            && let Err(error) = file.reopen()
        {
            warn!(%error, "cannot open the access log again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_thread_does_not_take_is_dropped_and_counted() {
        let writer = Writer::start(Output::Stdout).unwrap();
        writer.end();
        writer.add(|out| out.resize(BUFFER_BYTES_MAX, b'x'));
        assert_eq!(writer.dropped().load(Ordering::Relaxed), 0);
        writer.add(|_| unreachable!("the buffer is full"));
        writer.add(|_| unreachable!("the buffer is full"));
        assert_eq!(writer.dropped().load(Ordering::Relaxed), 2);
    }
}
