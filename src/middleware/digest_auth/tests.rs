//! Logins as clients do them, and what must not pass for one.

use std::time::Duration;

use super::*;
use crate::middleware::testing::{built, header, refused, request, service, text};

fn vault() -> DigestAuth {
    let options = r##"{"realm": "vault", "headerField": "X-Remote-User", "removeHeader": true,
        "usersFile": "# staff\nvic:vault:00000000000000000000000000000000\nold:cellar:00000000000000000000000000000000\n",
        "users": ["vic:vault:FB4C718971B5140B18FE1641799383BE"]}"##;
    serde_json::from_str(options).unwrap()
}

fn part(challenge: &str, name: &str) -> String {
    let (_, rest) = challenge.split_once(&format!("{name}=\"")).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// The challenge of a guard.
async fn challenge(guard: &Shared) -> String {
    let last = service(|_| Err(ProxyError::NoServer));
    let answer = guard.handle(request("GET", "/", &[]), Next::directly(&last)).await.unwrap();
    assert_eq!(answer.status(), 401);
    let challenge = header(answer.headers(), "www-authenticate").to_owned();
    assert_eq!(text(answer.into_body()).await, "401 Unauthorized\n");
    challenge
}

struct Login<'a> {
    name: &'a str,
    password: &'a str,
    method: &'a str,
    uri: &'a str,
    count: &'a str,
}

const GOOD: Login<'static> = Login {
    name: "vic",
    password: "letmein",
    method: "GET",
    uri: "/secret?x=1",
    count: "00000001",
};

impl Login<'_> {
    fn line(&self, challenge: &str) -> String {
        let (nonce, opaque) = (part(challenge, "nonce"), part(challenge, "opaque"));
        let ha1 = md5(&[self.name, "vault", self.password]);
        let ha2 = md5(&[self.method, self.uri]);
        let response = md5(&[&ha1, &nonce, self.count, "abc", "auth", &ha2]);
        format!(
            "Digest username=\"{}\", realm=\"vault\", nonce=\"{nonce}\", uri=\"{}\", qop=auth, nc={}, cnonce=\"abc\", \
             response=\"{response}\", opaque=\"{opaque}\"",
            self.name, self.uri, self.count
        )
    }
}

/// Status and challenge of a request for `/secret?x=1` with an `Authorization`.
async fn asked(guard: &Shared, line: &str) -> (u16, String) {
    let asked =
        request("GET", "/secret?x=1", &[("authorization", line), ("x-remote-user", "root")]);
    let last = service(|request| {
        assert_eq!(header(request.headers(), "x-remote-user"), "vic");
        assert_eq!(header(request.headers(), "authorization"), "");
        assert_eq!(request.exchange().record().username.as_deref(), Some("vic"));
        Ok(Response::new(Body::Empty))
    });
    let answer = guard.handle(asked, Next::directly(&last)).await.unwrap();
    (answer.status().as_u16(), header(answer.headers(), "www-authenticate").to_owned())
}

#[tokio::test]
async fn a_login_passes_once_and_its_repetition_is_stale() {
    let guard = built(&vault()).unwrap();
    let challenge = challenge(&guard).await;
    assert!(challenge.starts_with("Digest realm=\"vault\", nonce=\""), "{challenge}");
    assert!(challenge.ends_with(", algorithm=MD5, qop=\"auth\""), "{challenge}");
    let line = GOOD.line(&challenge);
    assert_eq!(asked(&guard, &line).await.0, 200);
    let (status, again) = asked(&guard, &line).await;
    assert_eq!(status, 401);
    assert!(again.ends_with(", stale=true"), "{again}");
    assert_eq!(asked(&guard, &Login { count: "00000002", ..GOOD }.line(&challenge)).await.0, 200);
}

