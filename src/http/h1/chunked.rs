//! The chunked transfer coding, RFC 9112 section 7.1, as it is read.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Frame;

use super::framing::DecodeError;
use crate::http::forwarded::is_managed;

/// Longest line with a chunk's size and its extensions.
const SIZE_LINE_MAX: usize = 4096;
/// Longest line of a trailer.
const TRAILER_LINE_MAX: usize = 8192;
/// All trailers together.
const TRAILERS_BYTES_MAX: usize = 16 * 1024;
const TRAILERS_MAX: usize = 100;
/// How much more than a plain size line and a fair share of data the framing may cost in all.
const OVERHEAD_MAX: usize = 16 * 1024;

/// Takes a chunked body apart.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes of framing that the data does not excuse.
    overhead: usize,
    trailers: Option<Box<HeaderMap>>,
    trailers_bytes: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

impl Chunked {
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The next piece of the body; `None` where more input is needed or where the body has ended.
    pub(crate) fn decode(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<Frame<Bytes>>, DecodeError> {
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = take_line(input, SIZE_LINE_MAX)? else {
                        return Ok(None);
                    };
                    let size = parse_size(&line)?;
                    self.charge(line.len(), size)?;
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::Data(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let data = input.split_to(count).freeze();
                    let left = left.saturating_sub(count as u64);
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Some(Frame::data(data)));
                }
                State::DataEnd => {
                    if !take_line_end(input)? {
                        return Ok(None);
                    }
                    self.state = State::Size;
                }
                State::Trailers => {
                    let Some(line) = take_line(input, TRAILER_LINE_MAX)? else {
                        return Ok(None);
                    };
                    if !line.is_empty() {
                        self.trailer(&line)?;
                        continue;
                    }
                    self.state = State::Done;
                    return Ok(self.trailers.take().map(|trailers| Frame::trailers(*trailers)));
                }
                State::Done => return Ok(None),
            }
        }
    }

    /// Bytes that a body needs for its framing grow with its data; a body that is nearly all framing is an attack.
    fn charge(&mut self, line: usize, size: u64) -> Result<(), DecodeError> {
        let excused = usize::try_from(size).unwrap_or(usize::MAX).saturating_mul(2);
        self.overhead = (self.overhead + line).saturating_sub(excused.saturating_add(16));
        if self.overhead > OVERHEAD_MAX {
            return Err(DecodeError::ChunkOverhead);
        }
        Ok(())
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), DecodeError> {
        self.trailers_bytes += line.len();
        let trailers = self.trailers.get_or_insert_default();
        if self.trailers_bytes > TRAILERS_BYTES_MAX || trailers.len() >= TRAILERS_MAX {
            return Err(DecodeError::TrailersTooLarge);
        }
        let colon = line.iter().position(|&byte| byte == b':').ok_or(DecodeError::Trailer)?;
        let (name, value) = line.split_at_checked(colon).ok_or(DecodeError::Trailer)?;
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        let name = HeaderName::from_bytes(name).map_err(|_error| DecodeError::Trailer)?;
        let value = HeaderValue::from_bytes(value).map_err(|_error| DecodeError::Trailer)?;
        if may_be_trailer(&name) {
            trailers.append(name, value);
        }
        Ok(())
    }
}

/// Removes what may not stand in trailers.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    let bad: Vec<HeaderName> =
        trailers.keys().filter(|name| !may_be_trailer(name)).cloned().collect();
    for name in bad {
        trailers.remove(name);
    }
}

/// False for fields that decide framing, routing or authentication, and for those of which only trusted clients are
/// believed: RFC 9110, section 6.5.1.
pub(crate) fn may_be_trailer(name: &HeaderName) -> bool {
    const NEVER: [HeaderName; 12] = [
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::TRAILER,
        header::HOST,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::EXPECT,
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
        header::AUTHORIZATION,
        header::COOKIE,
    ];
    !NEVER.contains(name) && !is_managed(name.as_str())
}

/// A line without its CRLF; `None` where its end is not here yet.
fn take_line(input: &mut BytesMut, max: usize) -> Result<Option<BytesMut>, DecodeError> {
    let Some(end) = input.iter().take(max).position(|&byte| byte == b'\n') else {
        return if input.len() >= max { Err(DecodeError::LineTooLong) } else { Ok(None) };
    };
    let mut line = input.split_to(end + 1);
    line.truncate(end);
    if line.last() != Some(&b'\r') {
        return Err(DecodeError::BareLineFeed);
    }
    line.truncate(end.saturating_sub(1));
    if line.iter().any(|&byte| byte != b'\t' && byte.is_ascii_control()) {
        return Err(DecodeError::ControlCharacter);
    }
    Ok(Some(line))
}

/// Takes the CRLF after a chunk's data; false where it is not here yet.
fn take_line_end(input: &mut BytesMut) -> Result<bool, DecodeError> {
    match (input.first(), input.get(1)) {
        (None, _) | (Some(b'\r'), None) => Ok(false),
        (Some(b'\r'), Some(b'\n')) => {
            input.advance(2);
            Ok(true)
        }
        _ => Err(DecodeError::ChunkEnd),
    }
}

