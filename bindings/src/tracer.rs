//! The front door for an app.

mod servers;
mod sign_ups;

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use blocking::unblock;
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use vigie::exposure::ExposureId;
use vigie::store::Erasure;
use vigie::tracer::{Driver, TracerError};

use crate::cancel::Cancel;
use crate::check::{Alert, CheckReport, Risk};
use crate::clock::{AppClock, Clock};
use crate::config::Config;
use crate::error::{Input, VigieError};
use crate::event::Event;
use crate::live::Live;
use crate::radio::{Radio, halves};
use crate::status::Status;
use crate::transport::{PhoneTransport, Transport};
use crate::vault::{KeyVault, PhoneVault};

/// The most files that one check takes.
const MAX_FILES: usize = 10_000;

/// A request lasts a minute at most, where a transport keeps to its rules.
const LONGEST_CALL: Duration = Duration::from_secs(65);

/// How often is looked whether all calls have ended.
const LOOK: Duration = Duration::from_millis(5);

/// A contact tracer on one store and one radio. It works in the background from `open` to `shut_down`.
#[derive(uniffi::Object)]
pub struct Tracer {
    /// `None` after the end.
    core: Mutex<Option<Core>>,
    /// Ends whatever lasts.
    ends: Arc<Cancel>,
    transport: Option<Arc<dyn Transport>>,
    has_servers: bool,
    clock: Arc<AppClock>,
    _live: Live,
}

/// Dropped in this order: the driver lets the radio fall silent.
struct Core {
    driver: Driver,
    tracer: Arc<vigie::tracer::Tracer>,
}

impl Core {
    /// Waits for whatever still works with the tracer: a call whose caller has gone, a request that its transport does not end.
    fn end(self, transport: Option<&dyn Transport>) {
        drop(self.driver);
        let start = Instant::now();
        // The last one closes the store, which takes its time: that has to be this one.
        while Arc::strong_count(&self.tracer) > 1 && start.elapsed() < LONGEST_CALL {
            // More than once: a request may begin just after the first.
            transport.inspect(|transport| transport.cancel());
            std::thread::sleep(LOOK);
        }
    }
}

#[uniffi::export]
impl Tracer {
    /// Opens the store, made where there is none, and takes hold of the radio. Nothing is sent or heard before `start`.
    ///
    /// Each part may be left out: without a radio nothing is traced, without a transport no server is asked, without a vault nothing is sealed at rest, and
    /// without a clock the device's is read.
    ///
    /// # Errors
    /// `VigieError::InputInvalid` where the configuration is wrong; `VigieError::Storage`, `VigieError::PermissionNeeded` and
    /// `VigieError::RetryAfter` where the store cannot be used: the last where another process, or another tracer, has it open, or the vault is locked.
    #[uniffi::constructor(default(radio = None, transport = None, vault = None, clock = None))]
    pub async fn open(
        config: Config,
        radio: Option<Arc<dyn Radio>>,
        transport: Option<Arc<dyn Transport>>,
        vault: Option<Arc<dyn KeyVault>>,
        clock: Option<Arc<dyn Clock>>,
    ) -> Result<Arc<Self>, VigieError> {
        unblock(move || open(&config, radio, transport, vault, clock)).await
    }

    /// Begins to send and to hear. Needs no network and no server. Starting twice is no error.
    ///
    /// # Errors
    /// `VigieError::PermissionNeeded` and `VigieError::AdapterUnavailable` where the radio cannot now: tracing is wanted all the same, is tried again
    /// by itself, and an event tells when it works. `VigieError::Storage`: no identifier is sent that could not be kept.
    pub async fn start(&self) -> Result<(), VigieError> {
        self.run(|tracer| {
            tracer.start();
            tracer.step()?;
            match tracer.status()?.radio_problem {
                Some(problem) => Err((&problem).into()),
                None => Ok(()),
            }
        })
        .await
    }

