//! Guesses a media type by the first bytes: WHATWG MIME Sniffing, sections 6 and 7, as far as Go's
//! `http.DetectContentType` follows it.

/// Bytes that are looked at.
pub(super) const BYTES_MAX: usize = 512;

/// Text, where it is not known which.
const PLAIN: &str = "text/plain; charset=utf-8";

/// Tags that a page may begin with, after white space.
const TAGS: &[&[u8]] = &[
    b"<!DOCTYPE HTML",
    b"<HTML",
    b"<HEAD",
    b"<SCRIPT",
    b"<IFRAME",
    b"<H1",
    b"<DIV",
    b"<FONT",
    b"<TABLE",
    b"<A",
    b"<STYLE",
    b"<TITLE",
    b"<B",
    b"<BODY",
    b"<BR",
    b"<P",
    b"<!--",
];

/// First bytes, bytes at a later place, and the type.
type Signature = (&'static [u8], (usize, &'static [u8]), &'static str);

/// In the order in which they are tried. What stands at a later place may be empty.
const SIGNATURES: &[Signature] = &[
    (b"%PDF-", (0, b""), "application/pdf"),
    (b"%!PS-Adobe-", (0, b""), "application/postscript"),
    (b"\xEF\xBB\xBF", (0, b""), PLAIN),
    (b"\x00\x00\x01\x00", (0, b""), "image/x-icon"),
    (b"\x00\x00\x02\x00", (0, b""), "image/x-icon"),
    (b"BM", (0, b""), "image/bmp"),
    (b"GIF87a", (0, b""), "image/gif"),
    (b"GIF89a", (0, b""), "image/gif"),
    (b"RIFF", (8, b"WEBPVP"), "image/webp"),
    (b"\x89PNG\r\n\x1A\n", (0, b""), "image/png"),
    (b"\xFF\xD8\xFF", (0, b""), "image/jpeg"),
    (b"FORM", (8, b"AIFF"), "audio/aiff"),
    (b"ID3", (0, b""), "audio/mpeg"),
    (b"OggS\x00", (0, b""), "application/ogg"),
    (b"MThd\x00\x00\x00\x06", (0, b""), "audio/midi"),
    (b"RIFF", (8, b"AVI "), "video/avi"),
    (b"RIFF", (8, b"WAVE"), "audio/wave"),
    (b"\x1A\x45\xDF\xA3", (0, b""), "video/webm"),
    (b"", (34, b"LP"), "application/vnd.ms-fontobject"),
    (b"\x00\x01\x00\x00", (0, b""), "font/ttf"),
    (b"OTTO", (0, b""), "font/otf"),
    (b"ttcf", (0, b""), "font/collection"),
    (b"wOFF", (0, b""), "font/woff"),
    (b"wOF2", (0, b""), "font/woff2"),
    (b"\x1F\x8B\x08", (0, b""), "application/x-gzip"),
    (b"PK\x03\x04", (0, b""), "application/zip"),
    (b"Rar!\x1A\x07\x00", (0, b""), "application/x-rar-compressed"),
    (b"Rar!\x1A\x07\x01\x00", (0, b""), "application/x-rar-compressed"),
    (b"\x00asm", (0, b""), "application/wasm"),
];

/// The type of a body that begins with `data`.
pub(super) fn media_type(data: &[u8]) -> &'static str {
    let data = data.get(..BYTES_MAX).unwrap_or(data);
    let is_space = |byte: &u8| b"\t\n\x0C\r ".contains(byte);
    let text = data.iter().position(|byte| !is_space(byte)).and_then(|at| data.get(at..));
    let text = text.unwrap_or_default();
    if TAGS.iter().any(|tag| begins_with_tag(text, tag)) {
        return "text/html; charset=utf-8";
    }
    if text.starts_with(b"<?xml") {
        return "text/xml; charset=utf-8";
    }
    match data {
        [0xFE, 0xFF, _, _, ..] => return "text/plain; charset=utf-16be",
        [0xFF, 0xFE, _, _, ..] => return "text/plain; charset=utf-16le",
        _ => {}
    }
    let known = SIGNATURES.iter().find(|(first, (at, later), _)| {
        data.starts_with(first) && data.get(*at..).is_some_and(|rest| rest.starts_with(later))
    });
    if let Some((_, _, known)) = known {
        return known;
    }
    if is_mp4(data) {
        return "video/mp4";
    }
    if text.iter().any(|byte| is_binary(*byte)) { "application/octet-stream" } else { PLAIN }
}

