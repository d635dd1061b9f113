//! The database file of a store on disk: SQLite, through one connection. It is passive: its owner decides when to write.
//!
//! **What is read back is what was committed, or it is refused.** Each row has a checksum, and the row of `meta` says what all
//! rows add up to, so that a damaged row is found as well as one that has vanished. That SQLite silently drops the end of a
//! damaged log shows in the number of commits, which the file beside the store knows as well (`lock`). If commits are missing,
//! or may be, the store opens with those before them, and with another epoch, which tells the clients.

mod checksum;
mod failure;
mod load;
mod lock;
mod meta;
mod open;
mod rows;
mod schema;
mod write;

use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, ErrorCode, FileControl};

use self::failure::Named;
use self::lock::LockFile;
pub use self::meta::PreviousEnd;
use self::meta::{Meta, State};
pub use self::open::Environment;
use self::write::Writer;
use super::{Commit, Life, Record, StoreOptions};
use crate::error::StoreError;
use crate::limits::Limits;

const MAIN: &str = "main";

/// The open file. After an error other than [`StoreError::Full`] it must not be used any more.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    lock: LockFile,
    named: Named,
    meta: Meta,
    previous: PreviousEnd,
    log_pages: u64,
    /// Pages that the log had when it was last tried to empty it.
    checkpointed_at: u64,
    /// Bytes that the file has room for.
    reserved: i64,
    page_size: i64,
}

impl Database {
    /// Opens or creates a file, checks it, passes everything in it to `load`, and begins another life: clients, then channels,
    /// then sessions with each client's current one last, then messages, those of one sender to one recipient in the order of their
    /// offsets. When it returns, the disk has the beginning of the life. If it returns an error, nothing was changed.
    ///
    /// # Errors
    /// Any [`StoreError`] but [`StoreError::TooLarge`], and what `load` returns.
    pub fn open(
        options: &StoreOptions,
        load: impl FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<(Self, Life), StoreError> {
        open::open(options, &Environment::of_system(), load)
    }

    /// Likewise, in an environment of a test's.
    ///
    /// # Errors
    /// Likewise.
    #[cfg(feature = "faults")]
    pub fn open_in(
        options: &StoreOptions,
        environment: &Environment,
        load: impl FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<(Self, Life), StoreError> {
        open::open(options, environment, load)
    }

    /// Returns how the life before this one ended.
    pub fn previous_end(&self) -> PreviousEnd {
        self.previous
    }

    /// Writes records in their order, all or none, and commits.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing was changed, and the records can be tried again. Any other one: it is not known what is on
    /// disk, and the database must not be used any more.
    pub fn write<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record> + Clone,
    ) -> Result<(), StoreError> {
        self.commit(|database| database.write_records(records.clone()))?;
        self.checkpoint_if_long()
    }

    /// Commits a change. If the disk is full, it tries once more.
    fn commit(&mut self, change: impl Fn(&mut Self) -> Result<(), StoreError>) -> Result<(), StoreError> {
        match self.try_commit(&change) {
            Err(StoreError::Full { .. }) => {
                // The log may be emptied now, and what only frees room be written over its old pages.
                self.checkpoint()?;
                self.try_commit(&change)
            }
            result => result,
        }
    }

    /// Commits a change, or undoes it.
    fn try_commit(&mut self, change: impl Fn(&mut Self) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let before = self.meta.state;
        let result =
            self.run("BEGIN IMMEDIATE").and_then(|()| change(self)).and_then(|()| self.run("COMMIT"));
        if result.is_ok() {
            return self.note_commits();
        }
        self.meta.state = before;
        if !self.connection.is_autocommit() {
            let named = &self.named;
            self.connection.execute_batch("ROLLBACK").map_err(|error| named.failed(error))?;
        }
        result
    }

    fn write_records<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) -> Result<(), StoreError> {
        let failure = |error| self.named.at_run(&error);
        let mut writer = Writer { connection: &self.connection, state: self.meta.state };
        records.into_iter().try_for_each(|record| writer.write(record)).map_err(failure)?;
        self.meta.state = State { commits: writer.state.commits + 1, ..writer.state };
        self.check_life(self.meta.commit(&self.connection))?;
        self.reserve()
    }

    fn mark_clean(&mut self) -> Result<(), StoreError> {
        self.meta.state.commits += 1;
        self.check_life(self.meta.end_clean(&self.connection))
    }

    fn check_life(&self, is_same: rusqlite::Result<bool>) -> Result<(), StoreError> {
        match is_same.map_err(|error| self.named.at_run(&error))? {
            true => Ok(()),
            false => Err(StoreError::Locked { path: self.named.path() }),
        }
    }

