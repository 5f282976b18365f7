//! `basicAuth`: asks for a name and a password (RFC 7617).
//!
//! Traefik v3: HTTP middlewares, `BasicAuth`.

mod hash;
mod known;

use std::collections::HashMap;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use self::hash::Hash;
use self::known::Known;
use super::secret::{self, Secrets};
use super::{Build, BuildContext, BuildError, Middleware, Next, Shared, is_default};
use crate::config::value::FileOrContent;
use crate::http::{Body, ProxyError, Request, Response};

/// Options of `basicAuth`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct BasicAuth {
    /// `name:hash`; hashes are bcrypt, MD5 as Apache has it (`$apr1$`), or `{SHA}`. They win over the file's.
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

impl Default for BasicAuth {
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

impl Build for BasicAuth {
    fn build(&self, _: &BuildContext<'_>) -> Result<Shared, BuildError> {
        let mut users = HashMap::new();
        for line in secret::lines(&self.users, &self.users_file) {
            let (name, user) = parse(line)?;
            users.insert(name, user);
        }
        let slowest = users.values().filter_map(|user| user.hash.clone());
        let Some(stand_in) = slowest.max_by_key(|hash| hash.work()) else {
            return Err(BuildError::Other(
                "no user with a usable hash: give `users` or `usersFile`".to_owned(),
            ));
        };
        let realm = if self.realm.is_empty() { "traefik" } else { &self.realm };
        let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{quoted}\""))
            .map_err(|error| BuildError::option("realm", error.to_string()))?;
        let header_field = match self.header_field.as_str() {
            "" => None,
            name => Some(HeaderName::try_from(name).map_err(|error| {
                BuildError::option("headerField", format!("`{name}`: {error}"))
            })?),
        };
        Ok(Arc::new(Guard {
            users,
            stand_in,
            challenge,
            header_field,
            remove_header: self.remove_header,
            known: Known::new(),
            slots: Semaphore::new(COMPARISONS_MAX),
        }))
    }
}

/// Slow comparisons at once; more wait for their turn, so that guessing does not take all cores.
const COMPARISONS_MAX: usize = 4;

/// Longer passwords are refused: comparing costs in proportion, and a head may hold megabytes.
const PASSWORD_BYTES_MAX: usize = 4096;

struct User {
    /// What `headerField` gets.
    name: HeaderValue,
    /// `None` for a kind that we do not know: no password fits.
    hash: Option<Arc<Hash>>,
}

/// `name:hash`. Messages show the name only.
fn parse(line: &str) -> Result<(String, User), BuildError> {
    let problem = |text: String| BuildError::option("users", text);
    let (name, hash) =
        line.split_once(':').ok_or_else(|| problem("an entry is not `name:hash`".to_owned()))?;
    let value =
        HeaderValue::try_from(name).map_err(|error| problem(format!("user `{name}`: {error}")))?;
    let hash = Hash::parse(hash).map(Arc::new);
    if hash.is_none() {
        tracing::warn!(user = name, "kind of password hash is unknown; nobody can log in with it");
    }
    Ok((name.to_owned(), User { name: value, hash }))
}

struct Guard {
    users: HashMap<String, User>,
    /// Compared with where the user does not exist, so that the time does not tell.
    stand_in: Arc<Hash>,
    challenge: HeaderValue,
    header_field: Option<HeaderName>,
    remove_header: bool,
    known: Known,
    slots: Semaphore,
}

#[async_trait]
impl Middleware for Guard {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Response, ProxyError> {
        let Some((name, password)) = credentials(request.headers()) else {
            return Ok(self.refusal());
        };
        request.exchange().record().username = Some(name.clone());
        let user = self.users.get(&name);
        let fits = self.fits(user, &name, password).await;
        let Some(user) = user.filter(|_| fits) else { return Ok(self.refusal()) };
        if let Some(field) = &self.header_field {
            request.headers_mut().insert(field.clone(), user.name.clone());
        }
        if self.remove_header {
            request.headers_mut().remove(header::AUTHORIZATION);
        }
        next.run(request).await
    }
}

