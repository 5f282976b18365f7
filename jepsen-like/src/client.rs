//! Operations as users do them, through the API of any peer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::history::{Condition, Outcome};
use crate::http::{self, Error, Request, Response};
use crate::peers::Address;

/// Longest wait for an answer of the API: longer than a peer waits for the others.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Changes that are asked for at once; peers keep about as many.
const CHANGES_MAX: usize = 1000;
/// The service of all routers.
pub(crate) const SERVICE: &str = "origin";

/// The router whose priority is the value of a register.
pub(crate) fn register(number: usize) -> String {
    format!("register-{number}")
}

/// The host that a register's router takes requests for.
pub(crate) fn host(number: usize) -> String {
    format!("register-{number}.test")
}

/// One write to a register.
pub(crate) struct Write<'a> {
    pub(crate) register: usize,
    pub(crate) value: u64,
    pub(crate) condition: Condition,
    pub(crate) idempotency_key: Option<&'a str>,
}

/// A change that a peer tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    /// Names of the registers that were changed.
    pub(crate) routers: Vec<String>,
}

/// What a peer says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) name: String,
    pub(crate) leader: Option<String>,
    pub(crate) term: u64,
    pub(crate) revision: u64,
    pub(crate) plan_digest: String,
}

/// A user with a token. Clones are cheap.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) peers: Arc<[Address]>,
    authorization: Arc<str>,
}

impl Client {
    pub(crate) fn new(peers: Vec<Address>, token: &str) -> Self {
        Self { peers: peers.into(), authorization: format!("Bearer {token}").into() }
    }

    async fn call(
        &self,
        peer: usize,
        (method, target): (&str, &str),
        more: Vec<(&str, String)>,
        body: &str,
    ) -> Result<Response, Error> {
        let address = self.peers.get(peer).map_or("", |peer| peer.api.as_str());
        let mut headers = vec![("Authorization", self.authorization.to_string())];
        headers.push(("Connection", "close".to_owned()));
        headers.extend(more);
        let request = Request { method, target, host: address, headers: &headers, body };
        http::once(address, &request, ANSWER_MAX).await
    }

    /// Writes once.
    pub(crate) async fn write(&self, peer: usize, write: &Write<'_>) -> Outcome {
        let target = format!("/api/config/http/routers/{}", register(write.register));
        let mut headers = Vec::new();
        match write.condition {
            Condition::Any => {}
            Condition::Present => headers.push(("If-Match", "*".to_owned())),
            Condition::Absent => headers.push(("If-None-Match", "*".to_owned())),
            Condition::At(revision) => headers.push(("If-Match", format!("\"{revision}\""))),
        }
        if let Some(key) = write.idempotency_key {
            headers.push(("Idempotency-Key", key.to_owned()));
        }
        let body = router(&host(write.register), write.value).to_string();
        written(self.call(peer, ("PUT", &target), headers, &body).await, write.value)
    }

    /// A linearizable read.
    pub(crate) async fn read(&self, peer: usize, number: usize) -> Outcome {
        let target = format!("/api/config/http/routers/{}", register(number));
        read(self.call(peer, ("GET", &target), Vec::new(), "").await)
    }

    async fn json(&self, peer: usize, target: &str) -> anyhow::Result<Value> {
        let response = self.call(peer, ("GET", target), Vec::new(), "").await?;
        let text = response.text();
        anyhow::ensure!(response.status == 200, "GET {target}: {} {text}", response.status);
        serde_json::from_str(&text).with_context(|| format!("GET {target}: {text}"))
    }

    /// The whole document as the peer knows it.
    pub(crate) async fn document(&self, peer: usize) -> anyhow::Result<Value> {
        self.json(peer, "/api/config?consistency=local").await
    }

    /// The newest changes that the peer knows of, oldest first.
    pub(crate) async fn changes(&self, peer: usize) -> anyhow::Result<Vec<Change>> {
        let value = self.json(peer, &format!("/api/config/history?limit={CHANGES_MAX}")).await?;
        changes(&value).with_context(|| format!("the history is not as documented: {value}"))
    }

    pub(crate) async fn status(&self, peer: usize) -> anyhow::Result<Status> {
        let value = self.json(peer, "/api/cluster").await?;
        status(&value).with_context(|| format!("the status is not as documented: {value}"))
    }

