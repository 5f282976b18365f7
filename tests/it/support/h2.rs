//! HTTP/2 by hand: frames as they are written, so that a test can send what no library would.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use super::running::PATIENCE;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// Error codes (RFC 9113 §7).
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as literals that are never indexed (RFC 7541 §6.2.3): any byte may stand in them.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            put_length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A length of seven bits and more (RFC 7541 §5.1), of a text that is not Huffman-coded.
pub(crate) fn put_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return block.push(u8::try_from(length).unwrap());
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// The fields of a good request.
pub(crate) fn request<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
}

/// HEADERS of a GET without a body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&request("GET", path)))
}

/// HEADERS of a POST whose body follows.
pub(crate) fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&request("POST", path)))
}

/// A setting (RFC 9113 §6.5.1).
pub(crate) fn setting(name: u16, value: u32) -> Vec<u8> {
    [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A frame that came.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    fn number(&self, at: usize) -> u32 {
        let bytes = self.payload.get(at..at + 4).unwrap_or(&[0; 4]);
        u32::from_be_bytes(bytes.try_into().unwrap())
    }
}

/// How a connection ended, and what came on it before.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    /// Codes of GOAWAY.
    pub(crate) goaways: Vec<u32>,
    /// Codes of `RST_STREAM` by stream.
    pub(crate) resets: BTreeMap<u32, u32>,
    /// First byte of the first head of each stream: the status, where the static table has it.
    pub(crate) heads: BTreeMap<u32, u8>,
    /// Bytes of DATA by stream.
    pub(crate) data: BTreeMap<u32, usize>,
    /// Acknowledged pings and settings.
    pub(crate) acks: usize,
    pub(crate) closed: bool,
}

/// A status of the static table of HPACK.
pub(crate) fn indexed_status(status: u16) -> u8 {
    match status {
        200 => 0x88,
        204 => 0x89,
        206 => 0x8a,
        304 => 0x8b,
        400 => 0x8c,
        404 => 0x8d,
        500 => 0x8e,
        other => panic!("{other} is not in the static table"),
    }
}

impl Ending {
    fn note(&mut self, frame: &Frame) {
        match frame.kind {
            DATA => *self.data.entry(frame.stream).or_default() += frame.payload.len(),
            HEADERS => {
                let first = frame.payload.iter().find(|byte| **byte & 0xe0 != 0x20);
                self.heads.entry(frame.stream).or_insert(first.copied().unwrap_or_default());
            }
            RST_STREAM => drop(self.resets.insert(frame.stream, frame.number(0))),
            GOAWAY => self.goaways.push(frame.number(4)),
            SETTINGS | PING if frame.flags & ACK != 0 => self.acks += 1,
            _ => {}
        }
    }

    pub(crate) fn status(&self, stream: u32, status: u16) -> bool {
        self.heads.get(&stream) == Some(&indexed_status(status))
    }

    /// True where the connection was ended for one of these reasons; a close without a word counts.
    pub(crate) fn ended_with(&self, codes: &[u32]) -> bool {
        self.closed && self.goaways.iter().all(|code| codes.contains(code))
    }
}

/// The client's end of a connection.
pub(crate) struct Peer {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    pub(crate) seen: Ending,
}

impl Peer {
    /// Connects and sends `start`, which should begin with [`PREFACE`].
    pub(crate) async fn starting_with(address: SocketAddr, start: &[u8]) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (read, write) = stream.into_split();
        let mut peer = Self { read, write, seen: Ending::default() };
        peer.send(start).await;
        peer
    }

    /// Connects as a client that has nothing to say about settings.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::with_settings(address, &[]).await
    }

    pub(crate) async fn with_settings(address: SocketAddr, settings: &[u8]) -> Self {
        Self::starting_with(address, &[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await
    }

    /// Sends bytes; that the other side has closed shows in what it says.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let sent = tokio::time::timeout(PATIENCE, self.write.write_all(bytes)).await;
        drop(sent.expect("the other side reads"));
    }

    /// Sends bytes for as long as they are taken within `patience` each, and tells how many were. Nothing is read.
    pub(crate) async fn stuff(&mut self, bytes: &[u8], times: usize, patience: Duration) -> usize {
        for time in 0..times {
            match tokio::time::timeout(patience, self.write.write_all(bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return time,
            }
        }
        times
    }

    /// Reads until what was seen is enough, or until the other side closes.
    pub(crate) async fn until(&mut self, what: &str, enough: impl Fn(&Ending) -> bool) -> &Ending {
        watch(&mut self.read, &mut self.seen, what, enough).await;
        &self.seen
    }

    /// The same for a while; false where neither came.
    pub(crate) async fn within(
        &mut self,
        time: Duration,
        enough: impl Fn(&Ending) -> bool,
    ) -> bool {
        let deadline = Instant::now() + time;
        watch_for(&mut self.read, &mut self.seen, deadline, enough).await
    }

    /// Sends all of `bytes` while it reads, to the end of the connection or until what was seen is enough.
    pub(crate) async fn flood(
        mut self,
        bytes: Vec<u8>,
        what: &str,
        enough: impl Fn(&Ending) -> bool,
    ) -> Ending {
        let mut write = self.write;
        let writing = tokio::spawn(async move {
            drop(write.write_all(&bytes).await);
            // Not closed before the other side has said what it thinks.
            write
        });
        watch(&mut self.read, &mut self.seen, what, enough).await;
        writing.abort();
        self.seen
    }

    /// Sends `bytes` ten times a second while it reads, to the end of the connection or until what was seen is enough.
    pub(crate) async fn dribble(
        mut self,
        bytes: Vec<u8>,
        what: &str,
        enough: impl Fn(&Ending) -> bool,
    ) -> Ending {
        let mut write = self.write;
        let writing = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            while write.write_all(&bytes).await.is_ok() {
                tick.tick().await;
            }
        });
        watch(&mut self.read, &mut self.seen, what, enough).await;
        writing.abort();
        self.seen
    }
}

async fn watch(
    read: &mut OwnedReadHalf,
    seen: &mut Ending,
    what: &str,
    enough: impl Fn(&Ending) -> bool,
) {
    let came = watch_for(read, seen, Instant::now() + PATIENCE, enough).await;
    assert!(came, "{what}: not within {PATIENCE:?}; seen: {seen:?}");
}

async fn watch_for(
    read: &mut OwnedReadHalf,
    seen: &mut Ending,
    deadline: Instant,
    enough: impl Fn(&Ending) -> bool,
) -> bool {
    while !seen.closed && !enough(seen) {
        match tokio::time::timeout_at(deadline, next(read)).await {
            Ok(Some(frame)) => seen.note(&frame),
            Ok(None) => seen.closed = true,
            Err(_) => return false,
        }
    }
    true
}

async fn next(read: &mut OwnedReadHalf) -> Option<Frame> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    read.read_exact(&mut payload).await.ok()?;
    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    Some(Frame { kind: head[3], flags: head[4], stream, payload })
}
