//! The poll: asked for in the device's own moment, kept with its exact bytes.
//!
//! ```text
//! note "bulletin URL"        when it is due, the highest serial, what the server called it (ETag)
//! note "bulletin file URL"   the exact bytes of the one that was accepted last
//! ```

use std::sync::Arc;
use std::time::Duration;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use super::signature::document;
use super::{Bulletin, BulletinError, KeptBulletin, MAX_BULLETIN, verify};
use crate::courier::pacer::{POLL_PERIOD, Period, Work};
use crate::courier::servers::BulletinServer;
use crate::courier::transport::{Destination, Request, TransportError};
use crate::courier::{About, Answer, Context, Courier, News, Next, failure_of, note, read_note, rest, send};
use crate::store::{Changes, Store, StoreError};
use crate::time::Timestamp;

/// The bulletin as a courier knows it.
#[derive(Debug, Default)]
pub(in crate::courier) struct Fetched {
    kept: Option<KeptBulletin>,
    /// Whether it was looked for in the store.
    is_read: bool,
}

/// What is kept beside the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PollState {
    /// Draws this device's moment in the period.
    random: u64,
    etag: Option<String>,
    due_ms: i64,
    attempts: u32,
    /// When somebody asked for it who still waits.
    #[serde(default)]
    asked_ms: Option<i64>,
    /// When the one that is kept was last seen at its server.
    seen_ms: Option<i64>,
    /// The highest that was ever accepted, also where its file is of no use any more.
    serial: u64,
    /// SHA-256 of that document, as hexadecimal.
    digest: String,
    /// The refusal that was told last.
    refused: Option<String>,
}

impl PollState {
    fn new(now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let random = rng.next_u64();
        let due_ms = Period::new(POLL_PERIOD, random).next(now).unix_ms();
        Self {
            random,
            etag: None,
            due_ms,
            attempts: 0,
            asked_ms: None,
            seen_ms: None,
            serial: 0,
            digest: String::new(),
            refused: None,
        }
    }

    /// Told once, not with each poll or repeat; whoever waits is always told.
    fn refuse(&mut self, reason: BulletinError, work: Work, news: &mut Vec<News>) {
        let words = Some(reason.to_string());
        if self.refused != words || (work == Work::Person && self.attempts <= 1) {
            news.push(News::BulletinRefused { reason });
        }
        self.refused = words;
    }

    /// Always the built-in one, so that a period that was a mistake can be taken back soon.
    fn period(&self) -> Period {
        Period::new(POLL_PERIOD, self.random)
    }
}

impl Courier {
    /// The bulletin that holds; `None` where there is none, or no server of one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn bulletin(&mut self, store: &Store) -> Result<Option<&KeptBulletin>, StoreError> {
        if let (false, Some(server)) = (self.bulletin.is_read, &self.servers.bulletin) {
            self.bulletin.kept = read_kept(store, server)?;
        }
        self.bulletin.is_read = true;
        Ok(self.bulletin.kept.as_ref())
    }

    /// Everything was erased: what is held in memory goes, too.
    pub(crate) fn forget_bulletin(&mut self) {
        self.bulletin = Fetched::default();
    }

    /// Somebody waits for the bulletin: it is asked for at once, but no sooner than its server wants to be asked again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn fetch_bulletin_now(&mut self, context: &mut Context<'_>) -> Result<(), StoreError> {
        let Some(server) = &self.servers.bulletin else { return Ok(()) };
        let mut state = read_state(context, server)?;
        (state.due_ms, state.attempts) = (self.at_once(context, &server.url)?.unix_ms(), 0);
        state.asked_ms = Some(context.now.unix_ms());
        keep(context.store, server, &state, Vec::new())
    }

    /// The time between two polls of the key lists.
    pub(in crate::courier) fn list_period(&self) -> Duration {
        let kept = self.bulletin.kept.as_ref();
        kept.and_then(|kept| kept.bulletin.configuration.poll_period()).unwrap_or(POLL_PERIOD)
    }

    pub(in crate::courier) fn next_bulletin(
        &mut self,
        context: &mut Context<'_>,
        wait: &mut Duration,
    ) -> Result<Option<Next>, StoreError> {
        self.bulletin(context.store)?;
        let Some(server) = &self.servers.bulletin else { return Ok(None) };
        let mut state = read_state(context, server)?;
        let due = Timestamp::from_unix_ms(state.due_ms);
        if let Some(rest) = rest(due, context.now) {
            *wait = rest.min(*wait);
            return Ok(None);
        }
        let work = Work::polled(state.period(), state.asked_ms.map(Timestamp::from_unix_ms), context.now);
        // Who has lost the file needs it again, and not that it has not changed.
        let etag = state.etag.clone().filter(|_| self.bulletin.kept.is_some());
        let request = request(server, etag);
        let (name, mut pacer) = self.pacer(context.store, &request.url)?;
        match pacer.permit(work, self.network, context.now.since(due), context.now, context.rng) {
            Ok(()) => return Ok(Some(send(request, About::Bulletin, work))),
            Err(at) => state.due_ms = at.unix_ms(),
        }
        *wait = Timestamp::from_unix_ms(state.due_ms).since(context.now).min(*wait);
        keep(context.store, server, &state, vec![note(&name, &pacer)])?;
        Ok(None)
    }

    pub(in crate::courier) fn bulletin_answered(
        &mut self,
        context: &mut Context<'_>,
        answer: Answer<'_>,
        news: &mut Vec<News>,
    ) -> Result<(), StoreError> {
        self.bulletin(context.store)?;
        let Some(server) = &self.servers.bulletin else { return Ok(()) };
        let mut state = read_state(context, server)?;
        let (name, mut pacer) = self.pacer(context.store, &answer.request.url)?;
        let mut kept = self.bulletin.kept.clone();
        let mut notes = Vec::new();
        let mut refused = None;
        let has_answered = match &answer.result {
            Ok(response) if response.status == 304 => true,
            Ok(response) if response.status == 200 => match judge(server, &state, &response.body, context.now) {
                Ok(bulletin) => {
                    if bulletin.serial > state.serial {
                        news.push(News::Bulletin { serial: bulletin.serial });
                    }
                    (state.serial, state.digest, state.refused) = (bulletin.serial, digest(&response.body), None);
                    state.etag = response.header("etag").filter(|etag| etag.len() <= 256).map(str::to_string);
                    kept = Some(KeptBulletin { bulletin: Arc::new(bulletin), seen_at: context.now });
                    notes.push((file_note(server), response.body.clone()));
                    true
                }
                Err(reason) => {
                    // A login page is no answer of the server.
                    let has_answered = reason != BulletinError::Unsigned;
                    refused = Some(reason);
                    has_answered
                }
            },
            Err(TransportError::TooLarge { .. }) => {
                refused = Some(BulletinError::TooLong { limit: MAX_BULLETIN });
                false
            }
            _ => false,
        };
        if has_answered {
            pacer.answered(context.now);
            (state.attempts, state.due_ms) = (0, state.period().next(context.now).unix_ms());
            state.asked_ms = None;
        } else {
            state.attempts = state.attempts.saturating_add(1);
            let failure = failure_of(&answer.result);
            state.due_ms = pacer.failed(answer.work, state.attempts, failure, context.now, context.rng).unix_ms();
        }
        if let (true, None, Some(kept)) = (has_answered, &refused, &mut kept) {
            kept.seen_at = context.now;
            state.seen_ms = Some(context.now.unix_ms());
        }
        if let Some(reason) = refused {
            state.refuse(reason, answer.work, news);
        }
        notes.push(note(&name, &pacer));
        keep(context.store, server, &state, notes)?;
        self.bulletin.kept = kept;
        Ok(())
    }
}

