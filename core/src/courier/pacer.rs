//! When a server is asked, and when it is asked again: the rules that turn a crowd into a load that a small server can carry.
//!
//! What is sent belongs to one of two kinds. What a person waits for goes at once and is tried again within 15 minutes. A poll, which nobody waits
//! for, falls on the device's own moment of each period, so that a million devices are spread over it for good.
//!
//! ```text
//! poll            the next moment that is `offset` into a period counted from 1970
//! retry           full jitter: anywhere between a floor and a cap, no sooner than `Retry-After`
//! retry budget    a person: four retries within 45 s, then one each 10 to 15 minutes; a poll that failed is tried again by one device in so many
//!                 (from half an hour to 9 hours later, more than two periods), and at the latest with the next poll
//! refused person  who is refused with `Retry-After` knows that the server is there, and has room for them soon: tried again after the longer of it
//!                 and 1 s, doubled with each attempt up to 30 s, and up to half as much more, instead of the 10 to 15 minutes
//! throttling      polls: refused on the device with probability max(0, (requests - K * accepts) / (requests + 1)), over about a day; an answer clears
//!                 what was to hold polls back
//! Retry-After     key lists are asked for no sooner, not even where a person asks for them now; a report keeps to the times between its attempts
//! breaker         after 3 failures in a row polls wait; whatever a person waits for, or the first of them, finds out whether the server is back
//! ```
//!
//! A phone that is not connected costs nobody anything: such attempts are repeated soon, and count as nothing here.
//!
//! Everything is pure: the time and the random source are arguments. `examples/launch-day` runs a million of these against a server that is down for
//! an hour; that is where the numbers below come from. Sources: Brooker, "Exponential Backoff And Jitter" (full jitter); Beyer et al., "Site
//! Reliability Engineering", chapter 21 (client-side throttling, retry budget).

use std::time::Duration;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);

/// How often index files are asked for. Each device has its own moment in it.
pub const POLL_PERIOD: Duration = Duration::from_secs(4 * 60 * 60);

/// Within this time a poll that failed is tried again, somewhere, unless its next regular moment comes first. More than the period, so that only some
/// of those who missed a poll ask again before it. With a million devices and an outage of an hour 10.3 to 10.6 % of these have caught up an hour
/// after it, and the fullest minute has 1.16 to 1.19 times the normal requests (ten seeds); half as long, it has 1.30 times; twice as long, only
/// 5.1 % have caught up.
pub const POLL_RETRY_CAP: Duration = Duration::from_secs(9 * 60 * 60);

/// No sooner than this: when the server is back, the first quarter of an hour belongs to the people who wait.
const POLL_RETRY_FLOOR: Duration = Duration::from_secs(30 * 60);

/// What a person waits for is tried again at the latest this long after a failure: so it is through as soon after the server is back.
pub const PERSON_RETRY_CAP: Duration = Duration::from_secs(15 * 60);

/// The first retry of what a person waits for comes within this time, the second one within twice as much, and so on ...
const PERSON_RETRY_BASE: Duration = Duration::from_secs(5);

/// ... up to this: a server that was killed, or is killed again and again, and is back at once has everybody's request soon.
const PERSON_SOON_CAP: Duration = Duration::from_secs(15);

/// So many retries come soon. With each of them one more in a hundred of the normal requests arrives while a server is down for an hour.
const PERSON_SOON: u32 = 4;

/// The retry budget: beyond these, at least this much time lies between two attempts.
const PERSON_RETRY_SPACING: Duration = Duration::from_secs(10 * 60);

/// So long a person who asked for what is polled counts as waiting: the first of the later repeats comes within it.
const PERSON_WAITS: Duration = Duration::from_secs(2 * PERSON_RETRY_CAP.as_secs());

/// A server that is there and refuses a person says when it has room; this at first, and twice as much with each attempt, is the least in between, so
/// that one that says too little is not asked the more often the more it refuses.
const PERSON_REFUSED_BASE: Duration = Duration::from_secs(1);

