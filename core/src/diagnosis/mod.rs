//! Diagnosis keys, and the signed files in which a health authority publishes them.
//!
//! ```text
//! key file      ZIP of exactly two entries: export.bin and export.sig
//! export.bin    offset  length  meaning
//!               0       16      "EK Export v1" and four spaces
//!               16              TemporaryExposureKeyExport (protobuf)
//! export.sig    TEKSignatureList (protobuf): ECDSA P-256 with SHA-256, ASN.1 DER, over the whole of export.bin
//! ```
//!
//! Source: Exposure Notification, "Exposure Key export file format and verification" v1.
//!
//! ```text
//! SignedExport::read -> SignedExport -- verify(public keys) --> VerifiedExport -- keys() --> one DiagnosisKey after the other
//! ```
//!
//! Only a [`VerifiedExport`] gives keys, and only [`SignedExport::verify`] makes one. `export.bin` is held in memory once, because a signature is
//! over the whole of it; its keys are never a list. A file that is not exactly as it should be is refused whole; a single key that cannot be is
//! refused alone ([`RefusedKey`]).

mod export;
mod proto;
mod public_key;
mod sign;
mod verify;

pub use export::{MAX_EXPORT_BIN, MAX_EXPORT_SIG, MAX_ZIP, SignedExport};
pub use proto::{ExportHeader, ExportSummary, MAX_HEADER, MAX_KEY_MESSAGE, MAX_KEYS, MAX_SIGNATURES, SignatureInfo};
pub use public_key::PublicKey;
pub use sign::{SigningKey, pad_with_made_up_keys, write_export};
pub use verify::{ExportId, ExportedKey, Keys, VerifiedExport};

use crate::keys::{KeyError, TemporaryExposureKey};

/// How a diagnosis came about (`TemporaryExposureKey.ReportType` of the key export format, with its numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReportType {
    /// Not said. Never returned as an exposure window.
    Unknown = 0,
    /// A positive test.
    ConfirmedTest = 1,
    /// A doctor's judgement without a test.
    ConfirmedClinicalDiagnosis = 2,
    /// The user's own word.
    SelfReport = 3,
    /// Reserved: a warning passed on.
    Recursive = 4,
    /// The report was withdrawn: whatever came of it goes.
    Revoked = 5,
}

impl ReportType {
    /// Its number in key files and reports.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The report type with this number, `None` where there is none.
    pub const fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Unknown,
            1 => Self::ConfirmedTest,
            2 => Self::ConfirmedClinicalDiagnosis,
            3 => Self::SelfReport,
            4 => Self::Recursive,
            5 => Self::Revoked,
            _ => return None,
        })
    }
}

/// A key of somebody who reported, as it stands in a key file. What the file leaves out stays out: the defaults are the exposure configuration's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiagnosisKey {
    /// The key and its validity.
    pub key: TemporaryExposureKey,
    /// How the diagnosis came about, where the file says it.
    pub report_type: Option<ReportType>,
    /// Days from the onset of symptoms to the day of this key, -14..=14, where the file says it.
    pub days_since_onset: Option<i8>,
    /// The deprecated transmission risk level, 0..=8; 0 where there is none. Kept so that it can be written back.
    pub transmission_risk: u8,
}

/// Why one key of a verified file is left out. It says nothing about the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedKey {
    /// The key itself cannot be.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A report type that this version does not know, so that nobody can say what follows from it.
    #[error("report type {found}; known are 0 to 5")]
    ReportType {
        /// The number found.
        found: i32,
    },
}

/// Why a key file or a key of its signature was refused. Nothing of the file is applied then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The file cannot be read or written.
    #[error("the key file cannot be read or written: {reason}")]
    Io {
        /// What the system says.
        reason: std::io::Error,
    },
    /// The file is no ZIP archive, or a damaged one.
    #[error("not a sound ZIP archive: {reason}")]
    Zip {
        /// What is wrong with it.
        reason: String,
    },
    /// Something is larger, or more, than any sensible file has.
    #[error("{what}: {found} is more than the limit of {limit}")]
    Limit {
        /// What is counted, with its unit.
        what: &'static str,
        /// What was found or declared; for what streams, where counting stopped.
        found: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// The archive has another number of entries.
    #[error("a key file holds export.bin and export.sig, this archive has {found} entries")]
    EntryCount {
        /// Entries found.
        found: usize,
    },
    /// One of the two entries has another name, or stands there twice.
    #[error("`{expected}` must stand in the archive once; it is missing")]
    MissingEntry {
        /// The name expected.
        expected: &'static str,
    },
    /// An entry does not have the size that the archive declares.
    #[error("`{entry}` declares {expected} bytes, and {found} were found before it ended or went on")]
    EntrySize {
        /// Its name.
        entry: &'static str,
        /// Bytes that the archive declares.
        expected: u64,
        /// Bytes found before reading stopped.
        found: u64,
    },
    /// `export.bin` does not begin as version 1 of the format does.
    #[error("export.bin begins with `{found}`, expected is `EK Export v1    `")]
    Magic {
        /// Its first 16 bytes, those that cannot be shown escaped.
        found: String,
    },
    /// What stands in the file is no protobuf message of this format.
    #[error("{part} is malformed: {reason}")]
    Protobuf {
        /// Which message.
        part: &'static str,
        /// Where it breaks.
        reason: prost::DecodeError,
    },
    /// No signature of the file was made with an accepted key.
    #[error("none of {signatures} signatures was made over this file with any of {public_keys} accepted keys")]
    NotSigned {
        /// Signatures in the file.
        signatures: usize,
        /// Keys that would have been accepted.
        public_keys: usize,
    },
    /// A text is no public key of this kind.
    #[error("expected is a P-256 public key (SubjectPublicKeyInfo as PEM or base64), found {found}")]
    PublicKey {
        /// What was found instead.
        found: String,
    },
    /// A text is no private key of this kind.
    #[error("expected is a P-256 private key (PKCS#8 as PEM, `openssl pkcs8 -topk8 -nocrypt` makes it), found {found}")]
    PrivateKey {
        /// What was found instead; no part of it.
        found: String,
    },
}

#[cfg(test)]
mod tests;
