//! What runs after a sign-up was taken in: its form is opened and checked, its number compared with those on the list, and its mails are noted.
//!
//! ```text
//! load (transaction) -> open (no transaction: the private key's work) -> settle (transaction: all states of a round at once)
//! ```
//!
//! Whatever somebody can see of their own sign-up - its state, the reason, when both change, the mail to the address given - follows from their own
//! forms alone. That the number was on the list already leads to a notice for those who gave it before, and to nothing else. Notices wait for the end of
//! the day (UTC), one for a sign-up and a day: who signs up twice around somebody else gets the same mails, whether or not there was somebody.

use std::collections::{HashMap, HashSet};

use vigie::courier::waitlist::{Contact, FormRules, OperationId, SealedForm, State};
use vigie::time::Timestamp;

use super::owner::word;
use super::statements::{array, chunks, number, placeholders, rows_of};
use crate::database::{DatabaseError, Row, Transaction, Value};
use crate::waitlist::Opening;

/// The reason of a form that cannot be opened, or is no form.
const UNREADABLE: &str = "form";

/// The reason of a correction that names another person: places could be traded otherwise.
const OTHER_NUMBER: &str = "national_number";

/// A sealed form that waits.
#[derive(Debug, Clone)]
pub struct Task {
    /// Of the sign-up or correction.
    pub operation: OperationId,
    /// Of the sign-up.
    pub place: u64,
    /// For which operation the present form was sealed: another one where this task's form was corrected meanwhile.
    pub form_operation: OperationId,
    /// The form; nothing where it was withdrawn.
    pub form: Option<SealedForm>,
}

/// What a form says, as far as the list needs it.
#[derive(Clone, PartialEq, Eq)]
pub struct Hashes {
    /// Of the national number.
    pub number: [u8; 32],
    /// Of the address.
    pub contact: [u8; 32],
}

/// What came of a task.
pub struct Finding {
    operation: OperationId,
    place: u64,
    /// The reason of a rejection.
    form: Result<Hashes, &'static str>,
    /// The mail to the address that was given.
    confirmation: String,
}

/// Tasks that are not done, in the order of places.
///
/// # Errors
/// [`DatabaseError`].
pub fn load_tasks(transaction: &mut dyn Transaction, limit: u32) -> Result<Vec<Task>, DatabaseError> {
    let rows = transaction.query(
        "SELECT task.operation_id, task.place, form_operation, key_id, encapsulated, sealed
         FROM task JOIN sign_up ON sign_up.place = task.place WHERE done_at IS NULL ORDER BY task.place LIMIT $1",
        &[i64::from(limit).into()],
    )?;
    rows.iter().map(task).collect()
}

/// Forms that are not in order, or not opened yet, of places after this one.
///
/// # Errors
/// [`DatabaseError`].
pub(super) fn load_forms(transaction: &mut dyn Transaction, after: u64, limit: i64) -> Result<Vec<Task>, DatabaseError> {
    let rows = transaction.query(
        "SELECT form_operation, place, form_operation, key_id, encapsulated, sealed FROM sign_up
         WHERE place > $1 AND state IN ('received', 'rejected') ORDER BY place LIMIT $2",
        &[number(after), limit.into()],
    )?;
    rows.iter().map(task).collect()
}

fn task(row: &Row) -> Result<Task, DatabaseError> {
    Ok(Task {
        operation: OperationId(array(row, 0)?),
        place: row.integer(1)?.unsigned_abs(),
        form_operation: OperationId(array(row, 2)?),
        form: sealed(row, 3)?,
    })
}

/// The form in this column and the two after it.
pub(super) fn sealed(row: &Row, column: usize) -> Result<Option<SealedForm>, DatabaseError> {
    let Some(key_id) = row.optional_text(column)? else { return Ok(None) };
    let sealed = row.bytes(column + 2)?.to_vec();
    Ok(Some(SealedForm { key_id: key_id.to_owned(), encapsulated: array(row, column + 1)?, sealed }))
}

