//! Text and numbers of a line. Most of it needs no escape, and then it is copied as it is.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use itoa::Integer;

pub(super) fn number(out: &mut Vec<u8>, value: impl Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(super) fn address(ip: IpAddr) -> String {
    let IpAddr::V4(ip) = ip else { return ip.to_string() };
    let mut text = String::with_capacity("255.255.255.255:65535".len());
    for octet in ip.octets() {
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}

pub(super) fn socket_address(socket: SocketAddr) -> String {
    if socket.is_ipv6() {
        return socket.to_string();
    }
    let mut text = address(socket.ip());
    text.push(':');
    text.push_str(itoa::Buffer::new().format(socket.port()));
    text
}

/// A JSON string (RFC 8259, section 7).
pub(super) fn json(out: &mut Vec<u8>, text: &str) {
    if text.bytes().fold(false, |found, byte| found | matches!(byte, ..b' ' | b'"' | b'\\')) {
        serde_json::to_writer(out, text).expect("a string always has a JSON form");
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// Keeps what a client sends from ending a value or the line.
pub(super) fn escaped(out: &mut Vec<u8>, text: &str) {
    let needs_escape = |byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\');
    if !text.bytes().fold(false, |found, byte| found | needs_escape(byte)) {
        return out.extend_from_slice(text.as_bytes());
    }
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(out, "\\{character}"),
            '\n' => out.write_all(b"\\n"),
            '\r' => out.write_all(b"\\r"),
            '\t' => out.write_all(b"\\t"),
            _ if character.is_control() => write!(out, "\\x{:02x}", character as u32),
            _ => write!(out, "{character}"),
        }
        .expect("writing to memory does not fail");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_those_of_the_standard_library() {
        for text in ["10.0.0.1:80", "255.255.255.255:65535", "[2001:db8::1]:443"] {
            let socket: SocketAddr = text.parse().unwrap();
            assert_eq!(socket_address(socket), text);
            assert_eq!(address(socket.ip()), socket.ip().to_string());
        }
    }

    proptest! {
        #[test]
        fn json_is_json_and_lines_stay_lines(text in ".{0,40}|[ -~\\n\"]{0,40}") {
            let mut out = Vec::new();
            json(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone());
            let mut out = Vec::new();
            escaped(&mut out, &text);
            let line = String::from_utf8(out).unwrap();
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(!line.replace("\\\\", "").replace("\\\"", "").contains('"'));
        }
    }
}
