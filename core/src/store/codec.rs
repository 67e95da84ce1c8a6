//! How values stand in rows: numbers for names, and packets as bytes.
//!
//! ```text
//! packets = RSSI of the first (i8), then for each other: milliseconds since the one before (LEB128), RSSI (i8)
//! ```
//!
//! The time of the first packet has a column of its own.

use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::StoreError;
use crate::diagnosis::ReportType;
use crate::encounters::Packet;
use crate::encounters::calibration::{Calibration, CalibrationConfidence};
use crate::exposure::RiskLevel;
use crate::radio::{MeasuredBy, Rssi};
use crate::time::Timestamp;

/// The bytes of packets that are in order of time; one that is not counts as simultaneous with the one before. `None` where there are none.
pub(super) fn encode_packets(packets: &[Packet]) -> Option<(Timestamp, Vec<u8>)> {
    let first = packets.first()?;
    let mut bytes = Vec::with_capacity(3 * packets.len());
    bytes.push(first.rssi.0 as u8);
    let mut last = first.at;
    for packet in &packets[1..] {
        let mut gap = packet.at.since(last).as_millis() as u64;
        while gap >= 0x80 {
            bytes.push(gap as u8 | 0x80);
            gap >>= 7;
        }
        bytes.extend([gap as u8, packet.rssi.0 as u8]);
        last = last.max(packet.at);
    }
    Some((first.at, bytes))
}

/// The packets in `bytes`, the first one at `first`.
pub(super) fn decode_packets(first: Timestamp, bytes: &[u8]) -> Result<Vec<Packet>, StoreError> {
    let mut bytes = bytes.iter().copied();
    let rssi = |byte: Option<u8>| byte.map(|b| Rssi(b as i8)).ok_or(StoreError::Corrupt);
    let mut packets = vec![Packet { at: first, rssi: rssi(bytes.next())? }];
    let mut at = first;
    while let Some(mut byte) = bytes.next() {
        let mut gap = u64::from(byte & 0x7F);
        let mut shift = 7;
        while byte >= 0x80 {
            byte = bytes.next().filter(|_| shift < 64).ok_or(StoreError::Corrupt)?;
            gap |= u64::from(byte & 0x7F) << shift;
            shift += 7;
        }
        at = at.after(Duration::from_millis(gap));
        packets.push(Packet { at, rssi: rssi(bytes.next())? });
    }
    Ok(packets)
}

/// A column of exactly `N` bytes.
pub(super) fn bytes<const N: usize>(row: &Row, column: usize) -> Result<[u8; N], StoreError> {
    blob(row, column)?.try_into().map_err(|_| StoreError::Corrupt)
}

/// A column of bytes, where they lie.
pub(super) fn blob<'r>(row: &'r Row, column: usize) -> Result<&'r [u8], StoreError> {
    match row.get_ref(column)? {
        ValueRef::Blob(bytes) => Ok(bytes),
        _ => Err(StoreError::Corrupt),
    }
}

/// A column of milliseconds.
pub(super) fn timestamp(row: &Row, column: usize) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_unix_ms(row.get(column)?))
}

pub(super) fn measured_by_number(measured_by: MeasuredBy) -> u8 {
    match measured_by {
        MeasuredBy::Us => 0,
        MeasuredBy::Peer => 1,
    }
}

pub(super) fn measured_by(number: u8) -> Result<MeasuredBy, StoreError> {
    match number {
        0 => Ok(MeasuredBy::Us),
        1 => Ok(MeasuredBy::Peer),
        _ => Err(StoreError::Corrupt),
    }
}

/// The number that the key export format gives it.
pub(super) fn report_type_number(report_type: ReportType) -> u8 {
    match report_type {
        ReportType::Unknown => 0,
        ReportType::ConfirmedTest => 1,
        ReportType::ConfirmedClinicalDiagnosis => 2,
        ReportType::SelfReport => 3,
        ReportType::Recursive => 4,
        ReportType::Revoked => 5,
    }
}

pub(super) fn report_type(number: u8) -> Result<ReportType, StoreError> {
    Ok(match number {
        0 => ReportType::Unknown,
        1 => ReportType::ConfirmedTest,
        2 => ReportType::ConfirmedClinicalDiagnosis,
        3 => ReportType::SelfReport,
        4 => ReportType::Recursive,
        5 => ReportType::Revoked,
        _ => return Err(StoreError::Corrupt),
    })
}

/// The id of a calibration, kept once however many rows refer to it.
pub(super) fn keep_calibration(conn: &Connection, calibration: &Calibration) -> Result<i64, StoreError> {
    let confidence = match calibration.confidence {
        CalibrationConfidence::Lowest => 0,
        CalibrationConfidence::Low => 1,
        CalibrationConfidence::Medium => 2,
        CalibrationConfidence::High => 3,
    };
    let values = params![calibration.rssi_correction, calibration.transmit_power, confidence];
    let known = conn
        .prepare_cached("SELECT id FROM calibrations WHERE rssi_correction = ? AND transmit_power = ? AND confidence = ?")?
        .query_row(values, |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    conn.prepare_cached("INSERT INTO calibrations (rssi_correction, transmit_power, confidence) VALUES (?, ?, ?)")?
        .execute(values)?;
    Ok(conn.last_insert_rowid())
}

/// A calibration from three columns, the first of them `column`.
pub(super) fn calibration(row: &Row, column: usize) -> Result<Calibration, StoreError> {
    let confidence = match row.get::<_, u8>(column + 2)? {
        0 => CalibrationConfidence::Lowest,
        1 => CalibrationConfidence::Low,
        2 => CalibrationConfidence::Medium,
        3 => CalibrationConfidence::High,
        _ => return Err(StoreError::Corrupt),
    };
    Ok(Calibration { rssi_correction: row.get(column)?, transmit_power: row.get(column + 1)?, confidence })
}

pub(super) fn risk_level(number: u8) -> Result<RiskLevel, StoreError> {
    match number {
        0 => Ok(RiskLevel::None),
        1 => Ok(RiskLevel::Low),
        2 => Ok(RiskLevel::High),
        _ => Err(StoreError::Corrupt),
    }
}

pub(super) fn risk_level_number(level: RiskLevel) -> u8 {
    match level {
        RiskLevel::None => 0,
        RiskLevel::Low => 1,
        RiskLevel::High => 2,
    }
}
