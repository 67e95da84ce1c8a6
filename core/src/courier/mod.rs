//! Everything that talks to a server: reports of a diagnosis, key lists, decoys, and when any of it is sent.
//!
//! A [`Courier`] is a state machine without input and output. It says what is to be sent next, and takes the answer; the store, the time and the random
//! source are arguments, and who calls it holds the store only while it decides, never while it waits for a server:
//!
//! ```text
//! report, decoy  --> store: outbox ---+
//! index, files   --> store: notes  ---+--> next() --> Errand --> Transport --> answered() --> store, News
//!                                     |
//!                              Pacer: when
//! ```
//!
//! - What is to be sent is durable before its first byte leaves, with everything that is needed to send it again, and goes when its answer is durable.
//! - Everything is sent until it is answered. A server that knows the operation id answers a repeat as it did at first.
//! - Tracing never waits for any of this.
//!
//! Interfaces: [`wire`]. Pacing: [`pacer`]. What carries it: [`Transport`].

mod code;
mod key_list;
pub mod pacer;
mod report;
mod servers;
mod transport;
pub mod wire;

#[cfg(feature = "http")]
mod http;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::keys::TemporaryExposureKey;
use crate::keys::schedule::Release;
use crate::store::{Changes, OutboxEntry, Store, StoreError};
use crate::time::Timestamp;
use key_list::{FileState, ListState};
use pacer::{Failure, MAX_WAIT, Network, Pacer, Work};
use report::{Outcome, Report, Step, Verdict, next_decoy};
use wire::{MAX_KEYS, PublishedKey};

pub use code::{CodeError, VerificationCode};
#[cfg(feature = "http")]
pub use http::{HttpClient, HttpError};
pub use report::{Refusal, ReportDetails};
pub use servers::{KeyList, MAX_SERVERS_FILE, ServerKey, Servers, ServersError};
pub use transport::{Destination, KEPT_HEADERS, Request, Response, TIMEOUT, Transport, TransportError};

/// The longest time between two looks at what is due.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A difference of the clocks that is worth a word: identifiers are matched within two hours, keys change at midnight.
const CLOCK_WARNING_S: i64 = 300;

/// Notes of the store.
const REVISION_TOKEN: &str = "report revision token";
const LOST_KEYS: &str = "report lost keys";
const NEXT_DECOY: &str = "next decoy";

/// Names a report, for an app that asks how it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReportId(pub i64);

/// How a report stands, for an app to show.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReportState {
    /// It goes as soon as there is a network.
    WaitingForNetwork,
    /// It is sent at this time, unless that is past: then it is on its way.
    WaitingUntil(Timestamp),
    /// The clock of this device is ahead by about so many seconds, and the server takes no keys from the future: the user should set it. It is tried
    /// again.
    SetClock {
        /// Seconds that it is ahead.
        ahead_s: i64,
    },
    /// The code was wrong, is too old, or was used up by an answer that got lost. Keys and consent are kept: ask for another code.
    NeedsNewCode,
    /// The keys are published.
    Done {
        /// How many of them the server has taken.
        keys: u32,
    },
    /// It cannot be done.
    Refused(Refusal),
}

/// A report, for an app to show.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportStatus {
    /// Its name.
    pub id: ReportId,
    /// When the user made it.
    pub made_at: Timestamp,
    /// How it stands.
    pub state: ReportState,
}

impl ReportStatus {
    /// Whether something is still to be sent, or a code is needed for it.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, ReportState::Done { .. } | ReportState::Refused(_))
    }
}

/// A key list, for an app to show.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyListStatus {
    /// The address of its index.
    pub index_url: String,
    /// When its index was last seen.
    pub seen_at: Option<Timestamp>,
    /// When it is asked for next.
    pub next_poll: Timestamp,
    /// Until when the newest file reaches that was applied.
    pub newest: Option<Timestamp>,
    /// Files that are still to be fetched or applied.
    pub waiting: usize,
    /// Files that were applied.
    pub done: usize,
    /// Files that cannot be used.
    pub refused: usize,
}

