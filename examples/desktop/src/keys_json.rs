//! Own keys as JSON: what `keys release` writes and `keys make` reads.
//!
//! ```json
//! {"temporaryExposureKeys": [
//!   {"key": "Fy/EgOWYSQw0F3YEM5sVQw==", "rollingStartNumber": 2649980, "rollingPeriod": 144,
//!    "transmissionRisk": 0, "reportType": "confirmed_test", "daysSinceOnset": 0}
//! ]}
//! ```
//!
//! `key` (base64, 16 bytes) and `rollingStartNumber` must be there; the values shown are the defaults of the others. The names are those of
//! google/exposure-notifications-server (examples/export), which knows the first four. Other fields beside the list are passed over, an unknown
//! field of a key is refused: a misspelt one would be published with its default.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use vigie::diagnosis::{DiagnosisKey, ReportType};
use vigie::keys::{KeyError, TemporaryExposureKey};
use zeroize::Zeroizing;

use crate::output::shown;

/// Keys in one file: 14 days of 7,000 people.
pub(crate) const MAX_KEYS: usize = 100_000;

/// Bytes of a file with so many keys, all fields set, generously indented.
pub(crate) const MAX_BYTES: u64 = 32 << 20;

/// The report type of a key whose file does not say it: somebody who reports with `vigie` was tested.
pub(crate) const DEFAULT_REPORT_TYPE: ReportType = ReportType::ConfirmedTest;

/// Days since onset of a key whose file does not say it: the day on which symptoms began.
pub(crate) const DEFAULT_DAYS_SINCE_ONSET: i8 = 0;

const DEFAULT_ROLLING_PERIOD: i64 = 144;

/// What is wrong with keys as JSON. Places are written as in `temporaryExposureKeys[0].key`, the first key being 0.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum KeysJsonError {
    /// It is not JSON, or not of this shape.
    #[error("{path}")]
    Shape {
        /// The place.
        path: String,
        /// What is wrong there, with line and column.
        source: serde_json::Error,
    },
    /// There are more keys than one file may have.
    #[error("{found} keys are more than the {MAX_KEYS} that one file may have")]
    TooMany {
        /// Keys found.
        found: usize,
    },
    /// The key is not base64.
    #[error("temporaryExposureKeys[{index}].key is not base64")]
    Base64 {
        /// Which key, from 0.
        index: usize,
        /// What is wrong.
        source: base64::DecodeError,
    },
    /// The key, its start or its period is not one that a device makes.
    #[error("temporaryExposureKeys[{index}].{field}")]
    Key {
        /// Which key, from 0.
        index: usize,
        /// The field.
        field: &'static str,
        /// What is wrong.
        source: KeyError,
    },
    /// A number is outside its range.
    #[error("temporaryExposureKeys[{index}].{field} is {found}, it can be {expected}")]
    Range {
        /// Which key, from 0.
        index: usize,
        /// The field.
        field: &'static str,
        /// What it can be.
        expected: &'static str,
        /// What it is.
        found: i64,
    },
    /// There is no such report type.
    #[error(
        "temporaryExposureKeys[{index}].reportType is `{found}`, it can be confirmed_test, confirmed_clinical_diagnosis, self_report or revoked"
    )]
    ReportType {
        /// Which key, from 0.
        index: usize,
        /// What it is, shortened.
        found: String,
    },
}

#[derive(Serialize, Deserialize)]
struct KeysFile {
    #[serde(rename = "temporaryExposureKeys")]
    keys: Vec<JsonKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonKey {
    key: Zeroizing<String>,
    rolling_start_number: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rolling_period: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transmission_risk: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_since_onset: Option<i64>,
}

/// Reads keys, with the defaults for what is not said.
///
/// # Errors
/// [`KeysJsonError`] names the first key and field that is wrong; then none is returned.
pub(crate) fn parse(json: &[u8]) -> Result<Vec<DiagnosisKey>, KeysJsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let file: KeysFile = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|e| KeysJsonError::Shape { path: format!("at {}", e.path()), source: e.into_inner() })?;
    deserializer.end().map_err(|source| KeysJsonError::Shape { path: "after the keys".to_owned(), source })?;
    if file.keys.len() > MAX_KEYS {
        return Err(KeysJsonError::TooMany { found: file.keys.len() });
    }
    file.keys.iter().enumerate().map(|(index, key)| key.check(index)).collect()
}

/// Writes keys; what is not known of one is left out.
pub(crate) fn format(keys: &[DiagnosisKey]) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let file = KeysFile { keys: keys.iter().map(JsonKey::from).collect() };
    // Room for all, so that no copy of a key is left behind by growing.
    let mut json = Zeroizing::new(Vec::with_capacity(64 + 320 * keys.len()));
    serde_json::to_writer_pretty(&mut *json, &file)?;
    json.push(b'\n');
    Ok(json)
}

