//! Time, for tests of an app: a phone's own clock needs nothing of this.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use vigie::time::Timestamp;

use crate::live::Live;

/// Where the time comes from. An app gives none, and the device's clocks are read.
///
/// May not throw: what is thrown is a panic of whoever asked.
#[uniffi::export(with_foreign)]
pub trait Clock: Send + Sync {
    /// The wall clock, in milliseconds since 1970, UTC.
    fn now_ms(&self) -> i64;

    /// Milliseconds since an arbitrary origin, on a clock that nobody can set and that goes on while the device sleeps.
    fn monotonic_ms(&self) -> u64;
}

/// A clock that stands still until it is told; `Tracer::wake` has a tracer look at it.
#[derive(Debug, uniffi::Object)]
pub struct ManualClock {
    clock: vigie::time::ManualClock,
    _live: Live,
}

#[uniffi::export]
impl ManualClock {
    /// A clock that shows so many milliseconds since 1970.
    #[uniffi::constructor]
    pub fn new(now_ms: i64) -> Arc<Self> {
        Arc::new(Self { clock: vigie::time::ManualClock::new(Timestamp::from_unix_ms(now_ms)), _live: Live::default() })
    }

    /// Lets so many milliseconds pass.
    pub fn advance(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }
}

#[uniffi::export]
impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        vigie::time::Clock::now(&self.clock).unix_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(vigie::time::Clock::monotonic(&self.clock).as_millis()).unwrap_or(u64::MAX)
    }
}

/// The clock of an app, or else that of the device.
pub(crate) enum AppClock {
    Device(vigie::time::SystemClock),
    App(Arc<dyn Clock>),
}

impl vigie::time::Clock for AppClock {
    fn now(&self) -> Timestamp {
        match self {
            Self::Device(clock) => clock.now(),
            Self::App(clock) => Timestamp::from_unix_ms(clock.now_ms()),
        }
    }

    fn monotonic(&self) -> Duration {
        match self {
            Self::Device(clock) => clock.monotonic(),
            Self::App(clock) => Duration::from_millis(clock.monotonic_ms()),
        }
    }
}

impl fmt::Debug for AppClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device(_) => "AppClock::Device",
            Self::App(_) => "AppClock::App",
        })
    }
}