/// The most that it grows to: a crowd of 25,000 comes to less than 1,000 requests a second with it, which is what a small server refuses easily.
const PERSON_REFUSED_CAP: Duration = Duration::from_secs(30);

/// A device without a network looks again within this time at first, and as often as its app says that there is one.
const OFFLINE_RETRY_BASE: Duration = Duration::from_secs(5);

/// So often a poll is tried again soon without a network; then as after a failure of the server.
const MAX_OFFLINE: u32 = 8;

/// Failures in a row after which the server counts as down.
const BREAKER_FAILURES: u32 = 3;

/// Requests for each one that was accepted before polls are held back on the device.
const POLL_THROTTLE: f64 = 2.0;

/// Requests and accepts count half after this time.
const HALF_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// The longest that a server can make us wait. More would be a mistake, or an attack.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// On a metered network, where the app wants quiet, polls wait for another network at most this long.
const MAX_QUIET: Duration = Duration::from_secs(24 * 60 * 60);

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A person waits for it; decoys behave alike, so that nobody can tell them apart.
    Person,
    /// Repeated once in each [`Period`].
    Poll(Period),
}

impl Work {
    /// What is polled, and was asked for at `asked` by a person who has not got it yet and waits for half an hour.
    pub fn polled(period: Period, asked: Option<Timestamp>, now: Timestamp) -> Self {
        // A clock that was set back since makes nobody wait for years.
        let is_awaited = asked.is_some_and(|asked| asked <= now && now.since(asked) <= PERSON_WAITS);
        if is_awaited { Self::Person } else { Self::Poll(period) }
    }
}

/// A period, and a device's own moment in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    length_ms: u64,
    offset_ms: u64,
}

impl Period {
    /// A period of at least a second, in which a device with this random number has its moment. The number is drawn once for each device and server,
    /// and kept.
    pub fn new(length: Duration, random: u64) -> Self {
        let length_ms = length.as_millis().clamp(1_000, u128::from(u32::MAX)) as u64;
        Self { length_ms, offset_ms: random % length_ms }
    }

    /// The next moment after `after`.
    pub fn next(self, after: Timestamp) -> Timestamp {
        let (length, offset) = (self.length_ms as i64, self.offset_ms as i64);
        let into = after.unix_ms().saturating_sub(offset).rem_euclid(length);
        Timestamp::from_unix_ms(after.unix_ms().saturating_add(length - into))
    }
}

/// What a network costs the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// Nothing is known, or nothing is to be saved.
    #[default]
    Free,
    /// Polls wait for another network, up to a day: the app says so for metered networks, where its users want it.
    Quiet,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The server was not reached because the device has no network.
    Offline,
    /// The server did not answer, or said that it cannot now; and when it wants to be asked again, where it said so.
    Server(Option<RetryAfter>),
}

/// The header `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// After this time.
    Delay(Duration),
    /// At this time, by the server's clock; how long that is is counted from the header `Date` of the same answer.
    Date {
        /// When to come again.
        at: Timestamp,
        /// What the server's clock showed.
        said: Timestamp,
    },
}

impl RetryAfter {
    /// How long that is, at most a day.
    pub fn delay(self) -> Duration {
        let delay = match self {
            Self::Delay(delay) => delay,
            Self::Date { at, said } => at.since(said),
        };
        delay.min(MAX_RETRY_AFTER)
    }
}

/// How long what failed can wait. No app sets this; it is a value so that the simulation can show what another one would do to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// Within this time a poll that failed is tried again, [`POLL_RETRY_CAP`] by default.
    pub poll_retry_cap: Duration,
    /// Within this time what a person waits for is tried again, [`PERSON_RETRY_CAP`] by default.
    pub person_retry_cap: Duration,
}

impl Default for Pacing {
    fn default() -> Self {
        Self { poll_retry_cap: POLL_RETRY_CAP, person_retry_cap: PERSON_RETRY_CAP }
    }
}

