//! The schema and its versions.
//!
//! A new database is made from `schema.sql`. An older one goes through each migration after its version, each in one transaction together with
//! its number; a test holds the two together. A migration that was released is never changed.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::StoreError;

/// Stands in the header of each of our databases: "Vigi" in ASCII.
pub(super) const APPLICATION_ID: u32 = 0x5669_6769;

/// The version of `schema.sql`.
pub(super) const VERSION: u32 = 1 + MIGRATIONS.len() as u32;

/// From version 1 to 2, from 2 to 3, and so on.
const MIGRATIONS: [&str; 3] = [include_str!("migration_2.sql"), include_str!("migration_3.sql"), include_str!("migration_4.sql")];

/// Fills an empty database.
pub(super) fn create(tx: &Transaction) -> Result<(), StoreError> {
    tx.execute_batch(include_str!("schema.sql"))?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    Ok(())
}

/// Brings a database to the newest version. Says whether there was anything to do.
pub(super) fn migrate(conn: &mut Connection) -> Result<bool, StoreError> {
    let from = version(conn)?;
    for (to, sql) in (2..).zip(MIGRATIONS).skip_while(|(to, _)| *to <= from) {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", to)?;
        tx.commit()?;
        tracing::info!(version = to, "store migrated");
    }
    Ok(from < VERSION)
}

/// The version that the database says it has, changes in the write-ahead log included, which its first bytes may not show yet.
pub(super) fn version(conn: &Connection) -> Result<u32, StoreError> {
    match conn.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))? {
        0 => Err(StoreError::Corrupt),
        found if found > VERSION => Err(StoreError::NewerVersion { found, known: VERSION }),
        found => Ok(found),
    }
}
