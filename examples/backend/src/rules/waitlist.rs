//! The waiting list: taking sign-ups in.
//!
//! Sign-ups come in crowds, so they are taken in many at a time: three statements for up to 64 of them. In each transaction all that is new gets a place,
//! the log number, and its task. Nothing here can read a form.

use std::collections::{HashMap, HashSet};

use vigie::courier::waitlist::{OperationId, Receipt, ReceiptSigner, SealedForm, SecretHash, State};
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

/// What was committed, now or before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Of the sign-up or correction.
    pub receipt: Receipt,
    /// Shows that the receipt was signed.
    pub proof: Vec<u8>,
    /// Whether it was committed now.
    pub is_new: bool,
}

impl Received {
    /// The receipt, signed: the same for ever.
    pub fn receipt_text(&self) -> String {
        self.receipt.to_text(&self.proof)
    }
}

/// Takes sign-ups in, in their order; an answer for each. `signer` signs the receipts of those that are new, which are received `now`: a moment of
/// this transaction, so that places rise with the time of a machine also where several of its processes write in turns.
///
/// # Errors
/// [`DatabaseError`]; nothing is kept then.
pub fn receive(
    transaction: &mut dyn Transaction,
    sign_ups: &[&SignUp],
    signer: &ReceiptSigner,
    now: Timestamp,
) -> Result<Vec<Result<Received, Refusal>>, DatabaseError> {
    let mut known = known(transaction, sign_ups)?;
    let hashes: Vec<[u8; 32]> = sign_ups.iter().map(|one| one.form.hash(one.operation, &one.secret_hash)).collect();
    let mut seen = HashSet::new();
    let mut is_new = |one: &SignUp| !known.contains_key(&one.operation) && seen.insert(one.operation);
    let new = sign_ups.iter().copied().zip(&hashes).filter(|(sign_up, _)| is_new(sign_up)).collect();
    let last = last_place(transaction)?;
    let new = signed(new, last, signer, now);
    insert(transaction, &new)?;
    if let Some((newest, _)) = new.last() {
        transaction
            .execute("UPDATE setting SET number = $1 WHERE name = $2", &[number(newest.receipt.place), LAST_PLACE.into()])?;
    }
    known.extend(new.into_iter().map(|(received, sign_up)| (sign_up.operation, (received, sign_up.repeat_hash))));
    let mut answer = |sign_up: &SignUp, form_hash| {
        let (received, repeat_hash) = known.get_mut(&sign_up.operation).ok_or(DatabaseError::Undone)?;
        let answer = known_before(sign_up, form_hash, received, *repeat_hash);
        // Who comes again in the same crowd was there before.
        received.is_new = false;
        Ok(answer)
    };
    sign_ups.iter().zip(hashes).map(|(sign_up, form_hash)| answer(sign_up, form_hash)).collect()
}

/// What those who are new receive: the places behind `last`, in their order.
fn signed<'a>(
    new: Vec<(&'a SignUp, &[u8; 32])>,
    last: u64,
    signer: &ReceiptSigner,
    now: Timestamp,
) -> Vec<(Received, &'a SignUp)> {
    let receipt = |(place, (sign_up, form_hash)): (u64, &(&SignUp, &[u8; 32]))| Receipt {
        key_id: signer.id().to_owned(),
        operation_id: sign_up.operation,
        place,
        received_s: now.unix_s(),
        form_hash: **form_hash,
    };
    let receipts: Vec<Receipt> = (last + 1..).zip(&new).map(receipt).collect();
    let proofs = signer.prove(&receipts);
    let received = receipts.into_iter().zip(proofs).map(|(receipt, proof)| Received { receipt, proof, is_new: true });
    received.zip(new.into_iter().map(|(sign_up, _)| sign_up)).collect()
}

