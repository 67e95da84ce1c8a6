//! Which key and which identifier are next, and how a key ends when its owner reports.
//!
//! Pure rules: they look at the keys that were kept and say what to keep before anything is sent. Who keeps and sends is `tracer`.
//!
//! - Only the interval decides the identifier. A rotation at a random moment 10 to 20 minutes after the last one always finds a later interval.
//! - A restart or a clock that jumps is a rotation too. An interval of a key is used once: after it only a later one, at most
//!   [`MAX_INTERVALS_AHEAD`] ahead of the clock, which a receiver's two hours of tolerance still accept; where there is none, a new key begins.
//! - A report ends today's key with the current interval, and its successor begins with the next one.

use std::time::Duration;

use rand_core::CryptoRng;

use super::TemporaryExposureKey;
use crate::time::{EnIntervalNumber, INTERVALS_PER_DAY, RETENTION_DAYS};

/// How far ahead of the clock an identifier may be sent, in intervals: the 2 hours that matching tolerates.
/// With more, contacts would be lost; with less, a phone that restarts often would need new keys.
pub const MAX_INTERVALS_AHEAD: u32 = 12;

/// An identifier and the device address live at least this long (Bluetooth Specification v1.2.2, "random address rotation").
pub const MIN_ROTATION: Duration = Duration::from_secs(10 * 60);

/// An identifier and the device address live at most this long.
pub const MAX_ROTATION: Duration = Duration::from_secs(20 * 60);

/// A key of this device, with the latest interval whose identifier was handed to the radio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnKey {
    /// The key.
    pub key: TemporaryExposureKey,
    /// The latest interval whose identifier may have been sent; `None` before the first.
    pub highest_sent: Option<EnIntervalNumber>,
}

impl OwnKey {
    /// Whether the key is older than the days for which keys are kept.
    pub fn is_expired(&self, now: EnIntervalNumber) -> bool {
        self.key.end() <= now.day_start().minus(RETENTION_DAYS * INTERVALS_PER_DAY)
    }

    fn next_interval(&self, now: EnIntervalNumber) -> Option<EnIntervalNumber> {
        let unused = self.highest_sent.map_or(self.key.rolling_start(), |sent| sent.plus(1));
        let interval = now.max(unused);
        (self.key.covers(interval) && interval <= now.plus(MAX_INTERVALS_AHEAD)).then_some(interval)
    }
}

/// What is sent next. It must be kept, durably, before the radio is given its identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// The key, with [`OwnKey::highest_sent`] already at [`Sending::interval`].
    pub own: OwnKey,
    /// The interval whose identifier is sent.
    pub interval: EnIntervalNumber,
    /// Whether the key is new.
    pub is_new_key: bool,
}

/// What a rotation at `now` sends, given all keys of this device in the order in which they were made.
pub fn next_sending(keys: &[OwnKey], now: EnIntervalNumber, rng: &mut (impl CryptoRng + ?Sized)) -> Sending {
    let usable = |own: &OwnKey| own.next_interval(now).map(|interval| (own.key.clone(), interval));
    // The latest key alone: an earlier one for the same time was ended by a report or left behind by a jump of the clock.
    if let Some((key, interval)) = keys.last().and_then(usable) {
        return Sending { own: OwnKey { key, highest_sent: Some(interval) }, interval, is_new_key: false };
    }
    let midnight = now.day_start();
    let is_second_of_day =
        keys.iter().any(|own| own.key.end() > midnight && own.key.rolling_start() < midnight.plus(INTERVALS_PER_DAY));
    let key = TemporaryExposureKey::generate(if is_second_of_day { now } else { midnight }, rng);
    let interval = now.max(key.rolling_start()).min(key.end().minus(1));
    Sending { own: OwnKey { key, highest_sent: Some(interval) }, interval, is_new_key: true }
}

/// A random time to the next rotation, between [`MIN_ROTATION`] and [`MAX_ROTATION`], in milliseconds.
pub fn rotation_delay(rng: &mut (impl CryptoRng + ?Sized)) -> Duration {
    let span = (MAX_ROTATION - MIN_ROTATION).as_millis() as u64 + 1;
    // The bias of this remainder is below 2^-44.
    MIN_ROTATION + Duration::from_millis(rng.next_u64() % span)
}

