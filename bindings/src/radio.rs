//! The phone's own radio: what the app implements over the system's Bluetooth, and what it hands its results to.
//!
//! ```text
//! Radio     attach, start_scanning, advertise, exchange, ...   called by the library, on its threads, one call at a time; `exchange` beside the others
//! RadioSink heard, wrote, payload, ..._failed                  called by the app, from any thread; never blocks for long
//! ```
//!
//! Nothing the app holds keeps a tracer: a [`RadioSink`] that outlives it takes what it is given and forgets it.

mod air;
mod peers;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use vigie::beacon::gatt::{WriteBack, encode_payload};
use vigie::radio::{MeasuredBy, Sighting};
use vigie::time::{Clock, Timestamp};

use crate::error::{Input, VigieError};
use crate::live::Live;
use air::Air;
pub(crate) use air::halves;

/// What goes out in an advertisement.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
#[uniffi::export(Debug, Display)]
pub struct Advertisement {
    /// The 16-bit UUID of the service.
    pub service: u16,
    /// Its service data: 20 bytes. A system that cannot send any shows the service alone, never both, and serves `RadioSink::payload` over GATT.
    pub service_data: Vec<u8>,
}

/// A packet of another device.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
#[uniffi::export(Debug, Display)]
pub struct ScanResult {
    /// What it said under one of the services; empty where it shows the service alone.
    pub service_data: Vec<u8>,
    /// How strongly it came, in dBm, -127 to 20.
    pub rssi: i8,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The system's name for the device, where it said nothing and can be connected to; forgotten when the tracer is.
    pub peer: Option<String>,
}

/// Why a radio does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum RadioProblem {
    /// The app may not use Bluetooth.
    PermissionNeeded,
    /// The adapter is off.
    PoweredOff,
    /// There is none, or this system cannot do this half.
    Unsupported,
    /// The system refused, with this code of its own.
    Failed {
        /// The system's code; 0 where there is none.
        code: i32,
    },
}

/// What a `Radio` throws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum RadioError {
    /// It cannot now.
    #[error("the radio: {problem:?}")]
    Problem {
        /// Why.
        problem: RadioProblem,
    },
}

/// The phone's Bluetooth. Calls may block for up to 10 s; apart from `RadioError` they throw nothing.
#[uniffi::export(with_foreign)]
pub trait Radio: Send + Sync {
    /// Called once, before anything else: from now on results go to this sink.
    fn attach(&self, sink: Arc<RadioSink>);

    /// Called once, after everything else: lets go of the sink. Nothing is being scanned or sent any more.
    fn detach(&self);

    /// Listens for packets with one of these 16-bit services, and hands all of them over, in batches. Listening already is no error: the services may
    /// be others.
    fn start_scanning(&self, services: Vec<u16>) -> Result<(), RadioError>;

    /// Stops listening, and hands over what was heard until now.
    fn stop_scanning(&self);

    /// Sends this from now on, under a new random device address. What was sent before ends first.
    fn advertise(&self, advertisement: Advertisement) -> Result<(), RadioError>;

    /// Stops sending.
    fn stop_advertising(&self);

    /// Connects to a peer of a `ScanResult`, reads its payload under this service, writes this back, and disconnects. Gives what was read. Where there is
    /// nothing to write back (no bytes), it is only read.
    fn exchange(&self, peer: String, service: u16, write_back: Vec<u8>) -> Result<Vec<u8>, RadioError>;
}

/// Takes what a `Radio` hears.
#[derive(uniffi::Object)]
pub struct RadioSink {
    air: Arc<Air>,
    _live: Live,
}

#[uniffi::export]
impl RadioSink {
    /// Packets were heard. Several at once cost less than one by one.
    pub fn heard(&self, results: Vec<ScanResult>) {
        let now = self.air.clock.monotonic();
        self.air.lock().hear(results, now);
        // The system may have let the app sleep for hours until this was heard; the driver's own waiting does not count them.
        self.air.stir(now);
    }

    /// A peer has written to this device's GATT characteristic; parts of a long write are put together before. Give the peer an error where this throws.
    ///
    /// # Errors
    /// `VigieError::InputInvalid` where it is no write-back.
    pub fn wrote(&self, value: Vec<u8>, at_ms: i64) -> Result<(), VigieError> {
        let WriteBack { frame, rssi } = WriteBack::decode(&value).map_err(|_| VigieError::input(Input::Bytes))?;
        let sighting = Sighting { frame, rssi, measured_by: MeasuredBy::Peer, at: Timestamp::from_unix_ms(at_ms) };
        self.air.lock().keep(sighting);
        Ok(())
    }

    /// What this device's GATT characteristic reads as: 21 bytes, and none while nothing is sent, or where what is sent is too old because the device slept:
    /// then answer with an error, and the peer asks again. Asked for at each read, because it changes.
    pub fn payload(&self) -> Vec<u8> {
        self.air.own_frame().map_or_else(Vec::new, |frame| encode_payload(frame).to_vec())
    }

    /// Listening has ended by itself. It is begun again soon.
    pub fn scanning_failed(&self, problem: RadioProblem) {
        self.air.lock().scanning_failure = Some(problem);
    }

    /// Sending has ended by itself. It is begun again soon, with another identifier.
    pub fn advertising_failed(&self, problem: RadioProblem) {
        self.air.lock().advertising_failure = Some(problem);
    }
}

impl From<uniffi::UnexpectedUniFFICallbackError> for RadioError {
    fn from(_: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Problem { problem: RadioProblem::Failed { code: 0 } }
    }
}

impl From<RadioError> for vigie::radio::RadioError {
    fn from(RadioError::Problem { problem }: RadioError) -> Self {
        problem.into()
    }
}

impl From<RadioProblem> for vigie::radio::RadioError {
    fn from(problem: RadioProblem) -> Self {
        match problem {
            RadioProblem::PermissionNeeded => Self::NotPermitted,
            RadioProblem::PoweredOff => Self::PoweredOff,
            RadioProblem::Unsupported => Self::Unsupported { what: "do this half of tracing" },
            RadioProblem::Failed { code } => Self::Failed { reason: code.to_string() },
        }
    }
}

impl From<&vigie::radio::RadioError> for RadioProblem {
    fn from(error: &vigie::radio::RadioError) -> Self {
        use vigie::radio::RadioError as E;
        match error {
            E::NotPermitted => Self::PermissionNeeded,
            E::PoweredOff => Self::PoweredOff,
            E::NoAdapter | E::Unsupported { .. } => Self::Unsupported,
            E::Failed { reason } => Self::Failed { code: reason.parse().unwrap_or(0) },
            // Those of a computer's adapters.
            _ => Self::Failed { code: 0 },
        }
    }
}

impl fmt::Debug for Advertisement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Advertisement").field("service", &self.service).finish_non_exhaustive()
    }
}

impl fmt::Debug for ScanResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanResult").field("rssi", &self.rssi).finish_non_exhaustive()
    }
}

impl fmt::Debug for RadioSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RadioSink").finish_non_exhaustive()
    }
}
