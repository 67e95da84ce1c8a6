//! The two halves of a radio, as the core needs them. Behind each trait stand a computer's adapters (`ble`), a phone's own radio and the
//! simulated air (`sim`).
//!
//! Both are synchronous and are called from one thread at a time. A call may wait for the adapter (up to some seconds), never for the air.

#[cfg(feature = "ble")]
pub mod ble;
#[cfg(feature = "sim")]
pub mod sim;

use std::fmt;
use std::time::Duration;

use crate::beacon::{Frame, ServiceUuid};
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
    /// The adapter that was named is not there.
    #[error("there is no Bluetooth adapter {name}; plug it in, or name another one")]
    NoSuchAdapter {
        /// Its name.
        name: String,
    },
    /// The system's Bluetooth service does not run.
    #[error("the Bluetooth service does not run; start it: systemctl start bluetooth")]
    NoService,
    /// The message bus through which the service is reached does not answer.
    #[error("the system's message bus (D-Bus) does not answer; start it: systemctl start dbus")]
    NoMessageBus,
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

/// What a radio that works does less well than it should. Its text says what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// One packet of each device in about 10 s is heard, not all.
    FewerPackets,
    /// The system sends at another interval than the 200 to 270 ms that were asked for.
    AdvertisingInterval(Duration),
    /// Nobody is connected to, and nobody may connect: it would show the adapter's own address.
    NoConnections,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewerPackets => {
                f.write_str("hears each device once in 10 s, not every packet; start bluetoothd with --experimental")
            }
            Self::AdvertisingInterval(interval) => write!(
                f,
                "sends every {} ms instead of every 200 to 270 ms; start bluetoothd with --experimental",
                interval.as_millis()
            ),
            Self::NoConnections => f.write_str(
                "does not exchange over connections with phones that cannot send service data; \
                 add `Privacy = device` to [General] in /etc/bluetooth/main.conf and restart bluetoothd",
            ),
        }
    }
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

    /// Moves what was heard since the last call into `heard`, in order of time. Never waits. While it does not listen, that is what devices
    /// said over connections.
    ///
    /// # Errors
    /// [`RadioError`] where listening has ended by itself; what was heard before is in `heard`.
    fn take(&mut self, heard: &mut Vec<Sighting>) -> Result<(), RadioError>;

    /// Hears frames of these services from now on, also while it listens, and of no others. A radio that has no choice does nothing.
    fn set_services(&mut self, services: &[ServiceUuid]) {
        let _ = services;
    }

    /// What it does less well than it should, as far as is known by now.
    fn limits(&self) -> Vec<Limit> {
        Vec::new()
    }
}

/// The half that sends.
pub trait Advertiser: Send {
    /// Sends `frame` from now on, under a new random device address. The old frame and the old address end before the new ones begin.
    ///
    /// # Errors
    /// [`RadioError`] where it cannot. Then nothing of the new frame was sent, and the same one may be tried again; whether the old one still is,
    /// is not said: [`stop`](Self::stop) ends it.
    fn advertise(&mut self, frame: Frame) -> Result<(), RadioError>;

    /// Whether the frame of the last [`advertise`](Self::advertise) still goes out under the same address. Never waits.
    ///
    /// # Errors
    /// [`RadioError`] where it does not, or nobody knows. The frame may have been sent and must not be sent again: the next one has to be another.
    fn check(&mut self) -> Result<(), RadioError> {
        Ok(())
    }

    /// Sends the next frame under this service; what is being sent stays as it is. A radio that has no choice does nothing.
    fn set_service(&mut self, service: ServiceUuid) {
        let _ = service;
    }

    /// Stops sending.
    fn stop(&mut self);

    /// What it does less well than it should, as far as is known by now.
    fn limits(&self) -> Vec<Limit> {
        Vec::new()
    }
}

/// The radio of a device. Each half may be missing: then tracing goes on with the other one, and the status says so.
#[derive(Default)]
pub struct Radio {
    /// The half that hears.
    pub scanner: Option<Box<dyn Scanner>>,
    /// The half that sends.
    pub advertiser: Option<Box<dyn Advertiser>>,
}

impl fmt::Debug for Radio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Radio").field("scanner", &self.scanner.is_some()).field("advertiser", &self.advertiser.is_some()).finish()
    }
}