/// What is remembered of one server. It is kept in the store: an app that is ended and started again is no new crowd.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Pacer {
    /// Not kept: a new version of the app brings its own.
    #[serde(skip)]
    pacing: Pacing,
    requests: f64,
    accepts: f64,
    counted_ms: i64,
    failures: u32,
    closed_until_ms: Option<i64>,
    /// The server said when it wants to be asked again, and this is when this device does.
    asked_for_ms: Option<i64>,
}

impl Pacer {
    /// One that waits as the simulation wants it to. Others begin with the default.
    pub fn new(pacing: Pacing) -> Self {
        Self { pacing, ..Self::default() }
    }

    /// When something new is sent first.
    pub fn first(work: Work, now: Timestamp) -> Timestamp {
        match work {
            Work::Person => now,
            Work::Poll(period) => period.next(now),
        }
    }

    /// When something is sent first that a person asks for again, whatever has failed before: now, or when the server wants to be asked again.
    pub fn at_once(&self, now: Timestamp) -> Timestamp {
        self.asked_for(now).unwrap_or(now)
    }

    /// When the server wants to be asked again, where that is to come. A time further away than any that is set here is one of a clock that was wrong
    /// then.
    pub fn asked_for(&self, now: Timestamp) -> Option<Timestamp> {
        let at = Timestamp::from_unix_ms(self.asked_for_ms?);
        (at > now && at.since(now) <= MAX_WAIT).then_some(at)
    }

