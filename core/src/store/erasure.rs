//! Erasing for good.
//!
//! A deleted row is not gone. SQLite leaves its bytes in the page until something overwrites them; copies that were left behind when pages were
//! split or moved stay even with `secure_delete`; and the write-ahead log keeps whole pages as they were. So an erasure is four steps, each
//! of which a crash, a full disk or another program's reader may hold up, and the database remembers what is still to do:
//!
//! ```text
//! delete              the rows, overwritten in their pages (secure_delete=ON), and the note that VACUUM is to do: one transaction
//! truncate the log    the overwritten pages reach the database, older copies of them go: what holds even where VACUUM finds no room
//! VACUUM              every page is written anew from the rows that are left
//! truncate the log    the new pages replace the old ones, and the database file is cut
//! ```
//!
//! Truncating is `wal_checkpoint(TRUNCATE)`. A reader on an older state keeps it from its end, which only the column `busy` of its answer says.
//!
//! What this cannot do: make a file system or a flash chip forget blocks that it has given back.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand_core::CryptoRng;
use rusqlite::{Connection, Transaction};

use super::seal::Seal;
use super::{Store, StoreError, StoreSecret, files, open, own_keys};
use crate::time::{RETENTION_DAYS, Timestamp};

/// How far an erasure came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erasure {
    /// There was nothing to erase.
    Nothing,
    /// No byte of what was to be erased is left in the database's files.
    Done,
    /// The rows are gone, but their bytes may still be in the files: another program was reading. The next call goes on, even after a restart.
    Pending,
}

/// What the database remembers to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing = 0,
    Vacuum = 1,
    TruncateLog = 2,
}

const TABLES: [&str; 9] =
    ["own_keys", "encounters", "contacts", "exposures", "alerts", "files", "calibrations", "outbox", "notes"];

impl Store {
    /// Erases for good what is older than 14 whole days, or more than a day younger than `now`, left by a clock that was wrong: own keys, encounters, exposures, alerts,
    /// marks of files, reports, and databases set aside.
    /// Goes on with an earlier erasure that is pending.
    ///
    /// # Errors
    /// [`StoreError`]; what is missing is done by the next call.
    pub fn erase_expired(&mut self, now: Timestamp) -> Result<Erasure, StoreError> {
        let kept = kept_until(now);
        let set_aside = self.erase_set_aside(Some(&kept))?;
        self.write_sealed(|tx, seal| delete_expired(tx, seal, now, &kept))?;
        Ok(match self.finish_erasure()? {
            Erasure::Nothing if set_aside => Erasure::Done,
            erasure => erasure,
        })
    }

    /// Erases everything for good, the secret and the data key included; new ones are made, and the store goes on as a new one.
    ///
    /// # Errors
    /// [`StoreError`]; call it again then.
    pub fn erase_everything(&mut self, rng: &mut (impl CryptoRng + ?Sized)) -> Result<Erasure, StoreError> {
        self.erase_set_aside(None)?;
        let secret = StoreSecret::generate(rng);
        let seal = Seal::generate(self.home.as_ref().and_then(open::Home::vault), rng)?;
        self.write(|tx| {
            for table in TABLES {
                tx.execute(&format!("DELETE FROM {table}"), [])?;
            }
            tx.execute("DELETE FROM state", [])?;
            open::write_state(tx, &secret, &seal)?;
            must_vacuum(tx)
        })?;
        self.seal = seal;
        self.finish_erasure()
    }

    /// Goes on with an erasure that is [pending](Erasure::Pending).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn finish_erasure(&mut self) -> Result<Erasure, StoreError> {
        let finished = take_steps(&self.conn);
        self.noting_damage(finished)
    }

    /// Whether an erasure is [pending](Erasure::Pending).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn erasure_is_pending(&self) -> Result<bool, StoreError> {
        self.read(|conn| Ok(next_step(conn)? != Step::Nothing))
    }

    fn erase_set_aside(&self, kept: Option<&RangeInclusive<Timestamp>>) -> Result<bool, StoreError> {
        self.home.as_ref().map_or(Ok(false), |home| Ok(files::erase_set_aside(&home.path, kept)?))
    }
}

impl StoreSecret {
    pub(super) fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut secret = Self([0; 32]);
        rng.fill_bytes(&mut secret.0);
        secret
    }
}

/// Goes on with what is still to do.
pub(super) fn take_steps(conn: &Connection) -> Result<Erasure, StoreError> {
    let step = next_step(conn)?;
    if step == Step::Nothing {
        return Ok(Erasure::Nothing);
    }
    // Before VACUUM as well: where a reader stays for long, the log must not grow by the whole database each time.
    if !truncate_log(conn)? {
        return Ok(Erasure::Pending);
    }
    if step == Step::Vacuum {
        conn.execute_batch("VACUUM")?;
        set_step(conn, Step::TruncateLog)?;
        if !truncate_log(conn)? {
            return Ok(Erasure::Pending);
        }
    }
    set_step(conn, Step::Nothing)?;
    Ok(Erasure::Done)
}

/// Moves the log into the database and cuts it to nothing. `false` where another connection kept it from that.
pub(super) fn truncate_log(conn: &Connection) -> Result<bool, StoreError> {
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(busy == 0)
}

/// What was stamped in this time is kept.
fn kept_until(now: Timestamp) -> RangeInclusive<Timestamp> {
    const A_DAY: Duration = Duration::from_secs(86_400);
    now.date().minus(RETENTION_DAYS).first_interval().start()..=now.after(A_DAY)
}

fn delete_expired(tx: &Transaction, seal: &Seal, now: Timestamp, kept: &RangeInclusive<Timestamp>) -> Result<(), StoreError> {
    let mut deleted = 0;
    for (id, own) in own_keys::read_with_ids(tx, seal)? {
        if own.is_expired(now.interval()) || own.key.rolling_start() > kept.end().interval() {
            deleted += tx.execute("DELETE FROM own_keys WHERE id = ?", [id])?;
        }
    }
    for (table, column) in [("encounters", "time"), ("contacts", "time"), ("files", "marked_at"), ("outbox", "made_at")] {
        let outside = format!("DELETE FROM {table} WHERE {column} NOT BETWEEN ? AND ?");
        deleted += tx.execute(&outside, [kept.start().unix_ms(), kept.end().unix_ms()])?;
    }
    deleted += tx.execute("DELETE FROM exposures WHERE NOT EXISTS (SELECT 1 FROM contacts WHERE exposure = exposures.id)", [])?;
    deleted +=
        tx.execute("DELETE FROM alerts WHERE date NOT BETWEEN ? AND ?", [kept.start().date().days(), kept.end().date().days()])?;
    if deleted > 0 { must_vacuum(tx) } else { Ok(()) }
}

/// Notes that bytes of what this transaction changes must not stay in the files.
pub(super) fn must_vacuum(tx: &Transaction) -> Result<(), StoreError> {
    set_step(tx, Step::Vacuum)
}

fn next_step(conn: &Connection) -> Result<Step, StoreError> {
    match conn.query_row("SELECT erasure FROM state", [], |row| row.get(0))? {
        0 => Ok(Step::Nothing),
        1 => Ok(Step::Vacuum),
        2 => Ok(Step::TruncateLog),
        _ => Err(StoreError::Corrupt),
    }
}

fn set_step(conn: &Connection, step: Step) -> Result<(), StoreError> {
    conn.execute("UPDATE state SET erasure = ?", [step as i64])?;
    Ok(())
}

#[cfg(test)]
mod tests;
