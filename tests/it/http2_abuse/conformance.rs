//! What RFC 9113 and RFC 7541 want of a server that gets broken frames. Each case is a connection of its own, and names
//! its section.

use std::time::Duration;

use super::Scene;
use crate::support::h2::{
    ACK, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, Ending,
    FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY,
    PROTOCOL_ERROR, PUSH_PROMISE, Peer, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, block,
    frame, get, post, request, setting,
};

/// What must come of it.
enum Wanted {
    /// The connection ends, for one of these reasons.
    Connection(&'static [u32]),
    /// The stream ends for one of these reasons, or the connection does.
    Stream(u32, &'static [u32]),
    /// The request on this stream is answered with 200.
    Served(u32),
    /// The request on this stream is not served: reset, or an answer with an error.
    Refused(u32),
}
use Wanted::{Connection, Refused, Served, Stream};

impl Wanted {
    fn is_seen(&self, seen: &Ending) -> bool {
        let ended =
            |stream: &u32| seen.heads.contains_key(stream) || seen.resets.contains_key(stream);
        match self {
            Connection(_) => false,
            Stream(stream, _) => seen.resets.contains_key(stream) || !seen.goaways.is_empty(),
            Served(stream) | Refused(stream) => ended(stream),
        }
    }

    fn is_met(&self, seen: &Ending) -> bool {
        match self {
            Connection(codes) => seen.ended_with(codes),
            Stream(stream, codes) => match seen.resets.get(stream) {
                Some(code) => codes.contains(code),
                None => {
                    (seen.closed || !seen.goaways.is_empty())
                        && seen.goaways.iter().all(|code| codes.contains(code))
                }
            },
            Served(stream) => seen.status(*stream, 200),
            Refused(stream) => !seen.status(*stream, 200),
        }
    }
}

type Case = (&'static str, Vec<u8>, Wanted);

async fn check(cases: Vec<Case>) {
    let mut scene = Scene::start().await;
    let address = scene.running.address("web");
    let mut wrong = Vec::new();
    for (name, bytes, wanted) in cases {
        let start = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &bytes].concat();
        let mut peer = Peer::starting_with(address, &start).await;
        let came = peer.within(Duration::from_secs(5), |seen| wanted.is_seen(seen)).await;
        if !came || !wanted.is_met(&peer.seen) {
            wrong.push(format!("{name}: {:?}", peer.seen));
        }
        scene.unharmed(name).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];
const SIZE: &[u32] = &[FRAME_SIZE_ERROR];
/// h2 takes a frame whose size is wrong for its kind for any other that is wrong.
const SIZE_OR_PROTOCOL: &[u32] = &[FRAME_SIZE_ERROR, PROTOCOL_ERROR];
const CLOSED: &[u32] = &[STREAM_CLOSED, PROTOCOL_ERROR];
const COMPRESSION: &[u32] = &[COMPRESSION_ERROR, PROTOCOL_ERROR];
const FLOW: &[u32] = &[FLOW_CONTROL_ERROR];

fn headers(flags: u8, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags, stream, &block(fields))
}

#[tokio::test]
async fn rfc9113_section_3_and_4_prefaces_and_frames() {
    let large = vec![0; 16_385];
    let mut reserved = get(1, "/");
    reserved[5] |= 0x80;
    check(vec![
        (
            "4.1: frames of unknown types are ignored",
            [frame(0x16, 0xff, 0, &[1; 8]), get(1, "/")].concat(),
            Served(1),
        ),
        ("4.1: the reserved bit is ignored", reserved, Served(1)),
        (
            "4.2: DATA larger than allowed",
            [post(1, "/"), frame(DATA, 0, 1, &large)].concat(),
            Connection(SIZE),
        ),
        (
            "4.2: HEADERS larger than allowed",
            frame(HEADERS, END_HEADERS, 1, &large),
            Connection(SIZE),
        ),
        (
            "4.3: a block that is none",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 8]),
            Connection(COMPRESSION),
        ),
        (
            "4.3: an index of nothing",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80 | 0x64]),
            Connection(COMPRESSION),
        ),
        (
            "RFC 7541 6.1: index zero",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]),
            Connection(COMPRESSION),
        ),
        (
            "RFC 7541 6.3: a table larger than allowed",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xe1, 0xff, 0x03]),
            Connection(COMPRESSION),
        ),
        (
            "RFC 7541 5.2: Huffman padding of eight bits",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x40, 0x82, 0xff, 0xff, 0x00]),
            Connection(COMPRESSION),
        ),
    ])
    .await;
}

