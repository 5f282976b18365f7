//! Streams that no request has: each side's control stream, and the client's two of QPACK (RFC 9114, 6.2).

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;

use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;

use super::frames::{self, Error, Frames, Head};
use super::{Shared, code, varint};

const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;
const ENCODER: u64 = 0x2;
const DECODER: u64 = 0x3;

/// `SETTINGS_MAX_FIELD_SECTION_SIZE`
const FIELD_SECTION_BYTES_MAX: u64 = 0x6;
/// More settings than anybody has.
const SETTINGS_BYTES_MAX: u64 = 4096;
/// Of the other frames of a control stream, which hold one integer.
const FRAME_BYTES_MAX: u64 = varint::BYTES_MAX as u64;

/// Which of its streams a client has opened: there is one of each kind.
#[derive(Debug, Default)]
pub(super) struct Opened(std::sync::atomic::AtomicU8);

impl Opened {
    fn open(&self, kind: u64) -> Result<(), Error> {
        let bit = 1 << kind;
        let before = self.0.fetch_or(bit, std::sync::atomic::Ordering::Relaxed);
        if before & bit == 0 {
            return Ok(());
        }
        Err(Error::Connection(code::STREAM_CREATION_ERROR, "a second stream of one kind"))
    }
}

/// Our control stream: settings, then a GOAWAY for each id that comes. A client that takes no streams goes without.
pub(super) async fn send(
    shared: Arc<Shared>,
    mut goaways: mpsc::Receiver<u64>,
) -> Result<(), Error> {
    let Ok(mut stream) = shared.connection.open_uni().await else { return Ok(()) };
    let mut bytes = Vec::new();
    varint::put(&mut bytes, CONTROL);
    let mut settings = Vec::new();
    varint::put(&mut settings, FIELD_SECTION_BYTES_MAX);
    varint::put(&mut settings, shared.settings.head_bytes_max.min(u64::from(u32::MAX)));
    put_frame(&mut bytes, frames::SETTINGS, &settings);
    loop {
        write(&mut stream, &bytes).await?;
        // At the end the stream stays open: to close it would be an error.
        let Some(id) = goaways.recv().await else { return std::future::pending().await };
        bytes.clear();
        let mut last = Vec::new();
        varint::put(&mut last, id);
        put_frame(&mut bytes, frames::GOAWAY, &last);
    }
}

async fn write(stream: &mut SendStream, bytes: &[u8]) -> Result<(), Error> {
    stream.write_all(bytes).await.map_err(|error| match error {
        quinn::WriteError::Stopped(_) => CLOSED,
        _ => Error::Gone,
    })
}

