//! What was heard.

use std::ops::Range;

use rusqlite::{Connection, Row, params};

use super::{Store, StoreError, codec};
use crate::beacon::Frame;
use crate::encounters::{Encounter, EncounterId};
use crate::matching::StoredIdentifier;
use crate::time::Timestamp;

impl Store {
    /// Keeps encounters, all or none. One without packets holds nothing and is left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_encounters(&mut self, encounters: &[Encounter]) -> Result<(), StoreError> {
        self.write(|tx| {
            let mut insert = tx.prepare_cached(
                "INSERT INTO encounters (frame, time, packets, since_scan, measured_by, calibration) VALUES (?, ?, ?, ?, ?, ?)",
            )?;
            let mut calibration = None;
            for encounter in encounters {
                let Some((first, packets)) = codec::encode_packets(&encounter.packets) else { continue };
                let calibration_id = match calibration {
                    Some((known, id)) if known == encounter.calibration => id,
                    _ => codec::keep_calibration(tx, &encounter.calibration)?,
                };
                calibration = Some((encounter.calibration, calibration_id));
                insert.execute(params![
                    encounter.frame.to_bytes(),
                    first.unix_ms(),
                    packets,
                    encounter.seconds_since_last_scan,
                    codec::measured_by_number(encounter.measured_by),
                    calibration_id
                ])?;
            }
            Ok(())
        })
    }

    /// For the matcher: each encounter's identifier, and the interval of its first packet, in the order in which they were kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn identifiers(&self) -> Result<Vec<StoredIdentifier>, StoreError> {
        self.read(|conn| {
            let mut query = conn.prepare_cached("SELECT id, frame, time FROM encounters ORDER BY id")?;
            let mut rows = query.query([])?;
            let mut identifiers = Vec::new();
            while let Some(row) = rows.next()? {
                identifiers.push(StoredIdentifier {
                    rpi: frame(row, 1)?.rpi,
                    interval: codec::timestamp(row, 2)?.interval(),
                    encounter: EncounterId(row.get(0)?),
                });
            }
            Ok(identifiers)
        })
    }

    /// An encounter; `None` where it has been erased.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn encounter(&self, id: EncounterId) -> Result<Option<Encounter>, StoreError> {
        self.read(|conn| {
            let mut query = conn.prepare_cached(&format!("{COLUMNS} WHERE encounters.id = ?"))?;
            let mut rows = query.query([id.0])?;
            rows.next()?.map(decode).transpose()
        })
    }

    /// How many encounters began in this time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn count_encounters(&self, time: Range<Timestamp>) -> Result<u64, StoreError> {
        self.read(|conn| {
            let mut query = conn.prepare_cached("SELECT count(*) FROM encounters WHERE time >= ? AND time < ?")?;
            Ok(query.query_row([time.start.unix_ms(), time.end.unix_ms()], |row| row.get(0))?)
        })
    }

    /// When the latest packet was heard: "now" for somebody who looks at recorded traffic. `None` where nothing was heard.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn latest_packet(&self) -> Result<Option<Timestamp>, StoreError> {
        /// Longer than one scan, so that an encounter which began a little earlier and lasted longer is looked at as well.
        const LONGEST_SCAN_MS: i64 = 600_000;
        self.read(|conn| {
            let mut query =
                conn.prepare_cached("SELECT time, packets FROM encounters WHERE time >= (SELECT max(time) FROM encounters) - ?")?;
            let mut rows = query.query([LONGEST_SCAN_MS])?;
            let mut latest = None;
            while let Some(row) = rows.next()? {
                let packets = codec::decode_packets(codec::timestamp(row, 0)?, codec::blob(row, 1)?)?;
                latest = latest.max(packets.last().map(|packet| packet.at));
            }
            Ok(latest)
        })
    }
}

const COLUMNS: &str = "SELECT frame, time, packets, since_scan, measured_by, rssi_correction, transmit_power, confidence
    FROM encounters JOIN calibrations ON calibrations.id = calibration";

/// All encounters, one after the other.
pub(super) fn read_each(conn: &Connection, mut visit: impl FnMut(Encounter)) -> Result<(), StoreError> {
    let mut query = conn.prepare(COLUMNS)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        visit(decode(row)?);
    }
    Ok(())
}

fn decode(row: &Row) -> Result<Encounter, StoreError> {
    Ok(Encounter {
        frame: frame(row, 0)?,
        packets: codec::decode_packets(codec::timestamp(row, 1)?, codec::blob(row, 2)?)?,
        seconds_since_last_scan: row.get(3)?,
        measured_by: codec::measured_by(row.get(4)?)?,
        calibration: codec::calibration(row, 5)?,
    })
}

fn frame(row: &Row, column: usize) -> Result<Frame, StoreError> {
    Frame::from_service_data(codec::blob(row, column)?).map_err(|_| StoreError::Corrupt)
}
