//! Errors of our own calls, as `application/problem+json` (RFC 9457).

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use pontoon_cluster::{ProposeError, ReadError, Revision};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::answer;
use crate::config::decode;
use crate::http::Response;

/// Why a call was not carried out.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Content>);

#[derive(Debug, Clone)]
struct Content {
    status: StatusCode,
    detail: String,
    /// Members beside those of the RFC.
    more: Map<String, Value>,
    header: Option<(HeaderName, HeaderValue)>,
}

/// One mistake in what was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Mistake {
    /// Keys from the root, with dots between; empty for the whole.
    pub(crate) path: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// From 1, in the body that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<usize>,
}

impl Mistake {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), hint: None, line: None, column: None }
    }

    pub(crate) fn hinting(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

impl From<decode::Error> for Mistake {
    fn from(error: decode::Error) -> Self {
        let hint = error.hint.map(|known| format!("did you mean `{known}`?"));
        let known = |number: usize| (number > 0).then_some(number);
        Self {
            path: error.path,
            message: error.message,
            hint,
            line: known(error.line),
            column: known(error.column),
        }
    }
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Content { status, detail: detail.into(), more: Map::new(), header: None }))
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 422 with all that is wrong.
    pub(crate) fn invalid(mistakes: &[Mistake]) -> Self {
        let count = mistakes.len();
        let detail = format!("the document has {count} mistake(s); nothing was stored");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("errors", json!(mistakes))
    }

    /// 412 with the revision that the object or document has; 0 where there is none.
    pub(crate) fn precondition(current: Revision) -> Self {
        let detail = match current.0 {
            0 => "it does not exist; nothing was stored".to_owned(),
            now => format!("it is at revision {now}; nothing was stored"),
        };
        Self::new(StatusCode::PRECONDITION_FAILED, detail).with("revision", json!(current))
    }

    /// 429
    pub(crate) fn busy(what: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, format!("too many {what} at once"))
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 503
    pub(crate) fn no_quorum(detail: impl Into<String>, retry_after: Duration) -> Self {
        let seconds = retry_after.as_millis().div_ceil(1000).max(1);
        let seconds = HeaderValue::from(u64::try_from(seconds).unwrap_or(1));
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).header(header::RETRY_AFTER, seconds)
    }

    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.0.more.insert(name.to_owned(), value);
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// The list of mistakes of a 422.
    pub(crate) fn mistakes(&self) -> Option<&Value> {
        self.0.more.get("errors")
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    pub(crate) fn into_response(self) -> Response {
        let Content { status, detail, more, header: field } = *self.0;
        let mut body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": detail,
        });
        if let Some(fields) = body.as_object_mut() {
            fields.extend(more);
        }
        let mut response = answer(status, &body);
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some((name, value)) = field {
            headers.insert(name, value);
        }
        response
    }
}

impl From<ProposeError> for Problem {
    fn from(error: ProposeError) -> Self {
        let detail = error.to_string();
        match error {
            ProposeError::NoQuorum { retry_after } => {
                Self::no_quorum(format!("{detail}; nothing was changed"), retry_after)
            }
            ProposeError::Unknown => Self::new(StatusCode::GATEWAY_TIMEOUT, detail)
                .with("outcome", json!("unknown"))
                .with("hint", json!("the same Idempotency-Key may be sent again safely")),
            ProposeError::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail),
            ProposeError::Shutdown => Self::no_quorum(detail, Duration::from_secs(1)),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let retry_after = match error {
            ReadError::NoQuorum { retry_after } => retry_after,
            ReadError::Shutdown => Duration::from_secs(1),
        };
        let detail = format!("{error}; `consistency=local` reads what this peer knows");
        Self::no_quorum(detail, retry_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_quorum_says_when_to_try_again() {
        let error = ProposeError::NoQuorum { retry_after: Duration::from_millis(1200) };
        let response = Problem::from(error).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[test]
    fn an_unknown_outcome_is_named() {
        let problem = Problem::from(ProposeError::Unknown);
        assert_eq!(problem.status(), 504);
        assert_eq!(problem.0.more["outcome"], "unknown");
    }

    #[test]
    fn mistakes_leave_out_what_is_not_known() {
        let mistake = Mistake::new("http.routers.a", "no rule");
        let value = serde_json::to_value(mistake).unwrap();
        assert_eq!(value, json!({ "path": "http.routers.a", "message": "no rule" }));
    }
}
