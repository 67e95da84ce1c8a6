use std::sync::atomic::AtomicUsize;

use vigie::time::{ManualClock, SystemClock, Timestamp};

use super::*;
use crate::database::{Sqlite, Work};
use crate::waitlist::receipt_signer;

fn start(database: Box<dyn Database>, size: NonZeroUsize) -> (Group, JoinHandle<()>) {
    Group::start(database, size, Arc::new(SystemClock), receipt_signer()).unwrap()
}

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
    let (group, _) = start(Box::new(Sqlite::in_memory().unwrap()), MAX_GROUP);
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
    let (group, _) = start(Box::new(Full(Sqlite::in_memory().unwrap())), MAX_GROUP);
    assert!(matches!(group.run(|transaction| put(transaction, "a")).await, Err(GroupError::Unavailable)));
    assert!(matches!(group.receive(sign_up(0)).await, Err(GroupError::Unavailable)));
}

/// When a database goes away.
#[derive(Clone, Copy)]
enum Moment {
    BeforeAll,
    BeforeCommit,
    AfterCommit,
}

/// A database that goes away at this moment of its next transactions: of so many.
struct Away {
    database: Sqlite,
    moment: Moment,
    left: Arc<AtomicUsize>,
    transactions: Arc<AtomicUsize>,
}

impl Database for Away {
    fn transaction(&mut self, work: Work<'_>) -> Result<(), DatabaseError> {
        self.transactions.fetch_add(1, Ordering::SeqCst);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            return self.database.transaction(work);
        }
        match self.moment {
            Moment::BeforeAll => {}
            Moment::BeforeCommit => {
                drop(self.database.transaction(&mut |transaction| work(transaction).and(Err(nobody_there()))));
            }
            Moment::AfterCommit => self.database.transaction(work)?,
        }
        Err(nobody_there())
    }
}

/// What a PostgreSQL says that is not there.
fn nobody_there() -> DatabaseError {
    crate::database::Postgres::connect("host=127.0.0.1 port=1 user=nobody").err().unwrap()
}

/// A group whose database goes away, how often it still does, and how many transactions there were.
fn away(moment: Moment, left: usize) -> (Group, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (left, transactions) = (Arc::new(AtomicUsize::new(left)), Arc::new(AtomicUsize::new(0)));
    let database = Sqlite::in_memory().unwrap();
    let database = Away { database, moment, left: Arc::clone(&left), transactions: Arc::clone(&transactions) };
    (start(Box::new(database), MAX_GROUP).0, left, transactions)
}

#[tokio::test]
async fn sign_ups_wait_for_a_database_that_went_away_and_are_written_when_it_is_back() {
    for (moment, is_new) in [(Moment::BeforeAll, true), (Moment::BeforeCommit, true), (Moment::AfterCommit, false)] {
        let (group, _, transactions) = away(moment, 2);
        let people = futures::future::join_all((1..=5).map(|number| group.receive(sign_up(number))));
        let mut places = Vec::new();
        for (number, received) in (1..=5).zip(people.await) {
            let received = received.unwrap();
            assert_eq!(received.receipt.operation_id, sign_up(number).operation);
            assert!(number > 1 || received.is_new == is_new, "the others may have come a transaction later");
            places.push(received.receipt.place);
        }
        places.sort_unstable();
        assert_eq!(places, [1, 2, 3, 4, 5]);
        assert!(transactions.load(Ordering::SeqCst) >= 3);
        assert!(!group.receive(sign_up(1)).await.unwrap().is_new);
    }
}

#[tokio::test]
async fn a_rule_waits_for_a_database_that_went_away_unless_it_was_begun() {
    let (group, ..) = away(Moment::BeforeAll, 2);
    group.run(|transaction| put(transaction, "a")).await.unwrap();
    assert_eq!(names(&group).await, ["a"], "nothing had run of it");
    for (moment, is_there) in [(Moment::BeforeCommit, false), (Moment::AfterCommit, true)] {
        let (group, ..) = away(moment, 1);
        let rule = group.run(|transaction| put(transaction, "a"));
        let (rule, received) = tokio::join!(rule, group.receive(sign_up(1)));
        assert!(matches!(rule, Err(GroupError::Unavailable)), "nobody can run it again");
        assert_eq!(received.unwrap().receipt.place, 1);
        assert_eq!(names(&group).await.contains(&"a".into()), is_there);
    }
}

#[tokio::test]
async fn a_database_that_does_not_come_back_is_waited_for_once_each_time() {
    let (group, left, transactions) = away(Moment::BeforeAll, usize::MAX);
    assert!(matches!(group.receive(sign_up(1)).await, Err(GroupError::Unavailable)));
    let before = transactions.load(Ordering::SeqCst);
    assert!(before > 2, "{before}");
    assert!(matches!(group.receive(sign_up(1)).await, Err(GroupError::Unavailable)));
    assert_eq!(transactions.load(Ordering::SeqCst), before + 1, "who comes later is told at once");
    left.store(0, Ordering::SeqCst);
    group.receive(sign_up(1)).await.unwrap();
    left.store(1, Ordering::SeqCst);
    group.receive(sign_up(2)).await.unwrap();
}

