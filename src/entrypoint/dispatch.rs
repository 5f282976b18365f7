//! Who gets a connection: a TCP router or HTTP. Decided from its first bytes, which stay unread for whoever gets it.
//!
//! Traefik: connection dispatch of TCP entry points (tcp-udp-tls.md §3). Differs: a hello of SSL 2 (first byte 0x80)
//! counts as a connection without TLS.

use std::net::IpAddr;
use std::sync::Arc;

use crate::plan::Streams;
use crate::router::tcp::Target;
use crate::tcp::{POSTGRES_REQUEST, Route};
use crate::tls::hello::{HANDSHAKE_RECORD, Hello, Peeked, peek};

/// How to go on with a connection.
#[derive(Clone)]
pub(super) enum Step {
    /// More has to be read.
    Read,
    /// HTTP gets it.
    Http,
    /// The client asks for TLS as `PostgreSQL` does: answer, and decide again about what follows the request.
    StartTls,
    Stream(Arc<Route>),
    Close,
}

/// Decides from the `first` bytes of a connection of `client`. `starttls`: TLS has been promised already.
pub(super) fn decide(streams: &Streams, first: &[u8], client: IpAddr, starttls: bool) -> Step {
    let plain = || {
        let target = Target { server_name: "", protocols: &[], client };
        streams.plain.find(&target).map(|(route, _)| Step::Stream(route.clone()))
    };
    // Where nobody waits for TLS, the server may be the one that speaks first.
    let nobody_waits = streams.secure.is_empty() && !streams.https.any && !starttls;
    if nobody_waits && let Some(step) = plain() {
        return step;
    }
    let Some(&kind) = first.first() else { return Step::Read };
    if !starttls {
        if first.starts_with(POSTGRES_REQUEST) {
            return Step::StartTls;
        }
        if POSTGRES_REQUEST.starts_with(first) {
            return Step::Read;
        }
    }
    if kind != HANDSHAKE_RECORD {
        return if starttls { Step::Close } else { plain().unwrap_or(Step::Http) };
    }
    if streams.secure.is_empty() {
        return if starttls { Step::Close } else { Step::Http };
    }
    match peek(first) {
        Peeked::Incomplete => Step::Read,
        Peeked::Hello(hello) => secure(streams, &hello, client, starttls),
        // Whoever ends TLS says what is wrong with it.
        Peeked::Malformed if !starttls => Step::Http,
        Peeked::Malformed => Step::Close,
    }
}

