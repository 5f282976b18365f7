//! Integers of variable length (RFC 9000, 16).

/// The longest one.
pub(super) const BYTES_MAX: usize = 8;

/// The integer at the start of `bytes` and how many bytes it has; `None` where more are needed.
pub(super) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let &first = bytes.first()?;
    let length = 1_usize << (first >> 6);
    let rest = bytes.get(1..length)?;
    let start = u64::from(first & 0b0011_1111);
    Some((rest.iter().fold(start, |value, &byte| value << 8 | u64::from(byte)), length))
}

/// Appends `value`, which must be below 2^62, in its shortest form.
pub(super) fn put(out: &mut Vec<u8>, value: u64) {
    debug_assert!(value < 1 << 62, "no integer of QUIC");
    let bytes = value.to_be_bytes();
    let (length, mark) = match value {
        0..0x40 => (1, 0),
        0x40..0x4000 => (2, 0b0100_0000),
        0x4000..0x4000_0000 => (4, 0b1000_0000),
        _ => (BYTES_MAX, 0b1100_0000),
    };
    let start = out.len();
    out.extend(bytes.iter().skip(BYTES_MAX - length));
    if let Some(first) = out.get_mut(start) {
        *first |= mark;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!(read(bytes), Some((value, bytes.len())));
            assert_eq!(read(&bytes[..bytes.len() - 1]), None);
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes);
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_read(value in 0..1_u64 << 62, tail in any::<[u8; 2]>()) {
            let mut out = Vec::new();
            put(&mut out, value);
            let length = out.len();
            out.extend(tail);
            prop_assert_eq!(read(&out), Some((value, length)));
        }
    }
}
