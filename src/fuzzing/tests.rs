//! The properties, tried with some hundred inputs of the right kind each.

use proptest::prelude::*;

/// Lines of a header block, some of them to the point.
fn lines(words: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => words.prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join(&b'\n'))
}

/// Texts made of `words`.
fn made_of(words: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(words), 0..most)
        .prop_map(|words| words.concat())
}

const RULE_WORDS: &[&str] = &[
    "Host",
    "HostRegexp",
    "Path",
    "PathPrefix",
    "PathRegexp",
    "Header",
    "HeaderRegexp",
    "Query",
    "QueryRegexp",
    "Method",
    "ClientIP",
    "HostSNI",
    "HostSNIRegexp",
    "ALPN",
    "Headers",
    "HostHeader",
    "(",
    ")",
    "`",
    "\"",
    ",",
    "&&",
    "||",
    "!",
    " ",
    "*",
    "a.test",
    "/a",
    "GET",
    "10.0.0.0/8",
    "h2",
    "^",
    ".*",
    "{id:[0-9]+}",
    "\\",
    "é",
];

const HEAD_WORDS: &[&str] = &[
    "GET / HTTP/1.1",
    "POST /a?b HTTP/1.1",
    "CONNECT a:1 HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "GET http://b/c HTTP/1.0",
    "HTTP/1.1 200 OK",
    "HTTP/1.0 304 ",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "Host: a",
    "Host:b",
    "Content-Length: 0",
    "Content-Length: 5",
    "content-length:5 ",
    "Transfer-Encoding: chunked",
    "transfer-encoding:\tChunked",
    "Connection: close, upgrade",
    "Upgrade: a",
    "Expect: 100-continue",
    " ",
    "\t",
    "X: y",
    "\0",
    "\x0b",
    "é",
];

const BODY_WORDS: &[&str] = &[
    "5\r\nhello\r\n",
    "1;a=b\r\nx\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "\r\n",
    "\n",
    "A: b\r\n",
    "Host: a\r\n",
    "Content-Length: 1\r\n",
    "f",
    "0",
    ";",
    "x",
    "ffffffffffffffff",
    "+",
    " ",
    "GET / HTTP/1.1",
];

const DYNAMIC_WORDS: &[&str] = &[
    "http:\n",
    " routers:\n",
    " services:\n",
    " middlewares:\n",
    "  a:\n",
    "  b: ",
    "   rule: Path(`/`)\n",
    "   service: a\n",
    "   priority: ",
    "   loadBalancer:\n",
    "    servers:\n",
    "    - url: http://a\n",
    "    sticky: {cookie: {}}\n",
    "   weighted: {services: [{name: a, weight: 1}]}\n",
    "true\n",
    "null\n",
    "1e9\n",
    "-5\n",
    ".nan\n",
    "10s\n",
    "[a, b]\n",
    "{}\n",
    "   headers: {customRequestHeaders: {a: b}}\n",
    "   rateLimit: {average: 5, period: 1m}\n",
    "   retry: {attempts: 3}\n",
    "tcp:\n",
    "udp:\n",
    "tls:\n",
    " options:\n",
    "   minVersion: VersionTLS12\n",
    " certificates: [{certFile: a, keyFile: b}]\n",
    "&a ",
    "*a\n",
    "\"",
    "#",
    "\t",
    "é",
];

const STARTUP_WORDS: &[&str] = &[
    "--entryPoints.web.address=:80\n",
    "--entrypoints.web.http.tls\n",
    "--api\n",
    "--api.insecure=true\n",
    "--log.level=",
    "DEBUG\n",
    "--providers.file.filename=a\n",
    "--providers.file.directory=b\n",
    "--",
    "--accesslog.filters.statuscodes=200,300-302\n",
    "--metrics.prometheus.buckets=0.1,0.2\n",
    "=",
    ".",
    "--entryPoints.a.transport.respondingTimeouts.readTimeout=",
    "5s\n",
    "-1\n",
    "[0]",
    "--ping\n",
    "TRAEFIK_API=true\n",
    "TRAEFIK_ENTRYPOINTS_WEB_ADDRESS=:81\n",
    "TRAEFIK_",
    "PONTOON_",
    "\n",
    "é",
];

