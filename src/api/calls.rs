//! Our own calls: the document of the provider `cluster`, the cluster's state, checks and explanations.
//!
//! Documents are answered whole, with private keys and password hashes, to those who hold a token. A request arrives
//! on a core of the data plane; all but its body is worked on by the control plane's threads.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use pontoon_cluster::{Cluster, Documents, Revision};
use serde_json::{Value, json};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer;
use super::condition::etag;
use super::document::{self, Object, Stored};
use super::explain::Asked;
use super::list::Query;
use super::ping::Readiness;
use super::problem::{Mistake, Problem};
use super::route::Call;
use super::tokens::Tokens;
use super::watch::{self, PROVIDER};
use crate::compile::Settings;
use crate::compile::verdict::Verdict;
use crate::control::documents::Store;
use crate::http::{Body, Handler, ProxyError, Request, Response};

/// Largest document.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;
/// Largest backup: all documents, sealed.
const BACKUP_BYTES_MAX: usize = 96 << 20;
/// Longest wait for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest object.
const OBJECT_BYTES_MAX: usize = 1 << 20;
/// Bodies of writes at once, as large as they may be, in [`WRITE_UNIT`]; further writes are answered 429.
const WRITE_UNITS: usize = 128;
const WRITE_UNIT: usize = 1 << 20;
/// Other calls at once.
const READS_MAX: usize = 64;
/// Watches at once.
const WATCHES_MAX: usize = 64;
/// Changes that history tells of, unless asked for more.
const HISTORY_DEFAULT: usize = 100;

/// Set once everything is there: the calls are a part of what these settings hold.
pub(crate) type SettledLater = Arc<OnceLock<Weak<Settings>>>;

/// What the calls work on.
pub(crate) struct Parts {
    /// `api.basePath`, without a slash at its end.
    pub(crate) base_path: String,
    pub(crate) store: Store,
    /// Those that the plan is made with, so that a compilation without effect finds everything as it was left.
    pub(crate) settings: SettledLater,
    pub(crate) readiness: Readiness,
    /// The control plane's threads.
    pub(crate) control: runtime::Handle,
    /// `api.writable`
    pub(crate) writable: bool,
    /// `api.tokenFile`
    pub(crate) token_file: Option<PathBuf>,
    /// Longest wait until a write is in force here.
    pub(crate) timeout: Duration,
}

impl Parts {
    pub(super) fn settings(&self) -> Result<Arc<Settings>, Problem> {
        self.settings.get().and_then(Weak::upgrade).ok_or_else(|| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the program starts or ends")
        })
    }
}

/// Answers the calls. Clones share everything.
#[derive(Clone)]
pub(crate) struct Calls(Arc<Inner>);

pub(super) struct Inner {
    pub(super) parts: Parts,
    tokens: Option<Tokens>,
    writes: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    watches: Arc<Semaphore>,
}

/// Why the calls cannot be offered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("api.tokenFile")]
    Tokens(#[source] super::tokens::Error),
    #[error("api.writable needs api.tokenFile: `pontoon token NAME` makes a token")]
    NoTokens,
}

/// A call's head.
pub(super) struct Head {
    pub(super) headers: HeaderMap,
    pub(super) query: Query,
    /// The name of the token; empty without one.
    pub(super) author: String,
}

impl Calls {
    pub(crate) fn new(parts: Parts) -> Result<Self, Error> {
        let tokens = parts.token_file.as_deref().map(Tokens::open);
        let tokens = tokens.transpose().map_err(Error::Tokens)?;
        if parts.writable && tokens.is_none() {
            return Err(Error::NoTokens);
        }
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (writes, reads) = (semaphore(WRITE_UNITS), semaphore(READS_MAX));
        let watches = semaphore(WATCHES_MAX);
        Ok(Self(Arc::new(Inner { parts, tokens, writes, reads, watches })))
    }

    async fn call(&self, request: Request) -> Result<Response, Problem> {
        let path = request.uri().path();
        let inside = path.strip_prefix(self.0.parts.base_path.as_str()).unwrap_or(path);
        let segments: Vec<&str> = inside.trim_start_matches('/').split('/').collect();
        let call = Call::parse(request.method(), &segments)?;
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let (parts, body, _) = request.into_parts();
        if call == Call::Ready {
            return self.ready();
        }
        let (inner, asked, headers) = (self.0.clone(), call.clone(), parts.headers.clone());
        let control = &self.0.parts.control;
        let author = control.spawn_blocking(move || inner.authorise(&asked, &headers));
        let author = author.await.map_err(|_error| broken())??;
        let permit = self.0.permit(&call)?;
        let body = gather(body, body_bytes_max(&call)).await?;
        let head = Head { headers: parts.headers, query, author };
        let inner = self.0.clone();
        let work = control.spawn(async move { inner.answer(call, head, body, permit).await });
        work.await.map_err(|_error| broken())?
    }