/// Whether this is to be the bulletin from now on. The one that is kept may come again, under another signature, too.
fn judge(server: &BulletinServer, state: &PollState, file: &[u8], now: Timestamp) -> Result<Bulletin, BulletinError> {
    let bulletin = verify(file, &server.keys, &server.region)?;
    bulletin.check_time(now)?;
    let (found, kept) = (bulletin.serial, state.serial);
    if found < kept {
        return Err(BulletinError::Older { kept, found });
    }
    if found == kept && digest(file) != state.digest {
        return Err(BulletinError::SerialReused { serial: found });
    }
    Ok(bulletin)
}

/// Of the document alone.
fn digest(file: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, document(file));
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What was accepted, if it still is what it was: the store is no place of trust.
fn read_kept(store: &Store, server: &BulletinServer) -> Result<Option<KeptBulletin>, StoreError> {
    let Some(file) = store.note(&file_note(server))? else { return Ok(None) };
    let state: Option<PollState> = read_note(store, &state_note(server))?;
    let (seen_ms, serial) = state.map_or((None, 0), |state| (state.seen_ms, state.serial));
    match verify(&file, &server.keys, &server.region) {
        Ok(bulletin) if bulletin.serial >= serial => {
            let seen_at = seen_ms.map_or(bulletin.issued_at, Timestamp::from_unix_ms);
            Ok(Some(KeptBulletin { bulletin: Arc::new(bulletin), seen_at }))
        }
        Ok(_) => Ok(None),
        Err(error) => {
            tracing::warn!(%error, "the bulletin that was kept is of no use any more");
            Ok(None)
        }
    }
}

fn request(server: &BulletinServer, etag: Option<String>) -> Request {
    let mut headers = vec![("accept", "text/plain".to_string())];
    headers.extend(etag.map(|etag| ("if-none-match", etag)));
    Request { url: server.url.clone(), headers, body: None, destination: Destination::Memory { limit: MAX_BULLETIN as u64 } }
}

/// A device draws its moment once.
fn read_state(context: &mut Context<'_>, server: &BulletinServer) -> Result<PollState, StoreError> {
    if let Some(kept) = read_note(context.store, &state_note(server))? {
        return Ok(kept);
    }
    let state = PollState::new(context.now, context.rng);
    keep(context.store, server, &state, Vec::new())?;
    Ok(state)
}

fn keep(
    store: &mut Store,
    server: &BulletinServer,
    state: &PollState,
    mut notes: Vec<(String, Vec<u8>)>,
) -> Result<(), StoreError> {
    notes.push(note(&state_note(server), state));
    store.keep_changes(&Changes { notes, ..Changes::default() })
}

fn state_note(server: &BulletinServer) -> String {
    format!("bulletin {}", server.url)
}

fn file_note(server: &BulletinServer) -> String {
    format!("bulletin file {}", server.url)
}
