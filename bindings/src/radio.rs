//! The phone's own radio: what the app implements over the system's Bluetooth, and what it hands its results to.
//!
//! ```text
//! Radio     attach, start_scanning, advertise, exchange, ...   called by the library, on its threads, one call at a time; `exchange` beside the others
//! RadioSink heard, wrote, payload, ..._failed                  called by the app, from any thread; never blocks for long
//! ```
//!
//! Nothing the app holds refers back to a tracer: a [`RadioSink`] that outlives it takes what it is given and forgets it.

mod peers;
#[cfg(test)]
mod tests;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use vigie::beacon::gatt::{WriteBack, decode_payload, encode_payload};
use vigie::beacon::{Frame, Rssi, ServiceUuid};
use vigie::keys::schedule::MAX_ROTATION;
use vigie::radio::{Advertiser, MeasuredBy, Scanner, Sighting};
use vigie::time::{Clock, Timestamp};
use vigie::tracer::Tracer;

use crate::clock::AppClock;
use crate::error::{Input, VigieError};
use crate::live::Live;
use peers::{Peer, Peers};

/// Sightings that wait to be fetched, at most: what 1,000 devices send in half a minute. What comes later is lost.
const MAX_WAITING: usize = 100_000;

/// The driver is told to look this often at most because something is heard.
const STIR_PERIOD: Duration = Duration::from_secs(60);

/// Peers that wait to be connected to, at most; others are taken when they are heard again.
const MAX_QUEUED: usize = 64;

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

/// What lies between the threads of a radio and those of a tracer.
struct Air {
    state: Mutex<State>,
    clock: Arc<AppClock>,
    /// Whose driver looks at once what is due; none before it is open.
    tracer: Arc<OnceLock<Weak<Tracer>>>,
}

/// What is sent.
struct Own {
    frame: Frame,
    /// On the clock that counts sleep.
    since: Duration,
}

struct State {
    heard: Vec<Sighting>,
    scanning_failure: Option<RadioProblem>,
    advertising_failure: Option<RadioProblem>,
    own: Option<Own>,
    /// Under which one peers are read.
    service: u16,
    /// When the driver was last told to look, on the clock that counts sleep.
    stirred: Duration,
    peers: Peers,
    /// Peers whose turn comes; `None` at the end.
    queue: Option<SyncSender<Peer>>,
}

/// The two halves of an app's radio, for a tracer.
pub(crate) fn halves(
    radio: Arc<dyn Radio>,
    clock: Arc<AppClock>,
    tracer: Arc<OnceLock<Weak<Tracer>>>,
) -> Result<vigie::radio::Radio, std::io::Error> {
    let (queue, peers) = sync_channel(MAX_QUEUED);
    let state = Mutex::new(State {
        heard: Vec::new(),
        scanning_failure: None,
        advertising_failure: None,
        own: None,
        service: ServiceUuid::default().0,
        stirred: clock.monotonic(),
        peers: Peers::new(),
        queue: Some(queue),
    });
    let air = Arc::new(Air { state, clock, tracer });
    let hold = Arc::new(Hold { radio, air });
    std::thread::Builder::new().name("vigie-exchange".into()).spawn({
        let (radio, air) = (Arc::clone(&hold.radio), Arc::clone(&hold.air));
        move || exchange(&*radio, &air, &peers)
    })?;
    hold.radio.attach(Arc::new(RadioSink { air: Arc::clone(&hold.air), _live: Live::default() }));
    let scanner = PhoneScanner { hold: Arc::clone(&hold), services: Vec::new(), is_listening: false };
    Ok(vigie::radio::Radio {
        scanner: Some(Box::new(scanner)),
        advertiser: Some(Box::new(PhoneAdvertiser { hold, service: ServiceUuid::default() })),
    })
}

/// Both halves hold the radio; when both are gone, it is told.
struct Hold {
    radio: Arc<dyn Radio>,
    air: Arc<Air>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.air.lock().queue = None;
        // What an app throws here in the midst of a panic would end it.
        let _ = catch_unwind(AssertUnwindSafe(|| self.radio.detach()));
    }
}

struct PhoneScanner {
    hold: Arc<Hold>,
    services: Vec<u16>,
    is_listening: bool,
}

impl Scanner for PhoneScanner {
    fn start(&mut self) -> Result<(), vigie::radio::RadioError> {
        self.hold.air.lock().scanning_failure = None;
        self.hold.radio.start_scanning(self.services.clone())?;
        self.is_listening = true;
        Ok(())
    }

    fn stop(&mut self) {
        self.is_listening = false;
        self.hold.radio.stop_scanning();
    }

