//! What a check of key files means, in words: what became of a file, which risk there is, what to do, and what made it.

use std::fmt;

use anstyle::Style;
use serde::Serialize;
use vigie::exposure::{Assessment, DailySummary, RiskLevel};
use vigie::tracer::{FileReport, FileStatus};

use crate::keys_json::report_type_name;
use crate::output::{BAD, CAUTION, GOOD};

/// What became of a file: a word, its style, and what follows it.
pub(super) fn outcome(file: &FileReport) -> (Style, &'static str, String) {
    let keys = file.keys;
    match &file.status {
        FileStatus::Matched { refused_keys: 0 } => (GOOD, "matched", format!(", {keys} keys")),
        FileStatus::Matched { refused_keys } => (GOOD, "matched", format!(", {keys} keys, {refused_keys} of them refused")),
        FileStatus::AlreadyMatched => (GOOD, "matched before", format!(", {keys} keys")),
        FileStatus::Refused(error) => (BAD, "refused", format!(": {error}")),
        _ => (CAUTION, "not finished", String::new()),
    }
}

/// The same for JSON: its status, and why it was refused.
pub(super) fn status(file: &FileReport) -> (&'static str, Option<String>) {
    match &file.status {
        FileStatus::Matched { .. } => ("matched", None),
        FileStatus::AlreadyMatched => ("already_matched", None),
        FileStatus::Refused(error) => ("refused", Some(error.to_string())),
        _ => ("unfinished", None),
    }
}

/// What to do at a risk level.
pub(super) fn advice(level: RiskLevel) -> (Style, &'static str) {
    match level {
        RiskLevel::None => (GOOD, "nothing needs to be done"),
        RiskLevel::Low => (CAUTION, "nothing needs to be done: it was too short or too far for a contact; watch for symptoms"),
        RiskLevel::High => (BAD, "this was a contact: keep away from others, and ask your health authority for a test"),
    }
}

/// How a risk level is written for people and in JSON.
pub(super) fn risk_name(level: RiskLevel) -> &'static str {
    match level {
        RiskLevel::None => "none",
        RiskLevel::Low => "low",
        RiskLevel::High => "high",
    }
}

/// What made the risk of a day. `Display` is a line in English.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Cause {
    /// How the diagnoses came about.
    report_types: Vec<&'static str>,
    /// Minutes near, weighted as the health authority weighs them.
    weighted_minutes: f64,
    /// The range of what scans heard typically; both are there, as no day is without a scan.
    least_attenuation_db: Option<u8>,
    most_attenuation_db: Option<u8>,
}

impl Cause {
    /// Of a day of this assessment.
    pub(super) fn of(day: &DailySummary, assessment: &Assessment) -> Self {
        let windows = assessment.windows.iter().filter(|window| window.date == day.date);
        let attenuations = windows.flat_map(|window| &window.scan_instances).map(|scan| scan.typical_attenuation_db);
        let (least_attenuation_db, most_attenuation_db) = (attenuations.clone().min(), attenuations.max());
        Self {
            report_types: day.by_report_type.keys().map(|report_type| report_type_name(*report_type)).collect(),
            weighted_minutes: (day.overall.score_sum / 60.0 * 10.0).round() / 10.0,
            least_attenuation_db,
            most_attenuation_db,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:.0} weighted minutes", self.report_types.join(" and ").replace('_', " "), self.weighted_minutes)?;
        match (self.least_attenuation_db, self.most_attenuation_db) {
            (Some(least), Some(most)) if least < most => write!(f, ", attenuation {least} to {most} dB"),
            (Some(only), _) => write!(f, ", attenuation {only} dB"),
            (None, _) => Ok(()),
        }
    }
}