/// What is not done is not counted: an empty transaction after a rule that failed is no sign of speed.
#[tokio::test]
async fn what_failed_leaves_nothing_to_be_written_again() {
    let (group, _, transactions) = away(Moment::BeforeCommit, 1);
    assert!(group.run(|transaction| put(transaction, "a")).await.is_err());
    assert!(names(&group).await.is_empty());
    assert_eq!(transactions.load(Ordering::SeqCst), 2);
}

/// A turn that comes late, as behind other writers.
struct Late(Sqlite, ManualClock);

impl Database for Late {
    fn transaction(&mut self, work: Work<'_>) -> Result<(), DatabaseError> {
        self.1.advance(Duration::from_secs(30));
        self.0.transaction(work)
    }
}

#[tokio::test]
async fn a_receipt_has_the_moment_of_its_transaction() {
    let clock = ManualClock::new(Timestamp::from_unix_s(1_619_013_600));
    let late = Late(Sqlite::in_memory().unwrap(), clock.clone());
    let (group, _) = Group::start(Box::new(late), MAX_GROUP, Arc::new(clock.clone()), receipt_signer()).unwrap();
    assert_eq!(group.receive(sign_up(1)).await.unwrap().receipt.received_s, 1_619_013_630);
}

/// A database that is not there, which takes so long to be noticed.
struct Gone(Duration);

impl Database for Gone {
    fn transaction(&mut self, _: Work<'_>) -> Result<(), DatabaseError> {
        thread::sleep(self.0);
        Err(DatabaseError::Undone)
    }
}

/// What it takes this machine for after one failure: the second is answered when the first was measured.
async fn rate_without_database(noticed_after: Duration, size: NonZeroUsize) -> u64 {
    let (group, _) = start(Box::new(Gone(noticed_after)), size);
    for people in 1..=2 {
        assert!(matches!(group.run(|transaction| put(transaction, "a")).await, Err(GroupError::Unavailable)));
        assert!(matches!(group.receive(sign_up(0)).await, Err(GroupError::Unavailable)));
        assert_eq!(group.crowd.turned_away(group.crowd.now_ms()), people, "they come again, and are told when");
    }
    group.rate.load(Ordering::Relaxed)
}

#[tokio::test]
async fn without_a_database_everybody_is_told_to_come_again() {
    let (at_once, late) = (Duration::ZERO, Duration::from_millis(20));
    for size in [MAX_GROUP, NonZeroUsize::MIN] {
        assert!(rate_without_database(at_once, size).await <= FIRST_RATE, "what fails at once is no sign of speed");
    }
    assert_eq!(rate_without_database(late, MAX_GROUP).await, FIRST_RATE, "a few are no sign of slowness");
    assert!(rate_without_database(late, NonZeroUsize::MIN).await < FIRST_RATE, "full groups that fail late are");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let (group, _) = start(Box::new(Sqlite::in_memory().unwrap()), MAX_GROUP);
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
    let (group, _) = start(Box::new(Sqlite::in_memory().unwrap()), MAX_GROUP);
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
    let stays = crowd::CROWD_STAYS.as_millis() as u64;
    assert_eq!((group.crowd.is_there(seen + stays - 1), group.crowd.is_there(seen + stays)), (true, false));
}

/// Transactions for six requests, five of which come while the first is under way.
async fn transactions(size: NonZeroUsize) -> usize {
    let (go_on, goes_on) = std::sync::mpsc::channel();
    let transactions = Arc::new(AtomicUsize::new(0));
    let counted = Counted { database: Sqlite::in_memory().unwrap(), transactions: Arc::clone(&transactions), goes_on };
    let (group, writer) = start(Box::new(counted), size);
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
    }
}

#[tokio::test]
async fn sign_ups_share_a_transaction_and_those_who_have_gone_away_are_left_out() {
    let (go_on, goes_on) = std::sync::mpsc::channel();
    let transactions = Arc::new(AtomicUsize::new(0));
    let counted = Counted { database: Sqlite::in_memory().unwrap(), transactions: Arc::clone(&transactions), goes_on };
    let clock = ManualClock::new(Timestamp::from_unix_s(1_619_013_600));
    let (group, _) = Group::start(Box::new(counted), MAX_GROUP, Arc::new(clock.clone()), receipt_signer()).unwrap();
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
            tokio::spawn(async move { group.receive(sign_up(number)).await })
        })
        .into();
    let goes = tokio::spawn({
        let group = group.clone();
        async move { group.receive(sign_up(3)).await }
    });
    while group.waiting() < 4 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(30));
    goes.abort();
    assert!(goes.await.is_err());
    go_on.send(()).unwrap();
    assert!(first.await.unwrap().is_ok());
    let mut places = Vec::new();
    for one in stays {
        let received = one.await.unwrap().unwrap();
        assert_eq!(received.receipt.received_s, clock.now().unix_s(), "the moment of the transaction, not that of the request");
        places.push(received.receipt.place);
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
    let (group, _) = start(Box::new(counted), MAX_GROUP);
    group.rate.store(100, std::sync::atomic::Ordering::Relaxed);
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..=500 {
        let group = group.clone();
        waiting.spawn(async move { group.receive(sign_up((number % 250) as u8)).await });
        // The first is under way and waits no more.
        while transactions.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }
    while group.waiting() < 500 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(group.receive(sign_up(0)).await, Err(GroupError::Busy)));
    assert_eq!(group.backlog(), Duration::from_millis(5_010), "500 wait, and one was turned away");
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
