//! How long a body is, and taking it out of the stream of bytes: RFC 9112, section 6.

use bytes::{Bytes, BytesMut};
use http_body::Frame;

use super::chunked::Chunked;

/// How a message says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Empty,
    Length(u64),
    Chunked,
    /// Until the connection ends: responses only.
    UntilClose,
}

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the connection ended within the body")]
    UnexpectedEnd,
    #[error("invalid chunk size")]
    ChunkSize,
    #[error("a chunk is longer than its size")]
    ChunkEnd,
    #[error("chunked body with too much that is not data")]
    ChunkOverhead,
    #[error("line of a chunked body is too long")]
    LineTooLong,
    #[error("line of a chunked body ends without carriage return")]
    BareLineFeed,
    #[error("control character in a line of a chunked body")]
    ControlCharacter,
    #[error("invalid trailer")]
    Trailer,
    #[error("too many trailers")]
    TrailersTooLarge,
}

/// Takes one body out of the stream of bytes.
#[derive(Debug)]
pub(crate) enum Decoder {
    Done,
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Bytes that are still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// The next piece; `None` where more input is needed, or where the body has ended.
    pub(crate) fn decode(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<Frame<Bytes>>, DecodeError> {
        match self {
            Self::Done => Ok(None),
            Self::Length(_) | Self::UntilClose if input.is_empty() => Ok(None),
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left = left.saturating_sub(count as u64);
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Some(Frame::data(input.split_to(count).freeze())))
            }
            Self::UntilClose => Ok(Some(Frame::data(input.split().freeze()))),
            Self::Chunked(chunked) => {
                let frame = chunked.decode(input)?;
                if chunked.is_done() {
                    *self = Self::Done;
                }
                Ok(frame)
            }
        }
    }

    /// Tells the decoder that no more input comes.
    pub(crate) fn end_of_input(&mut self) -> Result<(), DecodeError> {
        match self {
            Self::Done => Ok(()),
            Self::UntilClose => {
                *self = Self::Done;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(DecodeError::UnexpectedEnd),
        }
    }
}
