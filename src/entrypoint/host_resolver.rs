//! `hostResolver`: the name that a request's host is an alias of, so that rules match that, too.
//!
//! Traefik v3: `hostResolver`. Same options, same defaults. Only the first request for a host waits for a name server;
//! without `cnameFlattening` there is no lookup at all.
//!
//! Differs: a name without alias is remembered for as long as its zone says (half an hour at most, which is Traefik's
//! time) and a failure for some seconds; a lookup takes no longer than five seconds, and hosts that are no names are
//! not looked up. In `resolvConfig`, `nameserver [ADDRESS]:PORT` is understood, too.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use tracing::debug;

use crate::config::value::is_default;
use crate::task::Group;

/// Longest wait of a request for its host's alias.
const LOOKUP_MAX: Duration = Duration::from_secs(5);
/// Lookups at the same time; requests for more hosts wait for their turn, within the same limit.
const LOOKUPS_AT_ONCE: usize = 64;
/// Lookups that run or wait, at most: a request beyond these goes on with its host as it is.
const LOOKUPS_MAX: usize = 1024;
/// Hosts that are remembered.
const HOSTS_MAX: usize = 16_384;
/// How long a host is remembered, whatever its record says.
const REMEMBERED_MIN: Duration = Duration::from_secs(1);
const REMEMBERED_MAX: Duration = Duration::from_mins(30);
/// The same where no answer came.
const FAILURE_REMEMBERED: Duration = Duration::from_secs(5);
/// As in the C library.
const NAME_SERVERS_MAX: usize = 3;
const DNS_PORT: u16 = 53;

/// `hostResolver`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "HostResolver")]
pub(crate) struct Options {
    /// `Host` and `HostRegexp` also match the name that a host is an alias of (CNAME). Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cname_flattening: bool,
    /// File that names the name servers. Default: `/etc/resolv.conf`.
    pub(crate) resolv_config: String,
    /// Aliases of aliases that are followed, at most. Default: 5.
    pub(crate) resolv_depth: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cname_flattening: false,
            resolv_config: "/etc/resolv.conf".to_owned(),
            resolv_depth: 5,
        }
    }
}

/// Why there can be no lookups.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("hostResolver: reading `{path}`: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("hostResolver: `{0}` names no name server")]
    NoServer(String),
    #[error("hostResolver: {0}")]
    Resolver(String),
}

/// An alias and how long it holds; `None`: the name is no alias.
type Answer = (Option<String>, Duration);

/// Who knows aliases.
#[async_trait]
trait Names: Send + Sync {
    /// `Err` where no answer came.
    async fn alias(&self, name: &str) -> Result<Answer, String>;
}

/// Finds the names behind hosts, and remembers them. Clones share it.
#[derive(Clone)]
pub(crate) struct HostResolver(Arc<Inner>);

struct Inner {
    names: Box<dyn Names>,
    depth: usize,
    /// Where lookups run: not on the core of the request.
    tasks: Group,
    known: Mutex<Known>,
    turns: Semaphore,
    waiting: Arc<Semaphore>,
}

/// The name behind a host: the host itself where it is no alias.
pub(super) enum Flat {
    Known(Arc<str>),
    /// Comes within [`LOOKUP_MAX`]; an error means that nothing was found.
    Soon(oneshot::Receiver<Arc<str>>),
}

impl HostResolver {
    /// `None` where nothing is to be looked up. Lookups run in `tasks`. Reads a file: for the start.
    pub(crate) fn new(options: &Options, tasks: Group) -> Result<Option<Self>, Error> {
        if !options.cname_flattening {
            return Ok(None);
        }
        let path = options.resolv_config.clone();
        let text = std::fs::read_to_string(&path)
            .map_err(|source| Error::Read { path: path.clone(), source })?;
        let servers = name_servers(&text);
        if servers.is_empty() {
            return Err(Error::NoServer(path));
        }
        let names = Box::new(Dns(resolver(&servers)?));
        Ok(Some(Self::with(names, options.resolv_depth, tasks)))
    }

    fn with(names: Box<dyn Names>, depth: i64, tasks: Group) -> Self {
        Self(Arc::new(Inner {
            names,
            depth: usize::try_from(depth).unwrap_or(0),
            tasks,
            known: Mutex::default(),
            turns: Semaphore::new(LOOKUPS_AT_ONCE),
            waiting: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }))
    }

