//! The proof, from both sides: what people hold, held against what the database has and what the server says when it is asked again.
//!
//! ```text
//! lost               somebody has a receipt, and the database has no such sign-up
//! half               a sign-up without its task, or a task without its sign-up
//! changed receipts   not signed by this authority, for something else than was sent, not what the database has, or another one when asked for again
//! places twice       a place that two sign-ups have, in receipts or in the database
//! out of order       a sign-up that was received earlier than the one with the place before, and somebody with a place before another's who was acknowledged
//!                    before they sent anything at all
//! ```

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::future::try_join_all;
use hyper::StatusCode;
use postgres::NoTls;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use vigie::courier::waitlist::{OperationId, Receipt, ReceiptKey, SignUpResponse};

use super::forms::Person;
use super::person::{Link, Outcome, Target};
use crate::progress::Progress;

/// Connections over which everybody asks again.
const ASKING: usize = 64;

/// So often it is asked again whether somebody has the same receipt, where the server is busy.
const PATIENCE: usize = 120;

/// So often where it says that it failed: it may have been somebody else's sign-up in the same transaction.
const FAILURES: usize = 10;

/// So long in between, and up to twice as long, each in their own time: who fails takes those along that share a transaction.
const PAUSE: Duration = Duration::from_millis(500);

/// Who was acknowledged by less than this before somebody else came proves nothing. The processes of a crowd count from the same moment, each with a clock of
/// its own: the moment is told in milliseconds of the wall clock, and a busy machine may hold a process up between reading that clock and its own. And a
/// person's times are cut to milliseconds, so that they come up to one too early.
const CLOCKS_US: u64 = 20_000;

/// By its operation, and with its place: a task of a correction has another operation.
const SIGN_UPS: &str =
    "SELECT s.place, s.operation_id, s.form_hash, s.received_s, CAST(CASE WHEN t.place IS NULL THEN 0 ELSE 1 END AS BIGINT)
    FROM sign_up s LEFT JOIN task t ON t.operation_id = s.operation_id AND t.place = s.place ORDER BY s.place, s.received_s";
const STRAY_TASKS: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM task WHERE place NOT IN (SELECT place FROM sign_up)";

/// Forms that are not opened, and confirmations that are not sent.
const WAITS: &str = "SELECT CAST((SELECT COUNT(*) FROM task WHERE done_at IS NULL) +
    (SELECT COUNT(*) FROM mail WHERE sent_at IS NULL AND given_up_at IS NULL AND kind = 'confirmation') AS BIGINT)";

/// Where the sign-ups are.
#[derive(Debug, Clone)]
pub(super) enum Database {
    Sqlite(PathBuf),
    Postgres(String),
}

/// What a database has.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    /// In the order of places.
    rows: Vec<Row>,
    stray_tasks: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    place: u64,
    operation: OperationId,
    form_hash: [u8; 32],
    received_s: i64,
    has_task: bool,
}

impl Row {
    fn new(place: i64, operation: &[u8], form_hash: &[u8], received_s: i64, has_task: i64) -> anyhow::Result<Self> {
        let strange = "the database has a sign-up that is none";
        Ok(Self {
            place: u64::try_from(place).context(strange)?,
            operation: OperationId(operation.try_into().context(strange)?),
            form_hash: form_hash.try_into().context(strange)?,
            received_s,
            has_task: has_task == 1,
        })
    }
}

impl Database {
    /// Reads all of it, and changes nothing. It blocks.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn read(&self) -> anyhow::Result<Book> {
        match self {
            Self::Sqlite(path) => sqlite(path).with_context(|| format!("{} cannot be read", path.display())),
            Self::Postgres(url) => postgres(url).context("PostgreSQL cannot be read"),
        }
    }

    /// How many forms and confirmations wait. It blocks.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn waits(&self) -> anyhow::Result<i64> {
        Ok(match self {
            Self::Sqlite(path) => read_only(path)?.query_row(WAITS, [], |row| row.get(0))?,
            Self::Postgres(url) => postgres::Client::connect(url, NoTls)?.query_one(WAITS, &[])?.try_get(0)?,
        })
    }
}

fn read_only(path: &std::path::Path) -> anyhow::Result<Connection> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    database.busy_timeout(Duration::from_secs(10))?;
    Ok(database)
}

fn sqlite(path: &std::path::Path) -> anyhow::Result<Book> {
    let database = read_only(path)?;
    let mut statement = database.prepare(SIGN_UPS)?;
    let mut found = statement.query([])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let bytes = |column| row.get_ref(column).and_then(|value| Ok(value.as_blob()?));
        rows.push(Row::new(row.get(0)?, bytes(1)?, bytes(2)?, row.get(3)?, row.get(4)?)?);
    }
    let stray_tasks: i64 = database.query_row(STRAY_TASKS, [], |row| row.get(0))?;
    Ok(Book { rows, stray_tasks: usize::try_from(stray_tasks)? })
}

