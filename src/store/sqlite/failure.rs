//! Which [`StoreError`] a failure of SQLite or of the system is.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

use crate::error::StoreError;

/// The path of a store, to name in its errors.
#[derive(Clone, Debug)]
pub(super) struct Named(PathBuf);

impl Named {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn path(&self) -> String {
        self.0.display().to_string()
    }

    pub(super) fn damaged(&self, detail: impl Display) -> StoreError {
        StoreError::Damaged { path: self.path(), detail: detail.to_string() }
    }

    pub(super) fn format(&self, detail: impl Display) -> StoreError {
        StoreError::Format { path: self.path(), detail: detail.to_string() }
    }

    pub(super) fn failed(&self, detail: impl Display) -> StoreError {
        StoreError::Io { path: self.path(), detail: detail.to_string() }
    }

    pub(super) fn access(&self, detail: impl Display) -> StoreError {
        StoreError::Access { path: self.path(), detail: detail.to_string() }
    }

    /// Returns the error of a file beside the store, or of the store's own before SQLite has opened it.
    pub(super) fn system(&self, error: &io::Error) -> StoreError {
        let path = self.path();
        match error.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { path },
            io::ErrorKind::NotADirectory => StoreError::NotFound { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => self.access(error),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { path },
            _ => self.failed(error),
        }
    }

    /// Returns the error of SQLite while the store is opened.
    pub(super) fn at_open(&self, error: &rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => self.format(error),
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                self.access(error)
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                self.access(format_args!("another program is writing to it ({error})"))
            }
            _ => self.at_run(error),
        }
    }

    /// Returns the error of SQLite while the store is written or read.
    pub(super) fn at_run(&self, error: &rusqlite::Error) -> StoreError {
        use rusqlite::Error as Failure;
        // The index of the log is a file too, and grows by the page.
        const NO_ROOM_FOR_INDEX: Option<i32> = Some(ffi::SQLITE_IOERR_SHMSIZE);
        match error {
            Failure::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DiskFull => StoreError::Full { path: self.path() },
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => self.damaged(error),
                _ if Some(failure.extended_code) == NO_ROOM_FOR_INDEX => {
                    StoreError::Full { path: self.path() }
                }
                _ => self.failed(error),
            },
            Failure::FromSqlConversionFailure(..)
            | Failure::IntegralValueOutOfRange(..)
            | Failure::InvalidColumnType(..)
            | Failure::Utf8Error(..)
            | Failure::QueryReturnedNoRows => self.damaged(error),
            _ => self.failed(error),
        }
    }
}
