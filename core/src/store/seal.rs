//! How own keys, operations on their way and notes lie in the database: as they are, or sealed with AES-256-GCM under the store's data key.
//!
//! ```text
//! offset  length  meaning
//! 0       12      nonce, random
//! 12      n       ciphertext, as long as the content
//! 12 + n  16      tag
//! ```
//!
//! What is authenticated with it: the name of the table, a zero byte, and the row's id (8 bytes, big-endian) or name, so that no row passes for another.
//! Random nonces are safe for 2^32 sealings under one key (NIST SP 800-38D, 8.3); a store does some hundred a day.
//!
//! What this does not hide: how long a content is, how many there are, and the columns beside it.

use std::cell::RefCell;

use rand::rngs::StdRng;
use rand_core::{CryptoRng, Rng, SeedableRng};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::vault::{KeyVault, MAX_WRAPPED_LEN, VaultError};
use super::{StoreError, codec};

/// Where a content belongs.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    OwnKey(i64),
    Outbox(i64),
    Note(&'a str),
}

impl Place<'_> {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::OwnKey(id) => [b"own_keys\0", &id.to_be_bytes()[..]].concat(),
            Self::Outbox(id) => [b"outbox\0", &id.to_be_bytes()[..]].concat(),
            Self::Note(name) => [b"notes\0", name.as_bytes()].concat(),
        }
    }
}

/// The data key of a sealed store, or nothing of a store that is not sealed.
pub(super) struct Seal(Option<Box<DataKey>>);

struct DataKey {
    key: Zeroizing<[u8; 32]>,
    wrapped: Vec<u8>,
    /// Seeded from the source that the store was opened with, so that what keeps a row needs none.
    nonces: RefCell<StdRng>,
}

impl Seal {
    /// Everything lies as it is.
    pub(super) const PLAIN: Self = Self(None);

    /// A new data key that `vault` has wrapped; none without a vault.
    pub(super) fn generate(vault: Option<&dyn KeyVault>, rng: &mut (impl CryptoRng + ?Sized)) -> Result<Self, VaultError> {
        let Some(vault) = vault else { return Ok(Self::PLAIN) };
        let mut key = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *key);
        let wrapped = match vault.wrap(&key) {
            // Another key was asked for, so this can only be a failure.
            Err(error @ VaultError::KeyLost) => return Err(VaultError::Failed { reason: error.to_string() }),
            wrapped => wrapped?,
        };
        if !is_wrapped_len(wrapped.len()) {
            let reason = format!("it wrapped a key into {} bytes, 1 to {MAX_WRAPPED_LEN} are expected", wrapped.len());
            return Err(VaultError::Failed { reason });
        }
        Ok(Self::of(key, wrapped, rng))
    }

    /// The data key that `vault` had wrapped.
    pub(super) fn unwrap(
        wrapped: Vec<u8>,
        vault: &dyn KeyVault,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, VaultError> {
        let key = vault.unwrap(&wrapped)?;
        Ok(Self::of(key, wrapped, rng))
    }

    fn of(key: Zeroizing<[u8; 32]>, wrapped: Vec<u8>, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self(Some(Box::new(DataKey { key, wrapped, nonces: RefCell::new(StdRng::from_seed(seed)) })))
    }

    pub(super) fn is_plain(&self) -> bool {
        self.0.is_none()
    }

    /// What lies in the database of the data key.
    pub(super) fn wrapped(&self) -> Option<&[u8]> {
        self.0.as_ref().map(|data_key| &data_key.wrapped[..])
    }

    /// The bytes to keep in `place`.
    pub(super) fn close(&self, place: Place<'_>, content: &[u8]) -> Zeroizing<Vec<u8>> {
        let Some(data_key) = &self.0 else { return Zeroizing::new(content.to_vec()) };
        let mut nonce = [0; NONCE_LEN];
        data_key.nonces.borrow_mut().fill_bytes(&mut nonce);
        // As long as it will be: growing would leave a copy behind.
        let mut sealed = Zeroizing::new(Vec::with_capacity(NONCE_LEN + content.len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(content);
        let tag = data_key
            .cipher()
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place.bytes()), &mut sealed[NONCE_LEN..])
            .expect("no memory holds the 64 GB that would be too long");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// The content that was kept in `place`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where it is not what was kept there under this data key.
    pub(super) fn open(&self, place: Place<'_>, kept: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let Some(data_key) = &self.0 else { return Ok(Zeroizing::new(kept.to_vec())) };
        let (nonce, sealed) = kept.split_first_chunk().ok_or(StoreError::Corrupt)?;
        let mut content = Zeroizing::new(sealed.to_vec());
        let opened = data_key
            .cipher()
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place.bytes()), &mut content)
            .map_err(|_| StoreError::Corrupt)?;
        let length = opened.len();
        content.truncate(length);
        Ok(content)
    }

    /// The same from a column.
    pub(super) fn open_column(
        &self,
        place: Place<'_>,
        row: &rusqlite::Row,
        column: usize,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.open(place, codec::blob(row, column)?)
    }
}

