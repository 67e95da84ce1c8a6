//! The waiting list: taking sign-ups in, and what their owners may do with them.
//!
//! Sign-ups come in crowds, so they are taken in many at a time: three statements for up to 64 of them. In each transaction all that is new gets a place,
//! the log number, and its task. Nothing here can read a form.

use std::collections::HashMap;

use vigie::courier::waitlist::{OperationId, SealedForm, Secret, SecretHash, State};
use vigie::time::Timestamp;

use super::{Context, Refusal, RuleError};
use crate::database::{DatabaseError, Row, Transaction, Value};

/// Rows in a statement. Few sizes, so that statements stay prepared.
const SIZES: [usize; 3] = [64, 8, 1];

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
    /// When it came.
    pub received_at: Timestamp,
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

/// Takes sign-ups in, in their order; an answer for each. `receipt_key` signs the receipts of those that are new.
///
/// # Errors
/// [`DatabaseError`]; nothing is kept then.
pub fn receive(
    transaction: &mut dyn Transaction,
    sign_ups: &[SignUp],
    receipt_key: &str,
) -> Result<Vec<Result<Received, Refusal>>, DatabaseError> {
    let mut known = HashMap::new();
    for chunk in chunks(sign_ups) {
        let statement = format!("{SELECT} WHERE operation_id IN {}", places_of(1, chunk.len()));
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
            let is_same = match sign_up.repeat_hash {
                Some(_) => sign_up.repeat_hash == *repeat_hash,
                None => received.form_hash == form_hash,
            };
            answers.push(if is_same {
                Ok(Received { is_new: false, ..received.clone() })
            } else {
                Err(Refusal::OperationReused)
            });
            continue;
        }
        place += 1;
        let received = Received {
            operation: sign_up.operation,
            place,
            received_s: sign_up.received_at.unix_s(),
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

const SELECT: &str =
    "SELECT operation_id, place, form_hash, receipt_key, received_s, repeat_hash, secret_hash, state, reason FROM sign_up";

fn kept(row: &Row) -> Result<(Received, Option<[u8; 32]>), DatabaseError> {
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
    if !context.secrets.is_same(&secret.hash().0, row.bytes(6)?) {
        return Err(Refusal::UnknownOperation.into());
    }
    let state = state(row.text(7)?).ok_or(DatabaseError::Column { column: 7 })?;
    Ok(Standing { received: kept(row)?.0, state, reason: row.text(8)?.to_owned() })
}

/// Puts another form in the place of the present one; it is opened and confirmed like the first.
///
/// # Errors
/// [`Refusal::UnknownOperation`] for everybody but the owner, and after a withdrawal; [`Refusal::OperationReused`], [`Refusal::UnknownKey`].
pub fn correct(
    transaction: &mut dyn Transaction,
    correction: &Correction,
    receipt_key: &str,
    context: &Context<'_>,
) -> Result<Received, RuleError> {
    let standing = status(transaction, correction.sign_up, &correction.secret, context)?;
    let form_hash = correction.form.hash(correction.operation, &correction.secret.hash());
    let rows = transaction.query(
        "SELECT operation_id, place, form_hash, receipt_key, received_s, form_hash FROM correction WHERE operation_id = $1",
        &[correction.operation.0.into()],
    )?;
    if let Some(row) = rows.first() {
        let (received, _) = kept(row)?;
        let is_same = received.form_hash == form_hash && received.place == standing.received.place;
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
    let received = Received {
        operation: correction.operation,
        place: standing.received.place,
        received_s: context.now.unix_s(),
        form_hash,
        receipt_key: receipt_key.to_owned(),
        is_new: true,
    };
    replace(transaction, correction, &received)?;
    Ok(received)
}

fn replace(transaction: &mut dyn Transaction, correction: &Correction, received: &Received) -> Result<(), DatabaseError> {
    let form = &correction.form;
    transaction.execute(
        "INSERT INTO correction (operation_id, place, form_hash, receipt_key, received_s) VALUES ($1, $2, $3, $4, $5)",
        &[
            received.operation.0.into(),
            number(received.place),
            received.form_hash.into(),
            received.receipt_key.as_str().into(),
            received.received_s.into(),
        ],
    )?;
    transaction.execute(
        "UPDATE sign_up SET form_operation = $1, key_id = $2, encapsulated = $3, sealed = $4, state = $5, reason = '' WHERE place = $6",
        &[
            received.operation.0.into(),
            form.key_id.as_str().into(),
            form.encapsulated.into(),
            form.sealed.as_slice().into(),
            word(State::Received).into(),
            number(received.place),
        ],
    )?;
    transaction.execute(
        "INSERT INTO task (operation_id, place) VALUES ($1, $2)",
        &[received.operation.0.into(), number(received.place)],
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
    erase(transaction, standing.received.place, context.now)?;
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

/// A place as the database has it.
pub(crate) fn number(place: u64) -> Value {
    i64::try_from(place).unwrap_or(i64::MAX).into()
}

/// Bytes of this length.
pub(crate) fn array<const N: usize>(row: &Row, column: usize) -> Result<[u8; N], DatabaseError> {
    row.bytes(column)?.try_into().map_err(|_| DatabaseError::Column { column })
}

/// All of it in as few chunks as the sizes of statements allow.
pub(super) fn chunks<T>(all: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = all;
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rest.len())?;
        let (chunk, more) = rest.split_at(size);
        rest = more;
        Some(chunk)
    })
}

/// `($1, $2, $3)`, counted from `first`.
pub(super) fn places_of(first: usize, count: usize) -> String {
    let names: Vec<String> = (first..first + count).map(|number| format!("${number}")).collect();
    format!("({})", names.join(", "))
}

/// `($1, $2), ($3, $4)`.
pub(super) fn rows_of(columns: usize, rows: usize) -> String {
    let rows: Vec<String> = (0..rows).map(|row| places_of(1 + row * columns, columns)).collect();
    rows.join(", ")
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use vigie::courier::waitlist::SEALED_LEN;

    use super::*;
    use crate::database::{Database, Sqlite};
    use crate::keys::Secrets;
    use crate::rules::Policy;

    const NOW: Timestamp = Timestamp::from_unix_s(1_619_013_600);

    fn form(byte: u8) -> SealedForm {
        SealedForm { key_id: "v1".into(), encapsulated: [byte; 32], sealed: vec![byte; SEALED_LEN] }
    }

    fn secret(byte: u8) -> Secret {
        Secret([byte; 32])
    }

    fn operation(number: u64) -> OperationId {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        OperationId(id)
    }

    fn sign_up(number: u64, byte: u8) -> SignUp {
        SignUp {
            operation: operation(number),
            form: form(byte),
            secret_hash: secret(7).hash(),
            repeat_hash: None,
            received_at: NOW,
        }
    }

    struct Desk {
        database: Box<dyn Database>,
        secrets: Secrets,
        policy: Policy,
        rng: ChaCha20Rng,
    }

    impl Desk {
        fn new() -> Self {
            let mut rng = ChaCha20Rng::seed_from_u64(1);
            let secrets = Secrets::ephemeral(&mut rng).unwrap();
            Self { database: Box::new(Sqlite::in_memory().unwrap()), secrets, policy: Policy::default(), rng }
        }

        fn receive(&mut self, sign_ups: &[SignUp]) -> Vec<Result<Received, Refusal>> {
            self.database.run(|transaction| receive(transaction, sign_ups, "v1")).unwrap()
        }

        fn ask<T>(
            &mut self,
            mut rule: impl FnMut(&mut dyn Transaction, &Context<'_>) -> Result<T, RuleError>,
        ) -> Result<T, Refusal> {
            let Self { database, secrets, policy, rng } = self;
            let answer = database.run(|transaction| rule(transaction, &Context { now: NOW, secrets, policy, rng }));
            answer.map_err(|error| match error {
                RuleError::Refused(refusal) => refusal,
                RuleError::Database(error) => unreachable!("{error}"),
            })
        }

        fn status(&mut self, number: u64) -> Result<Standing, Refusal> {
            self.ask(|transaction, context| status(transaction, operation(number), &secret(7), context))
        }

        fn count(&mut self, what: &str) -> i64 {
            let rows = self.database.run(|transaction| transaction.query(&format!("SELECT count(*) FROM {what}"), &[]));
            rows.unwrap()[0].integer(0).unwrap()
        }
    }

    fn places(answers: &[Result<Received, Refusal>]) -> Vec<u64> {
        answers.iter().map(|answer| answer.as_ref().unwrap().place).collect()
    }

    #[test]
    fn places_rise_in_order_and_a_repeat_gets_what_the_first_got_also_within_a_crowd() {
        let mut desk = Desk::new();
        let crowd: Vec<SignUp> = (0..201).map(|number| sign_up(number % 150, 1)).collect();
        let first = desk.receive(&crowd);
        assert_eq!(places(&first[..150]), (1..=150).collect::<Vec<_>>());
        assert_eq!(places(&first[150..]), (1..=51).collect::<Vec<_>>());
        assert!(first[..150].iter().all(|answer| answer.as_ref().unwrap().is_new));
        let again = desk.receive(&crowd[..150]);
        for (before, after) in first.iter().zip(&again) {
            assert_eq!(Received { is_new: false, ..before.clone().unwrap() }, after.clone().unwrap());
        }
        assert_eq!(places(&desk.receive(&[sign_up(900, 1)])), [151]);
        assert_eq!(desk.count("sign_up"), 151);
        assert_eq!(desk.count("sign_up JOIN task USING (operation_id, place)"), 151);
    }

    #[test]
    fn the_same_operation_with_other_bytes_is_refused_and_nothing_is_stored() {
        let mut desk = Desk::new();
        let first = desk.receive(&[sign_up(1, 1)]);
        let other_secret = SignUp { secret_hash: secret(8).hash(), ..sign_up(1, 1) };
        let answers = desk.receive(&[sign_up(1, 2), other_secret, sign_up(2, 2)]);
        assert_eq!(answers[..2], [Err(Refusal::OperationReused), Err(Refusal::OperationReused)]);
        assert_eq!(places(&answers[2..]), [2]);
        assert_eq!(desk.status(1).unwrap().received.form_hash, first[0].as_ref().unwrap().form_hash);
        assert_eq!((desk.count("sign_up"), desk.count("task")), (2, 2));
    }

    #[test]
    fn a_repeat_is_known_also_when_its_key_has_gone() {
        let mut desk = Desk::new();
        let first = desk.receive(&[sign_up(1, 1)]);
        let mut again = |sign_up: SignUp| desk.ask(|transaction, _| repeated(transaction, &sign_up));
        assert_eq!(again(sign_up(1, 1)), Ok(Received { is_new: false, ..first[0].clone().unwrap() }));
        assert_eq!(again(sign_up(1, 2)), Err(Refusal::OperationReused));
        assert_eq!(again(sign_up(2, 1)), Err(Refusal::UnknownKey));
    }

    #[test]
    fn a_form_that_the_server_sealed_is_known_by_what_it_says() {
        let mut desk = Desk::new();
        let sealed_here = |byte, says| SignUp { repeat_hash: Some([says; 32]), ..sign_up(1, byte) };
        let first = desk.receive(&[sealed_here(1, 5)]);
        let again = desk.receive(&[sealed_here(2, 5), sealed_here(3, 6), sign_up(1, 4)]);
        assert_eq!(again[0].as_ref().unwrap().form_hash, first[0].as_ref().unwrap().form_hash);
        assert_eq!(again[1..], [Err(Refusal::OperationReused), Err(Refusal::OperationReused)]);
    }

    #[test]
    fn only_who_knows_the_secret_learns_that_there_is_a_sign_up() {
        let mut desk = Desk::new();
        desk.receive(&[sign_up(1, 1)]);
        assert_eq!(desk.status(1).unwrap().state, State::Received);
        assert_eq!(desk.status(2).err(), Some(Refusal::UnknownOperation));
        let stranger = desk.ask(|transaction, context| status(transaction, operation(1), &secret(8), context));
        assert_eq!(stranger.err(), Some(Refusal::UnknownOperation));
        let stranger = desk.ask(|transaction, context| withdraw(transaction, operation(1), &secret(8), context));
        assert_eq!(stranger.err(), Some(Refusal::UnknownOperation));
        assert_eq!(desk.status(1).unwrap().state, State::Received);
    }

    #[test]
    fn a_correction_keeps_the_place_makes_a_task_and_is_known_when_it_is_repeated() {
        let mut desk = Desk::new();
        desk.receive(&[sign_up(1, 1), sign_up(2, 1)]);
        let put = |number, byte| Correction {
            operation: operation(number),
            sign_up: operation(2),
            secret: secret(7),
            form: form(byte),
            has_known_key: true,
        };
        let mut send = |correction: Correction| desk.ask(|transaction, context| correct(transaction, &correction, "v1", context));
        let corrected = send(put(20, 9)).unwrap();
        assert_eq!((corrected.place, corrected.is_new), (2, true));
        assert_eq!(send(put(20, 9)), Ok(Received { is_new: false, ..corrected.clone() }));
        assert_eq!(send(put(20, 8)), Err(Refusal::OperationReused));
        assert!(send(Correction { has_known_key: false, ..put(20, 9) }).is_ok(), "its key went after it came");
        assert_eq!(send(Correction { has_known_key: false, ..put(22, 9) }), Err(Refusal::UnknownKey));
        assert_eq!(send(put(1, 9)), Err(Refusal::OperationReused), "the id of a sign-up");
        assert_eq!(send(Correction { secret: secret(8), ..put(21, 9) }), Err(Refusal::UnknownOperation));
        assert_eq!(desk.count("task WHERE done_at IS NULL"), 3);
        assert_eq!(places(&desk.receive(&[sign_up(2, 1)])), [2], "the first receipt stays");
        assert_eq!(places(&desk.receive(&[sign_up(20, 1), sign_up(3, 1)])), [3, 4], "a name of a correction disturbs nobody");
    }

    #[test]
    fn what_was_withdrawn_leaves_its_receipt_and_nothing_of_the_person() {
        let mut desk = Desk::new();
        let sealed_here = || SignUp { repeat_hash: Some([5; 32]), ..sign_up(2, 1) };
        desk.receive(&[sign_up(1, 1), sealed_here()]);
        let mut leave = || desk.ask(|transaction, context| withdraw(transaction, operation(1), &secret(7), context));
        assert_eq!(leave().unwrap().state, State::Withdrawn);
        assert_eq!(leave().unwrap().state, State::Withdrawn);
        assert_eq!(desk.count("sign_up WHERE sealed IS NULL AND encapsulated IS NULL"), 1);
        assert_eq!(desk.count("task WHERE done_at IS NULL"), 1);
        assert_eq!(places(&desk.receive(&[sign_up(1, 1), sign_up(3, 1)])), [1, 3], "no place is given twice");
        desk.ask(|transaction, context| withdraw(transaction, operation(2), &secret(7), context)).unwrap();
        assert_eq!(desk.count("sign_up WHERE repeat_hash IS NOT NULL"), 0, "what the server hashed of the fields goes, too");
        assert_eq!(desk.receive(&[sealed_here()]), [Err(Refusal::OperationReused)], "and is not on the list again");
    }
}
