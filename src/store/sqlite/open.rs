//! Opens the file: keeps others out, looks at what it is, reads it, and begins another life.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::config::DbConfig;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, FileControl, OpenFlags};

use super::failure::Named;
use super::lock::{LifeId, LockFile};
use super::meta::{Meta, PreviousEnd, State};
use super::{Database, MAIN, is_busy, load, schema, write};
use crate::error::StoreError;
use crate::ids::Epoch;
use crate::limits::Limits;
use crate::store::{Durability, Life, Record, StoreOptions};

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
        let boot = match () {
            () if cfg!(target_os = "linux") => fs::read_to_string("/proc/sys/kernel/random/boot_id").ok(),
            () if cfg!(target_os = "macos") => {
                let sysctl = Command::new("/usr/sbin/sysctl").args(["-n", "kern.bootsessionuuid"]).output();
                sysctl.ok().and_then(|output| String::from_utf8(output.stdout).ok())
            }
            () => None,
        };
        let boot = boot.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        Self { vfs: None, boot, log_pages: Limits::STORE_LOG_PAGES }
    }
}

/// Opens or creates a file. See [`Database::open`].
pub(super) fn open(
    options: &StoreOptions,
    environment: &Environment,
    load: impl FnMut(Record) -> Result<(), StoreError>,
) -> Result<(Database, Life), StoreError> {
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
            match self.connection.wal_checkpoint_v2(Some(MAIN), CheckpointMode::PASSIVE) {
                Err(error) if is_busy(&error) => (),
                result => drop(result?),
            }
            Ok((mode, self.connection.pragma_query_value(None, "page_size", |row| row.get(0))?))
        };
        let (mode, page_size) = set().map_err(|error| self.named.at_open(&error))?;
        match mode.as_str() {
            "wal" => Ok(page_size),
            _ => Err(self.named.access("it cannot have a log beside it")),
        }
    }
}
