//! The database file of a store on disk: SQLite, through one connection. Passive: whoever owns a [`Database`] says when to write.
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
mod rows;
mod schema;
mod write;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::config::DbConfig;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, FileControl, OpenFlags};

use self::failure::Named;
use self::lock::{LifeId, LockFile};
pub use self::meta::PreviousEnd;
use self::meta::{Meta, State};
use self::write::Writer;
use super::{Commit, Durability, Life, Record, StoreOptions};
use crate::error::StoreError;
use crate::ids::Epoch;
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

/// What a store finds around it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// SQLite's name of the file system to use, if not its own.
    pub vfs: Option<String>,
    /// Names the time since the system was started, if it has such a name.
    pub boot: Option<String>,
    /// Pages of the log from which on it is copied into the file.
    pub log_pages: usize,
}

impl Environment {
    /// Returns what there is.
    pub fn of_system() -> Self {
        let boot = if cfg!(target_os = "linux") {
            fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
        } else {
            None
        };
        let boot = boot.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        Self { vfs: None, boot, log_pages: Limits::STORE_LOG_PAGES }
    }
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
        Self::open_within(options, &Environment::of_system(), load)
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
        Self::open_within(options, environment, load)
    }

    fn open_within(
        options: &StoreOptions,
        environment: &Environment,
        load: impl FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<(Self, Life), StoreError> {
        let named = Named::new(&options.path);
        let path = resolve(&options.path, &named)?;
        if !LockFile::path_of(&path).exists() {
            // No server has it open. Let no file appear beside one that is no store.
            check_header(&path, &named)?;
        }
        let lock = LockFile::acquire(&path, &named)?;
        check_header(&path, &named)?;
        let connection = connect(&path, environment.vfs.as_deref()).map_err(|error| named.at_open(&error))?;
        if connection.is_readonly(MAIN).map_err(|error| named.at_open(&error))? {
            return Err(named.access("the file is read-only"));
        }
        Opening { connection, lock, named, options, environment }.run(load)
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
        match self.try_write(records.clone()) {
            Err(StoreError::Full { .. }) => {
                // The log may have been emptied, or can be now: then what only frees room can be written, over its old pages.
                self.checkpoint()?;
                self.try_write(records)
            }
            result => result,
        }?;
        self.checkpoint_if_long()
    }

    fn try_write<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) -> Result<(), StoreError> {
        let before = self.meta.state;
        let result = self.write_records(records);
        if result.is_err() {
            self.meta.state = before;
            if !self.connection.is_autocommit() {
                let named = &self.named;
                self.connection.execute_batch("ROLLBACK").map_err(|error| named.failed(error))?;
            }
        }
        result
    }

    fn write_records<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) -> Result<(), StoreError> {
        self.run("BEGIN IMMEDIATE")?;
        let failure = |error| self.named.at_run(&error);
        let mut writer = Writer { connection: &self.connection, state: self.meta.state };
        records.into_iter().try_for_each(|record| writer.write(record)).map_err(failure)?;
        self.meta.state = State { commits: writer.state.commits + 1, ..writer.state };
        self.meta.commit(&self.connection).map_err(failure)?;
        self.reserve()?;
        self.run("COMMIT")?;
        self.note_commits()
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
        let (pages, copied) =
            self.connection.wal_checkpoint_v2(Some(MAIN), mode).map_err(|error| self.named.at_run(&error))?;
        Ok((pages.try_into().unwrap_or(0), copied.try_into().unwrap_or(0)))
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
        self.meta.state.commits += 1;
        self.run("BEGIN IMMEDIATE")?;
        self.meta.begin(&self.connection).map_err(failure)?;
        self.run("COMMIT")?;
        self.note_commits()?;
        self.connection
            .file_control(Some(MAIN), FileControl::ChunkSize(&mut 0))
            .map_err(|error| self.named.at_run(&error))?;
        // Not waiting for readers of other programs.
        self.connection.busy_timeout(Duration::ZERO).map_err(|error| self.named.at_run(&error))?;
        match self.connection.wal_checkpoint_v2(Some(MAIN), CheckpointMode::TRUNCATE) {
            // Another program reads it. The log stays beside the file, and it is synced.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => (),
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

/// Returns the path to use: without links, so that one file has one lock, and absolute, so that SQLite takes it for no URI.
fn resolve(path: &Path, named: &Named) -> Result<PathBuf, StoreError> {
    match fs::canonicalize(path) {
        Ok(path) if path.is_dir() => return Err(named.format("it is a directory")),
        Ok(path) => return Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (),
        Err(error) => return Err(named.system(&error)),
    }
    let Some(name) = path.file_name() else { return Err(named.format("it is a directory")) };
    let directory =
        path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = fs::canonicalize(directory).map_err(|error| named.system(&error))?;
    if directory.is_dir() {
        Ok(directory.join(name))
    } else {
        Err(StoreError::NotFound { path: named.path() })
    }
}

/// Looks at the first bytes of a file, so that SQLite opens, and repairs, no file of another application.
fn check_header(path: &Path, named: &Named) -> Result<(), StoreError> {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    let mut header = Vec::new();
    match File::open(path).and_then(|file| file.take(100).read_to_end(&mut header)) {
        Ok(_) => (),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(named.system(&error)),
    }
    // A journal undoes a creation that was interrupted: until then, what the file is does not show.
    if header.is_empty() || PathBuf::from(journal).exists() {
        return Ok(());
    }
    if header.len() < 100 || !header.starts_with(MAGIC) {
        return Err(named.format("it is not a database"));
    }
    // With another version SQLite would only read it.
    if !header[18..20].iter().all(|version| matches!(version, 1 | 2)) {
        return Err(named.damaged("its header is damaged"));
    }
    let number = |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (format, application_id) = (number(60), number(68));
    let pages = number(28);
    // An empty database, which may be what is left of an interrupted creation.
    if format == 0 && application_id == 0 && pages <= 1 {
        return Ok(());
    }
    schema::check_owner(named, application_id, format.into(), schema::newest(schema::FORMATS))
}

/// Connects to the file, and sets what needs no look at it.
fn connect(path: &Path, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
        None => Connection::open_with_flags(path, flags),
    }?;
    // A file that is refused is not changed on leaving it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.busy_timeout(Limits::STORE_BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(write::STATEMENTS);
    let cache = -(Limits::STORE_CACHE_BYTES as i64 / 1024);
    connection.pragma_update(None, "cache_size", cache)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // What is deleted is listed in memory, not in a file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // The directory as well: a journal that comes back after a loss of power would undo the creation.
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    Ok(connection)
}

/// A file that is being opened.
struct Opening<'a> {
    connection: Connection,
    lock: LockFile,
    named: Named,
    options: &'a StoreOptions,
    environment: &'a Environment,
}

