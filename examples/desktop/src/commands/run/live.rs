//! The tracer at work, and the threads that bring [`News`] of it. Nothing here draws or prints, so that nothing here waits for a terminal.
//!
//! ```text
//! "vigie"         the driver: steps the tracer
//! "vigie-status"  asks how it stands, passes its events on, pauses and resumes it
//! "vigie-keys"    looks into the folder with key files, and checks what is new
//! "vigie-servers" asks an address for the servers, until it gives them
//! "vigie-lists"   looks how reports and key lists stand; the driver's own thread talks to the servers
//! ```

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use vigie::time::{Clock, SystemClock};
use vigie::tracer::{Driver, Status, Tracer, TracerError, Tracing};

use super::finder::Finder;
use super::key_folder::{KeyFolder, LOOK};
use super::model::News;
use super::nearby::{self, Nearby};
use super::notice::Notice;
use crate::commands::bulletin::{Sheet, users_language};
use crate::commands::standing::{List, Report};
use crate::servers::Address;

/// How often it is asked how it stands, where no event comes before.
const BEAT: Duration = Duration::from_millis(500);

/// News that wait for a terminal which does not take them; then the threads wait, the tracer does not.
const MAX_WAITING: usize = 256;

/// Files that are matched with one look at what was heard.
const FILES_AT_ONCE: usize = 64;

/// Time from one look at reports and key lists to the next.
const LOOK_AT_LISTS: Duration = Duration::from_secs(1);

/// At its end it waits so long for threads that talk to a server, so that the store is closed; what a server holds up longer is not waited for.
const LAST_ANSWER: Duration = Duration::from_millis(500);

/// Progress of a check is told this often.
const PROGRESS: Duration = Duration::from_millis(200);

/// A tracer that runs.
pub(super) struct Live {
    tracer: Arc<Tracer>,
    /// `None` once it has ended.
    driver: Option<Driver>,
    threads: Vec<JoinHandle<()>>,
    ends: Arc<AtomicBool>,
    news: Option<Receiver<News>>,
    wishes: Sender<Wish>,
}

/// What the user asks of the tracer.
enum Wish {
    PauseOrResume,
}

/// Servers that were named.
pub(super) struct Wanted {
    pub(super) address: Address,
    /// They are connected: read from a file, or as they were kept.
    pub(super) has_kept: bool,
    pub(super) store: PathBuf,
}

impl Live {
    /// Starts tracing.
    pub(super) fn start(
        tracer: Tracer,
        nearby: Arc<Mutex<Nearby>>,
        keys: Option<&Path>,
        servers: Option<Wanted>,
    ) -> anyhow::Result<Self> {
        let tracer = Arc::new(tracer);
        let (to, news) = sync_channel(MAX_WAITING);
        let (wishes, wished) = channel();
        let driver = Driver::spawn(Arc::clone(&tracer)).context("tracing cannot be started")?;
        let mut live = Self { tracer, driver: Some(driver), threads: Vec::new(), ends: Arc::default(), news: Some(news), wishes };
        live.tracer.start();
        let watch = Watch { tracer: Arc::clone(&live.tracer), nearby, ends: Arc::clone(&live.ends), to: to.clone() };
        live.spawn("vigie-status", move || watch.run(&wished))?;
        if let Some(wanted) = servers {
            live.find(wanted, &to)?;
            let lists = Lists { tracer: Arc::downgrade(&live.tracer), ends: Arc::clone(&live.ends), to: to.clone() };
            // Not joined at the end: it may have to wait for a server.
            thread::Builder::new().name("vigie-lists".into()).spawn(move || lists.run()).context("the system gives no thread")?;
        }
        if let Some(folder) = keys.map(KeyFolder::new) {
            let checker = Checker { tracer: Arc::clone(&live.tracer), folder, ends: Arc::clone(&live.ends), to };
            live.spawn("vigie-keys", move || checker.run())?;
        }
        Ok(live)
    }

    /// The next news, waited for at most `patience`.
    pub(super) fn news(&self, patience: Duration) -> Option<News> {
        self.news.as_ref()?.recv_timeout(patience).ok()
    }

    /// Pauses what runs, resumes what is paused. The radio may take some seconds, so that it is done elsewhere.
    pub(super) fn pause_or_resume(&self) {
        // Where the thread has ended, tracing has, too.
        let _ = self.wishes.send(Wish::PauseOrResume);
    }

    /// Ends tracing, writes what was heard, closes the store, and says how it stood.
    pub(super) fn finish(mut self) -> Result<Status, TracerError> {
        self.end_threads();
        let stopped = self.tracer.stop();
        self.driver = None;
        let began = Instant::now();
        while Arc::strong_count(&self.tracer) > 1 && began.elapsed() < LAST_ANSWER {
            thread::sleep(Duration::from_millis(5));
        }
        stopped?;
        self.tracer.status()
    }

