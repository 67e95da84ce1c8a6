//! Group commit: one thread writes, and what waits for it shares one transaction.
//!
//! ```text
//! requests -> bounded queue -> [begin; savepoint rule; savepoint rule; ..; savepoint all sign-ups; commit] -> answers
//! ```
//!
//! A synchronised commit costs a disk milliseconds, however much is in it; so a crowd costs as many commits as a few. Each rule runs in a savepoint of
//! its own, sign-ups in one together, and no answer goes out before the commit. Who has gone away is left out. A queue that is full, or longer than what
//! can be done in a few seconds, refuses at once: the caller is told when to come again. Where the database goes away what waits stays, and is written when
//! it is back, within a few seconds; a sign-up whose commit nobody heard of is found or made then, which is the same.

mod crowd;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use vigie::courier::waitlist::ReceiptSigner;
use vigie::time::{Clock, Timestamp};

pub use self::crowd::AWAY;
use self::crowd::{CROWD, Crowd};
use crate::database::{Database, DatabaseError, Transaction};
use crate::rules::{self, Received, Refusal, RuleError, SignUp};

/// Requests that may wait: a crowd of 25,000 in the same second, at 2 KiB each.
const QUEUE: usize = 32_768;

/// Sign-ups that would wait longer than this are refused at once, and told when to come again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// So long what waits is kept for a database that went away, and that is how long somebody waits for one that is there. Started again, it is back sooner.
const PATIENCE: Duration = LONGEST_WAIT;

/// Until it is looked again whether the database is there.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Until it is known how many a second this machine can do.
const FIRST_RATE: u64 = QUEUE as u64 / LONGEST_WAIT.as_secs();

/// So many may wait however slow the machine is: below this, refusing costs as much as doing.
const MIN_WAITING: u64 = 256;

/// Rules in one transaction at most: longer, and the first of them waits too long.
pub const MAX_GROUP: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The rule refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too much waits. Nothing was done.
    #[error("too many requests wait")]
    Busy,
    /// The database is not there, or did not commit, which was logged. Nothing was done, as far as anybody can tell: a repeat finds out.
    #[error("the database is not available")]
    Unavailable,
    /// The database refused a statement, which was logged. Nothing was done. For a sign-up it may have been one beside it: a repeat finds out.
    #[error("the database failed")]
    Failed,
}

type Answer = Box<dyn FnOnce(bool) + Send>;
type Rule = Box<dyn FnOnce(&mut dyn Transaction) -> (bool, Answer) + Send>;

/// A sign-up that waits.
struct WaitingSignUp {
    sign_up: SignUp,
    answer: oneshot::Sender<Result<Received, GroupError>>,
}

enum Job {
    Rule(Rule),
    SignUp(Box<WaitingSignUp>),
}

/// The queue before the one thread that writes.
#[derive(Clone)]
pub struct Group {
    queue: mpsc::Sender<Job>,
    /// Requests a second, when there is more to do than can be done.
    rate: Arc<AtomicU64>,
    crowd: Crowd,
}

impl Group {
    /// Starts the thread, with so many rules in one transaction at most; `signer` signs receipts. It ends when the last copy of the queue is dropped and
    /// what waits is done.
    ///
    /// # Errors
    /// Where the system starts no thread.
    pub fn start(
        database: Box<dyn Database>,
        size: NonZeroUsize,
        clock: Arc<dyn Clock>,
        signer: Arc<ReceiptSigner>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let rate = Arc::new(AtomicU64::new(FIRST_RATE));
        let crowd = Crowd::new();
        let writer =
            Writer { database, size: size.get(), clock, signer, rate: Arc::clone(&rate), crowd: crowd.clone(), away_since: None };
        let thread = thread::Builder::new().name("writer".into()).spawn(move || writer.run(jobs))?;
        Ok((Self { queue, rate, crowd }, thread))
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        QUEUE - self.queue.capacity()
    }

