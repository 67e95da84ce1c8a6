//! The waiting list: taking sign-ups in.
//!
//! Sign-ups come in crowds, so they are taken in many at a time: three statements for up to 64 of them. In each transaction all that is new gets a place,
//! the log number, and its task. Nothing here can read a form.

use std::collections::HashMap;

use vigie::courier::waitlist::{OperationId, SealedForm, SecretHash, State};
use vigie::time::Timestamp;

use super::owner::word;
use super::statements::{array, chunks, number, placeholders, rows_of};
use super::{Refusal, RuleError};
use crate::database::{DatabaseError, Row, Transaction, Value};

/// The counter of places.
const LAST_PLACE: &str = "waitlist place";

/// A sign-up as it came.
#[derive(Debug, Clone)]
pub struct SignUp {
    /// Its name.
    pub operation: OperationId,
    /// The form.
    pub form: SealedForm,
    /// Who may ask, correct and withdraw.
    pub secret_hash: SecretHash,
    /// Knows the repeat of a form that was sealed by this server: sealing never gives the same bytes again.
    pub repeat_hash: Option<[u8; 32]>,
}

/// What was committed, now or before: what a receipt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Of the sign-up or correction.
    pub operation: OperationId,
    /// The log number.
    pub place: u64,
    /// When it was committed.
    pub received_s: i64,
    /// Of the form.
    pub form_hash: [u8; 32],
    /// Which key signs the receipt.
    pub receipt_key: String,
    /// Whether it was committed now.
    pub is_new: bool,
}

/// Takes sign-ups in, in their order; an answer for each. `receipt_key` signs the receipts of those that are new, which are received `now`: a moment of
/// this transaction, so that places rise with the time of a machine also where several of its processes write in turns.
///
/// # Errors
/// [`DatabaseError`]; nothing is kept then.
pub fn receive(
    transaction: &mut dyn Transaction,
    sign_ups: &[SignUp],
    receipt_key: &str,
    now: Timestamp,
) -> Result<Vec<Result<Received, Refusal>>, DatabaseError> {
    let mut known = HashMap::new();
    for chunk in chunks(sign_ups) {
        let statement = format!("{SELECT} WHERE operation_id IN {}", placeholders(1, chunk.len()));
        let ids: Vec<Value> = chunk.iter().map(|sign_up| sign_up.operation.0.into()).collect();
        for row in transaction.query(&statement, &ids)? {
            let kept = kept(&row)?;
            known.insert(kept.0.operation, kept);
        }
    }
    let first = last_place(transaction)?;
    let (mut place, mut new, mut answers) = (first, Vec::new(), Vec::with_capacity(sign_ups.len()));
    for sign_up in sign_ups {
        let form_hash = sign_up.form.hash(sign_up.operation, &sign_up.secret_hash);
        if let Some((received, repeat_hash)) = known.get(&sign_up.operation) {
            answers.push(known_before(sign_up, form_hash, received, *repeat_hash));
            continue;
        }
        place += 1;
        let received = Received {
            operation: sign_up.operation,
            place,
            received_s: now.unix_s(),
            form_hash,
            receipt_key: receipt_key.to_owned(),
            is_new: true,
        };
        known.insert(sign_up.operation, (received.clone(), sign_up.repeat_hash));
        new.push((received.clone(), sign_up));
        answers.push(Ok(received));
    }
    insert(transaction, &new)?;
    if place > first {
        let last = i64::try_from(place).unwrap_or(i64::MAX);
        transaction.execute("UPDATE setting SET number = $1 WHERE name = $2", &[last.into(), LAST_PLACE.into()])?;
    }
    Ok(answers)
}