impl DataKey {
    /// Made for each use: ring does not wipe its keys, so none of them stays in memory for as long as the store is open.
    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*self.key).expect("an AES-256 key has 32 bytes"))
    }
}

/// Whether a wrapped data key may have this length, in bytes.
pub(super) fn is_wrapped_len(length: usize) -> bool {
    (1..=MAX_WRAPPED_LEN).contains(&length)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TestVault, rng};
    use super::*;

    fn sealed() -> Seal {
        Seal::generate(Some(&TestVault::default()), &mut rng(1)).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_alone_and_never_changed_or_cut() {
        let (seal, content) = (sealed(), [7; 16]);
        let kept = seal.close(Place::OwnKey(3), &content);
        assert_eq!((kept.len(), &**seal.open(Place::OwnKey(3), &kept).unwrap()), (44, &content[..]));
        for place in [Place::OwnKey(4), Place::Outbox(3), Place::Note("3"), Place::Note("own_keys")] {
            assert_eq!(seal.open(place, &kept), Err(StoreError::Corrupt));
        }
        for cut in 0..kept.len() {
            assert_eq!(seal.open(Place::OwnKey(3), &kept[..cut]), Err(StoreError::Corrupt), "{cut} bytes");
        }
        for bit in 0..8 * kept.len() {
            let mut flipped = kept.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal.open(Place::OwnKey(3), &flipped), Err(StoreError::Corrupt), "bit {bit}");
        }
    }

    #[test]
    fn the_layout_is_nonce_ciphertext_tag_with_table_and_row_authenticated() {
        let seal = sealed();
        let kept = seal.close(Place::Outbox(0x0102), b"content");
        let key = &*seal.0.as_ref().unwrap().key;
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
        let mut rest = kept[12..].to_vec();
        let nonce = Nonce::try_assume_unique_for_key(&kept[..12]).unwrap();
        let opened = cipher.open_in_place(nonce, Aad::from(b"outbox\0\0\0\0\0\0\0\x01\x02"), &mut rest).unwrap();
        assert_eq!(opened, b"content");
    }

    #[test]
    fn no_nonce_comes_twice_though_the_content_does() {
        let seal = sealed();
        let nonces: std::collections::HashSet<_> =
            (0..1_000).map(|_| seal.close(Place::Note("n"), b"same")[..NONCE_LEN].to_vec()).collect();
        assert_eq!(nonces.len(), 1_000);
    }

    #[test]
    fn without_a_vault_bytes_stay_as_they_are() {
        let plain = Seal::generate(None, &mut rng(1)).unwrap();
        assert!(plain.is_plain() && plain.wrapped().is_none());
        assert_eq!(**plain.close(Place::OwnKey(1), b"key"), *b"key");
        assert_eq!(**plain.open(Place::OwnKey(2), b"key").unwrap(), *b"key");
    }

    #[test]
    fn a_vault_that_wraps_into_nothing_or_too_much_has_failed() {
        for (length, is_fine) in [(0, false), (1, true), (4_096, true), (4_097, false)] {
            let vault = TestVault { wraps_into: Some(length), ..TestVault::default() };
            let wrapped = Seal::generate(Some(&vault), &mut rng(1));
            assert_eq!(wrapped.is_ok(), is_fine, "{length}");
            assert!(
                wrapped.map_or_else(|e| matches!(e, VaultError::Failed { .. }), |seal| seal.wrapped().unwrap().len() == length)
            );
        }
    }
}
