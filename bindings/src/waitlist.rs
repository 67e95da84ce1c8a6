//! The waiting list: forms and how sign-ups stand.

use std::fmt;
use std::time::SystemTime;

use vigie::courier::waitlist as core;

use crate::error::{Input, VigieError};

/// A form. It is checked and sealed on the device; what is handed in is not kept.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
#[uniffi::export(Debug, Display)]
pub struct SignUpForm {
    /// The national number.
    pub national_number: String,
    /// The name; empty where it is not asked for.
    #[uniffi(default = "")]
    pub name: String,
    /// The year of birth, where it is asked for.
    #[uniffi(default = None)]
    pub birth_year: Option<u16>,
    /// An e-mail address or a telephone number with its country.
    pub contact: String,
    /// Whether the person agrees.
    pub consent: bool,
    /// In which language the person is written to.
    pub language: Language,
}

/// A language in which the person is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Language {
    /// French.
    French,
    /// German.
    German,
    /// Portuguese.
    Portuguese,
    /// English.
    English,
}

/// A field of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Field {
    /// The national number.
    NationalNumber,
    /// The name.
    Name,
    /// The year of birth.
    BirthYear,
    /// Where the person can be reached.
    Contact,
    /// The consent.
    Consent,
    /// One that this version has no word for.
    Other,
}

/// A sign-up, for an app to show.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct SignUp {
    /// Its name on this device.
    pub id: i64,
    /// When it was made or recovered on this device.
    pub made_at: SystemTime,
    /// How it stands.
    pub state: SignUpState,
    /// Its place, whatever the state, once there was a receipt.
    pub place: Option<u64>,
    /// When the authority received it, by its clock.
    pub received_at: Option<SystemTime>,
    /// What is on its way.
    pub change: Option<SignUpChange>,
    /// Why the last change of a sign-up that has a receipt was not taken; what was received before still stands.
    pub refused: Option<SignUpRefusal>,
}

/// How a sign-up stands, for an app to show.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum SignUpState {
    /// What is to be sent goes as soon as there is a network.
    WaitingForNetwork,
    /// It is sent at this time, unless that is past: then it is on its way.
    WaitingUntil {
        /// When.
        at: SystemTime,
    },
    /// The authority has it, and has vouched for that.
    Received {
        /// Its number in the log: who signed up earlier has a smaller one. Who signed up before keeps the earlier number.
        place: u64,
    },
    /// The authority has read it, and it is in order.
    Processed {
        /// As above.
        place: u64,
    },
    /// It does not count.
    Rejected {
        /// Why.
        reason: SignUpRefusal,
    },
    /// It was sealed to a key that is not taken any more: the person fills in the form again, and
    /// `Tracer::correct_sign_up` takes it.
    NeedsForm,
    /// It was withdrawn, or erased by the authority.
    Withdrawn,
}

/// Why something was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum SignUpRefusal {
    /// This field of the form is wrong. A correction that changes the national number is none: withdraw, and sign up again.
    Field {
        /// Which one.
        field: Field,
    },
    /// The form could not be read at all.
    Form,
    /// This recovery code was used for another sign-up before.
    CodeUsed,
    /// The server knows no sign-up with this recovery code, or not any more.
    Unknown,
    /// A correction was sealed to a key that is not taken any more: fill in the form again.
    UnknownKey,
    /// The server does not understand this version of the app.
    BadRequest,
}

/// A change that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum SignUpChange {
    /// The sign-up itself.
    SignUp,
    /// Another form in its place.
    Correction,
    /// Its end.
    Withdrawal,
}

/// What a person can show for a sign-up, and needs on another phone.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
#[uniffi::export(Debug, Display)]
pub struct SignUpPapers {
    /// With it the sign-up can be seen, corrected and withdrawn. In groups of four, as a person reads it.
    pub recovery_code: String,
    /// As the authority signed it.
    pub receipt: Option<String>,
}

