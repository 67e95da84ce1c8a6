//! The thread that writes: what waits, in one transaction, and again where the database went away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use vigie::courier::waitlist::ReceiptSigner;
use vigie::time::Clock;

use super::crowd::{CROWD, Crowd};
use super::{Answer, GroupError, Job, LONGEST_WAIT, Rule, WaitingSignUp, failed};
use crate::database::{Database, DatabaseError, Transaction};
use crate::rules::{self, SignUp};

/// So long what waits is kept for a database that went away, and that is how long somebody waits for one that is there. Started again, it is back sooner.
const PATIENCE: Duration = LONGEST_WAIT;

/// Until it is looked again whether the database is there.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

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

    /// How many still wait.
    fn count(&mut self) -> usize {
        self.sign_ups.retain(|one| !one.answer.is_closed());
        self.rules.len() + self.sign_ups.len()
    }
}

pub(super) struct Writer {
    pub(super) database: Box<dyn Database>,
    pub(super) size: usize,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) signer: Arc<ReceiptSigner>,
    pub(super) rate: Arc<AtomicU64>,
    pub(super) crowd: Crowd,
    /// When it was noticed that the database went away; nothing while it is there.
    pub(super) away_since: Option<Instant>,
}

impl Writer {
    /// Writes until nobody can ask any more.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut next = Vec::with_capacity(self.size);
        while jobs.blocking_recv_many(&mut next, self.size) > 0 {
            let (is_crowd, mut waiting) = (next.len() > CROWD, Waiting::default());
            next.drain(..).for_each(|job| waiting.add(job));
            self.write(waiting);
            if is_crowd {
                self.crowd.seen(self.crowd.now_ms());
            }
        }
    }

    /// Writes, and again where the database went away a moment ago. What is not written is dropped, which tells those who wait.
    fn write(&mut self, mut waiting: Waiting) {
        loop {
            let (begun, count) = (Instant::now(), waiting.count());
            if count == 0 {
                return;
            }
            let ended = self.try_to_write(&mut waiting);
            self.measure(count, begun.elapsed(), ended.is_ok());
            match ended {
                Err(error) if error.is_away() => {
                    if !self.is_waited_for(&error) {
                        return;
                    }
                    thread::sleep(LOOK_AGAIN);
                }
                ended => {
                    self.away_since = None;
                    if let Err(error) = ended {
                        failed(&error);
                    }
                    return;
                }
            }
        }
    }

    /// Whether the database went away only a moment ago.
    fn is_waited_for(&mut self, error: &DatabaseError) -> bool {
        if self.away_since.is_none() {
            tracing::warn!(%error, "the database went away; what waits is kept for it for {} s", PATIENCE.as_secs());
        }
        let is_waited_for = self.away_since.get_or_insert_with(Instant::now).elapsed() <= PATIENCE;
        if !is_waited_for {
            failed(error);
        }
        is_waited_for
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

    /// What was not committed stays in `waiting`, but for rules that were begun: nobody can run them again.
    fn try_to_write(&mut self, waiting: &mut Waiting) -> Result<(), DatabaseError> {
        let Waiting { rules, sign_ups } = waiting;
        let (clock, signer) = (&*self.clock, &*self.signer);
        let mut answers: Vec<Answer> = Vec::with_capacity(rules.len());
        let mut received = Vec::new();
        let ended = self.database.transaction(&mut |transaction| {
            while let Some(rule) = rules.pop_front() {
                answers.push(in_savepoint(transaction, rule)?);
            }
            if !sign_ups.is_empty() {
                let new: Vec<&SignUp> = sign_ups.iter().map(|one| &one.sign_up).collect();
                let given = in_savepoint(transaction, |transaction| {
                    // Now, and not when they came: another writer may have had its turn in between.
                    let given = rules::receive(transaction, &new, signer, clock.now());
                    (given.is_ok(), given)
                })?;
                received = match given {
                    Err(error) if error.is_away() => return Err(error),
                    Err(error) => {
                        failed(&error);
                        Vec::new()
                    }
                    Ok(received) => received,
                };
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
