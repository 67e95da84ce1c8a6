//! This device's keys, and the highest interval of each whose identifier may have been sent.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{Store, StoreError, codec};
use crate::keys::TemporaryExposureKey;
use crate::keys::schedule::{OwnKey, Release, Sending};
use crate::time::EnIntervalNumber;

impl Store {
    /// This device's keys, in the order in which they were made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn own_keys(&self) -> Result<Vec<OwnKey>, StoreError> {
        self.read(read)
    }

    /// Keeps what is about to be sent: the key where it is new, and its interval. Only when this has returned may the radio have it.
    ///
    /// # Errors
    /// [`StoreError::AlreadySent`] where the interval is not later than all that were sent of this key. After another error it is not known
    /// whether the interval counts as sent: decide anew with [`Store::own_keys`], and nothing is used twice.
    pub fn keep_sending(&mut self, sending: &Sending) -> Result<(), StoreError> {
        let (key, interval) = (&sending.own.key, sending.interval);
        self.write(|tx| {
            let kept: Option<(i64, Option<u32>)> = tx
                .prepare_cached("SELECT id, highest_sent FROM own_keys WHERE key = ?")?
                .query_row([key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            match kept {
                None => insert(tx, &OwnKey { key: key.clone(), highest_sent: Some(interval) }),
                Some((_, Some(sent))) if interval.number() <= sent => {
                    Err(StoreError::AlreadySent { found: interval, sent: EnIntervalNumber::new(sent) })
                }
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
        self.write(|tx| write_release(tx, release))
    }
}

pub(super) fn read(conn: &Connection) -> Result<Vec<OwnKey>, StoreError> {
    Ok(read_with_ids(conn)?.into_iter().map(|(_, own)| own).collect())
}

/// The keys with the ids of their rows.
pub(super) fn read_with_ids(conn: &Connection) -> Result<Vec<(i64, OwnKey)>, StoreError> {
    let mut keys = Vec::new();
    read_into(conn, "ASC", &mut keys)?;
    Ok(keys)
}

/// The same in the given order; what could be read before an error is in `keys`.
pub(super) fn read_into(conn: &Connection, order: &str, keys: &mut Vec<(i64, OwnKey)>) -> Result<(), StoreError> {
    let sql = format!("SELECT id, key, rolling_start, rolling_period, highest_sent FROM own_keys ORDER BY id {order}");
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        keys.push((row.get(0)?, decode(row)?));
    }
    Ok(())
}

pub(super) fn write_release(tx: &Transaction, release: &Release) -> Result<(), StoreError> {
    for key in &release.keys {
        tx.prepare_cached("UPDATE own_keys SET rolling_period = min(rolling_period, ?) WHERE key = ?")?
            .execute(params![key.rolling_period(), key.as_bytes()])?;
    }
    let Some(successor) = &release.successor else { return Ok(()) };
    let is_kept = tx.prepare_cached("SELECT 1 FROM own_keys WHERE key = ?")?.exists([successor.as_bytes()])?;
    if is_kept { Ok(()) } else { insert(tx, &OwnKey { key: successor.clone(), highest_sent: None }) }
}

pub(super) fn insert(tx: &Transaction, own: &OwnKey) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO own_keys (key, rolling_start, rolling_period, highest_sent) VALUES (?, ?, ?, ?)")?.execute(
        params![
            own.key.as_bytes(),
            own.key.rolling_start().number(),
            own.key.rolling_period(),
            own.highest_sent.map(EnIntervalNumber::number)
        ],
    )?;
    Ok(())
}

fn decode(row: &Row) -> Result<OwnKey, StoreError> {
    let key = TemporaryExposureKey::new(codec::blob(row, 1)?, row.get(2)?, row.get(3)?).map_err(|_| StoreError::Corrupt)?;
    Ok(OwnKey { key, highest_sent: row.get::<_, Option<u32>>(4)?.map(EnIntervalNumber::new) })
}
