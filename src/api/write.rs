//! The calls that change the document: condition, validation, proposal, answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pontoon_cluster::{
    Applied, Command, Document, Expected, Idempotency, Operation, PatchDocument, PutDocument,
    Reply, RestoreError, Revision,
};
use serde_json::{Value, json};

use super::answer;
use super::calls::{Head, Inner, mistakes, number};
use super::condition::{Condition, check, etag};
use super::document::{self, Difference, Object, Stored, Wanted};
use super::idempotency;
use super::problem::Problem;
use super::route::Call;
use super::watch::{self, PROVIDER};
use crate::compile::Source;
use crate::compile::verdict::{Verdict, judge};
use crate::http::Response;

/// Tries of a merge patch while others write, too.
const TRIES_MAX: usize = 8;
/// Longest wait for the plan to hold what was read.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Which objects must be without mistakes.
enum Strict<'a> {
    /// Those that the write changes.
    Changed,
    /// Those, and all routers of the document as it is wanted.
    Whole(&'a Wanted),
    /// None: mistakes are warnings.
    Nothing,
}

/// A write on its way.
struct Asked<'a> {
    head: &'a Head,
    body: &'a Bytes,
    condition: Condition,
    idempotency: Option<Idempotency>,
    /// What is there now.
    now: Arc<Document>,
}

/// A write that has been checked.
struct Checked {
    difference: Difference,
    warnings: Vec<String>,
}

/// What became of a write.
enum Ended {
    /// A dry run: what it would do.
    Would(Checked),
    Done(Done),
}

/// A write that was carried out.
struct Done {
    applied: Applied,
    /// The objects that were changed.
    changes: Value,
    warnings: Vec<String>,
    /// The revision that its subject had before, if that is known.
    before: Option<Revision>,
}

impl Ended {
    fn done(applied: Applied, checked: Checked, before: Revision) -> Self {
        let Checked { difference, warnings } = checked;
        let changes = difference.to_json();
        Self::Done(Done { applied, changes, warnings, before: Some(before) })
    }
}

impl Inner {
    /// Carries a write out, unless it was carried out before, and answers.
    pub(super) async fn write(
        &self,
        call: &Call,
        head: &Head,
        body: &Bytes,
    ) -> Result<Response, Problem> {
        let idempotency = idempotency::of(call, head, body)?;
        let condition = Condition::of(&head.headers)?;
        let now = self.newest().await?;
        let before = match &idempotency {
            Some(idempotency) => self.cluster()?.answered(&head.author, idempotency),
            None => None,
        };
        let ended = if let Some(applied) = before {
            Ended::Done(self.again(accepted(applied)?)?)
        } else {
            let asked = Asked { head, body, condition, idempotency, now };
            self.carry_out(call, &asked).await?
        };
        match ended {
            Ended::Would(checked) => Ok(would(&checked)),
            Ended::Done(done) => self.written(call, head, &done).await,
        }
    }

    async fn carry_out(&self, call: &Call, asked: &Asked<'_>) -> Result<Ended, Problem> {
        match call {
            Call::PutDocument => self.put_document(asked).await,
            Call::PatchDocument => self.patch_document(asked).await,
            Call::PutObject(object) => self.put_object(asked, object).await,
            Call::DeleteObject(object) => self.delete_object(asked, object).await,
            Call::Rollback => self.rollback(asked).await,
            Call::Restore => self.restore(asked).await,
            Call::ReadDocument
            | Call::ReadObject(_)
            | Call::History
            | Call::Watch
            | Call::Check
            | Call::Status
            | Call::Backup
            | Call::Explain
            | Call::Ready => Err(Problem::not_found("there is no such write")),
        }
    }

    /// What a write has changed that was carried out before: the history tells, as long as it goes back so far.
    fn again(&self, applied: Applied) -> Result<Done, Problem> {
        let mut changes = json!([]);
        if let Reply::Stored { revision, .. } = applied.reply {
            let since = self.cluster()?.changes_since(Revision(revision.0.saturating_sub(1)));
            let own = since
                .unwrap_or_default()
                .into_iter()
                .find(|change| change.revision == revision && change.provider == PROVIDER);
            if let Some(change) = own {
                changes = watch::objects(&change);
            }
        }
        Ok(Done { applied, changes, warnings: Vec::new(), before: None })
    }

    async fn put_document(&self, asked: &Asked<'_>) -> Result<Ended, Problem> {
        let Asked { head, body, now, .. } = asked;
        let wanted = document::decode(body, document::format(&head.headers)?)?;
        let expected = asked.condition.expected(now.revision)?;
        let wanted = document::keep_names(wanted, &now.entries);
        let checked =
            self.checked(Difference::new(&now.entries, &wanted), &Strict::Whole(&wanted)).await?;
        self.put(asked, (wanted, expected), checked).await
    }

