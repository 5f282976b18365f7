//! The store on disk: sled for log and vote, one file for the state snapshot, all of it sealed.
//!
//! What makes sled 0.34 survive a power cut: large segments, no value over 512 KiB (larger ones
//! go to separate files whose names are not synced), and, since `flush` only starts write-back,
//! a `sync_data` of the database file after each batch.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Backend, Error, Record, Step};
use crate::secret::Keyring;

const SEGMENT_BYTES: usize = 8 << 20;
/// Nothing is read twice but at the start: openraft gets the newest entries from memory.
const CACHE_BYTES: u64 = 8 << 20;
const CHUNK_BYTES: usize = 500 << 10;
const LOG: u8 = b'l';
const META: u8 = b'm';
const STATE_MAGIC: &[u8; 16] = b"pontoon state 1\n";

struct Open {
    database: sled::Db,
    file: File,
}

/// See the module.
pub(crate) struct Disk {
    directory: PathBuf,
    keyring: Arc<Keyring>,
    open: RwLock<Option<Open>>,
}

fn log_key(index: u64, chunk: u32) -> Vec<u8> {
    [&[LOG], index.to_be_bytes().as_slice(), &chunk.to_be_bytes()].concat()
}

fn meta_key(name: &str) -> Vec<u8> {
    [&[META], name.as_bytes()].concat()
}

/// The first key after those of the log up to `index`.
fn after(index: u64) -> Vec<u8> {
    index.checked_add(1).map_or_else(|| vec![META], |next| log_key(next, 0))
}

fn parse_log_key(key: &[u8]) -> Option<(u64, u32)> {
    let rest = key.strip_prefix(&[LOG])?;
    let (index, rest) = rest.split_first_chunk()?;
    Some((u64::from_be_bytes(*index), u32::from_be_bytes(rest.try_into().ok()?)))
}

/// Checksum, number of chunks of the record, data. The checksum covers the key, so that a value cannot be read under another one.
fn checked(key: &[u8], count: u32, data: &[u8]) -> Vec<u8> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&count.to_be_bytes());
    hasher.update(data);
    [hasher.finalize().to_be_bytes().as_slice(), &count.to_be_bytes(), data].concat()
}

fn check<'a>(key: &[u8], value: &'a [u8]) -> Result<(u32, &'a [u8]), Error> {
    let corrupt = || Error::Corrupt { what: format!("database entry {key:02x?}") };
    let (_, rest) = value.split_first_chunk::<4>().ok_or_else(corrupt)?;
    let (count, data) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
    let count = u32::from_be_bytes(*count);
    if checked(key, count, data) == value { Ok((count, data)) } else { Err(corrupt()) }
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}

/// Writes a file so that after a power cut it is the old one or the new one.
pub(crate) fn replace_file(path: &Path, parts: &[&[u8]]) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = File::create(&temporary)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    write().map_err(file_error("write", path))
}

impl Disk {
    pub(crate) fn open(directory: &Path, keyring: Arc<Keyring>) -> Result<Self, Error> {
        let path = directory.join("log");
        let config = sled::Config::new()
            .path(&path)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .use_compression(false);
        let database = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_panic| Error::Damaged { path: path.clone() })?
            .map_err(|source| Error::Database { action: "open", path: path.clone(), source })?;
        let file = path.join("db");
        let file = File::open(&file).map_err(file_error("open", &file))?;
        let sync = || {
            file.sync_all()?;
            File::open(&path)?.sync_all()?;
            File::open(directory)?.sync_all()
        };
        sync().map_err(file_error("sync", &path))?;
        let open = RwLock::new(Some(Open { database, file }));
        Ok(Self { directory: directory.to_owned(), keyring, open })
    }

    /// Calls the database; a panic inside of it is an error, as it is one of the files.
    fn with<T>(
        &self,
        action: &'static str,
        call: impl FnOnce(&Open) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let guard = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = guard.as_ref().ok_or(Error::Closed)?;
        let path = self.directory.join("log");
        match catch_unwind(AssertUnwindSafe(|| call(open))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Failure::Sled(source))) => Err(Error::Database { action, path, source }),
            Ok(Err(Failure::Io(source))) => Err(Error::File { action, path, source }),
            Ok(Err(Failure::Ours(error))) => Err(error),
            Err(_panic) => Err(Error::Damaged { path }),
        }
    }

    fn seal(&self, what: &str, purpose: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        let sealed = self.keyring.seal(purpose, plain);
        sealed.map_err(|source| Error::Sealed { what: what.to_owned(), source })
    }

    fn append(&self, edits: &mut Edits, index: u64, record: &[u8]) -> Result<(), Error> {
        let purpose = log_key(index, 0);
        let sealed = self.seal(&format!("log record {index}"), &purpose, record)?;
        let count = u32::try_from(sealed.len().div_ceil(CHUNK_BYTES)).unwrap_or(u32::MAX);
        for (chunk, data) in (0..).zip(sealed.chunks(CHUNK_BYTES)) {
            let key = log_key(index, chunk);
            let value = checked(&key, count, data);
            edits.insert(key, Some(value));
        }
        Ok(())
    }

    fn state_path(&self) -> PathBuf {
        self.directory.join("state")
    }
}

