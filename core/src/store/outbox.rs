//! What is on its way to servers: operations with all that is needed to repeat them, and notes by name.
//!
//! The store does not look inside: what an operation or a note holds is the courier's.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use zeroize::Zeroizing;

use super::{Store, StoreError, own_keys};
use crate::keys::schedule::Release;
use crate::time::Timestamp;

/// An operation on its way to a server, or what became of it. `Debug` shows nothing of its content.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its random number.
    pub id: i64,
    /// When it was made: it is erased 14 days later.
    pub made_at: Timestamp,
    /// When its next request is due; `None` where there is none.
    pub due: Option<Timestamp>,
    /// How often that request was tried.
    pub attempts: u32,
    /// What the courier needs to repeat it.
    pub content: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for OutboxEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, made_at, due, attempts, .. } = self;
        f.debug_struct("OutboxEntry")
            .field("id", id)
            .field("made_at", made_at)
            .field("due", due)
            .field("attempts", attempts)
            .finish_non_exhaustive()
    }
}

/// What changes together, in one transaction.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    /// How keys ended, and their successor.
    pub release: Option<&'a Release>,
    /// New operations.
    pub made: Vec<OutboxEntry>,
    /// Operations as they are now; left out where they have been erased in the meantime.
    pub changed: Vec<OutboxEntry>,
    /// Operations that go.
    pub dropped: Vec<i64>,
    /// Notes to keep, by name.
    pub notes: Vec<(String, Vec<u8>)>,
}

impl Store {
    /// All operations, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outbox(&self) -> Result<Vec<OutboxEntry>, StoreError> {
        self.read(|conn| {
            let mut entries = Vec::new();
            read_into(conn, &mut entries)?;
            Ok(entries)
        })
    }

    /// The operation with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outbox_entry(&self, id: i64) -> Result<Option<OutboxEntry>, StoreError> {
        self.read(|conn| {
            let mut query = conn.prepare_cached("SELECT id, made_at, due, attempts, content FROM outbox WHERE id = ?")?;
            Ok(query.query_row([id], decode).optional()?)
        })
    }

    /// Keeps all of it, or nothing where it fails.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_changes(&mut self, changes: &Changes<'_>) -> Result<(), StoreError> {
        self.write(|tx| {
            if let Some(release) = changes.release {
                own_keys::write_release(tx, release)?;
            }
            changes.made.iter().try_for_each(|entry| insert(tx, entry))?;
            for entry in &changes.changed {
                let due = entry.due.map(Timestamp::unix_ms);
                tx.prepare_cached("UPDATE outbox SET made_at = ?, due = ?, attempts = ?, content = ? WHERE id = ?")?
                    .execute(params![entry.made_at.unix_ms(), due, entry.attempts, *entry.content, entry.id])?;
            }
            for id in &changes.dropped {
                tx.prepare_cached("DELETE FROM outbox WHERE id = ?")?.execute([id])?;
            }
            changes.notes.iter().try_for_each(|(name, content)| write_note(tx, name, content))
        })
    }

    /// A note.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|conn| {
            let mut query = conn.prepare_cached("SELECT content FROM notes WHERE name = ?")?;
            Ok(query.query_row([name], |row| row.get(0)).optional()?)
        })
    }
}

pub(super) fn read_into(conn: &Connection, entries: &mut Vec<OutboxEntry>) -> Result<(), StoreError> {
    let mut query = conn.prepare_cached("SELECT id, made_at, due, attempts, content FROM outbox ORDER BY made_at, id")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        entries.push(decode(row)?);
    }
    Ok(())
}

fn decode(row: &Row) -> rusqlite::Result<OutboxEntry> {
    Ok(OutboxEntry {
        id: row.get(0)?,
        made_at: Timestamp::from_unix_ms(row.get(1)?),
        due: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_unix_ms),
        attempts: row.get(3)?,
        content: Zeroizing::new(row.get(4)?),
    })
}

pub(super) fn insert(tx: &Transaction, entry: &OutboxEntry) -> Result<(), StoreError> {
    let due = entry.due.map(Timestamp::unix_ms);
    tx.prepare_cached("INSERT INTO outbox (id, made_at, due, attempts, content) VALUES (?, ?, ?, ?, ?)")?.execute(params![
        entry.id,
        entry.made_at.unix_ms(),
        due,
        entry.attempts,
        *entry.content
    ])?;
    Ok(())
}

pub(super) fn read_notes_into(conn: &Connection, notes: &mut Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
    let mut query = conn.prepare_cached("SELECT name, content FROM notes")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        notes.push((row.get(0)?, row.get(1)?));
    }
    Ok(())
}

pub(super) fn write_note(tx: &Transaction, name: &str, content: &[u8]) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO notes (name, content) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET content = excluded.content",
    )?
    .execute(params![name, content])?;
    Ok(())
}
