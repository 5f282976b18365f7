//! Who may call: bearer tokens from `api.tokenFile`, re-read when the file changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use tracing::{info, warn};

use super::problem::Problem;

/// Largest token file in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 1024;
/// At most this often the file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What a token allows; each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Read,
    Write,
    Admin,
}

impl Role {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "read" => Self::Read,
            "write" => Self::Write,
            "admin" => Self::Admin,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    name: Arc<str>,
    role: Role,
    digest: [u8; 32],
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("reading {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}:{line}: {problem}")]
    Line { path: PathBuf, line: usize, problem: String },
}

/// The tokens of one file.
pub(crate) struct Tokens {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    tokens: Arc<[Token]>,
    stamp: Option<(SystemTime, u64)>,
    looked: Instant,
}

impl Tokens {
    /// Reads the file. Every later problem with it is logged, and the last good tokens stay.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let stamp = stamp(path);
        let tokens = read(path)?;
        let state = State { tokens, stamp, looked: Instant::now() };
        Ok(Self { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// The name of the token that the request carries, if it allows `role`.
    pub(crate) fn check(&self, headers: &HeaderMap, role: Role) -> Result<Arc<str>, Problem> {
        let tokens = self.current();
        let token = bearer(headers)
            .and_then(|token| find(&tokens, token))
            .ok_or_else(|| unauthorized("a valid bearer token is needed"))?;
        if token.role < role {
            let detail = format!(
                "token `{}` has the role {}, this call needs {}",
                token.name,
                token.role.as_str(),
                role.as_str()
            );
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        Ok(token.name.clone())
    }

    /// Looks at the file again. Reads it where it is another than the last time: call it where blocking is allowed.
    fn current(&self) -> Arc<[Token]> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < LOOK_INTERVAL {
            return state.tokens.clone();
        }
        state.looked = Instant::now();
        let stamp = stamp(&self.path);
        if stamp != state.stamp {
            state.stamp = stamp;
            match read(&self.path) {
                Ok(tokens) => {
                    info!(tokens = tokens.len(), "token file read again");
                    state.tokens = tokens;
                }
                Err(error) => warn!(%error, "token file not usable; the last tokens stay"),
            }
        }
        state.tokens.clone()
    }
}

fn unauthorized(detail: &str) -> Problem {
    let challenge = HeaderValue::from_static("Bearer realm=\"pontoon\"");
    Problem::new(StatusCode::UNAUTHORIZED, detail).header(header::WWW_AUTHENTICATE, challenge)
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    let usable = scheme.eq_ignore_ascii_case("bearer")
        && values.next().is_none()
        && !token.is_empty()
        && token.len() <= TOKEN_BYTES_MAX;
    usable.then_some(token)
}

/// Compares with all, each in constant time.
fn find<'a>(tokens: &'a [Token], given: &str) -> Option<&'a Token> {
    let digest: [u8; 32] = Sha256::digest(given).into();
    let mut found = None;
    for token in tokens {
        if bool::from(token.digest.ct_eq(&digest)) {
            found = Some(token);
        }
    }
    found
}

/// Time of the last change and size.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> Result<Arc<[Token]>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > FILE_BYTES_MAX {
        let problem = format!("larger than {FILE_BYTES_MAX} bytes");
        return Err(Error::Line { path: path.to_owned(), line: 1, problem });
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(&text).map_err(|(line, problem)| Error::Line { path: path.to_owned(), line, problem })
}

/// The tokens, or the line with a mistake, from 1.
fn parse(text: &str) -> Result<Arc<[Token]>, (usize, String)> {
    let mut tokens: Vec<Token> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let token = parse_line(line).map_err(|problem| (number, problem))?;
        if tokens.iter().any(|known| known.name == token.name) {
            return Err((number, format!("the name `{}` stands twice", token.name)));
        }
        tokens.push(token);
    }
    Ok(tokens.into())
}

fn parse_line(line: &str) -> Result<Token, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, role, digest] = words[..] else {
        return Err("expected `name role sha256:HEX`".to_owned());
    };
    if name.len() > 128 {
        return Err("the name is longer than 128 bytes".to_owned());
    }
    let role = Role::parse(role)
        .ok_or_else(|| format!("unknown role `{role}`: use read, write or admin"))?;
    let digest = digest
        .strip_prefix("sha256:")
        .and_then(unhex)
        .ok_or("the digest is not `sha256:` and 64 hex digits")?;
    Ok(Token { name: name.into(), role, digest })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, role: &str, token: &str) -> String {
        let hex = crate::hex::lower(&Sha256::digest(token));
        format!("{name} {role} sha256:{hex}")
    }

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn lines_and_comments_are_read() {
        let text = format!(
            "# all\n\n{} # ann's\n{}\n",
            line("ann", "write", "a"),
            line("bob", "read", "b")
        );
        let tokens = parse(&text).unwrap();
        assert_eq!(tokens.len(), 2);
        assert_eq!(&*find(&tokens, "a").unwrap().name, "ann");
        assert_eq!(find(&tokens, "b").unwrap().role, Role::Read);
        assert_eq!(find(&tokens, "c"), None);
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, problem) in [
            ("\nann write", "expected `name role sha256:HEX`"),
            ("\nann owner sha256:00", "unknown role `owner`: use read, write or admin"),
            ("\nann write sha256:00", "the digest is not `sha256:` and 64 hex digits"),
        ] {
            assert_eq!(parse(text).unwrap_err(), (2, problem.to_owned()));
        }
        let twice = format!("{}\n{}", line("ann", "write", "a"), line("ann", "read", "b"));
        assert_eq!(parse(&twice).unwrap_err().0, 2);
    }

    #[test]
    fn a_role_allows_what_lies_below_it() {
        let tokens = parse(&line("ann", "write", "secret")).unwrap();
        let state = State { tokens, stamp: None, looked: Instant::now() };
        let tokens = Tokens { path: PathBuf::new(), state: Mutex::new(state) };
        let given = headers("Bearer secret");
        assert_eq!(&*tokens.check(&given, Role::Read).unwrap(), "ann");
        assert_eq!(&*tokens.check(&given, Role::Write).unwrap(), "ann");
        assert_eq!(tokens.check(&given, Role::Admin).unwrap_err().status(), 403);
        let wrong = headers("Bearer other");
        assert_eq!(tokens.check(&wrong, Role::Read).unwrap_err().status(), 401);
        let basic = headers("Basic secret");
        assert_eq!(tokens.check(&basic, Role::Read).unwrap_err().status(), 401);
        assert_eq!(tokens.check(&HeaderMap::new(), Role::Read).unwrap_err().status(), 401);
    }
}
