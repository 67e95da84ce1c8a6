//! What the server decides: each rule is a function of a transaction, a request, and a [`Context`] with time, secrets and randomness.
//!
//! No rule knows of HTTP, threads or a clock, so a simulation calls them directly, on a database in memory.

mod certificate;
mod export;
mod forget;
mod issue;
mod mails;
mod opening;
mod owner;
mod publish;
mod retention;
mod statements;
mod verify;
mod waitlist;

#[cfg(test)]
mod tests;

use rand_core::CryptoRng;
use vigie::diagnosis::ReportType;
use vigie::time::{Date, EnIntervalNumber, Timestamp};

use crate::database::{DatabaseError, Transaction, Value};
use crate::keys::Secrets;

pub use certificate::certificate;
pub use export::{Batch, Published, index, listed, load_unwritten, load_written, mark_written, plan};
pub use forget::{Forgotten, erase_sign_ups, forget, places_of_number, places_of_operation};
pub use issue::{Issue, Issued, issue};
pub use mails::{Mail, MailEnd, MailKind, known_mails, settle_mails, take_mails};
pub use opening::{
    Backlog, Conflict, Finding, Hashes, Task, backlog, conflicts, count_conflicts, first_of, load_tasks, open_form, settle,
};
pub use owner::{Correction, Standing, correct, status, withdraw};
pub use publish::{Report, publish};
pub use retention::{erase, expired_files, forget_file};
pub use verify::verify;
pub(crate) use waitlist::last_place;
pub use waitlist::{Received, SignUp, receive, repeated};

/// What an authority can set.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Who signs certificates, their `iss`.
    pub issuer: String,
    /// Whom they are for, their `aud`.
    pub audience: String,
    /// The health authority that reports name.
    pub health_authority_id: String,
    /// The region in key files.
    pub region: String,
    /// The id of the signing key in key files.
    pub key_id: String,
    /// How long a code of 16 symbols is good, in hours.
    pub code_hours: u32,
    /// Whether codes of 8 digits are given out and taken.
    pub has_short_codes: bool,
    /// A batch comes so often, in seconds.
    pub batch_period_s: u32,
    /// A batch has at least so many keys.
    pub minimum_keys: u32,
    /// A file has at most so many keys.
    pub maximum_keys: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            issuer: "vigie-backend".into(),
            audience: "vigie-backend".into(),
            health_authority_id: "org.example".into(),
            region: "ZZ".into(),
            key_id: "999".into(),
            code_hours: 24,
            has_short_codes: false,
            batch_period_s: 2 * 3600,
            minimum_keys: 500,
            maximum_keys: 500_000,
        }
    }
}

/// What a rule is given beside its request.
pub struct Context<'a> {
    /// The time.
    pub now: Timestamp,
    /// The secrets.
    pub secrets: &'a Secrets,
    /// The settings.
    pub policy: &'a Policy,
    /// The source of randomness.
    pub rng: &'a mut dyn CryptoRng,
}

