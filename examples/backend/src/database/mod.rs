//! The database: SQLite in a file, or PostgreSQL where several instances share the load.
//!
//! Every statement is written once, in the dialect that both understand: parameters are `$1`, `$2` and so on, numbers are 64 bits, text is text and
//! everything else is bytes. A transaction is a closure: it is committed where the closure returns, and rolled back where it fails.

mod postgres;
mod sqlite;

use std::fmt;

pub use postgres::Postgres;
pub use sqlite::Sqlite;

/// The tables, in the dialect of PostgreSQL.
const SCHEMA: &str = include_str!("schema.sql");

/// A value that goes into a statement or comes out of one.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// What is in a database never goes to a log.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(..)")
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Integer)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

/// A row of an answer.
#[derive(Debug)]
pub struct Row(Vec<Value>);

impl Row {
    /// The number in this column.
    ///
    /// # Errors
    /// [`DatabaseError::Column`] where it is something else.
    pub fn integer(&self, column: usize) -> Result<i64, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Integer(number)) => Ok(*number),
            _ => Err(DatabaseError::Column { column }),
        }
    }

    /// The number in this column, or nothing.
    ///
    /// # Errors
    /// [`DatabaseError::Column`] where it is something else.
    pub fn optional_integer(&self, column: usize) -> Result<Option<i64>, DatabaseError> {
        if self.0.get(column) == Some(&Value::Null) { Ok(None) } else { self.integer(column).map(Some) }
    }

    /// The text in this column.
    ///
    /// # Errors
    /// [`DatabaseError::Column`] where it is something else.
    pub fn text(&self, column: usize) -> Result<&str, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(DatabaseError::Column { column }),
        }
    }

    /// The text in this column, or nothing.
    ///
    /// # Errors
    /// [`DatabaseError::Column`] where it is something else.
    pub fn optional_text(&self, column: usize) -> Result<Option<&str>, DatabaseError> {
        if self.0.get(column) == Some(&Value::Null) { Ok(None) } else { self.text(column).map(Some) }
    }

    /// The bytes in this column.
    ///
    /// # Errors
    /// [`DatabaseError::Column`] where it is something else.
    pub fn bytes(&self, column: usize) -> Result<&[u8], DatabaseError> {
        match self.0.get(column) {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            _ => Err(DatabaseError::Column { column }),
        }
    }

    /// The bytes in this column, or nothing.
    ///
    /// # Errors
    /// [`DatabaseError::Column`] where it is something else.
    pub fn optional_bytes(&self, column: usize) -> Result<Option<&[u8]>, DatabaseError> {
        if self.0.get(column) == Some(&Value::Null) { Ok(None) } else { self.bytes(column).map(Some) }
    }
}

/// What a rule can do with the database while its transaction is open.
pub trait Transaction {
    /// The rows that a statement gives.
    ///
    /// # Errors
    /// [`DatabaseError`] where the database refuses.
    fn query(&mut self, statement: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseError>;

    /// How many rows a statement changed.
    ///
    /// # Errors
    /// [`DatabaseError`] where the database refuses.
    fn execute(&mut self, statement: &str, values: &[Value]) -> Result<u64, DatabaseError>;
}

/// What is done inside a transaction.
pub type Work<'a> = &'a mut dyn FnMut(&mut dyn Transaction) -> Result<(), DatabaseError>;

/// A connection on which transactions run one after the other.
pub trait Database: Send {
    /// Runs `work` in a transaction that no other writer of any instance runs beside. It is durable when this returns.
    ///
    /// # Errors
    /// [`DatabaseError`] of the work, or of beginning and committing; nothing is changed then.
    fn transaction(&mut self, work: Work<'_>) -> Result<(), DatabaseError>;

    /// Makes what was erased unreadable also in the database's journal, as far as that is the program's business. Whether that is done: another process
    /// may be reading just now.
    ///
    /// # Errors
    /// [`DatabaseError`].
    fn purge(&mut self) -> Result<bool, DatabaseError> {
        Ok(true)
    }
}

impl dyn Database + '_ {
    /// Runs a rule in a transaction of its own.
    ///
    /// # Errors
    /// The rule's error, or [`DatabaseError`] of the transaction; nothing is changed then.
    pub fn run<T, E: From<DatabaseError>>(&mut self, mut rule: impl FnMut(&mut dyn Transaction) -> Result<T, E>) -> Result<T, E> {
        let mut answer = None;
        let ended = self.transaction(&mut |transaction| {
            let given = rule(transaction);
            let is_refused = given.is_err();
            answer = Some(given);
            if is_refused { Err(DatabaseError::Undone) } else { Ok(()) }
        });
        match (answer, ended) {
            (Some(Err(refusal)), _) => Err(refusal),
            (Some(Ok(answer)), Ok(())) => Ok(answer),
            (_, Err(e)) => Err(e.into()),
            (None, Ok(())) => Err(DatabaseError::Undone.into()),
        }
    }
}

/// What is wrong with the database. The text holds nothing of what was to be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// SQLite refuses.
    #[error("SQLite: {}", sqlite::described(.0))]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL refuses.
    #[error("PostgreSQL: {}", postgres::described(.0))]
    Postgres(#[from] ::postgres::Error),
    /// A column does not hold what it should: the database is of another version, or damaged.
    #[error("column {column} of an answer holds something else than expected")]
    Column {
        /// Its number, from 0.
        column: usize,
    },
    /// The secrets in the data folder are not those with which the database was made.
    #[error("this database belongs to other secrets; every instance needs the same folder `keys`")]
    OtherSecrets,
    /// The database was made by another version of this program.
    #[error("this database was made by another version of vigie-backend, and its tables are others; begin with an empty one")]
    OtherTables,
    /// The system lets no connection be made, such as where it has no descriptors left.
    #[error("the client of PostgreSQL cannot be started; the system may have no descriptors left")]
    NoClient,
    /// The transaction was rolled back because its rule refused.
    #[error("rolled back")]
    Undone,
}

impl DatabaseError {
    /// Whether the database is not there just now; a moment later it may be.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Postgres(error) => postgres::is_away(error),
            Self::NoClient => true,
            _ => false,
        }
    }
}
