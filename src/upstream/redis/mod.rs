//! Scripts that Redis runs for us: one server, or a cluster whose nodes redirect.
//!
//! Written here because it is small: three commands of the protocol's version 2, and connections as servers' are.
//!
//! Differs from the client that Traefik uses: a cluster's layout is learned from redirects alone, and limits of
//! connections are shared out evenly among the cores, one per core at least.

mod node;
mod reply;
mod slot;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::node::Node;
pub(crate) use self::reply::Reply;
use self::reply::put_command;
use self::slot::Redirect;
use super::{BuildError, Options, StreamTransport};
use crate::{cores, hex};

/// Redirects that one command follows.
const REDIRECTS_MAX: usize = 4;
/// Nodes of a cluster that are remembered.
const NODES_MAX: usize = 1024;
/// Connections of a core where nothing is said, as the client that Traefik uses.
const CONNECTIONS_PER_CORE: usize = 10;
/// Between two probes of a silent connection, as the client that Traefik uses.
const KEEP_ALIVE: Duration = Duration::from_mins(5);

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("redis at {server}: {reason}")]
pub(crate) struct Error {
    server: String,
    reason: String,
}

/// What a client is built from.
pub(crate) struct RedisOptions<'a> {
    /// `host:port`; several are nodes of one cluster.
    pub(crate) endpoints: &'a [String],
    /// Of these, what belongs to TLS counts; `None`: plaintext.
    pub(crate) tls: Option<Options>,
    /// Empty: none.
    pub(crate) username: &'a str,
    /// Empty: none.
    pub(crate) password: &'a str,
    pub(crate) database: u32,
    /// Connections; 0: ten for each core.
    pub(crate) pool_size: usize,
    pub(crate) idle_min: usize,
    /// Connections; 0: as many as the pool has.
    pub(crate) active_max: usize,
    pub(crate) read_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) dial_timeout: Duration,
}

/// What all connections have in common.
struct Settings {
    transport: Arc<StreamTransport>,
    over_tls: bool,
    /// Commands that begin a connection.
    introduction: Vec<Vec<u8>>,
    connections_per_core: usize,
    idle_per_core: usize,
    read_timeout: Duration,
    write_timeout: Duration,
}

/// A script, and the name by which a server knows it once it has seen it.
pub(crate) struct Script {
    text: &'static str,
    name: String,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        use sha1::Digest as _;
        Self { text, name: hex::lower(&sha1::Sha1::digest(text)) }
    }
}

/// A Redis server or cluster.
pub(crate) struct Redis {
    settings: Arc<Settings>,
    endpoints: Vec<Arc<Node>>,
    /// The endpoint that is asked first where nothing is known of a key.
    first: AtomicUsize,
    /// Of a cluster, what redirects have told.
    learned: Mutex<Learned>,
}

#[derive(Default)]
struct Learned {
    by_address: HashMap<String, Arc<Node>>,
    by_slot: HashMap<u16, Arc<Node>>,
}

