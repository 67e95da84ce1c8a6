//! The waiting list: what the owner of a sign-up may do with it.

use vigie::courier::waitlist::{OperationId, Receipt, ReceiptSigner, SealedForm, Secret, State};
use vigie::time::Timestamp;

use super::statements::number;
use super::waitlist::{Received, SELECT, kept};
use super::{Context, Refusal, RuleError};
use crate::database::{DatabaseError, Transaction};

/// How a sign-up stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its receipt.
    pub received: Received,
    /// How it stands.
    pub state: State,
    /// Why it was rejected; empty where it was not.
    pub reason: String,
}

/// Another form for a sign-up.
#[derive(Debug, Clone)]
pub struct Correction {
    /// Of the correction.
    pub operation: OperationId,
    /// Of the sign-up.
    pub sign_up: OperationId,
    /// Shows that the sign-up is one's own.
    pub secret: Secret,
    /// The form.
    pub form: SealedForm,
    /// Whether its key is taken; its repeat is answered even where it is not any more.
    pub has_known_key: bool,
}

/// How a sign-up stands, for its owner.
///
/// # Errors
/// [`Refusal::UnknownOperation`] for everybody else, as if there were none.
pub fn status(
    transaction: &mut dyn Transaction,
    operation: OperationId,
    secret: &Secret,
    context: &Context<'_>,
) -> Result<Standing, RuleError> {
    let rows = transaction.query(&format!("{SELECT} WHERE operation_id = $1"), &[operation.0.into()])?;
    let row = rows.first().ok_or(Refusal::UnknownOperation)?;
    if !context.secrets.is_same(&secret.hash().0, row.bytes(7)?) {
        return Err(Refusal::UnknownOperation.into());
    }
    let state = state(row.text(8)?).ok_or(DatabaseError::Column { column: 8 })?;
    Ok(Standing { received: kept(row)?.0, state, reason: row.text(9)?.to_owned() })
}

/// Puts another form in the place of the present one; it is opened and confirmed like the first.
///
/// # Errors
/// [`Refusal::UnknownOperation`] for everybody but the owner, and after a withdrawal; [`Refusal::OperationReused`], [`Refusal::UnknownKey`].
pub fn correct(
    transaction: &mut dyn Transaction,
    correction: &Correction,
    signer: &ReceiptSigner,
    context: &Context<'_>,
) -> Result<Received, RuleError> {
    let standing = status(transaction, correction.sign_up, &correction.secret, context)?;
    let form_hash = correction.form.hash(correction.operation, &correction.secret.hash());
    let rows = transaction.query(
        "SELECT operation_id, place, form_hash, receipt_key, received_s, receipt_proof, NULL FROM correction WHERE operation_id = $1",
        &[correction.operation.0.into()],
    )?;
    if let Some(row) = rows.first() {
        let (received, _) = kept(row)?;
        let is_same = received.receipt.form_hash == form_hash && received.receipt.place == standing.received.receipt.place;
        return if is_same { Ok(received) } else { Err(Refusal::OperationReused.into()) };
    }
    if standing.state == State::Withdrawn {
        return Err(Refusal::UnknownOperation.into());
    }
    if !correction.has_known_key {
        return Err(Refusal::UnknownKey.into());
    }
    let is_sign_up =
        !transaction.query("SELECT place FROM sign_up WHERE operation_id = $1", &[correction.operation.0.into()])?.is_empty();
    if is_sign_up {
        return Err(Refusal::OperationReused.into());
    }
    let receipt = Receipt {
        key_id: signer.id().to_owned(),
        operation_id: correction.operation,
        place: standing.received.receipt.place,
        received_s: context.now.unix_s(),
        form_hash,
    };
    let proof = signer.prove_one(&receipt);
    let received = Received { receipt, proof, is_new: true };
    replace(transaction, correction, &received)?;
    Ok(received)
}

fn replace(transaction: &mut dyn Transaction, correction: &Correction, received: &Received) -> Result<(), DatabaseError> {
    let (form, Received { receipt, proof, .. }) = (&correction.form, received);
    transaction.execute(
        "INSERT INTO correction (operation_id, place, form_hash, receipt_key, receipt_proof, received_s) VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            receipt.operation_id.0.into(),
            number(receipt.place),
            receipt.form_hash.into(),
            receipt.key_id.as_str().into(),
            proof.as_slice().into(),
            receipt.received_s.into(),
        ],
    )?;
    transaction.execute(
        "UPDATE sign_up SET form_operation = $1, key_id = $2, encapsulated = $3, sealed = $4, state = $5, reason = '' WHERE place = $6",
        &[
            receipt.operation_id.0.into(),
            form.key_id.as_str().into(),
            form.encapsulated.into(),
            form.sealed.as_slice().into(),
            word(State::Received).into(),
            number(receipt.place),
        ],
    )?;
    transaction.execute(
        "INSERT INTO task (operation_id, place) VALUES ($1, $2)",
        &[receipt.operation_id.0.into(), number(receipt.place)],
    )?;
    Ok(())
}

/// Withdraws a sign-up: its form and what was learned from it are erased, and its place is given to nobody.
///
/// # Errors
/// [`Refusal::UnknownOperation`] for everybody but the owner.
pub fn withdraw(
    transaction: &mut dyn Transaction,
    operation: OperationId,
    secret: &Secret,
    context: &Context<'_>,
) -> Result<Standing, RuleError> {
    let standing = status(transaction, operation, secret, context)?;
    erase(transaction, standing.received.receipt.place, context.now)?;
    Ok(Standing { state: State::Withdrawn, reason: String::new(), ..standing })
}

/// Erases all that says anything of a person, also what would know a repeat by what the form said.
///
/// # Errors
/// [`DatabaseError`].
pub(crate) fn erase(transaction: &mut dyn Transaction, place: u64, now: Timestamp) -> Result<(), DatabaseError> {
    let place = number(place);
    transaction.execute(
        "UPDATE sign_up SET key_id = NULL, encapsulated = NULL, sealed = NULL, repeat_hash = NULL, state = $1, reason = '' WHERE place = $2",
        &[word(State::Withdrawn).into(), place.clone()],
    )?;
    transaction
        .execute("UPDATE task SET done_at = $1 WHERE place = $2 AND done_at IS NULL", &[now.unix_ms().into(), place.clone()])?;
    transaction.execute("DELETE FROM opened WHERE place = $1", std::slice::from_ref(&place))?;
    transaction.execute("DELETE FROM mail WHERE place = $1", &[place])?;
    Ok(())
}

/// The word of a state.
pub(crate) const fn word(state: State) -> &'static str {
    match state {
        State::Received => "received",
        State::Processed => "processed",
        State::Rejected => "rejected",
        State::Withdrawn => "withdrawn",
    }
}

fn state(found: &str) -> Option<State> {
    [State::Received, State::Processed, State::Rejected, State::Withdrawn].into_iter().find(|state| word(*state) == found)
}