/// What a release for a report leaves: see [`release`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// All keys to hand out, in the order in which they were made, the running one ended. A publisher holds each back until its end plus 2 hours.
    pub keys: Vec<TemporaryExposureKey>,
    /// The key that the radio changes to, from the next interval on; `None` where none was running today.
    pub successor: Option<TemporaryExposureKey>,
}

/// Ends the running key with the current interval, inclusive, and hands out all keys that are not older than 14 days.
///
/// Where the identifier on the air is ahead of the clock (after restarts), the key ends with that one: what was sent must be found.
///
/// The clock may be wrong by years: `believed` is the time by which keys are 14 days old, `now` the one by which the running key ends. A key of
/// a time that has not come, left by such a clock, is handed out to nobody.
pub fn release(
    keys: &[OwnKey],
    now: EnIntervalNumber,
    believed: EnIntervalNumber,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Release {
    let is_of_its_time =
        |own: &&OwnKey| !own.is_expired(believed) && own.key.rolling_start() <= now.plus(1 + MAX_INTERVALS_AHEAD);
    // A key of which nothing was sent matches nobody.
    let sent = keys.iter().filter(is_of_its_time).filter_map(|own| Some((&own.key, own.highest_sent?)));
    let is_running = sent.clone().any(|(key, _)| key.end() > now);
    Release {
        keys: sent.map(|(key, highest)| key.ended_with(now.max(highest))).collect(),
        successor: is_running.then(|| TemporaryExposureKey::generate(now.plus(1), rng)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    const MIDNIGHT: EnIntervalNumber = EnIntervalNumber::new(2_642_976);

    /// A device whose keys are kept as the store keeps them; fails when an identifier is used twice.
    struct Device {
        keys: Vec<OwnKey>,
        sent: Vec<([u8; 16], EnIntervalNumber)>,
        rng: ChaCha20Rng,
    }

    impl Device {
        fn new() -> Self {
            Self { keys: Vec::new(), sent: Vec::new(), rng: ChaCha20Rng::seed_from_u64(7) }
        }

        fn rotate(&mut self, now: EnIntervalNumber) -> Sending {
            let sending = next_sending(&self.keys, now, &mut self.rng);
            if sending.is_new_key {
                self.keys.push(sending.own.clone());
            } else {
                *self.keys.last_mut().unwrap() = sending.own.clone();
            }
            let identifier = sending.own.key.identifier(sending.interval).0;
            assert!(self.sent.iter().all(|(sent, _)| *sent != identifier), "an identifier was used twice");
            assert!(sending.own.key.covers(sending.interval));
            assert!(sending.interval >= now && sending.interval <= now.plus(MAX_INTERVALS_AHEAD));
            self.sent.push((identifier, sending.interval));
            sending
        }

        fn release(&mut self, now: EnIntervalNumber) -> Release {
            let release = release(&self.keys, now, now, &mut self.rng);
            for own in &mut self.keys {
                if let Some(ended) = release.keys.iter().find(|k| k.as_bytes() == own.key.as_bytes()) {
                    own.key = ended.clone();
                }
            }
            self.keys.extend(release.successor.clone().map(|key| OwnKey { key, highest_sent: None }));
            release
        }
    }

    #[test]
    fn a_key_is_of_its_utc_day_even_when_the_first_rotation_is_late() {
        let mut device = Device::new();
        let first = device.rotate(MIDNIGHT.plus(100));
        assert_eq!((first.own.key.rolling_start(), first.own.key.rolling_period()), (MIDNIGHT, 144));
        assert_eq!(device.rotate(MIDNIGHT.plus(143)).own.key, first.own.key);
        let next_day = device.rotate(MIDNIGHT.plus(145));
        assert!(next_day.is_new_key);
        assert_eq!(next_day.own.key.rolling_start(), MIDNIGHT.plus(144));
        assert_eq!(next_day.interval, MIDNIGHT.plus(145), "only the interval decides the identifier");
    }

    #[test]
    fn restarts_go_ahead_of_the_clock_by_12_intervals_and_then_take_a_new_key() {
        let mut device = Device::new();
        let now = MIDNIGHT.plus(20);
        let first = device.rotate(now).own.key;
        for ahead in 1..=12 {
            let sending = device.rotate(now);
            assert_eq!((sending.interval, &sending.own.key), (now.plus(ahead), &first));
        }
        let fourteenth = device.rotate(now);
        assert!(fourteenth.is_new_key);
        assert_eq!((fourteenth.own.key.rolling_start(), fourteenth.interval), (now, now));
    }

    #[test]
    fn a_clock_that_jumps_never_makes_an_identifier_twice() {
        let mut device = Device::new();
        let year = 365 * INTERVALS_PER_DAY;
        let jumps = [20, 21, 5, 21, 20 + 144, 22, 20 + 10 * year, 23, 23, 143, 144, 143, 0, 1];
        for _ in 0..20 {
            for offset in jumps {
                device.rotate(MIDNIGHT.plus(offset));
            }
        }
        device.rotate(EnIntervalNumber::new(0));
        assert_eq!(device.sent.len(), 20 * jumps.len() + 1);
    }

    #[test]
    fn a_release_ends_the_key_inclusively_and_the_next_one_follows_at_once() {
        let mut device = Device::new();
        let now = MIDNIGHT.plus(50);
        device.rotate(now.minus(1));
        device.rotate(now);
        let release = device.release(now);
        assert_eq!(release.keys.len(), 1);
        assert_eq!((release.keys[0].rolling_start(), release.keys[0].rolling_period()), (MIDNIGHT, 51));
        let next = device.rotate(now);
        assert_eq!(Some(&next.own.key), release.successor.as_ref());
        assert_eq!((next.interval, next.own.key.rolling_start(), next.own.key.rolling_period()), (now.plus(1), now.plus(1), 93));
        let second = device.release(now.plus(2));
        assert_eq!(second.keys.len(), 2, "the kept keys go along again");
        assert_eq!(second.keys[1].rolling_period(), 2);
    }

    #[test]
    fn a_release_ahead_of_the_clock_covers_what_was_sent() {
        let mut device = Device::new();
        let now = MIDNIGHT.plus(50);
        (0..5).for_each(|_| drop(device.rotate(now)));
        let release = device.release(now);
        assert!(device.sent.iter().all(|(_, interval)| release.keys[0].covers(*interval)));
        assert_eq!(release.keys[0].end(), now.plus(5));
        device.rotate(now);
    }

    #[test]
    fn a_release_in_the_last_interval_of_a_day_changes_the_key() {
        let mut device = Device::new();
        let last = MIDNIGHT.plus(143);
        device.rotate(last);
        let release = device.release(last);
        assert_eq!(release.keys[0].rolling_period(), 144);
        assert_eq!(device.rotate(last).own.key.rolling_start(), MIDNIGHT.plus(144));
    }

    #[test]
    fn a_release_without_a_running_key_hands_out_the_kept_ones_and_makes_none() {
        let mut device = Device::new();
        assert_eq!(device.release(MIDNIGHT), Release { keys: vec![], successor: None });
        device.rotate(MIDNIGHT);
        let release = device.release(MIDNIGHT.plus(3 * INTERVALS_PER_DAY));
        assert_eq!((release.keys.len(), release.successor), (1, None));
        assert!(device.release(MIDNIGHT.plus(20 * INTERVALS_PER_DAY)).keys.is_empty(), "older than 14 days");
    }

    #[test]
    fn a_clock_that_is_wrong_by_years_hides_no_key_and_shows_none_of_the_future() {
        let mut device = Device::new();
        device.rotate(MIDNIGHT);
        let wrong = MIDNIGHT.plus(15 * 365 * INTERVALS_PER_DAY);
        device.rotate(wrong);
        let mut released = |now| release(&device.keys, now, MIDNIGHT, &mut device.rng).keys.len();
        assert_eq!((released(wrong), released(MIDNIGHT)), (2, 1));
    }

    #[test]
    fn keys_expire_after_14_whole_days() {
        let own = OwnKey {
            key: TemporaryExposureKey::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6], 2_642_976, 144).unwrap(),
            highest_sent: None,
        };
        assert!(!own.is_expired(MIDNIGHT.plus(15 * INTERVALS_PER_DAY - 1)));
        assert!(own.is_expired(MIDNIGHT.plus(15 * INTERVALS_PER_DAY)));
    }

    #[test]
    fn rotations_are_10_to_20_minutes_apart_and_spread() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let delays: Vec<_> = (0..10_000).map(|_| rotation_delay(&mut rng)).collect();
        assert!(delays.iter().all(|d| (MIN_ROTATION..=MAX_ROTATION).contains(d)));
        let early = delays.iter().filter(|d| d.as_secs() < 15 * 60).count();
        assert!((4_700..5_300).contains(&early), "{early}");
    }
}