    fn run(&self, sql: &str) -> Result<(), StoreError> {
        let run = || self.connection.prepare_cached(sql)?.execute([]);
        run().map(drop).map_err(|error| self.named.at_run(&error))
    }

    /// Makes room in the file for what the transaction adds to it. Otherwise a full disk would be found only when the log is
    /// copied into the file, and the log could then not be emptied any more, nor anything written that frees room.
    fn reserve(&mut self) -> Result<(), StoreError> {
        let failure = |error| self.named.at_run(&error);
        let pages: i64 = self
            .connection
            .prepare_cached("PRAGMA page_count")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(failure)?;
        let mut needed = pages * self.page_size;
        if needed <= self.reserved {
            return Ok(());
        }
        let result = self.connection.file_control(Some(MAIN), FileControl::SizeHint(&mut needed));
        // It extends the file, and does nothing else: whatever goes wrong, nothing is lost.
        result.map_err(|_| StoreError::Full { path: self.named.path() })?;
        self.reserved = (needed as u64).next_multiple_of(Limits::STORE_GROWTH as u64) as i64;
        Ok(())
    }

    /// Notes beside the store how many commits there are.
    fn note_commits(&mut self) -> Result<(), StoreError> {
        match self.lock.write(self.meta.commits(), None) {
            // The number is too low then, which only makes the check weaker.
            Err(error) if matches!(self.named.system(&error), StoreError::Full { .. }) => Ok(()),
            result => result.map_err(|error| self.named.failed(error)),
        }
    }

    fn checkpoint_if_long(&mut self) -> Result<(), StoreError> {
        let (pages, _) = self.run_checkpoint(CheckpointMode::NOOP)?;
        if pages < self.checkpointed_at {
            // The log has begun anew.
            self.checkpointed_at = 0;
        }
        if pages >= self.checkpointed_at + self.log_pages { self.checkpoint() } else { Ok(()) }
    }

    /// Copies the log into the file, as far as readers of other programs let it.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        match self.run_checkpoint(CheckpointMode::PASSIVE) {
            Ok((pages, copied)) => self.checkpointed_at = if copied < pages { pages } else { 0 },
            Err(StoreError::Full { .. }) => (),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Returns how many pages the log has, and how many of them are copied. SQLite's own way would keep a failure to itself,
    /// and try again as if the disk had what it has lost.
    fn run_checkpoint(&self, mode: CheckpointMode) -> Result<(u64, u64), StoreError> {
        match self.connection.wal_checkpoint_v2(Some(MAIN), mode) {
            Ok((pages, copied)) => Ok((pages.try_into().unwrap_or(0), copied.try_into().unwrap_or(0))),
            // Another program is copying it.
            Err(error) if is_busy(&error) => Ok((0, 0)),
            Err(error) => Err(self.named.at_run(&error)),
        }
    }

    /// Marks the end of the life as clean, and closes the file. All that was committed is in the one file then, and on disk,
    /// unless another program reads it.
    ///
    /// # Errors
    /// [`StoreError::Full`]: there is no room for the mark, and the end is not clean. [`StoreError::Io`],
    /// [`StoreError::Damaged`].
    pub fn close(mut self) -> Result<(), StoreError> {
        let failure = |error| self.named.at_run(&error);
        self.connection.pragma_update(None, "synchronous", "EXTRA").map_err(failure)?;
        self.meta.clean = true;
        self.commit(Self::mark_clean)?;
        self.connection
            .file_control(Some(MAIN), FileControl::ChunkSize(&mut 0))
            .map_err(|error| self.named.at_run(&error))?;
        // Not waiting for readers of other programs.
        self.connection.busy_timeout(Duration::ZERO).map_err(|error| self.named.at_run(&error))?;
        match self.connection.wal_checkpoint_v2(Some(MAIN), CheckpointMode::TRUNCATE) {
            // Another program reads it, or there is no room. The log stays beside the file, and it is synced.
            Err(error) if is_busy(&error) || is_full(&error) => (),
            result => drop(result.map_err(|error| self.named.at_run(&error))?),
        }
        let Self { connection, named, lock, .. } = self;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(|error| named.at_run(&error))?;
        connection.flush_prepared_statement_cache();
        connection.close().map_err(|(_, error)| named.at_run(&error))?;
        drop(lock);
        Ok(())
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

impl Commit for Database {
    fn write<'r>(&mut self, records: impl Iterator<Item = &'r Record> + Clone) -> Result<(), StoreError> {
        Self::write(self, records)
    }
}
