//! Ids of a trace and a span, and `traceparent` (W3C Trace Context, level 1).

use std::cell::RefCell;

use ::http::HeaderValue;
use bytes::{BufMut as _, Bytes, BytesMut};

use crate::hex;

/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const LENGTH: usize = 55;
/// Values that are made of one allocation.
const VALUES: usize = 64;

thread_local! {
    static ROOM: RefCell<BytesMut> = RefCell::default();
}

/// Where in which trace a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    /// Recorded, here and by whom we ask.
    pub(crate) sampled: bool,
}

impl Ids {
    /// New ones, below `parent` where there is one. `random` are 24 bytes of chance.
    pub(super) fn new(parent: Option<Self>, random: [u8; 24], sampled: bool) -> Self {
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        let (first, rest) = random.split_at(16);
        trace.copy_from_slice(first);
        span.copy_from_slice(rest);
        // All zeros means none.
        if span == [0; 8] {
            span = [1; 8];
        }
        if trace == [0; 16] {
            trace = [1; 16];
        }
        Self { trace: parent.map_or(trace, |parent| parent.trace), span, sampled }
    }

    /// Reads a `traceparent`. Of a newer version as much is read as is known.
    pub(super) fn parse(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?.trim();
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version = bytes::<1>(version)?;
        if version == [0xff] || (version == [0] && parts.next().is_some()) {
            return None;
        }
        let (trace, span, flags) = (bytes::<16>(trace)?, bytes::<8>(span)?, bytes::<1>(flags)?);
        let valid = trace != [0; 16] && span != [0; 8];
        valid.then_some(Self { trace, span, sampled: flags.first().is_some_and(|f| f & 1 == 1) })
    }

    /// As `traceparent`. One allocation serves many values.
    pub(super) fn header(&self) -> HeaderValue {
        let value = ROOM.with_borrow_mut(|room| {
            if room.capacity() < LENGTH {
                *room = BytesMut::with_capacity(LENGTH * VALUES);
            }
            room.put_slice(b"00-");
            put_hex(room, &self.trace);
            room.put_u8(b'-');
            put_hex(room, &self.span);
            room.put_slice(if self.sampled { b"-01" } else { b"-00" });
            room.split().freeze()
        });
        HeaderValue::from_maybe_shared::<Bytes>(value)
            .expect("digits and dashes can stand in a header")
    }

    pub(crate) fn trace_hex(&self) -> String {
        hex::lower(&self.trace)
    }

    pub(crate) fn span_hex(&self) -> String {
        hex::lower(&self.span)
    }
}

fn put_hex(out: &mut BytesMut, bytes: &[u8]) {
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
    for byte in bytes {
        out.put_u8(digit(byte >> 4));
        out.put_u8(digit(byte & 0xf));
    }
}

/// Exactly so many bytes in lower-case digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | value;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Option<Ids> {
        Ids::parse(&HeaderValue::from_str(text).unwrap())
    }

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn contexts_are_read_as_w3c_has_them() {
        let ids = parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        assert_eq!((ids.trace_hex().as_str(), ids.span_hex().as_str()), (TRACE, SPAN));
        assert!(ids.sampled);
        assert!(!parse(&format!("00-{TRACE}-{SPAN}-02")).unwrap().sampled);
        assert!(parse(&format!("cc-{TRACE}-{SPAN}-03-what-comes")).unwrap().sampled);
        for wrong in [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_child_has_the_trace_of_its_parent() {
        let parent = parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let child = Ids::new(Some(parent), [7; 24], true);
        assert_eq!((child.trace, child.span), (parent.trace, [7; 8]));
        let root = Ids::new(None, [0; 24], false);
        assert!(root.trace != [0; 16] && root.span != [0; 8], "zeros mean none");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(random in any::<[u8; 24]>(), sampled in any::<bool>()) {
            let ids = Ids::new(None, random, sampled);
            prop_assert_eq!(Ids::parse(&ids.header()), Some(ids));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "[ -~]{0,80}") {
            parse(&text);
        }
    }
}
