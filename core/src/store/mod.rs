//! Everything that is kept, in one SQLite database: own keys, encounters, exposures, alerts, how far key files have been
//! matched, and what is on its way to servers.
//!
//! The store keeps and gives back; it decides nothing, except how long. What it promises:
//!
//! - What a method has kept when it returns survives a loss of power (`synchronous=FULL`, for everything: encounters come in batches, which
//!   bounds what that costs). What it reports as failed was not done, or will be seen as done: each change is one transaction.
//! - What is older than 14 days is [erased for good](Store::erase_expired), from the database, its free pages and its log.
//! - A file that is not ours is refused before anything is written, even beside it. One [`Store`] at a time has a database open.
//! - A damaged database is never an end: own keys and alerts are [salvaged](Opened::Recovered), and tracing goes on.
//! - Where the device has a [key vault](KeyVault), own keys, what is on its way to servers, and notes are sealed under a key that only that device's
//!   vault unwraps. Encounters are not: they are read as a whole by each check, and hold what everybody near by could hear.
//! - No diagnosis key is ever stored: an exposure is named by a keyed hash, under a [secret](Store::secret) of this store.
//!
//! The tables are in `schema.sql`, the files beside the database in `files.rs`.

mod codec;
mod encounters;
mod erasure;
mod error;
mod exposures;
mod files;
mod look;
mod open;
mod outbox;
mod own_keys;
mod salvage;
mod schema;
mod seal;
mod sealing;
mod vault;

use std::fmt;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::time::{ClockDoubt, ClockState, Timestamp};
pub use erasure::Erasure;
pub use error::StoreError;
pub use exposures::FileProgress;
pub use look::Look;
pub use open::Opened;
pub use outbox::{Changes, OutboxEntry};
use seal::Seal;
pub use vault::{KeyVault, VaultError};

/// An open database. Dropping it closes it.
pub struct Store {
    // In this order: the lock goes after SQLite has closed its files.
    conn: Connection,
    seal: Seal,
    home: Option<open::Home>,
}

/// 32 random bytes, made with the store and changed by [`Store::erase_everything`]: the key of the hash that names exposures.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StoreSecret([u8; 32]);

impl StoreSecret {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for StoreSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreSecret(..)")
    }
}

impl Store {
    /// The key of the hash that names exposures.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn secret(&self) -> Result<StoreSecret, StoreError> {
        self.read(read_secret)
    }

    /// What was last kept of the clock.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn clock_state(&self) -> Result<Option<ClockState>, StoreError> {
        self.read(read_clock_state)
    }

    /// Keeps what is known of the clock.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_clock_state(&mut self, clock: ClockState) -> Result<(), StoreError> {
        self.write(|tx| write_clock_state(tx, clock))
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.read_sealed(|conn, _| query(conn))
    }

    /// The same of what may be sealed.
    fn read_sealed<T>(&self, query: impl FnOnce(&Connection, &Seal) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.noting_damage(query(&self.conn, &self.seal))
    }

    /// One transaction: all of `change`, or nothing where it fails. Lasting on return.
    fn write<T>(&mut self, change: impl FnOnce(&Transaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.write_sealed(|tx, _| change(tx))
    }

    /// The same of what may be sealed.
    fn write_sealed<T>(&mut self, change: impl FnOnce(&Transaction, &Seal) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let changed = transact(&mut self.conn, |tx| change(tx, &self.seal));
        self.noting_damage(changed)
    }

    fn noting_damage<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let (Err(StoreError::Corrupt), Some(home)) = (&result, &self.home) {
            tracing::error!("the store is damaged");
            // The damage itself is the error to report; without the mark the next opening may need another failure to see it.
            let _ = home.lock.mark_damaged();
        }
        result
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.home.as_ref().map(|home| &home.path)).finish_non_exhaustive()
    }
}

fn transact<T>(conn: &mut Connection, change: impl FnOnce(&Transaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = change(&tx)?;
    tx.commit()?;
    Ok(value)
}

fn read_secret(conn: &Connection) -> Result<StoreSecret, StoreError> {
    let mut query = conn.prepare_cached("SELECT secret FROM state")?;
    let mut rows = query.query([])?;
    codec::bytes(rows.next()?.ok_or(StoreError::Corrupt)?, 0).map(StoreSecret)
}

fn read_clock_state(conn: &Connection) -> Result<Option<ClockState>, StoreError> {
    let (seen, ahead_ms, since): (Option<i64>, Option<i64>, Option<i64>) =
        conn.query_row("SELECT clock_last_seen, clock_ahead_ms, clock_doubted_since FROM state", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let doubt = ahead_ms.zip(since).map(|(ahead_ms, since)| ClockDoubt { ahead_ms, since: Timestamp::from_unix_ms(since) });
    Ok(seen.map(|seen| ClockState { last_seen: Timestamp::from_unix_ms(seen), doubt }))
}

fn write_clock_state(tx: &Transaction, clock: ClockState) -> Result<(), StoreError> {
    let (ahead_ms, since) = clock.doubt.map(|doubt| (doubt.ahead_ms, doubt.since.unix_ms())).unzip();
    tx.prepare_cached("UPDATE state SET clock_last_seen = ?, clock_ahead_ms = ?, clock_doubted_since = ?")?.execute(params![
        clock.last_seen.unix_ms(),
        ahead_ms,
        since
    ])?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