    /// The name behind `host`, which is in lower case and has no port.
    pub(super) fn flat(&self, host: &str) -> Flat {
        if !is_name(host) || self.0.depth == 0 {
            return Flat::Known(host.into());
        }
        if let Some(flat) = self.0.known(host) {
            return Flat::Known(flat);
        }
        let Ok(place) = self.0.waiting.clone().try_acquire_owned() else {
            return Flat::Known(host.into());
        };
        let (answer, answered) = oneshot::channel();
        let (inner, host) = (self.0.clone(), Arc::<str>::from(host));
        self.0.tasks.spawn(async move {
            let _place = place;
            let found = tokio::time::timeout(LOOKUP_MAX, inner.look_up(&host)).await;
            let flat = found.unwrap_or_else(|_elapsed| {
                debug!(%host, "no name server has answered in time");
                inner.remember(&host, host.clone(), FAILURE_REMEMBERED)
            });
            // The request may have gone.
            drop(answer.send(flat));
        });
        Flat::Soon(answered)
    }
}

impl Inner {
    async fn look_up(&self, host: &Arc<str>) -> Arc<str> {
        let Ok(_turn) = self.turns.acquire().await else { return host.clone() };
        // Another request for it may have been first.
        if let Some(flat) = self.known(host) {
            return flat;
        }
        let mut flat = host.to_string();
        let mut remembered = REMEMBERED_MAX;
        for _ in 0..self.depth {
            match self.names.alias(&flat).await {
                Ok((Some(alias), time)) => {
                    remembered = remembered.min(time);
                    flat = alias;
                }
                Ok((None, time)) => {
                    remembered = remembered.min(time);
                    break;
                }
                Err(error) => {
                    debug!(%error, %host, "no answer about a host");
                    remembered = remembered.min(FAILURE_REMEMBERED);
                    break;
                }
            }
        }
        self.remember(host, flat.into(), remembered.max(REMEMBERED_MIN))
    }

    fn known(&self, host: &str) -> Option<Arc<str>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(host, Instant::now())
    }

    fn remember(&self, host: &Arc<str>, flat: Arc<str>, time: Duration) -> Arc<str> {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.put(host.clone(), flat.clone(), (now, now + time));
        flat
    }
}

/// What is remembered: by host, the name behind it, and until when.
#[derive(Default)]
struct Known(HashMap<Arc<str>, (Arc<str>, Instant)>);

impl Known {
    fn get(&self, host: &str, now: Instant) -> Option<Arc<str>> {
        self.0.get(host).filter(|(_, end)| *end > now).map(|(flat, _)| flat.clone())
    }

    fn put(&mut self, host: Arc<str>, flat: Arc<str>, (now, end): (Instant, Instant)) {
        if self.0.len() >= HOSTS_MAX && !self.0.contains_key(&host) {
            self.0.retain(|_, (_, end)| *end > now);
            if self.0.len() >= HOSTS_MAX {
                // Whoever asks for so many hosts pays for it: some are forgotten, whichever.
                let gone: Vec<_> = self.0.keys().take(HOSTS_MAX / 8).cloned().collect();
                for host in gone {
                    self.0.remove(&host);
                }
            }
        }
        self.0.insert(host, (flat, end));
    }
}

/// True for what may have an alias: no address, no nonsense.
fn is_name(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(allowed)
        && host.split('.').all(|label| (1..=63).contains(&label.len()))
        && host.parse::<IpAddr>().is_err()
}

/// The `nameserver` lines of a `resolv.conf`.
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split(['#', ';']).next()?.split_whitespace();
        if words.next()? != "nameserver" {
            return None;
        }
        let word = words.next()?;
        let alone = word.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)).ok();
        alone.or_else(|| {
            let (ip, port) = word.strip_prefix('[')?.rsplit_once("]:")?;
            Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
        })
    });
    servers.take(NAME_SERVERS_MAX).collect()
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, Error> {
    let servers = servers.iter().map(|server| {
        let connections =
            [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
        NameServerConfig::new(server.ip(), true, connections.to_vec())
    });
    let config = ResolverConfig::from_name_servers(servers.collect());
    let mut options = ResolverOpts::default();
    options.timeout = LOOKUP_MAX / 4;
    options.attempts = 2;
    // What is known is remembered here.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| Error::Resolver(error.to_string()))
}

/// Asks name servers.
struct Dns(TokioResolver);

#[async_trait]
impl Names for Dns {
    async fn alias(&self, name: &str) -> Result<Answer, String> {
        match self.0.lookup(format!("{name}."), RecordType::CNAME).await {
            Ok(found) => {
                let alias = found.answers().iter().find_map(|record| match &record.data {
                    RData::CNAME(alias) => Some((alias.0.to_ascii(), record.ttl)),
                    _ => None,
                });
                let Some((alias, seconds)) = alias else { return Ok((None, REMEMBERED_MAX)) };
                let alias = alias.trim_end_matches('.').to_ascii_lowercase();
                Ok((Some(alias), Duration::from_secs(seconds.into())))
            }
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => {
                let zone = error.into_soa().map(|soa| u64::from(soa.data.minimum.min(soa.ttl)));
                Ok((None, zone.map_or(FAILURE_REMEMBERED, Duration::from_secs)))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