fn postgres(url: &str) -> anyhow::Result<Book> {
    let mut database = postgres::Client::connect(url, NoTls)?;
    let rows = database.query(SIGN_UPS, &[])?;
    let row = |row: &postgres::Row| Row::new(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    let rows = rows.iter().map(row).collect::<anyhow::Result<_>>()?;
    let stray_tasks: i64 = database.query_one(STRAY_TASKS, &[])?.try_get(0)?;
    Ok(Book { rows, stray_tasks: usize::try_from(stray_tasks)? })
}

/// What somebody sent, and what they hold. Times are counted from the start of the clock, in microseconds.
pub(super) struct Holder {
    person: Person,
    /// Nothing was sent before.
    arrived_us: u64,
    /// The answer that should hold a receipt, and when it had come.
    answer: Option<(u64, String)>,
}

impl Holder {
    pub(super) fn new(person: Person, outcome: &Outcome) -> Self {
        let answer = outcome.acknowledged.as_ref().map(|(at, _, answer)| (*at, answer.clone()));
        Self { person, arrived_us: outcome.arrived_us, answer }
    }
}

/// A place, as its holder knows it.
struct Held {
    arrived_us: u64,
    acknowledged_us: u64,
    place: u64,
}

/// What was proved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Proof {
    /// People with a receipt that is theirs.
    pub(super) acknowledged: usize,
    pub(super) lost: usize,
    pub(super) half: usize,
    pub(super) changed_receipts: usize,
    pub(super) places_twice: usize,
    pub(super) out_of_order: usize,
    /// Sign-ups in the database; nothing where it was not read.
    pub(super) sign_ups: Option<usize>,
    /// People who asked again.
    pub(super) asked_again: usize,
}

impl Proof {
    /// Whether nothing is wrong.
    pub(super) fn is_good(&self) -> bool {
        let Self { lost, half, changed_receipts, places_twice, out_of_order, .. } = self;
        [lost, half, changed_receipts, places_twice, out_of_order].into_iter().all(|wrong| *wrong == 0)
    }
}

/// Holds what people have against the database, where it was read, and against what the server said when it was asked again: the numbers of those who
/// got something else.
///
/// # Errors
/// Where what was sent is no sign-up.
pub(super) fn judge(
    holders: &[Holder],
    keys: &[ReceiptKey],
    book: Option<&Book>,
    otherwise: &HashSet<usize>,
) -> anyhow::Result<Proof> {
    let kept: Option<HashMap<OperationId, &Row>> = book.map(|book| book.rows.iter().map(|row| (row.operation, row)).collect());
    let mut proof = Proof { sign_ups: book.map(|book| book.rows.len()), ..Proof::default() };
    let mut places: HashMap<u64, HashSet<OperationId>> = HashMap::new();
    let mut held = Vec::new();
    for (number, holder) in holders.iter().enumerate() {
        let Some((acknowledged_us, answer)) = &holder.answer else { continue };
        proof.asked_again += 1;
        let (operation, form_hash) = (holder.person.operation, holder.person.form_hash()?);
        let own = |receipt: &Receipt| receipt.operation_id == operation && receipt.form_hash == form_hash;
        let Some(receipt) = verified(answer, keys).filter(own) else {
            proof.changed_receipts += 1;
            continue;
        };
        proof.acknowledged += 1;
        places.entry(receipt.place).or_default().insert(operation);
        held.push(Held { arrived_us: holder.arrived_us, acknowledged_us: *acknowledged_us, place: receipt.place });
        let row = kept.as_ref().map(|kept| kept.get(&operation));
        if row == Some(None) {
            proof.lost += 1;
        }
        let is_as_kept = row.flatten().is_none_or(|row| {
            (row.place, row.form_hash, row.received_s) == (receipt.place, receipt.form_hash, receipt.received_s)
        });
        if !is_as_kept || otherwise.contains(&number) {
            proof.changed_receipts += 1;
        }
    }
    if let Some(book) = book {
        for row in &book.rows {
            places.entry(row.place).or_default().insert(row.operation);
        }
        proof.half = book.rows.iter().filter(|row| !row.has_task).count() + book.stray_tasks;
        proof.out_of_order = book.rows.windows(2).filter(|pair| pair[1].received_s < pair[0].received_s).count();
    }
    proof.out_of_order += overtaken(&held);
    proof.places_twice = places.values().filter(|operations| operations.len() > 1).count();
    Ok(proof)
}

