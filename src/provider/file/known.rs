//! What is known of the files: only those that may have changed are read again, and only their objects merged again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use percent_encoding::percent_decode_str;
use pontoon_cluster::{Entry, Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tracing::debug;

use super::{Source, read};
use crate::clock;
use crate::provider::Entries;

/// A file that was changed so lately may change again without a new time of change.
const YOUNG: Duration = Duration::from_secs(1);
/// How long a file is empty before that counts.
pub(super) const EMPTY_SETTLE: Duration = Duration::from_secs(1);
/// From this number of entries on that are in force anew, what is known is gone through for them.
const SHARE_FROM: usize = 256;
const CERTIFICATES: &str = "tls/certificates/";

/// The last content of each file that could be used, and all of it together.
#[derive(Default)]
pub(super) struct Known {
    files: BTreeMap<PathBuf, File>,
    merged: Entries,
    /// Keys that stand in more than one file.
    repeated: BTreeSet<Arc<str>>,
    digest: Option<(Entries, String)>,
    /// What was in force when what is known shared it last.
    in_force: Map<Arc<str>, Entry>,
    /// `debugLogGeneratedTemplate`
    renderings: Option<Renderings>,
}

/// What was logged of each file, so that a template that is looked at every few seconds is logged once.
#[derive(Default)]
struct Renderings(BTreeMap<PathBuf, [u8; 32]>);

impl Renderings {
    /// Logs what a file says after templating, if that is new.
    fn log(&mut self, path: &Path, template: &str, rendered: &str) {
        let digest = Sha256::new().chain_update(template).chain_update([0]).chain_update(rendered);
        let digest = digest.finalize().into();
        if self.0.insert(path.to_owned(), digest) != Some(digest) {
            let file = path.display();
            debug!(%file, template, "template content");
            debug!(%file, rendered, "rendering results");
        }
    }
}

#[derive(Default)]
struct File {
    /// As it was when it was read; `None` where it must be read each time.
    mark: Option<Mark>,
    /// Sorted by their keys.
    entries: Box<[(Arc<str>, Value)]>,
    certificates: Box<[Value]>,
    /// What was wrong when it was last read.
    problems: Vec<String>,
    /// It has been used.
    good: bool,
    /// Since when the file is empty, as long as that does not count.
    empty: Option<Instant>,
}

/// What one look at the source has found.
pub(super) struct Found {
    pub(super) entries: Entries,
    pub(super) problems: Vec<String>,
    /// A file may be in the middle of being written.
    pub(super) unsettled: bool,
}

/// Differs where a file may differ.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    /// `None` for what cannot be told, or what was changed a moment ago.
    fn of(path: &Path) -> Option<Self> {
        let facts = fs::metadata(path).ok()?;
        let modified = facts.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let age = clock::now().checked_sub(modified)?;
        (age > YOUNG).then(|| Self {
            device: facts.dev(),
            inode: facts.ino(),
            size: facts.size(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        })
    }
}

impl File {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.certificates.is_empty()
    }

    fn get(&self, key: &str) -> Option<&Value> {
        let place = self.entries.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        self.entries.get(place).map(|(_, bytes)| bytes)
    }
}

impl Known {
    /// `log_rendered`: logs files after templating.
    pub(super) fn new(log_rendered: bool) -> Self {
        Self { renderings: log_rendered.then(Renderings::default), ..Self::default() }
    }

    /// Looks at the files of a source; all objects, and what is wrong. Blocks: not for a runtime thread.
    pub(super) fn look(&mut self, source: &Source) -> Result<Found, String> {
        let paths = read::files(source)?;
        let wanted: BTreeSet<&PathBuf> = paths.iter().collect();
        let gone = self.files.keys().filter(|path| !wanted.contains(path));
        for path in gone.cloned().collect::<Vec<_>>() {
            self.replace(&path, None);
            if let Some(renderings) = &mut self.renderings {
                renderings.0.remove(&path);
            }
        }
        for path in &paths {
            let mark = Mark::of(path);
            let known = self.files.get(path);
            if mark.is_none() || known.is_none_or(|file| file.mark != mark) {
                self.read(path, mark);
            }
        }
        let mut problems: Vec<String> =
            self.files.values().flat_map(|file| file.problems.iter().cloned()).collect();
        for key in &self.repeated {
            let holders = self.files.iter().filter(|(_, file)| file.get(key).is_some());
            for (path, _) in holders.skip(1) {
                let shown = shown(key);
                problems.push(format!("{}: {shown} is in another file already", path.display()));
            }
        }
        let unsettled = self.files.values().any(|file| file.empty.is_some());
        Ok(Found { entries: self.merged.clone(), problems, unsettled })
    }

