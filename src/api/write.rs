//! The calls that change the document: condition, validation, proposal, answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pontoon_cluster::{
    Applied, Command, Document, Operation, PatchDocument, PutDocument, Reply, RestoreError,
    Revision,
};
use serde_json::{Value, json};

use super::answer;
use super::calls::{Head, Inner, mistakes, number};
use super::condition::{Condition, etag};
use super::document::{self, Difference, Object, Stored, Wanted};
use super::problem::Problem;
use super::watch::{self, PROVIDER};
use crate::compile::Source;
use crate::compile::verdict::{Verdict, judge};
use crate::http::Response;

/// Tries of a merge patch while others write, too.
const TRIES_MAX: usize = 8;
/// Longest wait for the plan to hold what was read.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 256;

/// Which objects must be without mistakes.
enum Strict {
    /// Those that the write changes.
    Changed,
    /// Those, and all routers of the document.
    Whole,
    /// None: mistakes are warnings.
    Nothing,
}

/// A write that has been checked.
struct Checked {
    difference: Difference,
    warnings: Vec<String>,
}

impl Inner {
    pub(super) async fn put_document(
        &self,
        head: &Head,
        body: &Bytes,
    ) -> Result<Response, Problem> {
        let wanted = document::decode(body, document::format(&head.headers)?)?;
        let now = self.newest().await?;
        let expected = Condition::of(&head.headers)?.expected_document(now.revision)?;
        let wanted = document::keep_names(wanted, &now.entries);
        let checked = self.checked(&now, &wanted, &Strict::Whole).await?;
        if dry_run(head) {
            current_or(expected, now.revision)?;
            return Ok(would(&checked));
        }
        let put = PutDocument {
            provider: PROVIDER.to_owned(),
            entries: wanted.into_iter().collect(),
            expected,
            fence: None,
        };
        let applied = self.propose(head, Operation::Put(put)).await?;
        self.written(head, &applied, &checked, now.revision).await
    }

    /// Between reading and storing nobody else may have written: then it is done again with what is there now.
    pub(super) async fn patch_document(
        &self,
        head: &Head,
        body: &Bytes,
    ) -> Result<Response, Problem> {
        document::check_patch(&head.headers)?;
        let patch = document::patch(body)?;
        let condition = Condition::of(&head.headers)?;
        let mut current = Revision(0);
        for _ in 0..TRIES_MAX {
            let now = self.newest().await?;
            current_or(condition.expected_document(now.revision)?, now.revision)?;
            let wanted = document::patched(&now.entries, &patch)?;
            let wanted = document::keep_names(wanted, &now.entries);
            let checked = self.checked(&now, &wanted, &Strict::Changed).await?;
            if dry_run(head) {
                return Ok(would(&checked));
            }
            if checked.difference.is_empty() {
                let cluster = self.cluster()?;
                let (revision, term) = (cluster.documents().revision, cluster.status().term);
                let applied = Applied { reply: Reply::Unchanged, revision, term };
                return self.written(head, &applied, &checked, now.revision).await;
            }
            let operation = patch_of(&checked.difference, Some(now.revision));
            let applied = self.proposed(head, operation).await?;
            match applied.reply {
                Reply::Conflict { current: moved, .. } if condition == Condition::None => {
                    current = moved;
                }
                _ => {
                    let applied = accepted(applied)?;
                    return self.written(head, &applied, &checked, now.revision).await;
                }
            }
        }
        Err(Problem::precondition(current))
    }

    pub(super) async fn put_object(
        &self,
        head: &Head,
        object: &Object,
        body: &Bytes,
    ) -> Result<Response, Problem> {
        let set = object.decode(body, document::format(&head.headers)?)?;
        let now = self.newest().await?;
        let current = revision_of(&now, object);
        let expected = Condition::of(&head.headers)?.expected(current)?;
        let mut wanted = unchanged(&now.entries);
        wanted.extend(set.clone());
        let checked = self.checked(&now, &wanted, &Strict::Changed).await?;
        if dry_run(head) {
            check_expected(expected, current)?;
            return Ok(would(&checked));
        }
        let patch = PatchDocument {
            provider: PROVIDER.to_owned(),
            set: set.into_iter().map(|(key, bytes)| (key, bytes, expected)).collect(),
            ..PatchDocument::default()
        };
        let applied = self.propose(head, Operation::Patch(patch)).await?;
        let mut response = self.written(head, &applied, &checked, current).await?;
        if matches!(applied.reply, Reply::Stored { created: true, .. }) {
            *response.status_mut() = StatusCode::CREATED;
        }
        Ok(response)
    }

