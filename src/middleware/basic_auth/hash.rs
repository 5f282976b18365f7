//! Password hashes as `htpasswd` writes them: bcrypt, MD5-crypt, SHA-1.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// A hash that a password is compared with.
#[derive(Clone)]
pub(super) enum Hash {
    /// `$2a$`, `$2b$`, `$2x$`, `$2y$`; with its cost.
    Bcrypt { text: String, cost: u32 },
    /// `$apr1$salt$digest`, or `$1$…`.
    Md5 { magic: String, salt: String, digest: String },
    /// `{SHA}` and the digest in Base64.
    Sha1(Vec<u8>),
}

impl Hash {
    /// `None` for kinds that are not known: no password fits them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(digest) = text.strip_prefix("{SHA}") {
            return STANDARD.decode(digest).ok().map(Self::Sha1);
        }
        let mut parts = text.strip_prefix('$')?.splitn(3, '$');
        let (kind, salt, digest) = (parts.next()?, parts.next()?, parts.next()?);
        match kind {
            "2a" | "2b" | "2x" | "2y" => {
                let cost = salt.parse().ok().filter(|cost| (4..=31).contains(cost))?;
                Some(Self::Bcrypt { text: text.to_owned(), cost })
            }
            _ => Some(Self::Md5 {
                magic: format!("${kind}$"),
                salt: salt.chars().take(8).collect(),
                digest: digest.to_owned(),
            }),
        }
    }

    /// How much work a comparison is; only the order means something.
    pub(super) fn work(&self) -> u32 {
        match self {
            Self::Bcrypt { cost, .. } => 2 + cost,
            Self::Md5 { .. } => 1,
            Self::Sha1(_) => 0,
        }
    }

    /// True if `password` has this hash. Takes long, but for SHA-1.
    pub(super) fn fits(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt { text, .. } => bcrypt::verify(password, text).unwrap_or(false),
            Self::Md5 { magic, salt, digest } => {
                let computed = encoded(&md5_crypt(password, magic.as_bytes(), salt.as_bytes()));
                computed.as_bytes().ct_eq(digest.as_bytes()).into()
            }
            Self::Sha1(digest) => sha1::Sha1::digest(password).as_slice().ct_eq(digest).into(),
        }
    }
}

/// The MD5-crypt of FreeBSD, which Apache uses with another magic.
fn md5_crypt(password: &[u8], magic: &[u8], salt: &[u8]) -> [u8; 16] {
    let inner: [u8; 16] = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize()
        .into();
    let mut outer = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    for part in password.chunks(16) {
        outer.update(inner.get(..part.len()).unwrap_or_default());
    }
    let first = password.get(..1).unwrap_or_default();
    let mut rest = password.len();
    while rest > 0 {
        outer.update(if rest & 1 == 1 { b"\0".as_slice() } else { first });
        rest >>= 1;
    }
    let mut digest: [u8; 16] = outer.finalize().into();
    for round in 0..1000 {
        let odd = round & 1 == 1;
        let mut next = Md5::new();
        next.update(if odd { password } else { &digest });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if odd { &digest } else { password });
        digest = next.finalize().into();
    }
    digest
}

/// MD5-crypt's own Base64: six bits a character, lowest first, bytes in an order of its own.
fn encoded(digest: &[u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15] = *digest;
    let groups = [
        (b0, b6, b12, 4),
        (b1, b7, b13, 4),
        (b2, b8, b14, 4),
        (b3, b9, b15, 4),
        (b4, b10, b5, 4),
        (0, 0, b11, 2),
    ];
    let mut text = String::with_capacity(22);
    for (high, middle, low, characters) in groups {
        let mut bits = u32::from(high) << 16 | u32::from(middle) << 8 | u32::from(low);
        for _ in 0..characters {
            let index = usize::try_from(bits & 63).unwrap_or(0);
            text.push(ALPHABET.get(index).copied().map_or('.', char::from));
            bits >>= 6;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_htpasswd_fit() {
        for (text, password) in [
            ("$apr1$Qw3rTy12$uszLBGq.JX9iCCfQzCQ6q0", "open sesame"),
            ("$apr1$Zx9Kp0aB$CFdSdmYaKbUymtOjMwb3n.", "file-pass"),
            ("$2b$05$abcdefghijklmnopqrstuu5pFdyc0GgWksgmud1u7jr9HzIOmqgum", "bee-crypt"),
            ("{SHA}xO2etOilyqtV8o1RvvnmkeBx7QI=", "sha-pass"),
        ] {
            let hash = Hash::parse(text).unwrap();
            assert!(hash.fits(password.as_bytes()), "{text}");
            assert!(!hash.fits(b"wrong"), "{text}");
            assert!(!hash.fits(b""), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_hashes() {
        for text in ["", "plain", "$", "$2b$99$x", "$apr1$salt", "{SHA}%%"] {
            assert!(Hash::parse(text).is_none(), "{text}");
        }
    }
}
