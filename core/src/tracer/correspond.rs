//! Servers: what the courier says is to be sent is sent from here, and what comes back is kept and matched.
//!
//! State and courier are held only while something is decided, never while a server is waited for: neither tracing nor who asks how it stands notices.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Event, FileStatus, Tracer, TracerError, lock};
use crate::courier::pacer::Network;
use crate::courier::{
    self, CompleteFile, Context, Courier, KeyListStatus, Matched, News, Next, ReportDetails, ReportId, ReportStatus, Servers,
    Transport, VerificationCode,
};
use crate::keys::schedule::release;
use crate::store::StoreError;

/// Between two looks where nobody is connected to a server, and where the store fails.
const IDLE: Duration = Duration::from_secs(60);

/// The courier, and what carries its requests. An answer goes to the courier that asked, also where the tracer is connected to others by then.
pub(super) struct Connection {
    pub(super) courier: Mutex<Courier>,
    transport: Mutex<Box<dyn Transport>>,
    /// What the network costs, for the courier's next look.
    network: Mutex<Network>,
    /// Of the state when the courier last looked: where everything was erased since, it has to forget, too.
    life: AtomicU64,
}

impl Tracer {
    /// From now on reports are sent to these servers and key files are fetched from them, with each [`correspond`](Self::correspond). `downloads` is a
    /// folder of its own for files while they are fetched. The files are believed where [`Config::authority_keys`](super::Config), [`add_authority_keys`](Self::add_authority_keys) or the bulletin vouch for them. The bulletin that was kept holds from now on.
    pub fn connect(&self, servers: Servers, transport: Box<dyn Transport>, downloads: PathBuf) {
        let (mut courier, life) = (Courier::new(servers, downloads), self.lock().life);
        // Where the store fails, it is tried again with each answer.
        let _ = self.take_bulletin(&mut courier, life);
        let (courier, transport) = (Mutex::new(courier), Mutex::new(transport));
        let network = Mutex::default();
        *lock(&self.connection) = Some(Arc::new(Connection { courier, transport, network, life: AtomicU64::new(life) }));
        self.wake_correspondence();
    }

    /// Does the next thing that is due with servers: one request and its answer, or one file that is matched. Says after what time it wants to be called
    /// again. It blocks for as long as the transport does; a [`Driver`](super::Driver) has a thread for it.
    ///
    /// # Errors
    /// [`TracerError::Store`]; what was to be done is done with the next call.
    pub fn correspond(&self) -> Result<Duration, TracerError> {
        let _one_at_a_time = lock(&self.corresponding);
        let Some(connection) = self.connection() else { return Ok(IDLE) };
        let now = self.clock.now();
        let (next, life) = {
            let mut courier = lock(&connection.courier);
            courier.set_network(*lock(&connection.network));
            self.with(|state| {
                if connection.life.swap(state.life, Ordering::Relaxed) != state.life {
                    courier.forget_bulletin();
                }
                Ok((courier.next(&mut state.context(now)?)?, state.life))
            })?
        };
        let news = match next {
            Next::Wait(wait) => return Ok(wait),
            Next::Send(errand) => {
                self.waits_for_server.store(true, Ordering::Release);
                let result = lock(&connection.transport).exchange(&errand.request);
                self.waits_for_server.store(false, Ordering::Release);
                if let Err(error) = &result {
                    tracing::debug!(%error, "a server was not reached");
                }
                let mut courier = lock(&connection.courier);
                let news = self.keep_in(life, |context| courier.answered(context, *errand, result))?;
                self.take_bulletin(&mut courier, life)?;
                news
            }
            Next::Match(file) => {
                let matched = self.match_download(&file)?;
                let mut courier = lock(&connection.courier);
                self.keep_in(life, |context| courier.matched(context, &file, matched))?
            }
        };
        news.into_iter().for_each(|news| self.tell(Event::Courier(news)));
        Ok(Duration::ZERO)
    }