fn put_frame(out: &mut Vec<u8>, kind: u64, payload: &[u8]) {
    varint::put(out, kind);
    varint::put(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

const CLOSED: Error =
    Error::Connection(code::CLOSED_CRITICAL_STREAM, "a stream was closed that has to stay open");

/// Follows a stream of the client's to its end. Gives true for one that means nothing.
pub(super) async fn receive(shared: Arc<Shared>, stream: RecvStream) -> Result<bool, Error> {
    let mut frames = Frames::new(stream);
    let Ok(Some(kind)) = poll_fn(|cx| frames.poll_integer(cx)).await else { return Ok(true) };
    if matches!(kind, CONTROL | ENCODER | DECODER) {
        shared.opened.open(kind)?;
    }
    match kind {
        CONTROL => control(&mut frames).await,
        ENCODER => encoder(&mut frames).await,
        DECODER => decoder(&mut frames).await,
        PUSH => Err(Error::Connection(code::STREAM_CREATION_ERROR, "a push of the client's")),
        _ => {
            frames.stop(code::STREAM_CREATION_ERROR);
            Ok(true)
        }
    }
}

/// Settings first, then what clients may say about pushes, of which there are none.
async fn control(frames: &mut Frames) -> Result<bool, Error> {
    let mut begun = false;
    loop {
        let head = critical(poll_fn(|cx| frames.poll_head(cx)).await)?.ok_or(CLOSED)?;
        match head.kind {
            frames::SETTINGS if !begun => {
                let bytes = payload(frames, head, SETTINGS_BYTES_MAX).await?;
                check_settings(&bytes)
                    .map_err(|reason| Error::Connection(code::SETTINGS_ERROR, reason))?;
                begun = true;
            }
            _ if !begun => {
                return Err(Error::Connection(code::MISSING_SETTINGS, "settings come first"));
            }
            frames::GOAWAY | frames::MAX_PUSH_ID => {
                let bytes = payload(frames, head, FRAME_BYTES_MAX).await?;
                if varint::read(&bytes).is_none_or(|(_, length)| length != bytes.len()) {
                    return Err(Error::Connection(code::FRAME_ERROR, "a frame without its id"));
                }
            }
            frames::CANCEL_PUSH => {
                return Err(Error::Connection(code::ID_ERROR, "there are no pushes"));
            }
            kind if matches!(kind, frames::DATA | frames::HEADERS)
                || frames::is_misplaced(kind) =>
            {
                return Err(Error::Connection(
                    code::FRAME_UNEXPECTED,
                    "a frame that a control stream may not have there",
                ));
            }
            // The next head passes over the payload.
            _ => {}
        }
    }
}

async fn payload(frames: &mut Frames, head: Head, bytes_max: u64) -> Result<Vec<u8>, Error> {
    if head.length > bytes_max {
        return Err(Error::Connection(code::EXCESSIVE_LOAD, "a frame that is too long"));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = critical(poll_fn(|cx| frames.poll_payload(cx)).await)? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// RFC 9114, 7.2.4. None of the values is of interest: we send no pushes and use no dynamic table.
fn check_settings(bytes: &[u8]) -> Result<(), &'static str> {
    let mut rest = bytes;
    let mut seen = BTreeSet::new();
    let mut next = || {
        let (value, length) = varint::read(rest)?;
        rest = rest.get(length..)?;
        Some(value)
    };
    while let Some(id) = next() {
        next().ok_or("a setting without its value")?;
        if matches!(id, 0x0 | 0x2..=0x5) {
            return Err("a setting of HTTP/2");
        }
        if !seen.insert(id) {
            return Err("a setting that is there twice");
        }
    }
    if rest.is_empty() { Ok(()) } else { Err("a setting without its value") }
}

/// There is no dynamic table, which a client may say again; it can have no entries.
async fn encoder(frames: &mut Frames) -> Result<bool, Error> {
    const CAPACITY_OF_NOTHING: u8 = 0b0010_0000;
    loop {
        match critical(poll_fn(|cx| frames.poll_byte(cx)).await)? {
            Some(CAPACITY_OF_NOTHING) => {}
            Some(_) => return Err(wrong(code::ENCODER_STREAM_ERROR)),
            None => return Err(CLOSED),
        }
    }
}

/// Nothing of ours is there to be acknowledged; a client may say that it has cancelled a stream.
async fn decoder(frames: &mut Frames) -> Result<bool, Error> {
    loop {
        let first = critical(poll_fn(|cx| frames.poll_byte(cx)).await)?.ok_or(CLOSED)?;
        if first & 0b1100_0000 != 0b0100_0000 {
            return Err(wrong(code::DECODER_STREAM_ERROR));
        }
        let mut more = first & 0b0011_1111 == 0b0011_1111;
        while more {
            let byte = critical(poll_fn(|cx| frames.poll_byte(cx)).await)?.ok_or(CLOSED)?;
            more = byte & 0x80 != 0;
        }
    }
}

fn wrong(code: VarInt) -> Error {
    Error::Connection(code, "an instruction about a table that is not there")
}

/// A reset of such a stream is an error, unless the whole connection is gone, which is seen elsewhere.
fn critical<T>(read: Result<T, Error>) -> Result<T, Error> {
    read.map_err(|error| match error {
        Error::Gone => CLOSED,
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_pairs_of_different_ids() {
        for (bytes, valid) in [
            (&[][..], true),
            (&[0x1, 0x0, 0x6, 0x40, 0x64], true),
            (&[0x21, 0x0], true),
            (&[0x1], false),
            (&[0x1, 0x40], false),
            (&[0x1, 0x0, 0x1, 0x0], false),
            (&[0x2, 0x0], false),
            (&[0x0, 0x0], false),
        ] {
            assert_eq!(check_settings(bytes).is_ok(), valid, "{bytes:?}");
        }
    }
}
