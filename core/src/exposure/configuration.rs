//! What a health authority decides: which nearness counts how much, for whom, and from when on somebody is warned.
//!
//! The fields are those of the phone systems' `DailySummariesConfig` and `DiagnosisKeysDataMapping`, and levels for the app on top. The default
//! figures are those of the Risk Score Symposium, "Narrow Net v2" with its onset map (lfph/gaen-risk-scoring, August 2021); a warning comes
//! from 15 weighted minutes a day on, as health authorities define a close contact.

use std::ops::{Deref, RangeInclusive};

use serde::{Deserialize, Serialize};

use super::risk::RiskLevel;
use crate::diagnosis::ReportType;
use crate::time::RETENTION_DAYS;

/// The range of every weight.
pub(super) const WEIGHTS: RangeInclusive<f64> = 0.0..=2.5;

/// Days since onset that the table knows.
pub(super) const DAYS_SINCE_ONSET: RangeInclusive<i8> = -14..=14;

/// How infectious somebody was on the day of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Infectiousness {
    /// Not at all: nothing of it is handed out or counted.
    None,
    /// Somewhat.
    Standard,
    /// Very.
    High,
}

/// What is wrong with exposure parameters.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// A value lies outside its range.
    #[error("{field} is {found}, allowed is {min} to {max}")]
    OutOfRange {
        /// The field of [`ExposureParameters`].
        field: &'static str,
        /// What was given.
        found: f64,
        /// The least allowed.
        min: f64,
        /// The most allowed.
        max: f64,
    },
    /// Thresholds must increase.
    #[error("{field} must increase; found {first} before {second}")]
    NotIncreasing {
        /// The field of [`ExposureParameters`], or two of them.
        field: &'static str,
        /// The value that should be less.
        first: f64,
        /// The value that should be greater.
        second: f64,
    },
    /// A default that would hide every key without a report type.
    #[error("report_type_when_missing is {found:?}, which is never shown")]
    HiddenReportType {
        /// What was given.
        found: ReportType,
    },
}

/// Weights of the report types.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReportTypeWeights {
    /// For a positive test.
    pub confirmed_test: f64,
    /// For a doctor's judgement.
    pub confirmed_clinical_diagnosis: f64,
    /// For the user's own word.
    pub self_report: f64,
    /// For a warning passed on.
    pub recursive: f64,
}

impl ReportTypeWeights {
    /// The weight of a report type; 0 for those that are never shown.
    pub fn of(&self, report_type: ReportType) -> f64 {
        match report_type {
            ReportType::ConfirmedTest => self.confirmed_test,
            ReportType::ConfirmedClinicalDiagnosis => self.confirmed_clinical_diagnosis,
            ReportType::SelfReport => self.self_report,
            ReportType::Recursive => self.recursive,
            ReportType::Unknown | ReportType::Revoked => 0.0,
        }
    }
}

/// Weights of infectiousness. That of [`Infectiousness::None`] is 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct InfectiousnessWeights {
    /// For [`Infectiousness::Standard`].
    pub standard: f64,
    /// For [`Infectiousness::High`].
    pub high: f64,
}

impl InfectiousnessWeights {
    /// The weight.
    pub fn of(&self, infectiousness: Infectiousness) -> f64 {
        match infectiousness {
            Infectiousness::None => 0.0,
            Infectiousness::Standard => self.standard,
            Infectiousness::High => self.high,
        }
    }
}

/// Parameters as they are given, not yet checked: see [`ExposureConfiguration::new`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExposureParameters {
    /// Upper ends, inclusive, of the buckets immediate, near and medium, in dB, increasing.
    pub attenuation_thresholds_db: [u8; 3],
    /// Weights of the buckets immediate, near, medium and other.
    pub bucket_weights: [f64; 4],
    /// Weights of the report types.
    pub report_type_weights: ReportTypeWeights,
    /// Weights of infectiousness.
    pub infectiousness_weights: InfectiousnessWeights,
    /// Infectiousness for days since onset -14 to 14, in this order.
    pub infectiousness_for_days_since_onset: [Infectiousness; 29],
    /// Infectiousness of a key that does not say its days since onset, or says some outside the table.
    pub infectiousness_when_missing: Infectiousness,
    /// Report type of a key that says none.
    pub report_type_when_missing: ReportType,
    /// Windows with a lower score are left out of the summaries, in weighted seconds; 0 keeps all.
    pub minimum_window_score: f64,
    /// Days older than this are left out of the summaries; 0 keeps all.
    pub days_since_exposure_threshold: u32,
    /// A day's score from which on its risk is low, in weighted seconds, above 0.
    pub low_risk_score: f64,
    /// A day's score from which on its risk is high, in weighted seconds.
    pub high_risk_score: f64,
    /// The level from which on the user is alerted.
    pub alert_level: RiskLevel,
}

