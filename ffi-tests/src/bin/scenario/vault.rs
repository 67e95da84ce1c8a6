//! A key vault that stands in memory: it wraps by adding its own key, and knows what it wrapped.

use std::sync::atomic::{AtomicU8, Ordering};

use vigie_ffi::{KeyVault, VaultError, VaultProblem};

static MADE: AtomicU8 = AtomicU8::new(1);

/// No cipher: what is tested is who asks for what, and when.
pub(crate) struct MemoryVault(u8);

impl MemoryVault {
    /// One with another key than all before.
    pub(crate) fn new() -> Self {
        Self(MADE.fetch_add(1, Ordering::Relaxed))
    }
}

impl KeyVault for MemoryVault {
    fn wrap(&self, data_key: Vec<u8>) -> Result<Vec<u8>, VaultError> {
        Ok(std::iter::once(self.0).chain(data_key.into_iter().map(|byte| byte ^ self.0)).collect())
    }

    fn unwrap(&self, wrapped: Vec<u8>) -> Result<Vec<u8>, VaultError> {
        match wrapped.split_first() {
            Some((key, rest)) if *key == self.0 => Ok(rest.iter().map(|byte| byte ^ self.0).collect()),
            _ => Err(VaultError::Problem { problem: VaultProblem::KeyLost }),
        }
    }
}
