//! From packets to encounters: what is kept of what was heard, and how strong it really was.
//!
//! ```text
//! Sighting  --Recorder-->  Encounter            what one scan heard of one identifier
//! attenuation = transmit power - (RSSI + RSSI correction)          dB, all from Calibration
//! ```
//!
//! Whose identifier it was, nobody knows here: that is the business of `matching`.

pub mod calibration;
pub mod recorder;

use crate::beacon::Frame;
use crate::radio::{MeasuredBy, Rssi};
use crate::time::Timestamp;
use calibration::Calibration;

/// Names a stored encounter. The store gives the numbers; they say nothing of time or place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncounterId(pub i64);

/// One packet of an encounter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    /// When it was heard.
    pub at: Timestamp,
    /// How strongly, raw, as the adapter said.
    pub rssi: Rssi,
}

/// What one scan heard of one identifier: the unit in which the store keeps encounters.
///
/// A long scan may come in several of them, so that a crash costs seconds only; whoever reads them joins by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encounter {
    /// What the other device said.
    pub frame: Frame,
    /// Its packets in this scan, at least one, in order of time.
    pub packets: Vec<Packet>,
    /// Who measured their strength.
    pub measured_by: MeasuredBy,
    /// Seconds from the start of the scan before this one to the start of this one, at most 300; `None` where there was none before, or
    /// where the other side measured, whose scans nobody here knows.
    pub seconds_since_last_scan: Option<u16>,
    /// The calibration of this device at that time.
    pub calibration: Calibration,
}