/// How many have a place before that of somebody who was acknowledged before they came: what is committed first comes first.
fn overtaken(held: &[Held]) -> usize {
    let (mut arrived, mut acknowledged): (Vec<&Held>, Vec<&Held>) = (held.iter().collect(), held.iter().collect());
    arrived.sort_by_key(|held| held.arrived_us);
    acknowledged.sort_by_key(|held| held.acknowledged_us);
    let mut earlier = acknowledged.into_iter().peekable();
    let mut greatest = 0;
    let has_overtaken = |held: &&&Held| {
        while let Some(other) = earlier.next_if(|other| other.acknowledged_us + CLOCKS_US < held.arrived_us) {
            greatest = greatest.max(other.place);
        }
        held.place < greatest
    };
    arrived.iter().filter(has_overtaken).count()
}

/// What a receipt says, if this authority has signed it.
fn verified(answer: &str, keys: &[ReceiptKey]) -> Option<Receipt> {
    let receipt = receipt(answer)?;
    keys.iter().find_map(|key| key.verify(&receipt).ok())
}

fn receipt(answer: &str) -> Option<String> {
    serde_json::from_str::<SignUpResponse>(answer).ok().map(|answer| answer.receipt)
}

/// Has everybody who holds a receipt send the same bytes again, and says who got another one, or none.
///
/// # Errors
/// Where the server does not answer.
pub(super) async fn ask_again(holders: &[Holder], target: &Target) -> anyhow::Result<HashSet<usize>> {
    let asking: Vec<usize> = (0..holders.len()).filter(|number| holders[*number].answer.is_some()).collect();
    let (next, otherwise) = (Cell::new(0), RefCell::new(HashSet::new()));
    let progress = RefCell::new(Progress::of_steps(asking.len() as u64, "people who ask again"));
    let worker = async |at: usize, mut link: Link| {
        let pause = PAUSE + PAUSE.mul_f64(at as f64 / ASKING as f64);
        while let Some(number) = asking.get(next.replace(next.get() + 1)) {
            if !is_same(&mut link, &holders[*number], pause).await? {
                otherwise.borrow_mut().insert(*number);
            }
            progress.borrow_mut().reach(next.get() as u64);
        }
        anyhow::Ok(())
    };
    try_join_all((0..ASKING).map(|at| worker(at, Link::new(target.clone())))).await?;
    Ok(otherwise.into_inner())
}

async fn is_same(link: &mut Link, holder: &Holder, pause: Duration) -> anyhow::Result<bool> {
    let mut failures = 0;
    for _ in 0..PATIENCE {
        match link.post(&holder.person).await {
            Ok(answer) if answer.status == StatusCode::INTERNAL_SERVER_ERROR => {
                failures += 1;
                if failures == FAILURES {
                    return Ok(false);
                }
                tokio::time::sleep(pause).await;
            }
            Ok(answer) if !answer.status.is_server_error() => {
                let said = receipt(&String::from_utf8_lossy(&answer.body));
                let held = holder.answer.as_ref().and_then(|(_, answer)| receipt(answer));
                return Ok(answer.status == StatusCode::OK && said.is_some() && said == held);
            }
            _ => tokio::time::sleep(pause).await,
        }
    }
    bail!("the server does not answer those who ask again; whether their receipts are the same is not known")
}

