//! When a server is asked, and when it is asked again: the rules that turn a crowd into a load that a small server can carry.
//!
//! What is sent belongs to one of two kinds. What a person waits for goes at once and is tried again within 15 minutes. A poll, which nobody waits
//! for, falls on the device's own moment of each period, so that a million devices are spread over it for good.
//!
//! ```text
//! poll            the next moment that is `offset` into a period counted from 1970
//! retry           full jitter: anywhere between a floor and a cap, no sooner than `Retry-After`
//! retry budget    a person: one retry within 30 s, then one each 10 to 15 minutes; a poll that failed is tried again by one device in so many
//!                 (from half an hour to 9 hours later, more than two periods), and at the latest with the next poll
//! throttling      polls: refused on the device with probability max(0, (requests - K * accepts) / (requests + 1)), over about a day; an answer clears
//!                 what was to hold polls back
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

/// The first retry of what a person waits for comes within this time.
const PERSON_RETRY_BASE: Duration = Duration::from_secs(30);

/// The retry budget: beyond the first retry, at least this much time lies between two attempts.
const PERSON_RETRY_SPACING: Duration = Duration::from_secs(10 * 60);

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
        // The times between its attempts are all that holds back what a person waits for.
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
        (self.failures, self.closed_until_ms) = (0, None);
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
            Work::Person => {
                let delay = match attempts {
                    0 | 1 => between(Duration::ZERO, PERSON_RETRY_BASE.min(person_retry_cap), rng),
                    _ => between(PERSON_RETRY_SPACING.min(person_retry_cap), person_retry_cap, rng),
                };
                now.after(spread(at_least, delay, rng))
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
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_605_000_000);
    const DOWN: Failure = Failure::Server(None);

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(11)
    }

    fn poll() -> Work {
        Work::Poll(Period::new(POLL_PERIOD, 1_000_000))
    }

    #[test]
    fn what_a_person_waits_for_goes_at_once_and_polls_keep_to_their_moment() {
        assert_eq!(Pacer::first(Work::Person, NOW), NOW);
        let first = Pacer::first(poll(), NOW);
        assert!(first > NOW && first.since(NOW) <= POLL_PERIOD);
        assert_eq!(Pacer::first(poll(), first).since(first), POLL_PERIOD);
        assert_eq!((first.unix_ms() - 1_000_000).rem_euclid(4 * 3_600_000), 0);
    }

    #[test]
    fn retries_of_a_person_keep_to_the_budget_and_the_cap() {
        let (mut pacer, mut rng) = (Pacer::default(), rng());
        let first = pacer.failed(Work::Person, 1, DOWN, NOW, &mut rng);
        assert!(first.since(NOW) <= PERSON_RETRY_BASE);
        for attempts in 2..100 {
            let gap = pacer.failed(Work::Person, attempts, DOWN, NOW, &mut rng).since(NOW);
            assert!((PERSON_RETRY_SPACING..=PERSON_RETRY_CAP).contains(&gap), "{gap:?}");
        }
    }

    #[test]
    fn a_failed_poll_is_tried_again_anywhere_before_its_next_moment_or_then() {
        let (mut pacer, mut rng) = (Pacer::default(), rng());
        let at = Pacer::first(poll(), NOW);
        let next = Pacer::first(poll(), at);
        let again: Vec<Timestamp> = (0..1_000).map(|_| pacer.failed(poll(), 1, DOWN, at, &mut rng)).collect();
        assert!(again.iter().all(|time| *time <= next));
        let early = again.iter().filter(|time| **time < next).count();
        assert!((360..465).contains(&early), "{early}: 210 of 510 minutes");
        assert!(again.iter().all(|time| time.since(at) >= POLL_RETRY_FLOOR));
    }

    #[test]
    fn once_a_server_has_answered_its_failures_hold_no_poll_back() {
        let (mut pacer, mut rng) = (Pacer::default(), rng());
        for attempts in 1..100 {
            pacer.failed(Work::Person, attempts, DOWN, NOW, &mut rng);
        }
        pacer.answered(NOW);
        let is_free = |_| { pacer }.permit(poll(), Network::Free, Duration::ZERO, NOW, &mut rng).is_ok();
        assert!((0..200).all(is_free));
    }

    #[test]
    fn a_poll_that_has_waited_for_the_breaker_goes_whatever_has_failed() {
        let (mut pacer, mut rng) = (Pacer::default(), rng());
        for attempts in 1..100 {
            pacer.failed(Work::Person, attempts, DOWN, NOW, &mut rng);
        }
        let until = pacer.closed_until(NOW).unwrap();
        assert_eq!(pacer.permit(poll(), Network::Free, Duration::ZERO, NOW, &mut rng), Err(until));
        assert_eq!(pacer.permit(poll(), Network::Free, Duration::ZERO, until, &mut rng), Ok(()));
    }

    #[test]
    fn another_pacing_changes_the_waits_and_is_not_kept() {
        let minute = Pacing { poll_retry_cap: MINUTE, person_retry_cap: MINUTE };
        let (mut pacer, mut rng) = (Pacer::new(minute), rng());
        for work in [poll(), Work::Person] {
            for attempts in 1..50 {
                assert!(pacer.failed(work, attempts, DOWN, NOW, &mut rng).since(NOW) <= MINUTE);
            }
        }
        let kept: Pacer = serde_json::from_str(&serde_json::to_string(&pacer).unwrap()).unwrap();
        assert_eq!(kept.pacing, Pacing::default());
        assert_eq!(Pacer { pacing: minute, ..kept }, pacer);
    }

    #[test]
    fn retry_after_is_kept_spread_and_bounded() {
        let (mut pacer, mut rng) = (Pacer::default(), rng());
        let hour = Duration::from_secs(3_600);
        let said = NOW.after(Duration::from_secs(86_400 * 365));
        for retry_after in [RetryAfter::Delay(hour), RetryAfter::Date { at: said.after(hour), said }] {
            let gaps: Vec<Duration> = (0..100)
                .map(|_| pacer.failed(Work::Person, 1, Failure::Server(Some(retry_after)), NOW, &mut rng).since(NOW))
                .collect();
            assert!(gaps.iter().all(|gap| (hour..=hour * 3 / 2).contains(gap)));
            assert!(gaps.iter().any(|gap| *gap > hour * 5 / 4));
        }
        let years = Failure::Server(Some(RetryAfter::Delay(Duration::MAX)));
        assert!(pacer.failed(poll(), 1, years, NOW, &mut rng).since(NOW) <= MAX_WAIT);
        let past = RetryAfter::Date { at: NOW.before(hour), said: NOW };
        assert_eq!(past.delay(), Duration::ZERO);
    }

    #[test]
    fn a_server_that_is_down_is_asked_less_and_less_and_people_still_get_through() {
        let (mut pacer, mut rng) = (Pacer::default(), rng());
        let sent = |pacer: &mut Pacer, rng: &mut ChaCha20Rng, work| {
            (0..200).filter(|_| pacer.permit(work, Network::Free, Duration::ZERO, NOW, rng).is_ok()).count()
        };
        assert_eq!(sent(&mut pacer.clone(), &mut rng, poll()), 200);
        for attempts in 1..=2 {
            pacer.failed(poll(), attempts, DOWN, NOW, &mut rng);
        }
        assert_eq!(pacer.permit(poll(), Network::Free, Duration::ZERO, NOW, &mut rng), Ok(()));
        pacer.failed(poll(), 3, DOWN, NOW, &mut rng);
        assert!(pacer.permit(poll(), Network::Free, Duration::ZERO, NOW, &mut rng).is_err(), "the breaker is open");
        assert_eq!(pacer.permit(Work::Person, Network::Free, Duration::ZERO, NOW, &mut rng), Ok(()));
        for attempts in 4..40 {
            pacer.failed(Work::Person, attempts, DOWN, NOW, &mut rng);
        }
        assert_eq!(sent(&mut pacer, &mut rng, Work::Person), 200, "people are held back by the times between attempts alone");
        pacer.answered(NOW);
        assert_eq!(pacer.closed_until(NOW), None, "an answer closes the breaker");
    }

    #[test]
    fn a_person_who_fails_for_ever_does_not_keep_polls_waiting_for_ever() {
        let (mut pacer, mut rng) = (Pacer::default(), rng());
        let mut now = NOW;
        for attempts in 1..=20 {
            now = pacer.failed(Work::Person, attempts, DOWN, now, &mut rng);
        }
        assert!(pacer.closed_until(now).is_none_or(|until| until <= now));
    }

    #[test]
    fn a_phone_without_a_network_tries_again_soon_and_counts_nothing() {
        let (mut pacer, mut rng) = (Pacer::default(), rng());
        for attempts in 1..50 {
            let again = pacer.failed(Work::Person, attempts, Failure::Offline, NOW, &mut rng);
            assert!(again.since(NOW) <= PERSON_RETRY_CAP);
            let again = pacer.failed(poll(), attempts, Failure::Offline, NOW, &mut rng);
            assert!(if attempts <= MAX_OFFLINE {
                again.since(NOW) <= PERSON_RETRY_CAP
            } else {
                again.since(NOW) >= POLL_RETRY_FLOOR || again == Pacer::first(poll(), NOW)
            });
        }
        assert_eq!(pacer, Pacer::default());
    }

    #[test]
    fn quiet_holds_polls_for_a_day_and_never_what_a_person_waits_for() {
        let (mut pacer, mut rng) = (Pacer::default(), rng());
        assert!(pacer.permit(poll(), Network::Quiet, Duration::ZERO, NOW, &mut rng).is_err());
        assert_eq!(pacer.permit(poll(), Network::Quiet, MAX_QUIET, NOW, &mut rng), Ok(()));
        assert_eq!(pacer.permit(Work::Person, Network::Quiet, Duration::ZERO, NOW, &mut rng), Ok(()));
    }

    #[test]
    fn no_clock_and_no_kept_number_can_stop_it() {
        let mut rng = rng();
        for now in [i64::MIN, -1, 0, i64::MAX].map(Timestamp::from_unix_ms) {
            let mut pacer = Pacer {
                pacing: Pacing { poll_retry_cap: Duration::MAX, person_retry_cap: Duration::MAX },
                requests: f64::NAN,
                accepts: -1e300,
                counted_ms: i64::MIN,
                failures: u32::MAX,
                closed_until_ms: Some(i64::MAX),
            };
            let _ = pacer.permit(poll(), Network::Free, Duration::ZERO, now, &mut rng);
            pacer.failed(poll(), u32::MAX, Failure::Server(Some(RetryAfter::Delay(Duration::MAX))), now, &mut rng);
            pacer.answered(now);
            let _ = Pacer::first(Work::Poll(Period::new(Duration::ZERO, u64::MAX)), now);
        }
    }
}