    fn read(&mut self, path: &Path, mark: Option<Mark>) {
        let rendered = |template: &str, rendered: &str| {
            if let Some(renderings) = &mut self.renderings {
                renderings.log(path, template, rendered);
            }
        };
        match read::read(path, rendered) {
            Ok(read) => {
                let mut file = File { good: true, ..File::default() };
                file.problems = read.warnings.iter().map(ToString::to_string).collect();
                file.mark = mark.filter(|_| read.stands_alone);
                let (mut entries, mut certificates) = (Vec::new(), Vec::new());
                for (key, bytes) in read.configuration.entries() {
                    if key.starts_with(CERTIFICATES) {
                        certificates.push(bytes.into());
                    } else {
                        entries.push((key.into(), bytes.into()));
                    }
                }
                (file.entries, file.certificates) = (entries.into(), certificates.into());
                self.put(path, file, Instant::now());
            }
            Err(found) => {
                let file = self.files.entry(path.to_owned()).or_default();
                (file.mark, file.empty) = (None, None);
                let kept = if file.good { "; its last content stays" } else { "" };
                file.problems = found.iter().map(|problem| format!("{problem}{kept}")).collect();
            }
        }
    }

    /// Notes what a file holds now; its last content stays for a while where it has just become empty.
    fn put(&mut self, path: &Path, new: File, now: Instant) {
        if new.is_empty()
            && let Some(known) = self.files.get_mut(path).filter(|known| !known.is_empty())
            && now.saturating_duration_since(*known.empty.get_or_insert(now)) < EMPTY_SETTLE
        {
            known.mark = None;
            return;
        }
        self.replace(path, Some(new));
    }

    /// Puts a file in the place of what was known of it.
    fn replace(&mut self, path: &Path, new: Option<File>) {
        let old = match new.map(|new| self.sharing(new)) {
            Some(new) => self.files.insert(path.to_owned(), new),
            None => self.files.remove(path),
        };
        let old = old.unwrap_or_default();
        let mut certificates = old.certificates.len();
        let nothing = File::default();
        let new = self.files.get(path).unwrap_or(&nothing);
        certificates += new.certificates.len();
        let gone = old.entries.iter().filter(|(key, _)| new.get(key).is_none());
        let mut unclear: Vec<Arc<str>> = Vec::new();
        for (key, _) in gone {
            if self.repeated.contains(key) {
                unclear.push(key.clone());
            } else {
                self.merged.remove(&**key);
            }
        }
        for (key, bytes) in &new.entries {
            let ours = old.get(key).is_some();
            match self.merged.get(&**key) {
                _ if self.repeated.contains(key) => unclear.push(key.clone()),
                Some(_) if !ours => unclear.push(key.clone()),
                Some(known) if known == bytes => {}
                Some(_) | None => drop(self.merged.insert(key.clone(), bytes.clone())),
            }
        }
        for key in unclear {
            self.settle(&key);
        }
        if certificates > 0 {
            self.number_certificates();
        }
    }

    /// The file with what is known already in the place of what is equal.
    fn sharing(&self, mut file: File) -> File {
        for (key, bytes) in &mut file.entries {
            if let Some((known, same)) = self.merged.get_key_value(&**key)
                && same == bytes
            {
                (*key, *bytes) = (known.clone(), same.clone());
            }
        }
        file
    }

