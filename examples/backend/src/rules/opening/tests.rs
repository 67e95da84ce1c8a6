mod notices;

use std::time::Duration;

use hpke::aead::AesGcm128;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeS, Serializable, single_shot_seal_with_rng};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tempfile::TempDir;
use vigie::courier::waitlist::{Form, NumberFormat, SEALED_LEN, Secret};

use super::*;
use crate::database::{Database, Sqlite, Value};
use crate::keys::Secrets;
use crate::rules::{
    self, Context, Correction, Mail, MailEnd, MailKind, Policy, SignUp, erase_sign_ups, forget, places_of_number, settle_mails,
    take_mails,
};
use crate::waitlist::{Role, WaitlistKeys};

const NOW: Timestamp = Timestamp::from_unix_s(1_619_013_600);
const DAY: Duration = Duration::from_secs(86_400);
const RULES: FormRules = FormRules {
    national_number: NumberFormat::Any,
    name: vigie::courier::waitlist::Presence::Required,
    birth_year: vigie::courier::waitlist::Presence::Required,
};

/// A list with its keys.
struct List {
    database: Box<dyn Database>,
    keys: WaitlistKeys,
    secrets: Secrets,
    rng: ChaCha20Rng,
    data: TempDir,
    next: u8,
}

impl List {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let keys = WaitlistKeys::open(data.path(), Role::Both, &mut rng).unwrap();
        let secrets = Secrets::ephemeral(&mut rng).unwrap();
        Self { database: Box::new(Sqlite::in_memory().unwrap()), keys, secrets, rng, data, next: 0 }
    }

    fn opening(&self) -> &Opening {
        self.keys.opening.as_ref().unwrap()
    }

    fn new_operation(&mut self) -> OperationId {
        self.next += 1;
        OperationId([self.next; 16])
    }

    /// Signs up with what was sealed for this operation. The place.
    fn receive(&mut self, operation: OperationId, form: SealedForm) -> u64 {
        let sign_up = SignUp { operation, form, secret_hash: Secret([7; 32]).hash(), repeat_hash: Some([9; 32]) };
        let answers = self.database.run(|transaction| rules::receive(transaction, &[&sign_up], self.keys.signer(), NOW)).unwrap();
        answers[0].clone().unwrap().receipt.place
    }

    fn sign_up(&mut self, form: &Form) -> (u64, OperationId) {
        let operation = self.new_operation();
        let sealed = self.keys.sealing().seal(form, operation, &mut self.rng).unwrap();
        (self.receive(operation, sealed), operation)
    }

    fn correct(&mut self, sign_up: OperationId, form: &Form) {
        let operation = self.new_operation();
        let form = self.keys.sealing().seal(form, operation, &mut self.rng).unwrap();
        let correction = Correction { operation, sign_up, secret: Secret([7; 32]), form, has_known_key: true };
        let (secrets, policy) = (&self.secrets, &Policy::default());
        let rng = &mut self.rng;
        let done = self.database.run(|transaction| {
            rules::correct(transaction, &correction, self.keys.signer(), &Context { now: NOW, secrets, policy, rng })
        });
        done.unwrap();
    }

    fn withdraw(&mut self, sign_up: OperationId) {
        let (secrets, policy) = (&self.secrets, &Policy::default());
        let rng = &mut self.rng;
        let done = self.database.run(|transaction| {
            rules::withdraw(transaction, sign_up, &Secret([7; 32]), &Context { now: NOW, secrets, policy, rng })
        });
        done.unwrap();
    }

    /// What a round finds before it settles.
    fn find(&mut self) -> (Vec<Task>, Vec<Finding>) {
        let tasks = self.database.run(|transaction| load_tasks(transaction, 64)).unwrap();
        let findings = tasks.iter().filter_map(|task| open_form(task, self.opening(), &RULES, 2021)).collect();
        (tasks, findings)
    }

    fn settle(&mut self, (tasks, findings): &(Vec<Task>, Vec<Finding>), now: Timestamp) {
        let opening = self.keys.opening.as_ref().unwrap();
        self.database.run(|transaction| settle(transaction, tasks, findings, opening, now)).unwrap();
    }

    fn round(&mut self, now: Timestamp) {
        let found = self.find();
        self.settle(&found, now);
    }

    fn state(&mut self, place: u64) -> (String, String) {
        let rows = self.rows("SELECT state, reason FROM sign_up WHERE place = $1", &[number(place)]);
        (rows[0].text(0).unwrap().to_owned(), rows[0].text(1).unwrap().to_owned())
    }

    fn rows(&mut self, statement: &str, values: &[Value]) -> Vec<Row> {
        self.database.run(|transaction| transaction.query(statement, values)).unwrap()
    }

    fn take(&mut self, now: Timestamp) -> Vec<Mail> {
        self.database.run(|transaction| take_mails(transaction, now, 100)).unwrap()
    }

    /// Sends all that is due: whose, and of which kind.
    fn deliver(&mut self, now: Timestamp) -> Vec<(u64, MailKind)> {
        let mails = self.take(now);
        let ends: Vec<_> = mails.iter().map(|mail| (mail.clone(), MailEnd::Sent)).collect();
        self.database.run(|transaction| settle_mails(transaction, &ends, now)).unwrap();
        let mut sent: Vec<_> = mails.iter().map(|mail| (mail.place, mail.kind)).collect();
        sent.sort_by_key(|(place, kind)| (*place, *kind == MailKind::Notice));
        sent
    }

    fn first_of(&mut self, national_number: &str) -> Option<u64> {
        let hash = self.opening().number_hash(national_number);
        self.database.run(|transaction| first_of(transaction, &hash)).unwrap()
    }

    fn conflicts(&mut self) -> Vec<Vec<u64>> {
        let conflicts = self.database.run(conflicts).unwrap();
        conflicts.iter().map(|conflict| conflict.0.iter().map(|(place, ..)| *place).collect()).collect()
    }

    /// Seals what no honest client seals.
    fn seal_raw(&mut self, plain: &[u8], operation: OperationId) -> SealedForm {
        let key = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, self.keys.sealing().to_text()).unwrap();
        let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&key).unwrap();
        let aad = [&operation.0[..], b"v1"].concat();
        let mut rng = &mut self.rng;
        let (encapsulated, sealed) = single_shot_seal_with_rng::<AesGcm128, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &key,
            b"vigie waitlist form v1",
            plain,
            &aad,
            &mut rng,
        )
        .unwrap();
        SealedForm { key_id: "v1".into(), encapsulated: encapsulated.to_bytes().into(), sealed }
    }
}