/// Decides about a connection with TLS: names before catch-alls, HTTPS before TCP.
fn secure(streams: &Streams, hello: &Hello, client: IpAddr, starttls: bool) -> Step {
    let Hello { server_name, protocols } = hello;
    let found = streams.secure.find(&Target { server_name, protocols, client });
    let stream = |route: &Arc<Route>| Step::Stream(route.clone());
    if starttls {
        return found.map_or(Step::Close, |(route, _)| stream(route));
    }
    match found {
        _ if streams.https.names(server_name) => Step::Http,
        Some((route, false)) => stream(route),
        Some((route, true)) if !streams.https.catch_all => stream(route),
        Some(_) | None => Step::Http,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Https;
    use crate::router::Syntax;
    use crate::router::tcp::{Entry, Rule, Table};
    use crate::tcp::Ending;

    fn table(rules: &[&str]) -> Table<Arc<Route>> {
        let entries = rules.iter().map(|text| {
            let rule = Rule::parse(text, Syntax::V3).unwrap();
            let name: Arc<str> = (*text).into();
            let (ending, service) = (Ending::Plain, None);
            let middlewares = Box::default();
            Entry {
                priority: rule.default_priority(text),
                rule: Arc::new(rule),
                precedence: 0,
                name: name.clone(),
                value: Arc::new(Route { name, ending, middlewares, service }),
            }
        });
        Table::new(entries.collect())
    }

    fn streams(plain: &[&str], secure: &[&str], https: &[&str]) -> Streams {
        let hosts = https.iter().map(|host| Some((*host).to_owned()).filter(|host| host != "*"));
        let hosts = hosts.map(|host| host.into_iter().collect::<Vec<_>>());
        Streams { plain: table(plain), secure: table(secure), https: Https::of(hosts) }
    }

    /// The router's name, or what else is done.
    fn decided(streams: &Streams, first: &[u8], starttls: bool) -> String {
        match decide(streams, first, [127, 0, 0, 1].into(), starttls) {
            Step::Read => "read".to_owned(),
            Step::Http => "http".to_owned(),
            Step::StartTls => "start TLS".to_owned(),
            Step::Stream(route) => route.name.to_string(),
            Step::Close => "close".to_owned(),
        }
    }

    /// A `ClientHello` for `name`; no name where it is empty.
    fn hello(name: &str) -> Vec<u8> {
        let mut names = vec![0];
        names.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        names.extend(name.as_bytes());
        let mut extension = u16::try_from(names.len()).unwrap().to_be_bytes().to_vec();
        extension.extend(names);
        let mut body = vec![3; 34];
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        if !name.is_empty() {
            body.extend(u16::try_from(extension.len() + 4).unwrap().to_be_bytes());
            body.extend([0, 0]);
            body.extend(u16::try_from(extension.len()).unwrap().to_be_bytes());
            body.extend(extension);
        }
        let mut record = vec![HANDSHAKE_RECORD, 3, 1];
        record.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
        record.extend([1, 0]);
        record.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        record.extend(body);
        record
    }

    const STAR: &str = "HostSNI(`*`)";
    const NAMED: &str = "HostSNI(`a.test`)";

    #[test]
    fn without_tls_the_server_may_speak_first() {
        assert_eq!(decided(&streams(&[STAR], &[], &[]), b"", false), STAR);
        assert_eq!(decided(&streams(&["ClientIP(`10.0.0.1`)"], &[], &[]), b"", false), "read");
        for waiting in [streams(&[STAR], &[NAMED], &[]), streams(&[STAR], &[], &["a.test"])] {
            assert_eq!(decided(&waiting, b"", false), "read");
            assert_eq!(decided(&waiting, b"\0", false), "read", "PostgreSQL begins so");
            assert_eq!(decided(&waiting, b"\0x", false), STAR);
            assert_eq!(decided(&waiting, b"GET / HTTP/1.1\r\n", false), STAR, "before HTTP");
        }
        let others = streams(&["ClientIP(`10.0.0.1`)"], &[NAMED], &[]);
        assert_eq!(decided(&others, b"G", false), "http");
    }

    #[test]
    fn with_tls_names_win_over_catch_alls_and_https_over_tcp() {
        for (secure, https, name, expected) in [
            (&[NAMED, STAR][..], &["a.test", "*"][..], "a.test", "http"),
            (&[NAMED, STAR], &["*.test"], "a.test", "http"),
            (&[NAMED, STAR], &["b.test", "*"], "a.test", NAMED),
            (&[NAMED, STAR], &["b.test", "*"], "c.test", "http"),
            (&[NAMED, STAR], &["b.test"], "c.test", STAR),
            (&[NAMED, STAR], &["b.test"], "", STAR),
            (&[NAMED], &["b.test"], "c.test", "http"),
            (&[NAMED], &[], "c.test", "http"),
            (&[NAMED], &[], "A.test", NAMED),
            (
                &["HostSNI(`*`) && ClientIP(`127.0.0.1`)"],
                &["*"],
                "",
                "HostSNI(`*`) && ClientIP(`127.0.0.1`)",
            ),
            (&[], &["b.test"], "a.test", "http"),
        ] {
            let all = streams(&[STAR], secure, https);
            assert_eq!(decided(&all, &hello(name), false), expected, "{secure:?} {https:?} {name}");
        }
    }

    #[test]
    fn a_hello_is_waited_for_and_a_broken_one_is_left_to_tls() {
        let all = streams(&[STAR], &[NAMED], &[]);
        let whole = hello("a.test");
        for end in 1..whole.len() {
            assert_eq!(decided(&all, &whole[..end], false), "read", "{end}");
        }
        assert_eq!(decided(&all, &[HANDSHAKE_RECORD, 3, 1, 0, 0], false), "http");
        assert_eq!(decided(&all, &[HANDSHAKE_RECORD, 3, 1, 0, 0], true), "close");
    }

    #[test]
    fn postgresql_gets_tls_or_nothing() {
        let all = streams(&[STAR], &[NAMED], &["a.test", "*"]);
        assert_eq!(decided(&all, POSTGRES_REQUEST, false), "start TLS");
        assert_eq!(decided(&all, &POSTGRES_REQUEST[..7], false), "read");
        assert_eq!(decided(&all, b"", true), "read");
        assert_eq!(decided(&all, &hello("a.test"), true), NAMED, "HTTPS is not asked");
        assert_eq!(decided(&all, &hello("b.test"), true), "close");
        assert_eq!(decided(&all, POSTGRES_REQUEST, true), "close");
        let nobody = streams(&["ClientIP(`10.0.0.1`)"], &[], &["a.test"]);
        assert_eq!(decided(&nobody, POSTGRES_REQUEST, false), "start TLS");
        assert_eq!(decided(&nobody, &hello("a.test"), true), "close");
        let first = streams(&[STAR], &[], &[]);
        assert_eq!(decided(&first, POSTGRES_REQUEST, false), STAR, "where nobody ends TLS");
    }
}