impl Opening<'_> {
    /// Does everything in one transaction, which is rolled back when the file is refused.
    fn run(
        mut self,
        load: impl FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<(Database, Life), StoreError> {
        self.batch("BEGIN IMMEDIATE")?;
        let is_new = schema::prepare(&self.connection, &self.named, schema::FORMATS)?;
        let previous = if is_new { None } else { Some(self.check(load)?) };
        let meta = self.begin(previous.as_ref())?;
        self.batch("COMMIT")?;
        let is_system_ok = |result: io::Result<()>| result.map_err(|error| self.named.system(&error));
        is_system_ok(self.lock.write(meta.commits(), None))?;
        let page_size = self.configure()?;
        let State { next_id, unregistered, .. } = meta.state;
        let life =
            Life { epoch: meta.epoch, starts: meta.starts, next_id, unregistered: unregistered as usize };
        let previous = previous.map_or(PreviousEnd::New, |(_, end)| end);
        let log_pages = self.environment.log_pages as u64;
        let Self { connection, lock, named, .. } = self;
        Ok((
            Database {
                connection,
                lock,
                named,
                meta,
                previous,
                log_pages,
                checkpointed_at: 0,
                reserved: 0,
                page_size,
            },
            life,
        ))
    }

    fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.execute_batch(sql).map_err(|error| self.named.at_open(&error))
    }

    /// Loads everything, and returns the life before, and how it ended.
    fn check(
        &mut self,
        load: impl FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<(Meta, PreviousEnd), StoreError> {
        let meta = Meta::read(&self.connection, &self.named)?;
        let known = self.lock.known(meta.life).map_err(|error| self.named.system(&error))?;
        let end = meta.end(known, self.environment.boot.as_deref());
        load::check_pages(&self.connection, &self.named)?;
        let contents = load::load(&self.connection, &self.named, load)?;
        if contents != meta.state.contents {
            return Err(self.named.damaged("rows are missing, or there are too many"));
        }
        Ok((meta, end))
    }

    /// Begins another life.
    fn begin(&mut self, previous: Option<&(Meta, PreviousEnd)>) -> Result<Meta, StoreError> {
        let random = SysRng.try_next_u64().and_then(|life| Ok((LifeId(life), Epoch::random()?)));
        let (life, new_epoch) = random.map_err(|error| self.named.failed(error))?;
        let epoch = match previous {
            Some((meta, PreviousEnd::Clean | PreviousEnd::Unclean)) => meta.epoch,
            _ => new_epoch,
        };
        let state = previous.map(|(meta, _)| meta.state).unwrap_or_default();
        let meta = Meta {
            epoch,
            starts: previous.map_or(0, |(meta, _)| meta.starts) + 1,
            life,
            durability: self.options.durability,
            boot: self.environment.boot.clone(),
            clean: false,
            state: State { commits: 0, ..state },
        };
        // First, and synced: after a crash the store may be in either life.
        let before = previous.map(|(meta, _)| meta.commits());
        let announced = self.lock.write(meta.commits(), before).and_then(|()| self.lock.sync());
        announced.map_err(|error| self.named.system(&error))?;
        let write = || {
            if previous.is_none() {
                Meta::create(&self.connection)?;
            }
            meta.begin(&self.connection)
        };
        write().map_err(|error| self.named.at_open(&error))?;
        Ok(meta)
    }

    /// Sets what may change the file. Returns its page size.
    fn configure(&self) -> Result<i64, StoreError> {
        let set = || {
            let mode: String =
                self.connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
            let synchronous = match self.options.durability {
                Durability::Written => "NORMAL",
                Durability::Synced => "FULL",
            };
            self.connection.pragma_update(None, "synchronous", synchronous)?;
            self.connection.pragma_update(None, "journal_size_limit", Limits::STORE_LOG_BYTES as i64)?;
            self.connection
                .file_control(Some(MAIN), FileControl::ChunkSize(&mut (Limits::STORE_GROWTH as i32)))?;
            // So that the newest format, if it is new, is in the file, and not in the log.
            self.connection.wal_checkpoint_v2(Some(MAIN), CheckpointMode::PASSIVE)?;
            Ok((mode, self.connection.pragma_query_value(None, "page_size", |row| row.get(0))?))
        };
        let (mode, page_size) = set().map_err(|error| self.named.at_open(&error))?;
        match mode.as_str() {
            "wal" => Ok(page_size),
            _ => Err(self.named.access("it cannot have a log beside it")),
        }
    }
}

impl Commit for Database {
    fn write<'r>(&mut self, records: impl Iterator<Item = &'r Record> + Clone) -> Result<(), StoreError> {
        Self::write(self, records)
    }
}