/// A new recovery code, to be shown and written down before `Tracer::sign_up`. In groups of four, as a person reads it.
///
/// # Errors
/// `VigieError::Internal` where the system gives no random numbers.
#[uniffi::export]
pub fn new_recovery_code() -> Result<String, VigieError> {
    Ok(core::RecoveryCode::generate(&mut crate::tracer::chance()?).grouped())
}

/// The same code in groups of four, where it is one: for a field in which somebody types.
///
/// # Errors
/// `VigieError::InputInvalid` where it has a typing mistake.
#[uniffi::export]
pub fn group_recovery_code(typed: String) -> Result<String, VigieError> {
    read_recovery_code(&typed).map(|code| code.grouped())
}

pub(crate) fn read_recovery_code(typed: &str) -> Result<core::RecoveryCode, VigieError> {
    core::RecoveryCode::parse(typed).map_err(|_| VigieError::input(Input::RecoveryCode))
}

impl SignUpForm {
    pub(crate) fn into_core(mut self) -> core::Form {
        core::Form {
            national_number: std::mem::take(&mut self.national_number),
            name: std::mem::take(&mut self.name),
            birth_year: self.birth_year.take(),
            contact: std::mem::take(&mut self.contact),
            consent: self.consent,
            language: self.language.into(),
        }
    }
}

impl From<core::SignUpPapers> for SignUpPapers {
    fn from(papers: core::SignUpPapers) -> Self {
        Self { recovery_code: papers.recovery_code.grouped(), receipt: papers.receipt }
    }
}

impl From<core::SignUpStatus> for SignUp {
    fn from(status: core::SignUpStatus) -> Self {
        Self {
            id: status.id.0,
            made_at: status.made_at.into(),
            state: status.state.into(),
            place: status.place,
            received_at: status.received_at.map(Into::into),
            change: status.change.map(Into::into),
            refused: status.refused.map(Into::into),
        }
    }
}

impl From<core::SignUpState> for SignUpState {
    fn from(state: core::SignUpState) -> Self {
        use core::SignUpState as S;
        match state {
            S::WaitingForNetwork => Self::WaitingForNetwork,
            S::WaitingUntil(at) => Self::WaitingUntil { at: at.into() },
            S::Received { place } => Self::Received { place },
            S::Processed { place } => Self::Processed { place },
            S::Rejected(reason) => Self::Rejected { reason: reason.into() },
            S::NeedsForm => Self::NeedsForm,
            S::Withdrawn => Self::Withdrawn,
            _ => Self::Rejected { reason: SignUpRefusal::BadRequest },
        }
    }
}

impl From<core::SignUpRefusal> for SignUpRefusal {
    fn from(refusal: core::SignUpRefusal) -> Self {
        use core::SignUpRefusal as R;
        match refusal {
            R::Field(field) => Self::Field { field: field.into() },
            R::Form => Self::Form,
            R::CodeUsed => Self::CodeUsed,
            R::Unknown => Self::Unknown,
            R::UnknownKey => Self::UnknownKey,
            _ => Self::BadRequest,
        }
    }
}

impl From<core::SignUpChange> for SignUpChange {
    fn from(change: core::SignUpChange) -> Self {
        match change {
            core::SignUpChange::SignUp => Self::SignUp,
            core::SignUpChange::Correction => Self::Correction,
            core::SignUpChange::Withdrawal => Self::Withdrawal,
        }
    }
}

impl From<core::Field> for Field {
    fn from(field: core::Field) -> Self {
        match field {
            core::Field::NationalNumber => Self::NationalNumber,
            core::Field::Name => Self::Name,
            core::Field::BirthYear => Self::BirthYear,
            core::Field::Contact => Self::Contact,
            core::Field::Consent => Self::Consent,
            _ => Self::Other,
        }
    }
}

impl From<Language> for core::Language {
    fn from(language: Language) -> Self {
        match language {
            Language::French => Self::French,
            Language::German => Self::German,
            Language::Portuguese => Self::Portuguese,
            Language::English => Self::English,
        }
    }
}

impl fmt::Debug for SignUpForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignUpForm").field("language", &self.language).finish_non_exhaustive()
    }
}

impl fmt::Debug for SignUpPapers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignUpPapers").finish_non_exhaustive()
    }
}
