//! HTTP/2 from clients that mean harm, frame by frame: each attack costs bounded memory and ends with its own
//! connection, and everybody else is served.
//!
//! static.md §2 `http2`, `transport`; RFC 9113 §5 to §8, §10.5; CVE-2019-9511 to -9518, CVE-2023-44487, CVE-2024-27316.

mod conformance;

use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::h1::Reader;
use crate::support::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PREFACE,
    PRIORITY, PROTOCOL_ERROR, Peer, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get, post,
    put_length, request, setting,
};
use crate::support::running::{Running, STARTUP, ask, echo, everything_to};

/// What an attack may add to the memory of a debug build that has just started.
const GROWTH_MAX: usize = 48 << 20;

/// The program, and two that must not notice anything: a request over HTTP/1 now and then, and an HTTP/2 connection.
struct Scene {
    running: Running,
    backend: crate::support::backend::Backend,
    h1: Reader<TcpStream>,
    h2: Peer,
    stream: u32,
    memory: usize,
}

impl Scene {
    async fn start() -> Self {
        Self::with(STARTUP).await
    }

    async fn with(startup: &str) -> Self {
        let (backend, address) = echo("app", "http").await;
        let app = everything_to(&format!("http://{address}"));
        let running = Running::start(startup, &[("app.yml", &app)]).await;
        let web = running.address("web");
        let h1 = Reader::new(TcpStream::connect(web).await.unwrap());
        let h2 = Peer::connect(web).await;
        let mut scene = Self { running, backend, h1, h2, stream: 1, memory: 0 };
        scene.unharmed("before").await;
        scene.memory = scene.running.memory();
        scene
    }

    async fn attacker(&self) -> Peer {
        Peer::connect(self.running.address("web")).await
    }

    /// Both connections still get answers, and memory is bounded.
    async fn unharmed(&mut self, after: &str) {
        assert_eq!(ask(&mut self.h1, "/").await.unwrap().status, 200, "{after}");
        let stream = self.stream;
        self.stream += 2;
        self.h2.send(&get(stream, "/")).await;
        let answered = |seen: &crate::support::h2::Ending| seen.heads.contains_key(&stream);
        assert!(self.h2.until(after, answered).await.status(stream, 200), "{after}");
        let grown = self.running.memory().saturating_sub(self.memory);
        assert!(self.memory == 0 || grown < GROWTH_MAX, "{after}: {grown} bytes more");
    }
}

/// `count` odd stream numbers.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| number * 2 + 1)
}

fn repeated(frame: &[u8], times: usize) -> Vec<u8> {
    frame.repeat(times)
}

/// CVE-2023-44487: requests that are taken back at once.
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let mut scene = Scene::start().await;
    let mark = scene.backend.count();
    let reset = |stream| [get(stream, "/__delay/200"), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])];
    let bytes = streams(20_000).flat_map(reset).flatten().collect();
    let ending = scene.attacker().await.flood(bytes, "rapid resets", |_| false).await;
    assert!(ending.ended_with(&[ENHANCE_YOUR_CALM]), "{:?}", ending.goaways);
    let forwarded = scene.backend.count() - mark;
    assert!(forwarded < 1000, "{forwarded} requests reached the server");
    scene.unharmed("rapid resets").await;
}

/// The same, slower: each request is under way before it is taken back, by a reset or by what forces us to send one.
#[tokio::test]
async fn resets_of_requests_under_way_end_the_connection() {
    for provoked in [false, true] {
        let mut scene = Scene::start().await;
        let mut attacker = scene.attacker().await;
        let takes_back = if provoked {
            // A window that overflows is the client's error, and our reset.
            |stream| frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])
        } else {
            |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])
        };
        let mut ended = false;
        for (number, stream) in streams(2000).enumerate() {
            attacker.send(&get(stream, "/__delay/5000")).await;
            // The pong comes behind the frames that were read before it.
            attacker.send(&frame(PING, 0, 0, &[0; 8])).await;
            attacker.until("a pong", |seen| seen.acks > number + 1).await;
            attacker.send(&takes_back(stream)).await;
            if attacker.seen.closed {
                ended = true;
                break;
            }
        }
        assert!(ended, "2000 requests were taken back: {provoked}");
        let codes = [ENHANCE_YOUR_CALM, PROTOCOL_ERROR];
        assert!(attacker.seen.ended_with(&codes), "{provoked}: {:?}", attacker.seen.goaways);
        scene.unharmed("resets under way").await;
    }
}

/// CVE-2024-27316: a head that never ends, in frames with something and with nothing in them.
#[tokio::test]
async fn endless_continuations_end_the_connection() {
    for payload in [vec![], vec![0], block(&[("x", &"y".repeat(8000))])] {
        let mut scene = Scene::start().await;
        let head = frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/")));
        let more = frame(CONTINUATION, 0, 1, &payload);
        let bytes = [head, repeated(&more, (64 << 20) / more.len().max(64))].concat();
        let what = format!("CONTINUATION of {} bytes", payload.len());
        let ending = scene.attacker().await.flood(bytes, &what, |_| false).await;
        assert!(ending.closed, "{what}");
        scene.unharmed(&what).await;
    }
}