impl Default for ExposureParameters {
    fn default() -> Self {
        Self {
            attenuation_thresholds_db: [55, 67, 75],
            bucket_weights: [1.75, 1.0, 0.33, 0.0],
            report_type_weights: ReportTypeWeights {
                confirmed_test: 1.0,
                confirmed_clinical_diagnosis: 1.0,
                self_report: 1.0,
                recursive: 1.0,
            },
            infectiousness_weights: InfectiousnessWeights { standard: 0.3, high: 1.0 },
            infectiousness_for_days_since_onset: std::array::from_fn(|index| match index as i8 - 14 {
                -2..=3 => Infectiousness::High,
                -4..=-3 | 4..=5 => Infectiousness::Standard,
                _ => Infectiousness::None,
            }),
            // Who does not know the day of onset may have met others on the worst one.
            infectiousness_when_missing: Infectiousness::High,
            report_type_when_missing: ReportType::ConfirmedTest,
            minimum_window_score: 0.0,
            days_since_exposure_threshold: RETENTION_DAYS,
            low_risk_score: 5.0 * 60.0,
            high_risk_score: 15.0 * 60.0,
            alert_level: RiskLevel::High,
        }
    }
}

/// [`ExposureParameters`] that were checked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "ExposureParameters", into = "ExposureParameters")]
pub struct ExposureConfiguration(ExposureParameters);

impl Deref for ExposureConfiguration {
    type Target = ExposureParameters;

    fn deref(&self) -> &ExposureParameters {
        &self.0
    }
}

impl TryFrom<ExposureParameters> for ExposureConfiguration {
    type Error = ConfigurationError;

    fn try_from(parameters: ExposureParameters) -> Result<Self, ConfigurationError> {
        Self::new(parameters)
    }
}

impl From<ExposureConfiguration> for ExposureParameters {
    fn from(configuration: ExposureConfiguration) -> Self {
        configuration.0
    }
}

impl ExposureConfiguration {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`ConfigurationError`] names the first field that is wrong and its range.
    pub fn new(parameters: ExposureParameters) -> Result<Self, ConfigurationError> {
        let p = &parameters;
        for pair in p.attenuation_thresholds_db.windows(2) {
            increasing("attenuation_thresholds_db", f64::from(pair[0]), f64::from(pair[1]))?;
        }
        for weight in p.bucket_weights {
            in_range("bucket_weights", weight, WEIGHTS)?;
        }
        for (field, weight) in [
            ("report_type_weights.confirmed_test", p.report_type_weights.confirmed_test),
            ("report_type_weights.confirmed_clinical_diagnosis", p.report_type_weights.confirmed_clinical_diagnosis),
            ("report_type_weights.self_report", p.report_type_weights.self_report),
            ("report_type_weights.recursive", p.report_type_weights.recursive),
            ("infectiousness_weights.standard", p.infectiousness_weights.standard),
            ("infectiousness_weights.high", p.infectiousness_weights.high),
        ] {
            in_range(field, weight, WEIGHTS)?;
        }
        // No day has more: 24 hours with 100 people at the highest weights.
        const MOST: f64 = 24.0 * 3600.0 * 100.0 * 2.5 * 2.5 * 2.5;
        in_range("minimum_window_score", p.minimum_window_score, 0.0..=MOST)?;
        in_range("low_risk_score", p.low_risk_score, f64::MIN_POSITIVE..=MOST)?;
        in_range("high_risk_score", p.high_risk_score, f64::MIN_POSITIVE..=MOST)?;
        increasing("low_risk_score, high_risk_score", p.low_risk_score, p.high_risk_score)?;
        let found = p.report_type_when_missing;
        if matches!(found, ReportType::Unknown | ReportType::Revoked) {
            return Err(ConfigurationError::HiddenReportType { found });
        }
        Ok(Self(parameters))
    }

    /// How infectious somebody was who says this of the onset of symptoms.
    pub fn infectiousness(&self, days_since_onset: Option<i8>) -> Infectiousness {
        days_since_onset
            .and_then(|days| usize::try_from(i16::from(days) - i16::from(*DAYS_SINCE_ONSET.start())).ok())
            .and_then(|index| self.infectiousness_for_days_since_onset.get(index).copied())
            .unwrap_or(self.infectiousness_when_missing)
    }

    /// The bucket of an attenuation: 0 immediate, 1 near, 2 medium, 3 other.
    pub fn bucket(&self, attenuation_db: u8) -> usize {
        self.attenuation_thresholds_db.partition_point(|threshold| *threshold < attenuation_db)
    }
}

fn in_range(field: &'static str, found: f64, range: RangeInclusive<f64>) -> Result<(), ConfigurationError> {
    // Not a number is in no range.
    if range.contains(&found) {
        Ok(())
    } else {
        Err(ConfigurationError::OutOfRange { field, found, min: *range.start(), max: *range.end() })
    }
}

fn increasing(field: &'static str, first: f64, second: f64) -> Result<(), ConfigurationError> {
    if first < second { Ok(()) } else { Err(ConfigurationError::NotIncreasing { field, first, second }) }
}
