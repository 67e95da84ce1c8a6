//! What is on its way to servers: operations with all that is needed to repeat them, and notes by name.
//!
//! The store does not look inside: what an operation or a note holds is the courier's.

use std::fmt;

use rusqlite::{Connection, Row, Transaction, params};
use zeroize::Zeroizing;

use super::seal::{Place, Seal};
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

/// A name, and what is kept under it.
pub(super) type Note = (String, Zeroizing<Vec<u8>>);

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
        self.read_sealed(|conn, seal| {
            let mut entries = Vec::new();
            read_into(conn, seal, &mut entries)?;
            Ok(entries)
        })
    }

    /// The operation with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outbox_entry(&self, id: i64) -> Result<Option<OutboxEntry>, StoreError> {
        self.read_sealed(|conn, seal| {
            let mut query = conn.prepare_cached("SELECT id, made_at, due, attempts, content FROM outbox WHERE id = ?")?;
            query.query([id])?.next()?.map(|row| decode(row, seal)).transpose()
        })
    }

    /// Keeps all of it, or nothing where it fails.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_changes(&mut self, changes: &Changes<'_>) -> Result<(), StoreError> {
        self.write_sealed(|tx, seal| {
            if let Some(release) = changes.release {
                own_keys::write_release(tx, seal, release)?;
            }
            changes.made.iter().try_for_each(|entry| insert(tx, seal, entry))?;
            changes.changed.iter().try_for_each(|entry| change(tx, seal, entry))?;
            for id in &changes.dropped {
                tx.prepare_cached("DELETE FROM outbox WHERE id = ?")?.execute([id])?;
            }
            changes.notes.iter().try_for_each(|(name, content)| write_note(tx, seal, name, content))
        })
    }

    /// A note.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_sealed(|conn, seal| {
            let mut query = conn.prepare_cached("SELECT content FROM notes WHERE name = ?")?;
            let mut rows = query.query([name])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            Ok(Some(std::mem::take(&mut *seal.open_column(Place::Note(name), row, 0)?)))
        })
    }
}

/// All operations; what could be read in spite of an error is in `entries`.
pub(super) fn read_into(conn: &Connection, seal: &Seal, entries: &mut Vec<OutboxEntry>) -> Result<(), StoreError> {
    let mut query = conn.prepare_cached("SELECT id, made_at, due, attempts, content FROM outbox ORDER BY made_at, id")?;
    let (mut rows, mut read) = (query.query([])?, Ok(()));
    while let Some(row) = rows.next()? {
        match decode(row, seal) {
            Ok(entry) => entries.push(entry),
            Err(e) => read = Err(e),
        }
    }
    read
}

fn decode(row: &Row, seal: &Seal) -> Result<OutboxEntry, StoreError> {
    let id = row.get(0)?;
    Ok(OutboxEntry {
        id,
        made_at: Timestamp::from_unix_ms(row.get(1)?),
        due: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_unix_ms),
        attempts: row.get(3)?,
        content: seal.open_column(Place::Outbox(id), row, 4)?,
    })
}

pub(super) fn insert(tx: &Transaction, seal: &Seal, entry: &OutboxEntry) -> Result<(), StoreError> {
    let content = seal.close(Place::Outbox(entry.id), &entry.content);
    let due = entry.due.map(Timestamp::unix_ms);
    tx.prepare_cached("INSERT INTO outbox (id, made_at, due, attempts, content) VALUES (?, ?, ?, ?, ?)")?.execute(params![
        entry.id,
        entry.made_at.unix_ms(),
        due,
        entry.attempts,
        *content
    ])?;
    Ok(())
}

/// Keeps an operation as it is now, where it still is.
pub(super) fn change(tx: &Transaction, seal: &Seal, entry: &OutboxEntry) -> Result<(), StoreError> {
    let content = seal.close(Place::Outbox(entry.id), &entry.content);
    let due = entry.due.map(Timestamp::unix_ms);
    tx.prepare_cached("UPDATE outbox SET made_at = ?, due = ?, attempts = ?, content = ? WHERE id = ?")?.execute(params![
        entry.made_at.unix_ms(),
        due,
        entry.attempts,
        *content,
        entry.id
    ])?;
    Ok(())
}

/// All notes; what could be read in spite of an error is in `notes`.
pub(super) fn read_notes_into(conn: &Connection, seal: &Seal, notes: &mut Vec<Note>) -> Result<(), StoreError> {
    let mut query = conn.prepare_cached("SELECT name, content FROM notes")?;
    let (mut rows, mut read) = (query.query([])?, Ok(()));
    while let Some(row) = rows.next()? {
        match decode_note(row, seal) {
            Ok(note) => notes.push(note),
            Err(e) => read = Err(e),
        }
    }
    read
}

fn decode_note(row: &Row, seal: &Seal) -> Result<Note, StoreError> {
    let name: String = row.get(0)?;
    let content = seal.open_column(Place::Note(&name), row, 1)?;
    Ok((name, content))
}

pub(super) fn write_note(tx: &Transaction, seal: &Seal, name: &str, content: &[u8]) -> Result<(), StoreError> {
    let content = seal.close(Place::Note(name), content);
    tx.prepare_cached(
        "INSERT INTO notes (name, content) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET content = excluded.content",
    )?
    .execute(params![name, *content])?;
    Ok(())
}