    /// The first file that has an object wins.
    fn settle(&mut self, key: &Arc<str>) {
        let mut holders = self.files.values().filter_map(|file| file.get(key));
        let first = holders.next().cloned();
        if holders.next().is_some() {
            self.repeated.insert(key.clone());
        } else {
            self.repeated.remove(key);
        }
        match first {
            None => drop(self.merged.remove(&**key)),
            Some(bytes) if self.merged.get(&**key) == Some(&bytes) => {}
            Some(bytes) => drop(self.merged.insert(key.clone(), bytes)),
        }
    }

    /// Certificates have no names: those of all files are numbered.
    fn number_certificates(&mut self) {
        let key = |number: usize| format!("{CERTIFICATES}{number:06}");
        let all = self.files.values().flat_map(|file| file.certificates.iter());
        let mut count = 0;
        for (number, bytes) in all.enumerate() {
            count = number + 1;
            if self.merged.get(key(number).as_str()) != Some(bytes) {
                self.merged.insert(key(number).into(), bytes.clone());
            }
        }
        while self.merged.remove(key(count).as_str()).is_some() {
            count += 1;
        }
    }

    /// Puts what is in force in the place of what is equal; true if that was done. It takes a while, so some changes
    /// are waited for.
    pub(super) fn share(&mut self, in_force: &Map<Arc<str>, Entry>) -> bool {
        let known = |old: &Entry, new: &Entry| old.bytes.is_copy_of(&new.bytes);
        if self.in_force.differences(in_force, known).len() < SHARE_FROM {
            return false;
        }
        self.in_force = in_force.clone();
        let share = |key: &mut Arc<str>, bytes: &mut Value| {
            if let Some((known, same)) = in_force.get_key_value(&**key)
                && same.bytes == *bytes
            {
                (*key, *bytes) = (known.clone(), same.bytes.clone());
            }
        };
        for file in self.files.values_mut() {
            file.entries.iter_mut().for_each(|(key, bytes)| share(key, bytes));
        }
        let merged = self.merged.iter().map(|(key, bytes)| {
            let (mut key, mut bytes) = (key.clone(), bytes.clone());
            share(&mut key, &mut bytes);
            (key, bytes)
        });
        let merged: Entries = merged.collect();
        let before = std::mem::replace(&mut self.merged, merged);
        let digest = self.digest.take().filter(|(entries, _)| entries.is_copy_of(&before));
        self.digest = digest.map(|(_, text)| (self.merged.clone(), text));
        true
    }

    /// Equal for equal objects.
    pub(super) fn digest(&mut self) -> String {
        if let Some((entries, text)) = &self.digest
            && entries.is_copy_of(&self.merged)
        {
            return text.clone();
        }
        let mut hash = Sha256::new();
        for (key, value) in &self.merged {
            hash.update(key.as_bytes());
            hash.update([0]);
            hash.update(value);
            hash.update([0]);
        }
        let hash = hash.finalize();
        let text = crate::hex::lower(hash.get(..8).unwrap_or(&hash));
        self.digest = Some((self.merged.clone(), text.clone()));
        text
    }
}

