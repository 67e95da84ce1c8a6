//! Limits on guessing: only wrong codes count, by address, and for short codes altogether. A right code of 16 symbols always passes.

use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::group::GroupError;
use crate::rules::Refusal;

/// How many wrong codes are let through.
#[derive(Debug, Clone, Copy)]
pub struct WrongCodes {
    /// From an address in an hour.
    pub by_address: NonZeroU32,
    /// Short codes in an hour, from everywhere. 10^8 codes of which a thousand are good: one guess in a hundred hours comes true.
    pub short: NonZeroU32,
}

impl Default for WrongCodes {
    fn default() -> Self {
        const TEN: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
        const THOUSAND: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);
        Self { by_address: TEN, short: THOUSAND }
    }
}

/// Wrong codes between two looks at which addresses can be forgotten.
const FORGET_EVERY: u32 = 1024;

/// The limits. They live in memory: a restart forgets them.
pub struct Limits<C: Clock = DefaultClock> {
    by_address: RateLimiter<IpAddr, DashMapStateStore<IpAddr>, C, NoOpMiddleware<C::Instant>>,
    short: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    short_closed_until: Mutex<Option<C::Instant>>,
    /// Short codes take turns from the look at the limit to the count, so that a crowd of guesses cannot pass before the first one counts.
    short_turn: tokio::sync::Mutex<()>,
    counted: AtomicU32,
    clock: C,
}

impl Limits {
    /// Limits by the machine's clock.
    pub fn new(wrong: WrongCodes) -> Self {
        Self::with_clock(wrong, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limits<C> {
    /// Limits by this clock.
    pub fn with_clock(wrong: WrongCodes, clock: C) -> Self {
        Self {
            by_address: RateLimiter::dashmap_with_clock(Quota::per_hour(wrong.by_address), clock.clone()),
            short: RateLimiter::direct_with_clock(Quota::per_hour(wrong.short), clock.clone()),
            short_closed_until: Mutex::new(None),
            short_turn: tokio::sync::Mutex::new(()),
            counted: AtomicU32::new(0),
            clock,
        }
    }

    /// Looks a code up where the limits allow it, and counts it where it is wrong.
    ///
    /// # Errors
    /// Those of the look-up, and [`Refusal::QuotaExceeded`].
    pub(super) async fn look_up<T>(
        &self,
        address: IpAddr,
        is_short: bool,
        look_up: impl Future<Output = Result<T, GroupError>>,
    ) -> Result<T, GroupError> {
        let _turn = if is_short { Some(self.short_turn.lock().await) } else { None };
        if is_short && !self.short_codes_are_open() {
            return Err(Refusal::QuotaExceeded.into());
        }
        let given = look_up.await;
        let is_wrong =
            matches!(given, Err(GroupError::Refused(Refusal::CodeInvalid | Refusal::CodeNotFound | Refusal::CodeExpired)));
        if is_wrong && !self.count_wrong_code(address, is_short) {
            return Err(Refusal::QuotaExceeded.into());
        }
        given
    }

    /// Whether short codes are looked up at all: not while there were too many wrong ones.
    fn short_codes_are_open(&self) -> bool {
        let mut closed_until = self.short_closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        if closed_until.is_some_and(|until| self.clock.now() < until) {
            return false;
        }
        *closed_until = None;
        true
    }

    /// Counts a wrong code. Whether it is within the limits.
    fn count_wrong_code(&self, address: IpAddr, is_short: bool) -> bool {
        if self.counted.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.by_address.retain_recent();
        }
        let is_within = self.by_address.check_key(&network(address)).is_ok();
        if !is_short {
            return is_within;
        }
        match self.short.check() {
            Ok(()) => is_within,
            Err(refused) => {
                let until = refused.earliest_possible();
                *self.short_closed_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
                false
            }
        }
    }
}

/// A caller with IPv6 has 2^64 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limits(clock: &FakeRelativeClock) -> Limits<FakeRelativeClock> {
        let five = NonZeroU32::new(5).unwrap();
        Limits::with_clock(WrongCodes { by_address: five, short: NonZeroU32::new(20).unwrap() }, clock.clone())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn wrong_codes_are_counted_by_address_and_forgotten_with_time() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        for _ in 0..5 {
            assert!(limits.count_wrong_code(address("192.0.2.1"), false));
        }
        assert!(!limits.count_wrong_code(address("192.0.2.1"), false));
        assert!(limits.count_wrong_code(address("192.0.2.2"), false));
        clock.advance(Duration::from_secs(3600));
        assert!(limits.count_wrong_code(address("192.0.2.1"), false));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let limits = limits(&FakeRelativeClock::default());
        let within: Vec<bool> =
            (0..8).map(|host| limits.count_wrong_code(address(&format!("2001:db8:1:2::{host:x}")), false)).collect();
        assert_eq!(within, [true, true, true, true, true, false, false, false]);
        assert!(limits.count_wrong_code(address("2001:db8:1:3::1"), false));
    }

    #[tokio::test]
    async fn a_crowd_of_guesses_at_once_is_limited_as_one_after_the_other() {
        let limits = std::sync::Arc::new(limits(&FakeRelativeClock::default()));
        let looked_up = std::sync::Arc::new(AtomicU32::new(0));
        let mut guesses = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (limits, looked_up) = (limits.clone(), looked_up.clone());
            guesses.spawn(async move {
                let wrong = async {
                    looked_up.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    Err::<(), _>(GroupError::Refused(Refusal::CodeNotFound))
                };
                limits.look_up(address("192.0.2.1"), true, wrong).await.is_ok()
            });
        }
        assert!(guesses.join_all().await.iter().all(|is_right| !is_right));
        assert_eq!(looked_up.load(Ordering::Relaxed), 21, "twenty, and the one that closes");
    }

    #[test]
    fn too_many_wrong_short_codes_from_everywhere_close_them_for_a_while() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        for host in 0..20 {
            assert!(limits.count_wrong_code(address(&format!("192.0.2.{host}")), true));
            assert!(limits.short_codes_are_open());
        }
        assert!(!limits.count_wrong_code(address("192.0.2.99"), true));
        assert!(!limits.short_codes_are_open());
        assert!(limits.count_wrong_code(address("192.0.2.99"), false), "long codes are not concerned");
        clock.advance(Duration::from_secs(3600 / 20));
        assert!(limits.short_codes_are_open());
    }
}
