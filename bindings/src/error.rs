//! What went wrong, in the words of what an app can do about it. No inner text crosses: it could name files or what a user typed.

use vigie::radio::RadioError;
use vigie::tracer::{self, Remedy, TracerError};

use crate::waitlist::Field;

/// Why a call failed. Nothing of it was done then, unless its documentation says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum VigieError {
    /// Ask the user for this permission. What needs it is tried again by itself.
    #[error("a permission is needed: {permission:?}")]
    PermissionNeeded {
        /// Which one.
        permission: Permission,
    },
    /// Bluetooth is off, or cannot do what is needed: ask the user to switch it on. It is tried again by itself.
    #[error("the Bluetooth adapter is not available")]
    AdapterUnavailable,
    /// It cannot be now; try again after this time. What is in the outbox is sent without being asked for.
    #[error("try again after {seconds} s")]
    RetryAfter {
        /// Seconds.
        seconds: u64,
    },
    /// What was handed in is wrong, or does not fit to what is there.
    #[error("wrong input: {input:?}")]
    InputInvalid {
        /// Which one.
        input: Input,
    },
    /// The store cannot be used as it is.
    #[error("the storage: {problem:?}")]
    Storage {
        /// Why.
        problem: StorageProblem,
    },
    /// The library failed in a way that an app can do nothing about: report it to its authors, with this code. 2: the tracer was shut down before. 3: the system gives no random
    /// numbers. 10: an identifier would have been sent twice. 11: a file could not be used.
    /// 12: no thread could be started. 13: a form could not be sealed. 14: the key vault failed. From 1,000,000: an extended result code of SQLite.
    #[error("internal error {code}")]
    Internal {
        /// The code.
        code: u32,
    },
}

/// What the user has to allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Permission {
    /// To use Bluetooth: to scan, to advertise and to connect.
    Bluetooth,
    /// To read and write the store's files.
    Storage,
}

/// What was wrong of what was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Input {
    /// The place of the store holds something else, or is no path.
    StorePath,
    /// The store is sealed, and there was no key vault.
    KeyVault,
    /// The description of the servers cannot be read, or names no such server.
    Servers,
    /// A public key of an authority is none.
    AuthorityKey,
    /// The parameters of exposures are none, or out of range.
    Exposure,
    /// The verification code has a typing mistake.
    VerificationCode,
    /// The recovery code has a typing mistake, or belongs to another sign-up of this device.
    RecoveryCode,
    /// An earlier report is under way: wait for it, or withdraw it.
    Report,
    /// There is no such sign-up, or it is withdrawn.
    SignUp,
    /// There is no such alert.
    Alert,
    /// Bytes of another length than asked for.
    Bytes,
    /// A field of the form.
    Form {
        /// Which one.
        field: Field,
    },
}

/// Why the store cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum StorageProblem {
    /// There is no space: ask the user to free some. What was to be kept is tried again by itself.
    Full,
    /// It is damaged: open it again, which salvages what can be read.
    Corrupt,
    /// A newer version of the app has written it: update the app.
    Newer,
}

/// Codes of `VigieError::Internal` that are made here.
const SHUT_DOWN: u32 = 2;
const NO_CHANCE: u32 = 3;

impl VigieError {
    pub(crate) const SHUT_DOWN: Self = Self::Internal { code: SHUT_DOWN };

    pub(crate) const NO_CHANCE: Self = Self::Internal { code: NO_CHANCE };

    pub(crate) const fn input(input: Input) -> Self {
        Self::InputInvalid { input }
    }
}

impl From<Remedy> for VigieError {
    fn from(remedy: Remedy) -> Self {
        match remedy {
            Remedy::Permit(tracer::Permission::Bluetooth) => Self::PermissionNeeded { permission: Permission::Bluetooth },
            Remedy::Permit(tracer::Permission::Storage) => Self::PermissionNeeded { permission: Permission::Storage },
            Remedy::EnableAdapter => Self::AdapterUnavailable,
            Remedy::Retry(after) => Self::RetryAfter { seconds: after.as_secs().max(1) },
            Remedy::Correct(input) => Self::input(input.into()),
            Remedy::FreeSpace => Self::Storage { problem: StorageProblem::Full },
            Remedy::Reopen => Self::Storage { problem: StorageProblem::Corrupt },
            Remedy::Update => Self::Storage { problem: StorageProblem::Newer },
            Remedy::Report(code) => Self::Internal { code },
        }
    }
}

impl From<tracer::Input> for Input {
    fn from(input: tracer::Input) -> Self {
        match input {
            tracer::Input::StorePath => Self::StorePath,
            tracer::Input::KeyVault => Self::KeyVault,
            tracer::Input::Servers => Self::Servers,
            tracer::Input::VerificationCode => Self::VerificationCode,
            tracer::Input::RecoveryCode => Self::RecoveryCode,
            tracer::Input::Report => Self::Report,
            tracer::Input::SignUp => Self::SignUp,
            tracer::Input::Form(field) => Self::Form { field: field.into() },
        }
    }
}

impl From<TracerError> for VigieError {
    fn from(error: TracerError) -> Self {
        error.remedy().into()
    }
}

impl From<&RadioError> for VigieError {
    fn from(error: &RadioError) -> Self {
        error.remedy().into()
    }
}