    pub(super) async fn delete_object(
        &self,
        head: &Head,
        object: &Object,
    ) -> Result<Response, Problem> {
        let now = self.newest().await?;
        let current = revision_of(&now, object);
        let missing = || {
            let path = document::path_of(&object.key);
            Problem::not_found(format!("there is no {path}"))
        };
        let expected = Condition::of(&head.headers)?.expected(current)?;
        if current.0 == 0 && head.headers.get("idempotency-key").is_none() {
            return Err(missing());
        }
        let mut wanted = unchanged(&now.entries);
        wanted.remove(&object.key);
        let checked = self.checked(&now, &wanted, &Strict::Changed).await?;
        if dry_run(head) {
            check_expected(expected, current)?;
            return Ok(would(&checked));
        }
        let patch = PatchDocument {
            provider: PROVIDER.to_owned(),
            delete: vec![(object.key.clone(), expected)],
            ..PatchDocument::default()
        };
        let applied = self.propose(head, Operation::Patch(patch)).await?;
        if applied.reply == Reply::Unchanged {
            return Err(missing());
        }
        let mut response = self.written(head, &applied, &checked, current).await?;
        if head.query.get("wait").is_none() && checked.warnings.is_empty() {
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.body_mut() = crate::http::Body::Empty;
            response.headers_mut().remove(header::CONTENT_TYPE);
        }
        response.headers_mut().remove(header::ETAG);
        Ok(response)
    }

    /// Going back is not refused for mistakes: what was in force may be put in force again.
    pub(super) async fn rollback(&self, head: &Head) -> Result<Response, Problem> {
        let revision = number(head, "revision")?.map(Revision);
        let revision = revision.ok_or_else(|| Problem::bad_request("`revision` is missing"))?;
        let now = self.newest().await?;
        let expected = Condition::of(&head.headers)?.expected_document(now.revision)?;
        let cluster = self.cluster()?;
        if revision > cluster.documents().revision {
            return Err(Problem::not_found(format!("there is no revision {revision} yet")));
        }
        let then = cluster
            .document_at(PROVIDER, revision)
            .map_err(|compacted| watch::gone(compacted.floor))?;
        let wanted = unchanged(&then);
        let checked = self.checked(&now, &wanted, &Strict::Nothing).await?;
        if dry_run(head) {
            current_or(expected, now.revision)?;
            return Ok(would(&checked));
        }
        let put = PutDocument {
            provider: PROVIDER.to_owned(),
            entries: wanted.into_iter().collect(),
            expected,
            fence: None,
        };
        let applied = self.propose(head, Operation::Put(put)).await?;
        self.written(head, &applied, &checked, now.revision).await
    }