/// Opens and checks a form. Nothing where there is none to open: it was withdrawn, or a correction took its place. `year` is the present one.
pub fn open_form(task: &Task, opening: &Opening, rules: &FormRules, year: u16) -> Option<Finding> {
    let sealed = task.form.as_ref().filter(|_| task.form_operation == task.operation)?;
    let confirmation = message_id(opening, &["confirmation", &task.place.to_string(), &task.operation.to_string()]);
    Some(Finding { operation: task.operation, place: task.place, form: check(task, sealed, opening, rules, year), confirmation })
}

fn check(task: &Task, sealed: &SealedForm, opening: &Opening, rules: &FormRules, year: u16) -> Result<Hashes, &'static str> {
    let form = opening.open(sealed, task.operation).ok_or(UNREADABLE)?;
    if *form != form.canonical() {
        return Err(UNREADABLE);
    }
    form.check(rules, year).map_err(|error| error.0.as_str())?;
    // What looks like an address and is none for mails cannot be confirmed.
    if let Some(Contact::Email(address)) = form.reached_by()
        && address.parse::<lettre::Address>().is_err()
    {
        return Err("contact");
    }
    Ok(Hashes { number: opening.number_hash(&form.national_number), contact: opening.contact_hash(&form.contact) })
}

/// The left part of a Message-ID: the same for the same mail, also after a crash, and it tells nobody else anything.
fn message_id(opening: &Opening, parts: &[&str]) -> String {
    hex::encode(&opening.hash("message", &parts.join(" "))[..16])
}

/// Settles a round: what was found becomes states, hashes and mails, and all tasks of the round are done at `now`.
///
/// # Errors
/// [`DatabaseError`]; nothing is kept then.
pub fn settle(
    transaction: &mut dyn Transaction,
    tasks: &[Task],
    findings: &[Finding],
    opening: &Opening,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let current = current(transaction, findings)?;
    // Another process may have done the others, and their owners may have corrected or withdrawn them meanwhile.
    let findings: Vec<&Finding> =
        findings.iter().filter(|finding| current.contains(&(finding.place, finding.operation))).collect();
    apply(transaction, &findings, opening, now)?;
    for chunk in chunks(tasks) {
        let statement = format!(
            "UPDATE task SET done_at = $1 WHERE done_at IS NULL AND place BETWEEN $2 AND $3 AND operation_id IN {}",
            placeholders(4, chunk.len())
        );
        let ids = chunk.iter().map(|task| task.operation.0.into());
        let values: Vec<Value> = [now.unix_ms().into()].into_iter().chain(ends(chunk, |task| task.place)).chain(ids).collect();
        transaction.execute(&statement, &values)?;
    }
    Ok(())
}

/// The least and the greatest place of a chunk: tasks are kept by place.
fn ends<T>(chunk: &[T], place: impl Fn(&T) -> u64) -> [Value; 2] {
    let places = || chunk.iter().map(&place);
    [places().min(), places().max()].map(|end| number(end.unwrap_or_default()))
}

/// Places and operations whose task is not done, and whose form is the present one. One name may stand at two places.
fn current(transaction: &mut dyn Transaction, findings: &[Finding]) -> Result<HashSet<(u64, OperationId)>, DatabaseError> {
    let mut current = HashSet::new();
    for chunk in chunks(findings) {
        let statement = format!(
            "SELECT task.place, task.operation_id FROM task JOIN sign_up ON sign_up.place = task.place
             WHERE done_at IS NULL AND form_operation = task.operation_id AND sealed IS NOT NULL
             AND task.place BETWEEN $1 AND $2 AND task.operation_id IN {}",
            placeholders(3, chunk.len())
        );
        let ids = chunk.iter().map(|finding| finding.operation.0.into());
        let values: Vec<Value> = ends(chunk, |finding| finding.place).into_iter().chain(ids).collect();
        for row in transaction.query(&statement, &values)? {
            current.insert((row.integer(0)?.unsigned_abs(), OperationId(array(&row, 1)?)));
        }
    }
    Ok(current)
}

