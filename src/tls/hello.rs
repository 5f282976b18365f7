//! Looks at a `ClientHello` without ending TLS: which server the client names, and which protocols it offers.
//!
//! RFC 8446 §4.1.2, RFC 6066 §3, RFC 7301 §3.1. Nothing else of the message is judged: whoever ends TLS does that,
//! and a server behind a router that passes TLS on may take what we would not.

/// Longest beginning of a connection that is looked at. A `ClientHello` with post-quantum key shares has some 2 KiB.
pub(crate) const HELLO_BYTES_MAX: usize = 16 * 1024;
/// First byte of a TLS record that holds a handshake.
pub(crate) const HANDSHAKE_RECORD: u8 = 0x16;

const RECORD_HEADER_BYTES: usize = 5;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
const ALPN: u16 = 16;

/// What a client says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hello {
    /// In lower case, without a dot at its end; empty where the client names no server.
    pub(crate) server_name: String,
    /// Most preferred first.
    pub(crate) protocols: Vec<Box<[u8]>>,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peeked {
    /// Not to be told yet.
    Incomplete,
    Hello(Hello),
    /// No `ClientHello`, or one longer than [`HELLO_BYTES_MAX`].
    Malformed,
}

/// Looks at the first bytes of a connection.
pub(crate) fn peek(first: &[u8]) -> Peeked {
    match message(first) {
        Ok(Some(message)) => hello(&message).map_or(Peeked::Malformed, Peeked::Hello),
        Ok(None) if first.len() < HELLO_BYTES_MAX => Peeked::Incomplete,
        Ok(None) | Err(NoHello) => Peeked::Malformed,
    }
}

struct NoHello;

/// The handshake message that the records hold, without its header; `None` where more is to come. It may be spread
/// over several records.
fn message(first: &[u8]) -> Result<Option<Vec<u8>>, NoHello> {
    let mut wanted = None;
    let mut had = 0;
    // First only counted, so that a message that trickles in is not put together again and again.
    for record in records(first) {
        let record = record?;
        if wanted.is_none() && had == 0 && record.first().is_some_and(|kind| *kind != CLIENT_HELLO)
        {
            return Err(NoHello);
        }
        had += record.len();
        if wanted.is_none() && had >= 4 {
            let header: Vec<u8> = bytes(first).take(4).collect();
            let [_, high, middle, low] = header[..] else { return Err(NoHello) };
            let length = u32::from_be_bytes([0, high, middle, low]);
            let length = usize::try_from(length).map_err(|_too_long| NoHello)?;
            if length > HELLO_BYTES_MAX {
                return Err(NoHello);
            }
            wanted = Some(length);
        }
        // What follows is not the message's business: early data comes in records of other kinds.
        if wanted.is_some_and(|length| had >= length + 4) {
            break;
        }
    }
    match wanted {
        Some(length) if had >= length + 4 => Ok(Some(bytes(first).skip(4).take(length).collect())),
        Some(_) | None => Ok(None),
    }
}

/// What the handshake records at the start of `first` hold, the last one perhaps in part.
fn records(first: &[u8]) -> impl Iterator<Item = Result<&[u8], NoHello>> {
    let mut rest = first;
    std::iter::from_fn(move || {
        if *rest.first()? != HANDSHAKE_RECORD {
            rest = &[];
            return Some(Err(NoHello));
        }
        let (header, tail) = rest.split_at_checked(RECORD_HEADER_BYTES)?;
        let &[_, _, _, high, low] = header else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (record, tail) = tail.split_at_checked(length).unwrap_or((tail, &[]));
        rest = tail;
        // A record without content would let a client go on for ever with nothing.
        Some(if length == 0 { Err(NoHello) } else { Ok(record) })
    })
}

fn bytes(first: &[u8]) -> impl Iterator<Item = u8> {
    records(first).map_while(Result::ok).flatten().copied()
}

/// Reads the body of a `ClientHello`.
fn hello(body: &[u8]) -> Option<Hello> {
    let mut rest = Reader(body);
    rest.take(2 + 32)?; // version, random
    rest.short_vector()?; // session
    rest.vector()?; // cipher suites
    rest.short_vector()?; // compression methods
    let mut hello = Hello::default();
    if rest.0.is_empty() {
        return Some(hello); // before TLS 1.2 there may be no extensions
    }
    let mut extensions = Reader(rest.vector()?);
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let content = extensions.vector()?;
        match kind {
            SERVER_NAME => hello.server_name = server_name(content)?,
            ALPN => hello.protocols = protocols(content)?,
            _ => {}
        }
    }
    Some(hello)
}

