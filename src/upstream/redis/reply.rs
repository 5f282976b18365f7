//! Redis's protocol, version 2: commands as arrays of texts, and what comes back.

/// More bytes than this are no reply to anything that we ask.
pub(super) const REPLY_BYTES_MAX: usize = 64 << 10;
/// Elements of an array.
const ELEMENTS_MAX: usize = 1024;
/// Arrays in arrays.
const DEPTH_MAX: usize = 4;

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Simple(String),
    /// The command failed: a code in capitals and a text.
    Error(String),
    Integer(i64),
    /// `None`: there is no such value.
    Bulk(Option<Vec<u8>>),
    Array(Vec<Self>),
}

/// The other side does not speak Redis's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reply is no reply of Redis")]
pub(crate) struct Broken;

/// Adds a command to `out`.
pub(super) fn put_command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// The first reply in `bytes` and its length; `None` where more bytes are needed.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Broken> {
    let mut rest = bytes;
    let reply = read(&mut rest, 0)?;
    if reply.is_none() && bytes.len() >= REPLY_BYTES_MAX {
        return Err(Broken);
    }
    Ok(reply.map(|reply| (reply, bytes.len() - rest.len())))
}

fn read(rest: &mut &[u8], depth: usize) -> Result<Option<Reply>, Broken> {
    let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let (line, after) = rest.split_at_checked(end).ok_or(Broken)?;
    *rest = after.get(2..).ok_or(Broken)?;
    let (kind, text) = line.split_first().ok_or(Broken)?;
    let text = std::str::from_utf8(text).map_err(|_error| Broken)?;
    match kind {
        b'+' => Ok(Some(Reply::Simple(text.to_owned()))),
        b'-' => Ok(Some(Reply::Error(text.to_owned()))),
        b':' => text.parse().map(|number| Some(Reply::Integer(number))).map_err(|_error| Broken),
        b'$' => bulk(rest, text),
        b'*' if depth < DEPTH_MAX => array(rest, text, depth),
        _ => Err(Broken),
    }
}

fn bulk(rest: &mut &[u8], length: &str) -> Result<Option<Reply>, Broken> {
    if length == "-1" {
        return Ok(Some(Reply::Bulk(None)));
    }
    let length = length.parse().ok().filter(|length| *length <= REPLY_BYTES_MAX).ok_or(Broken)?;
    let Some((value, after)) = rest.split_at_checked(length) else { return Ok(None) };
    match after {
        [b'\r', b'\n', after @ ..] => {
            *rest = after;
            Ok(Some(Reply::Bulk(Some(value.to_vec()))))
        }
        [] | [b'\r'] => Ok(None),
        _ => Err(Broken),
    }
}

fn array(rest: &mut &[u8], length: &str, depth: usize) -> Result<Option<Reply>, Broken> {
    if length == "-1" {
        return Ok(Some(Reply::Bulk(None)));
    }
    let length: usize = length.parse().map_err(|_error| Broken)?;
    if length > ELEMENTS_MAX {
        return Err(Broken);
    }
    let mut elements = Vec::new();
    for _ in 0..length {
        let Some(element) = read(rest, depth + 1)? else { return Ok(None) };
        elements.push(element);
    }
    Ok(Some(Reply::Array(elements)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_arrays_of_texts() {
        let mut out = Vec::new();
        put_command(&mut out, &[b"GET", b"a\r\nb"]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn replies_of_each_kind_are_read() {
        for (bytes, reply) in [
            ("+OK\r\n", Reply::Simple("OK".to_owned())),
            ("-ERR no\r\n", Reply::Error("ERR no".to_owned())),
            (":-7\r\n", Reply::Integer(-7)),
            ("$3\r\na\r\n\r\n", Reply::Bulk(Some(b"a\r\n".to_vec()))),
            ("$-1\r\n", Reply::Bulk(None)),
            ("*-1\r\n", Reply::Bulk(None)),
            (
                "*2\r\n:1\r\n*1\r\n$1\r\nx\r\n",
                Reply::Array(vec![
                    Reply::Integer(1),
                    Reply::Array(vec![Reply::Bulk(Some(b"x".to_vec()))]),
                ]),
            ),
        ] {
            let length = bytes.len();
            let mut more = bytes.as_bytes().to_vec();
            more.extend_from_slice(b"+NEXT\r\n");
            assert_eq!(parse(&more), Ok(Some((reply, length))), "{bytes:?}");
            for end in 0..length {
                assert_eq!(parse(&more[..end]), Ok(None), "{bytes:?} {end}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_or_too_large_is_refused() {
        for bytes in [
            "HTTP/1.1 400\r\n",
            "\r\n",
            ":x\r\n",
            "$99999999\r\n",
            "$1\r\nabc",
            "*9999\r\n",
            "$-2\r\n",
        ] {
            assert_eq!(parse(bytes.as_bytes()), Err(Broken), "{bytes:?}");
        }
        assert_eq!(parse("*1\r\n".repeat(9).as_bytes()), Err(Broken));
        assert_eq!(parse(&vec![b'+'; REPLY_BYTES_MAX]), Err(Broken));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in "[-+:$*0-9a\r\n]{0,40}") {
            if let Ok(Some((_, length))) = parse(bytes.as_bytes()) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
