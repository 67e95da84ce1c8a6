//! One instance of Vigie on real adapters: a tracer that is stepped in a thread, with a look at what its radio is told and tells.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tempfile::TempDir;
use vigie::beacon::Frame;
use vigie::diagnosis::PublicKey;
use vigie::radio::ble::{self, Form, Options};
use vigie::radio::{Advertiser, Limit, Radio, RadioError, Scanner, Sighting};
use vigie::time::{Clock, SystemClock, Timestamp};
use vigie::tracer::{Config, Scanning, Status, Tracer};

/// So much faster than the real one goes the clock of most tests: an interval lasts 10 s.
const SPEED: u32 = 60;

/// A clock that may go [`SPEED`] times as fast. Clones show the same time.
#[derive(Clone)]
pub(crate) struct FastClock {
    speed: u32,
    wall: Timestamp,
    monotonic: Duration,
    origin: Instant,
}

impl FastClock {
    pub(crate) fn new() -> Self {
        Self::with_speed(SPEED)
    }

    pub(crate) fn with_speed(speed: u32) -> Self {
        // Noon of today: an hour of testing stays within the day.
        let today = SystemClock.now().date().first_interval().start();
        Self { speed, wall: today.after(Duration::from_secs(12 * 3600)), ..Self::real() }
    }

    /// One that goes as fast as the real one, and shows the real time.
    pub(crate) fn real() -> Self {
        Self { speed: 1, wall: SystemClock.now(), monotonic: SystemClock.monotonic(), origin: Instant::now() }
    }
}

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        self.wall.after(self.origin.elapsed() * self.speed)
    }

    fn monotonic(&self) -> Duration {
        self.monotonic + self.origin.elapsed() * self.speed
    }
}

/// What passed between a tracer and its radio.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) sent: Vec<Frame>,
    pub(crate) heard: Vec<(Instant, Sighting)>,
}

struct Tap<T>(T, Arc<Mutex<Log>>);

/// A radio that cannot see: it is told what others say over connections, and never listens.
struct Blind(Box<dyn Scanner>);

impl Scanner for Blind {
    fn start(&mut self) -> Result<(), RadioError> {
        Ok(())
    }

    fn stop(&mut self) {}

    fn take(&mut self, heard: &mut Vec<Sighting>) -> Result<(), RadioError> {
        self.0.take(heard)
    }
}

impl Scanner for Tap<Box<dyn Scanner>> {
    fn start(&mut self) -> Result<(), RadioError> {
        self.0.start()
    }

    fn stop(&mut self) {
        self.0.stop();
    }

    fn take(&mut self, heard: &mut Vec<Sighting>) -> Result<(), RadioError> {
        let first = heard.len();
        let taken = self.0.take(heard);
        let now = Instant::now();
        self.1.lock().unwrap().heard.extend(heard[first..].iter().map(|sighting| (now, *sighting)));
        taken
    }

    fn limits(&self) -> Vec<Limit> {
        self.0.limits()
    }
}

impl Advertiser for Tap<Box<dyn Advertiser>> {
    fn advertise(&mut self, frame: Frame) -> Result<(), RadioError> {
        self.0.advertise(frame)?;
        self.1.lock().unwrap().sent.push(frame);
        Ok(())
    }

    fn check(&mut self) -> Result<(), RadioError> {
        self.0.check()
    }

    fn stop(&mut self) {
        self.0.stop();
    }

    fn limits(&self) -> Vec<Limit> {
        self.0.limits()
    }
}

/// How a device is made.
#[derive(Clone)]
pub(crate) struct Setup {
    /// `None` is the system's first.
    pub(crate) adapter: Option<String>,
    pub(crate) form: Form,
    pub(crate) listens: bool,
    pub(crate) authority: Option<PublicKey>,
    /// `None` is a new one.
    pub(crate) store: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { adapter: None, form: Form::Frame, listens: true, authority: None, store: None }
    }
}

impl Setup {
    pub(crate) fn on(adapter: &str) -> Self {
        Self { adapter: Some(adapter.to_owned()), ..Self::default() }
    }
}

/// A running instance; dropping it stops it.
pub(crate) struct Device {
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) log: Arc<Mutex<Log>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Device {
    pub(crate) fn start(setup: &Setup, clock: &FastClock) -> Self {
        let log = Arc::<Mutex<Log>>::default();
        let options = Options { adapter: setup.adapter.clone(), form: setup.form, ..Options::default() };
        let radio = ble::open(options, Arc::new(clock.clone())).unwrap();
        let tap = |scanner: Box<dyn Scanner>| {
            let scanner = if setup.listens { scanner } else { Box::new(Blind(scanner)) };
            Box::new(Tap(scanner, Arc::clone(&log))) as Box<dyn Scanner>
        };
        let radio = Radio {
            scanner: radio.scanner.map(tap),
            advertiser: radio.advertiser.map(|advertiser| Box::new(Tap(advertiser, Arc::clone(&log))) as Box<dyn Advertiser>),
        };
        let mut config = Config::default();
        config.scanning = Scanning::Continuous;
        config.authority_keys = setup.authority.iter().cloned().collect();
        let folder = tempfile::tempdir().unwrap();
        let store = setup.store.clone().unwrap_or_else(|| folder.path().join("store"));
        let rng = ChaCha20Rng::try_from_rng(&mut rand::rngs::SysRng).unwrap();
        let tracer = Arc::new(Tracer::open(config, &store, radio, clock.clone(), rng).unwrap());
        tracer.start();
        let ends = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (tracer, ends, speed) = (Arc::clone(&tracer), Arc::clone(&ends), clock.speed);
            move || {
                while !ends.load(Ordering::Acquire) {
                    let wait = tracer.step().unwrap();
                    std::thread::sleep((wait / speed).min(Duration::from_millis(100)));
                }
            }
        });
        Self { tracer, log, ends, thread: Some(thread), _folder: folder }
    }

    pub(crate) fn status(&self) -> Status {
        self.tracer.status().unwrap()
    }

    /// All that this device has sent so far.
    pub(crate) fn sent(&self) -> Vec<Frame> {
        self.log.lock().unwrap().sent.clone()
    }

    /// What it heard of another device.
    pub(crate) fn heard_of(&self, other: &Self) -> Vec<(Instant, Sighting)> {
        let sent = other.sent();
        let log = self.log.lock().unwrap();
        log.heard.iter().filter(|(_, sighting)| sent.contains(&sighting.frame)).copied().collect()
    }

    /// Writes what is still in memory to the store.
    pub(crate) fn flush(&self) {
        self.tracer.pause().unwrap();
        self.tracer.resume();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || joined.is_none_or(|joined| joined.is_ok()), "a device's thread panicked");
    }
}

/// Machines are shared: what a quiet one does in a time may take this much longer.
const PATIENCE: u32 = 4;

/// Waits until something holds, so long on a quiet machine; says what did not.
pub(crate) fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let (start, limit) = (Instant::now(), limit * PATIENCE);
    while !holds() {
        assert!(start.elapsed() < limit, "within {} s it did not come about that {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
    start.elapsed()
}
