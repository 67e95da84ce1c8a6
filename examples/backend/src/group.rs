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
mod writer;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use vigie::courier::waitlist::ReceiptSigner;
use vigie::time::Clock;

pub use self::crowd::AWAY;
use self::crowd::{CROWD, Crowd};
use self::writer::Writer;
use crate::database::{Database, DatabaseError, Transaction};
use crate::rules::{Received, Refusal, RuleError, SignUp};

/// Requests that may wait: a crowd of 25,000 in the same second, at 2 KiB each.
const QUEUE: usize = 32_768;

/// Sign-ups that would wait longer than this are refused at once, and told when to come again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

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

#[cfg(test)]
mod tests;