proptest! {
    #[test]
    fn rules_hold(text in made_of(RULE_WORDS, 16)) {
        super::rule(text.as_bytes());
    }

    #[test]
    fn rules_that_parse_hold(
        name in proptest::sample::select(vec!["Host", "Path", "PathPrefix", "HostRegexp", "Method", "ClientIP", "HostSNI"]),
        value in "[a-z./*^0-9]{1,8}", negated: bool, other in "[A-Z]{3}",
    ) {
        let not = if negated { "!" } else { "" };
        super::rule(format!("{not}({name}(`{value}`) || {not}Method(`{other}`)) && PathPrefix(`/`)").as_bytes());
        super::rule(format!("{not}{name}(`{value}`)").as_bytes());
    }

    #[test]
    fn proxy_headers_hold(
        start in proptest::sample::select(vec![
            &b""[..], b"PROXY ", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2", b"PROXY UNKNOWN", b"\r\n\r\n\0\r\nQUIT\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24", b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
        ]),
        more: Vec<u8>, ends: bool,
    ) {
        let mut bytes = [start, &more].concat();
        if ends {
            bytes.extend(b"\r\n");
        }
        super::proxy_header(&bytes);
    }

    #[test]
    fn client_hellos_hold(
        records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..5), kind in 0..4_u8,
    ) {
        let mut bytes = Vec::new();
        for (index, mut record) in records.into_iter().enumerate() {
            if index == 0 {
                record.splice(0..0, [kind, 0, 0, u8::try_from(record.len()).unwrap()]);
            }
            bytes.extend([0x16, 3, 1, 0, u8::try_from(record.len()).unwrap()]);
            bytes.extend(record);
        }
        super::client_hello(&bytes);
    }

    #[test]
    fn cookies_hold(
        name in "[a-z;= \"\\PC]{0,6}",
        cookies in lines("(app=[a-f0-9]{16}|a=b; _4bd12=canary|app=\"canary\"|[ -~]{0,20})"),
    ) {
        super::cookie(&[b"app\n", cookies.as_slice()].concat());
        super::cookie(&[name.as_bytes(), b"\n", &cookies].concat());
    }

    #[test]
    fn forwarded_headers_hold(
        fields in lines("(X-Forwarded-(For|Proto|Host|Port|Prefix|Tls-Client-Cert): ?[a-z0-9,.]{0,9}|x_(real_ip|forwarded_for):1.1.1.1|Connection:(close|upgrade|kept|host|te|x-a|X-Forwarded-For|,| ){0,6}|Upgrade: ?websocket|X-A: b|Kept: c|Host:[a-z\\[\\]:0-9]{0,8}|Content-Length: 1)"),
    ) {
        super::forwarded(&fields);
    }

    #[test]
    fn requests_hold(piece: u8, text in made_of(HEAD_WORDS, 20)) {
        super::http1_request(&[&[piece], text.as_bytes()].concat());
        let good = format!("POST / HTTP/1.1\r\nHost: a\r\n{text}\r\n\r\n");
        super::http1_request(&[&[piece], good.as_bytes()].concat());
    }

    #[test]
    fn responses_hold(text in made_of(HEAD_WORDS, 20)) {
        super::http1_response(text.as_bytes());
        super::http1_response(format!("HTTP/1.1 200 OK\r\n{text}\r\n\r\n").as_bytes());
    }

    #[test]
    fn heads_of_http3_hold(
        others in prop::collection::vec(
            ("(:(method|path|scheme|authority|status)|host|te|content-length|connection|[a-z-]{0,9}|X)", "(trailers|https|/[a-z?#%]{0,9}|[0-9a-z.:]{0,9}|.{0,9})"),
            0..6,
        ),
        begins_well: bool,
        tail in prop::collection::vec(any::<u8>(), 0..12),
        is_cut: bool,
    ) {
        let usual = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/")];
        let usual = usual.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let others = others.into_iter().map(|(name, value)| (name, value.into_bytes()));
        let fields: Vec<_> = usual.into_iter().filter(|_| begins_well).chain(others).collect();
        let mut section = crate::http::h3::fuzzing::section(&fields);
        super::http3_head(&section);
        section.extend(tail);
        if is_cut {
            section.truncate(section.len() / 2);
        }
        super::http3_head(&section);
    }

    #[test]
    fn bodies_hold(piece: u8, text in made_of(BODY_WORDS, 16)) {
        super::http1_body(&[&[piece], text.as_bytes()].concat());
    }

    #[test]
    fn dynamic_configurations_hold(text in made_of(DYNAMIC_WORDS, 24), notation in proptest::sample::select(b"ytj".to_vec())) {
        super::dynamic_config(&[&[notation], text.as_bytes()].concat());
    }

    #[test]
    fn startup_configurations_hold(text in made_of(STARTUP_WORDS, 12), origin in proptest::sample::select(b"ytjfe".to_vec())) {
        super::startup_config(&[&[origin], text.as_bytes()].concat());
    }
}

/// The configurations of the fixtures, through the same properties.
#[test]
fn configurations_of_the_fixtures_hold() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/traefik");
    let mut seen = 0;
    for file in walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok) {
        let notation = match file.path().extension().and_then(|extension| extension.to_str()) {
            Some("yml" | "yaml") => b'y',
            Some("toml") => b't',
            _ => continue,
        };
        let mut bytes = vec![notation];
        bytes.extend(std::fs::read(file.path()).unwrap());
        super::dynamic_config(&bytes);
        super::startup_config(&bytes);
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}
