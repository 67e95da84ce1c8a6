//! The protobuf messages of key files, and the walk over `export.bin` that never makes a list of keys.
//!
//! ```text
//! TemporaryExposureKeyExport   1 start_timestamp fixed64, 2 end_timestamp fixed64 (unix seconds), 3 region string, 4 batch_num int32,
//!                              5 batch_size int32, 6 repeated SignatureInfo, 7 repeated TemporaryExposureKey keys, 8 the same, revised
//! TemporaryExposureKey         1 key_data bytes, 2 transmission_risk_level int32, 3 rolling_start_interval_number int32,
//!                              4 rolling_period int32 (144), 5 report_type enum, 6 days_since_onset_of_symptoms sint32
//! SignatureInfo                3 verification_key_version string, 4 verification_key_id string, 5 signature_algorithm string
//! TEKSignatureList             1 repeated TEKSignature: 1 signature_info, 2 batch_num int32, 3 batch_size int32, 4 signature bytes
//! ```
//!
//! Source: Exposure Notification, "Exposure Key export file format and verification" v1. Fields with other numbers are passed over.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::export::check_limit;
use super::{DiagnosisKey, ExportError, RefusedKey, ReportType};
use crate::keys::TemporaryExposureKey;
use crate::time::{INTERVALS_PER_DAY, Timestamp};

/// The first 16 bytes of `export.bin`.
pub(super) const MAGIC: &[u8; 16] = b"EK Export v1    ";

/// The most keys in a file, both lists together: what the size limit holds of keys of the usual size, and a bound on the work that a file makes.
pub const MAX_KEYS: u64 = 2_000_000;

/// The longest message of one key, in bytes. Today's have 25 to 40; the rest is room for fields to come.
pub const MAX_KEY_MESSAGE: u64 = 1024;

/// The most that all fields beside the keys may take, in bytes. Today's take about 100.
pub const MAX_HEADER: u64 = 16 << 10;

/// The most signatures of a file. Each one may cost a pass over the file.
pub const MAX_SIGNATURES: u64 = 16;

pub(super) const KEYS: u32 = 7;
pub(super) const REVISED_KEYS: u32 = 8;

/// The algorithm's name in a [`SignatureInfo`]: ECDSA with SHA-256.
const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";

/// What a key file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportHeader {
    /// The keys came to the server from this moment on, in whole seconds.
    pub start: Timestamp,
    /// And before this one.
    pub end: Timestamp,
    /// Where the keys are of, by custom an ISO 3166 country code.
    pub region: String,
    /// Which file of its batch this is, from 1.
    pub batch_num: i32,
    /// How many files the batch has.
    pub batch_size: i32,
    /// With which keys the file says that it is signed. Which ones it really is signed with is only for [`verify`](super::SignedExport::verify) to find.
    pub signatures: Vec<SignatureInfo>,
}

impl Default for ExportHeader {
    /// The only file of its batch, of no region and no time.
    fn default() -> Self {
        HeaderMessage::default().into()
    }
}

/// Names a verification key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SignatureInfo {
    /// Which of its keys, such as `v1`.
    pub key_version: String,
    /// Whose key, by custom the mobile country code, such as `310`.
    pub key_id: String,
    /// The OID of the algorithm, as text.
    pub algorithm: String,
}

impl SignatureInfo {
    /// The name of a P-256 key.
    pub fn new(key_id: impl Into<String>, key_version: impl Into<String>) -> Self {
        Self { key_version: key_version.into(), key_id: key_id.into(), algorithm: ECDSA_WITH_SHA256.into() }
    }
}

