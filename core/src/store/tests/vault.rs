//! A vault like a phone's, that a test can lock, break and empty.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::super::{KeyVault, VaultError};

#[derive(Default)]
pub(crate) struct TestVault {
    /// Which key it has; each stands for another phone, or another life of the same.
    pub(crate) key: Mutex<u8>,
    /// What it answers instead of working.
    pub(crate) error: Mutex<Option<VaultError>>,
    /// So many bytes instead of what it wraps.
    pub(crate) wraps_into: Option<usize>,
    pub(crate) wrapped: AtomicUsize,
}

impl TestVault {
    pub(crate) fn fails(&self, error: Option<VaultError>) {
        *self.error.lock().unwrap() = error;
    }

    pub(crate) fn loses_its_key(&self) {
        *self.key.lock().unwrap() += 1;
    }

    fn cipher(&self) -> Result<LessSafeKey, VaultError> {
        match &*self.error.lock().unwrap() {
            Some(error) => Err(error.clone()),
            None => Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[*self.key.lock().unwrap(); 32]).unwrap())),
        }
    }
}

impl KeyVault for TestVault {
    fn wrap(&self, data_key: &[u8; 32]) -> Result<Vec<u8>, VaultError> {
        let cipher = self.cipher()?;
        if let Some(length) = self.wraps_into {
            return Ok(vec![0; length]);
        }
        let mut nonce = [0; 12];
        nonce[0] = self.wrapped.fetch_add(1, Ordering::Relaxed) as u8;
        let mut wrapped = data_key.to_vec();
        cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut wrapped).unwrap();
        Ok([&nonce[..], &wrapped].concat())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        let cipher = self.cipher()?;
        let mut rest = wrapped[12..].to_vec();
        let nonce = Nonce::try_assume_unique_for_key(&wrapped[..12]).unwrap();
        let data_key = cipher.open_in_place(nonce, Aad::empty(), &mut rest).map_err(|_| VaultError::KeyLost)?;
        Ok(Zeroizing::new(data_key.try_into().unwrap()))
    }
}