    /// Replaces the document.
    async fn put(
        &self,
        asked: &Asked<'_>,
        (wanted, expected): (Wanted, Expected),
        checked: Checked,
    ) -> Result<Ended, Problem> {
        let before = asked.now.revision;
        if dry_run(asked.head) {
            check(expected, before)?;
            return Ok(Ended::Would(checked));
        }
        let put = PutDocument {
            provider: PROVIDER.to_owned(),
            entries: wanted.into_iter().collect(),
            expected,
            fence: None,
        };
        let applied = accepted(self.propose(asked, Operation::Put(put)).await?)?;
        Ok(Ended::done(applied, checked, before))
    }

    /// Between reading and storing nobody else may have written: then it is done again with what is there now.
    async fn patch_document(&self, asked: &Asked<'_>) -> Result<Ended, Problem> {
        document::check_patch(&asked.head.headers)?;
        let patch = document::patch(asked.body)?;
        let mut now = asked.now.clone();
        for _ in 0..TRIES_MAX {
            check(asked.condition.expected(now.revision)?, now.revision)?;
            let wanted = document::patched(&now.entries, &patch)?;
            let wanted = document::keep_names(wanted, &now.entries);
            let checked =
                self.checked(Difference::new(&now.entries, &wanted), &Strict::Changed).await?;
            if dry_run(asked.head) {
                return Ok(Ended::Would(checked));
            }
            // With a key, that nothing was to be done must be remembered, too.
            if checked.difference.is_empty() && asked.idempotency.is_none() {
                let cluster = self.cluster()?;
                let (revision, term) = (cluster.documents().revision, cluster.status().term);
                let applied = Applied { reply: Reply::Unchanged, revision, term };
                return Ok(Ended::done(applied, checked, now.revision));
            }
            let operation = patch_of(&checked.difference, Expected::still(now.revision));
            let applied = self.propose(asked, operation).await?;
            if !matches!(applied.reply, Reply::Conflict { .. }) {
                return Ok(Ended::done(accepted(applied)?, checked, now.revision));
            }
            now = self.newest().await?;
        }
        Err(Problem::busy("writes"))
    }

    async fn put_object(&self, asked: &Asked<'_>, object: &Object) -> Result<Ended, Problem> {
        let set = object.decode(asked.body, document::format(&asked.head.headers)?)?;
        let current = revision_of(&asked.now, object);
        let expected = asked.condition.expected(current)?;
        let difference = Difference::of_objects(&asked.now.entries, &set, &[]);
        let checked = self.checked(difference, &Strict::Changed).await?;
        if dry_run(asked.head) {
            check(expected, current)?;
            return Ok(Ended::Would(checked));
        }
        let patch = PatchDocument {
            provider: PROVIDER.to_owned(),
            set: set.into_iter().map(|(key, bytes)| (key, bytes, expected)).collect(),
            ..PatchDocument::default()
        };
        let applied = accepted(self.propose(asked, Operation::Patch(patch)).await?)?;
        Ok(Ended::done(applied, checked, current))
    }

    async fn delete_object(&self, asked: &Asked<'_>, object: &Object) -> Result<Ended, Problem> {
        let current = revision_of(&asked.now, object);
        let expected = asked.condition.expected(current)?;
        if current.0 == 0 && asked.idempotency.is_none() {
            return Err(missing(object));
        }
        let unwanted = std::slice::from_ref(&object.key);
        let difference = Difference::of_objects(&asked.now.entries, &Wanted::new(), unwanted);
        let checked = self.checked(difference, &Strict::Changed).await?;
        if dry_run(asked.head) {
            check(expected, current)?;
            return Ok(Ended::Would(checked));
        }
        let patch = PatchDocument {
            provider: PROVIDER.to_owned(),
            delete: vec![(object.key.clone(), expected)],
            ..PatchDocument::default()
        };
        let applied = accepted(self.propose(asked, Operation::Patch(patch)).await?)?;
        Ok(Ended::done(applied, checked, current))
    }