    /// An address is asked, also where it gave something before. Not joined at the end: it may have to wait for a server.
    fn find(&self, wanted: Wanted, to: &SyncSender<News>) -> anyhow::Result<()> {
        let Wanted { address, has_kept, store } = wanted;
        if matches!(address, Address::File(_)) {
            return Ok(());
        }
        let (tracer, ends) = (Arc::downgrade(&self.tracer), Arc::clone(&self.ends));
        let finder = Finder { tracer, address, store, has_kept, ends, to: to.clone() };
        thread::Builder::new().name("vigie-servers".into()).spawn(move || finder.run()).context("the system gives no thread")?;
        Ok(())
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        let thread = thread::Builder::new().name(name.into()).spawn(work).context("the system gives no thread")?;
        self.threads.push(thread);
        Ok(())
    }

    fn end_threads(&mut self) {
        self.ends.store(true, Ordering::Release);
        // Whoever waits for room in the channel goes on with an error.
        self.news = None;
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A panic was told by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end_threads();
    }
}

/// Asks how the tracer stands.
struct Watch {
    tracer: Arc<Tracer>,
    nearby: Arc<Mutex<Nearby>>,
    ends: Arc<AtomicBool>,
    to: SyncSender<News>,
}

impl Watch {
    /// Until it is to end, or nobody wants to know.
    fn run(self, wished: &Receiver<Wish>) {
        let mut assessed_on = None;
        while !self.ends.load(Ordering::Acquire) {
            // What is too old for a risk changes at midnight.
            let today = SystemClock.now().date();
            let mut news: Vec<_> = wished.try_iter().filter_map(|Wish::PauseOrResume| self.pause_or_resume().err()).collect();
            if assessed_on.replace(today) != Some(today) {
                news.push(self.tracer.assessment().map_or_else(failed, |assessment| News::Assessed(Box::new(assessment))));
            }
            news.extend(self.events());
            let devices = || nearby::lock(&self.nearby).devices(SystemClock.now());
            news.push(self.tracer.status().map_or_else(failed, |status| News::Seen(Box::new(status), devices())));
            if news.into_iter().any(|news| self.to.send(news).is_err()) {
                return;
            }
        }
    }

    fn events(&self) -> Vec<News> {
        let mut events: Vec<_> = self.tracer.wait_event(BEAT).into_iter().collect();
        events.extend(std::iter::from_fn(|| self.tracer.next_event()));
        if events.iter().any(|event| matches!(event, vigie::tracer::Event::ClockJumped(_))) {
            nearby::lock(&self.nearby).clear();
        }
        events.into_iter().map(News::Told).collect()
    }

    fn pause_or_resume(&self) -> Result<(), News> {
        match self.tracer.status().map_err(failed)?.tracing {
            Tracing::Paused => self.tracer.resume(),
            _ => self.tracer.pause().map_err(failed)?,
        }
        Ok(())
    }
}

fn failed(error: TracerError) -> News {
    News::StoreFailed(Notice::because(error))
}

/// Looks how reports and key lists stand.
struct Lists {
    tracer: Weak<Tracer>,
    ends: Arc<AtomicBool>,
    to: SyncSender<News>,
}

impl Lists {
    /// Until it is to end, or nobody wants to know.
    fn run(self) {
        let mut applied = 0;
        while let Some(tracer) = self.tracer.upgrade().filter(|_| !self.ends.load(Ordering::Acquire)) {
            let news = Self::look(&tracer, &mut applied).unwrap_or_else(|error| vec![failed(error)]);
            drop(tracer);
            if news.into_iter().any(|news| self.to.send(news).is_err()) {
                return;
            }
            thread::sleep(LOOK_AT_LISTS);
        }
    }

    /// `applied` is how many files were at the last look: where there are more, what follows from them may be new.
    fn look(tracer: &Tracer, applied: &mut usize) -> Result<Vec<News>, TracerError> {
        let lists: Vec<_> = tracer.key_lists()?.iter().map(List::from).collect();
        let now = SystemClock.now();
        let reports = tracer.reports()?.iter().map(|report| Report::of(report, now)).collect();
        let before = std::mem::replace(applied, lists.iter().map(|list| list.applied).sum());
        let mut news = vec![News::Corresponded { lists, reports }];
        news.extend(tracer.bulletin().map(|kept| News::Bulletin(Box::new(Sheet::of(&kept, &users_language())))));
        if *applied != before {
            news.push(News::Assessed(Box::new(tracer.assessment()?)));
        }
        Ok(news)
    }
}

