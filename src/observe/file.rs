//! A file that lines are appended to, that can be opened again after others moved it, and that rotates by size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

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
}

impl LineFile {
    /// Opens or creates `path`, and its folder.
    pub(super) fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let file = append(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, rotation })
    }

    /// Opens the path again: what was moved away stays as it is.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        self.bytes = self.file.metadata()?.len();
        Ok(())
    }

    fn rotate(&mut self, rotation: Rotation) -> io::Result<()> {
        let now = clock::now();
        let (stem, suffix) = self.parts();
        fs::rename(&self.path, self.path.with_file_name(format!("{stem}-{}{suffix}", stamp(now))))?;
        self.reopen()?;
        self.remove_old(rotation, now)
    }

    /// Name before and after the place of a backup's time.
    fn parts(&self) -> (String, String) {
        let part = |text: Option<&std::ffi::OsStr>| {
            text.unwrap_or_default().to_string_lossy().into_owned()
        };
        let suffix = self.path.extension().map(|suffix| format!(".{}", suffix.to_string_lossy()));
        (part(self.path.file_stem()), suffix.unwrap_or_default())
    }

    fn remove_old(&self, rotation: Rotation, now: Duration) -> io::Result<()> {
        let (stem, suffix) = self.parts();
        let prefix = format!("{stem}-");
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut backups: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let middle = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(&suffix));
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
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "six\n");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 3);
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