fn form(national_number: &str, contact: &str) -> Form {
    Form {
        national_number: national_number.into(),
        name: "Ada King".into(),
        birth_year: Some(1950),
        contact: contact.into(),
        consent: true,
        ..Form::default()
    }
}

fn processed() -> (String, String) {
    ("processed".into(), String::new())
}

fn rejected(reason: &str) -> (String, String) {
    ("rejected".into(), reason.into())
}

#[test]
fn every_form_is_settled_at_the_same_moment_and_whatever_is_sealed_blocks_nothing() {
    let mut list = List::new();
    let (first, _) = list.sign_up(&form("1234", "a@example.org"));
    let mut expected = vec![(first, processed())];
    let mut wrong = |list: &mut List, form: Form, reason: &str| expected.push((list.sign_up(&form).0, rejected(reason)));
    wrong(&mut list, form("12", "a@example.org"), "national_number");
    wrong(&mut list, Form { name: "a\nb".into(), ..form("1234", "a@example.org") }, "form");
    wrong(&mut list, Form { name: "a\u{0}b".into(), ..form("1234", "a@example.org") }, "name");
    wrong(&mut list, Form { birth_year: Some(2022), ..form("1234", "a@example.org") }, "birth_year");
    wrong(&mut list, form("1234", "a@example.org\r\nBcc: b@example.org"), "contact");
    wrong(&mut list, form("1234", "nobody"), "contact");
    wrong(&mut list, Form { consent: false, ..form("1234", "a@example.org") }, "consent");
    wrong(&mut list, form(" 12-34 ", "a@example.org"), "form");
    let mut random = vec![0; SEALED_LEN - 16];
    list.rng.fill_bytes(&mut random);
    let huge = format!("{{\"national_number\":{}", "[".repeat(900));
    let twice = r#"{"national_number":"1234","national_number":"1234","contact":"a@example.org","consent":true}"#;
    for plain in [random.as_slice(), huge.as_bytes(), twice.as_bytes(), b"", b"null", b"\xff\xfe"] {
        let mut plain = plain.to_vec();
        plain.resize(SEALED_LEN - 16, b' ');
        let operation = list.new_operation();
        let sealed = list.seal_raw(&plain, operation);
        expected.push((list.receive(operation, sealed), rejected("form")));
    }
    // Sealed for another operation, to a key that is gone, and no seal at all.
    let sealed = list.keys.sealing().seal(&form("1234", "a@example.org"), OperationId([99; 16]), &mut list.rng).unwrap();
    for sealed in [
        sealed.clone(),
        SealedForm { key_id: "v0".into(), ..sealed },
        SealedForm { key_id: "v1".into(), encapsulated: [0; 32], sealed: vec![0; SEALED_LEN] },
    ] {
        let operation = list.new_operation();
        expected.push((list.receive(operation, sealed), rejected("form")));
    }
    let (last, _) = list.sign_up(&form("5678", "+352621000000"));
    expected.push((last, processed()));

    let found = list.find();
    assert!(expected.iter().all(|(place, _)| list.state(*place).0 == "received"));
    list.settle(&found, NOW);
    for (place, state) in expected {
        assert_eq!(list.state(place), state, "place {place}");
    }
    assert_eq!(list.rows("SELECT DISTINCT done_at FROM task", &[]).len(), 1);
    assert_eq!(list.deliver(NOW), [(first, MailKind::Confirmation), (last, MailKind::Confirmation)]);
}

