//! Time as the protocol counts it, and the clock that the rest is given.
//!
//! ```text
//! ENIntervalNumber(t) = floor(unix_seconds(t) / 600)      one interval is 10 minutes, a day has 144
//! ```
//!
//! Source: Exposure Notification Cryptography Specification v1.2.1, "ENIntervalNumber". Leap seconds do not exist here, as in Unix time.
//! Nothing in this crate reads the time by itself: rules take it as an argument, and whoever drives them holds a [`Clock`].

mod clock;
mod watch;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

pub use clock::{Clock, ManualClock, SystemClock};
pub use watch::{ClockDoubt, ClockJump, ClockState, ClockWatch, ERASURE_WAIT};

/// Intervals in a day, and the longest life of a temporary exposure key (`TEKRollingPeriod`).
pub const INTERVALS_PER_DAY: u32 = 144;

/// How long own keys, encounters and exposures are kept, in days (Cryptography Specification, "days of keys").
pub const RETENTION_DAYS: u32 = 14;

const INTERVAL_MS: i64 = 600_000;
const DAY_MS: i64 = 86_400_000;

/// What is wrong with a time that came from outside.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// The text is not a time as RFC 3339 writes it.
    #[error("`{found}` is not a time such as 2020-10-22T18:00:00Z (RFC 3339)")]
    NotRfc3339 {
        /// What was given, cut to 64 characters.
        found: String,
    },
    /// The number of seconds is not finite, or lies outside the years that a date can show.
    #[error("{found} seconds since 1970 is outside the years that can be shown")]
    OutOfRange {
        /// What was given, in seconds.
        found: f64,
    },
}

/// A moment: milliseconds since 1 January 1970, UTC.
///
/// Every value is valid. A clock that is wrong by years must not stop anybody's app, so arithmetic saturates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `ms` milliseconds after (or, negative, before) 1 January 1970.
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// The moment `s` seconds after 1 January 1970.
    pub const fn from_unix_s(s: i64) -> Self {
        Self(s.saturating_mul(1000))
    }

    /// The same from a fraction, rounded to the millisecond.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`] where `s` is not finite or lies outside the years -9999 to 9999.
    pub fn from_unix_s_f64(s: f64) -> Result<Self, TimeError> {
        const YEAR_9999_S: f64 = 253_402_300_800.0;
        if s.is_finite() && s.abs() < YEAR_9999_S {
            Ok(Self((s * 1000.0).round() as i64))
        } else {
            Err(TimeError::OutOfRange { found: s })
        }
    }

    /// Milliseconds since 1 January 1970.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1 January 1970, rounded down.
    pub const fn unix_s(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The interval in which this moment lies. Moments before 1970 lie in interval 0, those after the year 83,000 in the last one.
    pub fn interval(self) -> EnIntervalNumber {
        EnIntervalNumber(u32::try_from(self.0.div_euclid(INTERVAL_MS).max(0)).unwrap_or(u32::MAX))
    }

    /// The UTC day in which this moment lies.
    pub fn date(self) -> Date {
        Date(u32::try_from(self.0.div_euclid(DAY_MS).max(0)).unwrap_or(u32::MAX))
    }

    /// The moment `d` later.
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(millis(d)))
    }

    /// The moment `d` earlier.
    pub fn before(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(millis(d)))
    }

    /// How long after `earlier` this is; zero where it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

impl From<Timestamp> for SystemTime {
    fn from(at: Timestamp) -> Self {
        let distance = Duration::from_millis(at.0.unsigned_abs());
        let shifted = if at.0 < 0 { Self::UNIX_EPOCH.checked_sub(distance) } else { Self::UNIX_EPOCH.checked_add(distance) };
        // A time that the system cannot say.
        shifted.unwrap_or(Self::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with milliseconds only where there are some.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_millis(self.0) {
            Some(t) => f.write_str(&t.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{} ms since 1970", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(s: &str) -> Result<Self, TimeError> {
        DateTime::parse_from_rfc3339(s)
            .map(|t| Self(t.timestamp_millis()))
            .map_err(|_| TimeError::NotRfc3339 { found: s.chars().take(64).collect() })
    }
}

/// A ten-minute interval since 1 January 1970 (`ENIntervalNumber`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnIntervalNumber(u32);

impl EnIntervalNumber {
    /// The interval with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number, as it stands in keys and identifiers.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The moment at which it begins.
    pub const fn start(self) -> Timestamp {
        Timestamp(self.0 as i64 * INTERVAL_MS)
    }

    /// The interval `n` later; the last one where there is none.
    pub const fn plus(self, n: u32) -> Self {
        Self(self.0.saturating_add(n))
    }

    /// The interval `n` earlier; the first one where there is none.
    pub const fn minus(self, n: u32) -> Self {
        Self(self.0.saturating_sub(n))
    }

    /// The first interval of its UTC day.
    pub const fn day_start(self) -> Self {
        Self(self.0 - self.0 % INTERVALS_PER_DAY)
    }

    /// Its UTC day.
    pub const fn date(self) -> Date {
        Date(self.0 / INTERVALS_PER_DAY)
    }
}

/// A UTC day: days since 1 January 1970. The finest time that an app may see of an exposure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(u32);

impl Date {
    /// The day `days` after 1 January 1970.
    pub const fn from_days(days: u32) -> Self {
        Self(days)
    }

    /// Days since 1 January 1970.
    pub const fn days(self) -> u32 {
        self.0
    }

    /// Its first interval.
    pub const fn first_interval(self) -> EnIntervalNumber {
        EnIntervalNumber(self.0.saturating_mul(INTERVALS_PER_DAY))
    }

    /// The day `n` earlier; the first one where there is none.
    pub const fn minus(self, n: u32) -> Self {
        Self(self.0.saturating_sub(n))
    }
}

impl fmt::Display for Date {
    /// `2020-10-22`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_millis(i64::from(self.0) * DAY_MS) {
            Some(t) => t.date_naive().fmt(f),
            None => write!(f, "day {}", self.0),
        }
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_of_the_published_vector() {
        let t = Timestamp::from_unix_s(1_585_785_600);
        assert_eq!(t.interval(), EnIntervalNumber::new(2_642_976));
        assert_eq!(t.interval().day_start(), t.interval());
        assert_eq!(t.after(Duration::from_millis(599_999)).interval(), t.interval());
        assert_eq!(t.after(Duration::from_secs(600)).interval(), t.interval().plus(1));
        assert_eq!(t.before(Duration::from_millis(1)).interval(), t.interval().minus(1));
    }

    #[test]
    fn impossible_clocks_do_not_panic() {
        for ms in [i64::MIN, -1, 0, i64::MAX] {
            let t = Timestamp::from_unix_ms(ms);
            let _ = (t.interval().start(), t.date().first_interval(), t.to_string(), t.date().to_string());
            let _ = (t.after(Duration::MAX), t.before(Duration::MAX), t.since(Timestamp::default()));
        }
        assert_eq!(Timestamp::from_unix_ms(-1).interval().number(), 0);
        assert!(Timestamp::from_unix_s_f64(f64::NAN).is_err());
        assert!(Timestamp::from_unix_s_f64(1e300).is_err());
    }

    #[test]
    fn text_goes_both_ways_and_bad_text_is_refused() {
        let t: Timestamp = "2020-10-22T18:00:00.25+02:00".parse().unwrap();
        assert_eq!(t.to_string(), "2020-10-22T16:00:00.250Z");
        assert_eq!(t.date().to_string(), "2020-10-22");
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert!("".parse::<Timestamp>().is_err());
    }
}