/// Whether there is anything to prove at all.
pub(super) fn check_count(holders: usize, people: u32) -> anyhow::Result<()> {
    ensure!(holders == people as usize, "of {people} people {holders} were found; the files of the crowd are not whole");
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;
    use vigie::courier::waitlist::{FormRules, OpeningKey, ReceiptSigner, SealingKey};

    use super::super::forms;
    use super::*;

    const RECEIVED_S: i64 = 1_619_000_000;

    /// Three people with receipts, the key, and the database that belongs to them.
    fn good() -> (Vec<Holder>, ReceiptSigner, Vec<ReceiptKey>, Book) {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forms");
        let opening = OpeningKey::generate("v1", &mut rng);
        let sealing = SealingKey::new("v1", &opening.public_text()).unwrap();
        let mut writer = forms::Writer::new(&path).unwrap();
        (0..3).for_each(|number| writer.add(number, &FormRules::default(), &sealing, &mut rng).unwrap());
        writer.finish().unwrap();
        // PKCS#8 of an Ed25519 key is this and 32 bytes (RFC 8410).
        let der = [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &[7; 32]].concat();
        let signer = ReceiptSigner::from_pkcs8("v1", &der).unwrap();
        let keys = vec![ReceiptKey::new(&signer.public_text()).unwrap()];
        let (mut holders, mut rows) = (Vec::new(), Vec::new());
        for (place, person) in (1..).zip(forms::read(&path).unwrap()) {
            let (operation, form_hash) = (person.operation, person.form_hash().unwrap());
            rows.push(Row { place, operation, form_hash, received_s: RECEIVED_S, has_task: true });
            let answer = format!(r#"{{"receipt":"{}"}}"#, signer.sign(operation, place, RECEIVED_S, form_hash));
            holders.push(Holder { person, arrived_us: 0, answer: Some((0, answer)) });
        }
        (holders, signer, keys, Book { rows, stray_tasks: 0 })
    }

    #[test]
    fn everything_that_is_wrong_is_counted_as_what_it_is() {
        let (holders, _, keys, book) = good();
        let all = Proof { acknowledged: 3, sign_ups: Some(3), asked_again: 3, ..Proof::default() };
        let judged =
            |book: Book, otherwise: &[usize]| judge(&holders, &keys, Some(&book), &otherwise.iter().copied().collect()).unwrap();
        assert_eq!(judged(book.clone(), &[]), all);
        let changed = |change: fn(&mut Book)| {
            let mut book = book.clone();
            change(&mut book);
            let proof = judged(book, &[]);
            assert!(!proof.is_good());
            proof
        };
        assert_eq!(
            changed(|book| book.rows = [&book.rows[..1], &book.rows[2..]].concat()),
            Proof { lost: 1, sign_ups: Some(2), ..all.clone() }
        );
        assert_eq!(changed(|book| book.rows[1].has_task = false), Proof { half: 1, ..all.clone() });
        assert_eq!(changed(|book| book.stray_tasks = 1), Proof { half: 1, ..all.clone() });
        assert_eq!(changed(|book| book.rows[1].form_hash[0] ^= 1), Proof { changed_receipts: 1, ..all.clone() });
        assert_eq!(changed(|book| book.rows[1].place = 1), Proof { changed_receipts: 1, places_twice: 1, ..all.clone() });
        let late = changed(|book| book.rows[0].received_s += 1);
        assert_eq!(late, Proof { changed_receipts: 1, out_of_order: 1, ..all.clone() });
        assert_eq!(judged(book, &[2]), Proof { changed_receipts: 1, ..all });
    }

    #[test]
    fn who_came_after_somebody_was_acknowledged_has_a_later_place_and_who_came_meanwhile_may_have_any() {
        let (mut holders, _, keys, book) = good();
        // Beyond doubt after somebody who was acknowledged at 500.
        let later = 501 + CLOCKS_US;
        // Arrived and acknowledged, in the order of their places.
        for (times, expected, course) in [
            ([(0, 500), (later, later + 1), (2 * later, 2 * later + 1)], 0, "one after the other"),
            ([(0, later), (1, 600), (2, 500)], 0, "all came before anybody was acknowledged"),
            ([(later, 2 * later), (1, 600), (2, 500)], 1, "the first came when the last was acknowledged"),
            ([(later, 2 * later), (later, 2 * later), (0, 500)], 2, "two came when the last was acknowledged"),
            ([(0, 2 * later), (later, 2 * later), (0, 500)], 1, "of these two one came before"),
            ([(later - 1, later), (0, 600), (0, 500)], 0, "so much may lie between two clocks"),
        ] {
            for (holder, (arrived_us, acknowledged_us)) in holders.iter_mut().zip(times) {
                holder.arrived_us = arrived_us;
                holder.answer.as_mut().unwrap().0 = acknowledged_us;
            }
            for book in [Some(&book), None] {
                let proof = judge(&holders, &keys, book, &HashSet::new()).unwrap();
                assert_eq!((proof.acknowledged, proof.out_of_order), (3, expected), "{course}");
                assert_eq!(proof.is_good(), expected == 0, "{course}");
            }
        }
    }

    #[test]
    fn a_receipt_for_something_else_or_of_somebody_else_is_none() {
        let (mut holders, signer, keys, _) = good();
        let own = holders[0].person.form_hash().unwrap();
        let operation = holders[0].person.operation;
        let answers = [
            holders[1].answer.clone().unwrap().1,
            format!(r#"{{"receipt":"{}"}}"#, signer.sign(operation, 1, RECEIVED_S, [0; 32])),
            r#"{"receipt":"x.y"}"#.into(),
            String::new(),
        ];
        for answer in answers {
            holders[0].answer = Some((0, answer));
            let proof = judge(&holders, &keys, None, &HashSet::new()).unwrap();
            assert_eq!((proof.acknowledged, proof.changed_receipts), (2, 1));
        }
        holders[0].answer = Some((0, format!(r#"{{"receipt":"{}"}}"#, signer.sign(operation, 2, RECEIVED_S, own))));
        let proof = judge(&holders, &keys, None, &HashSet::new()).unwrap();
        assert_eq!((proof.acknowledged, proof.places_twice, proof.sign_ups), (3, 1, None));
        holders[0].answer = None;
        let proof = judge(&holders, &keys, None, &HashSet::new()).unwrap();
        assert!(proof.is_good() && proof.acknowledged == 2, "who has no receipt has nothing to lose");
    }
}
