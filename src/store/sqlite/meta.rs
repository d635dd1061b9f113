//! The one row that describes the store: its epoch, its life, and what its rows add up to.

use rusqlite::{Connection, params};

use super::checksum::{Checksum, Contents};
use super::failure::Named;
use super::lock::{Commits, Known, LifeId};
use crate::error::StoreError;
use crate::ids::Epoch;
use crate::store::Durability;

/// How the life of a store before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreviousEnd {
    /// There was none: the store is new.
    New,
    /// It was closed.
    Clean,
    /// It was not closed, and all that it had accepted is there.
    Unclean,
    /// What it had accepted last may be missing: the power failed, or the log is damaged, or the file is an older copy.
    Lossy,
}

/// The row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) epoch: Epoch,
    pub(super) starts: u64,
    pub(super) life: LifeId,
    pub(super) durability: Durability,
    pub(super) boot: Option<String>,
    pub(super) clean: bool,
    /// What changes with each commit.
    pub(super) state: State,
}

/// The part of the row that changes with each commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Commits of this life.
    pub(super) commits: u64,
    pub(super) next_id: u64,
    pub(super) unregistered: u64,
    pub(super) contents: Contents,
}

const READ: &str = "SELECT epoch, starts, life, durability, boot, clean, commits, next_id, unregistered, row_count, row_sum, \
    checksum FROM meta";
const CREATE: &str = "INSERT INTO meta VALUES ('', 0, '', '', NULL, 0, 0, 0, 0, 0, 0, 0)";
const BEGIN: &str = "UPDATE meta SET epoch = ?, starts = ?, life = ?, durability = ?, boot = ?, clean = ?";
const COMMIT: &str = "UPDATE meta SET commits = ?, next_id = ?, unregistered = ?, row_count = ?, row_sum = ?, checksum = ? \
    WHERE life = ?";

const fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::Written => "written",
        Durability::Synced => "synced",
    }
}

impl Meta {
    fn checksum(&self) -> i64 {
        let State { commits, next_id, unregistered, contents } = self.state;
        Checksum::of_table(1)
            .number(self.epoch.get().into())
            .number(self.starts as i64)
            .number(self.life.0 as i64)
            .bytes(durability_name(self.durability).as_bytes())
            .optional_bytes(self.boot.as_deref().map(str::as_bytes))
            .number(self.clean.into())
            .number(commits as i64)
            .number(next_id as i64)
            .number(unregistered as i64)
            .number(contents.rows)
            .number(contents.sum)
            .get()
    }

    /// Reads the row.
    pub(super) fn read(connection: &Connection, named: &Named) -> Result<Self, StoreError> {
        let failure = |error| named.at_open(&error);
        let mut statement = connection.prepare(READ).map_err(failure)?;
        let mut rows = statement.query([]).map_err(failure)?;
        let row =
            rows.next().map_err(failure)?.ok_or_else(|| named.damaged("it does not describe itself"))?;
        let (meta, checksum) = Self::from_row(row).map_err(failure)?;
        if rows.next().map_err(failure)?.is_some() {
            return Err(named.damaged("it describes itself twice"));
        }
        match meta {
            Some(meta) if meta.checksum() == checksum => Ok(meta),
            _ => Err(named.damaged("its description of itself is damaged")),
        }
    }

    fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Option<Self>, i64)> {
        let (epoch, life): (String, String) = (row.get(0)?, row.get(2)?);
        let durability = match row.get_ref(3)?.as_str()? {
            "written" => Some(Durability::Written),
            "synced" => Some(Durability::Synced),
            _ => None,
        };
        let contents = Contents { rows: row.get(9)?, sum: row.get(10)? };
        let (starts, boot, clean) = (row.get(1)?, row.get(4)?, row.get(5)?);
        let (commits, next_id, unregistered) = (row.get(6)?, row.get(7)?, row.get(8)?);
        let meta = || {
            let epoch = Epoch::from_u32(u32::from_str_radix(&epoch, 16).ok()?);
            let life = LifeId(u64::from_str_radix(&life, 16).ok()?);
            let state = State { commits, next_id, unregistered, contents };
            Some(Self { epoch, starts, life, durability: durability?, boot, clean, state })
        };
        Ok((meta(), row.get(11)?))
    }

    /// Creates the row, for [`Meta::begin`] to fill in.
    pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
        connection.execute(CREATE, []).map(drop)
    }

    /// Writes what describes the life. Returns whether it was written.
    pub(super) fn begin(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let epoch = self.epoch.to_string();
        let durability = durability_name(self.durability);
        let values = params![epoch, self.starts, self.life.digits(), durability, self.boot, self.clean];
        connection.execute(BEGIN, values)?;
        self.commit(connection)
    }

    /// Writes what changes with each commit. Returns false if the store is in another life: another server has opened it, which
    /// the lock should have kept out.
    pub(super) fn commit(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let State { commits, next_id, unregistered, contents } = self.state;
        let (Contents { rows, sum }, checksum, life) = (contents, self.checksum(), self.life.digits());
        let values = params![commits, next_id, unregistered, rows, sum, checksum, life];
        Ok(connection.prepare_cached(COMMIT)?.execute(values)? == 1)
    }

    /// Marks the end of the life as clean. Returns whether it was written.
    pub(super) fn end_clean(&self, connection: &Connection) -> rusqlite::Result<bool> {
        connection.execute("UPDATE meta SET clean = 1 WHERE life = ?", [self.life.digits()])?;
        self.commit(connection)
    }

    /// Returns the commits of this life.
    pub(super) fn commits(&self) -> Commits {
        Commits { life: self.life, count: self.state.commits }
    }

    /// Returns how this life ended, seen from the next one.
    pub(super) fn end(&self, known: Known, boot: Option<&str>) -> PreviousEnd {
        let is_complete = match known {
            Known::Commits(count) => count <= self.state.commits,
            Known::OtherLife => false,
            // Somebody has moved the file alone. If it was not closed, its log was left behind perhaps.
            Known::Nothing => self.clean,
        };
        let is_same_boot = boot.is_some() && self.boot.as_deref() == boot;
        match is_complete {
            true if self.clean => PreviousEnd::Clean,
            true if is_same_boot || self.durability == Durability::Synced => PreviousEnd::Unclean,
            _ => PreviousEnd::Lossy,
        }
    }
}