impl Redis {
    /// Builds a client. It connects when it is first asked.
    pub(crate) fn build(options: &RedisOptions<'_>) -> Result<Self, BuildError> {
        let per_core = |connections: usize| connections.div_ceil(cores::count().max(1));
        let pool = match options.pool_size {
            0 => CONNECTIONS_PER_CORE,
            given => per_core(given),
        };
        let most = match options.active_max {
            0 => pool,
            given => per_core(given).min(pool),
        };
        let settings = Arc::new(Settings {
            over_tls: options.tls.is_some(),
            transport: Arc::new(StreamTransport::build(
                Some(options.dial_timeout),
                Some(KEEP_ALIVE),
                &options.tls.clone().unwrap_or_default(),
            )?),
            introduction: introduction(options)?,
            connections_per_core: most,
            idle_per_core: per_core(options.idle_min).min(most),
            read_timeout: options.read_timeout,
            write_timeout: options.write_timeout,
        });
        let node = |address: &String| {
            Node::new(address, &settings).map(Arc::new).ok_or_else(|| {
                BuildError::option("endpoints", format!("`{address}` is not `host:port`"))
            })
        };
        let endpoints = options.endpoints.iter().map(node).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(BuildError::option("endpoints", "cannot be empty"));
        }
        if endpoints.len() > 1 && options.database != 0 {
            return Err(BuildError::option("db", "a cluster has no database but 0"));
        }
        Ok(Self { settings, endpoints, first: AtomicUsize::new(0), learned: Mutex::default() })
    }

    /// Has the server of `key` run a script with that key.
    pub(crate) async fn run(
        &self,
        script: &Script,
        key: &[u8],
        arguments: &[&[u8]],
    ) -> Result<Reply, Error> {
        let slot = slot::of(key);
        let mut node = self.node_of(slot);
        let mut asking = false;
        let mut moved = 0;
        loop {
            let reply = match run_at(&node, script, key, arguments, asking).await {
                Ok(reply) => reply,
                Err(error) => {
                    self.forget(slot, &node);
                    return Err(error);
                }
            };
            let Reply::Error(text) = &reply else { return Ok(reply) };
            let Some(redirect) = Redirect::of(text).filter(|_| moved < REDIRECTS_MAX) else {
                return Err(node.error(text.clone()));
            };
            moved += 1;
            let (address, lasting) = match redirect {
                Redirect::Moved(address) => (address, true),
                Redirect::Ask(address) => (address, false),
            };
            let next = self.node_at(address, &node).ok_or_else(|| node.error(text.clone()))?;
            asking = !lasting;
            if lasting {
                self.learn(slot, &next);
            }
            node = next;
        }
    }

    fn node_of(&self, slot: u16) -> Arc<Node> {
        if self.endpoints.len() > 1 {
            let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(node) = learned.by_slot.get(&slot) {
                return node.clone();
            }
        }
        let first = self.first.load(Ordering::Relaxed) % self.endpoints.len().max(1);
        self.endpoints.get(first).or(self.endpoints.first()).expect("there is an endpoint").clone()
    }

    /// The node at an address that `teller` has named; without a host, it is on the same one.
    fn node_at(&self, address: &str, teller: &Arc<Node>) -> Option<Arc<Node>> {
        let address = match address.rsplit_once(':')? {
            ("", port) => {
                let host = teller.address.rsplit_once(':').map_or("", |(host, _)| host);
                format!("{host}:{port}")
            }
            // Redis writes IPv6 addresses without brackets.
            (host, port) if host.contains(':') && !host.starts_with('[') => {
                format!("[{host}]:{port}")
            }
            _ => address.to_owned(),
        };
        if let Some(known) = self.endpoints.iter().find(|node| node.address == address) {
            return Some(known.clone());
        }
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = learned.by_address.get(&address) {
            return Some(known.clone());
        }
        let node = Arc::new(Node::new(&address, &self.settings)?);
        if learned.by_address.len() >= NODES_MAX {
            *learned = Learned::default();
        }
        learned.by_address.insert(address, node.clone());
        Some(node)
    }

    fn learn(&self, slot: u16, node: &Arc<Node>) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.by_slot.insert(slot, node.clone());
    }

    /// What a node that cannot be reached was known for is asked elsewhere from now on.
    fn forget(&self, slot: u16, node: &Arc<Node>) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if learned.by_slot.get(&slot).is_some_and(|known| Arc::ptr_eq(known, node)) {
            learned.by_slot.retain(|_, known| !Arc::ptr_eq(known, node));
        }
        drop(learned);
        self.first.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs a script by its name; where the server does not know it yet, by its text.
async fn run_at(
    node: &Arc<Node>,
    script: &Script,
    key: &[u8],
    arguments: &[&[u8]],
    asking: bool,
) -> Result<Reply, Error> {
    let mut reply = Reply::Bulk(None);
    for (command, text) in [("EVALSHA", script.name.as_str()), ("EVAL", script.text)] {
        let mut commands = Vec::new();
        if asking {
            put_command(&mut commands, &[b"ASKING"]);
        }
        let mut parts: Vec<&[u8]> = vec![command.as_bytes(), text.as_bytes(), b"1", key];
        parts.extend_from_slice(arguments);
        put_command(&mut commands, &parts);
        reply = node.call(&commands, if asking { 2 } else { 1 }).await?;
        if !matches!(&reply, Reply::Error(text) if text.starts_with("NOSCRIPT")) {
            break;
        }
    }
    Ok(reply)
}