impl JsonKey {
    fn check(&self, index: usize) -> Result<DiagnosisKey, KeysJsonError> {
        let range = |field, expected, found| KeysJsonError::Range { index, field, expected, found };
        let bytes = BASE64_STANDARD.decode(self.key.as_bytes()).map_err(|source| KeysJsonError::Base64 { index, source })?;
        let bytes = Zeroizing::new(bytes);
        let period = self.rolling_period.unwrap_or(DEFAULT_ROLLING_PERIOD);
        let key = TemporaryExposureKey::new(&bytes, self.rolling_start_number, period).map_err(|source| KeysJsonError::Key {
            index,
            field: field_of(&source),
            source,
        })?;

        let report_type = match &self.report_type {
            Some(name) => parse_report_type(name).ok_or_else(|| KeysJsonError::ReportType { index, found: shown(name, 40) })?,
            None => DEFAULT_REPORT_TYPE,
        };
        let days = self.days_since_onset.unwrap_or(i64::from(DEFAULT_DAYS_SINCE_ONSET));
        let days_since_onset = i8::try_from(days)
            .ok()
            .filter(|days| (-14..=14).contains(days))
            .ok_or_else(|| range("daysSinceOnset", "-14 to 14", days))?;
        let risk = self.transmission_risk.unwrap_or(0);
        let transmission_risk =
            u8::try_from(risk).ok().filter(|risk| *risk <= 8).ok_or_else(|| range("transmissionRisk", "0 to 8", risk))?;
        Ok(DiagnosisKey { key, report_type: Some(report_type), days_since_onset: Some(days_since_onset), transmission_risk })
    }
}

impl From<&DiagnosisKey> for JsonKey {
    fn from(key: &DiagnosisKey) -> Self {
        Self {
            key: Zeroizing::new(BASE64_STANDARD.encode(key.key.as_bytes())),
            rolling_start_number: i64::from(key.key.rolling_start().number()),
            rolling_period: Some(i64::from(key.key.rolling_period())),
            transmission_risk: Some(i64::from(key.transmission_risk)).filter(|risk| *risk > 0),
            report_type: key.report_type.map(|report_type| report_type_name(report_type).to_owned()),
            days_since_onset: key.days_since_onset.map(i64::from),
        }
    }
}

fn field_of(error: &KeyError) -> &'static str {
    match error {
        KeyError::RollingPeriod { .. } => "rollingPeriod",
        KeyError::RollingStart { .. } => "rollingStartNumber",
        _ => "key",
    }
}

/// How a report type is written for people and in JSON.
pub(crate) fn report_type_name(report_type: ReportType) -> &'static str {
    match report_type {
        ReportType::ConfirmedTest => "confirmed_test",
        ReportType::ConfirmedClinicalDiagnosis => "confirmed_clinical_diagnosis",
        ReportType::SelfReport => "self_report",
        ReportType::Recursive => "recursive",
        ReportType::Revoked => "revoked",
        _ => "unknown",
    }
}

