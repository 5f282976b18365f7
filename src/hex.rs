//! Bytes as text for people and for other programs.

/// Two lower-case digits for each byte.
pub(crate) fn lower(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(super::lower(&[0, 9, 0x1f, 0xab, 255]), "00091fabff");
        assert_eq!(super::lower(&[]), "");
    }
}