/// What a new connection says of itself.
fn introduction(options: &RedisOptions<'_>) -> Result<Vec<Vec<u8>>, BuildError> {
    let mut commands = Vec::new();
    let mut put = |parts: &[&[u8]]| {
        let mut command = Vec::new();
        put_command(&mut command, parts);
        commands.push(command);
    };
    let (username, password) = (options.username.as_bytes(), options.password.as_bytes());
    match (username, password) {
        ([], []) => {}
        (_, []) => return Err(BuildError::option("username", "needs a password")),
        ([], password) => put(&[b"AUTH", password]),
        (username, password) => put(&[b"AUTH", username, password]),
    }
    if options.database != 0 {
        put(&[b"SELECT", options.database.to_string().as_bytes()]);
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(endpoints: &[String]) -> RedisOptions<'_> {
        let second = Duration::from_secs(1);
        RedisOptions {
            endpoints,
            tls: None,
            username: "",
            password: "",
            database: 0,
            pool_size: 0,
            idle_min: 0,
            active_max: 0,
            read_timeout: second,
            write_timeout: second,
            dial_timeout: second,
        }
    }

    fn addresses(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    /// http.md §5, `rateLimit.redis.writeTimeout`: a server that accepts and reads nothing is given up.
    #[tokio::test]
    async fn a_server_that_takes_no_command_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoints = [listener.local_addr().unwrap().to_string()];
        let short = Duration::from_millis(50);
        let redis =
            Redis::build(&RedisOptions { write_timeout: short, ..options(&endpoints) }).unwrap();
        let node = redis.endpoints.first().unwrap();
        // More than the buffers between the two hold.
        let error = node.call(&vec![b'x'; 32 << 20], 1).await.err().unwrap();
        assert!(error.to_string().ends_with("it takes no command"), "{error}");
    }

    #[test]
    fn a_connection_introduces_itself() {
        let endpoints = addresses(&["a:1"]);
        let none = introduction(&options(&endpoints)).unwrap();
        assert!(none.is_empty());
        let all = RedisOptions {
            username: "ann",
            password: "secret",
            database: 3,
            ..options(&endpoints)
        };
        let texts: Vec<_> = introduction(&all)
            .unwrap()
            .into_iter()
            .map(|command| String::from_utf8(command).unwrap())
            .collect();
        assert_eq!(
            texts,
            [
                "*3\r\n$4\r\nAUTH\r\n$3\r\nann\r\n$6\r\nsecret\r\n",
                "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"
            ]
        );
    }

    #[test]
    fn limits_of_connections_are_shared_out_among_cores() {
        let endpoints = addresses(&["a:1"]);
        let cores = cores::count();
        let built = |pool_size, active_max, idle_min| {
            let all = RedisOptions { pool_size, idle_min, active_max, ..options(&endpoints) };
            let client = Redis::build(&all);
            let settings = client.unwrap().settings;
            (settings.connections_per_core, settings.idle_per_core)
        };
        assert_eq!(built(0, 0, 0), (10, 0));
        assert_eq!(built(4 * cores, 0, cores), (4, 1));
        assert_eq!(built(0, 2 * cores, 9 * cores), (2, 2));
    }

    #[test]
    fn a_slot_is_asked_for_where_it_was_last_seen() {
        let endpoints = addresses(&["a:1", "b:1"]);
        let client = Redis::build(&options(&endpoints)).unwrap();
        let slot = slot::of(b"key");
        let first = client.node_of(slot);
        assert_eq!(first.address, "a:1");
        let other = client.node_at("c:7", &first).unwrap();
        client.learn(slot, &other);
        assert_eq!(client.node_of(slot).address, "c:7");
        assert!(Arc::ptr_eq(&client.node_at("c:7", &first).unwrap(), &other));
        assert_eq!(client.node_at(":9", &other).unwrap().address, "c:9");
        assert_eq!(client.node_at("::1:9", &other).unwrap().address, "[::1]:9");
        assert_eq!(client.node_of(slot::of(b"another")).address, "a:1");
        client.forget(slot, &other);
        assert_eq!(client.node_of(slot).address, "b:1");
        for number in 0..2 * NODES_MAX {
            client.node_at(&format!("n{number}:1"), &first).unwrap();
        }
        assert!(client.learned.lock().unwrap().by_address.len() <= NODES_MAX);
    }

    #[test]
    fn refuses_what_cannot_work() {
        let refused = |options: &RedisOptions<'_>| Redis::build(options).err().unwrap().to_string();
        let (none, odd) = (addresses(&[]), addresses(&["localhost"]));
        let two = addresses(&["a:1", "[::1]:2"]);
        assert_eq!(refused(&options(&none)), "option `endpoints`: cannot be empty");
        assert_eq!(refused(&options(&odd)), "option `endpoints`: `localhost` is not `host:port`");
        assert_eq!(
            refused(&RedisOptions { database: 1, ..options(&two) }),
            "option `db`: a cluster has no database but 0"
        );
        assert_eq!(
            refused(&RedisOptions { username: "ann", ..options(&two) }),
            "option `username`: needs a password"
        );
    }
}
