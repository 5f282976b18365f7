//! `digestAuth`: asks for a name and a password without sending it (RFC 7616, MD5).
//!
//! Traefik v3: HTTP middlewares, `DigestAuth`.
//!
//! Differs: a challenge is good for five minutes and at one peer only; requests may overtake each other, but none is
//! taken twice; `uri` must be the request's own target, where Traefik takes any path that begins with it.

mod credentials;
mod nonces;

use std::collections::HashMap;
use std::sync::Arc;

use ::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use async_trait::async_trait;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use self::credentials::Credentials;
use self::nonces::{Nonces, Use};
use super::secret::{self, Secrets};
use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::config::value::FileOrContent;
use crate::hex;
use crate::http::{Body, ProxyError, Request, Response, path};

/// Options of `digestAuth`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct DigestAuth {
    /// `name:realm:HA1`, as `htdigest` writes them; those of another realm cannot log in. They win over the file's.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) users: Secrets,
    /// The same, one a line; empty lines and those that begin with `#` do not count.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) users_file: FileOrContent,
    /// Told to the client. Default: `traefik`.
    pub(crate) realm: String,
    /// Takes `Authorization` off the request that goes on. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) remove_header: bool,
    /// Request header that gets the user's name. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) header_field: String,
}

impl Default for DigestAuth {
    fn default() -> Self {
        Self {
            users: Secrets::default(),
            users_file: FileOrContent::default(),
            realm: "traefik".to_owned(),
            remove_header: false,
            header_field: String::new(),
        }
    }
}

impl Build for DigestAuth {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        Ok(Arc::new(self.guard(Instant::now())?))
    }
}

impl DigestAuth {
    fn guard(&self, now: Instant) -> Result<Guard, BuildError> {
        let realm = if self.realm.is_empty() { "traefik" } else { &self.realm };
        let mut users = HashMap::new();
        for line in secret::lines(&self.users, &self.users_file) {
            let (name, of, user) = parse(line)?;
            if of == realm {
                users.insert(name.to_owned(), user);
            } else {
                tracing::warn!(user = name, realm = of, "another realm: this user cannot log in");
            }
        }
        if users.is_empty() {
            return Err(BuildError::Other(format!(
                "no user of the realm `{realm}`: give `users` or `usersFile`"
            )));
        }
        let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
        HeaderValue::try_from(&quoted)
            .map_err(|error| BuildError::option("realm", error.to_string()))?;
        let header_field = match self.header_field.as_str() {
            "" => None,
            name => Some(HeaderName::try_from(name).map_err(|error| {
                BuildError::option("headerField", format!("`{name}`: {error}"))
            })?),
        };
        Ok(Guard {
            users,
            stand_in: hex::lower(&rand::random::<[u8; 16]>()),
            realm: realm.to_owned(),
            quoted_realm: quoted,
            opaque: hex::lower(&rand::random::<[u8; 16]>()),
            nonces: Nonces::new(rand::random(), now),
            header_field,
            remove_header: self.remove_header,
        })
    }
}

struct User {
    /// What `headerField` gets.
    name: HeaderValue,
    /// MD5 of name, realm and password, in lower-case hex.
    ha1: String,
}

/// `name:realm:HA1`. Messages show the name only.
fn parse(line: &str) -> Result<(&str, &str, User), BuildError> {
    let problem = |text: String| BuildError::option("users", text);
    let mut parts = line.split(':');
    let (Some(name), Some(realm), Some(ha1), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(problem("an entry is not `name:realm:HA1`".to_owned()));
    };
    if ha1.len() != 32 || !ha1.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(problem(format!("user `{name}`: the third part is no MD5 digest in hex")));
    }
    let value =
        HeaderValue::try_from(name).map_err(|error| problem(format!("user `{name}`: {error}")))?;
    Ok((name, realm, User { name: value, ha1: ha1.to_ascii_lowercase() }))
}

struct Guard {
    users: HashMap<String, User>,
    /// Compared with where the user does not exist: nothing fits it, and the time does not tell.
    stand_in: String,
    realm: String,
    quoted_realm: String,
    opaque: String,
    nonces: Nonces,
    header_field: Option<HeaderName>,
    remove_header: bool,
}

#[async_trait]
impl Middleware for Guard {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let now = Instant::now();
        let Some(credentials) = Credentials::of(request.headers()) else {
            return Ok(self.refusal(now, false));
        };
        request.exchange().record().username = Some(credentials.username.clone());
        let user = match self.check(&credentials, request.method(), request.uri(), now) {
            Ok(user) => user,
            Err(Refused { stale }) => return Ok(self.refusal(now, stale)),
        };
        if let Some(field) = &self.header_field {
            request.headers_mut().insert(field.clone(), user.name.clone());
        }
        if self.remove_header {
            request.headers_mut().remove(header::AUTHORIZATION);
        }
        next.run(request).await
    }
}

/// Why a request may not pass.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    /// Name and password are right: the client may try again with a new nonce, without asking its user.
    stale: bool,
}

impl Guard {
    fn check(
        &self,
        given: &Credentials,
        method: &Method,
        target: &Uri,
        now: Instant,
    ) -> Result<&User, Refused> {
        let refused = Refused { stale: false };
        let as_told = given.opaque == self.opaque
            && given.qop == "auth"
            && given.realm.as_deref().is_none_or(|realm| realm == self.realm)
            && given.algorithm.as_deref().is_none_or(|name| name.eq_ignore_ascii_case("MD5"));
        if !as_told || !is_same_target(&given.uri, target) {
            return Err(refused);
        }
        let user = self.users.get(&given.username);
        let ha1 = user.map_or(self.stand_in.as_str(), |user| user.ha1.as_str());
        let expected = given.response_for(ha1, method.as_str());
        let fits: bool = expected.as_bytes().ct_eq(given.response.as_bytes()).into();
        let Some(user) = user.filter(|_| fits) else { return Err(refused) };
        let count = u32::from_str_radix(&given.nc, 16).map_err(|_error| refused)?;
        match self.nonces.take(&given.nonce, count, now) {
            Use::First => Ok(user),
            Use::Stale => Err(Refused { stale: true }),
        }
    }

    fn refusal(&self, now: Instant, stale: bool) -> Response {
        let challenge = format!(
            "Digest realm=\"{}\", nonce=\"{}\", opaque=\"{}\", algorithm=MD5, qop=\"auth\"{}",
            self.quoted_realm,
            self.nonces.issue(rand::random(), now),
            self.opaque,
            if stale { ", stale=true" } else { "" },
        );
        let mut response = Response::new(Body::from("401 Unauthorized\n"));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// True if `uri` is the target that came. The entry point may have normalised its path and the `;` in its query.
fn is_same_target(uri: &str, target: &Uri) -> bool {
    let came = target.path_and_query().map_or("", |target| target.as_str());
    if uri == came {
        return true;
    }
    let relative = match uri.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => uri,
    };
    let (given_path, given_query) = relative.split_once('?').unwrap_or((relative, ""));
    let (came_path, came_query) = came.split_once('?').unwrap_or((came, ""));
    let plain = |text: &str| text.replace("%3B", "&").replace("%3b", "&").replace(';', "&");
    let (given_path, came_path) = (path::clean(given_path), path::clean(came_path));
    plain(given_query) == plain(came_query)
        && path::decode(&given_path).is_some_and(|given| Some(given) == path::decode(&came_path))
}

fn md5(parts: &[&str]) -> String {
    let mut digest = Md5::new();
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            digest.update(b":");
        }
        digest.update(part.as_bytes());
    }
    hex::lower(&digest.finalize())
}

#[cfg(test)]
mod tests;
