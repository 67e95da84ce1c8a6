//! Time, for tests of an app: a phone's own clock needs nothing of this.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use vigie::time::Timestamp;

use crate::live::Live;

/// Both clocks of a device, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct ClockReadings {
    /// The wall clock, in milliseconds since 1970, UTC.
    pub now_ms: i64,
    /// Milliseconds since an arbitrary origin, on a clock that nobody can set and that goes on while the device sleeps.
    pub monotonic_ms: u64,
}

/// Where the time comes from. An app gives none, and the device's clocks are read.
#[uniffi::export(with_foreign)]
pub trait Clock: Send + Sync {
    /// The time. May not throw: what is thrown is a panic of whoever asked.
    fn read(&self) -> ClockReadings;
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
    fn read(&self) -> ClockReadings {
        let (now, monotonic) = vigie::time::Clock::readings(&self.clock);
        ClockReadings { now_ms: now.unix_ms(), monotonic_ms: u64::try_from(monotonic.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// The clock of an app, or else that of the device.
pub(crate) enum AppClock {
    Device(vigie::time::SystemClock),
    App(Arc<dyn Clock>),
}

impl vigie::time::Clock for AppClock {
    fn now(&self) -> Timestamp {
        self.readings().0
    }

    fn monotonic(&self) -> Duration {
        self.readings().1
    }

    fn readings(&self) -> (Timestamp, Duration) {
        match self {
            Self::Device(clock) => clock.readings(),
            Self::App(clock) => {
                let ClockReadings { now_ms, monotonic_ms } = clock.read();
                (Timestamp::from_unix_ms(now_ms), Duration::from_millis(monotonic_ms))
            }
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
