//! How it stands.

use std::time::Duration;

use crate::radio::RadioProblem;

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Tracing {
    /// Neither sends nor listens.
    Stopped,
    /// Sends and listens, as far as the radio can.
    Running,
    /// Neither sends nor listens, until it goes on.
    Paused,
}

/// How it stands at one moment.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Status {
    /// What the user asked for.
    pub tracing: Tracing,
    /// Whether an identifier is on the air.
    pub is_sending: bool,
    /// Whether the radio listens at this moment; by default it does for 4 s in some minutes.
    pub is_listening: bool,
    /// Why the radio does not do what it should; it is tried again by itself.
    pub radio_problem: Option<RadioProblem>,
    /// Time to the next change of identifier and address.
    pub next_rotation: Option<Duration>,
    /// Encounters kept: one for each scan and identifier.
    pub encounters: u64,
    /// Encounters kept since midnight, UTC.
    pub encounters_today: u64,
    /// Own keys kept.
    pub own_keys: u32,
    /// False for a day after the wall clock leapt forward: then nothing is erased, because everything may look too old.
    pub clock_is_trusted: bool,
    /// Whether something was deleted whose bytes another program still holds on the disk.
    pub erasure_is_pending: bool,
    /// Alerts that the user has not acknowledged.
    pub open_alerts: u32,
    /// How often a part of the library was started again after a panic, since the tracer was opened.
    pub restarts: u32,
}

impl From<vigie::tracer::Status> for Status {
    fn from(status: vigie::tracer::Status) -> Self {
        Self {
            tracing: status.tracing.into(),
            is_sending: status.is_sending,
            is_listening: status.is_listening,
            radio_problem: status.radio_problem.as_ref().map(Into::into),
            next_rotation: status.next_rotation,
            encounters: status.encounters,
            encounters_today: status.encounters_today,
            own_keys: count(status.own_keys),
            clock_is_trusted: status.clock_is_trusted,
            erasure_is_pending: status.erasure_is_pending,
            open_alerts: count(status.open_alerts),
            restarts: status.restarts,
        }
    }
}

impl From<vigie::tracer::Tracing> for Tracing {
    fn from(tracing: vigie::tracer::Tracing) -> Self {
        match tracing {
            vigie::tracer::Tracing::Stopped => Self::Stopped,
            vigie::tracer::Tracing::Running => Self::Running,
            vigie::tracer::Tracing::Paused => Self::Paused,
        }
    }
}

/// Numbers of things on one phone fit.
pub(crate) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
