//! Key files that are matched, and what follows from all of them.

use std::time::SystemTime;

use vigie::tracer;

use crate::status::count;

/// How likely it is that the user was infected, as an app says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum RiskLevel {
    /// Nothing that counts.
    None,
    /// Somebody was near, too short or too far for a contact.
    Low,
    /// A contact.
    High,
}

/// What follows from all key files that were matched.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Risk {
    /// The highest level of a day.
    pub level: RiskLevel,
    /// The days on which something counts, the earliest first.
    pub days: Vec<RiskDay>,
}

/// A day on which something counts.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct RiskDay {
    /// The day, UTC, such as `2020-11-22`.
    pub date: String,
    /// Its level.
    pub level: RiskLevel,
    /// How many diagnosis keys were near. Somebody who reported on that day may have two.
    pub keys: u32,
    /// Seconds immediate, near, medium and other, by the attenuation thresholds of the configuration.
    pub seconds_by_nearness: Vec<u64>,
}

/// A warning.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Alert {
    /// Names it on this device: 16 bytes.
    pub id: Vec<u8>,
    /// The day of the contact, UTC, such as `2020-11-22`.
    pub date: String,
    /// Its level.
    pub level: RiskLevel,
    /// When it was raised.
    pub raised_at: SystemTime,
    /// Whether the user has seen it.
    pub is_acknowledged: bool,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct FileReport {
    /// The file, as it was handed in.
    pub path: String,
    /// What became of it.
    pub status: FileStatus,
    /// Keys in it; 0 where it was refused.
    pub keys: u64,
}

/// What became of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum FileStatus {
    /// All its keys were matched now, but for so many that are no keys.
    Matched {
        /// Keys that were refused.
        refused_keys: u64,
    },
    /// It was matched by an earlier check.
    AlreadyMatched,
    /// It could not be read or verified. Nothing of it was applied.
    Refused,
    /// The check was cancelled before its end; the next one goes on from there.
    Unfinished,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct CheckReport {
    /// A report for each file, in the order given.
    pub files: Vec<FileReport>,
    /// All that is known now, from these files and earlier ones.
    pub risk: Risk,
}

impl From<tracer::CheckReport> for CheckReport {
    fn from(report: tracer::CheckReport) -> Self {
        Self { files: report.files.into_iter().map(Into::into).collect(), risk: report.assessment.into() }
    }
}

impl From<tracer::FileReport> for FileReport {
    fn from(report: tracer::FileReport) -> Self {
        let status = match report.status {
            tracer::FileStatus::Matched { refused_keys } => FileStatus::Matched { refused_keys },
            tracer::FileStatus::AlreadyMatched => FileStatus::AlreadyMatched,
            tracer::FileStatus::Unfinished => FileStatus::Unfinished,
            _ => FileStatus::Refused,
        };
        Self { path: report.path.to_string_lossy().into_owned(), status, keys: report.keys }
    }
}

impl From<vigie::exposure::Assessment> for Risk {
    fn from(assessment: vigie::exposure::Assessment) -> Self {
        let day = |day: vigie::exposure::DayExplanation| RiskDay {
            date: day.date.to_string(),
            level: day.level.into(),
            keys: count(day.keys),
            seconds_by_nearness: day.seconds_by_bucket.to_vec(),
        };
        Self { level: assessment.risk_level.into(), days: assessment.explanation.into_iter().map(day).collect() }
    }
}

impl From<vigie::exposure::RiskLevel> for RiskLevel {
    fn from(level: vigie::exposure::RiskLevel) -> Self {
        match level {
            vigie::exposure::RiskLevel::None => Self::None,
            vigie::exposure::RiskLevel::Low => Self::Low,
            vigie::exposure::RiskLevel::High => Self::High,
        }
    }
}

impl From<vigie::exposure::Alert> for Alert {
    fn from(alert: vigie::exposure::Alert) -> Self {
        Self {
            id: alert.exposure.0.to_vec(),
            date: alert.date.to_string(),
            level: alert.level.into(),
            raised_at: alert.raised_at.into(),
            is_acknowledged: alert.acknowledged,
        }
    }
}