enum Failure {
    Sled(sled::Error),
    Io(io::Error),
    Ours(Error),
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        Self::Sled(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

type Edits = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Deletes a range of keys, of those stored and of those that the batch adds.
fn delete(
    database: &sled::Db,
    edits: &mut Edits,
    range: std::ops::Range<Vec<u8>>,
) -> Result<(), sled::Error> {
    for key in database.range(range.clone()).keys() {
        edits.insert(key?.to_vec(), None);
    }
    edits.range_mut(range).for_each(|(_, value)| *value = None);
    Ok(())
}

impl Backend for Disk {
    fn write(&self, steps: &[Step]) -> Result<(), Error> {
        self.with("write", |open| {
            let mut edits = Edits::new();
            for step in steps {
                match step {
                    Step::Append { index, record } => self.append(&mut edits, *index, record)?,
                    Step::TruncateFrom(index) => {
                        delete(&open.database, &mut edits, log_key(*index, 0)..vec![META])?;
                    }
                    Step::PurgeTo(index) => {
                        delete(&open.database, &mut edits, log_key(0, 0)..after(*index))?;
                    }
                    Step::Meta { name, value } => {
                        let key = meta_key(name);
                        let value = checked(&key, 1, value);
                        edits.insert(key, Some(value));
                    }
                }
            }
            let mut batch = sled::Batch::default();
            for (key, value) in edits {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            open.database.apply_batch(batch)?;
            open.database.flush()?;
            open.file.sync_data()?;
            Ok(())
        })
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Record>, Error> {
        self.with("read", |open| {
            let mut records = Vec::new();
            let mut sealed = Vec::new();
            let mut bytes = 0;
            if from >= to {
                return Ok(records);
            }
            for item in open.database.range(log_key(from, 0)..log_key(to, 0)) {
                let (key, value) = item?;
                let corrupt = || Error::Corrupt { what: format!("log record at {key:02x?}") };
                let (index, chunk) = parse_log_key(&key).ok_or_else(corrupt)?;
                let (count, data) = check(&key, &value)?;
                if sealed.len() != usize::try_from(chunk).unwrap_or(usize::MAX) * CHUNK_BYTES {
                    return Err(corrupt().into());
                }
                sealed.extend_from_slice(data);
                if chunk.saturating_add(1) < count {
                    continue;
                }
                let opened = self.keyring.open(&log_key(index, 0), &sealed);
                let what = format!("log record {index}");
                let record = opened.map_err(|source| Error::Sealed { what, source })?;
                sealed.clear();
                bytes += record.len();
                records.push((index, record));
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(records)
        })
    }

    fn last(&self) -> Result<Option<u64>, Error> {
        self.with("read", |open| {
            let last = open.database.range(log_key(0, 0)..vec![META]).keys().next_back();
            Ok(last.transpose()?.and_then(|key| parse_log_key(&key)).map(|(index, _)| index))
        })
    }

    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.with("read", |open| {
            let key = meta_key(name);
            let value = open.database.get(&key)?;
            let value = value.map(|value| check(&key, &value).map(|(_, data)| data.to_vec()));
            Ok(value.transpose()?)
        })
    }

    fn save_state(&self, state: &[u8]) -> Result<(), Error> {
        let sealed = self.seal("the state snapshot", STATE_MAGIC, state)?;
        let checksum = crc32fast::hash(&sealed).to_be_bytes();
        replace_file(&self.state_path(), &[STATE_MAGIC, &checksum, &sealed])
    }

    fn load_state(&self) -> Result<Option<Vec<u8>>, Error> {
        let path = self.state_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error("read", &path)(error)),
        };
        let what = "the state snapshot".to_owned();
        let parts = bytes.strip_prefix(STATE_MAGIC).and_then(|rest| rest.split_first_chunk::<4>());
        match parts {
            Some((checksum, sealed)) if crc32fast::hash(sealed).to_be_bytes() == *checksum => {
                let opened = self.keyring.open(STATE_MAGIC, sealed);
                opened.map(Some).map_err(|source| Error::Sealed { what, source })
            }
            _ => Err(Error::Corrupt { what }),
        }
    }

    fn close(&self) {
        drop(self.open.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret;

    fn disk(directory: &Path, secret: &str) -> Disk {
        let keyring = Keyring::new(secret::parse(&[secret.to_owned()]).unwrap()).unwrap();
        Disk::open(directory, Arc::new(keyring)).unwrap()
    }

    fn append(index: u64, record: &[u8]) -> Step {
        Step::Append { index, record: record.to_vec() }
    }

    #[test]
    fn large_records_come_back_after_a_restart_and_only_with_the_secret() {
        let directory = tempfile::tempdir().unwrap();
        let secret = secret::new_secret().unwrap();
        let large: Vec<u8> = (0..3_000_000_u32).map(|place| (place % 251) as u8).collect();
        let store = disk(directory.path(), &secret);
        store.write(&[append(1, b"one"), append(2, &large), append(3, b"three")]).unwrap();
        store.save_state(b"state").unwrap();
        store.close();
        assert!(matches!(store.last(), Err(Error::Closed)));
        let store = disk(directory.path(), &secret);
        let records = store.read(1, 4, usize::MAX).unwrap();
        assert_eq!(records, [(1, b"one".to_vec()), (2, large), (3, b"three".to_vec())]);
        assert_eq!(store.read(1, 4, 4).unwrap().len(), 2);
        assert_eq!(store.load_state().unwrap().unwrap(), b"state");
        store.close();
        let other = disk(directory.path(), &secret::new_secret().unwrap());
        assert!(matches!(other.read(1, 4, 9), Err(Error::Sealed { .. })));
        assert!(matches!(other.load_state(), Err(Error::Sealed { .. })));
    }

    #[test]
    fn steps_of_a_batch_see_those_before_them() {
        let directory = tempfile::tempdir().unwrap();
        let store = disk(directory.path(), &secret::new_secret().unwrap());
        store.write(&[append(1, b"a"), append(2, b"b"), append(3, b"c")]).unwrap();
        let steps = [
            append(4, b"d"),
            Step::TruncateFrom(3),
            append(3, b"e"),
            Step::PurgeTo(1),
            Step::Meta { name: "vote".to_owned(), value: b"v".to_vec() },
        ];
        store.write(&steps).unwrap();
        let records = store.read(0, u64::MAX, usize::MAX).unwrap();
        assert_eq!(records, [(2, b"b".to_vec()), (3, b"e".to_vec())]);
        assert_eq!(store.last().unwrap(), Some(3));
        assert_eq!(store.meta("vote").unwrap().unwrap(), b"v");
        assert_eq!(store.meta("none").unwrap(), None);
    }

    #[test]
    fn a_damaged_state_snapshot_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let store = disk(directory.path(), &secret::new_secret().unwrap());
        store.save_state(b"state").unwrap();
        let mut bytes = fs::read(store.state_path()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(store.state_path(), bytes).unwrap();
        assert!(matches!(store.load_state(), Err(Error::Corrupt { .. })));
    }
}
