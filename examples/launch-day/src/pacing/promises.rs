//! What is promised of the pacing, and what a simulated day says of it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::crowd::{BEFORE, Course, Scene, minutes};

/// Requests a minute, as a multiple of the normal ones, that the server must be able to carry.
pub(crate) const HIGHEST_LOAD: f64 = 1.2;

/// Of the devices that missed a poll, so many have one an hour after the server is back.
const CAUGHT_UP_SHARE: f64 = 0.1;
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(4 * 60 * 60);
const PERSON_WITHIN: Duration = Duration::from_secs(15 * 60);

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The promise is of so many. Fewer scatter more: they are counted in longer times, and may leave the limit by what is still chance.
const MILLION: u32 = 1_000_000;
const BIN_OF_FEW: usize = 10;
const STANDARD_DEVIATIONS: f64 = 3.0;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    pub(crate) devices: u32,
    pub(crate) outage_minutes: usize,
    pub(crate) seed: u64,
    /// Requests a minute in the hour before.
    pub(crate) normal_per_minute: f64,
    /// Over so many minutes requests are counted.
    pub(crate) bin_minutes: usize,
    pub(crate) missed_a_poll: u32,
    pub(crate) promises: Vec<Promise>,
    pub(crate) all_kept: bool,
    /// For the plot: where in hours after the server went down, and how many times the normal requests.
    #[serde(skip)]
    pub(crate) load: Vec<(f64, f64)>,
}

/// One promise.
#[derive(Debug, Serialize)]
pub(crate) struct Promise {
    pub(crate) name: &'static str,
    pub(crate) measured: Measure,
    pub(crate) limit: Measure,
    /// How far the measured value may be beyond the limit because the devices are few.
    pub(crate) chance: f64,
    pub(crate) is_kept: bool,
}

/// A number with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    TimesNormal(f64),
    Share(f64),
    Seconds(u64),
    /// It was not done in the time that was watched.
    Never,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::TimesNormal(times) => format!("{times:.3} x"),
            Self::Share(share) => format!("{:.2} %", share * 100.0),
            Self::Seconds(seconds) => humantime::format_duration(Duration::from_secs(*seconds)).to_string(),
            Self::Never => "not yet".into(),
        };
        f.pad(&text)
    }
}

/// Holds what happened against what is promised.
pub(crate) fn judge(scene: &Scene, course: &Course) -> Findings {
    let bin_minutes = if scene.devices < MILLION { BIN_OF_FEW } else { 1 };
    let (down, up) = (minutes(BEFORE), minutes(BEFORE + scene.outage));
    let normal = mean(&course.requests[down - minutes(HOUR)..down]).max(f64::MIN_POSITIVE);
    let load = |from: usize, to: usize| -> Vec<(f64, f64)> {
        let bins = course.requests[from..to].chunks(bin_minutes).enumerate();
        let hours = |bin: usize, length: usize| (from + bin * bin_minutes) as f64 + length as f64 / 2.0 - down as f64;
        bins.map(|(bin, counts)| (hours(bin, counts.len()) / 60.0, mean(counts) / normal)).collect()
    };
    let (before, during, after) = (load(down - minutes(HOUR), down), load(down, up), load(up, course.requests.len()));
    let highest = |load: &[(f64, f64)]| load.iter().fold(0.0, |highest: f64, (_, times)| highest.max(*times));
    let chance = |variance: f64| if scene.devices < MILLION { STANDARD_DEVIATIONS * variance.sqrt() } else { 0.0 };
    let load_chance = chance(HIGHEST_LOAD / (normal * bin_minutes as f64));
    let promises = vec![
        at_most("requests a minute, highest while it is down", highest(&during), load_chance),
        at_most("requests a minute, highest after", highest(&after), load_chance),
        caught_up(course, chance(CAUGHT_UP_SHARE * (1.0 - CAUGHT_UP_SHARE) / f64::from(course.missed.max(1)))),
        within("the last device has caught up after", latest_catch_up(course), CAUGHT_UP_WITHIN),
        within("the last person is through after", last_person(course), PERSON_WITHIN),
    ];
    Findings {
        devices: scene.devices,
        outage_minutes: minutes(scene.outage),
        seed: scene.seed,
        normal_per_minute: normal,
        bin_minutes,
        missed_a_poll: course.missed,
        all_kept: promises.iter().all(|promise| promise.is_kept),
        promises,
        load: [before, during, after].concat(),
    }
}

fn at_most(name: &'static str, times: f64, chance: f64) -> Promise {
    let is_kept = times <= HIGHEST_LOAD + chance;
    Promise { name, measured: Measure::TimesNormal(times), limit: Measure::TimesNormal(HIGHEST_LOAD), chance, is_kept }
}

fn caught_up(course: &Course, chance: f64) -> Promise {
    let caught_up = course.caught_up.iter().filter(|after| **after <= HOUR).count();
    let share = caught_up as f64 / f64::from(course.missed.max(1));
    Promise {
        name: "caught up after an hour, of those who missed a poll",
        measured: Measure::Share(share),
        limit: Measure::Share(CAUGHT_UP_SHARE),
        chance,
        is_kept: share >= CAUGHT_UP_SHARE - chance,
    }
}

fn within(name: &'static str, measured: Option<Duration>, limit: Duration) -> Promise {
    Promise {
        name,
        measured: measured.map_or(Measure::Never, |time| Measure::Seconds(time.as_millis().div_ceil(1_000) as u64)),
        limit: Measure::Seconds(limit.as_secs()),
        chance: 0.0,
        is_kept: measured.is_some_and(|time| time <= limit),
    }
}

/// `None` where one has not.
fn latest_catch_up(course: &Course) -> Option<Duration> {
    let latest = course.caught_up.iter().max().copied().unwrap_or_default();
    (course.caught_up.len() == course.missed as usize).then_some(latest)
}

/// `None` where one still waits.
fn last_person(course: &Course) -> Option<Duration> {
    (course.waiting == 0).then_some(course.last_person)
}

fn mean(counts: &[u32]) -> f64 {
    counts.iter().map(|count| f64::from(*count)).sum::<f64>() / counts.len().max(1) as f64
}
