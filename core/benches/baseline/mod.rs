//! What the matcher is measured against: two matchers as they are usually written.
//!
//! Both take what is at hand for the derivation (crate hkdf, crate aes) and check the 2 hours of each match as ours does, and the benchmark
//! asserts that all three find the same.

pub(crate) mod hash_map;
pub(crate) mod prefix_index;

use aes::cipher::{Array, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;
use vigie::matching::{Match, StoredIdentifier};

/// The cipher that turns intervals into the identifiers of a key.
fn cipher(tek: &[u8; 16]) -> aes::Aes128 {
    let mut rpik = [0; 16];
    Hkdf::<Sha256>::new(None, tek).expand(b"EN-RPIK", &mut rpik).expect("16 bytes are not too long");
    aes::Aes128::new(&Array(rpik))
}

fn block(interval: u32) -> [u8; 16] {
    let mut block = *b"EN-RPI\0\0\0\0\0\0\0\0\0\0";
    block[12..].copy_from_slice(&interval.to_le_bytes());
    block
}

fn matching(key: usize, interval: u32, stored: &StoredIdentifier) -> Option<Match> {
    let is_near = stored.interval.number().abs_diff(interval) <= 12;
    is_near.then(|| Match { key, encounter: stored.encounter, interval: vigie::time::EnIntervalNumber::new(interval) })
}
