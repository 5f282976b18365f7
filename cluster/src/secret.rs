//! The cluster secret: what it must be, and the keys that are derived from it.
//!
//! Sealing is AES-256-GCM. Each process seals under a key of its own, made of the secret and a
//! random salt that stands in front of what is sealed, so that a counter is a safe nonce however
//! many records are written (random nonces under one key are safe for 2^32 records only).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use crate::lock;

/// Shortest secret, in characters.
const SECRET_CHARACTERS_MIN: usize = 32;
/// Fewest different characters: `aaaa…` is long, but no secret.
const SECRET_VARIETY_MIN: usize = 10;
/// Most secrets accepted at one time.
const SECRETS_MAX: usize = 16;
/// Derived keys kept; each process that ever sealed something has one.
const KEYS_MAX: usize = 256;

const ID: usize = 4;
const SALT: usize = 16;
const COUNTER: usize = 8;
const TAG: usize = 16;
const HEADER: usize = ID + SALT + COUNTER;

/// What is wrong with a secret, or with something that was sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No secret was given.
    #[error("no cluster secret: make one with `pontoon cluster secret`")]
    None,
    /// More than 16 secrets.
    #[error("more than {SECRETS_MAX} cluster secrets")]
    TooMany,
    /// Too short, or too uniform.
    #[error(
        "cluster secret {0} is too weak: it needs at least {SECRET_CHARACTERS_MIN} characters, \
         {SECRET_VARIETY_MIN} of them different; make one with `pontoon cluster secret`"
    )]
    Weak(usize),
    /// Sealed under a secret that is not among the accepted ones.
    #[error("sealed under another cluster secret: add that secret as a further line")]
    Unknown,
    /// Changed since it was sealed, or never sealed.
    #[error("what was sealed is damaged")]
    Damaged,
    /// The cryptographic library failed.
    #[error("cannot seal")]
    Library,
}

/// A new secret: 256 random bits, in hexadecimal.
pub fn new_secret() -> Result<String, Error> {
    let mut bytes = [0_u8; 32];
    random(&mut bytes)?;
    Ok(hexadecimal(&bytes))
}