/// Something that came of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// A report stands otherwise than before.
    Report(ReportStatus),
    /// An index has lost files although older ones are still there: somebody has taken them away.
    ListLostFiles {
        /// The address of the index.
        index_url: String,
        /// How many.
        files: usize,
    },
    /// The newest file of a list is more than a day old: its server has stopped, or somebody holds it back.
    ListIsStale {
        /// The address of the index.
        index_url: String,
        /// Until when its newest file reaches.
        newest: Timestamp,
    },
    /// A file cannot be used. The others are not affected.
    FileRefused {
        /// The address of the index.
        index_url: String,
        /// The file, as the index names it.
        path: String,
    },
    /// The clock of this device differs from a server's. It is never set by this, and no key changes its day.
    ClockDiffers {
        /// Seconds that this device is ahead; negative where it is behind.
        ahead_s: i64,
    },
}

/// What is to be done next.
#[derive(Debug)]
pub enum Next {
    /// Send this, and hand what came back to [`Courier::answered`].
    Send(Box<Errand>),
    /// A file is complete: match it, and tell [`Courier::matched`] how that went.
    Match(CompleteFile),
    /// Nothing, for so long.
    Wait(Duration),
}

/// A request, and what it is about.
#[derive(Debug)]
pub struct Errand {
    /// What to send.
    pub request: Request,
    about: About,
    work: Work,
    attempts: u32,
}

#[derive(Debug)]
enum About {
    Report(OutboxEntry),
    Index(usize),
    File(usize, String),
}

/// A key file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteFile {
    /// Where it is.
    pub file: PathBuf,
    list: usize,
    path: String,
    was_continued: bool,
}

/// How matching a file went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matched {
    /// It is applied, and reaches until then, where that is known.
    Applied(Option<Timestamp>),
    /// It cannot be read or verified.
    Refused,
    /// It was stopped; it is matched again.
    Unfinished,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Courier {
    servers: Servers,
    /// A folder for files while they are fetched.
    downloads: PathBuf,
    network: Network,
    /// Somebody waits for the key lists.
    is_awaited: bool,
    /// The difference of the clocks that was told last.
    clock_told: Option<i64>,
}

impl Courier {
    /// A courier for these servers. `downloads` is a folder of its own, made where it is missing, for files while they are fetched.
    pub fn new(servers: Servers, downloads: PathBuf) -> Self {
        Self { servers, downloads, network: Network::default(), is_awaited: false, clock_told: None }
    }

    /// What the network costs the user now.
    pub fn set_network(&mut self, network: Network) {
        self.network = network;
    }

