//! Where the time comes from: the machine, or whoever tells it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Timestamp, millis};

/// Where the time comes from. Two readings, because the wall clock of a phone is set by people and networks and may jump.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary origin that never goes back, that nobody can set, and that goes on while the device sleeps.
    fn monotonic(&self) -> Duration;

    /// Both at one moment: where one goes on and the other does not in between, that looks like a wall clock that was set.
    fn readings(&self) -> (Timestamp, Duration) {
        (self.now(), self.monotonic())
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }

    fn readings(&self) -> (Timestamp, Duration) {
        (**self).readings()
    }
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(d) => Timestamp(millis(d)),
            Err(e) => Timestamp(-millis(e.duration())),
        }
    }

    /// The system's clock that counts sleep: the one in the standard library stops with the processor on Linux, Android and Apple's systems,
    /// and every night would look like a jump of the wall clock.
    #[cfg(unix)]
    fn monotonic(&self) -> Duration {
        use rustix::time::{ClockId, clock_gettime};
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let id = ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let id = ClockId::Monotonic;
        Duration::try_from(clock_gettime(id)).unwrap_or_default()
    }

    /// The performance counter, which counts sleep on Windows.
    #[cfg(not(unix))]
    fn monotonic(&self) -> Duration {
        static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        ORIGIN.get_or_init(std::time::Instant::now).elapsed()
    }
}

/// A clock that stands still until it is told: for simulations, recorded traffic and tests.
///
/// Clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<(Timestamp, Duration)>>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new((now, Duration::ZERO))))
    }

    /// Lets `d` pass: both readings go on.
    pub fn advance(&self, d: Duration) {
        self.update(|(now, monotonic)| {
            *now = now.after(d);
            *monotonic += d;
        });
    }

    /// Lets time pass until the wall clock shows `t`; does nothing where that is past.
    pub fn advance_to(&self, t: Timestamp) {
        self.advance(t.since(self.now()));
    }

    /// Somebody sets the wall clock: no time passes.
    pub fn jump_to(&self, t: Timestamp) {
        self.update(|(now, _)| *now = t);
    }

    fn update<R>(&self, f: impl FnOnce(&mut (Timestamp, Duration)) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.update(|t| t.0)
    }

    fn monotonic(&self) -> Duration {
        self.update(|t| t.1)
    }

    fn readings(&self) -> (Timestamp, Duration) {
        self.update(|t| *t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_jumps_without_time_passing() {
        let clock = ManualClock::new(Timestamp::from_unix_s(100));
        clock.advance(Duration::from_secs(5));
        clock.jump_to(Timestamp::from_unix_s(7));
        assert_eq!(clock.now(), Timestamp::from_unix_s(7));
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
    }

    #[test]
    fn the_system_clock_goes_on() {
        let first = SystemClock.monotonic();
        assert!(SystemClock.monotonic() >= first);
        assert!(SystemClock.now() > Timestamp::from_unix_s(1_600_000_000));
    }
}
