//! Which of our own calls a request is, and who may make it.

use http::{HeaderValue, Method, StatusCode, header};

use super::document::Object;
use super::problem::Problem;
use super::tokens::Role;

/// A call of CLUSTER.md §4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    ReadDocument,
    PutDocument,
    PatchDocument,
    ReadObject(Object),
    PutObject(Object),
    DeleteObject(Object),
    History,
    Rollback,
    Watch,
    Check,
    Status,
    Backup,
    Restore,
    Explain,
    Ready,
}

impl Call {
    /// From the method and the path's segments, of which the first is `api`.
    pub(crate) fn parse(method: &Method, segments: &[&str]) -> Result<Self, Problem> {
        // HEAD is answered as GET, without the body.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let unknown = || Err(Problem::not_found("there is no such call"));
        let calls: Vec<(Method, Self)> = match segments {
            ["api", "config"] => vec![
                (Method::GET, Self::ReadDocument),
                (Method::PUT, Self::PutDocument),
                (Method::PATCH, Self::PatchDocument),
            ],
            ["api", "config", "history"] => vec![(Method::GET, Self::History)],
            ["api", "config", "rollback"] => vec![(Method::POST, Self::Rollback)],
            ["api", "config", "watch"] => vec![(Method::GET, Self::Watch)],
            ["api", "config", section, kind, name] => match Object::parse(section, kind, name) {
                None => return unknown(),
                Some(object) => {
                    let object = object?;
                    vec![
                        (Method::GET, Self::ReadObject(object.clone())),
                        (Method::PUT, Self::PutObject(object.clone())),
                        (Method::DELETE, Self::DeleteObject(object)),
                    ]
                }
            },
            ["api", "check"] => vec![(Method::POST, Self::Check)],
            ["api", "cluster"] => vec![(Method::GET, Self::Status)],
            ["api", "cluster", "backup"] => vec![(Method::GET, Self::Backup)],
            ["api", "cluster", "restore"] => vec![(Method::POST, Self::Restore)],
            ["api", "explain"] => vec![(Method::GET, Self::Explain)],
            ["api", "ready"] => vec![(Method::GET, Self::Ready)],
            _ => return unknown(),
        };
        let allowed: Vec<&str> = calls.iter().map(|(method, _)| method.as_str()).collect();
        let allowed = HeaderValue::try_from(allowed.join(", "));
        if let Some((_, call)) = calls.into_iter().find(|(known, _)| known == method) {
            return Ok(call);
        }
        let detail = format!("{method} is not a method of this path");
        let allowed = allowed.unwrap_or(HeaderValue::from_static(""));
        Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).header(header::ALLOW, allowed))
    }

    /// True for calls that change something: `api.writable` must allow them.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::PutDocument
            | Self::PatchDocument
            | Self::PutObject(_)
            | Self::DeleteObject(_)
            | Self::Rollback
            | Self::Restore => true,
            Self::ReadDocument
            | Self::ReadObject(_)
            | Self::History
            | Self::Watch
            | Self::Check
            | Self::Status
            | Self::Backup
            | Self::Explain
            | Self::Ready => false,
        }
    }

    /// The role that a caller needs where tokens are configured.
    pub(crate) fn role(&self) -> Option<Role> {
        match self {
            Self::PutDocument
            | Self::PatchDocument
            | Self::PutObject(_)
            | Self::DeleteObject(_)
            | Self::Rollback => Some(Role::Write),
            // Documents hold secrets.
            Self::ReadDocument
            | Self::ReadObject(_)
            | Self::History
            | Self::Watch
            | Self::Check => Some(Role::Read),
            Self::Backup | Self::Restore => Some(Role::Admin),
            Self::Status | Self::Explain | Self::Ready => None,
        }
    }

    /// True where there is no call without tokens, whatever else is configured.
    pub(crate) fn always_with_token(&self) -> bool {
        self.writes() || *self == Self::Backup
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &Method, path: &str) -> Result<Call, u16> {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        Call::parse(method, &segments).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn paths_and_methods_make_calls() {
        assert_eq!(parse(&Method::HEAD, "/api/config"), Ok(Call::ReadDocument));
        assert_eq!(parse(&Method::PATCH, "/api/config"), Ok(Call::PatchDocument));
        assert_eq!(parse(&Method::POST, "/api/config"), Err(405));
        assert!(matches!(
            parse(&Method::PUT, "/api/config/http/routers/a"),
            Ok(Call::PutObject(_))
        ));
        assert_eq!(parse(&Method::PATCH, "/api/config/http/routers/a"), Err(405));
        assert_eq!(parse(&Method::PUT, "/api/config/http/routers"), Err(404));
        assert_eq!(parse(&Method::PUT, "/api/config/http/routers/"), Err(404));
        assert_eq!(parse(&Method::PUT, "/api/config/http/router/a"), Err(404));
        assert_eq!(parse(&Method::POST, "/api/cluster/join"), Err(404));
        assert_eq!(parse(&Method::GET, "/api/servers/a/b/state"), Err(404));
    }

    #[test]
    fn what_changes_something_needs_more_than_reading() {
        let object = Object::parse("http", "routers", "a").unwrap().unwrap();
        for call in [Call::PutDocument, Call::PatchDocument, Call::DeleteObject(object)] {
            assert!(call.writes());
            assert_eq!(call.role(), Some(Role::Write));
        }
        assert_eq!(Call::Backup.role(), Some(Role::Admin));
        assert_eq!(Call::Restore.role(), Some(Role::Admin));
        assert_eq!(Call::ReadDocument.role(), Some(Role::Read));
        assert_eq!(Call::Status.role(), None);
    }
}
