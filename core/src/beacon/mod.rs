//! What goes over the air: the advertisement with its service data, and the payloads of a GATT connection ([`gatt`]).
//!
//! ```text
//! offset  length  meaning                                            (legacy advertisement, 31 bytes)
//! 0       3       02 01 1A       Flags
//! 3       4       03 03 LL HH    Complete list of 16-bit service UUIDs
//! 7       4       17 16 LL HH    Service data of that UUID:
//! 11      16      RPI
//! 27      4       AEM
//! ```
//!
//! Source: Exposure Notification Bluetooth Specification v1.2.2, "Advertising payload"; Bluetooth Core Specification Supplement v11, part A.
//! A receiver looks at the service data alone: flags belong to the sender's system, and the order of AD structures is free.

pub mod gatt;

use std::fmt;
use std::str::FromStr;

use crate::keys::{AssociatedEncryptedMetadata, RollingProximityIdentifier};

const AD_FLAGS: u8 = 0x01;
const AD_COMPLETE_16_BIT_UUIDS: u8 = 0x03;
const AD_SERVICE_DATA_16_BIT: u8 = 0x16;

/// The longest advertising data that is looked at, in bytes: what an extended advertisement may chain (Core Specification v5.4, vol 6, part B, 2.3.4.9).
pub const MAX_ADVERTISING_DATA: usize = 1650;

/// What is wrong with bytes that came over the air.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeaconError {
    /// The advertising data is longer than any advertisement can be.
    #[error("advertising data has {found} bytes, more than the {MAX_ADVERTISING_DATA} of an extended advertisement")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// An AD structure says that it is longer than what is left.
    #[error("an AD structure of {declared} bytes begins where only {left} are left")]
    CutStructure {
        /// Bytes that its length byte promises.
        declared: usize,
        /// Bytes that follow.
        left: usize,
    },
    /// The service data of our service is not 20 bytes.
    #[error("service data has {found} bytes, a frame has 20")]
    FrameLength {
        /// Bytes found.
        found: usize,
    },
    /// A GATT payload has another length than its version has.
    #[error("a GATT payload of this kind has {expected} bytes, this one has {found}")]
    PayloadLength {
        /// Bytes that the version has.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// A GATT payload of a version that this one does not know.
    #[error("GATT payload of version {found}; known is version 1")]
    UnknownVersion {
        /// The version byte.
        found: u8,
    },
    /// A part of a long write lies outside the payload, or leaves a hole.
    #[error("a write of {length} bytes at offset {offset} does not continue {received} bytes of a payload of at most {limit}")]
    WriteOffset {
        /// Offset of the part.
        offset: usize,
        /// Its length.
        length: usize,
        /// Bytes that have come so far.
        received: usize,
        /// The longest payload.
        limit: usize,
    },
    /// A service UUID that is not four hexadecimal digits.
    #[error("`{found}` is not a 16-bit service UUID such as 0xFD64")]
    ServiceUuid {
        /// What was given, cut to 64 characters.
        found: String,
    },
}

/// The 16-bit UUID under which a system's frames go over the air.
///
/// 0xFD6F belongs to the two phone systems; an app outside them has a UUID of its own. The default, 0xFD64, was assigned to TousAntiCovid.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServiceUuid(pub u16);

impl ServiceUuid {
    /// The UUID of the phone systems' own Exposure Notification, as it stands in public captures.
    pub const EXPOSURE_NOTIFICATION: Self = Self(0xFD6F);
}

impl Default for ServiceUuid {
    fn default() -> Self {
        Self(0xFD64)
    }
}

impl fmt::Display for ServiceUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04X}", self.0)
    }
}

impl fmt::Debug for ServiceUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceUuid({self})")
    }
}

impl FromStr for ServiceUuid {
    type Err = BeaconError;

    fn from_str(s: &str) -> Result<Self, BeaconError> {
        let digits = s.strip_prefix("0x").or_else(|| s.strip_prefix("0X")).unwrap_or(s);
        let valid = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        match u16::from_str_radix(digits, 16) {
            Ok(uuid) if valid => Ok(Self(uuid)),
            _ => Err(BeaconError::ServiceUuid { found: s.chars().take(64).collect() }),
        }
    }
}

/// What a device says of itself during one rotation: identifier and encrypted metadata, 20 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame {
    /// The rolling proximity identifier.
    pub rpi: RollingProximityIdentifier,
    /// The encrypted metadata beside it.
    pub aem: AssociatedEncryptedMetadata,
}

impl Frame {
    /// Bytes of a frame.
    pub const LEN: usize = 20;

    /// RPI, then AEM.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(&self.rpi.0);
        bytes[16..].copy_from_slice(&self.aem.0);
        bytes
    }

    /// The frame in the service data of our service.
    ///
    /// # Errors
    /// [`BeaconError::FrameLength`] where it is not 20 bytes.
    pub fn from_service_data(data: &[u8]) -> Result<Self, BeaconError> {
        let bytes: &[u8; Self::LEN] = data.try_into().map_err(|_| BeaconError::FrameLength { found: data.len() })?;
        let (mut rpi, mut aem) = ([0; 16], [0; 4]);
        rpi.copy_from_slice(&bytes[..16]);
        aem.copy_from_slice(&bytes[16..]);
        Ok(Self { rpi: RollingProximityIdentifier(rpi), aem: AssociatedEncryptedMetadata(aem) })
    }

    /// The advertisement that carries this frame, as the specification draws it.
    pub fn to_advertisement(self, service: ServiceUuid) -> [u8; 31] {
        let [low, high] = service.0.to_le_bytes();
        let mut bytes = [0; 31];
        bytes[..11].copy_from_slice(&[
            2,
            AD_FLAGS,
            0x1A,
            3,
            AD_COMPLETE_16_BIT_UUIDS,
            low,
            high,
            23,
            AD_SERVICE_DATA_16_BIT,
            low,
            high,
        ]);
        bytes[11..].copy_from_slice(&self.to_bytes());
        bytes
    }

    /// The frame in an advertisement, `None` where it carries no service data of `service`.
    ///
    /// # Errors
    /// [`BeaconError`] where the advertisement is malformed up to and including our service data, or that is not a frame.
    pub fn from_advertisement(data: &[u8], service: ServiceUuid) -> Result<Option<Self>, BeaconError> {
        if data.len() > MAX_ADVERTISING_DATA {
            return Err(BeaconError::TooLong { found: data.len() });
        }
        let mut rest = data;
        // A length of 0 ends the significant part early (Core Specification v5.4, vol 3, part C, 11).
        while let Some((&declared, tail)) = rest.split_first().filter(|(length, _)| **length > 0) {
            let declared = usize::from(declared);
            let Some((structure, next)) = tail.split_at_checked(declared) else {
                return Err(BeaconError::CutStructure { declared, left: tail.len() });
            };
            if let [AD_SERVICE_DATA_16_BIT, low, high, frame @ ..] = structure
                && u16::from_le_bytes([*low, *high]) == service.0
            {
                return Self::from_service_data(frame).map(Some);
            }
            rest = next;
        }
        Ok(None)
    }
}

/// Received signal strength in dBm, as an adapter reports it. 127 means that the adapter could not tell (Core Specification v5.4, vol 4, part E, 7.7.65.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rssi(pub i8);

impl Rssi {
    /// Whether it is a strength at all (-127..=20 dBm).
    pub fn is_valid(self) -> bool {
        (-127..=20).contains(&self.0)
    }
}

#[cfg(test)]
mod tests;
