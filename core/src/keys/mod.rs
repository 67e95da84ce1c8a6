//! Keys and what is derived from them.
//!
//! ```text
//! RPIK  = HKDF-SHA256(ikm = TEK, salt = none, info = "EN-RPIK", 16 bytes)
//! AEMK  = HKDF-SHA256(ikm = TEK, salt = none, info = "EN-AEMK", 16 bytes)
//! RPI_i = AES-128-ECB(RPIK, "EN-RPI" ++ 6 zero bytes ++ u32_le(i))                   16 bytes
//! AEM_i = AES-128-CTR(AEMK, iv = RPI_i, metadata)                                     4 bytes
//! ```
//!
//! Source: Exposure Notification Cryptography Specification v1.2.1. This is the plain form, one identifier at a time; `matching` has the
//! fast one for whole days, and a test holds the two together. When a new key or identifier is due is the business of [`schedule`].

pub mod schedule;

mod derivation;

use std::fmt;

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::time::{EnIntervalNumber, INTERVALS_PER_DAY};

pub(crate) use derivation::rpi_block;

/// Why a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A key is 16 bytes.
    #[error("a temporary exposure key has 16 bytes, this one has {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// All 16 bytes are the same: no random source made this.
    #[error("the key is 16 times the same byte")]
    Weak,
    /// The rolling period is outside 1..=144 intervals.
    #[error("a rolling period is 1 to 144 intervals, this one is {found}")]
    RollingPeriod {
        /// Intervals found.
        found: i64,
    },
    /// The first interval is negative, or the last one does not fit into 32 bits.
    #[error("rolling start interval {found} is outside what 32 bits hold")]
    RollingStart {
        /// The start interval found.
        found: i64,
    },
}

/// A key from which the identifiers of up to a day are derived (TEK).
///
/// Wiped when dropped; comparing two is for tests and de-duplication, not for authentication. `Debug` shows no byte of it.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
pub struct TemporaryExposureKey {
    key: [u8; 16],
    #[zeroize(skip)]
    rolling_start: EnIntervalNumber,
    #[zeroize(skip)]
    rolling_period: u8,
}

impl TemporaryExposureKey {
    /// A key from outside, checked.
    ///
    /// # Errors
    /// [`KeyError`] for a length other than 16 bytes, 16 equal bytes, a period outside 1..=144, or intervals that 32 bits do not hold.
    pub fn new(key: &[u8], rolling_start: i64, rolling_period: i64) -> Result<Self, KeyError> {
        let key: [u8; 16] = key.try_into().map_err(|_| KeyError::Length { found: key.len() })?;
        if key.iter().all(|b| *b == key[0]) {
            return Err(KeyError::Weak);
        }
        let period = match u8::try_from(rolling_period) {
            Ok(p @ 1..=144) => p,
            _ => return Err(KeyError::RollingPeriod { found: rolling_period }),
        };
        match u32::try_from(rolling_start) {
            Ok(start) if start.checked_add(u32::from(period)).is_some() => {
                Ok(Self { key, rolling_start: EnIntervalNumber::new(start), rolling_period: period })
            }
            _ => Err(KeyError::RollingStart { found: rolling_start }),
        }
    }

    /// A new random key that begins with `start` and lives to the end of that UTC day.
    pub fn generate(start: EnIntervalNumber, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        // The last day that 32 bits can count is not whole; a clock that stands there is wrong anyway.
        let start = start.min(EnIntervalNumber::new(u32::MAX - INTERVALS_PER_DAY));
        let period = INTERVALS_PER_DAY - start.number() % INTERVALS_PER_DAY;
        let mut key = [0; 16];
        loop {
            rng.fill_bytes(&mut key);
            if key.iter().any(|b| *b != key[0]) {
                return Self { key, rolling_start: start, rolling_period: period as u8 };
            }
        }
    }