/// One to sixteen hexadecimal digits, then perhaps extensions, which are ignored.
fn parse_size(line: &[u8]) -> Result<u64, DecodeError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (number, rest) = line.split_at_checked(digits).ok_or(DecodeError::ChunkSize)?;
    if !(1..=16).contains(&digits) {
        return Err(DecodeError::ChunkSize);
    }
    let extension = rest.trim_ascii_start();
    if !rest.is_empty() && !extension.starts_with(b";") {
        return Err(DecodeError::ChunkSize);
    }
    let number = std::str::from_utf8(number).map_err(|_error| DecodeError::ChunkSize)?;
    let size = u64::from_str_radix(number, 16).map_err(|_error| DecodeError::ChunkSize)?;
    if i64::try_from(size).is_err() {
        return Err(DecodeError::ChunkSize);
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::super::encode::{put_chunk_size, put_trailers};
    use super::*;
    use proptest::prelude::*;

    /// Data, trailers, what was left over, and whether the body had ended.
    type Decoded = (Vec<u8>, Option<HeaderMap>, Vec<u8>, bool);

    /// Feeds `input` in pieces of the given sizes, over and over.
    fn decode(input: &[u8], pieces: &[usize]) -> Result<Decoded, DecodeError> {
        let mut decoder = Chunked::default();
        let mut buffer = BytesMut::new();
        let (mut data, mut trailers) = (Vec::new(), None);
        let mut rest = input;
        let mut pieces = pieces.iter().cycle();
        while !rest.is_empty() && !decoder.is_done() {
            let (now, later) = rest.split_at((*pieces.next().unwrap()).clamp(1, rest.len()));
            buffer.extend_from_slice(now);
            rest = later;
            while let Some(frame) = decoder.decode(&mut buffer)? {
                match frame.into_data() {
                    Ok(bytes) => data.extend_from_slice(&bytes),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                }
            }
        }
        buffer.extend_from_slice(rest);
        Ok((data, trailers, buffer.to_vec(), decoder.is_done()))
    }

    #[test]
    fn data_trailers_and_what_follows_are_told_apart() {
        let text =
            b"5\r\nhello\r\n1;a=\"b\"\r\n!\r\n0\r\nX-Sum: 7\r\nContent-Length: 3\r\n\r\nGET /";
        for piece in 1..text.len() {
            let (data, trailers, rest, done) = decode(text, &[piece]).unwrap();
            assert_eq!(data, b"hello!");
            let trailers = trailers.unwrap();
            assert_eq!(trailers.get("x-sum").unwrap(), "7");
            assert!(
                !trailers.contains_key("content-length"),
                "framing is not a trailer's business"
            );
            assert_eq!(rest, b"GET /");
            assert!(done);
        }
    }

    #[test]
    fn sizes_that_could_be_read_in_two_ways_are_refused() {
        for bad in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5 5\r\n",
            "5\nhello\r\n",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n0\n\n",
            "10000000000000000\r\n",
            "ffffffffffffffff\r\n",
            "5;a\rb\r\nhello\r\n",
            "5;\0\r\nhello\r\n",
            "5_\r\nhello\r\n",
            "0\r\n bad: fold\r\n\r\n",
            "0\r\nbad : x\r\n\r\n",
            "0\r\nnocolon\r\n\r\n",
            "0\r\na: b\n\r\n",
        ] {
            assert!(decode(bad.as_bytes(), &[1]).is_err(), "{bad:?} one by one");
            assert!(decode(bad.as_bytes(), &[usize::MAX]).is_err(), "{bad:?} at once");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = format!("5;{}\r\nhello\r\n", "a".repeat(5000));
        assert_eq!(decode(long.as_bytes(), &[1000]).unwrap_err(), DecodeError::LineTooLong);
        let many = format!("1;{}\r\nx\r\n", "a".repeat(200)).repeat(200);
        assert_eq!(decode(many.as_bytes(), &[1000]).unwrap_err(), DecodeError::ChunkOverhead);
        let trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(101));
        assert_eq!(
            decode(trailers.as_bytes(), &[1000]).unwrap_err(),
            DecodeError::TrailersTooLarge
        );
        let fat = format!("0\r\n{}\r\n", format!("A: {}\r\n", "b".repeat(6000)).repeat(3));
        assert_eq!(decode(fat.as_bytes(), &[1000]).unwrap_err(), DecodeError::TrailersTooLarge);
        let small_chunks = "1\r\nx\r\n".repeat(100_000);
        assert!(decode(small_chunks.as_bytes(), &[1000]).is_ok(), "single bytes are no attack");
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..40) {
            drop(decode(&input, &[piece]));
        }

        #[test]
        fn hex_like_bytes_never_panic(input in "[0-9a-f;\r\n :x]{0,80}", piece in 1usize..40) {
            drop(decode(input.as_bytes(), &[piece]));
        }

        #[test]
        fn what_is_encoded_is_decoded_however_it_is_split(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..10),
            pieces in proptest::collection::vec(1usize..50, 1..10),
            with_trailer in any::<bool>(),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                put_chunk_size(&mut wire, chunk.len());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            let mut sent = HeaderMap::new();
            if with_trailer {
                sent.insert("grpc-status", HeaderValue::from_static("0"));
            }
            put_trailers(&mut wire, &sent);
            wire.extend_from_slice(b"next");
            let (data, trailers, rest, done) = decode(&wire, &pieces).unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(trailers, with_trailer.then_some(sent));
            prop_assert_eq!(rest, b"next".to_vec());
            prop_assert!(done);
        }
    }
}