/// Checks key files as they come.
struct Checker {
    tracer: Arc<Tracer>,
    folder: KeyFolder,
    ends: Arc<AtomicBool>,
    to: SyncSender<News>,
}

impl Checker {
    fn run(mut self) {
        while !self.ends.load(Ordering::Acquire) {
            if self.look().is_break() {
                return;
            }
            thread::park_timeout(LOOK);
        }
    }

    /// Breaks where nobody wants to know any more.
    fn look(&mut self) -> ControlFlow<()> {
        let look = match self.folder.look() {
            Ok(look) => look,
            Err(error) => {
                return self.send(News::KeysFailed(Some(Notice::because(format!("the folder cannot be read: {error}")))));
            }
        };
        let mut problem = look
            .is_crowded
            .then(|| "there are too many files in the folder, and some are not looked at; move old ones away".to_owned());
        for files in look.ready.chunks(FILES_AT_ONCE) {
            let mut told = Instant::now();
            let checked = self.tracer.check(files, |at| {
                if told.elapsed() >= PROGRESS && at.keys > 0 {
                    told = Instant::now();
                    // Whether it is still wanted is seen below.
                    let _ = self.to.send(News::Checking { keys_done: at.keys_done, keys: at.keys });
                }
                if self.ends.load(Ordering::Acquire) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match checked {
                Ok(report) => self.send(News::Checked(Box::new(report)))?,
                Err(error) => {
                    self.folder.put_back(files);
                    problem = Some(Notice::because(error));
                }
            }
        }
        self.send(News::KeysFailed(problem))
    }

    fn send(&self, news: News) -> ControlFlow<()> {
        self.to.send(news).map_or(ControlFlow::Break(()), ControlFlow::Continue)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use vigie::courier::{Destination, Request, Response, Servers, Transport, TransportError};
    use vigie::diagnosis::{DiagnosisKey, ExportHeader, SigningKey, write_export};
    use vigie::keys::TemporaryExposureKey;
    use vigie::radio::Radio;
    use vigie::time::ManualClock;
    use vigie::tracer::Config;

    use super::*;
    use crate::commands::run::tests::NOW;

    const SERVERS: &str = r#"{"verification_url":"https://a","api_key":"k","publish_url":"https://b","health_authority_id":"h",
        "key_lists":[{"index_url":"https://c/index.txt","base_url":"https://c"}],"public_keys":[]}"#;

    /// A key list with one file.
    struct OneFile(Vec<u8>);

    impl Transport for OneFile {
        fn exchange(&mut self, request: &Request) -> Result<Response, TransportError> {
            let mut response = Response { status: 200, ..Response::default() };
            match &request.destination {
                Destination::Memory { .. } => response.body = b"keys.zip\n".to_vec(),
                Destination::File { path, .. } => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, &self.0).unwrap();
                }
            }
            Ok(response)
        }
    }

    #[test]
    fn a_list_is_looked_at_again_and_again_and_what_follows_is_told_when_a_file_was_applied() {
        let authority = SigningKey::generate().unwrap();
        let key = TemporaryExposureKey::new(b"0123456789abcdef", i64::from(NOW.interval().day_start().number()), 144).unwrap();
        let keys = [DiagnosisKey { key, report_type: None, days_since_onset: Some(0), transmission_risk: 0 }];
        let file =
            write_export(&ExportHeader { start: NOW, end: NOW, ..ExportHeader::default() }, &keys, &[], &authority).unwrap();
        let mut config = Config::default();
        config.authority_keys.push(authority.public_key().clone());
        let rng = ChaCha20Rng::seed_from_u64(1);
        let tracer = Tracer::open_in_memory(config, Radio::default(), ManualClock::new(NOW), rng).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let servers = Servers::from_json(SERVERS.as_bytes()).unwrap();
        tracer.connect(servers, Box::new(OneFile(file)), folder.path().join("downloads"));
        tracer.sync_now().unwrap();

        let mut applied = 0;
        let news = Lists::look(&tracer, &mut applied).unwrap();
        assert!(matches!(&news[..], [News::Corresponded { lists, .. }] if lists[0].seen_at.is_none()), "{news:?}");
        while tracer.correspond().unwrap().is_zero() {}
        let news = Lists::look(&tracer, &mut applied).unwrap();
        let [News::Corresponded { lists, reports }, News::Assessed(_)] = &news[..] else { unreachable!("{news:?}") };
        assert_eq!((lists[0].seen_at, lists[0].applied, lists[0].waiting, reports.len()), (Some(NOW), 1, 0, 0));
        assert_eq!(Lists::look(&tracer, &mut applied).unwrap().len(), 1, "nothing new follows");
    }
}
