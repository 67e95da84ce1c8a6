//! The phone's keeper of keys, as the store needs it: Android's Keystore, Apple's Keychain and Secure Enclave.
//!
//! The store seals with a data key of its own, because a vault is slow and may not be asked for each row. The vault wraps that key with one that
//! never leaves it, so that the files of a store are worth nothing without the phone that they were made on.

use zeroize::Zeroizing;

/// A wrapped data key has 1 byte at least, and at most so many: what vaults add is far shorter, and it lies in the database.
pub(super) const MAX_WRAPPED_LEN: usize = 4_096;

/// Wraps and unwraps the key that a store is sealed with.
///
/// Its own key is made at the first [`wrap`](Self::wrap), can be used while the phone is locked from its first unlock on, since tracing goes on
/// then, and leaves neither the vault nor, with a backup, the phone. It is asked while the store is held, so it must not call the tracer.
pub trait KeyVault: Send + Sync {
    /// Wraps 32 random bytes; the result has 1 to 4,096 bytes.
    ///
    /// # Errors
    /// [`VaultError`]. Where its own key is gone, a vault makes another one, and wraps.
    fn wrap(&self, data_key: &[u8; 32]) -> Result<Vec<u8>, VaultError>;

    /// Gives back what was wrapped, and never anything else: wrapping must be authenticated.
    ///
    /// # Errors
    /// [`VaultError`].
    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, VaultError>;
}

/// Why a vault did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The phone was not unlocked since it was started. It may be tried again when it was.
    #[error("the key vault is locked until the phone is unlocked once; try again then")]
    Locked,
    /// The vault's own key is gone, or it cannot open what was wrapped: a backup of another phone, credentials that were cleared. Never said of
    /// what may pass: what is sealed is given up.
    #[error("the key vault has lost its key")]
    KeyLost,
    /// It failed in a way that may pass. It may be tried again.
    #[error("the key vault failed: {reason}; try again")]
    Failed {
        /// What it said. It must not hold anything secret.
        reason: String,
    },
}
