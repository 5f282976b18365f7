//! `loadBalancer`: connections to servers in turns, those that are down left out.
//!
//! Differs: a server whose address is not `host:port` disables its service, where Traefik leaves the server out.

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, timeout};

use super::health;
use super::{BuildError, Service, options};
use crate::config::value;
use crate::service::balancer::{Balancer as _, Member, Phases, Wrr};
use crate::service::health::{Checker, Health};
use crate::tcp::copy::both_ways;
use crate::tcp::proxy_protocol::Version;
use crate::tcp::transport::{Cut, cut};
use crate::tcp::{Connection, Error, Handler, POSTGRES_ANSWER, POSTGRES_REQUEST, Transport};
use crate::upstream::{ServerStream, StreamServer};

/// How long a server may take to answer the request for TLS.
const STARTTLS_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct LoadBalancer {
    servers: Box<[Server]>,
    turns: Wrr,
    checker: Option<Arc<Checker>>,
    cut: Cut,
    /// The PROXY header to send.
    header: Option<Version>,
}

struct Server {
    /// As configured.
    address: Arc<str>,
    upstream: StreamServer,
    health: Arc<Health>,
}

impl LoadBalancer {
    /// `random` gives a number below its argument: servers are shuffled, so that the peers do not all start with the
    /// same one.
    pub(super) fn new(
        options: &options::LoadBalancer,
        name: &str,
        transport: &Arc<Transport>,
        previous: Option<&Self>,
        random: &mut dyn FnMut(usize) -> usize,
    ) -> Result<Self, BuildError> {
        let mut order: Vec<&options::Server> = options.servers.iter().collect();
        for last in (1..order.len()).rev() {
            order.swap(last, random(last + 1).min(last));
        }
        // What a probe found can only be undone by a probe, so it must not outlive the probes.
        let keeps_health = options.health_check.is_some();
        let known = previous.filter(|_| keeps_health).map_or(&[][..], |previous| &previous.servers);
        let mut known: HashMap<Arc<str>, Arc<Health>> =
            known.iter().map(|server| (server.address.clone(), server.health.clone())).collect();
        let (mut servers, mut members) = (Vec::new(), Vec::new());
        for server in order {
            let address: Arc<str> = server.address.as_str().into();
            let upstream = StreamServer::new(&address, None, server.tls, transport.stream.clone())
                .map_err(|error| health::bad_server(&address, &error))?;
            let health = known.entry(address.clone()).or_default().clone();
            members.push(Member::new(address.clone(), None, Arc::default()));
            servers.push(Server { address, upstream, health });
        }
        let named = !options.servers_transport.is_empty();
        let header = match &options.proxy_protocol {
            Some(header) if !named => Some(Version::new(header.version)?),
            _ => transport.header,
        };
        let own_cut = options.termination_delay.filter(|_| !named).map(value::Duration::from_nanos);
        let checker = options.health_check.as_ref().map(|check| {
            let servers = options.servers.iter().map(|server| {
                let health = known.get(server.address.as_str()).cloned().unwrap_or_default();
                (server, health)
            });
            health::checker(check, name, servers, (transport, header))
        });
        let phases = previous.map_or_else(Phases::new, |previous| previous.turns.phases());
        Ok(Self {
            servers: servers.into(),
            turns: Wrr::new(&members, &phases),
            checker: checker.transpose()?,
            cut: own_cut.map_or(transport.cut, cut),
            header,
        })
    }

    fn pick(&self) -> Option<&Server> {
        let usable =
            |index| self.servers.get(index).is_some_and(|server: &Server| server.health.is_up());
        self.servers.get(self.turns.next(&usable)?)
    }
}

impl Server {
    async fn connect(&self, header: &[u8], starttls: bool) -> Result<ServerStream, Error> {
        let connect = |source| Error::Connect { server: self.address.clone(), source };
        let mut stream = self.upstream.connect(header).await.map_err(connect)?;
        if starttls {
            let answered = timeout(STARTTLS_TIMEOUT, ask_for_tls(&mut stream)).await;
            let answer = answered.map_err(|_elapsed| connect(io::ErrorKind::TimedOut.into()))?;
            if answer.map_err(connect)? != POSTGRES_ANSWER {
                return Err(Error::StartTls { server: self.address.clone() });
            }
        }
        Ok(stream)
    }
}

