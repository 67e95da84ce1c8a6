//! Notices that the wall clock was set: by a person, a network or a battery that ran empty.
//!
//! Two things hang on it. An identifier must not be used again for an interval that comes a second time, so a jump is a rotation. And a clock that
//! is wrong by much makes things look too old, or not yet born: erasure waits for a day ([`ERASURE_WAIT`]), so that a wrong clock, once put right,
//! has cost nothing. The price is that a phone which was off for more than a day erases a day late.
//!
//! ```text
//! ahead = sum of all jumps since the doubt began          a doubt ends when |ahead| <= 1 hour, or after a day
//! ```

use std::time::Duration;

use super::Timestamp;

/// Differences up to this are a network correcting the clock, not a jump. Far below an interval, far above what a clock drifts between two looks.
const TOLERANCE_MS: i64 = 60_000;

/// A clock that is wrong by no more erases at most so much too early or too late.
const HARMLESS_MS: i64 = 3_600_000;

/// A device that was off for less has not leapt.
const HARMLESS_ABSENCE: Duration = Duration::from_secs(24 * 3600);

/// For how long nothing is erased after the clock was set to another hour, by the clock as it goes then.
pub const ERASURE_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What is kept of the clock across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockState {
    /// The latest look at the wall clock.
    pub last_seen: Timestamp,
    /// That it may be wrong, while it may.
    pub doubt: Option<ClockDoubt>,
}

/// The wall clock was set to another hour, and may yet be set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockDoubt {
    /// How much it is ahead of the time that was believed before, in milliseconds; negative where it is behind.
    pub ahead_ms: i64,
    /// Since when, by the clock as it goes now.
    pub since: Timestamp,
}

/// The wall clock did not go as time did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockJump {
    /// What it should have shown.
    pub expected: Timestamp,
    /// What it showed.
    pub found: Timestamp,
}

impl ClockJump {
    fn ms(self) -> i64 {
        self.found.unix_ms().saturating_sub(self.expected.unix_ms())
    }
}

/// Watches a clock. Pure: it is shown both readings, and keeps the last ones.
#[derive(Debug)]
pub struct ClockWatch {
    state: ClockState,
    monotonic: Duration,
}

impl ClockWatch {
    /// Begins to watch, with what an earlier watch left behind, and says whether the clock jumped in between as far as one can tell:
    /// it went back, or on by more than a day.
    pub fn resume(kept: Option<ClockState>, now: Timestamp, monotonic: Duration) -> (Self, Option<ClockJump>) {
        let state = kept.unwrap_or(ClockState { last_seen: now, doubt: None });
        let absence = now.since(state.last_seen).min(HARMLESS_ABSENCE);
        let mut watch = Self { state, monotonic };
        let jump = watch.judge(state.last_seen.after(absence), now);
        (watch, jump)
    }

    /// One look at both clocks.
    pub fn observe(&mut self, now: Timestamp, monotonic: Duration) -> Option<ClockJump> {
        let expected = self.state.last_seen.after(monotonic.saturating_sub(self.monotonic));
        self.monotonic = monotonic;
        self.judge(expected, now)
    }

    /// Whether what looks older than 14 days is, and may be erased.
    pub fn trusts_age(&self) -> bool {
        self.state.doubt.is_none()
    }

    /// The time that was believed before the clock was set; the clock's own where there is no doubt.
    pub fn believed(&self) -> Timestamp {
        let ahead_ms = self.state.doubt.map_or(0, |doubt| doubt.ahead_ms);
        Timestamp::from_unix_ms(self.state.last_seen.unix_ms().saturating_sub(ahead_ms))
    }

    /// What to keep.
    pub fn state(&self) -> ClockState {
        self.state
    }