    /// Whether people come faster than one by one, now or a moment ago: what can wait does.
    pub fn has_crowd(&self) -> bool {
        self.waiting() > CROWD || self.crowd.is_there(self.crowd.now_ms())
    }

    /// How long what waits will take, and those who were turned away lately: they come again, all of them.
    pub fn backlog(&self) -> Duration {
        let people = self.waiting() as u64 + self.crowd.turned_away(self.crowd.now_ms());
        Duration::from_secs_f64(people as f64 / self.rate.load(Ordering::Relaxed).max(1) as f64)
    }

    /// Somebody is told to come again.
    fn turn_away(&self, why: GroupError) -> GroupError {
        self.crowd.turn_away(self.crowd.now_ms());
        why
    }

    /// Runs a rule in the next transaction, and answers when that is committed.
    ///
    /// # Errors
    /// [`GroupError`]; nothing of the rule is kept then.
    pub async fn run<T, E>(
        &self,
        rule: impl FnOnce(&mut dyn Transaction) -> Result<T, E> + Send + 'static,
    ) -> Result<T, GroupError>
    where
        T: Send + 'static,
        E: Into<RuleError>,
    {
        let (sender, receiver) = oneshot::channel();
        let rule: Rule = Box::new(move |transaction| {
            let given = rule(transaction).map_err(Into::into);
            let is_kept = given.is_ok();
            let given = given.map_err(|e| match e {
                RuleError::Refused(refusal) => GroupError::Refused(refusal),
                RuleError::Database(e) => failed(&e),
            });
            let answer: Answer = Box::new(move |is_committed| {
                // Whoever asked may have gone away.
                let _ = sender.send(if is_committed { given } else { Err(GroupError::Unavailable) });
            });
            (is_kept, answer)
        });
        self.queue.try_send(Job::Rule(rule)).map_err(|_| self.turn_away(GroupError::Busy))?;
        // Dropped, it did not run or was undone.
        receiver.await.unwrap_or(Err(GroupError::Unavailable))
    }

    /// Takes a sign-up in with the next transaction, and answers when that is committed. Dropped before that, it is left out.
    ///
    /// # Errors
    /// [`GroupError`]; nothing of it is kept then.
    pub async fn receive(&self, sign_up: SignUp) -> Result<Received, GroupError> {
        let limit = (self.rate.load(Ordering::Relaxed) * LONGEST_WAIT.as_secs()).max(MIN_WAITING);
        if self.waiting() as u64 >= limit {
            return Err(self.turn_away(GroupError::Busy));
        }
        let (answer, receiver) = oneshot::channel();
        let job = Job::SignUp(Box::new(WaitingSignUp { sign_up, answer }));
        self.queue.try_send(job).map_err(|_| self.turn_away(GroupError::Busy))?;
        match receiver.await.unwrap_or(Err(GroupError::Unavailable)) {
            Err(GroupError::Unavailable) => Err(self.turn_away(GroupError::Unavailable)),
            answer => answer,
        }
    }
}

fn failed(error: &DatabaseError) -> GroupError {
    tracing::error!(%error, "the database failed");
    GroupError::Failed
}

/// What is to share a transaction.
#[derive(Default)]
struct Waiting {
    rules: VecDeque<Rule>,
    sign_ups: Vec<WaitingSignUp>,
}

impl Waiting {
    fn add(&mut self, job: Job) {
        match job {
            Job::Rule(rule) => self.rules.push_back(rule),
            Job::SignUp(sign_up) => self.sign_ups.push(*sign_up),
        }
    }
}