async fn ask_for_tls(stream: &mut ServerStream) -> io::Result<u8> {
    stream.write_all(POSTGRES_REQUEST).await?;
    stream.flush().await?;
    stream.read_u8().await
}

#[async_trait]
impl Handler for LoadBalancer {
    async fn serve(&self, connection: Connection) -> Result<(), Error> {
        let server = self.pick().ok_or(Error::NoServer)?;
        let Connection { mut client, remote, local, starttls } = connection;
        let header = self.header.map(|version| version.header(remote, local));
        let mut stream = server.connect(&header.unwrap_or_default(), starttls).await?;
        both_ways(&mut *client, &mut stream, self.cut).await;
        Ok(())
    }
}

impl Service for LoadBalancer {
    fn up(&self) -> bool {
        self.servers.iter().any(|server| server.health.is_up())
    }

    fn reports_health(&self) -> Result<(), &'static str> {
        match self.checker {
            Some(_) => Ok(()),
            None => Err("healthCheck not enabled in config for this weighted service"),
        }
    }

    fn server_statuses(&self) -> Vec<(Arc<str>, bool)> {
        let status = |server: &Server| (server.address.clone(), server.health.is_up());
        self.servers.iter().map(status).collect()
    }

    fn checkers(&self) -> Vec<Arc<Checker>> {
        self.checker.iter().cloned().collect()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tcp::options::ServersTransport;

    fn try_built(
        options: Value,
        transport: Value,
        previous: Option<&LoadBalancer>,
    ) -> Result<LoadBalancer, BuildError> {
        let options: options::LoadBalancer = serde_json::from_value(options).unwrap();
        let transport: ServersTransport = serde_json::from_value(transport).unwrap();
        let transport = Transport::build(&transport, None).unwrap();
        LoadBalancer::new(&options, "x@p", &transport, previous, &mut |below| below - 1)
    }

    fn built(options: Value, previous: Option<&LoadBalancer>) -> LoadBalancer {
        try_built(options, json!({}), previous).unwrap()
    }

    fn three() -> Value {
        json!({"servers": [{"address": "a:1"}, {"address": "b:1"}, {"address": "c:1"}]})
    }

    #[test]
    fn servers_take_turns_and_go_on_after_a_new_configuration() {
        let picked = |service: &LoadBalancer| service.pick().unwrap().address.to_string();
        let old = built(three(), None);
        let first = picked(&old);
        let new = built(three(), Some(&old));
        let next = [picked(&new), picked(&new)];
        assert!(!next.contains(&first) && next[0] != next[1], "{first} {next:?}");
    }

    #[test]
    fn what_is_down_is_left_out_shown_and_remembered() {
        let mut options = three();
        options["healthCheck"] = json!({});
        let old = built(options.clone(), None);
        assert!(old.up() && old.reports_health().is_ok() && old.checkers().len() == 1);
        old.servers[0].health.set_up(false);
        let down = old.servers[0].address.clone();
        assert!((0..6).all(|_| old.pick().unwrap().address != down));
        assert!(old.server_statuses().contains(&(down.clone(), false)));
        let new = built(options, Some(&old));
        assert!(new.server_statuses().contains(&(down, false)), "down until a probe succeeds");
        for server in &new.servers {
            server.health.set_up(false);
        }
        assert!(new.pick().is_none() && !new.up());
        assert!(built(three(), Some(&new)).up(), "nobody would bring it back");
    }

    #[test]
    fn deprecated_options_count_only_without_a_named_transport() {
        let own = json!({"servers": [], "proxyProtocol": {"version": 1}, "terminationDelay": 7});
        let mut named = own.clone();
        named["serversTransport"] = json!("t");
        let transport = json!({"proxyProtocol": {}, "terminationDelay": "1s"});
        let own = try_built(own, transport.clone(), None).unwrap();
        assert_eq!((own.header, own.cut), (Some(Version::One), Some(Duration::from_nanos(7))));
        let named = try_built(named, transport, None).unwrap();
        assert_eq!((named.header, named.cut), (Some(Version::Two), Some(Duration::from_secs(1))));
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |options| try_built(options, json!({}), None).err().unwrap().to_string();
        let address = refused(json!({"servers": [{"address": "db"}]}));
        assert!(address.starts_with("error parsing server address db: "), "{address}");
        let version = refused(json!({"servers": [], "proxyProtocol": {"version": 5}}));
        assert_eq!(version, "unknown proxyProtocol version: 5");
    }
}
