//! Group commit: one thread writes, and what waits for it shares one transaction.
//!
//! ```text
//! requests -> bounded queue -> [begin; savepoint rule; savepoint rule; ..; savepoint all sign-ups; commit] -> answers
//! ```
//!
//! A synchronised commit costs a disk milliseconds, however much is in it; so a crowd costs as many commits as a few. Each rule runs in a savepoint of
//! its own, sign-ups in one together, and no answer goes out before the commit. Who has gone away is left out. A queue that is full, or longer than what
//! can be done in a few seconds, refuses at once: the caller is told when to come again.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::database::{Database, DatabaseError, Transaction};
use crate::rules::{self, Received, Refusal, RuleError, SignUp};

/// Requests that may wait: a crowd of 25,000 in the same second, at 2 KiB each.
const QUEUE: usize = 32_768;

/// Sign-ups that would wait longer than this are refused at once, and told when to come again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Until it is known how many a second this machine can do.
const FIRST_RATE: u64 = QUEUE as u64 / LONGEST_WAIT.as_secs();

/// So many may wait however slow the machine is: below this, refusing costs as much as doing.
const MIN_WAITING: u64 = 256;

/// A transaction of more than this is one of a crowd.
const CROWD: usize = 32;

/// So long after its last such transaction a crowd counts as there.
const CROWD_STAYS: Duration = Duration::from_secs(1);

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
    /// The database failed, which was logged. Nothing was done, as far as anybody can tell: a repeat finds out.
    #[error("the database failed")]
    Failed,
}

type Answer = Box<dyn FnOnce(bool) + Send>;
type Rule = Box<dyn FnOnce(&mut dyn Transaction) -> (bool, Answer) + Send>;

/// A sign-up that waits, and the key that is to sign its receipt.
struct WaitingSignUp {
    sign_up: SignUp,
    receipt_key: Arc<str>,
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

/// When a transaction was one of a crowd last.
#[derive(Clone)]
struct Crowd {
    started: Instant,
    /// In milliseconds since then; 0 where there was none.
    last_ms: Arc<AtomicU64>,
}

impl Crowd {
    fn new() -> Self {
        Self { started: Instant::now(), last_ms: Arc::default() }
    }

    /// No moment is 0.
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }

    fn seen(&self, now_ms: u64) {
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }

    fn is_there(&self, now_ms: u64) -> bool {
        let last = self.last_ms.load(Ordering::Relaxed);
        last > 0 && now_ms.saturating_sub(last) < CROWD_STAYS.as_millis() as u64
    }
}

impl Group {
    /// Starts the thread, with so many rules in one transaction at most. It ends when the last copy of the queue is dropped and what waits is done.
    ///
    /// # Errors
    /// Where the system starts no thread.
    pub fn start(database: Box<dyn Database>, size: NonZeroUsize) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let rate = Arc::new(AtomicU64::new(FIRST_RATE));
        let crowd = Crowd::new();
        let writer = Writer { database, size: size.get(), rate: Arc::clone(&rate), crowd: crowd.clone() };
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

    /// How long what waits will take.
    pub fn wait(&self) -> Duration {
        Duration::from_secs_f64(self.waiting() as f64 / self.rate.load(Ordering::Relaxed).max(1) as f64)
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
                let _ = sender.send(if is_committed { given } else { Err(GroupError::Failed) });
            });
            (is_kept, answer)
        });
        self.queue.try_send(Job::Rule(rule)).map_err(|_| GroupError::Busy)?;
        receiver.await.unwrap_or(Err(GroupError::Failed))
    }

    /// Takes a sign-up in with the next transaction, and answers when that is committed. Dropped before that, it is left out.
    ///
    /// # Errors
    /// [`GroupError`]; nothing of it is kept then.
    pub async fn receive(&self, sign_up: SignUp, receipt_key: Arc<str>) -> Result<Received, GroupError> {
        let limit = (self.rate.load(Ordering::Relaxed) * LONGEST_WAIT.as_secs()).max(MIN_WAITING);
        if self.waiting() as u64 >= limit {
            return Err(GroupError::Busy);
        }
        let (answer, receiver) = oneshot::channel();
        let job = Job::SignUp(Box::new(WaitingSignUp { sign_up, receipt_key, answer }));
        self.queue.try_send(job).map_err(|_| GroupError::Busy)?;
        receiver.await.unwrap_or(Err(GroupError::Failed))
    }
}

fn failed(error: &DatabaseError) -> GroupError {
    tracing::error!(%error, "the database failed");
    GroupError::Failed
}