fn begins_with_tag(text: &[u8], tag: &[u8]) -> bool {
    let Some((start, rest)) = text.split_at_checked(tag.len()) else { return false };
    start.eq_ignore_ascii_case(tag) && matches!(rest.first(), Some(b' ' | b'>'))
}

/// A box of kind `ftyp` that names a brand beginning with `mp4`.
fn is_mp4(data: &[u8]) -> bool {
    let [a, b, c, d, b'f', b't', b'y', b'p', brands @ ..] = data else { return false };
    let length = u32::from_be_bytes([*a, *b, *c, *d]);
    let Some(length) = usize::try_from(length).ok().filter(|length| length % 4 == 0) else {
        return false;
    };
    let Some(brands) = length.checked_sub(8).and_then(|length| brands.get(..length)) else {
        return false;
    };
    // The second one is a version.
    brands.chunks_exact(4).enumerate().any(|(at, brand)| at != 1 && brand.starts_with(b"mp4"))
}

fn is_binary(byte: u8) -> bool {
    matches!(byte, 0x00..=0x08 | 0x0B | 0x0E..=0x1A | 0x1C..=0x1F)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn types_are_those_of_go() {
        for (data, wanted) in [
            (&b""[..], "text/plain; charset=utf-8"),
            (b"  \n<!doctype html><p>", "text/html; charset=utf-8"),
            (b"<b>", "text/html; charset=utf-8"),
            (b"<bold>", "text/plain; charset=utf-8"),
            (b"<!-- a -->", "text/html; charset=utf-8"),
            (b"<a", "text/plain; charset=utf-8"),
            (b"\n<?xml version=\"1.0\"?>", "text/xml; charset=utf-8"),
            (b"%PDF-1.7", "application/pdf"),
            (b"\xFE\xFF\x00a", "text/plain; charset=utf-16be"),
            (b"\xFF\xFEa\x00", "text/plain; charset=utf-16le"),
            (b"\xEF\xBB\xBFa", "text/plain; charset=utf-8"),
            (b"GIF89a..", "image/gif"),
            (b"RIFF\x01\x02\x03\x04WEBPVP8 ", "image/webp"),
            (b"RIFF\x01\x02\x03\x04WAVEfmt ", "audio/wave"),
            (b"RIFF\x01\x02\x03\x04nothing", "application/octet-stream"),
            (b"\x89PNG\r\n\x1A\n\x00", "image/png"),
            (b"\xFF\xD8\xFF\xE0", "image/jpeg"),
            (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "video/mp4"),
            (b"\x00\x00\x00\x10ftypisom\x00\x00\x00\x00mp42", "application/octet-stream"),
            (b"\x1A\x45\xDF\xA3\x01", "video/webm"),
            (b"wOF2\x00\x01", "font/woff2"),
            (b"\x1F\x8B\x08\x00", "application/x-gzip"),
            (b"PK\x03\x04\x00", "application/zip"),
            (b"\x00asm\x01", "application/wasm"),
            (b"{\"a\": 1}", "text/plain; charset=utf-8"),
            (b"a\x00b", "application/octet-stream"),
            (b"\xC3\xA9t\xC3\xA9", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(media_type(data), wanted, "{}", data.escape_ascii());
        }
    }

    #[test]
    fn only_the_first_bytes_count() {
        let mut data = vec![b'a'; BYTES_MAX];
        data.push(0);
        assert_eq!(media_type(&data), "text/plain; charset=utf-8");
    }

    proptest! {
        #[test]
        fn nothing_panics(data in any::<Vec<u8>>()) {
            let _known = media_type(&data);
        }

        #[test]
        fn nothing_panics_in_boxes(data in "\u{0}\u{0}\u{0}[\u{0}-\u{20}]ftyp[mp4\u{0}]{0,40}") {
            let _known = media_type(data.as_bytes());
        }
    }
}
