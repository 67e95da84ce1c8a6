//! What lies between the threads of an app's radio and those of a tracer: what was heard and waits, what is sent, and who is connected to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use vigie::beacon::gatt::{WriteBack, decode_payload};
use vigie::beacon::{Frame, Rssi, ServiceUuid};
use vigie::keys::schedule::MAX_ROTATION;
use vigie::radio::{Advertiser, MeasuredBy, Scanner, Sighting};
use vigie::time::{Clock, Timestamp};
use vigie::tracer::Tracer;

use super::peers::{Peer, Peers};
use super::{Advertisement, Radio, RadioError, RadioProblem, RadioSink, ScanResult};
use crate::clock::AppClock;
use crate::live::Live;

/// Sightings that wait to be fetched, at most: what 1,000 devices send in half a minute. What comes later is lost.
const MAX_WAITING: usize = 100_000;

/// The driver is told to look this often at most because something is heard.
const STIR_PERIOD: Duration = Duration::from_secs(60);

/// Peers that wait to be connected to, at most; others are taken when they are heard again.
const MAX_QUEUED: usize = 64;

/// What lies between the threads of a radio and those of a tracer.
pub(super) struct Air {
    state: Mutex<State>,
    pub(super) clock: Arc<AppClock>,
    /// Whose driver looks at once what is due; none before it is open.
    tracer: Arc<OnceLock<Weak<Tracer>>>,
}

/// What is sent.
struct Own {
    frame: Frame,
    /// On the clock that counts sleep.
    since: Duration,
}

pub(super) struct State {
    heard: Vec<Sighting>,
    pub(super) scanning_failure: Option<RadioProblem>,
    pub(super) advertising_failure: Option<RadioProblem>,
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
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is sent, where it may still be: nobody is told what was left over from before a sleep.
    pub(super) fn own_frame(&self) -> Option<Frame> {
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
    pub(super) fn stir(&self, now: Duration) {
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
    pub(super) fn hear(&mut self, results: Vec<ScanResult>, now: Duration) {
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

    pub(super) fn keep(&mut self, sighting: Sighting) {
        if self.heard.len() < MAX_WAITING {
            self.heard.push(sighting);
        }
    }
}