#[tokio::test]
async fn rfc9113_section_3_4_a_bad_preface_ends_the_connection() {
    let scene = Scene::start().await;
    let mark = scene.backend.count();
    for start in [
        [&PREFACE[..20], b"XX\r\n\r\n"].concat(),
        b"PRI * HTTP/2.0\r\n\r\n\r\n\r\n\r\n\r\n".to_vec(),
    ] {
        let mut peer = Peer::starting_with(scene.running.address("web"), &start).await;
        let seen = peer.until("an end", |_| false).await;
        assert!(seen.closed && seen.heads.is_empty(), "{start:?}: {seen:?}");
    }
    assert_eq!(scene.backend.count(), mark);
}

#[tokio::test]
async fn rfc9113_section_5_streams() {
    let closed = |more: Vec<u8>| {
        // The pong shows that stream 1 was over before the rest comes.
        [get(1, "/"), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), more].concat()
    };
    let ended = |more: Vec<u8>| [get(1, "/__delay/200"), more].concat();
    check(vec![
        ("5.1: DATA on an idle stream", frame(DATA, 0, 1, b"a"), Connection(PROTOCOL)),
        (
            "5.1: RST_STREAM on an idle stream",
            frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
            Connection(PROTOCOL),
        ),
        (
            "5.1: WINDOW_UPDATE on an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            Connection(PROTOCOL),
        ),
        (
            "5.1: CONTINUATION on an idle stream",
            frame(CONTINUATION, END_HEADERS, 1, &[]),
            Connection(PROTOCOL),
        ),
        ("5.1: DATA after END_STREAM", ended(frame(DATA, 0, 1, b"a")), Stream(1, CLOSED)),
        ("5.1: HEADERS after END_STREAM", ended(get(1, "/")), Stream(1, CLOSED)),
        ("5.1: HEADERS on a stream that was reset", closed(get(1, "/")), Stream(1, CLOSED)),
        ("5.1.1: an even stream", get(2, "/"), Connection(PROTOCOL)),
        ("5.1.1: a number below the last", [get(5, "/"), get(3, "/")].concat(), Connection(CLOSED)),
        (
            "5.3.1: a stream that depends on itself",
            [frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 7]), get(1, "/")].concat(),
            Stream(1, PROTOCOL),
        ),
        (
            "5.5: PRIORITY in the middle of a head",
            [
                frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/"))),
                frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 7]),
            ]
            .concat(),
            Connection(PROTOCOL),
        ),
        (
            "5.5: an unknown frame in the middle of a head",
            [frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/"))), frame(0x16, 0, 1, &[])]
                .concat(),
            Connection(PROTOCOL),
        ),
    ])
    .await;
}