    fn judge(&mut self, expected: Timestamp, now: Timestamp) -> Option<ClockJump> {
        self.state.last_seen = now;
        let jump = ClockJump { expected, found: now };
        let is_jump = jump.ms().saturating_abs() > TOLERANCE_MS;
        let is_leap = jump.ms().saturating_abs() > HARMLESS_MS;
        self.state.doubt = match self.state.doubt {
            // A new leap is waited for anew; a small correction only moves the hands.
            Some(doubt) if is_jump => {
                let since = if is_leap { now } else { Timestamp::from_unix_ms(doubt.since.unix_ms().saturating_add(jump.ms())) };
                Some(ClockDoubt { ahead_ms: doubt.ahead_ms.saturating_add(jump.ms()), since })
            }
            None if is_leap => Some(ClockDoubt { ahead_ms: jump.ms(), since: now }),
            doubt => doubt,
        }
        .filter(|doubt| doubt.ahead_ms.saturating_abs() > HARMLESS_MS && now.since(doubt.since) < ERASURE_WAIT);
        is_jump.then_some(jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    fn start() -> Timestamp {
        Timestamp::from_unix_s(1_603_389_600)
    }

    fn watch() -> ClockWatch {
        ClockWatch::resume(None, start(), Duration::ZERO).0
    }

    #[test]
    fn a_clock_that_goes_as_time_does_is_trusted() {
        let mut watch = watch();
        for hours in 1..1000 {
            let drift = Duration::from_secs(hours);
            assert_eq!(watch.observe(start().after(HOUR * hours as u32 + drift), HOUR * hours as u32), None);
            assert!(watch.trusts_age());
        }
    }

    #[test]
    fn a_leap_forward_is_told_once_and_holds_erasure_for_a_day() {
        let mut watch = watch();
        let leapt = start().after(YEAR);
        assert_eq!(watch.observe(leapt, Duration::ZERO), Some(ClockJump { expected: start(), found: leapt }));
        assert!(!watch.trusts_age());
        assert_eq!(watch.observe(leapt.after(23 * HOUR), 23 * HOUR), None);
        assert!(!watch.trusts_age());
        assert_eq!(watch.observe(leapt.after(24 * HOUR), 24 * HOUR), None);
        assert!(watch.trusts_age());
    }

    #[test]
    fn a_leap_that_is_taken_back_ends_the_wait_and_one_that_is_taken_back_in_part_does_not() {
        for leap in [start().after(YEAR), start().before(YEAR)] {
            let mut watch = watch();
            watch.observe(leap, Duration::ZERO);
            assert_eq!((watch.trusts_age(), watch.believed()), (false, start()));
            watch.observe(leap.before(HOUR / 6), Duration::ZERO);
            assert_eq!((watch.trusts_age(), watch.believed()), (false, start()), "a small correction of a wrong clock");
            watch.observe(leap.before(50 * HOUR), Duration::ZERO);
            assert!(!watch.trusts_age(), "another wrong time");
            assert!(watch.observe(start().after(2 * HOUR), 2 * HOUR).is_some());
            assert_eq!((watch.trusts_age(), watch.believed()), (true, start().after(2 * HOUR)));
        }
    }

    #[test]
    fn the_wait_survives_restarts_and_a_long_absence_begins_one() {
        let mut watch = watch();
        watch.observe(start().after(YEAR), Duration::ZERO);
        let (again, jump) = ClockWatch::resume(Some(watch.state()), start().after(YEAR + HOUR), Duration::ZERO);
        assert_eq!((jump, again.trusts_age()), (None, false));

        let settled = Some(ClockState { last_seen: start(), doubt: None });
        assert!(ClockWatch::resume(settled, start().after(20 * HOUR), Duration::ZERO).0.trusts_age());
        let (absent, jump) = ClockWatch::resume(settled, start().after(30 * HOUR), Duration::ZERO);
        assert!(jump.is_some() && !absent.trusts_age());
        assert!(ClockWatch::resume(settled, start().before(HOUR), Duration::ZERO).1.is_some());
    }

    #[test]
    fn no_clock_is_too_wrong() {
        let mut watch = watch();
        for ms in [i64::MIN, i64::MAX, 0, i64::MAX, i64::MIN] {
            watch.observe(Timestamp::from_unix_ms(ms), Duration::MAX);
            let _ = (watch.believed(), ClockWatch::resume(Some(watch.state()), start(), Duration::ZERO));
        }
    }
}