    /// Going back is not refused for mistakes: what was in force may be put in force again.
    async fn rollback(&self, asked: &Asked<'_>) -> Result<Ended, Problem> {
        let revision = number(asked.head, "revision")?.map(Revision);
        let revision = revision.ok_or_else(|| Problem::bad_request("`revision` is missing"))?;
        let expected = asked.condition.expected(asked.now.revision)?;
        let cluster = self.cluster()?;
        if revision > cluster.documents().revision {
            return Err(Problem::not_found(format!("there is no revision {revision} yet")));
        }
        let then = cluster
            .document_at(PROVIDER, revision)
            .map_err(|compacted| watch::gone(compacted.floor))?;
        let wanted = unchanged(&then);
        let checked =
            self.checked(Difference::new(&asked.now.entries, &wanted), &Strict::Nothing).await?;
        self.put(asked, (wanted, expected), checked).await
    }

    /// Replaces the documents of all providers; there is no revision of all of them to expect, and no trying.
    async fn restore(&self, asked: &Asked<'_>) -> Result<Ended, Problem> {
        if dry_run(asked.head) || asked.condition != Condition::None {
            return Err(Problem::bad_request("restoring knows neither conditions nor `dryRun`"));
        }
        let force = asked.head.query.get("force") == Some("true");
        let (author, key) = (&asked.head.author, asked.idempotency.clone());
        let restored = self.cluster()?.restore(asked.body, force, author, key).await;
        let applied = restored.map_err(|error| {
            let detail = error.to_string();
            match error {
                RestoreError::Backup(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
                RestoreError::Propose(error) => error.into(),
                RestoreError::Refused(_) => Problem::new(StatusCode::CONFLICT, detail),
            }
        })?;
        Ok(Ended::Done(self.again(applied)?))
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
        difference: Difference,
        strict: &Strict<'_>,
    ) -> Result<Checked, Problem> {
        let mut keys: Vec<String> = difference.set.keys().cloned().collect();
        if let Strict::Whole(wanted) = strict {
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
            Strict::Changed | Strict::Whole(_) => {
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
        let (now, settings) = (self.parts.readiness.view.load(), self.parts.settings()?);
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

    async fn propose(&self, asked: &Asked<'_>, operation: Operation) -> Result<Applied, Problem> {
        let (author, idempotency) = (asked.head.author.clone(), asked.idempotency.clone());
        Ok(self.cluster()?.propose(Command { operation, author, idempotency }).await?)
    }

    /// The answer to a write that was carried out, once it is in force.
    async fn written(&self, call: &Call, head: &Head, done: &Done) -> Result<Response, Problem> {
        let Done { applied, changes, warnings, before } = done;
        let (revision, tag, created) = match applied.reply {
            Reply::Stored { revision, created } => (revision, Some(revision), created),
            Reply::Unchanged | Reply::Conflict { .. } | Reply::Refused { .. } => {
                if let Call::DeleteObject(object) = call {
                    return Err(missing(object));
                }
                (applied.revision, *before, false)
            }
        };
        let mut body = json!({ "revision": revision, "term": applied.term, "changes": changes });
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
        if !warnings.is_empty() {
            add("warnings", json!(warnings));
        }
        let mut response = answer(StatusCode::OK, &body);
        let headers = response.headers_mut();
        headers.insert("pontoon-revision", HeaderValue::from(revision.0));
        headers.insert("pontoon-term", HeaderValue::from(applied.term));
        match call {
            Call::DeleteObject(_) => {
                if head.query.get("wait").is_none() && warnings.is_empty() {
                    headers.remove(header::CONTENT_TYPE);
                    *response.status_mut() = StatusCode::NO_CONTENT;
                    *response.body_mut() = crate::http::Body::Empty;
                }
                return Ok(response);
            }
            Call::PutObject(_) if created => *response.status_mut() = StatusCode::CREATED,
            _ => {}
        }
        if let Some(tag) = tag {
            response.headers_mut().insert(header::ETAG, etag(tag));
        }
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

fn patch_of(difference: &Difference, expected_document: Expected) -> Operation {
    let any = Expected::Any;
    Operation::Patch(PatchDocument {
        provider: PROVIDER.to_owned(),
        set: difference.set.iter().map(|(key, bytes)| (key.clone(), bytes.clone(), any)).collect(),
        delete: difference.deleted.iter().map(|key| (key.clone(), any)).collect(),
        expected_document,
        fence: None,
    })
}

fn missing(object: &Object) -> Problem {
    let path = document::path_of(&object.key);
    Problem::not_found(format!("there is no {path}"))
}

fn unchanged(stored: &Stored) -> Wanted {
    stored.iter().map(|(key, entry)| (key.to_string(), entry.bytes.to_bytes())).collect()
}

fn revision_of(document: &Document, object: &Object) -> Revision {
    document.entries.get(object.key.as_str()).map_or(Revision(0), |entry| entry.revision)
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