/// The report types that a report can have, also as key export files name them: `confirmed_test`, `CONFIRMED_TEST`.
fn parse_report_type(name: &str) -> Option<ReportType> {
    use ReportType::{ConfirmedClinicalDiagnosis, ConfirmedTest, Revoked, SelfReport};
    let name = name.to_ascii_lowercase().replace('-', "_");
    [ConfirmedTest, ConfirmedClinicalDiagnosis, SelfReport, Revoked].into_iter().find(|t| report_type_name(*t) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Fy/EgOWYSQw0F3YEM5sVQw==";

    fn one(fields: &str) -> Result<Vec<DiagnosisKey>, KeysJsonError> {
        parse(format!(r#"{{"temporaryExposureKeys":[{{"key":"{KEY}","rollingStartNumber":2649980{fields}}}]}}"#).as_bytes())
    }

    fn message(error: KeysJsonError) -> String {
        anyhow::Error::from(error).chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    #[test]
    fn what_is_not_said_has_the_documented_default() {
        let keys = one("").unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].key.as_bytes()[..4], [0x17, 0x2F, 0xC4, 0x80]);
        assert_eq!(keys[0].key.rolling_start().number(), 2_649_980);
        assert_eq!(keys[0].key.rolling_period(), 144);
        assert_eq!(keys[0].report_type, Some(ReportType::ConfirmedTest));
        assert_eq!((keys[0].days_since_onset, keys[0].transmission_risk), (Some(0), 0));
    }

    #[test]
    fn every_field_is_read_and_written_back() {
        let keys = one(r#","rollingPeriod":114,"transmissionRisk":8,"reportType":"SELF_REPORT","daysSinceOnset":-14"#).unwrap();
        assert_eq!((keys[0].key.rolling_period(), keys[0].transmission_risk), (114, 8));
        assert_eq!((keys[0].report_type, keys[0].days_since_onset), (Some(ReportType::SelfReport), Some(-14)));
        assert_eq!(parse(&format(&keys).unwrap()).unwrap(), keys);
    }

    #[test]
    fn what_is_not_known_of_a_key_is_left_out() {
        let mut keys = one("").unwrap();
        (keys[0].report_type, keys[0].days_since_onset) = (None, None);
        let json = String::from_utf8(format(&keys).unwrap().to_vec()).unwrap();
        assert!(!json.contains("reportType") && !json.contains("daysSinceOnset") && !json.contains("transmissionRisk"), "{json}");
    }

    #[test]
    fn report_types_have_two_spellings() {
        for (name, expected) in [
            ("confirmed_test", ReportType::ConfirmedTest),
            ("CONFIRMED_CLINICAL_DIAGNOSIS", ReportType::ConfirmedClinicalDiagnosis),
            ("revoked", ReportType::Revoked),
        ] {
            assert_eq!(one(&format!(r#","reportType":"{name}""#)).unwrap()[0].report_type, Some(expected));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_key_and_field() {
        for (fields, place) in [
            (r#","rollingPeriod":0"#, "temporaryExposureKeys[0].rollingPeriod: a rolling period is 1 to 144"),
            (r#","rollingPeriod":145"#, "temporaryExposureKeys[0].rollingPeriod: a rolling period is 1 to 144"),
            (r#","rollingPeriod":"1""#, "temporaryExposureKeys[0].rollingPeriod: invalid type"),
            (r#","daysSinceOnset":15"#, "temporaryExposureKeys[0].daysSinceOnset is 15, it can be -14 to 14"),
            (r#","daysSinceOnset":1e99"#, "temporaryExposureKeys[0].daysSinceOnset: "),
            (r#","daysSinceOnSet":1"#, "temporaryExposureKeys[0].daysSinceOnSet: unknown field"),
            (r#","transmissionRisk":9"#, "temporaryExposureKeys[0].transmissionRisk is 9, it can be 0 to 8"),
            (r#","reportType":"\u001b[31mflu""#, "temporaryExposureKeys[0].reportType is `\\u{1b}[31mflu`"),
            (r#","reportType":"recursive""#, "temporaryExposureKeys[0].reportType is `recursive`"),
        ] {
            let text = message(one(fields).unwrap_err());
            assert!(text.contains(place), "{fields}: {text}");
        }
        for (json, place) in [
            ("", "EOF while parsing"),
            ("[]", "expected"),
            ("{}", "missing field `temporaryExposureKeys`"),
            (r#"{"temporaryExposureKeys":[]} x"#, "after the keys: trailing characters"),
            (
                r#"{"temporaryExposureKeys":[{"key":"AAAA","rollingStartNumber":1}]}"#,
                "[0].key: a temporary exposure key has 16 bytes",
            ),
            (
                r#"{"temporaryExposureKeys":[{"key":"AAAAAAAAAAAAAAAAAAAAAA==","rollingStartNumber":1}]}"#,
                "[0].key: the key is 16 times the same byte",
            ),
            (r#"{"temporaryExposureKeys":[{"key":"!","rollingStartNumber":1}]}"#, "[0].key is not base64"),
            (
                r#"{"temporaryExposureKeys":[{"key":"Fy/EgOWYSQw0F3YEM5sVQw==","rollingStartNumber":-1}]}"#,
                "[0].rollingStartNumber:",
            ),
            (r#"{"temporaryExposureKeys":[{"key":"Fy/EgOWYSQw0F3YEM5sVQw=="}]}"#, "missing field `rollingStartNumber`"),
        ] {
            let text = message(parse(json.as_bytes()).unwrap_err());
            assert!(text.contains(place), "{json}: {text}");
        }
    }

    #[test]
    fn the_number_of_keys_is_bounded_and_so_many_fit_into_the_bytes() {
        let key =
            one(r#","rollingPeriod":144,"transmissionRisk":8,"reportType":"CONFIRMED_CLINICAL_DIAGNOSIS","daysSinceOnset":-14"#)
                .unwrap()
                .remove(0);
        let json = format(&vec![key; MAX_KEYS + 1]).unwrap();
        assert!((json.len() as u64) < MAX_BYTES, "{}", json.len());
        assert!(json.capacity() <= 64 + 320 * (MAX_KEYS + 1), "it grew, and left a copy of keys behind");
        assert!(matches!(parse(&json), Err(KeysJsonError::TooMany { found }) if found == MAX_KEYS + 1));
    }

    #[test]
    fn the_file_of_the_reference_server_is_read() {
        let Some(folder) = std::env::var_os("VIGIE_FIELD_DATA") else {
            eprintln!("skipped: VIGIE_FIELD_DATA is not set");
            return;
        };
        let keys = parse(&std::fs::read(std::path::Path::new(&folder).join("key-files/ens_keys.json")).unwrap()).unwrap();
        assert_eq!(keys.iter().map(|k| k.key.rolling_period()).collect::<Vec<_>>(), [1, 114]);
        assert_eq!(keys.iter().map(|k| k.transmission_risk).collect::<Vec<_>>(), [8, 1]);
    }
}