    /// Keeps what came back; nothing, where everything has been erased in the meantime.
    fn keep_in(
        &self,
        life: u64,
        keep: impl FnOnce(&mut Context<'_>) -> Result<Vec<News>, StoreError>,
    ) -> Result<Vec<News>, TracerError> {
        let now = self.clock.now();
        self.with(|state| if state.life == life { Ok(keep(&mut state.context(now)?)?) } else { Ok(Vec::new()) })
    }

    fn match_download(&self, file: &CompleteFile) -> Result<Matched, TracerError> {
        let report = self.check(&[&file.file], |_| std::ops::ControlFlow::Continue(()))?;
        Ok(match report.files.first() {
            Some(file) => match &file.status {
                FileStatus::Matched { .. } | FileStatus::AlreadyMatched => Matched::Applied(file.until),
                FileStatus::Refused(error) => {
                    tracing::warn!(%error, "a key file cannot be used");
                    Matched::Refused
                }
                FileStatus::Unfinished => Matched::Unfinished,
            },
            None => Matched::Unfinished,
        })
    }

    /// Reports a diagnosis: ends today's key as [`release_keys`](Self::release_keys) does, and puts all keys of the last 14 days into the outbox, in one
    /// transaction. From then on nothing more is needed of the user, unless the state says so. Needs no network.
    ///
    /// # Errors
    /// [`TracerError::Store`]: then no key has ended and nothing will be sent. [`TracerError::ReportUnderWay`] where an earlier report is not through:
    /// the same keys would be on their way twice.
    pub fn report(&self, code: &VerificationCode, details: ReportDetails) -> Result<ReportId, TracerError> {
        let now = self.clock.now();
        let made = self.with(|state| {
            let under_way = courier::reports(state.store()?)?.into_iter().find(ReportStatus::is_open);
            if let Some(report) = under_way {
                return Err(TracerError::ReportUnderWay { id: report.id });
            }
            let keys = state.store()?.own_keys()?;
            let release = release(&keys, now.interval(), state.watch.believed().interval(), &mut state.rng);
            let id = courier::make_report(&mut state.context(now)?, &release, code, details)?;
            state.go_on_after(&release);
            Ok(id)
        });
        self.wake();
        self.wake_correspondence();
        made
    }

    /// Goes on with a report that needs another code, with the keys and the consent that it has. `false` where it does not need one.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn report_again(&self, id: ReportId, code: &VerificationCode) -> Result<bool, TracerError> {
        let now = self.clock.now();
        let goes_on = self.with(|state| Ok(courier::report_again(&mut state.context(now)?, id, code)?));
        self.wake_correspondence();
        goes_on
    }

    /// Withdraws a report. `false` where its keys may have been sent, or where there is none.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn withdraw_report(&self, id: ReportId) -> Result<bool, TracerError> {
        let now = self.clock.now();
        self.with(|state| Ok(courier::withdraw_report(&mut state.context(now)?, id)?))
    }

    /// The reports of the last 14 days, oldest first.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn reports(&self) -> Result<Vec<ReportStatus>, TracerError> {
        self.with(|state| Ok(courier::reports(state.store()?)?))
    }

    /// How the key lists stand; empty where no server is [connected](Self::connect).
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn key_lists(&self) -> Result<Vec<KeyListStatus>, TracerError> {
        let Some(connection) = self.connection() else { return Ok(Vec::new()) };
        let now = self.clock.now();
        let courier = lock(&connection.courier);
        self.with(|state| Ok(courier.lists(state.store()?, now)?))
    }

    /// Asks for the key lists now, because a person waits for them, and not at this device's moment.
    ///
    /// # Errors
    /// [`TracerError::Store`].
    pub fn sync_now(&self) -> Result<(), TracerError> {
        let Some(connection) = self.connection() else { return Ok(()) };
        let now = self.clock.now();
        let mut courier = lock(&connection.courier);
        self.with(|state| Ok(courier.sync_now(&mut state.context(now)?)?))?;
        drop(courier);
        self.wake_correspondence();
        Ok(())
    }

    /// What the network costs the user from now on; see [`Network`]. Never waits for what is being done with servers.
    pub fn set_network(&self, network: Network) {
        if let Some(connection) = self.connection() {
            *lock(&connection.network) = network;
        }
        self.wake_correspondence();
    }

    pub(super) fn connection(&self) -> Option<Arc<Connection>> {
        lock(&self.connection).clone()
    }

    /// Ends [`sleep_until_correspondence`](Self::sleep_until_correspondence) at once.
    pub(super) fn wake_correspondence(&self) {
        *lock(&self.writes) = true;
        self.to_write.notify_all();
    }

    pub(super) fn sleep_until_correspondence(&self, wait: Duration) {
        let writes = lock(&self.writes);
        let (mut writes, _) =
            self.to_write.wait_timeout_while(writes, wait, |writes| !*writes).unwrap_or_else(PoisonError::into_inner);
        *writes = false;
    }
}
