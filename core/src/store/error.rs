//! What can go wrong with a store, and how SQLite's codes read in our words.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::vault::VaultError;
use crate::time::EnIntervalNumber;

/// Why the store did not do what it was asked. Nothing of it was done then.
///
/// No message holds anything that is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is something else than a database of Vigie. It was left as it is.
    #[error("{} is not a store of Vigie; it was left as it is", path.display())]
    NotAVigieStore {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of Vigie has written the database. It was left as it is.
    #[error("the store has version {found}, this program knows versions up to {known}; update the app")]
    NewerVersion {
        /// The version of the database.
        found: u32,
        /// The latest version that this one knows.
        known: u32,
    },
    /// Another process, or another part of this one, has the store open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// Another program holds SQLite's lock on the database for longer than we wait. It may be tried again.
    #[error("another program holds a lock on the store; try again")]
    Locked,
    /// There is no room. It may be tried again when there is.
    #[error("the disk is full; free some space")]
    DiskFull,
    /// The system does not let us read or write the files.
    #[error("no permission to read and write the store's files")]
    NoPermission,
    /// The database is damaged. Opening it again salvages what can be read, where the damage is confirmed.
    #[error("the store is damaged; open it again to salvage what can be read")]
    Corrupt,
    /// The store is sealed, and was opened without a key vault. Nothing was changed.
    #[error("the store is sealed; open it with the key vault of the device that made it")]
    Sealed,
    /// The key vault did not open or make the store's data key. Nothing was changed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The identifier of this interval, or of a later one of the same key, may have been sent already. Take the next one.
    #[error("interval {} of this key is not later than {}, which was sent", found.number(), sent.number())]
    AlreadySent {
        /// The interval that was to be sent.
        found: EnIntervalNumber,
        /// The latest one that was sent.
        sent: EnIntervalNumber,
    },
    /// The system failed to do something with a file.
    #[error("a file of the store could not be used: {kind}")]
    Io {
        /// What it said.
        kind: io::ErrorKind,
    },
    /// SQLite failed in another way.
    #[error("SQLite failed with code {code}: {message}")]
    Sqlite {
        /// Its extended result code.
        code: i32,
        /// What the code means.
        message: &'static str,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        match error {
            E::SqliteFailure(failure, _) | E::SqlInputError { error: failure, .. } => from_code(failure),
            // The schema promises types and ranges: a row that breaks the promise was not written by us.
            E::FromSqlConversionFailure(..) | E::InvalidColumnType(..) | E::IntegralValueOutOfRange(..) | E::Utf8Error(..) => {
                Self::Corrupt
            }
            E::QueryReturnedNoRows => Self::Corrupt,
            _ => Self::Sqlite { code: rusqlite::ffi::SQLITE_MISUSE, message: "the library was used in a wrong way" },
        }
    }
}

fn from_code(failure: rusqlite::ffi::Error) -> StoreError {
    match failure.code {
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Locked,
        ErrorCode::DiskFull => StoreError::DiskFull,
        ErrorCode::PermissionDenied | ErrorCode::ReadOnly => StoreError::NoPermission,
        _ => StoreError::Sqlite { code: failure.extended_code, message: rusqlite::ffi::code_to_str(failure.extended_code) },
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NoPermission,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            kind => Self::Io { kind },
        }
    }
}