struct Writer {
    database: Box<dyn Database>,
    size: usize,
    rate: Arc<AtomicU64>,
    crowd: Crowd,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut waiting = Vec::with_capacity(self.size);
        while jobs.blocking_recv_many(&mut waiting, self.size) > 0 {
            let (begun, count) = (Instant::now(), waiting.len());
            self.write(&mut waiting);
            self.measure(count, begun.elapsed());
            if count > CROWD {
                self.crowd.seen(self.crowd.now_ms());
            }
        }
    }

    /// A full group shows what the machine can do; any other one only that it can do as much.
    fn measure(&self, count: usize, took: Duration) {
        let rate = self.rate.load(Ordering::Relaxed);
        let measured = (count as f64 / took.as_secs_f64().max(1e-6)) as u64;
        let rate = if count == self.size { (3 * rate + measured) / 4 } else { rate.max(measured) };
        self.rate.store(rate, Ordering::Relaxed);
    }

    fn write(&mut self, waiting: &mut Vec<Job>) {
        let mut answers: Vec<Answer> = Vec::with_capacity(waiting.len());
        let ended = self.database.transaction(&mut |transaction| {
            let mut sign_ups = Vec::new();
            for job in waiting.drain(..) {
                match job {
                    Job::SignUp(sign_up) if sign_up.answer.is_closed() => {}
                    Job::SignUp(sign_up) => sign_ups.push(*sign_up),
                    Job::Rule(rule) => answers.push(in_savepoint(transaction, rule)?),
                }
            }
            if !sign_ups.is_empty() {
                answers.push(in_savepoint(transaction, |transaction| receive(transaction, sign_ups))?);
            }
            Ok(())
        });
        // Jobs that did not run are dropped, which tells those who wait for them.
        waiting.clear();
        if let Err(e) = &ended {
            failed(e);
        }
        for answer in answers {
            answer(ended.is_ok());
        }
    }
}

/// Undoes what the rule does not want to be kept, and nothing else.
fn in_savepoint(
    transaction: &mut dyn Transaction,
    rule: impl FnOnce(&mut dyn Transaction) -> (bool, Answer),
) -> Result<Answer, DatabaseError> {
    transaction.execute("SAVEPOINT rule", &[])?;
    let (is_kept, answer) = rule(transaction);
    if !is_kept {
        transaction.execute("ROLLBACK TO SAVEPOINT rule", &[])?;
    }
    transaction.execute("RELEASE SAVEPOINT rule", &[])?;
    Ok(answer)
}