/// http.md §5, `digestAuth.usersFile`: those who stand there alone may log in, and others' entries inline win.
#[tokio::test]
async fn users_of_the_file_may_log_in() {
    let file = r##"{"realm": "vault", "headerField": "X-Remote-User", "removeHeader": true,
        "usersFile": "# staff\nvic:vault:FB4C718971B5140B18FE1641799383BE\n"}"##;
    for (options, status) in [
        (file.to_owned(), 200),
        (
            file.replacen('{', r#"{"users": ["vic:vault:00000000000000000000000000000000"], "#, 1),
            401,
        ),
    ] {
        let guard = built(&serde_json::from_str::<DigestAuth>(&options).unwrap()).unwrap();
        let challenge = challenge(&guard).await;
        assert_eq!(asked(&guard, &GOOD.line(&challenge)).await.0, status, "{options}");
    }
}

#[tokio::test]
async fn nothing_else_passes_for_a_login() {
    let guard = built(&vault()).unwrap();
    let challenge = challenge(&guard).await;
    let good = GOOD.line(&challenge);
    for line in [
        Login { password: "wrong", ..GOOD }.line(&challenge),
        Login { name: "eve", ..GOOD }.line(&challenge),
        Login { name: "old", ..GOOD }.line(&challenge),
        Login { method: "POST", ..GOOD }.line(&challenge),
        Login { uri: "/other", ..GOOD }.line(&challenge),
        Login { uri: "/secret", ..GOOD }.line(&challenge),
        Login { count: "100000000", ..GOOD }.line(&challenge),
        good.replace("qop=auth", "qop=auth-int"),
        good.replace("realm=\"vault\"", "realm=\"cellar\""),
        good.replace("opaque=\"", "opaque=\"0"),
        format!("{good}, algorithm=SHA-256"),
        good.replace("response=\"", "response=\"0"),
        "Basic dmljOmxldG1laW4=".to_owned(),
    ] {
        let (status, challenge) = asked(&guard, &line).await;
        assert_eq!(status, 401, "{line}");
        assert!(!challenge.contains("stale"), "{line}");
    }
    assert_eq!(asked(&guard, &format!("{good}, algorithm=md5")).await.0, 200);
}

#[test]
fn a_good_password_with_an_old_nonce_may_try_again() {
    let now = Instant::now();
    let guard = vault().guard(now).unwrap();
    let challenge = header(guard.refusal(now, false).headers(), "www-authenticate").to_owned();
    let given = Credentials::parse(&GOOD.line(&challenge)).unwrap();
    let uri: Uri = "/secret?x=1".parse().unwrap();
    let later = now + Duration::from_mins(6);
    let outcome = guard.check(&given, &Method::GET, &uri, later).err();
    assert_eq!(outcome, Some(Refused { stale: true }));
}

#[test]
fn a_target_is_the_same_after_the_entry_point_has_cleaned_it() {
    for (uri, target, same) in [
        ("/a?b", "/a?b", true),
        ("http://x.test/a?b", "/a?b", true),
        ("/%7Ea//b/../c?x;y", "/~a/c?x&y", true),
        ("/a?x;y", "/a?x%3By", true),
        ("/a", "/ab", false),
        ("/a", "/a?b", false),
        ("/", "/a", false),
        ("/a?b", "/a?c", false),
        ("", "/", false),
    ] {
        assert_eq!(is_same_target(uri, &target.parse().unwrap()), same, "{uri} {target}");
    }
}

#[test]
fn refuses_to_guard_without_users() {
    let none = "no user of the realm `traefik`: give `users` or `usersFile`";
    assert_eq!(refused(&DigestAuth::default()), none);
    for (entry, problem) in [
        ("a:b", "option `users`: an entry is not `name:realm:HA1`"),
        ("a:traefik:xyz", "option `users`: user `a`: the third part is no MD5 digest in hex"),
    ] {
        let options =
            DigestAuth { users: Secrets(vec![entry.to_owned()]), ..DigestAuth::default() };
        assert_eq!(refused(&options), problem);
    }
}
