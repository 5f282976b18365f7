//! Field sections (RFC 9204) without a dynamic table: none is offered to clients and none of theirs is used, so that
//! no request waits for another one, and nobody holds memory of ours.

mod huffman;
mod table;

use std::borrow::Cow;

use self::table::Found;

/// What a field counts besides its name and its value (RFC 9114, 4.2.2).
const FIELD_BYTES: u64 = 32;
/// Bits of the longest integer (RFC 9204, 4.1.1).
const INTEGER_BITS_MAX: u32 = 62;

/// Why a field section was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Error {
    /// It is no field section.
    Malformed,
    /// Its fields are longer than allowed.
    TooLong,
    /// Who takes the fields does not want them.
    Refused(&'static str),
}

/// Reads a field section and hands over its fields one by one: at most `bytes_max` of them, by RFC 9114's count.
pub(super) fn decode(
    section: &[u8],
    bytes_max: u64,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), &'static str>,
) -> Result<(), Error> {
    let mut rest = Reader(section);
    let (_, inserts) = rest.integer(8)?;
    if inserts != 0 {
        return Err(Error::Malformed); // refers to a dynamic table
    }
    rest.integer(7)?;
    let mut bytes = 0_u64;
    while let Some(&first) = rest.0.first() {
        let (name, value) = rest.field(first)?;
        bytes = bytes.saturating_add((name.len() + value.len()) as u64 + FIELD_BYTES);
        if bytes > bytes_max {
            return Err(Error::TooLong);
        }
        take(&name, &value).map_err(Error::Refused)?;
    }
    Ok(())
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

type Text<'a> = Cow<'a, [u8]>;

impl<'a> Reader<'a> {
    fn field(&mut self, first: u8) -> Result<(Text<'a>, Text<'a>), Error> {
        if first & 0b1000_0000 != 0 {
            let (flags, index) = self.integer(6)?;
            let (name, value) = entry(flags & 1 == 1, index)?;
            return Ok((name.as_bytes().into(), value.as_bytes().into()));
        }
        let name: Text<'a> = if first & 0b0100_0000 != 0 {
            let (flags, index) = self.integer(4)?;
            entry(flags & 1 == 1, index)?.0.as_bytes().into()
        } else if first & 0b0010_0000 != 0 {
            self.text(3)?
        } else {
            return Err(Error::Malformed); // refers to a dynamic table
        };
        Ok((name, self.text(7)?))
    }

    /// An integer in the last `bits` of a byte and those behind it; and what stands before it in the byte.
    fn integer(&mut self, bits: u32) -> Result<(u8, u64), Error> {
        let first = self.byte()?;
        let mask = u8::MAX >> (8 - bits);
        let flags = first.checked_shr(bits).unwrap_or(0);
        let mut value = u64::from(first & mask);
        if first & mask < mask {
            return Ok((flags, value));
        }
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((flags, value));
            }
            shift += 7;
            if shift + 7 > INTEGER_BITS_MAX {
                return Err(Error::Malformed);
            }
        }
    }

    /// A string whose length stands in the last `bits` of a byte, behind the mark of Huffman's code.
    fn text(&mut self, bits: u32) -> Result<Text<'a>, Error> {
        let (flags, length) = self.integer(bits)?;
        let length = usize::try_from(length).map_err(|_too_long| Error::Malformed)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Error::Malformed)?;
        self.0 = rest;
        if flags & 1 == 0 {
            return Ok(text.into());
        }
        huffman::decode(text).map(Cow::Owned).ok_or(Error::Malformed)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let (&byte, rest) = self.0.split_first().ok_or(Error::Malformed)?;
        self.0 = rest;
        Ok(byte)
    }
}

fn entry(is_static: bool, index: u64) -> Result<(&'static str, &'static str), Error> {
    let found = if is_static { table::get(index) } else { None };
    found.ok_or(Error::Malformed)
}

/// Begins a field section in `out`.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.extend([0, 0]);
}

/// Appends a field. Its name is in lower case.
pub(super) fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    match table::find(name, value) {
        Found::Whole(index) => put_integer(out, 0b1100_0000, 6, index),
        Found::Name(index) => {
            put_integer(out, 0b0101_0000, 4, index);
            put_text(out, 0, 7, value);
        }
        Found::Nothing => {
            put_text(out, 0b0010_0000, 3, name.as_bytes());
            put_text(out, 0, 7, value);
        }
    }
}

fn put_text(out: &mut Vec<u8>, flags: u8, bits: u32, text: &[u8]) {
    put_integer(out, flags, bits, text.len());
    out.extend_from_slice(text);
}

fn put_integer(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let mask = u8::MAX >> (8 - bits);
    match u8::try_from(value) {
        Ok(small) if small < mask => out.push(flags | small),
        _ => {
            out.push(flags | mask);
            let mut rest = value - usize::from(mask);
            while rest >= 0x80 {
                out.push(0x80 | u8::try_from(rest & 0x7f).unwrap_or_default());
                rest >>= 7;
            }
            out.push(u8::try_from(rest).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Fields = Vec<(String, Vec<u8>)>;

    fn fields(section: &[u8], bytes_max: u64) -> Result<Fields, Error> {
        let mut fields = Vec::new();
        decode(section, bytes_max, |name, value| {
            fields.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
            Ok(())
        })?;
        Ok(fields)
    }

    fn section(fields: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        begin(&mut out);
        for (name, value) in fields {
            put(&mut out, name, value);
        }
        out
    }

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 9204, B.1
        let text = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(fields(text, 100).unwrap(), [(":path".to_owned(), b"/index.html".to_vec())]);
        assert_eq!(section(&[(":path", b"/index.html")]), text);
    }

    #[test]
    fn a_dynamic_table_is_not_to_be_referred_to() {
        for text in [&[1, 0][..], &[0, 0, 0x80], &[0, 0, 0x40, 0], &[0, 0, 0x10], &[0, 0, 0]] {
            assert_eq!(fields(text, 1000), Err(Error::Malformed), "{text:?}");
        }
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        let whole = section(&[(":method", b"GET"), ("x-one", &[b'1'; 200]), ("accept", b"1")]);
        let count = 3 * 32 + ":methodGETx-oneaccept1".len() as u64 + 200;
        assert_eq!(fields(&whole, count).unwrap().len(), 3);
        assert_eq!(fields(&whole, count - 1), Err(Error::TooLong));
        let cut = (2..whole.len()).filter(|&end| fields(&whole[..end], 1000).is_ok());
        assert_eq!(cut.count(), 3, "only between fields");
        let long = [&[0, 0, 0xff][..], &[0xff; 9], &[0]].concat();
        assert_eq!(fields(&long, 1000), Err(Error::Malformed));
        let refused = decode(&whole, 1000, |_, _| Err("no"));
        assert_eq!(refused, Err(Error::Refused("no")));
    }

    proptest! {
        #[test]
        fn what_is_put_is_read(
            given in prop::collection::vec(("(:status|age|vary|x-[a-z]{0,300})", any::<Vec<u8>>()), 0..8),
        ) {
            let borrowed: Vec<_> =
                given.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            prop_assert_eq!(fields(&section(&borrowed), u64::MAX).unwrap(), given);
        }

        #[test]
        fn nothing_panics_and_fields_stay_within_the_limit(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            bytes_max in 0_u64..2000,
        ) {
            let mut section = vec![0, 0];
            section.extend(bytes);
            if let Ok(fields) = fields(&section, bytes_max) {
                let total: usize = fields.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
                prop_assert!(total as u64 <= bytes_max);
            }
        }
    }
}
