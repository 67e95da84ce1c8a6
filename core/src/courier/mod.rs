//! Everything that talks to a server: reports of a diagnosis, key lists, decoys, the waiting list, and when any of it is sent.
//!
//! A [`Courier`] is a state machine without input and output. It says what is to be sent next, and takes the answer; the store, the time and the random
//! source are arguments, and who calls it holds the store only while it decides, never while it waits for a server:
//!
//! ```text
//! report, decoy, sign-up --> store: outbox ---+
//! index, files, bulletin --> store: notes  ---+--> next() --> Errand --> Transport --> answered() --> store, News
//!                                             |
//!                                      Pacer: when
//! ```
//!
//! - What is to be sent is durable before its first byte leaves, with everything that is needed to send it again, and goes when its answer is durable.
//! - Everything is sent until it is answered. A server that knows the operation id answers a repeat as it did at first.
//! - Tracing never waits for any of this.
//!
//! Interfaces: [`wire`]. Pacing: [`pacer`]. What carries it: [`Transport`].

pub mod bulletin;
mod code;
mod key_list;
mod outbox;
pub mod pacer;
mod report;
mod servers;
mod transport;
pub mod waitlist;
pub mod wire;

#[cfg(feature = "http")]
mod http;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::store::{OutboxEntry, Store, StoreError};
use crate::time::Timestamp;
use bulletin::{BulletinError, Fetched};
use pacer::{Failure, MAX_WAIT, Network, Pacer, Work};
use waitlist::{SignUpId, SignUpStatus};

pub use code::{CodeError, VerificationCode};
#[cfg(feature = "http")]
pub use http::{HttpClient, HttpError};
pub use report::{Refusal, ReportDetails, make_report, report_again, reports, withdraw_report};
pub use servers::{AuthorityKey, BulletinServer, KeyList, MAX_SERVERS_FILE, ServerKey, Servers, ServersError, WaitlistServer};
pub use transport::{Destination, KEPT_HEADERS, Request, Response, TIMEOUT, Transport, TransportError};

/// The longest time between two looks at what is due.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A difference of the clocks that is worth a word: identifiers are matched within two hours, keys change at midnight.
const CLOCK_WARNING_S: i64 = 300;

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
    /// When its server wants to be asked again, where it said so and has not answered since: until then nobody can ask for it.
    pub server_asks_for: Option<Timestamp>,
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
    /// There is a new bulletin, with this serial number.
    Bulletin {
        /// The serial number.
        serial: u64,
    },
    /// What came in the place of a bulletin is refused; the one that was kept stays.
    BulletinRefused {
        /// Why.
        reason: BulletinError,
    },
    /// The clock of this device differs from a server's. It is never set by this, and no key changes its day.
    ClockDiffers {
        /// Seconds that this device is ahead; negative where it is behind.
        ahead_s: i64,
    },
    /// A sign-up stands otherwise than before.
    SignUp(SignUpStatus),
    /// A receipt was given for a sign-up that does not vouch for it, or was not signed by the authority. It is not believed, and tried again. Told once.
    ReceiptNotBelieved {
        /// The sign-up.
        id: SignUpId,
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
}

/// What a decision is given.
pub struct Context<'a> {
    /// Where everything is kept.
    pub store: &'a mut Store,
    /// The wall clock.
    pub now: Timestamp,
    /// Chance.
    pub rng: &'a mut dyn CryptoRng,
}

/// What came back of an errand.
struct Answer<'a> {
    request: &'a Request,
    result: Result<Response, TransportError>,
    work: Work,
    /// Seconds by which this device's clock is ahead of the server's; 0 where the server does not say.
    ahead_s: i64,
}

#[derive(Debug)]
enum About {
    Report(OutboxEntry),
    SignUp(OutboxEntry),
    SignUpStatus(SignUpId),
    Index(usize),
    File(usize, String),
    Bulletin,
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
    /// The difference of the clocks that was told last.
    clock_told: Option<i64>,
    bulletin: Fetched,
}

impl Courier {
    /// A courier for these servers. `downloads` is a folder of its own, made where it is missing, for files while they are fetched.
    pub fn new(servers: Servers, downloads: PathBuf) -> Self {
        let (network, bulletin) = (Network::default(), Fetched::default());
        Self { servers, downloads, network, clock_told: None, bulletin }
    }

    /// What the network costs the user now.
    pub fn set_network(&mut self, network: Network) {
        self.network = network;
    }

    /// What is due, or how long nothing is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next(&mut self, context: &mut Context<'_>) -> Result<Next, StoreError> {
        let mut wait = LONGEST_WAIT;
        self.make_decoys(context, &mut wait)?;
        if let Some(next) = self.next_operation(context, &mut wait)? {
            return Ok(next);
        }
        if let Some(next) = self.next_question(context, &mut wait)? {
            return Ok(next);
        }
        if let Some(next) = self.next_bulletin(context, &mut wait)? {
            return Ok(next);
        }
        for index in 0..self.servers.key_lists.len() {
            if let Some(next) = self.next_of_list(context, index, &mut wait)? {
                return Ok(next);
            }
        }
        Ok(Next::Wait(wait))
    }

    /// Takes what came back of an errand.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of the answer is kept then, and the same is sent again.
    pub fn answered(
        &mut self,
        context: &mut Context<'_>,
        errand: Errand,
        result: Result<Response, TransportError>,
    ) -> Result<Vec<News>, StoreError> {
        // It spaces the polls.
        self.bulletin(context.store)?;
        let mut news = Vec::new();
        let date = result.as_ref().ok().and_then(Response::date);
        let ahead_s = date.map_or(0, |date| context.now.unix_s().saturating_sub(date.unix_s()));
        if ahead_s.saturating_abs() > CLOCK_WARNING_S && self.clock_told != Some(ahead_s / CLOCK_WARNING_S) {
            self.clock_told = Some(ahead_s / CLOCK_WARNING_S);
            news.push(News::ClockDiffers { ahead_s });
        }
        let answer = Answer { request: &errand.request, result, work: errand.work, ahead_s };
        match errand.about {
            About::Report(entry) => self.report_answered(context, entry, answer, &mut news)?,
            About::SignUp(entry) => self.sign_up_answered(context, entry, answer, &mut news)?,
            About::SignUpStatus(id) => self.question_answered(context, id, answer, &mut news)?,
            About::Index(index) => self.index_answered(context, index, answer, &mut news)?,
            About::File(index, path) => self.file_answered(context, index, &path, answer, &mut news)?,
            About::Bulletin => self.bulletin_answered(context, answer, &mut news)?,
        }
        Ok(news)
    }

    /// What is remembered of the server with this address, with the name under which it is kept.
    fn pacer(&self, store: &Store, url: &str) -> Result<(String, Pacer), StoreError> {
        let name = format!("pacer {}", servers::origin(url));
        let pacer = read_note(store, &name)?.unwrap_or_default();
        Ok((name, pacer))
    }
}

fn send(request: Request, about: About, work: Work) -> Next {
    Next::Send(Box::new(Errand { request, about, work }))
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

fn note(name: &str, content: &impl Serialize) -> (String, Vec<u8>) {
    // Only maps with keys that are no text fail, and there are none.
    (name.to_string(), serde_json::to_vec(content).unwrap_or_default())
}

/// A note that cannot be read is as good as none: it is made anew.
fn read_note<T: for<'a> Deserialize<'a>>(store: &Store, name: &str) -> Result<Option<T>, StoreError> {
    Ok(store.note(name)?.and_then(|content| serde_json::from_slice(&content).ok()))
}