/// CVE-2019-9515 and -9512: each frame asks for an answer. Who does not read the answers is not read any longer.
#[tokio::test]
async fn settings_and_pings_without_end_are_answered_one_by_one_or_wait() {
    for one in [frame(SETTINGS, 0, 0, &setting(3, 100)), frame(PING, 0, 0, &[7; 8])] {
        let mut scene = Scene::start().await;
        let mut deaf = scene.attacker().await;
        let many = repeated(&one, 10_000);
        let taken = deaf.stuff(&many, 600, Duration::from_millis(500)).await;
        assert!(taken < 600, "100 MB of frames were read while nobody read the answers");
        scene.unharmed("answers that nobody reads").await;
        let bytes = repeated(&one, 50_000);
        let attacker = scene.attacker().await;
        let ending = attacker.flood(bytes, "frames to answer", |seen| seen.acks >= 50_000).await;
        assert!(ending.closed || ending.acks >= 50_000, "{}", ending.acks);
        scene.unharmed("answers that were read").await;
    }
}

/// CVE-2019-9518: frames that bring a body no further.
#[tokio::test]
async fn empty_data_without_end_ends_the_connection() {
    for (name, one) in
        [("empty", frame(DATA, 0, 1, &[])), ("only padding", frame(DATA, 8, 1, &[0]))]
    {
        let mut scene = Scene::start().await;
        let bytes = [post(1, "/"), repeated(&one, 200_000)].concat();
        let ending = scene.attacker().await.flood(bytes, name, |_| false).await;
        assert!(ending.ended_with(&[ENHANCE_YOUR_CALM]), "{name}: {:?}", ending.goaways);
        scene.unharmed(name).await;
    }
}

/// CVE-2019-9511 and -9517: responses that are asked for and never taken. Not more than each stream's buffer waits,
/// and the write timeout ends it.
#[tokio::test]
async fn responses_that_are_never_taken_are_bounded_and_end_by_the_write_timeout() {
    let startup = STARTUP.replace(
        "web: {address: '127.0.0.1:0'}",
        "web: {address: '127.0.0.1:0', transport: {respondingTimeouts: {writeTimeout: 6s}}}",
    );
    let mut scene = Scene::with(&startup).await;
    let settings = setting(4, 0);
    let mut attackers = Vec::new();
    for _ in 0..2 {
        let mut attacker = Peer::with_settings(scene.running.address("web"), &settings).await;
        let asked: Vec<u8> =
            streams(50).flat_map(|stream| get(stream, "/__bytes/1000000")).collect();
        attacker.send(&asked).await;
        attackers.push(attacker);
    }
    for attacker in &mut attackers {
        attacker.until("heads of all responses", |seen| seen.heads.len() == 50).await;
        assert!(attacker.seen.data.is_empty(), "the window is closed");
    }
    // 100 MB were asked for; each stream may hold what a buffer holds.
    let grown = scene.running.memory().saturating_sub(scene.memory);
    assert!(grown < 40 << 20, "{grown} bytes more");
    for attacker in &mut attackers {
        attacker.until("the write timeout", |seen| seen.resets.len() == 50).await;
        assert_eq!(attacker.seen.resets.len(), 50);
    }
    assert_eq!(ask(&mut scene.h1, "/").await.unwrap().status, 200);
}

/// static.md §2: a head beyond the limit is refused, and the connection goes on.
#[tokio::test]
async fn a_head_beyond_the_limit_is_refused_alone() {
    let mut scene = Scene::start().await;
    let mark = scene.backend.count();
    let mut attacker = scene.attacker().await;
    let large = "y".repeat(16_000);
    let mut head = block(&request("GET", "/"));
    let mut bytes = frame(HEADERS, END_STREAM, 1, &head);
    // Some more than the 1 MiB that Go and so Traefik allow; that is few enough frames not to be a flood.
    for _ in 0..80 {
        head = block(&[("x", &large)]);
        bytes.extend(frame(CONTINUATION, 0, 1, &head));
    }
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &[]));
    bytes.extend(get(3, "/"));
    let enough = |seen: &crate::support::h2::Ending| seen.heads.contains_key(&3);
    attacker.send(&bytes).await;
    let seen = attacker.until("a refusal", enough).await;
    assert!(!seen.status(1, 200), "accepted");
    assert!(
        seen.closed || seen.status(3, 200),
        "the next request is answered, or the connection ends"
    );
    assert!(scene.backend.count() - mark <= 1, "the large head reached the server");
    scene.unharmed("a large head").await;
}