pub(crate) fn random(bytes: &mut [u8]) -> Result<(), Error> {
    aws_lc_rs::rand::fill(bytes).map_err(|aws_lc_rs::error::Unspecified| Error::Library)
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// One checked secret.
#[derive(Clone)]
pub(crate) struct Secret {
    text: String,
    id: [u8; ID],
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Secret").finish_non_exhaustive()
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Secret {
    fn new(text: &str, place: usize) -> Result<Self, Error> {
        let mut characters: Vec<char> = text.chars().collect();
        let long = characters.len() >= SECRET_CHARACTERS_MIN;
        characters.sort_unstable();
        characters.dedup();
        if !long || characters.len() < SECRET_VARIETY_MIN {
            return Err(Error::Weak(place));
        }
        let mut secret = Self { text: text.to_owned(), id: [0; ID] };
        secret.id = secret.derive(&[b"key id"])?;
        Ok(secret)
    }

    /// Bytes for one purpose; those for another purpose say nothing about them.
    pub(crate) fn derive<const N: usize>(&self, purpose: &[&[u8]]) -> Result<[u8; N], Error> {
        let prk: Prk = Salt::new(HKDF_SHA256, b"pontoon cluster 1").extract(self.text.as_bytes());
        let mut bytes = [0; N];
        prk.expand(purpose, Length(N))
            .and_then(|key| key.fill(&mut bytes))
            .map_err(|aws_lc_rs::error::Unspecified| Error::Library)?;
        Ok(bytes)
    }

    pub(crate) fn name(&self) -> String {
        hexadecimal(&self.id)
    }
}

/// Checks secrets; empty lines and those that begin with `#` are passed over.
pub(crate) fn parse(lines: &[String]) -> Result<Vec<Secret>, Error> {
    let lines = lines.iter().flat_map(|line| line.lines()).map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let secrets: Vec<Secret> = lines
        .enumerate()
        .map(|(place, line)| Secret::new(line, place + 1))
        .collect::<Result<_, _>>()?;
    match secrets.len() {
        0 => Err(Error::None),
        1..=SECRETS_MAX => Ok(secrets),
        _ => Err(Error::TooMany),
    }
}

/// Says whether secrets can be used, and why not.
pub fn check_secrets(lines: &[String]) -> Result<(), Error> {
    parse(lines).map(drop)
}

type Keys = BTreeMap<([u8; ID], [u8; SALT]), std::sync::Arc<LessSafeKey>>;

/// Seals with the first secret, opens with any.
pub(crate) struct Keyring {
    secrets: Vec<Secret>,
    own: LessSafeKey,
    prefix: Vec<u8>,
    counter: AtomicU64,
    keys: Mutex<Keys>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keyring").finish_non_exhaustive()
    }
}

fn sealing_key(secret: &Secret, salt: &[u8]) -> Result<LessSafeKey, Error> {
    let key: [u8; 32] = secret.derive(&[b"seal", salt])?;
    let key = UnboundKey::new(&AES_256_GCM, &key)
        .map_err(|aws_lc_rs::error::Unspecified| Error::Library)?;
    Ok(LessSafeKey::new(key))
}

fn nonce(counter: [u8; COUNTER]) -> Nonce {
    let mut nonce = [0; 12];
    for (to, from) in nonce.iter_mut().skip(4).zip(counter) {
        *to = from;
    }
    Nonce::assume_unique_for_key(nonce)
}

impl Keyring {
    pub(crate) fn new(secrets: Vec<Secret>) -> Result<Self, Error> {
        let first = secrets.first().ok_or(Error::None)?;
        let mut salt = [0; SALT];
        random(&mut salt)?;
        let own = sealing_key(first, &salt)?;
        let prefix = [first.id.as_slice(), &salt].concat();
        let (counter, keys) = (AtomicU64::new(0), Mutex::default());
        Ok(Self { secrets, own, prefix, counter, keys })
    }

    /// Seals `plain`; it opens only with the same `purpose`.
    pub(crate) fn seal(&self, purpose: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut text = Vec::with_capacity(HEADER + plain.len() + TAG);
        text.extend_from_slice(plain);
        let tag = self
            .own
            .seal_in_place_separate_tag(nonce(counter), Aad::from(purpose), &mut text)
            .map_err(|aws_lc_rs::error::Unspecified| Error::Library)?;
        Ok([self.prefix.as_slice(), &counter, &text, tag.as_ref()].concat())
    }

    pub(crate) fn open(&self, purpose: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let (id, rest) = sealed.split_first_chunk::<ID>().ok_or(Error::Damaged)?;
        let (salt, rest) = rest.split_first_chunk::<SALT>().ok_or(Error::Damaged)?;
        let (counter, text) = rest.split_first_chunk::<COUNTER>().ok_or(Error::Damaged)?;
        let key = self.key(*id, *salt)?;
        let mut text = text.to_vec();
        let length = key
            .open_in_place(nonce(*counter), Aad::from(purpose), &mut text)
            .map_err(|aws_lc_rs::error::Unspecified| Error::Damaged)?
            .len();
        text.truncate(length);
        Ok(text)
    }

    fn key(&self, id: [u8; ID], salt: [u8; SALT]) -> Result<std::sync::Arc<LessSafeKey>, Error> {
        let mut keys = lock(&self.keys);
        if let Some(key) = keys.get(&(id, salt)) {
            return Ok(key.clone());
        }
        let secret = self.secrets.iter().find(|secret| secret.id == id).ok_or(Error::Unknown)?;
        let key = std::sync::Arc::new(sealing_key(secret, &salt)?);
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        keys.insert((id, salt), key.clone());
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(lines: &[&str]) -> Keyring {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        Keyring::new(parse(&lines).unwrap()).unwrap()
    }

    #[test]
    fn opens_what_any_accepted_secret_sealed_and_nothing_else() {
        let (old, new) = (new_secret().unwrap(), new_secret().unwrap());
        let before = keyring(&[&old]);
        let rotated = keyring(&[&new, &old]);
        let after = keyring(&[&new]);
        let sealed = before.seal(b"log", b"hello").unwrap();
        assert_eq!(rotated.open(b"log", &sealed).unwrap(), b"hello");
        assert_eq!(after.open(b"log", &sealed), Err(Error::Unknown));
        assert_eq!(rotated.open(b"state", &sealed), Err(Error::Damaged));
        let newer = rotated.seal(b"log", b"again").unwrap();
        assert_eq!(after.open(b"log", &newer).unwrap(), b"again");
        assert_eq!(before.open(b"log", &newer), Err(Error::Unknown));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let keyring = keyring(&[&new_secret().unwrap()]);
        let sealed = keyring.seal(b"log", b"hello").unwrap();
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= 1;
            assert!(keyring.open(b"log", &damaged).is_err());
            assert!(keyring.open(b"log", &sealed[..place]).is_err());
        }
    }

    #[test]
    fn weak_secrets_are_refused() {
        let check = |line: &str| check_secrets(&[line.to_owned()]);
        assert_eq!(check("# only a comment"), Err(Error::None));
        assert_eq!(check("short"), Err(Error::Weak(1)));
        assert_eq!(check(&"a".repeat(64)), Err(Error::Weak(1)));
        assert_eq!(check(&new_secret().unwrap()), Ok(()));
    }
}