impl Guard {
    /// Compares off the runtime, since a slow hash would hold up a whole core.
    async fn fits(&self, user: Option<&User>, name: &str, password: Zeroizing<Vec<u8>>) -> bool {
        if password.len() > PASSWORD_BYTES_MAX {
            return false;
        }
        let key = self.known.key(name, &password);
        if user.is_some() && self.known.contains(&key) {
            return true;
        }
        let own = user.and_then(|user| user.hash.clone());
        let real = own.is_some();
        let hash = own.unwrap_or_else(|| self.stand_in.clone());
        let Ok(_slot) = self.slots.acquire().await else { return false };
        let compared = tokio::task::spawn_blocking(move || hash.fits(&password)).await;
        let fits = real && compared.unwrap_or(false);
        if fits {
            self.known.insert(key);
        }
        fits
    }

    fn refusal(&self) -> Response {
        let mut response = Response::new(Body::from("401 Unauthorized\n"));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(header::WWW_AUTHENTICATE, self.challenge.clone());
        response
    }
}

/// Name and password of `Authorization: Basic`.
fn credentials(headers: &HeaderMap) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8(decoded.get(..colon)?.to_vec()).ok()?;
    Some((name, Zeroizing::new(decoded.get(colon + 1..)?.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::{
        answered, fine, header, passed, refused, request, response, text,
    };

    fn staff() -> BasicAuth {
        serde_json::from_str(
            r##"{"realm": "Staff only", "removeHeader": true, "headerField": "X-Remote-User",
                "usersFile": "# staff\n\nfil:$apr1$Zx9Kp0aB$CFdSdmYaKbUymtOjMwb3n.\nsam:{SHA}AAAA\n",
                "users": ["sam:{SHA}xO2etOilyqtV8o1RvvnmkeBx7QI=",
                    "bee:$2b$05$abcdefghijklmnopqrstuu5pFdyc0GgWksgmud1u7jr9HzIOmqgum"]}"##,
        )
        .unwrap()
    }

    fn login(name: &str, password: &str) -> Request {
        let value = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
        request("GET", "/", &[("authorization", &value), ("x-remote-user", "root")])
    }

    #[tokio::test]
    async fn good_passwords_pass_and_the_header_tells_the_name() {
        for (name, password) in [("sam", "sha-pass"), ("bee", "bee-crypt"), ("fil", "file-pass")] {
            let seen = passed(&staff(), login(name, password)).await;
            assert_eq!(header(seen.headers(), "x-remote-user"), name);
            assert_eq!(header(seen.headers(), "authorization"), "");
            assert_eq!(seen.exchange().record().username.as_deref(), Some(name));
        }
    }

    #[tokio::test]
    async fn everything_else_is_refused_with_the_realm() {
        for asked in [
            login("sam", "wrong"),
            login("eve", "sha-pass"),
            login("sam", &"x".repeat(PASSWORD_BYTES_MAX + 1)),
            request("GET", "/", &[]),
            request("GET", "/", &[("authorization", "Bearer x")]),
            request("GET", "/", &[("authorization", "Basic %%%")]),
            request("GET", "/", &[("authorization", "Basic")]),
        ] {
            let answer = response(&staff(), asked).await;
            assert_eq!(answer.status(), 401);
            assert_eq!(header(answer.headers(), "www-authenticate"), "Basic realm=\"Staff only\"");
            assert_eq!(text(answer.into_body()).await, "401 Unauthorized\n");
        }
    }

    #[tokio::test]
    async fn inline_users_win_over_the_file() {
        let mut options = staff();
        options.users = Secrets(vec!["fil:{SHA}xO2etOilyqtV8o1RvvnmkeBx7QI=".to_owned()]);
        let ok = answered(&options, login("fil", "sha-pass"), fine).await.unwrap();
        assert_eq!(ok.status(), 200);
        assert_eq!(response(&options, login("fil", "file-pass")).await.status(), 401);
    }

    #[tokio::test]
    async fn an_empty_realm_is_the_default_and_quotes_are_escaped() {
        for (realm, shown) in [("", "traefik"), ("a \"b\"", "a \\\"b\\\"")] {
            let options = BasicAuth { realm: realm.to_owned(), ..staff() };
            let answer = response(&options, request("GET", "/", &[])).await;
            let challenge = format!("Basic realm=\"{shown}\"");
            assert_eq!(header(answer.headers(), "www-authenticate"), challenge);
        }
    }

    #[test]
    fn refuses_to_guard_without_users() {
        let none = "no user with a usable hash: give `users` or `usersFile`";
        assert_eq!(refused(&BasicAuth::default()), none);
        let odd = BasicAuth { users: Secrets(vec!["a".to_owned()]), ..Default::default() };
        assert_eq!(refused(&odd), "option `users`: an entry is not `name:hash`");
    }
}