    /// Puts an object that is no register, and waits until every peer follows it.
    pub(crate) async fn put(&self, peer: usize, path: &str, body: &Value) -> anyhow::Result<()> {
        let target = format!("/api/config/{path}?wait=all");
        let response = self.call(peer, ("PUT", &target), Vec::new(), &body.to_string()).await?;
        let (status, text) = (response.status, response.text());
        anyhow::ensure!(matches!(status, 200 | 201), "PUT {target}: {status} {text}");
        let answer: Value = serde_json::from_str(&text)?;
        anyhow::ensure!(answer.get("applied") == Some(&json!(true)), "PUT {target}: {text}");
        Ok(())
    }
}

/// A router with a value in it. Priorities are numbers that change no answer, as each router has a host of its own.
pub(crate) fn router(host: &str, value: u64) -> Value {
    json!({
        "entryPoints": ["web"],
        "rule": format!("Host(`{host}`)"),
        "service": SERVICE,
        "priority": value,
    })
}

fn reason(response: &Response) -> String {
    let text = response.text();
    let value: Option<Value> = serde_json::from_str(&text).ok();
    let detail = value.as_ref().and_then(|value| value.get("detail")).and_then(Value::as_str);
    format!("{} {}", response.status, detail.unwrap_or(&text))
}

/// What CLUSTER.md says that an answer to a write means.
fn written(answer: Result<Response, Error>, value: u64) -> Outcome {
    let response = match answer {
        Ok(response) => response,
        Err(error) if error.before_sending() => {
            return Outcome::Fail { reason: error.to_string(), current: None };
        }
        Err(error) => return Outcome::Unknown { reason: error.to_string() },
    };
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let revision = body.get("revision").and_then(Value::as_u64);
    let reason = reason(&response);
    match (response.status, revision) {
        (200 | 201, Some(revision)) => Outcome::Ok { revision, value },
        (412, Some(_)) => Outcome::Fail { reason, current: revision },
        // Nothing is changed: too many calls at once, no quorum.
        (429 | 503, _) => Outcome::Fail { reason, current: None },
        (504, _) => Outcome::Unknown { reason },
        _ => Outcome::Wrong { reason },
    }
}

fn read(answer: Result<Response, Error>) -> Outcome {
    let response = match answer {
        Ok(response) => response,
        Err(error) => return Outcome::Fail { reason: error.to_string(), current: None },
    };
    let reason = reason(&response);
    match response.status {
        404 => Outcome::Ok { revision: 0, value: 0 },
        429 | 503 | 504 => Outcome::Fail { reason, current: None },
        200 => {
            let tag = response.header("etag").map(|tag| tag.trim_matches('"').parse());
            let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            match (tag, body.get("priority").and_then(Value::as_u64)) {
                (Some(Ok(revision)), Some(value)) => Outcome::Ok { revision, value },
                _ => Outcome::Wrong { reason },
            }
        }
        _ => Outcome::Wrong { reason },
    }
}

fn changes(value: &Value) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    for change in value.as_array()? {
        let mut routers = Vec::new();
        for object in change.get("objects")?.as_array()? {
            let path = object.get("path")?.as_str()?;
            routers.extend(path.strip_prefix("http.routers.").map(ToOwned::to_owned));
        }
        changes.push(Change { revision: change.get("revision")?.as_u64()?, routers });
    }
    changes.sort_by_key(|change| change.revision);
    Some(changes)
}

fn status(value: &Value) -> Option<Status> {
    let text = |key| Some(value.get(key)?.as_str()?.to_owned());
    let number = |key| value.get(key)?.as_u64();
    Some(Status {
        name: text("name")?,
        leader: text("leader"),
        term: number("term")?,
        revision: number("revision")?,
        plan_digest: text("planDigest")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_that_was_refused_is_sure_to_have_failed() {
        let refused = Error::Connect(std::io::ErrorKind::ConnectionRefused.into());
        assert!(matches!(written(Err(refused), 1), Outcome::Fail { .. }));
        let reset = Error::Broken(std::io::ErrorKind::ConnectionReset.into());
        assert!(matches!(written(Err(reset), 1), Outcome::Unknown { .. }));
        assert!(matches!(written(Err(Error::Timeout), 1), Outcome::Unknown { .. }));
    }

    #[test]
    fn histories_are_read_oldest_first() {
        let value = json!([
            { "revision": 9, "objects": [{ "path": "http.routers.register-1", "change": "changed" }] },
            { "revision": 7, "objects": [{ "path": "http.services.origin", "change": "created" }] },
        ]);
        let found = changes(&value).unwrap();
        assert_eq!(found.iter().map(|change| change.revision).collect::<Vec<_>>(), [7, 9]);
        assert_eq!(found[1].routers, ["register-1"]);
        assert!(changes(&json!([{ "objects": [] }])).is_none());
    }
}