/// `http.routers.NAME` of `http/routers/NAME`.
fn shown(key: &str) -> String {
    let (kind, name) = key.rsplit_once('/').unwrap_or(("", key));
    format!("{}.{}", kind.replace('/', "."), percent_decode_str(name).decode_utf8_lossy())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the files say, read at once.
    fn at_once(files: &BTreeMap<PathBuf, Vec<(u8, u8)>>) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        let mut certificates = 0;
        for (key, value) in files.values().flatten() {
            if *key == 0 {
                all.insert(format!("{CERTIFICATES}{certificates:06}"), vec![*value]);
                certificates += 1;
            } else {
                all.entry(format!("http/routers/{key}")).or_insert_with(|| vec![*value]);
            }
        }
        all
    }

    fn file(content: &[(u8, u8)]) -> File {
        let entries: BTreeMap<String, u8> = (content.iter().rev())
            .filter(|(key, _)| *key > 0)
            .map(|(key, value)| (format!("http/routers/{key}"), *value))
            .collect();
        let certificates = content.iter().filter(|(key, _)| *key == 0);
        File {
            entries: entries
                .into_iter()
                .map(|(key, value)| (key.into(), vec![value].into()))
                .collect(),
            certificates: certificates.map(|(_, value)| vec![*value].into()).collect(),
            ..File::default()
        }
    }

    #[test]
    fn a_file_that_is_emptied_to_be_written_keeps_its_content_for_a_moment() {
        let (path, start) = (Path::new("app.yml"), Instant::now());
        let mut known = Known::default();
        let half = EMPTY_SETTLE / 2;
        let mut put = |content: &[(u8, u8)], halves: u32| {
            known.put(path, file(content), start + halves * half);
            let file = &known.files[path];
            (file.empty.is_some(), known.merged.len())
        };
        let full = [(1, 1)];
        assert_eq!(put(&[], 0), (false, 0), "it was never anything else");
        assert_eq!(put(&full, 1), (false, 1));
        assert_eq!(put(&[], 2), (true, 1));
        assert_eq!(put(&[], 3), (true, 1));
        assert_eq!(put(&full, 3), (false, 1));
        assert_eq!(put(&[], 10), (true, 1), "it counts from when it was seen");
        assert_eq!(put(&[], 12), (false, 0));
    }

    /// At the peers of a cluster it stood in memory twice: as read, and as replicated.
    #[test]
    fn what_is_in_force_is_not_kept_a_second_time() {
        let mut known = Known::default();
        let content = |range: std::ops::Range<u16>, bytes: &str| File {
            entries: range
                .map(|key| (format!("http/routers/{key:03}").into(), bytes.into()))
                .collect(),
            ..File::default()
        };
        known.replace(Path::new("a"), Some(content(0..300, "1")));
        known.replace(Path::new("b"), Some(content(300..400, "2")));
        let digest = known.digest();
        let entry = |key: u16| {
            let bytes = if key < 300 { "1".into() } else { "other".into() };
            (format!("http/routers/{key:03}").into(), Entry { revision: Default::default(), bytes })
        };
        let few: Map<Arc<str>, Entry> = (0..10).map(entry).collect();
        assert!(!known.share(&few), "they are waited for");
        let all: Map<Arc<str>, Entry> = (0..400).map(entry).collect();
        assert!(known.share(&all) && !known.share(&all.clone()));
        for (key, bytes) in known.merged.iter().chain(
            known
                .files
                .values()
                .flat_map(|file| file.entries.iter().map(|(key, bytes)| (key, bytes))),
        ) {
            let (same, entry) = all.get_key_value(&**key).unwrap();
            let shared = Arc::ptr_eq(same, key) && entry.bytes.is_copy_of(bytes);
            assert_eq!(shared, **bytes == *b"1", "{key}");
        }
        assert!(known.digest.as_ref().unwrap().0.is_copy_of(&known.merged));
        assert_eq!(known.digest(), digest);
    }

    proptest! {
        #[test]
        fn file_by_file_comes_to_the_same_as_at_once(
            steps in prop::collection::vec(
                (0..4_u8, prop::option::weighted(0.8, prop::collection::vec((0..6_u8, 0..3_u8), 0..6))),
                1..20,
            ),
        ) {
            let mut known = Known::default();
            let mut files = BTreeMap::new();
            for (number, content) in steps {
                let path = PathBuf::from(number.to_string());
                known.replace(&path, content.as_deref().map(file));
                match content {
                    Some(content) => drop(files.insert(path, content)),
                    None => drop(files.remove(&path)),
                }
                let merged: BTreeMap<String, Vec<u8>> =
                    known.merged.iter().map(|(key, value)| (key.to_string(), value.to_vec())).collect();
                prop_assert_eq!(merged, at_once(&files));
                let twice = |key: &str| files.values().filter(|file| file.iter().any(|(one, _)| *one > 0 && format!("http/routers/{one}") == key)).count() > 1;
                prop_assert!(known.repeated.iter().all(|key| twice(key)));
            }
        }
    }
}