#[test]
fn a_correction_is_opened_and_confirmed_in_place_of_the_first_and_names_nobody_else() {
    let mut list = List::new();
    let (place, operation) = list.sign_up(&form("1234", "a@example.org"));
    list.round(NOW);
    list.correct(operation, &form("1234", "b@example.org"));
    assert_eq!(list.deliver(NOW), [], "the first form is gone, and the second not yet opened");
    assert_eq!(list.first_of("1234"), Some(place));
    list.round(NOW);
    assert_eq!(list.deliver(NOW), [(place, MailKind::Confirmation)], "and none for the first");
    list.correct(operation, &form("5678", "b@example.org"));
    list.round(NOW);
    assert_eq!(list.state(place), rejected("national_number"));
    assert_eq!((list.first_of("1234"), list.first_of("5678")), (None, None));
    list.correct(operation, &form("1234", "c@example.org"));
    list.round(NOW);
    assert_eq!((list.state(place), list.first_of("1234")), (processed(), Some(place)));
    assert_eq!(list.deliver(NOW.after(DAY)), [(place, MailKind::Confirmation)], "a correction is no other sign-up");
}

#[test]
fn what_was_corrected_or_withdrawn_while_it_was_opened_stays_so() {
    let mut list = List::new();
    let (corrected, operation) = list.sign_up(&form("1234", "a@example.org"));
    let (withdrawn, other) = list.sign_up(&form("5678", "a@example.org"));
    let found = list.find();
    list.correct(operation, &form("12", "a@example.org"));
    list.withdraw(other);
    list.settle(&found, NOW);
    assert_eq!((list.state(corrected).0, list.state(withdrawn).0), ("received".into(), "withdrawn".into()));
    list.round(NOW);
    assert_eq!(list.state(corrected), rejected("national_number"));
    assert_eq!(list.deliver(NOW), []);
    assert!(list.rows("SELECT place FROM opened", &[]).is_empty());
}

#[test]
fn a_name_that_stands_at_two_places_brings_nothing_back_that_was_withdrawn() {
    let mut list = List::new();
    let (withdrawn, operation) = list.sign_up(&form("1234", "a@example.org"));
    list.correct(operation, &form("1234", "b@example.org"));
    let name = OperationId([list.next; 16]);
    let sealed = list.keys.sealing().seal(&form("5678", "c@example.org"), name, &mut list.rng).unwrap();
    let stays = list.receive(name, sealed);
    let places = list.database.run(|transaction| rules::places_of_operation(transaction, name)).unwrap();
    assert_eq!(places, [withdrawn, stays]);
    let found = list.find();
    list.withdraw(operation);
    list.settle(&found, NOW);
    assert_eq!((list.state(withdrawn).0, list.state(stays).0), ("withdrawn".into(), "processed".into()));
    assert_eq!(list.deliver(NOW), [(stays, MailKind::Confirmation)]);
    assert_eq!(list.rows("SELECT place FROM opened", &[]).len(), 1);
}

#[test]
fn who_dies_between_commit_and_mail_leaves_the_same_mail_to_the_next() {
    let mut list = List::new();
    list.sign_up(&form("1234", "a@example.org"));
    let found = list.find();
    list.settle(&found, NOW);
    list.settle(&found, NOW);
    list.round(NOW);
    let first = list.take(NOW);
    assert_eq!(first.len(), 1);
    assert!(list.take(NOW).is_empty(), "another process leaves it alone meanwhile");
    let again = list.take(NOW.after(Duration::from_secs(601)));
    assert_eq!((&again[0].id, again[0].made_at), (&first[0].id, first[0].made_at));
    let sent = [(again[0].clone(), MailEnd::Sent)];
    list.database.run(|transaction| settle_mails(transaction, &sent, NOW)).unwrap();
    assert!(list.take(NOW.after(DAY)).is_empty());
}

