//! A look at a database that changes nothing, not even beside it: for a program that says how things stand.
//!
//! SQLite would write files beside a database to read it; told that it is immutable, it does not. That holds while nobody has it open, and where
//! no log is beside it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{self, Path};

use rusqlite::{Connection, OpenFlags};

use super::files::{self, Found};
use super::seal::Seal;
use super::{Store, StoreError, open, read_clock_state, sealing};
use crate::time::Timestamp;

/// What lies where a store should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Look {
    /// Nothing yet.
    Nothing,
    /// A store that somebody has open. It was not looked into.
    InUse,
    /// A store that was not closed, such as after a loss of power; opening it goes on from its log. It was not looked into.
    NotClosed,
    /// A damaged store; opening it salvages what can be read.
    Damaged,
    /// A store in order.
    Sound {
        /// When it was last in use, by the clock of then.
        last_seen: Option<Timestamp>,
    },
}

impl Store {
    /// Looks at `path` without changing anything. Reads all of it; whoever opens the store meanwhile is told that it is in use.
    ///
    /// # Errors
    /// [`StoreError`], as opening it would give.
    pub fn look(path: &Path) -> Result<Look, StoreError> {
        let path = path::absolute(path)?;
        let lock = match File::open(files::sibling(&path, "-lock")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            lock => Some(lock?),
        };
        match lock.as_ref().map(File::try_lock_shared).transpose() {
            Ok(_) => (),
            Err(TryLockError::WouldBlock) => return Ok(Look::InUse),
            Err(TryLockError::Error(e)) => return Err(e.into()),
        }
        let is_replaced = files::inspect(&files::sibling(&path, "-recovered")) == Ok(Found::Ours);
        match files::inspect(&path)? {
            _ if is_replaced => return Ok(Look::Damaged),
            Found::Nothing => return Ok(Look::Nothing),
            Found::Ours => (),
        }
        OpenOptions::new().read(true).write(true).open(&path)?;
        if lock.map(|file| file.metadata()).transpose()?.is_some_and(|found| found.len() > 0) {
            return Ok(Look::Damaged);
        }
        if files::has_log(&path) {
            return Ok(Look::NotClosed);
        }
        match last_seen(&path) {
            Ok(last_seen) => Ok(Look::Sound { last_seen }),
            Err(StoreError::Corrupt) => Ok(Look::Damaged),
            Err(e) => Err(e),
        }
    }
}

fn last_seen(path: &Path) -> Result<Option<Timestamp>, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(immutable(path), flags)?;
    conn.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;")?;
    // Without a vault what is sealed cannot be read; SQLite looks at its pages all the same.
    let seal = sealing::read_wrapped(&conn)?.is_none().then_some(Seal::PLAIN);
    open::check(&conn, seal.as_ref())?;
    Ok(read_clock_state(&conn)?.map(|clock| clock.last_seen))
}

/// An absolute path as SQLite's URI (SQLite, "Uniform Resource Identifiers").
fn immutable(path: &Path) -> String {
    let mut uri = String::from(if cfg!(windows) { "file:///" } else { "file://" });
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'\\' if cfg!(windows) => uri.push('/'),
            b'/' | b':' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri + "?immutable=1"
}
