//! What an app can do about an error: many causes, few remedies. This is all that the bindings hand on of one.
//!
//! Every match here is exhaustive, so that a new cause cannot be forgotten.

use std::time::Duration;

use super::TracerError;
use crate::courier::waitlist::{Field, SignUpError};
use crate::radio::RadioError;
use crate::store::{StoreError, VaultError};

/// Another program's lock on the store, or its whole use of it.
const STORE_IN_USE: Duration = Duration::from_secs(5);

/// The user unlocks the phone for the first time, or an app is woken by the system when that was done.
const VAULT_LOCKED: Duration = Duration::from_secs(60);

/// A change that is on its way is through in this time, mostly.
const CHANGE_UNDER_WAY: Duration = Duration::from_secs(60);

/// What an app can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Ask the user for a permission.
    Permit(Permission),
    /// Ask the user to switch Bluetooth on, or say that this device cannot trace. It is tried again by itself.
    EnableAdapter,
    /// Try again after this time.
    Retry(Duration),
    /// Give another input.
    Correct(Input),
    /// Ask the user to free some space. It is tried again by itself.
    FreeSpace,
    /// The store is damaged: open it again, which salvages what can be read.
    Reopen,
    /// The store was written by a newer version: update the app.
    Update,
    /// Nothing: report it to the authors of the library, with this code.
    Report(u32),
}

/// What the user has to allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// To use Bluetooth.
    Bluetooth,
    /// To read and write the store's files.
    Storage,
}

/// What was wrong of what was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The place of the store holds something else.
    StorePath,
    /// The store is sealed, and there was no key vault.
    KeyVault,
    /// The description of the servers, or there is none of what is asked for.
    Servers,
    /// The verification code.
    VerificationCode,
    /// The recovery code: mistyped, or of another sign-up of this device.
    RecoveryCode,
    /// An earlier report is under way: wait for it, or withdraw it.
    Report,
    /// There is no such sign-up, or it is withdrawn.
    SignUp,
    /// A field of the form.
    Form(Field),
}

/// Codes of [`Remedy::Report`].
mod code {
    pub(super) const IDENTIFIER_SENT: u32 = 10;
    pub(super) const INPUT_OUTPUT: u32 = 11;
    pub(super) const THREAD: u32 = 12;
    pub(super) const SEALING: u32 = 13;
    pub(super) const VAULT: u32 = 14;
    /// SQLite's extended result codes follow.
    pub(super) const SQLITE: u32 = 1_000_000;
}

impl TracerError {
    /// What an app can do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Store(error) => error.remedy(),
            Self::ReportUnderWay { .. } => Remedy::Correct(Input::Report),
            Self::SignUp(error) => error.remedy(),
            Self::Thread(_) => Remedy::Report(code::THREAD),
        }
    }
}

impl StoreError {
    /// What an app can do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::NotAVigieStore { .. } => Remedy::Correct(Input::StorePath),
            Self::NewerVersion { .. } => Remedy::Update,
            Self::InUse { .. } | Self::Locked => Remedy::Retry(STORE_IN_USE),
            Self::DiskFull => Remedy::FreeSpace,
            Self::NoPermission => Remedy::Permit(Permission::Storage),
            Self::Corrupt => Remedy::Reopen,
            Self::Sealed => Remedy::Correct(Input::KeyVault),
            Self::Vault(VaultError::Locked) => Remedy::Retry(VAULT_LOCKED),
            Self::Vault(VaultError::Failed { .. }) => Remedy::Retry(STORE_IN_USE),
            // Opening takes care of it, and what a vault wraps with a new key is never lost.
            Self::Vault(VaultError::KeyLost) => Remedy::Report(code::VAULT),
            Self::AlreadySent { .. } => Remedy::Report(code::IDENTIFIER_SENT),
            Self::Io { .. } => Remedy::Report(code::INPUT_OUTPUT),
            Self::Sqlite { code, .. } => Remedy::Report(code::SQLITE.saturating_add(code.unsigned_abs())),
        }
    }
}

impl SignUpError {
    /// What an app can do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Store(error) => error.remedy(),
            Self::NoWaitlist => Remedy::Correct(Input::Servers),
            Self::Form(error) => Remedy::Correct(Input::Form(error.0)),
            Self::Seal(_) => Remedy::Report(code::SEALING),
            Self::NoSuchSignUp | Self::Withdrawn => Remedy::Correct(Input::SignUp),
            Self::ChangeUnderWay => Remedy::Retry(CHANGE_UNDER_WAY),
            Self::CodeInUse { .. } => Remedy::Correct(Input::RecoveryCode),
        }
    }
}

impl RadioError {
    /// What an app can do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::NotPermitted => Remedy::Permit(Permission::Bluetooth),
            Self::NoAdapter
            | Self::PoweredOff
            | Self::NoSuchAdapter { .. }
            | Self::NoService
            | Self::NoMessageBus
            | Self::Unsupported { .. }
            | Self::Failed { .. } => Remedy::EnableAdapter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_cause_has_the_same_remedy_however_deep_it_is() {
        assert_eq!(TracerError::Store(StoreError::DiskFull).remedy(), Remedy::FreeSpace);
        assert_eq!(TracerError::SignUp(SignUpError::Store(StoreError::DiskFull)).remedy(), Remedy::FreeSpace);
        let field = SignUpError::Form(crate::courier::waitlist::FormError(Field::Contact));
        assert_eq!(TracerError::SignUp(field).remedy(), Remedy::Correct(Input::Form(Field::Contact)));
    }

    #[test]
    fn codes_of_sqlite_are_told_from_ours() {
        let error = StoreError::Sqlite { code: 266, message: "" };
        assert_eq!(error.remedy(), Remedy::Report(1_000_266));
    }
}