#[test]
fn a_mail_that_fails_comes_again_for_ever_and_one_that_is_refused_for_some_days() {
    let mut list = List::new();
    list.sign_up(&form("1234", "a@example.org"));
    list.round(NOW);
    let mut attempts = |end: MailEnd, days: u32| {
        let (mut now, mut attempts) = (NOW, 0);
        while now < NOW.after(days * DAY) {
            let mails = list.take(now);
            attempts += mails.len();
            let ends: Vec<_> = mails.into_iter().map(|mail| (mail, end)).collect();
            list.database.run(|transaction| settle_mails(transaction, &ends, now)).unwrap();
            now = now.after(Duration::from_secs(30));
        }
        attempts
    };
    assert_eq!(attempts(MailEnd::Failed, 3), 7 + 72 - 1);
    assert!((1..24).contains(&attempts(MailEnd::Refused, 5)));
    assert_eq!(attempts(MailEnd::Sent, 30), 0, "given up");
}

#[test]
fn nothing_of_a_forgotten_person_is_in_the_files_of_the_database() {
    let mut list = List::new();
    let path = list.data.path().join("backend.sqlite");
    list.database = Box::new(Sqlite::open(&path).unwrap());
    let mut operations = Vec::new();
    for at in 0..60 {
        operations.push(list.sign_up(&form(&format!("{}", 1_000 + at % 50), "a@example.org")).1);
        if at % 7 == 0 {
            list.round(NOW);
        }
    }
    list.correct(operations[3], &form("1003", "b@example.org"));
    list.round(NOW);
    list.sign_up(&form("1003", "nobody")); // Rejected: no hash of it is kept, and it is found all the same.
    list.round(NOW);
    let opening = list.keys.opening.as_ref().unwrap();
    let places = list.database.run(|transaction| places_of_number(transaction, "1003", opening)).unwrap();
    assert_eq!(places, [4, 54, 61]);
    let mut traces = vec![opening.number_hash("1003").to_vec(), opening.contact_hash("b@example.org").to_vec()];
    for row in list.rows("SELECT sealed, encapsulated FROM sign_up WHERE place IN (4, 54, 61)", &[]) {
        traces.extend([row.bytes(0).unwrap().to_vec(), row.bytes(1).unwrap().to_vec()]);
    }
    for row in list.rows("SELECT message_id FROM mail WHERE place IN (4, 54, 61)", &[]) {
        traces.push(row.text(0).unwrap().as_bytes().to_vec());
    }
    assert_eq!(traces.len(), 2 + 6 + 3);
    let found = |list: &List| {
        let mut files = Vec::new();
        for end in ["", "-wal", "-shm"] {
            files.extend(std::fs::read(list.data.path().join(format!("backend.sqlite{end}"))).unwrap());
        }
        // Long traces lie in several pages, so their parts are looked for.
        let has = |part: &[u8]| files.windows(part.len()).any(|window| window == part);
        traces.iter().filter(|trace| trace.chunks(64).any(has)).count()
    };
    assert_eq!(found(&list), traces.len());
    let forgotten = list.database.run(|transaction| forget(transaction, &places, NOW)).unwrap();
    assert_eq!((forgotten.places.len(), forgotten.corrections, forgotten.opened, forgotten.mails.len()), (3, 1, 2, 3));
    assert!(list.database.purge().unwrap());
    assert_eq!(found(&list), 0);
    assert_eq!(list.state(4).0, "withdrawn");
    assert_eq!(list.first_of("1004"), Some(5), "others stay");
    assert_eq!(list.rows("SELECT place FROM sign_up WHERE repeat_hash IS NULL", &[]).len(), 3);
}

#[test]
fn after_the_retention_time_nothing_is_left_and_no_place_is_given_again() {
    let mut list = List::new();
    list.sign_up(&form("1234", "a@example.org"));
    let (_, operation) = list.sign_up(&form("1234", "b@example.org"));
    list.correct(operation, &form("1234", "c@example.org"));
    list.round(NOW);
    let mut erase = |moment: Timestamp| list.database.run(|transaction| erase_sign_ups(transaction, moment)).unwrap();
    assert_eq!(erase(NOW), 0);
    assert_eq!(erase(NOW.after(Duration::from_secs(1))), 2);
    for table in ["sign_up", "task", "correction", "opened", "mail"] {
        assert!(list.rows(&format!("SELECT place FROM {table}"), &[]).is_empty(), "{table}");
    }
    assert_eq!(list.sign_up(&form("1234", "a@example.org")).0, 3);
}