/// Why a request is refused, as its caller is told. No text repeats what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The body is not what the interface asks for.
    #[error("the request cannot be read: {0}")]
    Unparsable(&'static str),
    /// Used already, or mistyped.
    #[error("the code is wrong, or was used already")]
    CodeInvalid,
    /// Too late.
    #[error("the code has expired")]
    CodeExpired,
    /// Never given out.
    #[error("there is no such code")]
    CodeNotFound,
    /// `accept` names something that is no type of test.
    #[error("`accept` names an unknown type of test")]
    InvalidTestType,
    /// The app did not say that it can handle this type of test.
    #[error("the code is for a type of test that was not accepted")]
    UnsupportedTestType,
    /// Too many wrong codes.
    #[error("too many wrong codes; try again later")]
    QuotaExceeded,
    /// Never given out.
    #[error("the token is wrong")]
    TokenInvalid,
    /// Too late, or used for other keys.
    #[error("the token has expired, or was used already")]
    TokenExpired,
    /// Not 32 bytes in base64.
    #[error("the HMAC is not 32 bytes in base64")]
    HmacInvalid,
    /// Another authority.
    #[error("the health authority is unknown")]
    UnknownHealthAuthority,
    /// Not ours, not for these keys, or too late.
    #[error("the certificate is wrong, has expired, or is for other keys")]
    CertificateInvalid,
    /// Nothing of the report can be used.
    #[error("the report cannot be used: {0}")]
    BadRequest(&'static str),
    /// Keys were reported before, and nothing shows that it was by the same device.
    #[error("keys were reported before; the revision token is missing")]
    MissingRevisionToken,
    /// Keys were reported before, by another device, or otherwise.
    #[error("keys were reported before, and the revision token is for others")]
    InvalidRevisionToken,
    /// Once is enough.
    #[error("a key was revised before")]
    KeyAlreadyRevised,
    /// An operation id was used for something else.
    #[error("this operation id was used for something else; nothing was stored")]
    OperationReused,
    /// Sealed to a key that is not taken.
    #[error("the form is sealed to a key that is not taken; the present one is in client.json")]
    UnknownKey,
    /// No such sign-up, or another's.
    #[error("there is no such sign-up")]
    UnknownOperation,
    /// Such as from negative to confirmed.
    #[error("a report of this type cannot become one of that type")]
    InvalidTransition,
}

impl Refusal {
    /// The word of the interface.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unparsable(_) => "unparsable_request",
            Self::CodeInvalid => "code_invalid",
            Self::CodeExpired => "code_expired",
            Self::CodeNotFound => "code_not_found",
            Self::InvalidTestType => "invalid_test_type",
            Self::UnsupportedTestType => "unsupported_test_type",
            Self::QuotaExceeded => "quota_exceeded",
            Self::TokenInvalid => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::HmacInvalid => "hmac_invalid",
            Self::UnknownHealthAuthority => "unknown_health_authority_id",
            Self::CertificateInvalid => "health_authority_verification_certificate_invalid",
            Self::BadRequest(_) => "bad_request",
            Self::MissingRevisionToken => "missing_revision_token",
            Self::InvalidRevisionToken => "invalid_revision_token",
            Self::KeyAlreadyRevised => "key_already_revised",
            Self::OperationReused => "operation_reused",
            Self::UnknownKey => "unknown_key",
            Self::UnknownOperation => "unknown_operation",
            Self::InvalidTransition => "invalid_report_type_transition",
        }
    }

    /// The status of HTTP that deployed servers give with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::UnsupportedTestType => 412,
            Self::QuotaExceeded => 429,
            Self::OperationReused => 422,
            Self::UnknownOperation => 404,
            Self::UnknownKey => 409,
            Self::UnknownHealthAuthority | Self::CertificateInvalid => 401,
            _ => 400,
        }
    }
}

/// How a rule ends when it does not answer. Whatever it did is undone.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The caller's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database's fault.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// The type of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestType {
    /// A positive test.
    Confirmed,
    /// A doctor's judgement.
    Likely,
    /// The report is withdrawn.
    Negative,
}

impl TestType {
    /// The word of the interface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Likely => "likely",
            Self::Negative => "negative",
        }
    }

    /// The type with this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Confirmed, Self::Likely, Self::Negative].into_iter().find(|test| test.as_str() == word)
    }

    /// As key files say it.
    pub const fn report_type(self) -> ReportType {
        match self {
            Self::Confirmed => ReportType::ConfirmedTest,
            Self::Likely => ReportType::ConfirmedClinicalDiagnosis,
            Self::Negative => ReportType::Revoked,
        }
    }
}

/// The column of a row that holds a type of test.
fn test_type(word: &str, column: usize) -> Result<TestType, DatabaseError> {
    TestType::parse(word).ok_or(DatabaseError::Column { column })
}

/// The day with this number of days since 1970.
fn date(days: i64) -> Date {
    Date::from_days(u32::try_from(days).unwrap_or(0))
}

/// The first interval of a day.
fn first_interval(days: i64) -> EnIntervalNumber {
    date(days).first_interval()
}

/// The version of the tables.
const TABLES: i64 = 3;

/// Refuses a database that was made by another version, whose columns are not those that statements name; marks a new one.
///
/// # Errors
/// [`DatabaseError::OtherTables`].
pub fn check_tables(transaction: &mut dyn Transaction) -> Result<(), DatabaseError> {
    if transaction.query("SELECT name FROM setting LIMIT 1", &[])?.is_empty() {
        transaction.execute("INSERT INTO setting (name, number) VALUES ('tables', $1)", &[TABLES.into()])?;
    }
    let rows = transaction.query("SELECT number FROM setting WHERE name = 'tables'", &[])?;
    match rows.first() {
        Some(row) if row.integer(0)? == TABLES => Ok(()),
        _ => Err(DatabaseError::OtherTables),
    }
}

/// Remembers to which secrets this database belongs, so that an instance with others does not start.
///
/// # Errors
/// [`DatabaseError::OtherSecrets`].
pub fn check_secrets(transaction: &mut dyn Transaction, secrets: &Secrets) -> Result<(), DatabaseError> {
    let fingerprint = secrets.tag("fingerprint", &[]);
    transaction.execute(
        "INSERT INTO setting (name, bytes) VALUES ('secrets', $1) ON CONFLICT (name) DO NOTHING",
        &[Value::from(fingerprint)],
    )?;
    let rows = transaction.query("SELECT bytes FROM setting WHERE name = 'secrets'", &[])?;
    match rows.first() {
        Some(row) if row.bytes(0)? == fingerprint => Ok(()),
        _ => Err(DatabaseError::OtherSecrets),
    }
}
