//! What matching found: exposures, alerts, and how far each key file has been matched.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Store, StoreError, codec};
use crate::exposure::{Alert, Contact, Exposure, ExposureId};
use crate::time::{Date, Timestamp};

/// How far a key file has been matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileProgress {
    /// How many of its keys, in the order of the file.
    pub keys_done: u64,
    /// Whether that is all.
    pub complete: bool,
}

impl Store {
    /// How far the key file with this hash has been matched; `None` where it has not been begun.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn file_progress(&self, id: &[u8; 32]) -> Result<Option<FileProgress>, StoreError> {
        self.read(|conn| {
            let mut query = conn.prepare_cached("SELECT keys_done, complete FROM files WHERE id = ?")?;
            let progress = |row: &rusqlite::Row| Ok(FileProgress { keys_done: row.get(0)?, complete: row.get(1)? });
            Ok(query.query_row([id], progress).optional()?)
        })
    }

    /// Keeps how far a file has been matched together with what was found on the way, all or nothing. An exposure that is there already is
    /// [merged](Exposure::merge).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record_matches(
        &mut self,
        id: &[u8; 32],
        progress: FileProgress,
        exposures: &[Exposure],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO files (id, keys_done, complete, marked_at) VALUES (?, ?, ?, ?)")?
                .execute(params![id, progress.keys_done, progress.complete, now.unix_ms()])?;
            for exposure in exposures {
                let kept = read_one(tx, exposure.id)?;
                // A new one with itself: what it holds twice counts once.
                write(tx, &kept.unwrap_or_else(|| exposure.clone()).merge(exposure.clone()))?;
            }
            Ok(())
        })
    }

    /// Forgets which files have been matched, so that they are matched again: older traffic was added.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_file_marks(&mut self) -> Result<(), StoreError> {
        self.write(|tx| Ok(tx.execute("DELETE FROM files", []).map(drop)?))
    }

    /// All exposures, in order of their first contact.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn exposures(&self) -> Result<Vec<Exposure>, StoreError> {
        self.read(read)
    }

    /// All alerts, in the order in which they were raised.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn alerts(&self) -> Result<Vec<Alert>, StoreError> {
        self.read(read_alerts)
    }

    /// Withdraws and raises alerts, all or none. An alert that is raised again takes the place of the one before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn update_alerts(&mut self, raise: &[Alert], withdraw: &[ExposureId]) -> Result<(), StoreError> {
        self.write(|tx| {
            for exposure in withdraw {
                tx.prepare_cached("DELETE FROM alerts WHERE exposure = ?")?.execute([exposure.0])?;
            }
            raise.iter().try_for_each(|alert| write_alert(tx, alert))
        })
    }

    /// Remembers that the user has seen an alert. One that has gone meanwhile is no error.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn acknowledge_alert(&mut self, exposure: ExposureId) -> Result<(), StoreError> {
        self.write(|tx| Ok(tx.execute("UPDATE alerts SET acknowledged = 1 WHERE exposure = ?", [exposure.0]).map(drop)?))
    }
}

pub(super) fn read(conn: &Connection) -> Result<Vec<Exposure>, StoreError> {
    let mut exposures = Vec::new();
    read_into(conn, &mut exposures)?;
    // The names are random: an order by them would change from store to store.
    exposures.sort_by_key(|exposure| (exposure.contacts.first().and_then(|c| Some(c.packets.first()?.at)), exposure.id));
    Ok(exposures)
}

/// What could be read before an error is in `exposures`.
pub(super) fn read_into(conn: &Connection, exposures: &mut Vec<Exposure>) -> Result<(), StoreError> {
    let mut query = conn.prepare_cached("SELECT id, report_type, days_since_onset FROM exposures")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let id = ExposureId(codec::bytes(row, 0)?);
        let report_type = row.get::<_, Option<u8>>(1)?.map(codec::report_type).transpose()?;
        exposures.push(Exposure { id, report_type, days_since_onset: row.get(2)?, contacts: read_contacts(conn, id)? });
    }
    Ok(())
}

