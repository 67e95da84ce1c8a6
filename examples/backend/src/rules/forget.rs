//! Forgetting people of the waiting list: at an operator's word, and when the time is over.

use vigie::courier::waitlist::OperationId;
use vigie::time::Timestamp;

use super::opening::{Task, load_forms};
use super::owner::erase;
use super::statements::number;
use crate::database::{DatabaseError, Transaction, Value};
use crate::waitlist::Opening;

/// Sign-ups that are looked through or erased in one transaction.
const CHUNK: i64 = 500;

/// How much was erased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Sign-ups of which nothing is left but place, time and receipt.
    pub places: Vec<u64>,
    /// Corrections.
    pub corrections: u64,
    /// Hashes of number and address.
    pub opened: u64,
    /// Mails, by the left part of their Message-IDs.
    pub mails: Vec<String>,
}

/// Erases all that says anything of the person behind a sign-up. What stays are place, time, hashes of random bytes and a signature: a phone that sends the same
/// sign-up once more gets its receipt, and does not stand on the list again.
///
/// # Errors
/// [`DatabaseError`].
pub fn forget(transaction: &mut dyn Transaction, places: &[u64], now: Timestamp) -> Result<Forgotten, DatabaseError> {
    let mut forgotten = Forgotten::default();
    for place in places {
        let value = || number(*place);
        if transaction.query("SELECT place FROM sign_up WHERE place = $1", &[value()])?.is_empty() {
            continue;
        }
        forgotten.places.push(*place);
        for row in transaction.query("SELECT message_id FROM mail WHERE place = $1", &[value()])? {
            forgotten.mails.push(row.text(0)?.to_owned());
        }
        let opened = transaction.query("SELECT place FROM opened WHERE place = $1", &[value()])?;
        forgotten.opened += opened.len() as u64;
        erase(transaction, *place, now)?;
        let task = "DELETE FROM task WHERE place = $1 AND operation_id IN (SELECT operation_id FROM correction WHERE place = $1)";
        transaction.execute(task, &[value()])?;
        forgotten.corrections += transaction.execute("DELETE FROM correction WHERE place = $1", &[value()])?;
    }
    Ok(forgotten)
}

/// The place of the sign-up with this name, and of the correction. Two only where somebody used one name twice.
///
/// # Errors
/// [`DatabaseError`].
pub fn places_of_operation(transaction: &mut dyn Transaction, operation: OperationId) -> Result<Vec<u64>, DatabaseError> {
    let rows = transaction.query(
        "SELECT place FROM sign_up WHERE operation_id = $1 UNION SELECT place FROM correction WHERE operation_id = $1",
        &[operation.0.into()],
    )?;
    rows.iter().map(|row| row.integer(0).map(i64::unsigned_abs)).collect()
}

/// All places of a national number, as a canonical form has it. Forms that are not in order are opened again and looked into.
///
/// # Errors
/// [`DatabaseError`].
pub fn places_of_number(
    transaction: &mut dyn Transaction,
    national_number: &str,
    opening: &Opening,
) -> Result<Vec<u64>, DatabaseError> {
    let rows =
        transaction.query("SELECT place FROM opened WHERE number_hash = $1", &[opening.number_hash(national_number).into()])?;
    let mut places = rows.iter().map(|row| row.integer(0).map(i64::unsigned_abs)).collect::<Result<Vec<_>, _>>()?;
    let mut last = 0;
    loop {
        let forms = load_forms(transaction, last, CHUNK)?;
        let Some(end) = forms.last() else { break };
        last = end.place;
        let is_its = |task: &&Task| {
            let form = task.form.as_ref().and_then(|form| opening.open(form, task.form_operation));
            form.is_some_and(|form| form.canonical().national_number == national_number)
        };
        places.extend(forms.iter().filter(is_its).map(|task| task.place));
    }
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

/// Erases sign-ups that came before this moment entirely, so many at a time. How many. Places rise with time, so only the first are looked at.
///
/// # Errors
/// [`DatabaseError`].
pub fn erase_sign_ups(transaction: &mut dyn Transaction, before: Timestamp) -> Result<usize, DatabaseError> {
    let rows = transaction.query("SELECT place, received_s FROM sign_up ORDER BY place LIMIT $1", &[CHUNK.into()])?;
    let mut erased = 0;
    for row in &rows {
        if row.integer(1)? >= before.unix_s() {
            continue;
        }
        let place: [Value; 1] = [row.integer(0)?.into()];
        for table in ["task", "mail", "opened", "correction", "sign_up"] {
            transaction.execute(&format!("DELETE FROM {table} WHERE place = $1"), &place)?;
        }
        erased += 1;
    }
    Ok(erased)
}