/// Findings of forms that are the present ones, so one for a place.
fn apply(
    transaction: &mut dyn Transaction,
    findings: &[&Finding],
    opening: &Opening,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let known = known(transaction, findings)?;
    let (mut processed, mut mails) = (Vec::new(), Vec::new());
    for finding in findings {
        let before = known.get(&finding.place);
        if before.is_some() {
            // What an earlier form was to be told.
            transaction.execute(
                "DELETE FROM mail WHERE place = $1 AND kind = $2 AND sent_at IS NULL",
                &[number(finding.place), CONFIRMATION.into()],
            )?;
        }
        let rejected = match &finding.form {
            Ok(hashes) if before.is_some_and(|before| *before != hashes.number) => OTHER_NUMBER,
            Ok(hashes) => {
                processed.push((*finding, hashes));
                continue;
            }
            Err(reason) => reason,
        };
        // It keeps its place and what was opened before, but nobody is invited by it until another form is in order.
        transaction.execute(
            "UPDATE sign_up SET state = $1, reason = $2 WHERE place = $3",
            &[word(State::Rejected).into(), rejected.into(), number(finding.place)],
        )?;
    }
    for chunk in chunks(&processed) {
        let statement = format!("UPDATE sign_up SET state = $1, reason = '' WHERE place IN {}", placeholders(2, chunk.len()));
        let places = chunk.iter().map(|(finding, _)| number(finding.place));
        let values: Vec<Value> = std::iter::once(word(State::Processed).into()).chain(places).collect();
        transaction.execute(&statement, &values)?;
    }
    for (finding, hashes) in processed {
        if !known.contains_key(&finding.place) {
            mails.extend(notices(transaction, hashes, opening, now)?);
        }
        transaction.execute(
            "INSERT INTO opened (place, number_hash, contact_hash, noticed_on) VALUES ($1, $2, $3, 0)
             ON CONFLICT (place) DO UPDATE SET contact_hash = excluded.contact_hash",
            &[number(finding.place), hashes.number.into(), hashes.contact.into()],
        )?;
        mails.push(NewMail { id: finding.confirmation.clone(), place: finding.place, kind: CONFIRMATION, due: now });
    }
    insert_mails(transaction, &mails, now)
}

/// The number that was found at these places before.
fn known(transaction: &mut dyn Transaction, findings: &[&Finding]) -> Result<HashMap<u64, [u8; 32]>, DatabaseError> {
    let mut known = HashMap::new();
    for chunk in chunks(findings) {
        let statement = format!("SELECT place, number_hash FROM opened WHERE place IN {}", placeholders(1, chunk.len()));
        let places: Vec<Value> = chunk.iter().map(|finding| number(finding.place)).collect();
        for row in transaction.query(&statement, &places)? {
            known.insert(row.integer(0)?.unsigned_abs(), array(&row, 1)?);
        }
    }
    Ok(known)
}

/// Kinds of mail.
pub(super) const CONFIRMATION: &str = "confirmation";
pub(super) const NOTICE: &str = "notice";

/// A mail that is to be noted.
struct NewMail {
    id: String,
    place: u64,
    kind: &'static str,
    due: Timestamp,
}

/// A notice for each sign-up on file for this number, at the end of the day; one for a sign-up and a day. Not one for an address: whether there is another
/// sign-up with the same address would show in the mails of this one. Those who are told today already are not looked at again: a thousand sign-ups with the
/// same number cost no more than a thousand others.
fn notices(
    transaction: &mut dyn Transaction,
    hashes: &Hashes,
    opening: &Opening,
    now: Timestamp,
) -> Result<Vec<NewMail>, DatabaseError> {
    let today = now.date();
    let rows = transaction.query(
        "SELECT opened.place FROM opened JOIN sign_up ON sign_up.place = opened.place
         WHERE number_hash = $1 AND noticed_on < $2 AND state <> 'rejected' ORDER BY opened.place",
        &[hashes.number.into(), i64::from(today.days()).into()],
    )?;
    transaction.execute(
        "UPDATE opened SET noticed_on = $1 WHERE number_hash = $2 AND noticed_on < $1",
        &[i64::from(today.days()).into(), hashes.number.into()],
    )?;
    let due = vigie::time::Date::from_days(today.days() + 1).first_interval().start();
    let notice = |row: &Row| {
        let place = row.integer(0)?.unsigned_abs();
        let id = message_id(opening, &[NOTICE, &place.to_string(), &today.to_string()]);
        Ok(NewMail { id, place, kind: NOTICE, due })
    };
    rows.iter().map(notice).collect()
}

