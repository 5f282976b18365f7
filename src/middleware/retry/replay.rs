//! A request body that can be sent again: what one try has read is kept for the next, up to a limit.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use ::http::HeaderMap;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::http::{Body, BodyError};

/// A body for several tries, one after the other.
pub(super) enum Replay {
    /// All of it is in memory already.
    Whole {
        bytes: Bytes,
        fits: bool,
    },
    Streamed(Arc<Mutex<Kept>>),
}

impl Replay {
    /// Keeps at most `limit` bytes of a body that streams.
    pub(super) fn new(body: Body, limit: u64) -> Self {
        match body {
            Body::Empty => Self::Whole { bytes: Bytes::new(), fits: true },
            Body::Full(bytes) => {
                let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= limit);
                Self::Whole { bytes, fits }
            }
            source => Self::Streamed(Arc::new(Mutex::new(Kept {
                source,
                frames: Vec::new(),
                room: limit,
                lost: false,
                ended: false,
                tries: 0,
            }))),
        }
    }

    /// The body for the next try. That of the try before ends with an error, should anybody still read it.
    pub(super) fn next(&self) -> Body {
        match self {
            Self::Whole { bytes, .. } => Body::from(bytes.clone()),
            Self::Streamed(kept) => {
                let mut held = lock(kept);
                held.tries += 1;
                Body::stream(Try { kept: kept.clone(), number: held.tries, position: 0 })
            }
        }
    }

    /// True while everything that was read is kept, within the limit.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Whole { fits, .. } => *fits,
            Self::Streamed(kept) => !lock(kept).lost,
        }
    }

    /// True while a try with which nothing was sent can be followed by another.
    pub(super) fn is_untouched(&self) -> bool {
        match self {
            Self::Whole { .. } => true,
            Self::Streamed(kept) => !lock(kept).lost,
        }
    }
}

pub(super) struct Kept {
    source: Body,
    frames: Vec<Part>,
    /// Bytes that may still be kept.
    room: u64,
    /// Something was read that is not kept.
    lost: bool,
    ended: bool,
    tries: u32,
}

#[derive(Clone)]
enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    /// Reads on, and keeps what comes.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let read = std::task::ready!(Pin::new(&mut self.source).poll_frame(context));
        match &read {
            Some(Ok(frame)) => self.keep(frame),
            Some(Err(_)) => self.lose(),
            None => self.ended = true,
        }
        Poll::Ready(read)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        if self.lost {
            return;
        }
        if let Some(data) = frame.data_ref() {
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            match self.room.checked_sub(length) {
                Some(room) => {
                    self.room = room;
                    self.frames.push(Part::Data(data.clone()));
                }
                None => self.lose(),
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.frames.push(Part::Trailers(trailers.clone()));
        }
    }

    fn lose(&mut self) {
        self.lost = true;
        self.frames = Vec::new();
    }
}

/// The body of one try.
struct Try {
    kept: Arc<Mutex<Kept>>,
    number: u32,
    position: usize,
}

impl HttpBody for Try {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut kept = lock(&this.kept);
        if kept.tries != this.number {
            return Poll::Ready(Some(Err("the request is sent again".into())));
        }
        if let Some(part) = kept.frames.get(this.position) {
            this.position += 1;
            return Poll::Ready(Some(Ok(match part.clone() {
                Part::Data(data) => Frame::data(data),
                Part::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        let read = kept.read(context);
        this.position = kept.frames.len();
        read
    }

    fn is_end_stream(&self) -> bool {
        let kept = lock(&self.kept);
        self.position >= kept.frames.len() && (kept.ended || kept.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let kept = lock(&self.kept);
        let ahead: usize = kept
            .frames
            .iter()
            .skip(self.position)
            .map(|part| match part {
                Part::Data(data) => data.len(),
                Part::Trailers(_) => 0,
            })
            .sum();
        let ahead = u64::try_from(ahead).unwrap_or(u64::MAX);
        let rest = kept.source.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(ahead)) {
            hint.set_upper(upper);
        }
        hint.set_lower(rest.lower().saturating_add(ahead));
        hint
    }
}
