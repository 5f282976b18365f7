//! Token buckets in Redis: hashes `rate:MIDDLEWARE:SOURCE` with the fields `last` (microseconds) and `tokens`, as
//! Traefik keeps them.
//!
//! Differs: time is that of the Redis server, so that peers whose clocks differ agree; long sources are stored by their
//! digest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::Redis as Options;
use super::buckets::Rate;
use crate::config::value;
use crate::hex;
use crate::middleware::BuildError;
use crate::upstream;
use crate::upstream::redis::{Redis, RedisOptions, Reply, Script};

/// Takes a token, where it does not take too long to come. Gives 1 where it does, and the microseconds until it comes.
const TAKE: &str = "
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local wait_max, lifetime = tonumber(ARGV[3]), ARGV[4]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local known = redis.call('HMGET', KEYS[1], 'last', 'tokens')
local last, tokens = tonumber(known[1]), tonumber(known[2])
if not last or not tokens then
  last, tokens = now, burst
end
tokens = math.min(burst, tokens + math.max(0, now - last) * rate) - 1
local wait, refused = 0, 0
if tokens < 0 then
  wait = -tokens / rate
  if wait > wait_max then
    refused = 1
    tokens = tokens + 1
  end
end
redis.call('HSET', KEYS[1], 'last', string.format('%.0f', now), 'tokens', string.format('%.17g', tokens))
redis.call('PEXPIRE', KEYS[1], lifetime)
return {refused, math.ceil(wait)}
";

/// Longer sources are stored by their digest: a client chooses their length.
const SOURCE_BYTES_MAX: usize = 256;
/// Milliseconds: no bucket is kept for longer.
const LIFETIME_MAX: f64 = 1e12;

/// Buckets that all peers share.
pub(super) struct SharedBuckets {
    redis: Redis,
    script: Script,
    /// Before the source.
    prefix: String,
    /// What the script is given of the rate.
    arguments: [String; 4],
    /// The last attempt failed: said once, not with each request.
    failing: AtomicBool,
}

impl SharedBuckets {
    pub(super) fn new(middleware: &str, options: &Options, rate: Rate) -> Result<Self, BuildError> {
        let default = Options::default();
        let endpoints =
            if options.endpoints.is_empty() { &default.endpoints } else { &options.endpoints };
        let positive = |given: value::Duration, default: value::Duration| {
            given.positive().unwrap_or(default.into())
        };
        let redis = Redis::build(&RedisOptions {
            endpoints,
            tls: tls(options)?,
            username: &options.username,
            password: &options.password.0,
            database: number("redis.db", options.db)?,
            pool_size: number("redis.poolSize", options.pool_size)?,
            idle_min: number("redis.minIdleConns", options.min_idle_conns)?,
            active_max: number("redis.maxActiveConns", options.max_active_conns)?,
            read_timeout: positive(options.read_timeout, default.read_timeout),
            write_timeout: positive(options.write_timeout, default.write_timeout),
            dial_timeout: positive(options.dial_timeout, default.dial_timeout),
        });
        let redis = redis.map_err(|error| BuildError::option("redis", error.to_string()))?;
        Ok(Self {
            redis,
            script: Script::new(TAKE),
            prefix: format!("rate:{middleware}:"),
            arguments: arguments(rate),
            failing: AtomicBool::new(false),
        })
    }

    /// Takes a token of the bucket of `source`. Tells how long to wait for it; as an error where that is too long, and
    /// the token stays. `None`: Redis cannot tell.
    pub(super) async fn take(&self, source: &[u8]) -> Option<Result<Duration, Duration>> {
        let key = key(&self.prefix, source);
        let arguments = self.arguments.each_ref().map(String::as_bytes);
        let reply = self.redis.run(&self.script, &key, &arguments).await;
        let problem = match &reply {
            Ok(reply) => match read(reply) {
                Some(taken) => {
                    if self.failing.load(Ordering::Relaxed)
                        && self.failing.swap(false, Ordering::Relaxed)
                    {
                        info!(prefix = %self.prefix, "redis keeps the rate limits again");
                    }
                    return Some(taken);
                }
                None => format!("unexpected reply: {reply:?}"),
            },
            Err(error) => error.to_string(),
        };
        if !self.failing.swap(true, Ordering::Relaxed) {
            warn!(error = problem, prefix = %self.prefix, "redis cannot keep the rate limits");
        }
        None
    }
}

/// Tokens per microsecond, tokens of a full bucket, the longest wait in microseconds, and the milliseconds after which
/// an empty bucket is full again.
fn arguments(rate: Rate) -> [String; 4] {
    let lifetime = (rate.burst * rate.interval / 1e6 + 1000.0).min(LIFETIME_MAX);
    [
        (1e3 / rate.interval).to_string(),
        rate.burst.to_string(),
        (rate.wait_max / 1e3).to_string(),
        format!("{lifetime:.0}"),
    ]
}

fn key(prefix: &str, source: &[u8]) -> Vec<u8> {
    let mut key = prefix.as_bytes().to_vec();
    if source.len() > SOURCE_BYTES_MAX {
        key.extend_from_slice(hex::lower(&Sha256::digest(source)).as_bytes());
    } else {
        key.extend_from_slice(source);
    }
    key
}

fn read(reply: &Reply) -> Option<Result<Duration, Duration>> {
    let Reply::Array(values) = reply else { return None };
    let [Reply::Integer(refused), Reply::Integer(wait)] = values.as_slice() else { return None };
    let wait = Duration::from_micros(u64::try_from(*wait).ok()?);
    Some(if *refused == 0 { Ok(wait) } else { Err(wait) })
}

fn number<T: TryFrom<i64>>(option: &'static str, given: i64) -> Result<T, BuildError> {
    let problem = if given < 0 { "must not be negative" } else { "is too large" };
    T::try_from(given).map_err(|_error| BuildError::option(option, problem))
}

fn tls(options: &Options) -> Result<Option<upstream::Options>, BuildError> {
    let Some(tls) = options.tls.clone() else { return Ok(None) };
    if tls.cert.is_empty() != tls.key.is_empty() {
        return Err(BuildError::option("redis.tls", "`cert` and `key` go together"));
    }
    let mut made =
        upstream::Options { insecure_skip_verify: tls.insecure_skip_verify, ..Default::default() };
    if !tls.ca.is_empty() {
        made.root_cas.push(tls.ca);
    }
    if !tls.cert.is_empty() {
        made.certificates.push(upstream::Certificate { cert_file: tls.cert, key_file: tls.key });
    }
    Ok(Some(made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_told_the_rate_in_microseconds() {
        let rate = Rate { interval: 2e9, burst: 3.0, wait_max: 5e8 };
        assert_eq!(arguments(rate), ["0.0000005", "3", "500000", "7000"]);
    }

    #[test]
    fn keys_are_traefiks_and_bounded() {
        assert_eq!(key("rate:limit@file:", b"10.0.0.1"), b"rate:limit@file:10.0.0.1");
        assert_eq!(key("rate:a:", &[b'x'; 300]).len(), "rate:a:".len() + 64);
    }

    #[test]
    fn only_two_numbers_are_an_answer() {
        let both =
            |refused, wait| Reply::Array(vec![Reply::Integer(refused), Reply::Integer(wait)]);
        assert_eq!(read(&both(0, 7)), Some(Ok(Duration::from_micros(7))));
        assert_eq!(read(&both(1, 7)), Some(Err(Duration::from_micros(7))));
        assert_eq!(read(&both(1, -7)), None);
        assert_eq!(read(&Reply::Integer(1)), None);
    }
}