    fn ready(&self) -> Result<Response, Problem> {
        match self.0.parts.readiness.check() {
            Ok(()) => Ok(answer(StatusCode::OK, &json!({ "ready": true }))),
            Err(reason) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason)),
        }
    }
}

#[async_trait]
impl Handler for Calls {
    async fn handle(&self, request: Request) -> Result<Response, ProxyError> {
        let head_only = request.method() == Method::HEAD;
        let mut response = self.call(request).await.unwrap_or_else(Problem::into_response);
        if head_only {
            *response.body_mut() = Body::Empty;
        }
        Ok(response)
    }
}

/// The control plane has ended, or a call has died there.
fn broken() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the call was not carried to its end")
        .with("outcome", json!("unknown"))
}

fn body_bytes_max(call: &Call) -> usize {
    match call {
        Call::Restore => BACKUP_BYTES_MAX,
        Call::PutObject(_) | Call::DeleteObject(_) => OBJECT_BYTES_MAX,
        _ => DOCUMENT_BYTES_MAX,
    }
}

async fn gather(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is larger than {limit} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    if usize::try_from(body.size_hint().lower()).is_ok_and(|size| size > limit) {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await;
    match collected {
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Problem::bad_request(format!("reading the body: {error}"))),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

impl Inner {
    /// Who calls, if the call is allowed. Reads the token file: call it where blocking is allowed.
    fn authorise(&self, call: &Call, headers: &HeaderMap) -> Result<String, Problem> {
        if call.writes() && !self.parts.writable {
            let detail = "this peer takes no writes: `api.writable` is false";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        match (&self.tokens, call.role()) {
            (Some(tokens), Some(role)) => tokens.check(headers, role).map(|name| name.to_string()),
            (None, _) if call.always_with_token() => {
                let detail = "this call needs tokens: set `api.tokenFile`";
                Err(Problem::new(StatusCode::FORBIDDEN, detail))
            }
            (_, _) => Ok(String::new()),
        }
    }

    fn permit(&self, call: &Call) -> Result<OwnedSemaphorePermit, Problem> {
        let (semaphore, units, what) = match call {
            Call::Watch => (&self.watches, 1, "watches"),
            _ if call.writes() => (&self.writes, body_bytes_max(call) / WRITE_UNIT, "writes"),
            _ => (&self.reads, 1, "calls"),
        };
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        semaphore.clone().try_acquire_many_owned(units).map_err(|_full| Problem::busy(what))
    }

    async fn answer(
        self: Arc<Self>,
        call: Call,
        head: Head,
        body: Bytes,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response, Problem> {
        match call {
            Call::Check => self.check(&head, &body).await,
            Call::Explain => self.explain(&head),
            Call::Ready => Err(Problem::not_found("there is no such call")),
            Call::Status => Ok(answer(StatusCode::OK, &status(self.cluster()?))),
            Call::ReadDocument => self.read_document(&head).await,
            Call::ReadObject(object) => self.read_object(&head, &object).await,
            Call::History => self.history(&head),
            Call::Watch => self.watch(&head, permit),
            Call::Backup => self.backup().await,
            Call::PutDocument
            | Call::PatchDocument
            | Call::PutObject(_)
            | Call::DeleteObject(_)
            | Call::Rollback
            | Call::Restore => self.write(&call, &head, &body).await,
        }
    }

    pub(super) fn cluster(&self) -> Result<&Cluster, Problem> {
        self.parts.store.cluster().ok_or_else(|| {
            let detail = "no cluster is configured: set `cluster` in the startup configuration; \
                          a cluster may have one peer";
            Problem::new(StatusCode::CONFLICT, detail)
        })
    }

    async fn read(&self, head: &Head) -> Result<Arc<Documents>, Problem> {
        let cluster = self.cluster()?;
        match head.query.get("consistency") {
            None | Some("linearizable") => {
                cluster.linearizable().await?;
            }
            Some("local") => {}
            Some(other) => {
                let detail = format!("consistency is `linearizable` or `local`, not `{other}`");
                return Err(Problem::bad_request(detail));
            }
        }
        Ok(cluster.documents())
    }

    async fn read_document(&self, head: &Head) -> Result<Response, Problem> {
        let documents = self.read(head).await?;
        let own = documents.documents.get(PROVIDER);
        let revision = own.map_or(Revision(0), |document| document.revision);
        let value = own.map_or_else(|| json!({}), |document| document::to_json(&document.entries));
        Ok(tagged(head, revision, &value))
    }

    async fn read_object(&self, head: &Head, object: &Object) -> Result<Response, Problem> {
        let documents = self.read(head).await?;
        let own = documents.documents.get(PROVIDER);
        let entry = own.and_then(|document| document.entries.get(object.key.as_str()));
        let path = document::path_of(&object.key);
        let entry = entry.ok_or_else(|| Problem::not_found(format!("there is no {path}")))?;
        let value: Value = serde_json::from_slice(&entry.bytes).unwrap_or_default();
        Ok(tagged(head, entry.revision, &value))
    }

    fn history(&self, head: &Head) -> Result<Response, Problem> {
        let limit = number(head, "limit")?.map(usize::try_from);
        let limit = limit.transpose().unwrap_or(None).unwrap_or(HISTORY_DEFAULT);
        let changes = self.cluster()?.history(Some(PROVIDER), limit);
        let shown: Vec<Value> = changes.iter().map(|change| watch::shown(change)).collect();
        Ok(answer(StatusCode::OK, &shown))
    }

    fn watch(&self, head: &Head, permit: OwnedSemaphorePermit) -> Result<Response, Problem> {
        let cluster = self.cluster()?;
        let last = head.headers.get("last-event-id").and_then(|value| value.to_str().ok());
        let last = last.and_then(|text| text.parse().ok());
        let from = match last {
            Some(revision) => Some(revision),
            None => number(head, "from")?,
        };
        let from = from.map_or_else(|| cluster.documents().revision, Revision);
        let draining = self.parts.readiness.draining.clone();
        let (response, feed) = watch::start(cluster.clone(), from, draining, permit)?;
        // It ends with the connection, and soon after this peer begins to drain.
        drop(self.parts.control.spawn(feed));
        Ok(response)
    }

    fn explain(&self, head: &Head) -> Result<Response, Problem> {
        let query = &head.query;
        let url = query.get("url").ok_or_else(|| Problem::bad_request("`url` is missing"))?;
        let method = query.get("method").unwrap_or("GET");
        let headers = query.all("header");
        let (now, settings) = (self.parts.readiness.view.load(), self.parts.settings()?);
        let explained = Asked::new(method, url, &headers, query.get("client"))
            .and_then(|asked| asked.answer(&now.compiled, &settings, query.get("entryPoint")));
        let mut explained = explained.map_err(Problem::bad_request)?;
        if let Some(fields) = explained.as_object_mut() {
            fields.insert("revision".to_owned(), json!(now.revision));
        }
        Ok(answer(StatusCode::OK, &explained))
    }

    /// The problems of a document that is not stored.
    async fn check(&self, head: &Head, body: &Bytes) -> Result<Response, Problem> {
        let format = document::format(&head.headers)?;
        let wanted = match document::decode(body, format) {
            Ok(wanted) => wanted,
            Err(problem) => match problem.mistakes() {
                Some(mistakes) => return Ok(checked(mistakes, &[])),
                None => return Err(problem),
            },
        };
        let wanted = document::keep_names(wanted, &Stored::new());
        let verdict = self.judge_alone(wanted).await?;
        Ok(checked(&json!(mistakes(&verdict)), &verdict.warnings))
    }

    async fn backup(&self) -> Result<Response, Problem> {
        let cluster = self.cluster()?.clone();
        let backup = tokio::task::spawn_blocking(move || cluster.backup()).await;
        let backup = backup.map_err(|_error| broken())?;
        let backup = backup
            .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let mut response = Response::new(Body::from(Bytes::from(backup)));
        let kind = http::HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    }
}

fn checked(errors: &Value, warnings: &[String]) -> Response {
    let valid = errors.as_array().is_none_or(Vec::is_empty);
    answer(StatusCode::OK, &json!({ "valid": valid, "errors": errors, "warnings": warnings }))
}

/// The mistakes that a compilation found.
pub(super) fn mistakes(verdict: &Verdict) -> Vec<Mistake> {
    let faults = verdict.faults.iter();
    faults
        .map(|fault| {
            let path = document::path_of(&fault.key);
            Mistake::new(path, fault.message.clone()).hinting(fault.hint.clone())
        })
        .collect()
}

/// A parameter that is a number.
pub(super) fn number(head: &Head, name: &str) -> Result<Option<u64>, Problem> {
    let Some(text) = head.query.get(name) else { return Ok(None) };
    let number = text.parse();
    number.map(Some).map_err(|_error| Problem::bad_request(format!("`{name}` is a number")))
}

/// An answer with its revision, or 304 where the caller has it already.
fn tagged(head: &Head, revision: Revision, value: &Value) -> Response {
    let tag = etag(revision);
    let mut response = if head.headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        answer(StatusCode::OK, value)
    };
    response.headers_mut().insert(header::ETAG, tag);
    response
}

/// `GET /cluster`
fn status(cluster: &Cluster) -> Value {
    let status = cluster.status();
    let peers: Vec<Value> = status
        .peers
        .iter()
        .map(|peer| {
            json!({
                "name": peer.name,
                "address": peer.address,
                "role": peer.role,
                "leader": peer.leader,
                "reachable": peer.reachable,
                "lastContactMs": peer.last_contact_ms,
                "revision": peer.revision,
                "planDigest": peer.plan_digest,
                "release": peer.release,
                "ready": peer.ready,
                "files": peer.files,
            })
        })
        .collect();
    json!({
        "name": status.name,
        "leader": status.leader,
        "term": status.term,
        "revision": status.revision,
        "committed": status.committed,
        "planDigest": status.plan_digest,
        "ready": status.ready,
        "peers": peers,
    })
}
