//! The two halves of a radio, as the core needs them. Behind each trait stand a platform's radio and the simulated air ([`sim`]).
//!
//! Both are synchronous and are called from one thread at a time. A call may wait for the adapter (up to some seconds), never for the air.

#[cfg(feature = "sim")]
pub mod sim;

use crate::beacon::Frame;
use crate::time::Timestamp;

pub use crate::beacon::Rssi;

/// Whose receiver measured an [`Rssi`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeasuredBy {
    /// This device heard the other one.
    Us,
    /// The other device heard this one and wrote it back over GATT.
    Peer,
}

/// One packet of another device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// What it said.
    pub frame: Frame,
    /// How strongly it came.
    pub rssi: Rssi,
    /// Who measured that.
    pub measured_by: MeasuredBy,
    /// When.
    pub at: Timestamp,
}

/// Why a radio does nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RadioError {
    /// There is no adapter.
    #[error("no Bluetooth adapter was found; plug one in")]
    NoAdapter,
    /// The adapter is off.
    #[error("Bluetooth is off; switch it on")]
    PoweredOff,
    /// The app may not use Bluetooth.
    #[error("Bluetooth may not be used; give the permission")]
    NotPermitted,
    /// This system can do the one half but not the other.
    #[error("this system cannot {what}")]
    Unsupported {
        /// What it cannot do, as a verb.
        what: &'static str,
    },
    /// The system's Bluetooth service does not answer, or refused.
    #[error("the Bluetooth service failed: {reason}")]
    Failed {
        /// Its own words, without addresses.
        reason: String,
    },
}

/// The half that hears.
pub trait Scanner: Send {
    /// Begins to listen. Listening already is no error.
    ///
    /// # Errors
    /// [`RadioError`] where it cannot; it may be tried again.
    fn start(&mut self) -> Result<(), RadioError>;

    /// Stops listening. What was heard can still be taken.
    fn stop(&mut self);

    /// Moves what was heard since the last call into `heard`, in order of time. Never waits.
    ///
    /// # Errors
    /// [`RadioError`] where listening has ended by itself; what was heard before is in `heard`.
    fn take(&mut self, heard: &mut Vec<Sighting>) -> Result<(), RadioError>;
}

/// The half that sends.
pub trait Advertiser: Send {
    /// Sends `frame` from now on, under a new random device address. The old frame and the old address end before the new ones begin.
    ///
    /// # Errors
    /// [`RadioError`] where it cannot. Then nothing of the new frame was sent, and the same one may be tried again; whether the old one still is,
    /// is not said: [`stop`](Self::stop) ends it.
    fn advertise(&mut self, frame: Frame) -> Result<(), RadioError>;

    /// Stops sending.
    fn stop(&mut self);
}

/// The radio of a device. Each half may be missing: then tracing goes on with the other one, and the status says so.
#[derive(Default)]
pub struct Radio {
    /// The half that hears.
    pub scanner: Option<Box<dyn Scanner>>,
    /// The half that sends.
    pub advertiser: Option<Box<dyn Advertiser>>,
}

impl std::fmt::Debug for Radio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Radio").field("scanner", &self.scanner.is_some()).field("advertiser", &self.advertiser.is_some()).finish()
    }
}