/// What a sign-up got that is sealed to a key that is not taken any more: it may have come before the key went.
///
/// # Errors
/// [`Refusal::UnknownKey`] where it has not, and [`Refusal::OperationReused`].
pub fn repeated(transaction: &mut dyn Transaction, sign_up: &SignUp) -> Result<Received, RuleError> {
    let rows = transaction.query(&format!("{SELECT} WHERE operation_id = $1"), &[sign_up.operation.0.into()])?;
    let (received, repeat_hash) = kept(rows.first().ok_or(Refusal::UnknownKey)?)?;
    Ok(known_before(sign_up, sign_up.form.hash(sign_up.operation, &sign_up.secret_hash), &received, repeat_hash)?)
}

/// The first answer to an operation, where this is its repeat.
fn known_before(
    sign_up: &SignUp,
    form_hash: [u8; 32],
    first: &Received,
    repeat_hash: Option<[u8; 32]>,
) -> Result<Received, Refusal> {
    let is_same = match sign_up.repeat_hash {
        Some(_) => sign_up.repeat_hash == repeat_hash,
        None => first.form_hash == form_hash,
    };
    if is_same { Ok(Received { is_new: false, ..first.clone() }) } else { Err(Refusal::OperationReused) }
}

/// The last place that was given.
pub(crate) fn last_place(transaction: &mut dyn Transaction) -> Result<u64, DatabaseError> {
    let rows = transaction.query("SELECT number FROM setting WHERE name = $1", &[LAST_PLACE.into()])?;
    if let Some(row) = rows.first() {
        return Ok(row.integer(0)?.unsigned_abs());
    }
    transaction.execute("INSERT INTO setting (name, number) VALUES ($1, 0)", &[LAST_PLACE.into()])?;
    Ok(0)
}

fn insert(transaction: &mut dyn Transaction, new: &[(Received, &SignUp)]) -> Result<(), DatabaseError> {
    for chunk in chunks(new) {
        let statement = format!(
            "INSERT INTO sign_up (place, operation_id, form_hash, secret_hash, repeat_hash, receipt_key, received_s, form_operation, key_id,
             encapsulated, sealed, state, reason) VALUES {}",
            rows_of(13, chunk.len())
        );
        let values: Vec<Value> = chunk.iter().flat_map(|(received, sign_up)| columns(received, sign_up)).collect();
        transaction.execute(&statement, &values)?;
        let statement = format!("INSERT INTO task (operation_id, place) VALUES {}", rows_of(2, chunk.len()));
        let task = |(received, _): &(Received, &SignUp)| [received.operation.0.into(), number(received.place)];
        let values: Vec<Value> = chunk.iter().flat_map(task).collect();
        transaction.execute(&statement, &values)?;
    }
    Ok(())
}

fn columns(received: &Received, sign_up: &SignUp) -> [Value; 13] {
    [
        number(received.place),
        received.operation.0.into(),
        received.form_hash.into(),
        sign_up.secret_hash.0.into(),
        sign_up.repeat_hash.map_or(Value::Null, Value::from),
        received.receipt_key.as_str().into(),
        received.received_s.into(),
        received.operation.0.into(),
        sign_up.form.key_id.as_str().into(),
        sign_up.form.encapsulated.into(),
        sign_up.form.sealed.as_slice().into(),
        word(State::Received).into(),
        "".into(),
    ]
}

/// What [`kept`] reads, and what an owner is told.
pub(super) const SELECT: &str =
    "SELECT operation_id, place, form_hash, receipt_key, received_s, repeat_hash, secret_hash, state, reason FROM sign_up";

/// A receipt, and the hash that knows its repeat.
pub(super) fn kept(row: &Row) -> Result<(Received, Option<[u8; 32]>), DatabaseError> {
    let received = Received {
        operation: OperationId(array(row, 0)?),
        place: row.integer(1)?.unsigned_abs(),
        form_hash: array(row, 2)?,
        receipt_key: row.text(3)?.to_owned(),
        received_s: row.integer(4)?,
        is_new: false,
    };
    let repeat_hash = if row.optional_bytes(5)?.is_some() { Some(array(row, 5)?) } else { None };
    Ok((received, repeat_hash))
}

#[cfg(test)]
mod tests;
