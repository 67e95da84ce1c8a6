//! Group commit: one thread writes, and what waits for it shares one transaction.
//!
//! ```text
//! requests -> bounded queue -> [begin; savepoint rule; savepoint rule; ..; commit] -> answers
//! ```
//!
//! A synchronised commit costs a disk milliseconds, however much is in it; so a crowd costs as many commits as a few. Each rule runs in a savepoint of
//! its own, and no answer goes out before the commit. A full queue refuses at once: the caller is told when to come again.

use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use crate::database::{Database, DatabaseError, Transaction};
use crate::rules::{Refusal, RuleError};

/// Requests that may wait: two seconds of work for a small machine.
const QUEUE: usize = 8192;

/// Rules in one transaction at most: longer, and the first of them waits too long.
const MAX_GROUP: usize = 1024;

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
type Job = Box<dyn FnOnce(&mut dyn Transaction) -> (bool, Answer) + Send>;

/// The queue before the one thread that writes.
#[derive(Clone)]
pub struct Group {
    queue: mpsc::Sender<Job>,
}

impl Group {
    /// Starts the thread. It ends when the last copy of the queue is dropped and what waits is done.
    ///
    /// # Errors
    /// Where the system starts no thread.
    pub fn start(database: Box<dyn Database>) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new().name("writer".into()).spawn(move || write(database, jobs))?;
        Ok((Self { queue }, thread))
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        QUEUE - self.queue.capacity()
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
        let job: Job = Box::new(move |transaction| {
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
        self.queue.try_send(job).map_err(|_| GroupError::Busy)?;
        receiver.await.unwrap_or(Err(GroupError::Failed))
    }
}

fn failed(error: &DatabaseError) -> GroupError {
    tracing::error!(%error, "the database failed");
    GroupError::Failed
}

fn write(mut database: Box<dyn Database>, mut jobs: mpsc::Receiver<Job>) {
    let mut waiting = Vec::with_capacity(MAX_GROUP);
    while jobs.blocking_recv_many(&mut waiting, MAX_GROUP) > 0 {
        let mut answers = Vec::with_capacity(waiting.len());
        let ended = database.transaction(&mut |transaction| {
            for job in waiting.drain(..) {
                transaction.execute("SAVEPOINT rule", &[])?;
                let (is_kept, answer) = job(transaction);
                answers.push(answer);
                if !is_kept {
                    transaction.execute("ROLLBACK TO SAVEPOINT rule", &[])?;
                }
                transaction.execute("RELEASE SAVEPOINT rule", &[])?;
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

#[cfg(test)]
mod tests {
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
        let (group, _) = Group::start(Box::new(Sqlite::in_memory().unwrap())).unwrap();
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
        let (group, _) = Group::start(Box::new(Full(Sqlite::in_memory().unwrap()))).unwrap();
        assert!(matches!(group.run(|transaction| put(transaction, "a")).await, Err(GroupError::Failed)));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let (group, _) = Group::start(Box::new(Sqlite::in_memory().unwrap())).unwrap();
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
}