    pub(super) async fn restore(&self, head: &Head, body: &Bytes) -> Result<Response, Problem> {
        let cluster = self.cluster()?;
        let force = head.query.get("force") == Some("true");
        let revision = cluster.restore(body, force, &head.author).await.map_err(|error| {
            let detail = error.to_string();
            match error {
                RestoreError::Backup(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
                RestoreError::Propose(error) => error.into(),
                RestoreError::Refused(_) => Problem::new(StatusCode::CONFLICT, detail),
            }
        })?;
        let reply = Reply::Stored { revision, created: false };
        let applied = Applied { reply, revision, term: cluster.status().term };
        let checked = Checked { difference: Difference::default(), warnings: Vec::new() };
        self.written(head, &applied, &checked, revision).await
    }

    /// The document as it is now, anywhere.
    async fn newest(&self) -> Result<Arc<Document>, Problem> {
        let cluster = self.cluster()?;
        cluster.linearizable().await.map_err(|error| {
            let retry_after = match error {
                pontoon_cluster::ReadError::NoQuorum { retry_after } => retry_after,
                pontoon_cluster::ReadError::Shutdown => Duration::from_secs(1),
            };
            Problem::no_quorum(format!("{error}; nothing was changed"), retry_after)
        })?;
        let documents = cluster.documents();
        // What is compiled against what is in force should know of what was just written.
        self.parts.readiness.view.reached(documents.revision, CATCH_UP).await;
        Ok(documents.documents.get(PROVIDER).cloned().unwrap_or_default())
    }

    /// What a write changes, if its objects will work.
    async fn checked(
        &self,
        now: &Document,
        wanted: &Wanted,
        strict: &Strict,
    ) -> Result<Checked, Problem> {
        let difference = Difference::new(&now.entries, wanted);
        let mut keys: Vec<String> = difference.set.keys().cloned().collect();
        if matches!(strict, Strict::Whole) {
            let routers = wanted.keys().filter(|key| key.starts_with("http/routers/"));
            keys.extend(routers.filter(|key| !difference.set.contains_key(*key)).cloned());
        }
        let base =
            self.parts.readiness.view.load().sources.get(PROVIDER).cloned().unwrap_or_default();
        let changes = difference.clone();
        let prepare = move || {
            let set = changes.set.iter().map(|(key, bytes)| (key.as_str(), Some(&**bytes)));
            let deleted = changes.deleted.iter().map(|key| (key.as_str(), None));
            base.with(set.chain(deleted))
        };
        let mut verdict = self.judge(prepare, keys).await?;
        match strict {
            Strict::Nothing => verdict.warnings.extend(
                verdict.faults.iter().map(|fault| format!("{}: {}", fault.key, fault.message)),
            ),
            Strict::Changed | Strict::Whole => {
                let mistakes = mistakes(&verdict);
                if !mistakes.is_empty() {
                    return Err(Problem::invalid(&mistakes));
                }
            }
        }
        Ok(Checked { difference, warnings: verdict.warnings })
    }

    /// The verdict on a document that replaces the one that is there.
    pub(super) async fn judge_alone(&self, wanted: Wanted) -> Result<Verdict, Problem> {
        let keys = wanted.keys().cloned().collect();
        let prepare = move || {
            let set = wanted.iter().map(|(key, bytes)| (key.as_str(), Some(&**bytes)));
            Source::default().with(set)
        };
        self.judge(prepare, keys).await
    }

    /// Compiles on a thread that may be busy for long.
    async fn judge(
        &self,
        prepare: impl FnOnce() -> Source + Send + 'static,
        keys: Vec<String>,
    ) -> Result<Verdict, Problem> {
        let (now, settings) = (self.parts.readiness.view.load(), self.parts.settings.clone());
        let work = move || {
            let mut sources = (*now.sources).clone();
            sources.insert(PROVIDER.into(), Arc::new(prepare()));
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            judge(&sources, &settings, &now.compiled, (PROVIDER, &keys))
        };
        tokio::task::spawn_blocking(work).await.map_err(|_error| {
            let detail = "the document could not be compiled; nothing was stored";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        })
    }

    async fn propose(&self, head: &Head, operation: Operation) -> Result<Applied, Problem> {
        accepted(self.proposed(head, operation).await?)
    }

    async fn proposed(&self, head: &Head, operation: Operation) -> Result<Applied, Problem> {
        let idempotency_key = match head.headers.get("idempotency-key") {
            None => None,
            Some(key) => match key.to_str() {
                Ok(key) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => Some(key.to_owned()),
                _ => {
                    let detail = "Idempotency-Key has 1 to 256 visible characters";
                    return Err(Problem::bad_request(detail));
                }
            },
        };
        let author = head.author.clone();
        Ok(self.cluster()?.propose(Command { operation, author, idempotency_key }).await?)
    }

    /// The answer to a write that was carried out; `before` is the revision that its subject had.
    async fn written(
        &self,
        head: &Head,
        applied: &Applied,
        checked: &Checked,
        before: Revision,
    ) -> Result<Response, Problem> {
        let (revision, tag) = match applied.reply {
            Reply::Stored { revision, .. } => (revision, revision),
            Reply::Unchanged | Reply::Conflict { .. } | Reply::Refused { .. } => {
                (applied.revision, before)
            }
        };
        let mut body = json!({
            "revision": revision,
            "term": applied.term,
            "changes": checked.difference.to_json(),
        });
        let mut add = |name: &str, value: Value| {
            if let Some(fields) = body.as_object_mut() {
                fields.insert(name.to_owned(), value);
            }
        };
        if head.query.get("wait") == Some("all") {
            let peers = self.cluster()?.wait_all(revision, self.parts.timeout).await;
            let shown = peers.iter().map(|(name, done)| json!({ "name": name, "applied": done }));
            add("peers", shown.collect());
            add("applied", json!(peers.iter().all(|(_, done)| *done)));
        } else {
            let here = self.parts.readiness.view.reached(revision, self.parts.timeout).await;
            add("applied", json!(here));
        }
        if !checked.warnings.is_empty() {
            add("warnings", json!(checked.warnings));
        }
        let mut response = answer(StatusCode::OK, &body);
        let headers = response.headers_mut();
        headers.insert(header::ETAG, etag(tag));
        headers.insert("pontoon-revision", HeaderValue::from(revision.0));
        headers.insert("pontoon-term", HeaderValue::from(applied.term));
        Ok(response)
    }
}

/// What the state machine refused, as a problem.
fn accepted(applied: Applied) -> Result<Applied, Problem> {
    let problem = match &applied.reply {
        Reply::Stored { .. } | Reply::Unchanged => return Ok(applied),
        Reply::Conflict { current, .. } => Problem::precondition(*current),
        Reply::Refused { reason } if reason.starts_with("idempotency key") => Problem::new(
            StatusCode::CONFLICT,
            format!("{reason}: an earlier request with it was carried out; this one was not"),
        ),
        Reply::Refused { reason } if reason.contains("would exceed") => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, reason.clone())
        }
        Reply::Refused { reason } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("refused: {reason}"))
        }
    };
    Err(problem.with("term", json!(applied.term)))
}