#[tokio::test]
async fn rfc9113_section_6_frames() {
    check(vec![
        ("6.1: DATA on stream 0", frame(DATA, 0, 0, b"a"), Connection(PROTOCOL)),
        (
            "6.1: padding longer than the frame",
            [post(1, "/"), frame(DATA, PADDED, 1, &[5, 0])].concat(),
            Connection(PROTOCOL),
        ),
        (
            "6.1: padding is not data",
            [post(1, "/"), frame(DATA, PADDED | END_STREAM, 1, &[2, b'a', 0, 0])].concat(),
            Served(1),
        ),
        (
            "6.2: HEADERS on stream 0",
            frame(HEADERS, END_HEADERS | END_STREAM, 0, &block(&request("GET", "/"))),
            Connection(PROTOCOL),
        ),
        (
            "6.2: padding longer than the head",
            frame(HEADERS, PADDED | END_HEADERS, 1, &[200, 0x82]),
            Connection(PROTOCOL),
        ),
        (
            "6.3: PRIORITY on stream 0",
            frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 7]),
            Connection(PROTOCOL),
        ),
        (
            "6.3: PRIORITY of four bytes",
            [post(1, "/"), frame(PRIORITY, 0, 1, &[0; 4])].concat(),
            Stream(1, SIZE_OR_PROTOCOL),
        ),
        ("6.4: RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), Connection(PROTOCOL)),
        (
            "6.4: RST_STREAM of three bytes",
            [post(1, "/"), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            Connection(SIZE_OR_PROTOCOL),
        ),
        ("6.5: SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), Connection(PROTOCOL)),
        (
            "6.5: an acknowledgement with content",
            frame(SETTINGS, ACK, 0, &setting(3, 1)),
            Connection(SIZE_OR_PROTOCOL),
        ),
        (
            "6.5: SETTINGS of three bytes",
            frame(SETTINGS, 0, 0, &[0; 3]),
            Connection(SIZE_OR_PROTOCOL),
        ),
        ("6.5.2: ENABLE_PUSH 2", frame(SETTINGS, 0, 0, &setting(2, 2)), Connection(PROTOCOL)),
        (
            "6.5.2: a window beyond all windows",
            frame(SETTINGS, 0, 0, &setting(4, 1 << 31)),
            Connection(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]),
        ),
        (
            "6.5.2: frames smaller than 16384",
            frame(SETTINGS, 0, 0, &setting(5, 16_383)),
            Connection(PROTOCOL),
        ),
        (
            "6.5.2: frames larger than 24 bits",
            frame(SETTINGS, 0, 0, &setting(5, 1 << 24)),
            Connection(PROTOCOL),
        ),
        (
            "6.5.2: unknown settings are ignored",
            [frame(SETTINGS, 0, 0, &setting(0xf0f0, 1)), get(1, "/")].concat(),
            Served(1),
        ),
        (
            "6.6: PUSH_PROMISE from a client",
            [get(1, "/__delay/200"), frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])]
                .concat(),
            Connection(PROTOCOL),
        ),
        ("6.7: PING on a stream", frame(PING, 0, 1, &[0; 8]), Connection(PROTOCOL)),
        ("6.7: PING of six bytes", frame(PING, 0, 0, &[0; 6]), Connection(SIZE_OR_PROTOCOL)),
        (
            "6.7: a pong that nobody asked for is ignored",
            [frame(PING, ACK, 0, &[1; 8]), get(1, "/")].concat(),
            Served(1),
        ),
        ("6.8: GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), Connection(PROTOCOL)),
        (
            "6.9: WINDOW_UPDATE by nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            Connection(PROTOCOL),
        ),
        (
            "6.9: WINDOW_UPDATE by nothing on a stream",
            [post(1, "/"), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            Stream(1, PROTOCOL),
        ),
        (
            "6.9: WINDOW_UPDATE of three bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            Connection(SIZE_OR_PROTOCOL),
        ),
        (
            "6.9.1: a window that overflows",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            Connection(FLOW),
        ),
        (
            "6.9.1: a stream's window that overflows",
            [get(1, "/__delay/200"), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])]
                .concat(),
            Stream(1, FLOW),
        ),
        (
            "6.10: CONTINUATION after the end of a head",
            [post(1, "/"), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(),
            Connection(PROTOCOL),
        ),
        (
            "6.10: CONTINUATION of another stream",
            [
                frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/"))),
                frame(CONTINUATION, END_HEADERS, 3, &[]),
            ]
            .concat(),
            Connection(PROTOCOL),
        ),
        (
            "6.10: a head in three frames",
            {
                let fields = block(&request("GET", "/"));
                let (first, rest) = fields.split_at(7);
                [
                    frame(HEADERS, END_STREAM, 1, first),
                    frame(CONTINUATION, 0, 1, &[]),
                    frame(CONTINUATION, END_HEADERS, 1, rest),
                ]
                .concat()
            },
            Served(1),
        ),
        (
            "4.2: GOAWAY shorter than its fields",
            frame(GOAWAY, 0, 0, &[0; 4]),
            Connection(SIZE_OR_PROTOCOL),
        ),
    ])
    .await;
}

