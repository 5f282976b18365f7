//! A file that lines are appended to, that can be opened again after others moved it, and that rotates by size.
//!
//! As Traefik's library does: rotated files are compressed, whatever `log.compress` says, and have the time in their name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use time::OffsetDateTime;
use tracing::warn;

use crate::clock;

/// When a file is rotated, and what is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    pub(super) size_bytes: u64,
    /// For ever without.
    pub(super) keep_for: Option<Duration>,
    /// All without.
    pub(super) backups_max: Option<usize>,
}

/// An open file of lines.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotation: Option<Rotation>,
    /// Compresses what was rotated last.
    packing: Option<JoinHandle<()>>,
}

impl LineFile {
    /// Opens or creates `path`, and its folder.
    pub(super) fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let file = append(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, rotation, packing: None })
    }

    /// Opens the path again: what was moved away stays as it is.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        self.bytes = self.file.metadata()?.len();
        Ok(())
    }

    fn rotate(&mut self, rotation: Rotation) -> io::Result<()> {
        let now = clock::now();
        let backups = Backups::of(&self.path);
        let backup = backups.at(now);
        fs::rename(&self.path, &backup)?;
        self.reopen()?;
        let pack = move || {
            let result = backups.pack(&backup).and_then(|()| backups.remove_old(rotation, now));
            if let Err(error) = result {
                warn!(%error, path = %backup.display(), "cannot tidy up rotated files");
            }
        };
        // Compressing takes seconds, in which lines must not wait.
        let thread = thread::Builder::new().name("log-rotation".to_owned()).spawn(pack)?;
        self.packing = Some(thread);
        Ok(())
    }
}

/// Rotated files of a path: in its folder, with the time between the two parts of its name.
#[derive(Debug)]
struct Backups {
    folder: PathBuf,
    prefix: String,
    suffix: String,
}

/// One is packed at a time.
static PACKING: Mutex<()> = Mutex::new(());

impl Backups {
    fn of(path: &Path) -> Self {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let suffix = path.extension().map(|suffix| format!(".{}", suffix.to_string_lossy()));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self {
            folder: folder.unwrap_or(Path::new(".")).to_owned(),
            prefix: format!("{stem}-"),
            suffix: suffix.unwrap_or_default(),
        }
    }

    /// The name of what is rotated at `now`.
    fn at(&self, now: Duration) -> PathBuf {
        self.folder.join(format!("{}{}{}", self.prefix, stamp(now), self.suffix))
    }

    /// Compresses a backup. What is half done has a name of its own.
    fn pack(&self, backup: &Path) -> io::Result<()> {
        let _turn = PACKING.lock().unwrap_or_else(PoisonError::into_inner);
        let name = backup.file_name().unwrap_or_default().to_string_lossy();
        let (half, whole) = (format!("{name}.gz.part"), format!("{name}.gz"));
        let (half, whole) = (self.folder.join(half), self.folder.join(whole));
        let mut packed = GzEncoder::new(File::create(&half)?, Compression::default());
        io::copy(&mut File::open(backup)?, &mut packed)?;
        packed.finish()?.sync_all()?;
        fs::rename(half, whole)?;
        fs::remove_file(backup)
    }

    fn remove_old(&self, rotation: Rotation, now: Duration) -> io::Result<()> {
        let mut backups: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let plain = name.strip_suffix(".gz").unwrap_or(&name);
            let rest = plain.strip_prefix(&self.prefix);
            let middle = rest.and_then(|rest| rest.strip_suffix(&self.suffix));
            // Nothing but our own backups: others may begin alike.
            if middle.is_some_and(|middle| middle.len() == STAMP_LENGTH && middle.starts_with('2'))
            {
                backups.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        backups.sort();
        backups.reverse();
        let oldest = rotation.keep_for.map(|age| UNIX_EPOCH + now.saturating_sub(age));
        for (number, (modified, path)) in backups.into_iter().enumerate() {
            let too_many = rotation.backups_max.is_some_and(|max| number >= max);
            if too_many || oldest.is_some_and(|oldest| modified < oldest) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Write for LineFile {
    /// Takes all of `lines`, which end with a line feed.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let bytes = lines.len() as u64;
        if let Some(rotation) = self.rotation
            && self.bytes > 0
            && self.bytes + bytes > rotation.size_bytes
        {
            self.rotate(rotation)?;
        }
        self.file.write_all(lines)?;
        self.bytes += bytes;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

const STAMP_LENGTH: usize = "2006-01-02T15-04-05.000000000".len();

/// The time as it stands in the name of a backup.
fn stamp(now: Duration) -> String {
    let time = utc(now);
    let (hour, minute, second, nanosecond) = time.to_hms_nano();
    format!("{}T{hour:02}-{minute:02}-{second:02}.{nanosecond:09}", time.date())
}

/// The wall-clock time `now`, which is since the Unix epoch.
pub(super) fn utc(now: Duration) -> OffsetDateTime {
    i128::try_from(now.as_nanos())
        .ok()
        .and_then(|nanoseconds| OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotates_by_size_and_keeps_as_many_backups_as_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/proxy.log");
        let rotation = Rotation { size_bytes: 8, keep_for: None, backups_max: Some(2) };
        let mut file = LineFile::open(&path, Some(rotation)).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "six\n"] {
            file.write_all(line.as_bytes()).unwrap();
            if let Some(packing) = file.packing.take() {
                packing.join().unwrap();
            }
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "six\n");
        let mut backups: Vec<PathBuf> = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|backup| *backup != path)
            .collect();
        backups.sort();
        let texts = backups.iter().map(|backup| {
            assert!(backup.to_str().unwrap().ends_with(".log.gz"), "{backup:?}");
            let mut text = String::new();
            let mut packed = flate2::read::GzDecoder::new(File::open(backup).unwrap());
            io::Read::read_to_string(&mut packed, &mut text).unwrap();
            text
        });
        assert_eq!(texts.collect::<Vec<_>>(), ["four\n", "five\n"]);
    }

    /// static.md §7, `log.maxAge`.
    #[test]
    fn backups_that_are_older_than_told_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.log");
        let backups = Backups::of(&path);
        let now = clock::now();
        fs::write(backups.at(now), "").unwrap();
        fs::write(folder.path().join("proxy-other.log"), "").unwrap();
        let day = Duration::from_hours(24);
        let rotation = Rotation { size_bytes: 8, keep_for: Some(day), backups_max: None };
        let left = || fs::read_dir(folder.path()).unwrap().count();
        backups.remove_old(rotation, now + day / 2).unwrap();
        assert_eq!(left(), 2, "it is young");
        backups.remove_old(rotation, now + day * 2).unwrap();
        assert_eq!(left(), 1, "what is no backup stays");
    }

    #[test]
    fn reopening_follows_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.1"));
        let mut file = LineFile::open(&path, None).unwrap();
        file.write_all(b"before\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        file.reopen().unwrap();
        file.write_all(b"after\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "before\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
    }
}
