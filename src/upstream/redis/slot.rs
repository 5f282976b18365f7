//! Which node of a Redis cluster has a key, and what a node says that has not (Redis Cluster specification).

/// Slots of a cluster.
const SLOTS: u16 = 16384;

/// The slot of a key: of what stands in its first braces, where there are some.
pub(super) fn of(key: &[u8]) -> u16 {
    let tag = || {
        let open = key.iter().position(|byte| *byte == b'{')?;
        let inner = key.get(open + 1..)?;
        let close = inner.iter().position(|byte| *byte == b'}').filter(|close| *close > 0)?;
        inner.get(..close)
    };
    crc16(tag().unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    let mut sum = 0_u16;
    for byte in bytes {
        sum ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            sum = if sum & 0x8000 != 0 { sum << 1 ^ 0x1021 } else { sum << 1 };
        }
    }
    sum
}

/// Where a node sends us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redirect<'a> {
    /// The slot lives there from now on.
    Moved(&'a str),
    /// This key is there already, others may not be.
    Ask(&'a str),
}

impl<'a> Redirect<'a> {
    /// Reads an error; `None` where it is no redirect.
    pub(super) fn of(error: &'a str) -> Option<Self> {
        let mut words = error.split(' ');
        let kind = words.next()?;
        let address = words.nth(1)?;
        match kind {
            "MOVED" => Some(Self::Moved(address)),
            "ASK" => Some(Self::Ask(address)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(of(b"foo"), 12182);
        assert_eq!(of(b"{user1000}.following"), of(b"user1000"));
        assert_eq!(of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(of(b"foo{bar"), crc16(b"foo{bar") % SLOTS);
    }

    #[test]
    fn redirects_name_an_address() {
        assert_eq!(
            Redirect::of("MOVED 3999 127.0.0.1:6381"),
            Some(Redirect::Moved("127.0.0.1:6381"))
        );
        assert_eq!(Redirect::of("ASK 3999 :6381"), Some(Redirect::Ask(":6381")));
        for error in ["ERR x y", "MOVED", "MOVED 1", ""] {
            assert_eq!(Redirect::of(error), None, "{error}");
        }
    }
}
