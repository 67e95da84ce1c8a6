//! The risk level that an app shows, and why.

use std::collections::BTreeMap;
use std::fmt;

use rand::seq::SliceRandom;
use rand_core::CryptoRng;

use super::configuration::ExposureConfiguration;
use super::summary::{self, DailySummary, daily_summaries};
use super::windows::{ExposureWindow, windows_of};
use super::{Exposure, ExposureId};
use crate::time::Date;

/// How likely it is that the user was infected, as an app says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RiskLevel {
    /// Nothing that counts.
    None,
    /// Somebody was near, too short or too far for a contact.
    Low,
    /// A contact.
    High,
}

impl RiskLevel {
    fn of(day: &DailySummary, configuration: &ExposureConfiguration) -> Self {
        match day.overall.score_sum {
            score if score >= configuration.high_risk_score => Self::High,
            score if score >= configuration.low_risk_score => Self::Low,
            _ => Self::None,
        }
    }
}

/// All that follows from the exposures.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Every window, in random order.
    pub windows: Vec<ExposureWindow>,
    /// The days on which something counts, the earliest first.
    pub days: Vec<DailySummary>,
    /// The highest level of a day.
    pub risk_level: RiskLevel,
    /// A reason for each of `days`.
    pub explanation: Vec<DayExplanation>,
    /// Exposures that add to a day of at least the alert level, with the day and its level. For the device alone, never for an app:
    /// it joins what [`Self::windows`] keeps apart.
    pub alerting: Vec<(ExposureId, Date, RiskLevel)>,
}

/// A day in words. `Display` is a sentence in English; an app in another language builds its own of the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayExplanation {
    /// The day.
    pub date: Date,
    /// Its level.
    pub level: RiskLevel,
    /// How many diagnosis keys were near. Somebody who reported on that day may have two.
    pub keys: usize,
    /// Seconds in the buckets immediate, near, medium and other.
    pub seconds_by_bucket: [u64; 4],
}

/// What follows from `exposures`, looked at on the day `today`.
pub fn assess(
    exposures: &[Exposure],
    configuration: &ExposureConfiguration,
    today: Date,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Assessment {
    let mut assessment = weigh(exposures, configuration, today);
    // So that nobody can tell which belong together.
    assessment.windows.shuffle(rng);
    assessment
}

/// [`Assessment::alerting`] alone.
pub(super) fn alerting(
    exposures: &[Exposure],
    configuration: &ExposureConfiguration,
    today: Date,
) -> Vec<(ExposureId, Date, RiskLevel)> {
    weigh(exposures, configuration, today).alerting
}

/// The assessment with its windows in order of exposures and time.
fn weigh(exposures: &[Exposure], configuration: &ExposureConfiguration, today: Date) -> Assessment {
    let by_exposure: Vec<(ExposureId, Vec<ExposureWindow>)> =
        exposures.iter().map(|exposure| (exposure.id, windows_of(exposure, configuration))).collect();
    let windows: Vec<_> = by_exposure.iter().flat_map(|(_, windows)| windows.iter().cloned()).collect();
    let days = daily_summaries(&windows, configuration, today);
    let mut explanation: BTreeMap<Date, DayExplanation> =
        days.iter().map(|day| (day.date, explain(day, configuration))).collect();
    let mut alerting = Vec::new();
    for (id, windows) in &by_exposure {
        for (date, seconds) in counted_seconds(windows, configuration, today) {
            if let Some(day) = explanation.get_mut(&date) {
                day.keys += 1;
                day.seconds_by_bucket.iter_mut().zip(seconds.by_bucket).for_each(|(sum, s)| *sum += s);
                if seconds.add_to_score && day.level > RiskLevel::None && day.level >= configuration.alert_level {
                    alerting.push((*id, date, day.level));
                }
            }
        }
    }
    let explanation: Vec<_> = explanation.into_values().collect();
    let risk_level = explanation.iter().map(|day| day.level).max().unwrap_or(RiskLevel::None);
    Assessment { windows, days, risk_level, explanation, alerting }
}

fn explain(day: &DailySummary, configuration: &ExposureConfiguration) -> DayExplanation {
    DayExplanation { date: day.date, level: RiskLevel::of(day, configuration), keys: 0, seconds_by_bucket: [0; 4] }
}

#[derive(Default)]
struct DaySeconds {
    by_bucket: [u64; 4],
    add_to_score: bool,
}

/// What one exposure has on each day, of the windows that count.
fn counted_seconds(windows: &[ExposureWindow], configuration: &ExposureConfiguration, today: Date) -> BTreeMap<Date, DaySeconds> {
    let mut days: BTreeMap<Date, DaySeconds> = BTreeMap::new();
    for window in windows {
        if let Some((_, score)) = summary::score(window, configuration, today) {
            let day = days.entry(window.date).or_default();
            day.add_to_score |= score > 0.0;
            let seconds = summary::seconds_by_bucket(window, configuration);
            day.by_bucket.iter_mut().zip(seconds).for_each(|(sum, s)| *sum += s);
        }
    }
    days
}

impl DayExplanation {
    /// Minutes near, rounded, at least 1.
    pub fn minutes(&self) -> u64 {
        ((self.seconds_by_bucket.iter().sum::<u64>() + 30) / 60).max(1)
    }

    /// The bucket in which most of the time was spent, of equal ones the nearest: 0 immediate, 1 near, 2 medium, 3 other.
    pub fn nearness(&self) -> usize {
        let most = self.seconds_by_bucket.iter().max();
        self.seconds_by_bucket.iter().position(|seconds| Some(seconds) == most).unwrap_or(3)
    }
}

impl fmt::Display for DayExplanation {
    /// Signal strength tells nearness badly, so the words promise no metres but "about".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.keys > 1 { "people" } else { "somebody" };
        let minutes = match self.minutes() {
            1 => "1 minute".to_owned(),
            minutes => format!("{minutes} minutes"),
        };
        let how_near = match self.nearness() {
            0 => "very close together",
            1 => "within about 2 metres",
            2 => "a few metres apart",
            _ => "farther apart than a few metres",
        };
        write!(f, "On {} you were near {who} who later reported, for about {minutes}, most of it {how_near}.", self.date)
    }
}
