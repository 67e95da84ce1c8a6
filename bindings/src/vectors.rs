//! The two derivations of the specification that can be compared with published vectors: so that an app can check the library on its own device.

use vigie::keys::{Metadata, TemporaryExposureKey};
use vigie::time::EnIntervalNumber;

use crate::error::{Input, VigieError};

/// The Rolling Proximity Identifier of a Temporary Exposure Key (16 bytes) in an interval: 16 bytes. Exposure Notification, Cryptography Specification v1.2.
///
/// # Errors
/// `VigieError::InputInvalid` where the key has another length.
#[uniffi::export]
pub fn rolling_proximity_identifier(key: Vec<u8>, interval: u32) -> Result<Vec<u8>, VigieError> {
    Ok(read_key(key, interval)?.identifier(EnIntervalNumber::new(interval)).0.to_vec())
}

/// The Associated Encrypted Metadata of 4 bytes under the identifier of that interval: 4 bytes. The same specification.
///
/// # Errors
/// `VigieError::InputInvalid` where key or metadata have another length.
#[uniffi::export]
pub fn associated_encrypted_metadata(key: Vec<u8>, interval: u32, metadata: Vec<u8>) -> Result<Vec<u8>, VigieError> {
    let key = read_key(key, interval)?;
    let metadata: [u8; 4] = metadata.try_into().map_err(|_| VigieError::input(Input::Bytes))?;
    let rpi = key.identifier(EnIntervalNumber::new(interval));
    Ok(key.encrypt_metadata(&rpi, Metadata(metadata)).0.to_vec())
}

fn read_key(key: Vec<u8>, interval: u32) -> Result<TemporaryExposureKey, VigieError> {
    let bytes: [u8; 16] = key.try_into().map_err(|_| VigieError::input(Input::Bytes))?;
    let start = EnIntervalNumber::new(interval).day_start();
    TemporaryExposureKey::new(&bytes, i64::from(start.number()), 144).map_err(|_| VigieError::input(Input::Bytes))
}
