//! PostgreSQL: one connection an instance. Writers of all instances take turns, by an advisory lock that each transaction holds until its commit.
//!
//! Nothing here encrypts: the server is to be reached over a socket, on the same machine, or through a tunnel.

use std::collections::HashMap;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ::postgres::error::SqlState;
use ::postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use ::postgres::{Client, Config, NoTls, Statement};
use bytes::BytesMut;

use super::{Database, DatabaseError, Row, SCHEMA, Transaction, Value, Work};

/// "Vigie" in ASCII: the one lock that writers of this schema take.
const LOCK: &str = "SELECT pg_advisory_xact_lock(370845870437)";

/// A connection that is made again where it was lost.
pub struct Postgres {
    config: Config,
    client: Client,
    statements: HashMap<String, Statement>,
}

impl Postgres {
    /// Connects, and makes the tables where there are none. `url` is `postgres://user@host/name`, or `host=.. user=.. dbname=..`.
    ///
    /// # Errors
    /// [`DatabaseError`] where the server cannot be reached or refuses.
    pub fn connect(url: &str) -> Result<Self, DatabaseError> {
        let mut config: Config = url.parse()?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIME);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE).keepalives_idle(SILENCE / 2).keepalives_interval(SILENCE / 4);
        }
        let mut client = session(&config)?;
        let mut transaction = client.transaction()?;
        transaction.batch_execute(LOCK)?;
        transaction.batch_execute(SCHEMA)?;
        transaction.commit()?;
        Ok(Self { config, client, statements: HashMap::new() })
    }
}

/// Where a machine does not answer at all, others may: an address can stand for several.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// A machine of which the network hears nothing for so long is given up: it may have lost its power in the middle of a transaction.
const SILENCE: Duration = Duration::from_secs(8);

/// Statements stay prepared, their plans do not: one that was made for empty tables reads a crowd's tables whole, again and again, until the server
/// happens to look at them.
const PLANS: &str = "SET plan_cache_mode = force_custom_plan";

fn session(config: &Config) -> Result<Client, DatabaseError> {
    // The client makes a runtime of its own, and panics where the system has no descriptors for one.
    let connected = catch_unwind(AssertUnwindSafe(|| config.connect(NoTls)));
    let mut client = connected.map_err(|_| DatabaseError::NoClient)??;
    client.batch_execute(PLANS)?;
    Ok(client)
}

impl Database for Postgres {
    fn transaction(&mut self, work: Work<'_>) -> Result<(), DatabaseError> {
        if self.client.is_closed() {
            self.statements.clear();
            self.client = session(&self.config)?;
        }
        let mut inner = self.client.transaction()?;
        inner.batch_execute(LOCK)?;
        let mut open = Open { inner, statements: &mut self.statements };
        work(&mut open)?;
        Ok(open.inner.commit()?)
    }
}

struct Open<'a> {
    inner: ::postgres::Transaction<'a>,
    statements: &'a mut HashMap<String, Statement>,
}

impl Open<'_> {
    fn prepared(&mut self, statement: &str) -> Result<Statement, DatabaseError> {
        if let Some(prepared) = self.statements.get(statement) {
            return Ok(prepared.clone());
        }
        let prepared = self.inner.prepare(statement)?;
        self.statements.insert(statement.to_owned(), prepared.clone());
        Ok(prepared)
    }
}

impl Transaction for Open<'_> {
    fn query(&mut self, statement: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        let prepared = self.prepared(statement)?;
        self.inner.query(&prepared, &parameters(values))?.iter().map(row).collect()
    }

    fn execute(&mut self, statement: &str, values: &[Value]) -> Result<u64, DatabaseError> {
        if values.is_empty() && statement.contains("SAVEPOINT") {
            self.inner.batch_execute(statement)?;
            return Ok(0);
        }
        let prepared = self.prepared(statement)?;
        Ok(self.inner.execute(&prepared, &parameters(values))?)
    }
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

fn row(found: &::postgres::Row) -> Result<Row, DatabaseError> {
    let value = |at: usize| {
        Ok(match *found.columns()[at].type_() {
            Type::INT8 => found.try_get::<_, Option<i64>>(at)?.map_or(Value::Null, Value::Integer),
            Type::TEXT => found.try_get::<_, Option<String>>(at)?.map_or(Value::Null, Value::Text),
            Type::BYTEA => found.try_get::<_, Option<Vec<u8>>>(at)?.map_or(Value::Null, Value::Bytes),
            _ => return Err(DatabaseError::Column { column: at }),
        })
    };
    (0..found.len()).map(value).collect::<Result<_, _>>().map(Row)
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => number.to_sql_checked(ty, out),
            Self::Text(text) => text.to_sql_checked(ty, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Whether the server ends this session, does not take one now, is one that only reads - and may become the one that writes -, or is not there at all.
pub(super) fn is_away(error: &::postgres::Error) -> bool {
    const AWAY: [SqlState; 5] = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    match error.code() {
        Some(code) => AWAY.contains(code) || code.code().starts_with(CONNECTION_CLASS),
        None => error.is_closed() || error.source().is_some_and(<dyn Error>::is::<std::io::Error>),
    }
}

/// What all codes of connections begin with (SQL, class 08); a pooler answers so for a server.
const CONNECTION_CLASS: &str = "08";

/// Code and message; the details that follow them may quote a value.
pub(super) fn described(error: &::postgres::Error) -> String {
    match error.as_db_error() {
        Some(refused) => format!("{} ({})", refused.message(), refused.code().code()),
        None if error.is_closed() => "the connection is closed".to_owned(),
        None => error.to_string(),
    }
}