    /// Ends sending and hearing; what was heard is kept.
    ///
    /// # Errors
    /// `VigieError::Storage` where the last encounters could not be kept; they are tried again.
    pub async fn stop(&self) -> Result<(), VigieError> {
        self.run(|tracer| Ok(tracer.stop()?)).await
    }

    /// How it stands.
    ///
    /// # Errors
    /// `VigieError::Storage`.
    pub async fn status(&self) -> Result<Status, VigieError> {
        self.run(|tracer| Ok(tracer.status()?.into())).await
    }

    /// Has the library look at once what is due: for an app that was woken up by the system, or a clock that was set. Never blocks.
    pub fn wake(&self) {
        if let Some(core) = &*self.core() {
            core.tracer.wake();
        }
    }

    /// Matches signed key files against all that was heard, and raises or withdraws alerts: for an app that fetches files itself; files of the servers in
    /// the configuration are matched as they come. A file that cannot be read or verified is reported, and blocks no other.
    ///
    /// # Errors
    /// `VigieError::Storage`; what was matched before stays, and the next check goes on from there.
    #[uniffi::method(default(cancel = None))]
    pub async fn check(&self, files: Vec<String>, cancel: Option<Arc<Cancel>>) -> Result<CheckReport, VigieError> {
        if files.len() > MAX_FILES {
            return Err(VigieError::input(Input::Bytes));
        }
        let ends = self.ends(cancel);
        self.run(move |tracer| {
            let goes_on = |_| if ends() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            Ok(tracer.check(&files, goes_on)?.into())
        })
        .await
    }

    /// What follows from all key files that were matched so far.
    ///
    /// # Errors
    /// `VigieError::Storage`.
    pub async fn risk(&self) -> Result<Risk, VigieError> {
        self.run(|tracer| Ok(tracer.assessment()?.into())).await
    }

    /// The alerts that stand, oldest first.
    ///
    /// # Errors
    /// `VigieError::Storage`.
    pub async fn alerts(&self) -> Result<Vec<Alert>, VigieError> {
        self.run(|tracer| Ok(tracer.alerts()?.into_iter().map(Into::into).collect())).await
    }

    /// Notes that the user has seen an alert.
    ///
    /// # Errors
    /// `VigieError::InputInvalid` where this is no alert's id; `VigieError::Storage`.
    pub async fn acknowledge_alert(&self, id: Vec<u8>) -> Result<(), VigieError> {
        let id = <[u8; 16]>::try_from(id).map_err(|_| VigieError::input(Input::Alert))?;
        self.run(move |tracer| Ok(tracer.acknowledge_alert(ExposureId(id))?)).await
    }

    /// The next event, waited for; none after the end, or where it is cancelled. An event is handed out once: let one part of the app take them.
    #[uniffi::method(default(cancel = None))]
    pub async fn next_event(&self, cancel: Option<Arc<Cancel>>) -> Option<Event> {
        std::future::poll_fn(|context| {
            let is_cancelled = cancel.as_ref().is_some_and(|cancel| cancel.poll(context));
            if is_cancelled || self.ends.poll(context) {
                return Poll::Ready(None);
            }
            // Not held while it waits: whoever ends the tracer waits for nobody.
            let Some(tracer) = self.tracer() else { return Poll::Ready(None) };
            tracer.poll_event(context).map(|event| Some(event.into()))
        })
        .await
    }

    /// Stops, and erases all that was ever kept, for good. Gives whether some of it is still held on the disk by another program that reads the store: it
    /// is erased as soon as that ends.
    ///
    /// # Errors
    /// `VigieError::Storage`; tracing is stopped, and it may be called again.
    pub async fn erase_everything(&self) -> Result<bool, VigieError> {
        self.run(|tracer| Ok(matches!(tracer.erase_everything()?, Erasure::Pending))).await
    }

    /// Ends everything: the radio falls silent, requests end, threads end, `next_event` gives none, and the store can be opened again.
    /// What was kept stays. Waits for calls that are still going on. Every later call throws `VigieError::Internal` with code 2. Twice is no error. Dropping the last reference does the same on a thread of its own, and waits for nothing.
    pub async fn shut_down(&self) {
        if let Some(core) = self.take_core() {
            let transport = self.transport.clone();
            unblock(move || core.end(transport.as_deref())).await;
        }
    }
}