    /// The 16 bytes. For the derivation, the store and a report; nothing else needs them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.key
    }

    /// The first interval for which it makes an identifier.
    pub fn rolling_start(&self) -> EnIntervalNumber {
        self.rolling_start
    }

    /// For how many intervals it makes identifiers: 1 to 144.
    pub fn rolling_period(&self) -> u8 {
        self.rolling_period
    }

    /// The interval after the last one.
    pub fn end(&self) -> EnIntervalNumber {
        self.rolling_start.plus(u32::from(self.rolling_period))
    }

    /// Whether it makes an identifier for this interval.
    pub fn covers(&self, interval: EnIntervalNumber) -> bool {
        self.rolling_start <= interval && interval < self.end()
    }

    /// The same key, ended with `last`, inclusive: never longer than before, never shorter than one interval.
    #[must_use]
    pub fn ended_with(&self, last: EnIntervalNumber) -> Self {
        let intervals = last.number().saturating_sub(self.rolling_start.number()).saturating_add(1);
        let rolling_period = intervals.min(u32::from(self.rolling_period)) as u8;
        Self { key: self.key, rolling_start: self.rolling_start, rolling_period }
    }

    /// The identifier of an interval. It is defined for every interval; the key is valid only for those that it [covers](Self::covers).
    pub fn identifier(&self, interval: EnIntervalNumber) -> RollingProximityIdentifier {
        derivation::identifiers(&self.key, [interval]).next().unwrap_or(RollingProximityIdentifier([0; 16]))
    }

    /// All identifiers that the key makes in its life, with their intervals, in order of time.
    pub fn identifiers(&self) -> impl Iterator<Item = (EnIntervalNumber, RollingProximityIdentifier)> {
        let intervals = (self.rolling_start.number()..self.end().number()).map(EnIntervalNumber::new);
        intervals.clone().zip(derivation::identifiers(&self.key, intervals))
    }

    /// What goes over the air beside the identifier `rpi` of this key.
    pub fn encrypt_metadata(&self, rpi: &RollingProximityIdentifier, metadata: Metadata) -> AssociatedEncryptedMetadata {
        AssociatedEncryptedMetadata(derivation::apply_metadata_keystream(&self.key, rpi, metadata.0))
    }

    /// What the sender of `rpi` said. Anybody can flip bits of it on the way, so nothing in it is authentic.
    pub fn decrypt_metadata(&self, rpi: &RollingProximityIdentifier, aem: AssociatedEncryptedMetadata) -> Metadata {
        Metadata(derivation::apply_metadata_keystream(&self.key, rpi, aem.0))
    }
}

impl fmt::Debug for TemporaryExposureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporaryExposureKey")
            .field("rolling_start", &self.rolling_start.number())
            .field("rolling_period", &self.rolling_period)
            .finish_non_exhaustive()
    }
}

/// What a device sends during one interval (RPI): 16 bytes that nobody can tell from noise without the key.
///
/// Public on the air, and yet no log may hold it: `Debug` shows no byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RollingProximityIdentifier(pub [u8; 16]);

impl fmt::Debug for RollingProximityIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RollingProximityIdentifier(..)")
    }
}

/// The encrypted [`Metadata`] beside an identifier (AEM).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssociatedEncryptedMetadata(pub [u8; 4]);

impl fmt::Debug for AssociatedEncryptedMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AssociatedEncryptedMetadata(..)")
    }
}

/// What a sender says of itself, readable only for those who have its key.
///
/// ```text
/// offset  length  meaning
/// 0       1       version: bits 7..6 major = 01, bits 5..4 minor = 00, bits 3..0 reserved
/// 1       1       transmit power, i8, dBm
/// 2       2       reserved, 0
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata(pub [u8; 4]);

impl Metadata {
    const VERSION_1_0: u8 = 0x40;

    /// Metadata of version 1.0 with this transmit power in dBm.
    pub const fn new(transmit_power: i8) -> Self {
        Self([Self::VERSION_1_0, transmit_power as u8, 0, 0])
    }

    /// The transmit power in dBm, where it is one that a radio can have (-50..=20); `None` for anything else, which is then ignored.
    pub fn transmit_power(self) -> Option<i8> {
        let dbm = self.0[1] as i8;
        (-50..=20).contains(&dbm).then_some(dbm)
    }
}

#[cfg(test)]
mod tests;