fn insert_mails(transaction: &mut dyn Transaction, mails: &[NewMail], now: Timestamp) -> Result<(), DatabaseError> {
    for chunk in chunks(mails) {
        let statement = format!(
            "INSERT INTO mail (message_id, place, kind, made_at, due_at, attempts) VALUES {} ON CONFLICT (message_id) DO NOTHING",
            rows_of(6, chunk.len())
        );
        let columns = |NewMail { id, place, kind, due }: &NewMail| -> [Value; 6] {
            [id.as_str().into(), number(*place), (*kind).into(), now.unix_ms().into(), due.unix_ms().into(), 0.into()]
        };
        let values: Vec<Value> = chunk.iter().flat_map(columns).collect();
        transaction.execute(&statement, &values)?;
    }
    Ok(())
}

/// The place by which the person with this number is invited: the earliest whose form is in order, or waits to be opened again.
///
/// # Errors
/// [`DatabaseError`].
pub fn first_of(transaction: &mut dyn Transaction, number_hash: &[u8; 32]) -> Result<Option<u64>, DatabaseError> {
    let rows = transaction.query(
        "SELECT min(opened.place) FROM opened JOIN sign_up ON sign_up.place = opened.place
         WHERE number_hash = $1 AND state IN ('processed', 'received')",
        &[(*number_hash).into()],
    )?;
    Ok(rows.first().map(|row| row.optional_integer(0)).transpose()?.flatten().map(i64::unsigned_abs))
}

/// A number for which several addresses were given, for the operator to look at: its places with their forms, the earliest first.
#[derive(Debug)]
pub struct Conflict(pub Vec<(u64, OperationId, Option<SealedForm>)>);

/// All conflicts, in the order of their first places.
///
/// # Errors
/// [`DatabaseError`].
pub fn conflicts(transaction: &mut dyn Transaction) -> Result<Vec<Conflict>, DatabaseError> {
    let rows = transaction.query(
        "SELECT number_hash, opened.place, form_operation, key_id, encapsulated, sealed
         FROM opened JOIN sign_up ON sign_up.place = opened.place WHERE number_hash IN
         (SELECT number_hash FROM opened GROUP BY number_hash HAVING count(DISTINCT contact_hash) > 1)
         ORDER BY number_hash, opened.place",
        &[],
    )?;
    let (mut conflicts, mut last): (Vec<Conflict>, &[u8]) = (Vec::new(), &[]);
    for row in &rows {
        let entry = (row.integer(1)?.unsigned_abs(), OperationId(array(row, 2)?), sealed(row, 3)?);
        match conflicts.last_mut() {
            Some(conflict) if row.bytes(0)? == last => conflict.0.push(entry),
            _ => conflicts.push(Conflict(vec![entry])),
        }
        last = row.bytes(0)?;
    }
    conflicts.sort_by_key(|conflict| conflict.0.first().map(|(place, ..)| *place));
    Ok(conflicts)
}

/// What waits, for the operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Forms that are not opened.
    pub tasks: i64,
    /// Mails that are not sent.
    pub mails: i64,
}

/// Counts what waits.
///
/// # Errors
/// [`DatabaseError`].
pub fn backlog(transaction: &mut dyn Transaction) -> Result<Backlog, DatabaseError> {
    Ok(Backlog {
        tasks: count(transaction, "task WHERE done_at IS NULL")?,
        mails: count(transaction, "mail WHERE sent_at IS NULL AND given_up_at IS NULL")?,
    })
}

/// How many numbers there are for which several addresses were given. It looks at the whole list.
///
/// # Errors
/// [`DatabaseError`].
pub fn count_conflicts(transaction: &mut dyn Transaction) -> Result<i64, DatabaseError> {
    let several = "(SELECT number_hash FROM opened GROUP BY number_hash HAVING count(DISTINCT contact_hash) > 1) AS several";
    count(transaction, several)
}

fn count(transaction: &mut dyn Transaction, what: &str) -> Result<i64, DatabaseError> {
    let rows = transaction.query(&format!("SELECT count(*) FROM {what}"), &[])?;
    rows.first().map_or(Ok(0), |row| row.integer(0))
}

#[cfg(test)]
mod tests;