impl Tracer {
    fn core(&self) -> MutexGuard<'_, Option<Core>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tracer(&self) -> Option<Arc<vigie::tracer::Tracer>> {
        self.core().as_ref().map(|core| Arc::clone(&core.tracer))
    }

    /// Does work that waits for the disk, on a thread for such work.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&vigie::tracer::Tracer) -> Result<T, VigieError> + Send + 'static,
    ) -> Result<T, VigieError> {
        let tracer = self.tracer().ok_or(VigieError::SHUT_DOWN)?;
        unblock(move || work(&tracer)).await
    }

    /// Whether a call has to end.
    fn ends(&self, cancel: Option<Arc<Cancel>>) -> impl Fn() -> bool + Send + use<> {
        let ends = Arc::clone(&self.ends);
        move || ends.is_cancelled() || cancel.as_ref().is_some_and(|cancel| cancel.is_cancelled())
    }

    fn take_core(&self) -> Option<Core> {
        self.ends.cancel();
        let core = self.core().take();
        if let (Some(_), Some(transport)) = (&core, &self.transport) {
            transport.cancel();
        }
        core
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let Some(core) = self.take_core() else { return };
        let transport = self.transport.take();
        // Whoever lets go of it may be a thread that must not wait: of a user interface, of a garbage collector, or the tracer's own. Where the system
        // gives no thread, it ends on this one.
        let _ = std::thread::Builder::new().name("vigie-end".into()).spawn(move || core.end(transport.as_deref()));
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("is_open", &self.core().is_some()).finish_non_exhaustive()
    }
}

fn open(
    config: &Config,
    radio: Option<Arc<dyn Radio>>,
    transport: Option<Arc<dyn Transport>>,
    vault: Option<Arc<dyn KeyVault>>,
    clock: Option<Arc<dyn Clock>>,
) -> Result<Arc<Tracer>, VigieError> {
    let servers = config.servers()?;
    let core_config = config.for_core(servers.as_ref())?;
    let clock = Arc::new(clock.map_or(AppClock::Device(vigie::time::SystemClock), AppClock::App));
    let stirred = Arc::new(OnceLock::new());
    let radio = radio.map(|radio| halves(radio, Arc::clone(&clock), Arc::clone(&stirred)));
    let radio = radio.transpose().map_err(TracerError::Thread)?.unwrap_or_default();
    let store = PathBuf::from(&config.store_path);
    let core_clock = Arc::clone(&clock);
    let tracer = Arc::new(match vault {
        Some(vault) => {
            let vault = Arc::new(PhoneVault(vault));
            vigie::tracer::Tracer::open_sealed(core_config, &store, vault, radio, core_clock, chance()?)?
        }
        None => vigie::tracer::Tracer::open(core_config, &store, radio, core_clock, chance()?)?,
    });
    // Set once, here.
    let _ = stirred.set(Arc::downgrade(&tracer));
    let has_servers = servers.is_some() && transport.is_some();
    if let (Some(servers), Some(transport)) = (servers, &transport) {
        let downloads = PathBuf::from(&config.downloads_path);
        let transport = PhoneTransport { transport: Arc::clone(transport), scratch: downloads.join("answer") };
        tracer.connect(servers, Box::new(transport), downloads);
    }
    let core = Core { driver: Driver::spawn(Arc::clone(&tracer))?, tracer };
    Ok(Arc::new(Tracer {
        core: Mutex::new(Some(core)),
        ends: Cancel::new(),
        transport,
        has_servers,
        clock,
        _live: Live::default(),
    }))
}

/// Random numbers, begun with some of the operating system's.
pub(crate) fn chance() -> Result<ChaCha20Rng, VigieError> {
    ChaCha20Rng::try_from_rng(&mut SysRng).map_err(|_| VigieError::NO_CHANCE)
}
