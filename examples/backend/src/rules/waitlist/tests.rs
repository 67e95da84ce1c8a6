use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use vigie::courier::waitlist::{ReceiptKey, SEALED_LEN, Secret};
use vigie::time::Timestamp;

use super::*;
use crate::database::{Database, Sqlite};
use crate::keys::Secrets;
use crate::rules::{Context, Correction, Policy, Standing, correct, status, withdraw};
use crate::waitlist::receipt_signer;

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
    SignUp { operation: operation(number), form: form(byte), secret_hash: secret(7).hash(), repeat_hash: None }
}

struct Desk {
    database: Box<dyn Database>,
    secrets: Secrets,
    policy: Policy,
    signer: Arc<ReceiptSigner>,
    rng: ChaCha20Rng,
}

impl Desk {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let secrets = Secrets::ephemeral(&mut rng).unwrap();
        Self {
            database: Box::new(Sqlite::in_memory().unwrap()),
            secrets,
            policy: Policy::default(),
            signer: receipt_signer(),
            rng,
        }
    }

    fn receive(&mut self, sign_ups: &[SignUp]) -> Vec<Result<Received, Refusal>> {
        let sign_ups: Vec<&SignUp> = sign_ups.iter().collect();
        self.database.run(|transaction| receive(transaction, &sign_ups, &self.signer, NOW)).unwrap()
    }

    fn ask<T>(&mut self, mut rule: impl FnMut(&mut dyn Transaction, &Context<'_>) -> Result<T, RuleError>) -> Result<T, Refusal> {
        let Self { database, secrets, policy, rng, .. } = self;
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
    answers.iter().map(|answer| answer.as_ref().unwrap().receipt.place).collect()
}

#[test]
fn places_rise_in_order_and_a_repeat_gets_what_the_first_got_also_within_a_crowd() {
    let mut desk = Desk::new();
    let crowd: Vec<SignUp> = (0..201).map(|number| sign_up(number % 150, 1)).collect();
    let first = desk.receive(&crowd);
    assert_eq!(places(&first[..150]), (1..=150).collect::<Vec<_>>());
    assert_eq!(places(&first[150..]), (1..=51).collect::<Vec<_>>());
    assert!(first[..150].iter().all(|answer| answer.as_ref().unwrap().is_new));
    assert!(!first[150..].iter().any(|answer| answer.as_ref().unwrap().is_new));
    let key = ReceiptKey::new(&desk.signer.public_text()).unwrap();
    for (sign_up, received) in crowd.iter().zip(&first) {
        let received = received.as_ref().unwrap();
        assert_eq!(key.verify(&received.receipt_text()).as_ref(), Ok(&received.receipt));
        assert_eq!(received.receipt.operation_id, sign_up.operation);
    }
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
    assert_eq!(desk.status(1).unwrap().received.receipt.form_hash, first[0].as_ref().unwrap().receipt.form_hash);
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
    assert_eq!(again[0].as_ref().unwrap().receipt.form_hash, first[0].as_ref().unwrap().receipt.form_hash);
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
    let signer = receipt_signer();
    let mut send = |correction: Correction| desk.ask(|transaction, context| correct(transaction, &correction, &signer, context));
    let corrected = send(put(20, 9)).unwrap();
    assert_eq!((corrected.receipt.place, corrected.is_new), (2, true));
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
