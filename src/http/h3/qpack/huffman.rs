//! The Huffman code of header strings (RFC 7541, Appendix B).

use std::sync::LazyLock;

/// Bits of each byte's code, and of the mark that ends a string. The codes follow from them: shorter ones first, and
/// by byte among those of one length.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const LENGTH_MAX: u32 = 30;
/// Padding is shorter than this, and all ones.
const PADDING_BITS_MAX: u32 = 7;

static CODE: LazyLock<Code> = LazyLock::new(Code::new);

/// The codes of one length: `symbols` in their order, from `first` on.
#[derive(Default)]
struct Level {
    first: u64,
    symbols: Vec<u16>,
}

struct Code {
    /// By the next eight bits: the byte whose code they begin with, and its bits; 0 bits where the code is longer.
    short: Vec<(u8, u32)>,
    /// By length.
    levels: Vec<Level>,
}

impl Code {
    fn new() -> Self {
        let mut levels = Vec::new();
        let mut next = 0;
        for length in 0..=LENGTH_MAX {
            let symbols: Vec<u16> = (0..)
                .zip(LENGTHS)
                .filter(|&(_, bits)| u32::from(bits) == length)
                .map(|(symbol, _)| symbol)
                .collect();
            let first = next << 1;
            next = first + symbols.len() as u64;
            levels.push(Level { first, symbols });
        }
        let mut short = vec![(0, 0); 256];
        for (length, level) in (0..=8_u32).zip(&levels) {
            for (code, &symbol) in (level.first..).zip(&level.symbols) {
                let spare = 8 - length;
                let start = usize::try_from(code << spare).unwrap_or_default();
                let byte = u8::try_from(symbol).unwrap_or_default();
                for slot in short.iter_mut().skip(start).take(1 << spare) {
                    *slot = (byte, length);
                }
            }
        }
        Self { short, levels }
    }

    /// The symbol whose code `bits` begin with, and its length; of a code longer than eight bits.
    fn long(&self, bits: u64) -> Option<(u16, u32)> {
        (9..).zip(self.levels.iter().skip(9)).find_map(|(length, level)| {
            let at = (bits >> (64 - length)).checked_sub(level.first)?;
            let symbol = level.symbols.get(usize::try_from(at).ok()?)?;
            Some((*symbol, length))
        })
    }
}

/// Decodes a string; `None` where it is none. What it gives is at most 8/5 as long as `encoded`.
pub(super) fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let code = &*CODE;
    let mut decoded = Vec::with_capacity(encoded.len() * 8 / 5);
    let mut rest = encoded.iter();
    // The next bits come first; behind those that are left there are ones.
    let (mut bits, mut left) = (u64::MAX, 0_u32);
    loop {
        while left <= 64 - 8 {
            let Some(&byte) = rest.next() else { break };
            let place = 64 - 8 - left;
            bits &= !(0xff << place) | u64::from(byte) << place;
            left += 8;
        }
        if left == 0 {
            return Some(decoded);
        }
        let &(byte, length) = code.short.get(usize::try_from(bits >> 56).ok()?)?;
        let (symbol, length) = match length {
            0 if left <= PADDING_BITS_MAX && bits == u64::MAX => return Some(decoded),
            0 => code.long(bits)?,
            _ => (u16::from(byte), length),
        };
        // A string may neither hold the mark of its end nor stop in a code.
        decoded.push(u8::try_from(symbol).ok()?);
        left = left.checked_sub(length)?;
        bits = bits << length | ((1 << length) - 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a client would send.
    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for &byte in text {
            let length = u32::from(LENGTHS[usize::from(byte)]);
            let level = &CODE.levels[length as usize];
            let at = level.symbols.iter().position(|&one| one == u16::from(byte)).unwrap();
            let code = level.first + at as u64;
            bits.extend((0..length).rev().map(|bit| if code >> bit & 1 == 1 { '1' } else { '0' }));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        let pieces = bits.as_bytes().chunks(8);
        pieces.map(|one| u8::from_str_radix(str::from_utf8(one).unwrap(), 2).unwrap()).collect()
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let bytes = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&bytes).unwrap(), b"www.example.com");
        assert_eq!(decode(&[0x64, 0x02]).unwrap(), b"302");
        assert_eq!(decode(&[]).unwrap(), b"");
        assert_eq!(CODE.levels[30].first, 0x3fff_fffc, "the code is full");
        assert_eq!(CODE.levels[30].symbols, [10, 13, 22, 256]);
    }

    #[test]
    fn padding_is_short_and_of_ones() {
        assert_eq!(decode(&[0b0001_1111]).unwrap(), b"a");
        assert_eq!(decode(&[0b0001_1110]), None);
        assert_eq!(decode(&[0b0001_1111, 0xff]), None);
        assert_eq!(decode(&[0xff]), None);
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), None, "the mark of the end");
    }

    proptest! {
        #[test]
        fn any_string_is_read_back(text in any::<Vec<u8>>()) {
            prop_assert_eq!(decode(&encoded(&text)), Some(text));
        }

        #[test]
        fn nothing_panics_and_nothing_grows_much(bytes in any::<Vec<u8>>()) {
            if let Some(text) = decode(&bytes) {
                prop_assert!(text.len() <= bytes.len() * 8 / 5);
                prop_assert_eq!(encoded(&text), bytes);
            }
        }
    }
}