fn read_one(conn: &Connection, id: ExposureId) -> Result<Option<Exposure>, StoreError> {
    let mut query = conn.prepare_cached("SELECT report_type, days_since_onset FROM exposures WHERE id = ?")?;
    let mut rows = query.query([id.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let report_type = row.get::<_, Option<u8>>(0)?.map(codec::report_type).transpose()?;
    Ok(Some(Exposure { id, report_type, days_since_onset: row.get(1)?, contacts: read_contacts(conn, id)? }))
}

fn read_contacts(conn: &Connection, id: ExposureId) -> Result<Vec<Contact>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT time, packets, contacts.transmit_power, since_scan, measured_by, rssi_correction, calibrations.transmit_power, confidence
         FROM contacts JOIN calibrations ON calibrations.id = calibration WHERE exposure = ? ORDER BY time, measured_by",
    )?;
    let mut rows = query.query([id.0])?;
    let mut contacts = Vec::new();
    while let Some(row) = rows.next()? {
        contacts.push(Contact {
            packets: codec::decode_packets(codec::timestamp(row, 0)?, codec::blob(row, 1)?)?,
            transmit_power: row.get(2)?,
            seconds_since_last_scan: row.get(3)?,
            measured_by: codec::measured_by(row.get(4)?)?,
            calibration: codec::calibration(row, 5)?,
        });
    }
    Ok(contacts)
}

/// Puts an exposure in place of what is kept of it.
pub(super) fn write(tx: &Transaction, exposure: &Exposure) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM exposures WHERE id = ?")?.execute([exposure.id.0])?;
    tx.prepare_cached("INSERT INTO exposures (id, report_type, days_since_onset) VALUES (?, ?, ?)")?.execute(params![
        exposure.id.0,
        exposure.report_type.map(codec::report_type_number),
        exposure.days_since_onset
    ])?;
    let mut insert = tx.prepare_cached(
        "INSERT OR REPLACE INTO contacts (exposure, time, measured_by, packets, transmit_power, since_scan, calibration)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?;
    for contact in &exposure.contacts {
        let Some((first, packets)) = codec::encode_packets(&contact.packets) else { continue };
        insert.execute(params![
            exposure.id.0,
            first.unix_ms(),
            codec::measured_by_number(contact.measured_by),
            packets,
            contact.transmit_power,
            contact.seconds_since_last_scan,
            codec::keep_calibration(tx, &contact.calibration)?
        ])?;
    }
    Ok(())
}

pub(super) fn read_alerts(conn: &Connection) -> Result<Vec<Alert>, StoreError> {
    let mut alerts = Vec::new();
    read_alerts_into(conn, &mut alerts)?;
    alerts.sort_by_key(|alert| (alert.raised_at, alert.date, alert.exposure));
    Ok(alerts)
}

/// What could be read before an error is in `alerts`.
pub(super) fn read_alerts_into(conn: &Connection, alerts: &mut Vec<Alert>) -> Result<(), StoreError> {
    let mut query = conn.prepare_cached("SELECT exposure, date, raised_at, acknowledged, level FROM alerts")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        alerts.push(Alert {
            exposure: ExposureId(codec::bytes(row, 0)?),
            date: Date::from_days(row.get(1)?),
            raised_at: codec::timestamp(row, 2)?,
            acknowledged: row.get(3)?,
            level: codec::risk_level(row.get(4)?)?,
        });
    }
    Ok(())
}

pub(super) fn write_alert(tx: &Transaction, alert: &Alert) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT OR REPLACE INTO alerts (exposure, date, raised_at, acknowledged, level) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![
        alert.exposure.0,
        alert.date.days(),
        alert.raised_at.unix_ms(),
        alert.acknowledged,
        codec::risk_level_number(alert.level)
    ])?;
    Ok(())
}
