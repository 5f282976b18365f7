//! Backups: all documents in one sealed file.

use prost::Message as _;

use crate::codec::{self, proto};
use crate::command::Restore;
use crate::secret::{self, Keyring};

const MAGIC: &[u8; 17] = b"pontoon backup 1\n";
const CHECKSUM: usize = 32;

/// Why a backup cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not made by `pontoon cluster backup`.
    #[error("this is not a backup of pontoon, or one of a newer release")]
    Foreign,
    /// The end is missing, or there is something after it.
    #[error("the backup has {found} bytes instead of {expected}: it was not copied whole")]
    Length {
        /// As the backup says.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// The checksum does not match.
    #[error("the backup is damaged: its checksum does not match")]
    Damaged,
    /// Sealed under another secret, or it cannot be sealed.
    #[error("cannot open the backup")]
    Sealed(#[from] secret::Error),
}

fn digest(bytes: &[u8]) -> aws_lc_rs::digest::Digest {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes)
}

pub(crate) fn encode(keyring: &Keyring, documents: &Restore) -> Result<Vec<u8>, Error> {
    let sealed = keyring.seal(MAGIC, &codec::restore_to(documents).encode_to_vec())?;
    let length = (sealed.len() as u64).to_be_bytes();
    let mut bytes = [MAGIC.as_slice(), &length, &sealed].concat();
    let checksum = digest(&bytes);
    bytes.extend_from_slice(checksum.as_ref());
    Ok(bytes)
}

pub(crate) fn decode(keyring: &Keyring, bytes: &[u8]) -> Result<Restore, Error> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(Error::Foreign)?;
    let (length, rest) = rest.split_first_chunk().ok_or(Error::Foreign)?;
    let whole = (MAGIC.len() + length.len() + CHECKSUM) as u64;
    let expected = u64::from_be_bytes(*length).saturating_add(whole);
    let found = bytes.len() as u64;
    let (sealed, checksum) = rest
        .split_last_chunk::<CHECKSUM>()
        .filter(|_| expected == found)
        .ok_or(Error::Length { expected, found })?;
    let covered = bytes.len() - CHECKSUM;
    let computed = bytes.get(..covered).map(digest);
    if computed.is_none_or(|computed| computed.as_ref() != checksum) {
        return Err(Error::Damaged);
    }
    let plain = keyring.open(MAGIC, sealed)?;
    let message = proto::Restore::decode(bytes::Bytes::from(plain));
    Ok(codec::restore_of(message.map_err(|_undecodable| Error::Foreign)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring() -> Keyring {
        Keyring::new(secret::parse(&[secret::new_secret().unwrap()]).unwrap()).unwrap()
    }

    #[test]
    fn says_what_is_wrong_with_a_backup() {
        let (ours, theirs) = (keyring(), keyring());
        let entries = vec![("http/routers/api".to_owned(), "{}".into())];
        let restore = Restore { documents: vec![("cluster".to_owned(), entries)], force: false };
        let bytes = encode(&ours, &restore).unwrap();
        assert_eq!(decode(&ours, &bytes).unwrap(), restore);
        assert_eq!(decode(&theirs, &bytes), Err(Error::Sealed(secret::Error::Unknown)));
        assert_eq!(decode(&ours, b"PK"), Err(Error::Foreign));
        let cut = decode(&ours, &bytes[..bytes.len() - 1]);
        assert!(matches!(cut, Err(Error::Length { .. })));
        for place in MAGIC.len() + 8..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert_eq!(decode(&ours, &damaged), Err(Error::Damaged));
        }
    }
}
