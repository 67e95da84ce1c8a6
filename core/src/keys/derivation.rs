//! The derivation formulas, plain: see the parent module for the formulas and their source.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use ctr::cipher::{KeyIvInit, StreamCipher};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::RollingProximityIdentifier;
use crate::time::EnIntervalNumber;

/// The block that is encrypted to an identifier (`PaddedData`).
///
/// ```text
/// offset  length  meaning
/// 0       6       "EN-RPI"
/// 6       6       0
/// 12      4       interval, u32 little-endian
/// ```
pub(crate) fn rpi_block(interval: u32) -> [u8; 16] {
    let mut block = *b"EN-RPI\0\0\0\0\0\0\0\0\0\0";
    block[12..].copy_from_slice(&interval.to_le_bytes());
    block
}

pub(super) fn identifiers(
    key: &[u8; 16],
    intervals: impl IntoIterator<Item = EnIntervalNumber>,
) -> impl Iterator<Item = RollingProximityIdentifier> {
    let cipher = Aes128::new(&Array(*derive(key, b"EN-RPIK")));
    intervals.into_iter().map(move |interval| {
        let mut block = Array(rpi_block(interval.number()));
        cipher.encrypt_block(&mut block);
        RollingProximityIdentifier(block.0)
    })
}

/// CTR mode is its own inverse: this encrypts and decrypts.
pub(super) fn apply_metadata_keystream(key: &[u8; 16], rpi: &RollingProximityIdentifier, mut bytes: [u8; 4]) -> [u8; 4] {
    ctr::Ctr128BE::<Aes128>::new(&Array(*derive(key, b"EN-AEMK")), &Array(rpi.0)).apply_keystream(&mut bytes);
    bytes
}

pub(super) fn derive(key: &[u8; 16], info: &[u8]) -> Zeroizing<[u8; 16]> {
    let mut out = Zeroizing::new([0; 16]);
    Hkdf::<Sha256>::new(None, key).expand(info, out.as_mut()).expect("HKDF-SHA256 gives up to 8,160 bytes, 16 are asked");
    out
}
