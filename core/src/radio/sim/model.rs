//! How the simulated air carries a packet from one phone to another.
//!
//! ```text
//! strength (dBm) = transmit power - path loss - body losses + shadowing + fading
//! path loss (dB) = reference loss + 10 * exponent * log10(distance in m)
//! RSSI reported  = strength - the receiver's RSSI correction, rounded
//! ```
//!
//! A packet is lost with a fixed probability, when it is weaker than the receiver's sensitivity, or when it was sent from beyond the range.
//! Shadowing is one value for a pair of phones for [`SHADOWING_MS`] and the same in both directions; fading is drawn for each packet and receiver.
//!
//! Source: log-distance path loss with log-normal shadowing, Rappaport, "Wireless Communications", 2nd edition, 4.9. The default figures are near what phones
//! showed at EPFL on 30 July 2020 (DP-3T/bt-measurements): 55 dB at 1 m between people, 3.2 dB within a scan, 6 to 7 dB in all, nothing below -98 dBm or so.
//! Left out: walls, antennas' directions, the three advertising channels, packets that collide.

use std::ops::RangeInclusive;

use super::SimError;

/// How long a shadow lasts: about the time after which people in a room have turned or moved, in milliseconds.
pub const SHADOWING_MS: i64 = 10_000;

/// Phones are never nearer than this, in metres: below a wavelength (12 cm) the formula means nothing.
const NEAREST_M: f64 = 0.1;

/// The air between all phones.
#[derive(Debug, Clone, PartialEq)]
pub struct AirModel {
    /// Path loss at 1 m in dB. Free space at 2.44 GHz has 40.
    pub reference_loss_db: f64,
    /// How fast strength falls with distance: 2 in free space, 1.6 to 1.8 in a corridor, 3 and more through a crowd or walls.
    pub path_loss_exponent: f64,
    /// Deviation of the shadowing between two phones in dB.
    pub shadowing_sigma_db: f64,
    /// Deviation from packet to packet in dB.
    pub fading_sigma_db: f64,
    /// What the body takes of a phone that is [carried on it](Carried::Pocket), in dB, at each end.
    pub body_loss_db: f64,
    /// Part of the packets that is lost whatever the strength, 0 to 1.
    pub packet_loss: f64,
    /// The weakest packet that is heard, in dBm.
    pub sensitivity_dbm: f64,
    /// Nothing is heard over more than this, in metres, however lucky. It keeps a town affordable.
    pub range_m: f64,
    /// Time between two packets of one sender, in milliseconds. Exposure Notification Bluetooth Specification v1.2.2: 200 to 270.
    pub advertising_interval_ms: RangeInclusive<u32>,
}

impl Default for AirModel {
    fn default() -> Self {
        Self {
            reference_loss_db: 40.0,
            path_loss_exponent: 2.0,
            shadowing_sigma_db: 5.0,
            fading_sigma_db: 3.0,
            body_loss_db: 7.0,
            packet_loss: 0.1,
            sensitivity_dbm: -98.0,
            range_m: 50.0,
            advertising_interval_ms: 200..=270,
        }
    }
}

impl AirModel {
    /// Air without chance: every packet within range comes through, with the strength that the formula says.
    pub fn without_chance() -> Self {
        Self { shadowing_sigma_db: 0.0, fading_sigma_db: 0.0, packet_loss: 0.0, ..Self::default() }
    }

    /// The mean loss over a distance in metres, in dB, bodies apart.
    pub fn path_loss_db(&self, distance_m: f64) -> f64 {
        self.path_loss_of_square(distance_m * distance_m)
    }

    /// The same of the squared distance, which saves a root for each packet.
    pub(super) fn path_loss_of_square(&self, square_m2: f64) -> f64 {
        // std's logarithm may differ in the last bit between machines and optimisation levels.
        self.reference_loss_db + 5.0 * self.path_loss_exponent * libm::log10(square_m2.max(NEAREST_M * NEAREST_M))
    }

    pub(super) fn body_loss(&self, carried: Carried) -> f64 {
        match carried {
            Carried::Open => 0.0,
            Carried::Pocket => self.body_loss_db,
        }
    }

    pub(super) fn check(&self) -> Result<(), SimError> {
        in_range("reference_loss_db", self.reference_loss_db, 0.0..=200.0)?;
        in_range("path_loss_exponent", self.path_loss_exponent, 0.0..=10.0)?;
        in_range("shadowing_sigma_db", self.shadowing_sigma_db, 0.0..=50.0)?;
        in_range("fading_sigma_db", self.fading_sigma_db, 0.0..=50.0)?;
        in_range("body_loss_db", self.body_loss_db, 0.0..=100.0)?;
        in_range("packet_loss", self.packet_loss, 0.0..=1.0)?;
        in_range("sensitivity_dbm", self.sensitivity_dbm, -200.0..=20.0)?;
        in_range("range_m", self.range_m, 0.0..=10_000.0)?;
        let (shortest, longest) = (*self.advertising_interval_ms.start(), *self.advertising_interval_ms.end());
        in_range("shortest advertising_interval_ms", f64::from(shortest), 20.0..=10_240.0)?;
        in_range("longest advertising_interval_ms", f64::from(longest), f64::from(shortest)..=10_240.0)
    }
}

/// One phone's radio and clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceModel {
    /// The power with which it sends, in dBm: what calibration tables call `tx_power`.
    pub transmit_power: i8,
    /// What must be added to the strength it reports to get the true one, in dB: what calibration tables call `rssi_correction`.
    pub rssi_correction: i8,
    /// Where its owner has it.
    pub carried: Carried,
    /// Part of the packets for which its controller listens at all while it scans, 0 to 1: scan window over scan interval.
    pub scan_duty: f64,
    /// How much its clock is too fast, in millionths; at most 10,000 either way.
    pub clock_ppm: i32,
    /// How much its wall clock is ahead at the start, in milliseconds.
    pub clock_offset_ms: i64,
}

impl Default for DeviceModel {
    /// The average of the 551 models in Google's calibration table of 14 December 2020, with a perfect clock.
    fn default() -> Self {
        Self { transmit_power: -25, rssi_correction: 4, carried: Carried::Open, scan_duty: 1.0, clock_ppm: 0, clock_offset_ms: 0 }
    }
}

impl DeviceModel {
    pub(super) fn check(&self) -> Result<(), SimError> {
        in_range("scan_duty", self.scan_duty, 0.0..=1.0)?;
        in_range("clock_ppm", f64::from(self.clock_ppm), -10_000.0..=10_000.0)
    }
}

/// Where a phone is on its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// On a table or in the hand: nothing in the way.
    Open,
    /// In a pocket or a bag: the body takes [`AirModel::body_loss_db`], of what it sends and of what it hears.
    Pocket,
}

/// A parameter that lies in a range.
pub(super) fn in_range(what: &'static str, found: f64, allowed: RangeInclusive<f64>) -> Result<(), SimError> {
    // NaN is in no range.
    if allowed.contains(&found) {
        Ok(())
    } else {
        Err(SimError::Parameter { what, found, min: *allowed.start(), max: *allowed.end() })
    }
}
