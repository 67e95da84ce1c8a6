//! Daily summaries: the scores of all windows of a day.
//!
//! ```text
//! weighted duration = sum over scan instances of seconds since last scan x weight of the bucket of the typical attenuation
//! score             = weighted duration x weight of the report type x weight of the infectiousness
//! ```
//!
//! Source: Exposure Notification API, `DailySummariesConfig` and `DailySummary`. With weights of 1 all of it is seconds.

use std::collections::BTreeMap;

use super::configuration::{ExposureConfiguration, Infectiousness};
use super::windows::ExposureWindow;
use crate::diagnosis::ReportType;
use crate::time::Date;

/// What several windows add up to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scores {
    /// The highest score of a window.
    pub maximum_score: f64,
    /// The sum of the windows' scores.
    pub score_sum: f64,
    /// The sum of their weighted durations, in seconds.
    pub weighted_duration_sum_s: f64,
}

/// The scores of one UTC day.
#[derive(Debug, Clone, PartialEq)]
pub struct DailySummary {
    /// The day.
    pub date: Date,
    /// Of all windows.
    pub overall: Scores,
    /// Of the windows of each report type that there is.
    pub by_report_type: BTreeMap<ReportType, Scores>,
}

/// The summaries of `windows`, the earliest day first. A day of which no window counts is left out.
pub fn daily_summaries(windows: &[ExposureWindow], configuration: &ExposureConfiguration, today: Date) -> Vec<DailySummary> {
    let mut days: BTreeMap<Date, DailySummary> = BTreeMap::new();
    for window in windows {
        if let Some((weighted_duration_s, score)) = score(window, configuration, today) {
            let empty = || DailySummary { date: window.date, overall: Scores::default(), by_report_type: BTreeMap::new() };
            let day = days.entry(window.date).or_insert_with(empty);
            day.overall.add(weighted_duration_s, score);
            day.by_report_type.entry(window.report_type).or_default().add(weighted_duration_s, score);
        }
    }
    days.into_values().collect()
}

impl Scores {
    fn add(&mut self, weighted_duration_s: f64, score: f64) {
        self.maximum_score = self.maximum_score.max(score);
        self.score_sum += score;
        self.weighted_duration_sum_s += weighted_duration_s;
    }
}

/// Weighted duration in seconds and score of a window; `None` where it does not count.
pub(super) fn score(window: &ExposureWindow, configuration: &ExposureConfiguration, today: Date) -> Option<(f64, f64)> {
    let oldest = configuration.days_since_exposure_threshold;
    let is_too_old = oldest > 0 && today.days().saturating_sub(window.date.days()) > oldest;
    let is_hidden = matches!(window.report_type, ReportType::Unknown | ReportType::Revoked);
    if is_too_old || is_hidden || window.infectiousness == Infectiousness::None {
        return None;
    }
    let durations = seconds_by_bucket(window, configuration);
    let weighted_duration_s = durations.iter().zip(configuration.bucket_weights).map(|(s, weight)| *s as f64 * weight).sum();
    let report_type_weight = configuration.report_type_weights.of(window.report_type);
    let score = weighted_duration_s * report_type_weight * configuration.infectiousness_weights.of(window.infectiousness);
    (score >= configuration.minimum_window_score).then_some((weighted_duration_s, score))
}

/// Seconds of a window in the buckets immediate, near, medium and other.
pub(super) fn seconds_by_bucket(window: &ExposureWindow, configuration: &ExposureConfiguration) -> [u64; 4] {
    let mut seconds = [0; 4];
    for instance in &window.scan_instances {
        seconds[configuration.bucket(instance.typical_attenuation_db)] += u64::from(instance.seconds_since_last_scan);
    }
    seconds
}