    fn take(&mut self, heard: &mut Vec<Sighting>) -> Result<(), vigie::radio::RadioError> {
        let mut state = self.hold.air.lock();
        heard.append(&mut state.heard);
        match state.scanning_failure.take() {
            Some(problem) if self.is_listening => Err(problem.into()),
            _ => Ok(()),
        }
    }

    fn set_services(&mut self, services: &[ServiceUuid]) {
        self.services = services.iter().map(|service| service.0).collect();
        if let Some(service) = services.first() {
            self.hold.air.lock().service = service.0;
        }
        if self.is_listening {
            // Where that fails, listening has ended, and is begun anew with the others.
            if let Err(RadioError::Problem { problem }) = self.hold.radio.start_scanning(self.services.clone()) {
                self.hold.air.lock().scanning_failure = Some(problem);
            }
        }
    }
}

struct PhoneAdvertiser {
    hold: Arc<Hold>,
    service: ServiceUuid,
}

impl Advertiser for PhoneAdvertiser {
    fn advertise(&mut self, frame: Frame) -> Result<(), vigie::radio::RadioError> {
        let service = self.service.0;
        // Nobody reads the old frame under the new address.
        self.hold.air.lock().own = None;
        self.hold.radio.advertise(Advertisement { service, service_data: frame.to_bytes().to_vec() })?;
        let since = self.hold.air.clock.monotonic();
        let mut state = self.hold.air.lock();
        (state.own, state.service, state.advertising_failure) = (Some(Own { frame, since }), service, None);
        Ok(())
    }

    fn check(&mut self) -> Result<(), vigie::radio::RadioError> {
        self.hold.air.lock().advertising_failure.take().map_or(Ok(()), |problem| Err(problem.into()))
    }

    fn set_service(&mut self, service: ServiceUuid) {
        self.service = service;
    }

    fn stop(&mut self) {
        self.hold.air.lock().own = None;
        self.hold.radio.stop_advertising();
    }
}

/// Connects to one peer after the other, on a thread of its own: a peer that makes it wait keeps nobody from being heard.
fn exchange(radio: &dyn Radio, air: &Air, peers: &Receiver<Peer>) {
    while let Ok(peer) = peers.recv() {
        let write_back = air.own_frame().map_or_else(Vec::new, |frame| WriteBack { frame, rssi: peer.rssi }.encode().to_vec());
        let service = air.lock().service;
        let answer = radio.exchange(peer.name.clone(), service, write_back);
        let frame = answer.ok().and_then(|payload| decode_payload(&payload).ok());
        let now = air.clock.monotonic();
        let mut state = air.lock();
        state.peers.asked(&peer.name, frame, now);
        if let Some(frame) = frame {
            state.keep(Sighting { frame, rssi: peer.rssi, measured_by: MeasuredBy::Us, at: peer.at });
        }
    }
}

impl Air {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is sent, where it may still be: nobody is told what was left over from before a sleep.
    fn own_frame(&self) -> Option<Frame> {
        let now = self.clock.monotonic();
        let own = self.lock().own.as_ref().map(|own| (own.frame, now.saturating_sub(own.since)));
        match own {
            Some((_, age)) if age > MAX_ROTATION => {
                self.stir(now);
                None
            }
            own => own.map(|(frame, _)| frame),
        }
    }

    /// Has the driver look at once what is due, where it was not told to for a while.
    fn stir(&self, now: Duration) {
        {
            let mut state = self.lock();
            if now.saturating_sub(state.stirred) < STIR_PERIOD {
                return;
            }
            state.stirred = now;
        }
        if let Some(tracer) = self.tracer.get().and_then(Weak::upgrade) {
            tracer.wake();
        }
    }
}

impl State {
    fn hear(&mut self, results: Vec<ScanResult>, now: Duration) {
        for result in results {
            let (rssi, at) = (Rssi(result.rssi), Timestamp::from_unix_ms(result.at_ms));
            let frame = match result.peer {
                Some(name) if result.service_data.is_empty() => self.peer_shown(Peer { name, rssi, at }, now),
                _ => Frame::from_service_data(&result.service_data).ok(),
            };
            if let Some(frame) = frame.filter(|_| rssi.is_valid()) {
                self.keep(Sighting { frame, rssi, measured_by: MeasuredBy::Us, at });
            }
        }
    }

    /// A device without a frame: what it said over an earlier connection, or else it is connected to.
    fn peer_shown(&mut self, peer: Peer, now: Duration) -> Option<Frame> {
        if let Some(frame) = self.peers.known(&peer.name, now) {
            return frame;
        }
        let name = peer.name.clone();
        match self.queue.as_ref()?.try_send(peer) {
            Ok(()) => self.peers.asked(&name, None, now),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
        None
    }

    fn keep(&mut self, sighting: Sighting) {
        if self.heard.len() < MAX_WAITING {
            self.heard.push(sighting);
        }
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