/// The host name of a list of names. One that is no text counts as none.
fn server_name(content: &[u8]) -> Option<String> {
    let mut names = Reader(Reader(content).vector()?);
    while !names.0.is_empty() {
        let kind = names.byte()?;
        let name = names.vector()?;
        if kind == HOST_NAME {
            let name = std::str::from_utf8(name).unwrap_or_default();
            return Some(name.trim_end_matches('.').to_ascii_lowercase());
        }
    }
    Some(String::new())
}

fn protocols(content: &[u8]) -> Option<Vec<Box<[u8]>>> {
    let mut names = Reader(Reader(content).vector()?);
    let mut protocols = Vec::new();
    while !names.0.is_empty() {
        protocols.push(names.short_vector()?.into());
    }
    Some(protocols)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u16> {
        let &[high, low] = self.take(2)? else { return None };
        Some(u16::from_be_bytes([high, low]))
    }

    /// Behind its length in one byte.
    fn short_vector(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?;
        self.take(length.into())
    }

    /// Behind its length in two bytes.
    fn vector(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What a real client sends first.
    fn sent(name: &'static str, protocols: &[&str]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = name.try_into().unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same message over records of at most `size` bytes.
    fn cut(sent: &[u8], size: usize) -> Vec<u8> {
        let mut records = Vec::new();
        for piece in sent[RECORD_HEADER_BYTES..].chunks(size) {
            records.extend([HANDSHAKE_RECORD, 3, 1]);
            records.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
            records.extend(piece);
        }
        records
    }

    #[test]
    fn name_and_protocols_of_a_real_client_are_seen() {
        let Peeked::Hello(hello) = peek(&sent("Db.Example.test", &["postgresql", "h2"])) else {
            panic!("no hello");
        };
        assert_eq!(hello.server_name, "db.example.test");
        let protocols: Vec<&[u8]> = hello.protocols.iter().map(|name| &**name).collect();
        assert_eq!(protocols, [b"postgresql".as_slice(), b"h2"]);
        let nameless = Hello::default();
        assert_eq!(peek(&sent("127.0.0.1", &[])), Peeked::Hello(nameless));
    }

    #[test]
    fn a_message_may_be_spread_and_may_trickle_in() {
        let whole = sent("a.test", &["h2"]);
        let expected = peek(&whole);
        assert!(matches!(expected, Peeked::Hello(_)));
        for size in [1, 3, 100] {
            let spread = cut(&whole, size);
            assert_eq!(peek(&spread), expected, "{size}");
            for end in (0..spread.len()).step_by(37) {
                assert_eq!(peek(&spread[..end]), Peeked::Incomplete, "{size} {end}");
            }
        }
    }

    /// Found by fuzzing: a client that sent TLS 1.3 early data at once was refused, for the records behind its hello.
    #[test]
    fn what_follows_a_hello_is_not_looked_at() {
        let whole = sent("a.test", &["h2"]);
        let expected = peek(&whole);
        for next in [&[0x14, 3, 3, 0, 1, 1, 0x17, 3, 3, 0, 2, 0, 0][..], &[0x16, 3, 3, 0, 0], b"x"]
        {
            assert_eq!(peek(&[&whole[..], next].concat()), expected, "{next:?}");
            assert_eq!(peek(&[&cut(&whole, 50)[..], next].concat()), expected, "{next:?}");
        }
    }

    #[test]
    fn what_is_no_hello_is_refused_at_once() {
        for bytes in [
            &b"GET / HTTP/1.1"[..],
            &[0x16, 3, 1, 0, 0],                      // nothing in it
            &[0x16, 3, 1, 0, 4, 2, 0, 0, 0],          // a ServerHello
            &[0x16, 3, 1, 0, 4, 1, 1, 0, 0],          // 64 KiB
            &[0x16, 3, 1, 0, 2, 1, 0, 0x17, 3, 1, 0], // not only handshake records
        ] {
            assert_eq!(peek(bytes), Peeked::Malformed, "{bytes:?}");
        }
        assert_eq!(peek(&vec![0x16; HELLO_BYTES_MAX]), Peeked::Malformed, "never too much");
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let whole = sent("a.test", &[]);
        let body = &whole[RECORD_HEADER_BYTES + 4..];
        for end in 0..body.len() {
            // Without extensions it may end behind the compression methods.
            let short = hello(&body[..end]);
            assert!(short.is_none() || short == Some(Hello::default()), "{end}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_or_asks_for_more_without_end(bytes: Vec<u8>, place in 0..2000_usize, byte: u8) {
            let _any = peek(&bytes);
            let mut changed = sent("a.test", &["h2"]);
            if let Some(at) = changed.get_mut(place) {
                *at = byte;
            }
            let _changed = peek(&changed);
            changed.resize(HELLO_BYTES_MAX, byte);
            prop_assert_ne!(peek(&changed), Peeked::Incomplete);
        }
    }
}
