//! How it stands, for an app to show.

use std::time::Duration;

use crate::radio::{Limit, RadioError};

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracing {
    /// Neither sends nor listens.
    Stopped,
    /// Sends and listens, as far as the radio can.
    Running,
    /// Neither sends nor listens, until it is resumed.
    Paused,
}

/// How it stands at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What the user asked for.
    pub tracing: Tracing,
    /// Whether an identifier is on the air.
    pub is_sending: bool,
    /// Whether the radio listens at this moment; with [`Scanning::Periodic`](super::Scanning) it does for 4 s in some minutes.
    pub is_listening: bool,
    /// Why the radio does not do what it should; it is tried again by itself.
    pub radio_problem: Option<RadioError>,
    /// What the radio does less well than it should.
    pub radio_limits: Vec<Limit>,
    /// Time to the next change of identifier and address.
    pub next_rotation: Option<Duration>,
    /// Encounters kept: one for each scan and identifier.
    pub encounters: u64,
    /// Encounters kept since midnight, UTC.
    pub encounters_today: u64,
    /// Own keys kept.
    pub own_keys: usize,
    /// False for a day after the wall clock leapt forward: then nothing is erased, because everything may look too old.
    pub clock_is_trusted: bool,
    /// Whether something was deleted whose bytes another program still holds on the disk.
    pub erasure_is_pending: bool,
    /// Alerts that the user has not acknowledged.
    pub open_alerts: usize,
    /// How often a part of the library was started again after a panic, since the tracer was opened.
    pub restarts: u32,
}
