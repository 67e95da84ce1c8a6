//! Simulated air: people who move, radios that hear one another as far as physics lets them, clocks that are wrong.
//!
//! [`Air`] holds the true time and every device. A [`SimDevice`] is one phone; it hands out the [`Scanner`], the [`Advertiser`] and the
//! [`Clock`] that its app is given. Whoever runs a simulation does two things in turn:
//!
//! ```
//! # use std::time::Duration;
//! # use vigie::beacon::Frame;
//! # use vigie::keys::{AssociatedEncryptedMetadata, RollingProximityIdentifier};
//! # use vigie::radio::sim::{Air, AirModel, DeviceModel, Position, Track};
//! # use vigie::radio::{Advertiser, Scanner};
//! # use vigie::time::Timestamp;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let frame = Frame { rpi: RollingProximityIdentifier([7; 16]), aem: AssociatedEncryptedMetadata([0; 4]) };
//! let air = Air::new(AirModel::default(), Timestamp::from_unix_s(1_600_000_000), 42)?;
//! let alice = air.add_device(DeviceModel::default(), Track::still(Position::new(0.0, 0.0))?)?;
//! let bob = air.add_device(DeviceModel::default(), Track::still(Position::new(1.5, 0.0))?)?;
//! let (mut sends, mut hears) = (alice.advertiser(), bob.scanner());
//!
//! sends.advertise(frame)?;                                    // 1. the devices do what is due now
//! hears.start()?;
//! air.advance_to(air.now().after(Duration::from_secs(4)));    // 2. time goes on, to when something is due again
//!
//! let mut heard = Vec::new();
//! hears.take(&mut heard)?;
//! assert!(heard.len() > 10 && heard.iter().all(|sighting| sighting.frame == frame));
//! # Ok(())
//! # }
//! ```
//!
//! The same seed and the same calls give the same [trace](TraceEvent), byte for byte, on every machine and however finely time is cut: times are integers,
//! floating point is used where IEEE 754 leaves one answer, and chance is looked up, not drawn. How strength is worked out is told at [`AirModel`].
//! A simulation is one thread's work; the handles are `Send` and share their air.

mod model;
mod noise;
pub mod scenes;
mod trace;
mod track;
mod world;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Advertiser, RadioError, Scanner, Sighting};
use crate::beacon::{Frame, ServiceUuid};
use crate::time::{Clock, Timestamp};
use world::World;

pub use model::{AirModel, Carried, DeviceModel, SHADOWING_MS};
pub use trace::{DeviceAddress, TraceEvent};
pub use track::{FARTHEST_M, Journey, Position, Track};

/// What is wrong with a simulation that was asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// A parameter of a model is no number, or not one that can be.
    #[error("{what} is {found}, it has to lie in {min} to {max}")]
    Parameter {
        /// Which.
        what: &'static str,
        /// What was given.
        found: f64,
        /// The least allowed.
        min: f64,
        /// The most allowed.
        max: f64,
    },
    /// A position is not finite, or too far away.
    #[error("({x_m}, {y_m}) is not a position within {FARTHEST_M} m")]
    Position {
        /// Metres to the east.
        x_m: f64,
        /// Metres to the north.
        y_m: f64,
    },
    /// A track without a point.
    #[error("a track needs at least one point")]
    EmptyTrack,
    /// A point of a track is not later than the one before.
    #[error("a track goes from {before} to {found}, which is not later")]
    TrackOrder {
        /// Time of the point before.
        before: Timestamp,
        /// Time of the point.
        found: Timestamp,
    },
}

/// The air that all simulated devices share, and the true time. Clones are the same air.
#[derive(Clone)]
pub struct Air(Arc<Mutex<World>>);

impl Air {
    /// Air without devices at the time `start`. All chance comes from `seed`.
    ///
    /// # Errors
    /// [`SimError::Parameter`] where the model cannot be.
    pub fn new(model: AirModel, start: Timestamp, seed: u64) -> Result<Self, SimError> {
        model.check()?;
        Ok(Self(Arc::new(Mutex::new(World::new(model, start, seed)))))
    }

    /// One more device, awake, silent, and on its way.
    ///
    /// # Errors
    /// [`SimError::Parameter`] where the model cannot be.
    pub fn add_device(&self, model: DeviceModel, track: Track) -> Result<SimDevice, SimError> {
        model.check()?;
        let number = self.with(|world| world.add(model, track));
        Ok(SimDevice { air: self.clone(), number })
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        self.with(|world| world.now())
    }

