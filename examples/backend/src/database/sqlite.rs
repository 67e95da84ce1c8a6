//! SQLite: WAL, every commit synchronised to the disk, one writer.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, Value as Stored};
use rusqlite::{Connection, ErrorCode, ToSql, TransactionBehavior, params_from_iter};

use super::{Database, DatabaseError, Row, SCHEMA, Transaction, Value, Work};

/// How long to wait for another process, such as `vigie-backend issue` beside the server.
const BUSY: Duration = Duration::from_secs(10);

/// How often it is looked whether it is done.
const LOOK: Duration = Duration::from_millis(10);

/// Statements that stay prepared; there are about 60, those for many rows in three sizes.
const PREPARED: usize = 128;

/// Pages that are kept in memory, in KiB, as SQLite counts it: what a crowd of 25,000 touches again and again - their random ids - is read once.
const CACHE_KIB: i64 = -16 * 1_024;

/// Pages of the journal of writes before they are brought into the database: 16 MiB. A crowd writes the pages with its random ids again and again.
const CHECKPOINT_PAGES: i64 = 4_096;

/// A database in a file, or in memory for simulations and tests.
pub struct Sqlite(Connection);

impl Sqlite {
    /// Opens or makes the database.
    ///
    /// # Errors
    /// [`DatabaseError`] where the file cannot be used.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        for_owner_alone(path);
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        keep_a_journal(&connection)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        // What a savepoint would undo is kept in memory: it would be in a file of everybody's folder otherwise, pages of people and all.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        Self::prepare(connection)
    }

    /// A database that ends with this value.
    ///
    /// # Errors
    /// [`DatabaseError`] where there is no memory.
    pub fn in_memory() -> Result<Self, DatabaseError> {
        Self::prepare(Connection::open_in_memory()?)
    }

    fn prepare(mut connection: Connection) -> Result<Self, DatabaseError> {
        connection.pragma_update(None, "secure_delete", true)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(&dialect(SCHEMA))?;
        transaction.commit()?;
        Ok(Self(connection))
    }
}

/// Makes the file before SQLite does, which lets everybody read it; SQLite gives the files beside it the same rights. Where this fails, opening
/// says why.
fn for_owner_alone(path: &Path) {
    let mut options = std::fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let _ = options.write(true).create_new(true).open(path);
}

/// Row numbers would keep the order in which people reported, so there are none. Where the key itself is a number it is the row number: adding rows at
/// the end is cheap then, as a crowd of sign-ups does.
fn dialect(schema: &str) -> String {
    let end = "\n);\n";
    let table = |text: &str| {
        if text.contains("BIGINT PRIMARY KEY") {
            text.replace("BIGINT PRIMARY KEY", "INTEGER PRIMARY KEY")
        } else {
            text.replace(end, "\n) WITHOUT ROWID;\n")
        }
    };
    schema.split_inclusive(end).map(table).collect::<String>().replace("BYTEA", "BLOB")
}

impl Database for Sqlite {
    fn transaction(&mut self, work: Work<'_>) -> Result<(), DatabaseError> {
        let mut transaction = Open(self.0.transaction_with_behavior(TransactionBehavior::Immediate)?);
        work(&mut transaction)?;
        Ok(transaction.0.commit()?)
    }

    /// Erased bytes are overwritten in the file (`secure_delete`); the journal of writes has them until it is emptied.
    fn purge(&mut self) -> Result<bool, DatabaseError> {
        let is_blocked: i64 = self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(is_blocked == 0)
    }
}

struct Open<'a>(rusqlite::Transaction<'a>);

impl Transaction for Open<'_> {
    fn query(&mut self, statement: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        let mut prepared = self.0.prepare_cached(&statement.replace('$', "?"))?;
        let columns = prepared.column_count();
        let mut rows = prepared.query(params_from_iter(values))?;
        let mut answer = Vec::new();
        while let Some(row) = rows.next()? {
            let values: Result<Vec<Value>, rusqlite::Error> = (0..columns).map(|at| row.get::<_, Stored>(at).map(from)).collect();
            answer.push(Row(values?));
        }
        Ok(answer)
    }

    fn execute(&mut self, statement: &str, values: &[Value]) -> Result<u64, DatabaseError> {
        Ok(self.0.prepare_cached(&statement.replace('$', "?"))?.execute(params_from_iter(values))? as u64)
    }
}

fn from(stored: Stored) -> Value {
    match stored {
        Stored::Integer(number) => Value::Integer(number),
        Stored::Text(text) => Value::Text(text),
        Stored::Blob(bytes) => Value::Bytes(bytes),
        Stored::Null | Stored::Real(_) => Value::Null,
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Null => Ok(ToSqlOutput::Owned(Stored::Null)),
            Self::Integer(number) => number.to_sql(),
            Self::Text(text) => text.to_sql(),
            Self::Bytes(bytes) => bytes.to_sql(),
        }
    }
}

/// SQLite's own words name tables and columns, not values; those of rusqlite may quote a value.
pub(super) fn described(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, text) => text.clone().unwrap_or_else(|| code.to_string()),
        _ => "a statement and its values do not fit together".to_owned(),
    }
}

/// A log beside the database, which may be read while it is written. SQLite waits for no lock here, and another process may be doing the same.
fn keep_a_journal(connection: &Connection) -> Result<(), rusqlite::Error> {
    let begun = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && begun.elapsed() < BUSY => {
                thread::sleep(LOOK);
            }
            ended => return ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_processes_may_make_the_same_database_at_once() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("backend.sqlite");
            thread::scope(|scope| {
                let opening: Vec<_> = (0..4).map(|_| scope.spawn(|| Sqlite::open(&path).map(drop))).collect();
                for opened in opening {
                    opened.join().unwrap().unwrap();
                }
            });
        }
    }

    #[test]
    fn it_is_told_to_synchronise_to_keep_savepoints_in_memory_and_to_overwrite() {
        let folder = tempfile::tempdir().unwrap();
        let Sqlite(connection) = Sqlite::open(&folder.path().join("x.sqlite")).unwrap();
        let is = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
        let (full, memory, yes) = (2, 2, 1);
        assert_eq!((is("synchronous"), is("temp_store"), is("secure_delete")), (full, memory, yes));
    }
}
