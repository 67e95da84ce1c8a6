//! This device's keys, and the highest interval of each whose identifier may have been sent.

use rusqlite::{Connection, Row, Transaction, params};

use super::seal::{Place, Seal};
use super::{Store, StoreError};
use crate::keys::TemporaryExposureKey;
use crate::keys::schedule::{OwnKey, Release, Sending};
use crate::time::EnIntervalNumber;

impl Store {
    /// This device's keys, in the order in which they were made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn own_keys(&self) -> Result<Vec<OwnKey>, StoreError> {
        self.read_sealed(read)
    }

    /// Keeps what is about to be sent: the key where it is new, and its interval. Only when this has returned may the radio have it.
    ///
    /// # Errors
    /// [`StoreError::AlreadySent`] where the interval is not later than all that were sent of this key. After another error it is not known
    /// whether the interval counts as sent: decide anew with [`Store::own_keys`], and nothing is used twice.
    pub fn keep_sending(&mut self, sending: &Sending) -> Result<(), StoreError> {
        let (key, interval) = (&sending.own.key, sending.interval);
        self.write_sealed(|tx, seal| {
            let kept = find(tx, seal, key)?.map(|(id, own)| (id, own.highest_sent));
            match kept {
                None => insert(tx, seal, &OwnKey { key: key.clone(), highest_sent: Some(interval) }),
                Some((_, Some(sent))) if interval <= sent => Err(StoreError::AlreadySent { found: interval, sent }),
                Some((id, _)) => {
                    tx.prepare_cached("UPDATE own_keys SET highest_sent = ? WHERE id = ?")?
                        .execute(params![interval.number(), id])?;
                    Ok(())
                }
            }
        })
    }

    /// Keeps how the keys ended that were handed out, and the successor of the running one. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]; then no key has ended.
    pub fn keep_release(&mut self, release: &Release) -> Result<(), StoreError> {
        self.write_sealed(|tx, seal| write_release(tx, seal, release))
    }
}

pub(super) fn read(conn: &Connection, seal: &Seal) -> Result<Vec<OwnKey>, StoreError> {
    Ok(read_with_ids(conn, seal)?.into_iter().map(|(_, own)| own).collect())
}

/// The keys with the ids of their rows.
pub(super) fn read_with_ids(conn: &Connection, seal: &Seal) -> Result<Vec<(i64, OwnKey)>, StoreError> {
    let mut keys = Vec::new();
    read_into(conn, seal, "ASC", &mut keys)?;
    Ok(keys)
}

/// The same in the given order; what could be read in spite of an error is in `keys`.
pub(super) fn read_into(conn: &Connection, seal: &Seal, order: &str, keys: &mut Vec<(i64, OwnKey)>) -> Result<(), StoreError> {
    let sql = format!("SELECT id, key, rolling_start, rolling_period, highest_sent FROM own_keys ORDER BY id {order}");
    let mut query = conn.prepare_cached(&sql)?;
    let (mut rows, mut read) = (query.query([])?, Ok(()));
    while let Some(row) = rows.next()? {
        match decode(row, seal) {
            Ok(own) => keys.push(own),
            Err(e) => read = Err(e),
        }
    }
    read
}

/// The row of a key. Sealed, it has no bytes to search for; its first interval never changes.
fn find(conn: &Connection, seal: &Seal, key: &TemporaryExposureKey) -> Result<Option<(i64, OwnKey)>, StoreError> {
    let sql = "SELECT id, key, rolling_start, rolling_period, highest_sent FROM own_keys WHERE rolling_start = ?";
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query([key.rolling_start().number()])?;
    while let Some(row) = rows.next()? {
        let (id, own) = decode(row, seal)?;
        if own.key.as_bytes() == key.as_bytes() {
            return Ok(Some((id, own)));
        }
    }
    Ok(None)
}

pub(super) fn write_release(tx: &Transaction, seal: &Seal, release: &Release) -> Result<(), StoreError> {
    for key in &release.keys {
        if let Some((id, _)) = find(tx, seal, key)? {
            tx.prepare_cached("UPDATE own_keys SET rolling_period = min(rolling_period, ?) WHERE id = ?")?
                .execute(params![key.rolling_period(), id])?;
        }
    }
    let Some(successor) = &release.successor else { return Ok(()) };
    if find(tx, seal, successor)?.is_some() {
        return Ok(());
    }
    insert(tx, seal, &OwnKey { key: successor.clone(), highest_sent: None })
}

pub(super) fn insert(tx: &Transaction, seal: &Seal, own: &OwnKey) -> Result<(), StoreError> {
    // As SQLite would choose it; it must be known before the key is sealed for its row.
    let id: i64 = tx.prepare_cached("SELECT ifnull(max(id), 0) + 1 FROM own_keys")?.query_row([], |row| row.get(0))?;
    let key = seal.close(Place::OwnKey(id), own.key.as_bytes());
    tx.prepare_cached("INSERT INTO own_keys (id, key, rolling_start, rolling_period, highest_sent) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![
            id,
            *key,
            own.key.rolling_start().number(),
            own.key.rolling_period(),
            own.highest_sent.map(EnIntervalNumber::number)
        ])?;
    Ok(())
}

fn decode(row: &Row, seal: &Seal) -> Result<(i64, OwnKey), StoreError> {
    let id = row.get(0)?;
    let key = seal.open_column(Place::OwnKey(id), row, 1)?;
    let key = TemporaryExposureKey::new(&key, row.get(2)?, row.get(3)?).map_err(|_| StoreError::Corrupt)?;
    Ok((id, OwnKey { key, highest_sent: row.get::<_, Option<u32>>(4)?.map(EnIntervalNumber::new) }))
}