    /// Asked when something is due: `Ok` where it may go now, else when to ask again. `postponed` is how long it has been due.
    ///
    /// # Errors
    /// The time at which to ask again.
    pub fn permit(
        &mut self,
        work: Work,
        network: Network,
        postponed: Duration,
        now: Timestamp,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(), Timestamp> {
        if let Some(at) = self.asked_for(now) {
            return Err(at);
        }
        // Otherwise the times between its attempts are all that holds back what a person waits for.
        if work == Work::Person {
            return Ok(());
        }
        if network == Network::Quiet && postponed < MAX_QUIET {
            return Err(now.after(15 * MINUTE));
        }
        match self.closed_until(now) {
            Some(until) if until > now => Err(until),
            // It has waited, and finds out for the others.
            Some(_) => Ok(()),
            None => self.throttle(work, now, rng),
        }
    }

    /// The server has answered, whatever it said of the matter: it is there.
    pub fn answered(&mut self, now: Timestamp) {
        self.decay(now);
        self.accepts += 1.0;
        // What failed before holds no poll back now: it would miss its moment because of a server that is there.
        self.requests = (self.requests + 1.0).min(POLL_THROTTLE * (self.accepts + 1.0));
        (self.failures, self.closed_until_ms, self.asked_for_ms) = (0, None, None);
    }

    /// An attempt has failed, the `attempts`-th of this work (1 for the first). Says when the next one is due.
    pub fn failed(
        &mut self,
        work: Work,
        attempts: u32,
        failure: Failure,
        now: Timestamp,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Timestamp {
        let Failure::Server(retry_after) = failure else {
            // Where it stays so it may be the server's network that is gone, for everybody.
            let is_everybody = matches!(work, Work::Poll(_)) && attempts > MAX_OFFLINE;
            return if is_everybody {
                self.again(work, attempts, Duration::ZERO, now, rng)
            } else {
                now.after(offline(attempts, rng))
            };
        };
        self.decay(now);
        self.requests += 1.0;
        self.failures = self.failures.saturating_add(1);
        let at_least = retry_after.map_or(Duration::ZERO, RetryAfter::delay);
        if !at_least.is_zero() {
            self.asked_for_ms = Some(now.after(spread(at_least, Duration::ZERO, rng)).unix_ms());
        }
        let again = self.again(work, attempts, at_least, now, rng);
        // A person who tries again and again must not keep polls waiting for ever: then one of them finds out.
        if self.failures >= BREAKER_FAILURES && (self.closed_until_ms.is_none() || work != Work::Person) {
            self.closed_until_ms = Some(again.unix_ms());
        }
        again
    }

    fn again(
        &self,
        work: Work,
        attempts: u32,
        at_least: Duration,
        now: Timestamp,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Timestamp {
        let Pacing { poll_retry_cap, person_retry_cap } = self.pacing;
        match work {
            Work::Person if !at_least.is_zero() => now.after(spread(at_least.max(refused(attempts)), Duration::ZERO, rng)),
            Work::Person => {
                let delay = match attempts {
                    ..=PERSON_SOON => {
                        let soon = (PERSON_RETRY_BASE * attempts.max(1)).min(PERSON_SOON_CAP);
                        between(Duration::ZERO, soon.min(person_retry_cap), rng)
                    }
                    _ => between(PERSON_RETRY_SPACING.min(person_retry_cap), person_retry_cap, rng),
                };
                now.after(delay)
            }
            Work::Poll(period) => {
                let delay = between(POLL_RETRY_FLOOR.min(poll_retry_cap), poll_retry_cap, rng);
                let regular = period.next(now.after(at_least));
                now.after(spread(at_least, delay, rng)).min(regular)
            }
        }
    }

    /// Holds back on the device what the server would probably refuse. What is held back counts as a request, so that many of them are.
    fn throttle(&mut self, work: Work, now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> Result<(), Timestamp> {
        self.decay(now);
        // One accept is taken for granted, or the first failure of a new device would count for too much.
        let refused = (self.requests - POLL_THROTTLE * (self.accepts + 1.0)) / (self.requests + 1.0);
        if refused > 0.0 && fraction(rng) < refused {
            self.requests += 1.0;
            return Err(self.again(work, 2, Duration::ZERO, now, rng));
        }
        Ok(())
    }

    /// Until when polls wait, or waited, while the breaker is open. A time further away than any that is set here is one of a clock that was wrong then.
    fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = Timestamp::from_unix_ms(self.closed_until_ms?);
        Some(until.min(now.after(self.pacing.poll_retry_cap.saturating_add(MAX_RETRY_AFTER))))
    }

    fn decay(&mut self, now: Timestamp) {
        let passed = now.since(Timestamp::from_unix_ms(self.counted_ms));
        let left = (-passed.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2();
        (self.requests, self.accepts) = (self.requests * left, self.accepts * left);
        self.counted_ms = now.unix_ms();
    }
}

/// The longest that anything can have been told to wait: what is due later than this was timed by a wrong clock, and is due now.
pub const MAX_WAIT: Duration = Duration::from_secs(MAX_RETRY_AFTER.as_secs() * 2);

/// Anywhere from `low` to `high`, which is not less.
fn between(low: Duration, high: Duration, rng: &mut (impl CryptoRng + ?Sized)) -> Duration {
    low + (high - low).mul_f64(fraction(rng))
}

/// The least time that a person who was refused so often waits.
fn refused(attempts: u32) -> Duration {
    (PERSON_REFUSED_BASE * (1 << attempts.saturating_sub(1).min(16))).min(PERSON_REFUSED_CAP)
}

/// Anywhere from now to a time that doubles with each attempt.
fn offline(attempts: u32, rng: &mut (impl CryptoRng + ?Sized)) -> Duration {
    let longest = OFFLINE_RETRY_BASE * (1 << attempts.saturating_sub(1).min(16));
    between(Duration::ZERO, longest.min(PERSON_RETRY_CAP), rng)
}

/// Not sooner than the server said, and not all at the same moment after it.
fn spread(at_least: Duration, delay: Duration, rng: &mut (impl CryptoRng + ?Sized)) -> Duration {
    if at_least.is_zero() { delay } else { (at_least + (at_least / 2).mul_f64(fraction(rng))).max(delay) }
}

/// Uniform in 0..1.
fn fraction(rng: &mut (impl CryptoRng + ?Sized)) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
