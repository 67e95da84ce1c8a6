//! A sign-up, for an app to show: how it stands, what can be done with it, and why not.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::form::{Field, FormError};
use super::kept::{SignUp, changes, load};
use super::recovery::RecoveryCode;
use super::sealed::SealError;
use crate::store::{Store, StoreError};
use crate::time::Timestamp;

/// Names a sign-up on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignUpId(pub i64);

/// How a sign-up stands, for an app to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignUpState {
    /// What is to be sent goes as soon as there is a network.
    WaitingForNetwork,
    /// It is sent at this time, unless that is past: then it is on its way.
    WaitingUntil(Timestamp),
    /// The authority has it, and has vouched for that.
    Received {
        /// Its number in the log: who signed up earlier has a smaller one. Who signed up before keeps the earlier number.
        place: u64,
    },
    /// The authority has read it, and it is in order.
    Processed {
        /// As in [`Received`](Self::Received).
        place: u64,
    },
    /// It does not count.
    Rejected(SignUpRefusal),
    /// It was sealed to a key that is not taken any more, and nobody here can open it: the person fills in the form again, and
    /// [`correct_sign_up`](crate::tracer::Tracer::correct_sign_up) takes it, under the same recovery code.
    NeedsForm,
    /// It was withdrawn, or erased by the authority.
    Withdrawn,
}

/// Why something was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SignUpRefusal {
    /// This field of the form is wrong. A correction that changes the national number is none: withdraw, and sign up again.
    Field(Field),
    /// The form could not be read at all.
    Form,
    /// This recovery code was used for another sign-up before; asking how it stands brings that one's receipt.
    CodeUsed,
    /// The server knows no sign-up with this recovery code, or not any more.
    Unknown,
    /// A correction was sealed to a key that is not taken any more: fill in the form again.
    UnknownKey,
    /// The server does not understand this version of the app.
    BadRequest,
}

/// A change that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignUpChange {
    /// The sign-up itself.
    SignUp,
    /// Another form in its place.
    Correction,
    /// Its end.
    Withdrawal,
}

/// A sign-up, for an app to show.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignUpStatus {
    /// Its name.
    pub id: SignUpId,
    /// When it was made or recovered on this device.
    pub made_at: Timestamp,
    /// How it stands.
    pub state: SignUpState,
    /// Its place, whatever the state, once there was a receipt.
    pub place: Option<u64>,
    /// When the authority received it, by its clock.
    pub received_at: Option<Timestamp>,
    /// What is on its way.
    pub change: Option<SignUpChange>,
    /// Why the last change of a sign-up that has a receipt was not taken; what was received before still stands.
    pub refused: Option<SignUpRefusal>,
}

/// What a person can show for a sign-up, and needs on another phone. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignUpPapers {
    /// With it the sign-up can be seen, corrected and withdrawn.
    pub recovery_code: RecoveryCode,
    /// As the authority signed it; [`ReceiptKey::verify`](super::ReceiptKey::verify) reads it.
    pub receipt: Option<String>,
}

/// Why a sign-up cannot be made or changed. Nothing was kept or sent then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignUpError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authority has none, or no server is connected.
    #[error("there is no waiting list at these servers")]
    NoWaitlist,
    /// A field is wrong.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The form cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// This device has none with this name.
    #[error("there is no such sign-up on this device")]
    NoSuchSignUp,
    /// One thing at a time; a withdrawal takes the place of any.
    #[error("an earlier change of this sign-up is still on its way; it can be withdrawn, or corrected when that is through")]
    ChangeUnderWay,
    /// It cannot be corrected any more.
    #[error("the sign-up is withdrawn: sign up again, with another recovery code")]
    Withdrawn,
    /// Each sign-up has a recovery code of its own.
    #[error("this recovery code belongs to another sign-up on this device")]
    CodeInUse {
        /// That one.
        id: SignUpId,
    },
}

/// All sign-ups of this device, oldest first.
///
/// # Errors
/// [`StoreError`].
pub fn sign_ups(store: &Store) -> Result<Vec<SignUpStatus>, StoreError> {
    let (kept, changes) = (load(store)?, changes(store)?);
    let find = |id| kept.iter().find(|sign_up| sign_up.id == id);
    let is_changing = |id| changes.iter().any(|(_, change)| change.sign_up == id);
    let quiet = kept.iter().filter(|sign_up| !is_changing(sign_up.id)).map(SignUp::status);
    let changing = changes.iter().map(|(entry, change)| change.status(entry, find(change.sign_up)));
    let mut all: Vec<SignUpStatus> = quiet.chain(changing).collect();
    all.sort_by_key(|status| (status.made_at, status.id));
    Ok(all)
}

/// What a person can show for this sign-up; `None` where there is none with this name.
///
/// # Errors
/// [`StoreError`].
pub fn sign_up_papers(store: &Store, id: SignUpId) -> Result<Option<SignUpPapers>, StoreError> {
    if let Some(kept) = load(store)?.into_iter().find(|sign_up| sign_up.id == id) {
        return Ok(Some(SignUpPapers { recovery_code: kept.code, receipt: kept.receipt }));
    }
    let change = changes(store)?.into_iter().find(|(_, change)| change.sign_up == id);
    Ok(change.map(|(_, change)| SignUpPapers { recovery_code: change.code, receipt: None }))
}

impl fmt::Debug for SignUpPapers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignUpPapers(..)")
    }
}