/// A key file without its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSummary {
    /// What it says of itself.
    pub header: ExportHeader,
    /// Keys that it publishes for the first time.
    pub keys: usize,
    /// Keys that were published before and are revised or revoked.
    pub revised_keys: usize,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderMessage {
    #[prost(fixed64, optional, tag = "1")]
    start_timestamp: Option<u64>,
    #[prost(fixed64, optional, tag = "2")]
    end_timestamp: Option<u64>,
    #[prost(string, optional, tag = "3")]
    region: Option<String>,
    #[prost(int32, optional, tag = "4")]
    batch_num: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    batch_size: Option<i32>,
    #[prost(message, repeated, tag = "6")]
    signature_infos: Vec<SignatureInfoMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SignatureInfoMessage {
    #[prost(string, optional, tag = "3")]
    verification_key_version: Option<String>,
    #[prost(string, optional, tag = "4")]
    verification_key_id: Option<String>,
    #[prost(string, optional, tag = "5")]
    signature_algorithm: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SignatureListMessage {
    #[prost(message, repeated, tag = "1")]
    pub(super) signatures: Vec<SignatureMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SignatureMessage {
    #[prost(message, optional, tag = "1")]
    pub(super) signature_info: Option<SignatureInfoMessage>,
    #[prost(int32, optional, tag = "2")]
    pub(super) batch_num: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    pub(super) batch_size: Option<i32>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) signature: Vec<u8>,
}

/// One key as it is written. Keys are read as [`KeyFields`].
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct KeyMessage {
    #[prost(bytes = "vec", tag = "1")]
    key_data: Vec<u8>,
    #[prost(int32, optional, tag = "2")]
    transmission_risk_level: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    rolling_start_interval_number: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    rolling_period: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    report_type: Option<i32>,
    #[prost(sint32, optional, tag = "6")]
    days_since_onset: Option<i32>,
}

/// The same message where it lies in the file: nothing is copied, and it takes a third of the time of a derived message.
#[derive(Default)]
pub(super) struct KeyFields<'a> {
    key_data: &'a [u8],
    transmission_risk_level: Option<i32>,
    rolling_start_interval_number: Option<i32>,
    rolling_period: Option<i32>,
    report_type: Option<i32>,
    days_since_onset: Option<i32>,
}

impl<'a> KeyFields<'a> {
    #[inline]
    pub(super) fn decode(mut message: &'a [u8]) -> Result<Self, prost::DecodeError> {
        let mut fields = Self::default();
        while !message.is_empty() {
            let (tag, wire_type) = decode_key(&mut message)?;
            if wire_type == WireType::Varint {
                let value = decode_varint(&mut message)?;
                // An int32 is its low 32 bits (protobuf encoding, "ZigZag" for the sint32).
                let int32 = Some(value as i32);
                match tag {
                    2 => fields.transmission_risk_level = int32,
                    3 => fields.rolling_start_interval_number = int32,
                    4 => fields.rolling_period = int32,
                    5 => fields.report_type = int32,
                    6 => fields.days_since_onset = Some((value as u32 >> 1) as i32 ^ -(value as i32 & 1)),
                    _ => {}
                }
            } else {
                let value = message;
                skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
                if (tag, wire_type) == (1, WireType::LengthDelimited) {
                    fields.key_data = content(value, message)?;
                }
            }
        }
        Ok(fields)
    }

    /// The key, checked. An absent period is a day's, an explicit 0 is an error; a day or a level out of range counts as absent, as publishers drop it.
    #[inline]
    pub(super) fn to_key(&self) -> Result<DiagnosisKey, RefusedKey> {
        let start = i64::from(self.rolling_start_interval_number.unwrap_or(0));
        let period = self.rolling_period.map_or(i64::from(INTERVALS_PER_DAY), i64::from);
        let known = |found| ReportType::from_number(found).ok_or(RefusedKey::ReportType { found });
        Ok(DiagnosisKey {
            report_type: self.report_type.map(known).transpose()?,
            days_since_onset: self.days_since_onset.and_then(|d| i8::try_from(d).ok()).filter(|d| (-14..=14).contains(d)),
            transmission_risk: self.transmission_risk_level.and_then(|l| u8::try_from(l).ok()).filter(|l| *l <= 8).unwrap_or(0),
            key: TemporaryExposureKey::new(self.key_data, start, period)?,
        })
    }
}

/// What a length-delimited field holds that begins with its length at `value` and is followed by `after`.
#[inline]
fn content<'a>(value: &'a [u8], after: &'a [u8]) -> Result<&'a [u8], prost::DecodeError> {
    let (mut content, _) = value.split_at(value.len() - after.len());
    decode_varint(&mut content)?;
    Ok(content)
}

impl TryFrom<&DiagnosisKey> for KeyMessage {
    type Error = ExportError;

    fn try_from(key: &DiagnosisKey) -> Result<Self, ExportError> {
        let start = u64::from(key.key.rolling_start().number());
        check_limit("rolling start interval number", start, i32::MAX as u64)?;
        Ok(Self {
            key_data: key.key.as_bytes().to_vec(),
            transmission_risk_level: Some(i32::from(key.transmission_risk)).filter(|level| *level != 0),
            rolling_start_interval_number: Some(start as i32),
            rolling_period: Some(i32::from(key.key.rolling_period())),
            report_type: key.report_type.map(ReportType::number),
            days_since_onset: key.days_since_onset.map(i32::from),
        })
    }
}

impl From<&ExportHeader> for HeaderMessage {
    fn from(header: &ExportHeader) -> Self {
        let seconds = |t: Timestamp| Some(u64::try_from(t.unix_s()).unwrap_or(0));
        Self {
            start_timestamp: seconds(header.start),
            end_timestamp: seconds(header.end),
            region: Some(header.region.clone()),
            batch_num: Some(header.batch_num),
            batch_size: Some(header.batch_size),
            signature_infos: header.signatures.iter().map(SignatureInfoMessage::from).collect(),
        }
    }
}

impl From<HeaderMessage> for ExportHeader {
    fn from(message: HeaderMessage) -> Self {
        let moment = |s: Option<u64>| Timestamp::from_unix_s(i64::try_from(s.unwrap_or(0)).unwrap_or(i64::MAX));
        Self {
            start: moment(message.start_timestamp),
            end: moment(message.end_timestamp),
            region: message.region.unwrap_or_default(),
            batch_num: message.batch_num.unwrap_or(1),
            batch_size: message.batch_size.unwrap_or(1),
            signatures: message.signature_infos.into_iter().map(SignatureInfo::from).collect(),
        }
    }
}

impl From<&SignatureInfo> for SignatureInfoMessage {
    fn from(info: &SignatureInfo) -> Self {
        Self {
            verification_key_version: Some(info.key_version.clone()),
            verification_key_id: Some(info.key_id.clone()),
            signature_algorithm: Some(info.algorithm.clone()),
        }
    }
}

impl From<SignatureInfoMessage> for SignatureInfo {
    fn from(message: SignatureInfoMessage) -> Self {
        Self {
            key_version: message.verification_key_version.unwrap_or_default(),
            key_id: message.verification_key_id.unwrap_or_default(),
            algorithm: message.signature_algorithm.unwrap_or_default(),
        }
    }
}

/// One field of the export message.
pub(super) enum Field<'a> {
    /// A key's own message.
    Key { message: &'a [u8], is_revised: bool },
    /// Any other field, with its number and type.
    Other(&'a [u8]),
}

/// The fields of an export message, in the order of the file. Ends after the first error.
#[derive(Clone)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, prost::DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        (!rest.is_empty()).then(|| {
            let (field, after) = split_field(rest)?;
            self.0 = after;
            Ok(field)
        })
    }
}