/// All sign-ups of a group.
fn receive(transaction: &mut dyn Transaction, waiting: Vec<WaitingSignUp>) -> (bool, Answer) {
    let receipt_key = waiting.first().map(|first| Arc::clone(&first.receipt_key)).unwrap_or_default();
    let (sign_ups, senders): (Vec<SignUp>, Vec<_>) = waiting.into_iter().map(|one| (one.sign_up, one.answer)).unzip();
    let given = rules::receive(transaction, &sign_ups, &receipt_key);
    if let Err(e) = &given {
        failed(e);
    }
    let is_kept = given.is_ok();
    let answer: Answer = Box::new(move |is_committed| {
        let mut given = given.unwrap_or_default().into_iter();
        for sender in senders {
            let answer = given.next().filter(|_| is_committed).map_or(Err(GroupError::Failed), |given| given.map_err(Into::into));
            let _ = sender.send(answer);
        }
    });
    (is_kept, answer)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::database::{Sqlite, Work};

    fn put(transaction: &mut dyn Transaction, name: &str) -> Result<(), RuleError> {
        transaction.execute("INSERT INTO setting (name) VALUES ($1)", &[name.into()])?;
        Ok(())
    }

    async fn names(group: &Group) -> Vec<String> {
        let rows = group.run(|transaction| transaction.query("SELECT name FROM setting ORDER BY name", &[])).await.unwrap();
        rows.iter().map(|row| row.text(0).unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn a_refused_rule_undoes_its_own_work_and_no_other() {
        let (group, _) = Group::start(Box::new(Sqlite::in_memory().unwrap()), MAX_GROUP).unwrap();
        let good = |name| group.run(move |transaction| put(transaction, name));
        let refused = group.run(|transaction| {
            put(transaction, "b")?;
            Err::<(), RuleError>(Refusal::CodeInvalid.into())
        });
        let broken = group.run(|transaction| {
            put(transaction, "d")?;
            transaction.query("SELECT nothing FROM nowhere", &[]).map(drop).map_err(RuleError::from)
        });
        let (a, b, c, d) = tokio::join!(good("a"), refused, good("c"), broken);
        assert!(a.is_ok() && c.is_ok());
        assert!(matches!(b, Err(GroupError::Refused(Refusal::CodeInvalid))));
        assert!(matches!(d, Err(GroupError::Failed)));
        assert_eq!(names(&group).await, ["a", "c"]);
    }

    /// A disk that is full when it is to commit.
    struct Full(Sqlite);

    impl Database for Full {
        fn transaction(&mut self, work: Work<'_>) -> Result<(), DatabaseError> {
            self.0.transaction(&mut |transaction| work(transaction).and(Err(DatabaseError::Undone)))
        }
    }

    #[tokio::test]
    async fn what_was_not_committed_is_not_answered() {
        let (group, _) = Group::start(Box::new(Full(Sqlite::in_memory().unwrap())), MAX_GROUP).unwrap();
        assert!(matches!(group.run(|transaction| put(transaction, "a")).await, Err(GroupError::Failed)));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let (group, _) = Group::start(Box::new(Sqlite::in_memory().unwrap()), MAX_GROUP).unwrap();
        let (held, holds) = std::sync::mpsc::channel::<()>();
        let (begins, begun) = oneshot::channel();
        let holder = group.clone();
        let first = tokio::spawn(async move {
            holder
                .run(move |_| {
                    let _ = begins.send(());
                    let _ = holds.recv();
                    Ok::<(), RuleError>(())
                })
                .await
        });
        begun.await.unwrap();
        let waiting: Vec<_> = (0..QUEUE)
            .map(|_| {
                let group = group.clone();
                Box::pin(async move { group.run(|_| Ok::<(), RuleError>(())).await })
            })
            .map(|mut waits| {
                // Polled once, it stands in the queue.
                assert!(
                    std::future::Future::poll(waits.as_mut(), &mut std::task::Context::from_waker(std::task::Waker::noop()))
                        .is_pending()
                );
                waits
            })
            .collect();
        assert_eq!(group.waiting(), QUEUE);
        assert!(matches!(group.run(|_| Ok::<(), RuleError>(())).await, Err(GroupError::Busy)));
        drop(held);
        assert!(first.await.unwrap().is_ok());
        for waits in waiting {
            assert!(waits.await.is_ok());
        }
    }

    /// Counts transactions; the first waits until it is told to go on.
    struct Counted {
        database: Sqlite,
        transactions: Arc<AtomicUsize>,
        goes_on: std::sync::mpsc::Receiver<()>,
    }

    impl Database for Counted {
        fn transaction(&mut self, work: Work<'_>) -> Result<(), DatabaseError> {
            if self.transactions.fetch_add(1, Ordering::SeqCst) == 0 {
                self.goes_on.recv().unwrap();
            }
            self.database.transaction(work)
        }
    }

    #[tokio::test]
    async fn more_than_a_few_in_a_transaction_are_a_crowd_for_a_second() {
        let (group, _) = Group::start(Box::new(Sqlite::in_memory().unwrap()), MAX_GROUP).unwrap();
        for name in ["a", "b", "c"] {
            group.run(move |transaction| put(transaction, name)).await.unwrap();
        }
        assert!(!group.has_crowd(), "who come one after the other");
        let (held, holds) = std::sync::mpsc::channel::<()>();
        let (begins, begun) = oneshot::channel();
        let first = group.run(move |_| {
            let _ = begins.send(());
            let _ = holds.recv();
            Ok::<(), RuleError>(())
        });
        let crowd = async {
            begun.await.unwrap();
            let waits = (0..=CROWD).map(|_| group.run(|_| Ok::<(), RuleError>(())));
            let waits = futures::future::join_all(waits);
            let release = async {
                while group.waiting() <= CROWD {
                    tokio::task::yield_now().await;
                }
                assert!(group.has_crowd(), "they wait");
                drop(held);
            };
            tokio::join!(waits, release)
        };
        let _ = tokio::join!(first, crowd);
        // It is noted after they have been answered.
        while group.crowd.last_ms.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let seen = group.crowd.last_ms.load(Ordering::Relaxed);
        let stays = CROWD_STAYS.as_millis() as u64;
        assert_eq!((group.crowd.is_there(seen + stays - 1), group.crowd.is_there(seen + stays)), (true, false));
    }

    /// Transactions for six requests, five of which come while the first is under way.
    async fn transactions(size: NonZeroUsize) -> usize {
        let (go_on, goes_on) = std::sync::mpsc::channel();
        let transactions = Arc::new(AtomicUsize::new(0));
        let counted = Counted { database: Sqlite::in_memory().unwrap(), transactions: Arc::clone(&transactions), goes_on };
        let (group, writer) = Group::start(Box::new(counted), size).unwrap();
        let request = || {
            let group = group.clone();
            tokio::spawn(async move { group.run(|transaction| transaction.query("SELECT 1", &[]).map(drop)).await.unwrap() })
        };
        let mut requests = vec![request()];
        while transactions.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        requests.extend((0..5).map(|_| request()));
        while group.waiting() < 5 {
            tokio::task::yield_now().await;
        }
        go_on.send(()).unwrap();
        for request in requests {
            request.await.unwrap();
        }
        drop(group);
        writer.join().unwrap();
        transactions.load(Ordering::SeqCst)
    }

    fn sign_up(number: u8) -> SignUp {
        SignUp {
            operation: vigie::courier::waitlist::OperationId([number; 16]),
            form: vigie::courier::waitlist::SealedForm { key_id: "v1".into(), encapsulated: [0; 32], sealed: vec![number] },
            secret_hash: vigie::courier::waitlist::SecretHash([0; 32]),
            repeat_hash: None,
            received_at: vigie::time::Timestamp::from_unix_s(1_619_013_600),
        }
    }

    #[tokio::test]
    async fn sign_ups_share_a_transaction_and_those_who_have_gone_away_are_left_out() {
        let (go_on, goes_on) = std::sync::mpsc::channel();
        let transactions = Arc::new(AtomicUsize::new(0));
        let counted = Counted { database: Sqlite::in_memory().unwrap(), transactions: Arc::clone(&transactions), goes_on };
        let (group, _) = Group::start(Box::new(counted), MAX_GROUP).unwrap();
        let first = tokio::spawn({
            let group = group.clone();
            async move { group.run(|_| Ok::<(), RuleError>(())).await }
        });
        while transactions.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let stays: Vec<_> = [1, 2, 2]
            .map(|number| {
                let group = group.clone();
                tokio::spawn(async move { group.receive(sign_up(number), "v1".into()).await })
            })
            .into();
        let goes = tokio::spawn({
            let group = group.clone();
            async move { group.receive(sign_up(3), "v1".into()).await }
        });
        while group.waiting() < 4 {
            tokio::task::yield_now().await;
        }
        goes.abort();
        assert!(goes.await.is_err());
        go_on.send(()).unwrap();
        assert!(first.await.unwrap().is_ok());
        let mut places = Vec::new();
        for one in stays {
            places.push(one.await.unwrap().unwrap().place);
        }
        assert_eq!(places, [1, 2, 2]);
        assert_eq!(transactions.load(Ordering::SeqCst), 2);
        let rows = group.run(|transaction| transaction.query("SELECT place FROM sign_up", &[])).await.unwrap();
        assert_eq!(rows.len(), 2);
    }

    #[tokio::test]
    async fn what_would_wait_too_long_is_refused_at_once_and_told_when_to_come_again() {
        let (held, goes_on) = std::sync::mpsc::channel();
        let transactions = Arc::new(AtomicUsize::new(0));
        let counted = Counted { database: Sqlite::in_memory().unwrap(), transactions: Arc::clone(&transactions), goes_on };
        let (group, _) = Group::start(Box::new(counted), MAX_GROUP).unwrap();
        group.rate.store(100, std::sync::atomic::Ordering::Relaxed);
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..=500 {
            let group = group.clone();
            waiting.spawn(async move { group.receive(sign_up((number % 250) as u8), "v1".into()).await });
            // The first is under way and waits no more.
            while transactions.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        }
        while group.waiting() < 500 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(group.receive(sign_up(0), "v1".into()).await, Err(GroupError::Busy)));
        assert_eq!(group.wait(), Duration::from_secs(5));
        held.send(()).unwrap();
        while let Some(answer) = waiting.join_next().await {
            assert!(answer.unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn what_waits_shares_a_transaction_unless_the_size_of_a_group_forbids_it() {
        assert_eq!(transactions(MAX_GROUP).await, 2);
        assert_eq!(transactions(NonZeroUsize::MIN).await, 6);
        assert_eq!(transactions(NonZeroUsize::MIN.saturating_add(1)).await, 4);
    }
}