struct Writer {
    database: Box<dyn Database>,
    size: usize,
    clock: Arc<dyn Clock>,
    signer: Arc<ReceiptSigner>,
    rate: Arc<AtomicU64>,
    crowd: Crowd,
    away_since: Option<Instant>,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut next = Vec::with_capacity(self.size);
        while jobs.blocking_recv_many(&mut next, self.size) > 0 {
            let (count, mut waiting) = (next.len(), Waiting::default());
            next.drain(..).for_each(|job| waiting.add(job));
            let (took, is_committed) = self.write(waiting);
            self.measure(count, took, is_committed);
            if count > CROWD {
                self.crowd.seen(self.crowd.now_ms());
            }
        }
    }

    /// A full group shows what the machine can do; any other one only that it can do as much. What fails at once is no sign of speed, and a few who waited
    /// for a database in vain are none of slowness.
    fn measure(&self, count: usize, took: Duration, is_committed: bool) {
        let rate = self.rate.load(Ordering::Relaxed);
        let measured = (count as f64 / took.as_secs_f64().max(1e-6)) as u64;
        let smoothed = (3 * rate + measured) / 4;
        let rate = match (is_committed, count == self.size) {
            (true, true) => smoothed,
            (true, false) => rate.max(measured),
            (false, true) => rate.min(smoothed),
            (false, false) => rate,
        };
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Writes, and again where the database went away a moment ago. How long it took at last, and whether it was committed; what was not is dropped, which
    /// tells those who wait.
    fn write(&mut self, mut waiting: Waiting) -> (Duration, bool) {
        loop {
            let begun = Instant::now();
            let ended = self.try_to_write(&mut waiting);
            let took = begun.elapsed();
            let Err(error) = ended else {
                self.away_since = None;
                return (took, true);
            };
            if !error.is_away() {
                failed(&error);
                return (took, false);
            }
            if self.away_since.is_none() {
                tracing::warn!(%error, "the database went away; what waits is kept for it for {} s", PATIENCE.as_secs());
            }
            if self.away_since.get_or_insert(begun).elapsed() > PATIENCE {
                failed(&error);
                return (took, false);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// What was not committed stays in `waiting`, but for rules that ran: nobody can run them again.
    fn try_to_write(&mut self, waiting: &mut Waiting) -> Result<(), DatabaseError> {
        let Waiting { rules, sign_ups } = waiting;
        sign_ups.retain(|one| !one.answer.is_closed());
        let (now, signer) = (self.clock.now(), &*self.signer);
        let mut answers = Vec::with_capacity(rules.len());
        let mut received = Vec::new();
        let ended = self.database.transaction(&mut |transaction| {
            while let Some(rule) = rules.pop_front() {
                answers.push(in_savepoint(transaction, rule)?);
            }
            if !sign_ups.is_empty() {
                let new: Vec<&SignUp> = sign_ups.iter().map(|one| &one.sign_up).collect();
                received = in_savepoint(transaction, |transaction| receive(transaction, &new, signer, now))?;
            }
            Ok(())
        });
        for answer in answers {
            answer(ended.is_ok());
        }
        ended?;
        let mut received = received.into_iter();
        for one in sign_ups.drain(..) {
            // Whoever asked may have gone away.
            let _ = one.answer.send(received.next().map_or(Err(GroupError::Failed), |given| given.map_err(Into::into)));
        }
        Ok(())
    }
}

/// Undoes what is not to be kept, and nothing else.
fn in_savepoint<T>(
    transaction: &mut dyn Transaction,
    rule: impl FnOnce(&mut dyn Transaction) -> (bool, T),
) -> Result<T, DatabaseError> {
    transaction.execute("SAVEPOINT rule", &[])?;
    let (is_kept, given) = rule(transaction);
    if !is_kept {
        transaction.execute("ROLLBACK TO SAVEPOINT rule", &[])?;
    }
    transaction.execute("RELEASE SAVEPOINT rule", &[])?;
    Ok(given)
}

/// All sign-ups of a group. Whether they are kept, and an answer for each; none where the database refused a statement.
fn receive(
    transaction: &mut dyn Transaction,
    sign_ups: &[&SignUp],
    signer: &ReceiptSigner,
    now: Timestamp,
) -> (bool, Vec<Result<Received, Refusal>>) {
    match rules::receive(transaction, sign_ups, signer, now) {
        Ok(received) => (true, received),
        Err(e) => {
            failed(&e);
            (false, Vec::new())
        }
    }
}

#[cfg(test)]
mod tests;