    /// Somebody waits for the key lists: they are asked for at once, as what a person waits for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sync_now(&mut self, store: &mut Store, now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> Result<(), StoreError> {
        self.is_awaited = true;
        for index in 0..self.servers.key_lists.len() {
            let mut state = self.list(store, index, now, rng)?;
            (state.due_ms, state.attempts) = (now.unix_ms(), 0);
            for file in &mut state.files {
                (file.due_ms, file.attempts) = (now.unix_ms(), 0);
            }
            self.keep_list(store, index, &state, Vec::new())?;
        }
        Ok(())
    }

    /// Whether something that a person waits for is still to be done for the key lists.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_syncing(&self, store: &Store) -> Result<bool, StoreError> {
        for list in self.lists(store)? {
            if list.waiting > 0 {
                return Ok(self.is_awaited);
            }
        }
        Ok(self.is_awaited)
    }

    /// What is due, or how long nothing is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next(&mut self, store: &mut Store, now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> Result<Next, StoreError> {
        let mut wait = LONGEST_WAIT;
        self.make_decoys(store, now, &mut wait, rng)?;
        if let Some(next) = self.next_report(store, now, &mut wait, rng)? {
            return Ok(next);
        }
        for index in 0..self.servers.key_lists.len() {
            if let Some(next) = self.next_of_list(index, store, now, &mut wait, rng)? {
                return Ok(next);
            }
        }
        self.is_awaited = false;
        Ok(Next::Wait(wait))
    }

    fn make_decoys(
        &self,
        store: &mut Store,
        now: Timestamp,
        wait: &mut Duration,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(), StoreError> {
        let mean = Duration::from_secs(self.servers.decoy_mean_s);
        let due: Option<Timestamp> = read_note::<i64>(store, NEXT_DECOY)?.map(Timestamp::from_unix_ms);
        let sensible = due.filter(|due| *due <= now.after(mean * 60));
        if let Some(due) = sensible.filter(|due| *due > now) {
            *wait = due.since(now).min(*wait);
            return Ok(());
        }
        // One that fell into a time when the app did not run is left out: a decoy at each start would be a mark of its own.
        let is_on_time = sensible.is_some_and(|due| now.since(due) < LONGEST_WAIT);
        let made = if is_on_time { vec![entry(&Report::decoy(rng), now, rng)] } else { Vec::new() };
        let next = next_decoy(mean, now, rng);
        store.keep_changes(&Changes { made, notes: vec![note(NEXT_DECOY, &next.unix_ms())], ..Changes::default() })?;
        *wait = if is_on_time { Duration::ZERO } else { next.since(now).min(*wait) };
        Ok(())
    }

    fn next_report(
        &self,
        store: &mut Store,
        now: Timestamp,
        wait: &mut Duration,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Option<Next>, StoreError> {
        let mut entries: Vec<OutboxEntry> = store.outbox()?.into_iter().filter(|entry| entry.due.is_some()).collect();
        entries.sort_by_key(|entry| entry.due);
        for mut entry in entries {
            let due = entry.due.unwrap_or(now);
            if let Some(rest) = rest(due, now) {
                *wait = rest.min(*wait);
                continue;
            }
            let Some(report) = Report::decode(&entry.content) else {
                store.keep_changes(&Changes { dropped: vec![entry.id], ..Changes::default() })?;
                continue;
            };
            let request = report.request(&self.servers);
            let (name, mut pacer) = self.pacer(store, &request)?;
            match pacer.permit(Work::Person, self.network, now.since(due), now, rng) {
                Ok(()) => {
                    let attempts = entry.attempts;
                    return Ok(Some(send(request, About::Report(entry), Work::Person, attempts)));
                }
                Err(at) => {
                    entry.due = Some(at);
                    *wait = at.since(now).min(*wait);
                    store.keep_changes(&Changes {
                        changed: vec![entry],
                        notes: vec![note(&name, &pacer)],
                        ..Changes::default()
                    })?;
                }
            }
        }
        Ok(None)
    }

    fn next_of_list(
        &self,
        index: usize,
        store: &mut Store,
        now: Timestamp,
        wait: &mut Duration,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Option<Next>, StoreError> {
        let list = &self.servers.key_lists[index];
        let mut state = self.list(store, index, now, rng)?;
        let work = if self.is_awaited { Work::Person } else { Work::Poll(state.period()) };
        let due = Timestamp::from_unix_ms(state.due_ms);
        let Some(rest_of_index) = rest(due, now) else {
            let request = state.index_request(list);
            let (name, mut pacer) = self.pacer(store, &request)?;
            match pacer.permit(work, self.network, now.since(due), now, rng) {
                Ok(()) => return Ok(Some(send(request, About::Index(index), work, state.attempts))),
                Err(at) => state.due_ms = at.unix_ms(),
            }
            *wait = Timestamp::from_unix_ms(state.due_ms).since(now).min(*wait);
            self.keep_list(store, index, &state, vec![note(&name, &pacer)])?;
            return Ok(None);
        };
        *wait = rest_of_index.min(*wait);
        for place in 0..state.files.len() {
            let file = &state.files[place];
            let FileState::Waiting { from_start } = file.state else { continue };
            let due = Timestamp::from_unix_ms(file.due_ms);
            if let Some(rest) = rest(due, now) {
                *wait = rest.min(*wait);
                continue;
            }
            let complete = key_list::complete(&self.downloads, list, &file.path);
            if complete.exists() {
                // Whether it was continued is not known after a restart: then it is fetched once more where it does not verify.
                let (list, path) = (index, file.path.clone());
                return Ok(Some(Next::Match(CompleteFile { file: complete, list, path, was_continued: !from_start })));
            }
            let request = file.request(list, &self.downloads);
            let (name, mut pacer) = self.pacer(store, &request)?;
            match pacer.permit(work, self.network, now.since(due), now, rng) {
                Ok(()) => return Ok(Some(send(request, About::File(index, file.path.clone()), work, file.attempts))),
                Err(at) => {
                    state.files[place].due_ms = at.unix_ms();
                    *wait = at.since(now).min(*wait);
                    self.keep_list(store, index, &state, vec![note(&name, &pacer)])?;
                }
            }
        }
        Ok(None)
    }

    /// Takes what came back of an errand.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of the answer is kept then, and the same is sent again.
    pub fn answered(
        &mut self,
        store: &mut Store,
        errand: Errand,
        result: Result<Response, TransportError>,
        now: Timestamp,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Vec<News>, StoreError> {
        let mut news = Vec::new();
        let ahead_s = result.as_ref().ok().and_then(Response::date).map_or(0, |date| now.unix_s().saturating_sub(date.unix_s()));
        if ahead_s.abs() > CLOCK_WARNING_S && self.clock_told != Some(ahead_s / CLOCK_WARNING_S) {
            self.clock_told = Some(ahead_s / CLOCK_WARNING_S);
            news.push(News::ClockDiffers { ahead_s });
        }
        match errand.about {
            About::Report(entry) => self.report_answered(store, entry, &errand.request, result, ahead_s, now, rng, &mut news)?,
            About::Index(list) => self.index_answered(store, list, errand.work, &errand.request, result, now, rng, &mut news)?,
            About::File(list, path) => self.file_answered(store, list, &path, errand.work, &errand.request, result, now, rng)?,
        }
        let _ = errand.attempts;
        Ok(news)
    }

    #[expect(clippy::too_many_arguments, reason = "one call, taken apart for reading")]
    fn report_answered(
        &self,
        store: &mut Store,
        entry: OutboxEntry,
        request: &Request,
        result: Result<Response, TransportError>,
        ahead_s: i64,
        now: Timestamp,
        rng: &mut (impl CryptoRng + ?Sized),
        news: &mut Vec<News>,
    ) -> Result<(), StoreError> {
        // Withdrawn, or begun anew with another code, while the answer was on its way.
        let Some(mut report) =
            store.outbox_entry(entry.id)?.filter(|kept| *kept == entry).and_then(|kept| Report::decode(&kept.content))
        else {
            return Ok(());
        };
        let before = status_of(&entry, &report);
        let (name, mut pacer) = self.pacer(store, request)?;
        let mut changes = Changes::default();
        let mut entry = entry;
        let mut failure = match &result {
            Ok(response) if response.is_passing() => Some(Failure::Server(response.retry_after())),
            Ok(_) => None,
            Err(TransportError::Offline) => Some(Failure::Offline),
            Err(_) => Some(Failure::Server(None)),
        };
        if let (None, Ok(response)) = (failure, &result) {
            let token = read_note::<String>(store, REVISION_TOKEN)?.unwrap_or_default();
            let keys = report.keys.clone();
            let verdict = report.answer(response, ahead_s, &self.servers.health_authority_id, &token, rng);
            if verdict.tries_again {
                failure = Some(Failure::Server(response.retry_after()));
            } else {
                pacer.answered(now);
                (entry.attempts, entry.due) = (0, (report.step != Step::Ended).then_some(now));
                apply(&mut changes, verdict, &keys, store, now, rng)?;
            }
        }
        report.is_offline = failure == Some(Failure::Offline);
        if let Some(failure) = failure {
            entry.attempts = entry.attempts.saturating_add(1);
            entry.due = Some(pacer.failed(Work::Person, entry.attempts, failure, now, rng));
        }
        entry.content = report.encode();
        if report.is_decoy && report.step == Step::Ended {
            changes.dropped.push(entry.id);
        } else {
            let after = status_of(&entry, &report);
            news.extend((!report.is_decoy && after != before).then_some(News::Report(after)));
            changes.changed.push(entry);
        }
        changes.notes.push(note(&name, &pacer));
        store.keep_changes(&changes)
    }

    #[expect(clippy::too_many_arguments, reason = "one call, taken apart for reading")]
    fn index_answered(
        &self,
        store: &mut Store,
        index: usize,
        work: Work,
        request: &Request,
        result: Result<Response, TransportError>,
        now: Timestamp,
        rng: &mut (impl CryptoRng + ?Sized),
        news: &mut Vec<News>,
    ) -> Result<(), StoreError> {
        let index_url = self.servers.key_lists[index].index_url.clone();
        let mut state = self.list(store, index, now, rng)?;
        let (name, mut pacer) = self.pacer(store, request)?;
        match result {
            Ok(response) if matches!(response.status, 200 | 304) => {
                pacer.answered(now);
                if response.status == 200 {
                    let lost = state.update(&response.body, now).lost;
                    state.etag = response.header("etag").filter(|etag| etag.len() <= 256).map(str::to_string);
                    news.extend((lost > 0).then(|| News::ListLostFiles { index_url: index_url.clone(), files: lost }));
                }
                (state.seen_ms, state.attempts) = (Some(now.unix_ms()), 0);
                state.due_ms = state.period().next(now).unix_ms();
                if let (true, Some(newest)) = (state.becomes_stale(now), state.newest_ms) {
                    news.push(News::ListIsStale { index_url, newest: Timestamp::from_unix_ms(newest) });
                }
            }
            other => {
                state.attempts = state.attempts.saturating_add(1);
                state.due_ms = pacer.failed(work, state.attempts, failure_of(&other), now, rng).unix_ms();
            }
        }
        self.keep_list(store, index, &state, vec![note(&name, &pacer)])
    }

    #[expect(clippy::too_many_arguments, reason = "one call, taken apart for reading")]
    fn file_answered(
        &self,
        store: &mut Store,
        index: usize,
        path: &str,
        work: Work,
        request: &Request,
        result: Result<Response, TransportError>,
        now: Timestamp,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(), StoreError> {
        let list = &self.servers.key_lists[index];
        let mut state = self.list(store, index, now, rng)?;
        let (name, mut pacer) = self.pacer(store, request)?;
        let Some(file) = state.files.iter_mut().find(|file| file.path == path) else { return Ok(()) };
        let part = key_list::part(&self.downloads, list, path);
        match result {
            Ok(response) if matches!(response.status, 200 | 206) => {
                pacer.answered(now);
                // Where it cannot be moved, it is fetched again.
                let moved = std::fs::rename(&part, key_list::complete(&self.downloads, list, path));
                file.attempts = if moved.is_ok() { 0 } else { file.attempts.saturating_add(1) };
                file.due_ms = if moved.is_ok() { now } else { now.after(LONGEST_WAIT) }.unix_ms();
            }
            other => {
                if matches!(&other, Ok(response) if response.status == 416) {
                    // What is here is longer than the file: it is not the same one.
                    let _ = std::fs::remove_file(&part);
                }
                file.attempts = file.attempts.saturating_add(1);
                file.due_ms = pacer.failed(work, file.attempts, failure_of(&other), now, rng).unix_ms();
            }
        }
        self.keep_list(store, index, &state, vec![note(&name, &pacer)])
    }

    /// Takes how matching a file went, and removes the file where it is of no more use.
    ///
    /// # Errors
    /// [`StoreError`]: then it is matched again, which changes nothing.
    pub fn matched(
        &mut self,
        store: &mut Store,
        file: &CompleteFile,
        matched: Matched,
        now: Timestamp,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Vec<News>, StoreError> {
        let index_url = self.servers.key_lists[file.list].index_url.clone();
        let mut state = self.list(store, file.list, now, rng)?;
        let mut news = Vec::new();
        if let Some(listed) = state.files.iter_mut().find(|listed| listed.path == file.path) {
            listed.state = match matched {
                Matched::Applied(_) => FileState::Done,
                Matched::Refused if file.was_continued => FileState::Waiting { from_start: true },
                Matched::Refused => FileState::Refused,
                Matched::Unfinished => listed.state,
            };
            if listed.state == FileState::Refused {
                news.push(News::FileRefused { index_url, path: file.path.clone() });
            }
        }
        if let Matched::Applied(Some(until)) = matched {
            state.newest_ms = state.newest_ms.max(Some(until.unix_ms()));
        }
        self.keep_list(store, file.list, &state, Vec::new())?;
        if matched != Matched::Unfinished {
            // Where it stays, the next look at it finds it applied.
            let _ = std::fs::remove_file(&file.file);
        }
        Ok(news)
    }

    /// How the key lists stand.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lists(&self, store: &Store) -> Result<Vec<KeyListStatus>, StoreError> {
        let mut lists = Vec::new();
        for list in &self.servers.key_lists {
            let Some(state) = read_note::<ListState>(store, &list_note(list))? else { continue };
            let count = |wanted: fn(FileState) -> bool| state.files.iter().filter(|file| wanted(file.state)).count();
            lists.push(KeyListStatus {
                index_url: list.index_url.clone(),
                seen_at: state.seen_ms.map(Timestamp::from_unix_ms),
                next_poll: Timestamp::from_unix_ms(state.due_ms),
                newest: state.newest_ms.map(Timestamp::from_unix_ms),
                waiting: count(|state| matches!(state, FileState::Waiting { .. })),
                done: count(|state| state == FileState::Done),
                refused: count(|state| state == FileState::Refused),
            });
        }
        Ok(lists)
    }

    /// What is kept of a list. A device draws its moment once.
    fn list(
        &self,
        store: &mut Store,
        index: usize,
        now: Timestamp,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<ListState, StoreError> {
        if let Some(kept) = read_note(store, &list_note(&self.servers.key_lists[index]))? {
            return Ok(kept);
        }
        let state = ListState::new(now, rng);
        self.keep_list(store, index, &state, Vec::new())?;
        Ok(state)
    }

    fn keep_list(
        &self,
        store: &mut Store,
        index: usize,
        state: &ListState,
        mut notes: Vec<(String, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        notes.push(note(&list_note(&self.servers.key_lists[index]), state));
        store.keep_changes(&Changes { notes, ..Changes::default() })
    }

    /// What is remembered of the server of a request, with the name under which it is kept.
    fn pacer(&self, store: &Store, request: &Request) -> Result<(String, Pacer), StoreError> {
        let name = format!("pacer {}", servers::origin(&request.url));
        let pacer = read_note(store, &name)?.unwrap_or_default();
        Ok((name, pacer))
    }
}

/// Makes a report of the keys that `release` hands out, and ends them, in one transaction.
///
/// # Errors
/// [`StoreError`]: then no key has ended and nothing will be sent.
pub fn make_report(
    store: &mut Store,
    release: &Release,
    code: &VerificationCode,
    details: ReportDetails,
    now: Timestamp,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<ReportId, StoreError> {
    let lost = lost_keys(store)?;
    let is_accepted = |key: &&TemporaryExposureKey| !lost.contains(key.as_bytes());
    let mut keys: Vec<PublishedKey> = release.keys.iter().filter(is_accepted).map(PublishedKey::of).collect();
    keys.drain(..keys.len().saturating_sub(MAX_KEYS));
    let mut report = Report::new(keys, details, code, rng);
    if report.keys.is_empty() {
        (report.step, report.outcome) = (Step::Ended, Some(Outcome::Refused(Refusal::NoKeys)));
    }
    let entry = OutboxEntry { due: (report.step != Step::Ended).then_some(now), ..entry(&report, now, rng) };
    let id = ReportId(entry.id);
    store.keep_changes(&Changes { release: Some(release), made: vec![entry], ..Changes::default() })?;
    Ok(id)
}

/// Goes on with a report that needs another code. `false` where it does not, or is not there any more.
///
/// # Errors
/// [`StoreError`].
pub fn report_again(
    store: &mut Store,
    id: ReportId,
    code: &VerificationCode,
    now: Timestamp,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<bool, StoreError> {
    let Some((mut entry, mut report)) = find(store, id)? else { return Ok(false) };
    if report.outcome != Some(Outcome::NeedsNewCode) {
        return Ok(false);
    }
    report.begin(code, rng);
    (entry.content, entry.due, entry.attempts) = (report.encode(), Some(now), 0);
    store.keep_changes(&Changes { changed: vec![entry], ..Changes::default() })?;
    Ok(true)
}

/// Withdraws a report whose keys have not been sent. `false` where they may have been.
///
/// # Errors
/// [`StoreError`].
pub fn withdraw_report(
    store: &mut Store,
    id: ReportId,
    now: Timestamp,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<bool, StoreError> {
    let Some((entry_now, report)) = find(store, id)? else { return Ok(false) };
    let may_go = matches!(report.step, Step::Verify | Step::Certificate) || report.outcome == Some(Outcome::NeedsNewCode);
    if !may_go {
        return Ok(false);
    }
    // What an observer may have seen the beginning of ends like any other.
    let was_seen = report.step == Step::Certificate || (report.step == Step::Verify && entry_now.attempts > 0);
    let tail = was_seen.then(|| entry(&Report::decoy_at(report.step, "", rng), now, rng));
    store.keep_changes(&Changes { dropped: vec![id.0], made: tail.into_iter().collect(), ..Changes::default() })?;
    Ok(true)
}

/// All reports of the last 14 days, oldest first.
///
/// # Errors
/// [`StoreError`].
pub fn reports(store: &Store) -> Result<Vec<ReportStatus>, StoreError> {
    let entries = store.outbox()?;
    let decoded = entries.iter().filter_map(|entry| Some((entry, Report::decode(&entry.content)?)));
    Ok(decoded.filter(|(_, report)| !report.is_decoy).map(|(entry, report)| status_of(entry, &report)).collect())
}

fn find(store: &Store, id: ReportId) -> Result<Option<(OutboxEntry, Report)>, StoreError> {
    let entry = store.outbox_entry(id.0)?;
    Ok(entry
        .and_then(|entry| Report::decode(&entry.content).map(|report| (entry, report)))
        .filter(|(_, report)| !report.is_decoy))
}

fn status_of(entry: &OutboxEntry, report: &Report) -> ReportStatus {
    let state = match (&report.outcome, report.clock_ahead_s) {
        (Some(Outcome::NeedsNewCode), _) => ReportState::NeedsNewCode,
        (Some(Outcome::Done { keys }), _) => ReportState::Done { keys: *keys },
        (Some(Outcome::Refused(refusal)), _) => ReportState::Refused(refusal.clone()),
        (None, Some(ahead_s)) => ReportState::SetClock { ahead_s },
        (None, None) if report.is_offline => ReportState::WaitingForNetwork,
        (None, None) => ReportState::WaitingUntil(entry.due.unwrap_or(entry.made_at)),
    };
    ReportStatus { id: ReportId(entry.id), made_at: entry.made_at, state }
}

/// Adds to a transaction what an answer means beyond the report itself.
fn apply(
    changes: &mut Changes<'_>,
    verdict: Verdict,
    keys: &[PublishedKey],
    store: &Store,
    now: Timestamp,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<(), StoreError> {
    changes.made.extend(verdict.tail.map(|tail| entry(&tail, now, rng)));
    changes.notes.extend(verdict.revision_token.map(|token| note(REVISION_TOKEN, &token)));
    if verdict.keys_are_lost {
        let mut lost = lost_keys(store)?;
        lost.extend(keys.iter().filter_map(|key| Some(*key.parse().ok()?.as_bytes())));
        // A phone makes a few keys a day, and keeps them for 14 days.
        lost.drain(..lost.len().saturating_sub(4 * MAX_KEYS));
        changes.notes.push(note(LOST_KEYS, &lost));
        // What is published from now on begins anew.
        changes.notes.push(note(REVISION_TOKEN, &String::new()));
    }
    Ok(())
}

fn lost_keys(store: &Store) -> Result<Vec<[u8; 16]>, StoreError> {
    Ok(read_note(store, LOST_KEYS)?.unwrap_or_default())
}

fn entry(report: &Report, now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> OutboxEntry {
    let id = (rng.next_u64() >> 1) as i64;
    OutboxEntry { id, made_at: now, due: Some(now), attempts: 0, content: report.encode() }
}

fn send(request: Request, about: About, work: Work, attempts: u32) -> Next {
    Next::Send(Box::new(Errand { request, about, work, attempts }))
}

/// How long until something is due; `None` where it is. What lies further ahead than anything can was timed by a clock that was wrong.
fn rest(due: Timestamp, now: Timestamp) -> Option<Duration> {
    let rest = due.since(now);
    (!rest.is_zero() && rest <= MAX_WAIT).then_some(rest)
}

fn failure_of(result: &Result<Response, TransportError>) -> Failure {
    match result {
        Ok(response) => Failure::Server(response.retry_after()),
        Err(TransportError::Offline) => Failure::Offline,
        Err(_) => Failure::Server(None),
    }
}

fn list_note(list: &KeyList) -> String {
    format!("list {}", list.index_url)
}

fn note(name: &str, content: &impl Serialize) -> (String, Vec<u8>) {
    // Only maps with keys that are no text fail, and there are none.
    (name.to_string(), serde_json::to_vec(content).unwrap_or_default())
}

/// A note that cannot be read is as good as none: it is made anew.
fn read_note<T: for<'a> Deserialize<'a>>(store: &Store, name: &str) -> Result<Option<T>, StoreError> {
    Ok(store.note(name)?.and_then(|content| serde_json::from_slice(&content).ok()))
}