/// A window of responses that grows beyond all windows by a setting (§6.9.2).
#[tokio::test]
async fn rfc9113_section_6_9_2_windows_follow_the_setting() {
    let small = frame(SETTINGS, 0, 0, &setting(4, 3));
    let grown = frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0x00]);
    let more = frame(SETTINGS, 0, 0, &setting(4, 0x7fff_ffff));
    check(vec![(
        "6.9.2: a setting that makes a window overflow",
        [small, get(1, "/__delay/300"), grown, more].concat(),
        Connection(FLOW),
    )])
    .await;
}

#[tokio::test]
async fn rfc9113_section_8_requests() {
    let all = END_HEADERS | END_STREAM;
    let without = |left_out: &str| {
        let fields: Vec<_> =
            request("GET", "/").into_iter().filter(|(name, _)| *name != left_out).collect();
        headers(all, 1, &fields)
    };
    let with = |name: &'static str, value: &'static str| {
        let mut fields = request("GET", "/");
        fields.push((name, value));
        headers(all, 1, &fields)
    };
    let first = |name: &'static str, value: &'static str| {
        let mut fields = request("GET", "/");
        fields.insert(0, (name, value));
        headers(all, 1, &fields)
    };
    let body = |length: &'static str, data: &[u8]| {
        let mut fields = request("POST", "/");
        fields.push(("content-length", length));
        [headers(END_HEADERS, 1, &fields), frame(DATA, END_STREAM, 1, data)].concat()
    };
    let trailers = |fields: &[(&str, &str)], flags: u8| {
        [post(1, "/"), frame(DATA, 0, 1, b"a"), headers(flags, 1, fields)].concat()
    };
    check(vec![
        ("8.1: a request that is whole", get(1, "/"), Served(1)),
        ("8.1: trailers", trailers(&[("x-sum", "7")], all), Served(1)),
        ("8.1: a second head without an end", trailers(&[("x-sum", "7")], END_HEADERS), Refused(1)),
        // h2 leaves them out where it might refuse them: nobody sees them.
        ("8.1: pseudo fields in trailers go nowhere", trailers(&[(":path", "/x")], all), Served(1)),
        ("8.1.1: less than the length says", body("5", b"a"), Refused(1)),
        ("8.1.1: more than the length says", body("1", b"aaaaa"), Refused(1)),
        ("8.1.1: the length that it is", body("5", b"aaaaa"), Served(1)),
        ("8.2.1: an upper-case name", with("X-Upper", "a"), Refused(1)),
        ("8.2.1: an empty name", with("", "a"), Refused(1)),
        ("8.2.1: a colon in a name", with("x:y", "a"), Refused(1)),
        ("8.2.1: a line feed in a value", with("x", "a\nb"), Refused(1)),
        ("8.2.2: connection", with("connection", "keep-alive"), Refused(1)),
        ("8.2.2: keep-alive", with("keep-alive", "1"), Refused(1)),
        ("8.2.2: proxy-connection", with("proxy-connection", "keep-alive"), Refused(1)),
        ("8.2.2: transfer-encoding", with("transfer-encoding", "chunked"), Refused(1)),
        ("8.2.2: upgrade", with("upgrade", "websocket"), Refused(1)),
        ("8.2.2: te that is not trailers", with("te", "gzip"), Refused(1)),
        ("8.2.2: te", with("te", "trailers"), Served(1)),
        ("8.3: an unknown pseudo field", first(":unknown", "a"), Refused(1)),
        ("8.3: a pseudo field of responses", first(":status", "200"), Refused(1)),
        ("8.3: a pseudo field behind others", with(":authority", "a"), Refused(1)),
        ("8.3: a pseudo field twice", first(":path", "/x"), Refused(1)),
        ("8.3.1: no method", without(":method"), Refused(1)),
        ("8.3.1: no scheme", without(":scheme"), Refused(1)),
        ("8.3.1: no path", without(":path"), Refused(1)),
        (
            "8.3.1: an empty path",
            headers(
                all,
                1,
                &[
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":authority", "localhost"),
                    (":path", ""),
                ],
            ),
            Refused(1),
        ),
        ("8.5: CONNECT with a path", headers(all, 1, &request("CONNECT", "/")), Refused(1)),
    ])
    .await;
}
