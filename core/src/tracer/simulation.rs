//! Many tracers on one simulated air: each is stepped when it asked to be, and the air goes on in between.
//!
//! Deterministic: the same phones, calls and seeds give the same traffic, encounters and alerts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand_core::CryptoRng;

use super::{Config, Tracer, TracerError};
use crate::radio::Radio;
use crate::radio::sim::{Air, DeviceModel, SimDevice, SimError, Track};
use crate::time::Timestamp;

/// A phone in a [`Simulation`]: a simulated radio and clock, and the real tracer on it.
#[derive(Debug)]
pub struct Phone {
    /// Its radio, clock and position.
    pub device: SimDevice,
    /// Its tracer, with a store in memory.
    pub tracer: Tracer,
}

/// Phones on one air.
#[derive(Debug)]
pub struct Simulation {
    air: Air,
    phones: Vec<Phone>,
    due: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

impl Simulation {
    /// A simulation without phones.
    pub fn new(air: Air) -> Self {
        Self { air, phones: Vec::new(), due: BinaryHeap::new() }
    }

    /// One more device on this air.
    ///
    /// # Errors
    /// As [`Air::add_device`].
    pub fn add_device(&self, model: DeviceModel, track: Track) -> Result<SimDevice, SimError> {
        self.air.add_device(model, track)
    }

    /// Puts a tracer on a device of this air, and gives its number. It does nothing before it is started.
    ///
    /// # Errors
    /// [`TracerError::Store`] where there is no memory.
    pub fn add_phone(
        &mut self,
        device: SimDevice,
        config: Config,
        rng: impl CryptoRng + Send + 'static,
    ) -> Result<usize, TracerError> {
        let radio = Radio { scanner: Some(Box::new(device.scanner())), advertiser: Some(Box::new(device.advertiser())) };
        let tracer = Tracer::open_in_memory(config, radio, device.clock(), rng)?;
        self.phones.push(Phone { device, tracer });
        Ok(self.phones.len() - 1)
    }

    /// The phones, by number.
    pub fn phones(&self) -> &[Phone] {
        &self.phones
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        self.air.now()
    }

    /// Lets time pass until `end`. Every phone is stepped at its beginning, so that what was asked of it since is done.
    ///
    /// # Errors
    /// [`TracerError`] of the first phone that fails.
    pub fn run_until(&mut self, end: Timestamp) -> Result<(), TracerError> {
        let now = self.air.now();
        self.due = (0..self.phones.len()).map(|number| Reverse((now, number))).collect();
        while let Some(Reverse((due, number))) = self.due.pop().filter(|Reverse((due, _))| *due <= end) {
            self.air.advance_to(due);
            let wait = self.phones[number].tracer.step()?;
            // A phone whose clock is fast may ask for no time at all; a millisecond is what time is counted in.
            self.due.push(Reverse((due.after(wait.max(std::time::Duration::from_millis(1))), number)));
        }
        self.air.advance_to(end);
        Ok(())
    }
}