/// A small block that grows by a factor of thousands: one large entry of the dynamic table, named again and again.
#[tokio::test]
async fn a_header_bomb_is_refused_before_it_grows() {
    let mut scene = Scene::start().await;
    let mark = scene.backend.count();
    // Literal with incremental indexing (RFC 7541 §6.2.1): the entry gets index 62.
    let mut seed = block(&request("GET", "/"));
    seed.push(0x40);
    put_length(&mut seed, 1);
    seed.push(b'x');
    put_length(&mut seed, 3900);
    seed.extend([b'y'; 3900]);
    let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, 1, &seed);
    for stream in streams(60).skip(1) {
        // 16 KB that mean 60 MB.
        let bomb = [block(&request("GET", "/")), vec![0x80 | 0x3e; 15_000]].concat();
        bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &bomb));
    }
    let attacker = scene.attacker().await;
    let done = |seen: &crate::support::h2::Ending| seen.heads.len() + seen.resets.len() >= 60;
    let ending = attacker.flood(bytes, "header bombs", done).await;
    assert!(ending.heads.keys().all(|stream| *stream == 1 || !ending.status(*stream, 200)));
    assert!(scene.backend.count() - mark <= 1, "a bomb reached the server");
    scene.unharmed("header bombs").await;
}

/// CVE-2019-9513: a tree of priorities that nobody keeps.
#[tokio::test]
async fn priorities_cost_nothing() {
    let mut scene = Scene::start().await;
    let weigh =
        |stream: u32| frame(PRIORITY, 0, stream, &[&(stream + 2).to_be_bytes()[..], &[7]].concat());
    let bytes = streams(200_000).flat_map(weigh).chain(get(400_001, "/")).collect();
    let attacker = scene.attacker().await;
    let done = |seen: &crate::support::h2::Ending| seen.heads.contains_key(&400_001);
    let ending = attacker.flood(bytes, "priorities", done).await;
    assert!(ending.closed || ending.status(400_001, 200));
    scene.unharmed("priorities").await;
}

/// static.md §2 `maxConcurrentStreams`: more than it allows are refused, and those before are served.
#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let startup = STARTUP.replace(
        "web: {address: '127.0.0.1:0'}",
        "web: {address: '127.0.0.1:0', http2: {maxConcurrentStreams: 10}}",
    );
    let mut scene = Scene::with(&startup).await;
    let mark = scene.backend.count();
    let mut attacker = scene.attacker().await;
    let asked: Vec<u8> = streams(200).flat_map(|stream| get(stream, "/__delay/300")).collect();
    attacker.send(&asked).await;
    let done = |seen: &crate::support::h2::Ending| seen.heads.len() + seen.resets.len() == 200;
    let seen = attacker.until("an answer to each", done).await;
    // A connection error for so many is allowed, too (RFC 9113 §5.1.2).
    assert!(seen.closed || (seen.heads.len() >= 10 && seen.resets.len() >= 150));
    assert!(scene.backend.count() - mark <= 50);
    scene.unharmed("too many streams").await;
}

/// A body that is announced and trickles: the read timeout ends the stream, also where frames keep coming.
#[tokio::test]
async fn a_body_that_trickles_ends_by_the_read_timeout() {
    let startup = STARTUP.replace(
        "web: {address: '127.0.0.1:0'}",
        "web: {address: '127.0.0.1:0', transport: {respondingTimeouts: {readTimeout: 1s}}}",
    );
    let scene = Scene::with(&startup).await;
    let mark = scene.backend.count();
    let mut attacker = scene.attacker().await;
    attacker.send(&post(1, "/")).await;
    let over = |seen: &crate::support::h2::Ending| {
        seen.heads.contains_key(&1) || seen.resets.contains_key(&1)
    };
    let began = tokio::time::Instant::now();
    let seen = attacker.dribble(frame(DATA, 0, 1, b"a"), "the read timeout", over).await;
    assert!(!seen.status(1, 200));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!(scene.backend.count(), mark);
}

/// A handshake that never goes on does not stay.
#[tokio::test]
async fn a_preface_in_parts_ends_by_the_timeout() {
    let startup = STARTUP.replace(
        "web: {address: '127.0.0.1:0'}",
        "web: {address: '127.0.0.1:0', transport: {respondingTimeouts: {readTimeout: 1s, idleTimeout: 1s}}}",
    );
    let mut scene = Scene::with(&startup).await;
    for end in [3, 16, PREFACE.len() - 1, PREFACE.len()] {
        let mut attacker = Peer::starting_with(scene.running.address("web"), &PREFACE[..end]).await;
        assert!(attacker.until("an end", |_| false).await.closed, "{end}");
    }
    scene.memory = 0;
    scene.h2 = scene.attacker().await;
    scene.stream = 1;
    scene.h1 = Reader::new(TcpStream::connect(scene.running.address("web")).await.unwrap());
    scene.unharmed("half a preface").await;
}