#[inline]
fn split_field(bytes: &[u8]) -> Result<(Field<'_>, &[u8]), prost::DecodeError> {
    let mut value = bytes;
    let (tag, wire_type) = decode_key(&mut value)?;
    let mut after = value;
    skip_field(wire_type, tag, &mut after, DecodeContext::default())?;
    let field = match (tag, wire_type) {
        (KEYS | REVISED_KEYS, WireType::LengthDelimited) => {
            Field::Key { message: content(value, after)?, is_revised: tag == REVISED_KEYS }
        }
        _ => Field::Other(bytes.split_at(bytes.len() - after.len()).0),
    };
    Ok((field, after))
}

/// The export message behind the magic of `export.bin`.
pub(super) fn message(bin: &[u8]) -> Result<&[u8], ExportError> {
    bin.strip_prefix(MAGIC).ok_or_else(|| {
        let found = bin.get(..MAGIC.len()).unwrap_or(bin);
        ExportError::Magic { found: found.escape_ascii().to_string() }
    })
}

/// Goes over all of `export.bin` once: it is well formed in every field and every key, and within the limits. Allocates for the header alone.
pub(super) fn scan(bin: &[u8]) -> Result<ExportSummary, ExportError> {
    let malformed = |reason| ExportError::Protobuf { part: "export.bin", reason };
    let (mut header, mut header_len) = (HeaderMessage::default(), 0);
    let (mut keys, mut revised_keys) = (0, 0);
    for field in Fields(message(bin)?) {
        match field.map_err(malformed)? {
            Field::Key { message, is_revised } => {
                check_limit("length of a key's message in bytes", message.len() as u64, MAX_KEY_MESSAGE)?;
                KeyFields::decode(message).map_err(malformed)?;
                *(if is_revised { &mut revised_keys } else { &mut keys }) += 1;
                check_limit("keys in a file", (keys + revised_keys) as u64, MAX_KEYS)?;
            }
            Field::Other(field) => {
                header_len += field.len() as u64;
                check_limit("length of the header's fields in bytes", header_len, MAX_HEADER)?;
                header.merge(field).map_err(malformed)?;
            }
        }
    }
    Ok(ExportSummary { header: header.into(), keys, revised_keys })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(fields: &KeyFields<'_>, message: &KeyMessage) -> bool {
        fields.key_data == message.key_data
            && fields.transmission_risk_level == message.transmission_risk_level
            && fields.rolling_start_interval_number == message.rolling_start_interval_number
            && fields.rolling_period == message.rolling_period
            && fields.report_type == message.report_type
            && fields.days_since_onset == message.days_since_onset
    }

    proptest! {
        #[test]
        fn a_key_is_read_as_prost_reads_it(
            key_data in proptest::collection::vec(any::<u8>(), 0..20),
            numbers: [Option<i32>; 5],
            other in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            let [transmission_risk_level, rolling_start_interval_number, rolling_period, report_type, days_since_onset] = numbers;
            let written = KeyMessage {
                key_data, transmission_risk_level, rolling_start_interval_number, rolling_period, report_type, days_since_onset,
            };
            let mut bytes = written.encode_to_vec();
            prop_assert!(same(&KeyFields::decode(&bytes).unwrap(), &written));
            // Repeated, unknown and overlong fields behind: whatever prost accepts is the same here.
            bytes.extend(other);
            if let Ok(message) = KeyMessage::decode(&*bytes) {
                prop_assert!(same(&KeyFields::decode(&bytes).unwrap(), &message));
            }
        }
    }
}
