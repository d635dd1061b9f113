//! The file beside the store that keeps a second server out, and that knows how many commits there were.
//!
//! SQLite takes the first damaged frame of its log for the log's end. What came after it is gone without an error, as it is if
//! somebody removes the log. So the number of commits is kept here as well: a store that has fewer has lost some.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::checksum::Checksum;
use super::failure::Named;
use crate::error::StoreError;

/// Names one life of a store: from a start to the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LifeId(pub(super) u64);

impl LifeId {
    /// Returns its 16 hex digits.
    pub(super) fn digits(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// How many commits a life of a store has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Commits {
    pub(super) life: LifeId,
    pub(super) count: u64,
}

/// What is known of a life from beside the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing: there was no such file, or it cannot be read.
    Nothing,
    /// The file tells of another life: the store was replaced by another one, or by a copy of an earlier life.
    OtherLife,
    /// The life has made this many commits, or more.
    Commits(u64),
}

/// The locked file.
#[derive(Debug)]
pub(super) struct LockFile {
    file: File,
    path: PathBuf,
    /// Whether it was created for a file that is no store, as far as is known.
    is_new: bool,
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if self.is_new {
            let _ = fs::remove_file(&self.path);
        }
        // Not left to closing it: a process that is just being started has a copy of the descriptor, and with it the lock.
        let _ = self.file.unlock();
    }
}

impl LockFile {
    /// Returns the path of the file that belongs to a store.
    pub(super) fn path_of(store: &Path) -> PathBuf {
        let mut path = store.as_os_str().to_owned();
        path.push("-lock");
        path.into()
    }

    /// Creates and locks the file.
    pub(super) fn acquire(store: &Path, named: &Named) -> Result<Self, StoreError> {
        let path = Self::path_of(store);
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(|error| named.system(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, path, is_new }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: named.path() }),
            Err(TryLockError::Error(error)) => Err(named.system(&error)),
        }
    }

    /// Returns what the file tells of a life.
    pub(super) fn known(&mut self, life: LifeId) -> io::Result<Known> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(0))?;
        if let Err(error) = (&self.file).take(256).read_to_string(&mut text) {
            return if error.kind() == io::ErrorKind::InvalidData { Ok(Known::Nothing) } else { Err(error) };
        }
        let Some(lives) = parse(&text) else { return Ok(Known::Nothing) };
        let found = lives.into_iter().find(|commits| commits.life == life);
        Ok(found.map_or(Known::OtherLife, |commits| Known::Commits(commits.count)))
    }

    /// Writes the commits of a life, and of the one before it while it is not known which of them the store is in.
    pub(super) fn write(&mut self, now: Commits, before: Option<Commits>) -> io::Result<()> {
        self.is_new = false;
        // In place, and in one call that is shorter than a sector: after a crash it is the old line or the new one.
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(line(now, before.unwrap_or_default()).as_bytes())
    }

    /// Waits until the disk has the file, and that there is one.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()?;
        if cfg!(unix)
            && let Some(directory) = self.path.parent()
        {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

/// The content of the file: one line, with two lives.
fn line(now: Commits, before: Commits) -> String {
    let [a, b] = [now, before].map(|Commits { life, count }| format!("{} {count:020}", life.digits()));
    let sum = Checksum::of_table(0).bytes(a.as_bytes()).bytes(b.as_bytes()).get();
    format!("{a} {b} {sum:016x}\n")
}

fn parse(text: &str) -> Option<[Commits; 2]> {
    let mut words = text.split_ascii_whitespace();
    let mut commits = || {
        let life = LifeId(u64::from_str_radix(words.next()?, 16).ok()?);
        Some(Commits { life, count: words.next()?.parse().ok()? })
    };
    let (now, before) = (commits()?, commits()?);
    // Whatever differs from what would be written is damaged.
    (text == line(now, before)).then_some([now, before])
}
