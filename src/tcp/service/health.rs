//! `healthCheck` of a TCP load balancer: connects, says something, and looks at what comes back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{BuildError, options};
use crate::service::health::{Checker, Health, Probe, Rhythm, Target};
use crate::tcp::Transport;
use crate::tcp::proxy_protocol::Version;
use crate::upstream::{self, StreamServer};

/// Longest `send` and `expect`.
const TEXT_BYTES_MAX: usize = 65535;

/// Names the address that cannot be used.
pub(super) fn bad_server(address: &str, error: &upstream::BuildError) -> BuildError {
    BuildError::Server { address: address.to_owned(), problem: error.to_string() }
}

/// A checker of `servers`, which servers with one address share the health of.
pub(super) fn checker<'a>(
    options: &options::HealthCheck,
    service: &str,
    servers: impl Iterator<Item = (&'a options::Server, Arc<Health>)>,
    (transport, header): (&Arc<Transport>, Option<Version>),
) -> Result<Arc<Checker>, BuildError> {
    for (name, text) in [("send", &options.send), ("expect", &options.expect)] {
        if text.len() > TEXT_BYTES_MAX {
            return Err(BuildError::TooLong(name));
        }
    }
    let default = options::HealthCheck::default();
    let rhythm = Rhythm::new(
        service,
        (options.interval, options.unhealthy_interval, options.timeout),
        (default.interval, default.timeout),
    );
    let mut seen = Vec::new();
    let mut targets: Vec<Target> = Vec::new();
    for (server, health) in servers {
        if seen.contains(&&server.address) {
            continue;
        }
        seen.push(&server.address);
        let port = Some(options.port).filter(|port| *port != 0);
        let upstream =
            StreamServer::new(&server.address, port, server.tls, transport.stream.clone())
                .map_err(|error| bad_server(&server.address, &error))?;
        let talk = Talk {
            address: server.address.as_str().into(),
            upstream,
            header: header.map(Version::header_of_our_own).unwrap_or_default(),
            send: options.send.clone(),
            expect: options.expect.clone(),
            timeout: rhythm.timeout,
        };
        targets.push((Box::new(talk), health));
    }
    Ok(Arc::new(Checker::of(service, targets, &rhythm)))
}

/// What is said to a server, and what must come back.
struct Talk {
    address: Arc<str>,
    upstream: StreamServer,
    header: Vec<u8>,
    send: String,
    expect: String,
    timeout: Duration,
}

impl Talk {
    async fn run(&self) -> io::Result<Result<(), String>> {
        let mut stream = self.upstream.connect(&self.header).await?;
        stream.write_all(self.send.as_bytes()).await?;
        stream.flush().await?;
        let mut heard = vec![0; self.expect.len()];
        stream.read_exact(&mut heard).await?;
        if heard != self.expect.as_bytes() {
            return Ok(Err("the answer is not the expected one".to_owned()));
        }
        Ok(Ok(()))
    }
}

#[async_trait]
impl Probe for Talk {
    fn server(&self) -> &Arc<str> {
        &self.address
    }

    async fn ask(&self) -> Result<(), String> {
        match timeout(self.timeout, self.run()).await {
            Ok(Ok(judged)) => judged,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::tcp::options::ServersTransport;

    fn talk(address: &str, send: &str, expect: &str) -> Talk {
        let transport = Transport::build(&ServersTransport::default(), None).unwrap();
        Talk {
            address: address.into(),
            upstream: StreamServer::new(address, None, false, transport.stream.clone()).unwrap(),
            header: Vec::new(),
            send: send.to_owned(),
            expect: expect.to_owned(),
            timeout: Duration::from_secs(5),
        }
    }

    #[tokio::test]
    async fn what_comes_back_decides() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (good, bad, open) = (
            talk(&address, "PING\r\n", "+PONG"),
            talk(&address, "", "-ERR"),
            talk(&address, "", ""),
        );
        let server = async {
            for _ in 0..3 {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(b"+PONG\r\n").await.unwrap();
            }
            drop(listener);
        };
        let probes = async {
            assert_eq!(good.ask().await, Ok(()));
            assert!(bad.ask().await.unwrap_err().contains("not the expected one"));
            assert_eq!(open.ask().await, Ok(()), "a connection is enough");
        };
        tokio::join!(server, probes);
        assert!(open.ask().await.is_err(), "nobody listens");
    }

    #[test]
    fn options_are_bounded_and_have_defaults() {
        let checked = |options: Value| {
            let options = serde_json::from_value(options).unwrap();
            let transport = Transport::build(&ServersTransport::default(), None).unwrap();
            let server = options::Server { address: "a:1".to_owned(), tls: false };
            let servers = [(&server, Arc::default()), (&server, Arc::default())];
            checker(&options, "x@p", servers.into_iter(), (&transport, None)).map(|_| ())
        };
        assert_eq!(checked(json!({"interval": 0, "port": 7})), Ok(()));
        let long = checked(json!({"send": "x".repeat(65536)}));
        assert_eq!(long, Err(BuildError::TooLong("send")));
    }
}