fn patch_of(difference: &Difference, expected_document: Option<Revision>) -> Operation {
    let any = pontoon_cluster::Expected::Any;
    Operation::Patch(PatchDocument {
        provider: PROVIDER.to_owned(),
        set: difference.set.iter().map(|(key, bytes)| (key.clone(), bytes.clone(), any)).collect(),
        delete: difference.deleted.iter().map(|key| (key.clone(), any)).collect(),
        expected_document,
        fence: None,
    })
}

fn unchanged(stored: &Stored) -> Wanted {
    stored.iter().map(|(key, entry)| (key.clone(), entry.bytes.clone())).collect()
}

fn revision_of(document: &Document, object: &Object) -> Revision {
    document.entries.get(&object.key).map_or(Revision(0), |entry| entry.revision)
}

fn dry_run(head: &Head) -> bool {
    head.query.get("dryRun") == Some("true")
}

/// What a dry run answers.
fn would(checked: &Checked) -> Response {
    let body = json!({
        "dryRun": true,
        "changes": checked.difference.to_json(),
        "warnings": checked.warnings,
    });
    answer(StatusCode::OK, &body)
}

/// 412 unless the document is what was expected.
fn current_or(expected: Option<Revision>, current: Revision) -> Result<(), Problem> {
    match expected {
        Some(expected) if expected != current => Err(Problem::precondition(current)),
        _ => Ok(()),
    }
}

/// 412 unless the object is what was expected.
fn check_expected(expected: pontoon_cluster::Expected, current: Revision) -> Result<(), Problem> {
    use pontoon_cluster::Expected;
    match expected {
        Expected::Any => Ok(()),
        Expected::Absent => current_or(Some(Revision(0)), current),
        Expected::At(revision) => current_or(Some(revision), current),
    }
}
