//! The phone's keeper of keys: what seals the store at rest.

use std::sync::Arc;

use vigie::store;
use zeroize::{Zeroize, Zeroizing};

/// What a `KeyVault` throws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum VaultError {
    /// It cannot now, or not any more.
    #[error("the key vault: {problem:?}")]
    Problem {
        /// Why.
        problem: VaultProblem,
    },
}

/// Why a vault did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum VaultProblem {
    /// The phone was not unlocked since it was started. It is tried again.
    Locked,
    /// The vault's own key is gone, or it cannot open what was wrapped. Never said of what may pass: what is sealed is given up.
    KeyLost,
    /// It failed in a way that may pass.
    Failed,
}

/// Wraps and unwraps the key that the store is sealed with, with a key of its own that never leaves it: in Android's Keystore or Apple's Keychain. Usable
/// while the phone is locked, from its first unlock on. Apart from `VaultError` it throws nothing.
#[uniffi::export(with_foreign)]
pub trait KeyVault: Send + Sync {
    /// Wraps 32 random bytes, authenticated; the result has 1 to 4,096 bytes. Where its own key is gone, a vault makes another one, and wraps.
    fn wrap(&self, data_key: Vec<u8>) -> Result<Vec<u8>, VaultError>;

    /// Gives back the 32 bytes that were wrapped.
    fn unwrap(&self, wrapped: Vec<u8>) -> Result<Vec<u8>, VaultError>;
}

/// An app's vault, as the core wants it.
pub(crate) struct PhoneVault(pub(crate) Arc<dyn KeyVault>);

impl store::KeyVault for PhoneVault {
    fn wrap(&self, data_key: &[u8; 32]) -> Result<Vec<u8>, store::VaultError> {
        Ok(self.0.wrap(data_key.to_vec())?)
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, store::VaultError> {
        let mut bytes = self.0.unwrap(wrapped.to_vec())?;
        let key = <[u8; 32]>::try_from(bytes.as_slice()).map(Zeroizing::new);
        bytes.zeroize();
        // A vault that gives back something else has not this key.
        key.map_err(|_| store::VaultError::KeyLost)
    }
}

impl From<uniffi::UnexpectedUniFFICallbackError> for VaultError {
    fn from(_: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Problem { problem: VaultProblem::Failed }
    }
}

impl From<VaultError> for store::VaultError {
    fn from(VaultError::Problem { problem }: VaultError) -> Self {
        match problem {
            VaultProblem::Locked => Self::Locked,
            VaultProblem::KeyLost => Self::KeyLost,
            VaultProblem::Failed => Self::Failed { reason: "the app's vault says so".into() },
        }
    }
}