    /// Lets time pass until `t`: whoever listens hears what is sent from now, inclusive, to `t`, exclusive. Does nothing where `t` is past.
    pub fn advance_to(&self, t: Timestamp) {
        self.with(|world| world.advance_to(t));
    }

    /// Begins, or ends, to record what happens; what was recorded and not taken is gone. Nothing is recorded until this is called.
    pub fn record_trace(&self, on: bool) {
        self.with(|world| world.record_trace(on));
    }

    /// What happened since the last call, in order of time. Nothing where no trace is recorded.
    pub fn take_trace(&self) -> Vec<TraceEvent> {
        self.with(World::take_trace)
    }

    fn with<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Air {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Air").finish_non_exhaustive()
    }
}

/// One phone on the air. Clones are the same phone.
#[derive(Debug, Clone)]
pub struct SimDevice {
    air: Air,
    number: u32,
}

impl SimDevice {
    /// Its number in a [trace](TraceEvent): devices are numbered as they are added, from 0.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its half that hears. There is one adapter: two scanners of a device take from the same packets.
    pub fn scanner(&self) -> SimScanner {
        SimScanner(self.clone())
    }

    /// Its half that sends. There is one adapter: two advertisers of a device replace each other's frames.
    pub fn advertiser(&self) -> SimAdvertiser {
        SimAdvertiser(self.clone())
    }

    /// Its clock.
    pub fn clock(&self) -> SimClock {
        SimClock(self.clone())
    }

    /// Its radio goes off: it sends and hears nothing, what it was doing is ended, and its two halves answer [`RadioError::PoweredOff`] until it wakes.
    pub fn sleep(&self) {
        self.with(World::sleep);
    }

    /// Its radio can be used again. It does nothing until it is told to: an old frame is not sent again by itself.
    pub fn wake(&self) {
        self.with(World::wake);
    }

    /// It goes another way. Positions of the past are asked of the new track too, so whoever needs the truth later keeps the old one.
    pub fn set_track(&self, track: Track) {
        self.with(|world, number| world.set_track(number, track));
    }

    /// Where its track has it at a true time.
    pub fn position(&self, at: Timestamp) -> Position {
        self.with(|world, number| world.position(number, at))
    }

    /// Metres to another device at a true time.
    pub fn distance_to(&self, other: &Self, at: Timestamp) -> f64 {
        self.position(at).distance_to(other.position(at))
    }

    fn with<R>(&self, f: impl FnOnce(&mut World, u32) -> R) -> R {
        self.air.with(|world| f(world, self.number))
    }
}

/// The half of a simulated phone that hears. Sightings carry the phone's own, wrong time. When dropped, it stops.
#[derive(Debug)]
pub struct SimScanner(SimDevice);

impl Scanner for SimScanner {
    fn start(&mut self) -> Result<(), RadioError> {
        self.0.with(World::listen)
    }

    fn stop(&mut self) {
        self.0.with(World::end_listening);
    }

    fn take(&mut self, heard: &mut Vec<Sighting>) -> Result<(), RadioError> {
        self.0.with(|world, number| world.take(number, heard))
    }

    fn set_services(&mut self, services: &[ServiceUuid]) {
        self.0.with(|world, number| world.hear_services(number, services));
    }
}

impl Drop for SimScanner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The half of a simulated phone that sends. When dropped, it stops.
#[derive(Debug)]
pub struct SimAdvertiser(SimDevice);

impl Advertiser for SimAdvertiser {
    fn advertise(&mut self, frame: Frame) -> Result<(), RadioError> {
        self.0.with(|world, number| world.transmit(number, frame))
    }

    fn stop(&mut self) {
        self.0.with(World::end_transmission);
    }

    fn set_service(&mut self, service: ServiceUuid) {
        self.0.with(|world, number| world.send_under(number, service));
    }
}

impl Drop for SimAdvertiser {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A simulated phone's clock: too fast or too slow, set wrongly, and moved only by the air.
#[derive(Debug, Clone)]
pub struct SimClock(SimDevice);

impl SimClock {
    /// Somebody sets the wall clock: no time passes, and it goes on from there.
    pub fn jump_to(&self, wall: Timestamp) {
        self.0.with(|world, number| world.set_wall_clock(number, wall));
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.0.with(|world, number| world.wall_clock(number, world.now()))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.with(|world, number| world.monotonic_ms(number)))
    }
}

#[cfg(test)]
mod tests;