/// Those of the sign-ups that came before.
fn known(transaction: &mut dyn Transaction, sign_ups: &[&SignUp]) -> Result<HashMap<OperationId, Kept>, DatabaseError> {
    let mut known = HashMap::new();
    for chunk in chunks(sign_ups) {
        let statement = format!("{SELECT} WHERE operation_id IN {}", placeholders(1, chunk.len()));
        let ids: Vec<Value> = chunk.iter().map(|sign_up| sign_up.operation.0.into()).collect();
        for row in transaction.query(&statement, &ids)? {
            let kept = kept(&row)?;
            known.insert(kept.0.receipt.operation_id, kept);
        }
    }
    Ok(known)
}

/// What a sign-up got that is sealed to a key that is not taken any more: it may have come before the key went.
///
/// # Errors
/// [`Refusal::UnknownKey`] where it has not, and [`Refusal::OperationReused`].
pub fn repeated(transaction: &mut dyn Transaction, sign_up: &SignUp) -> Result<Received, RuleError> {
    let rows = transaction.query(&format!("{SELECT} WHERE operation_id = $1"), &[sign_up.operation.0.into()])?;
    let (received, repeat_hash) = kept(rows.first().ok_or(Refusal::UnknownKey)?)?;
    let form_hash = sign_up.form.hash(sign_up.operation, &sign_up.secret_hash);
    Ok(known_before(sign_up, form_hash, &received, repeat_hash)?)
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
        None => first.receipt.form_hash == form_hash,
    };
    if is_same { Ok(first.clone()) } else { Err(Refusal::OperationReused) }
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
            "INSERT INTO sign_up (place, operation_id, form_hash, secret_hash, repeat_hash, receipt_key, receipt_proof, received_s, form_operation,
             key_id, encapsulated, sealed, state, reason) VALUES {}",
            rows_of(14, chunk.len())
        );
        let values: Vec<Value> = chunk.iter().flat_map(|(received, sign_up)| columns(received, sign_up)).collect();
        transaction.execute(&statement, &values)?;
        let statement = format!("INSERT INTO task (operation_id, place) VALUES {}", rows_of(2, chunk.len()));
        let task = |(Received { receipt, .. }, _): &(Received, &SignUp)| [receipt.operation_id.0.into(), number(receipt.place)];
        let values: Vec<Value> = chunk.iter().flat_map(task).collect();
        transaction.execute(&statement, &values)?;
    }
    Ok(())
}

fn columns(Received { receipt, proof, .. }: &Received, sign_up: &SignUp) -> [Value; 14] {
    [
        number(receipt.place),
        receipt.operation_id.0.into(),
        receipt.form_hash.into(),
        sign_up.secret_hash.0.into(),
        sign_up.repeat_hash.map_or(Value::Null, Value::from),
        receipt.key_id.as_str().into(),
        proof.as_slice().into(),
        receipt.received_s.into(),
        receipt.operation_id.0.into(),
        sign_up.form.key_id.as_str().into(),
        sign_up.form.encapsulated.into(),
        sign_up.form.sealed.as_slice().into(),
        word(State::Received).into(),
        "".into(),
    ]
}

/// What [`kept`] reads, and what an owner is told.
pub(super) const SELECT: &str = "SELECT operation_id, place, form_hash, receipt_key, received_s, receipt_proof, repeat_hash,
    secret_hash, state, reason FROM sign_up";

/// What was received, and the hash that knows its repeat.
type Kept = (Received, Option<[u8; 32]>);

pub(super) fn kept(row: &Row) -> Result<Kept, DatabaseError> {
    let receipt = Receipt {
        operation_id: OperationId(array(row, 0)?),
        place: row.integer(1)?.unsigned_abs(),
        form_hash: array(row, 2)?,
        key_id: row.text(3)?.to_owned(),
        received_s: row.integer(4)?,
    };
    let received = Received { receipt, proof: row.bytes(5)?.to_vec(), is_new: false };
    let repeat_hash = if row.optional_bytes(6)?.is_some() { Some(array(row, 6)?) } else { None };
    Ok((received, repeat_hash))
}

#[cfg(test)]
mod tests;
