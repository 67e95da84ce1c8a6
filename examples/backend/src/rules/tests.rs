//! The rules without network, threads and clock, on a database in memory.

use base64::prelude::{BASE64_STANDARD, Engine};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use vigie::courier::wire::{self, CertificateRequest, PublishRequest, PublishedKey, VerifyRequest};
use vigie::keys::TemporaryExposureKey;

use super::*;
use crate::database::{Database, Sqlite};

/// 22 October 2020, 18:00, in seconds.
const LAUNCH: i64 = 1_603_389_600;

struct Inline {
    database: Box<dyn Database>,
    secrets: Secrets,
    policy: Policy,
    rng: ChaCha20Rng,
    now: Timestamp,
}

impl Inline {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        Self {
            database: Box::new(Sqlite::in_memory().unwrap()),
            secrets: Secrets::ephemeral(&mut rng).unwrap(),
            policy: Policy { minimum_keys: 10, ..Policy::default() },
            rng,
            now: Timestamp::from_unix_s(LAUNCH),
        }
    }

    fn run<T, E: From<DatabaseError>>(
        &mut self,
        mut rule: impl FnMut(&mut dyn Transaction, &mut Context<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let Self { database, secrets, policy, rng, now } = self;
        database.run(|transaction| rule(transaction, &mut Context { now: *now, secrets, policy, rng }))
    }

    fn reported(&mut self, keys: Vec<PublishedKey>) -> Result<wire::PublishResponse, RuleError> {
        let request = Issue { test_type: TestType::Confirmed, onset: None, tested: None, is_short: false };
        let code = self.run(|transaction, context| issue(transaction, &request, context)).unwrap().code;
        let verify_request = VerifyRequest { code: code.as_str().into(), accept: Vec::new(), padding: String::new() };
        let token = self.run(|transaction, context| verify(transaction, &verify_request, Some(b"id"), context)).unwrap().token;
        let ekeyhmac = BASE64_STANDARD.encode(wire::keys_hmac(&keys, &[7; 32]));
        let request = CertificateRequest { token, ekeyhmac, padding: String::new() };
        let claims = self.run(|transaction, context| certificate(transaction, &request, context)).unwrap();
        let request = PublishRequest {
            temporary_exposure_keys: keys,
            health_authority_id: self.policy.health_authority_id.clone(),
            verification_payload: self.secrets.certificates.sign(&claims).unwrap(),
            hmac_key: BASE64_STANDARD.encode([7; 32]),
            symptom_onset_interval: 0,
            traveler: false,
            revision_token: String::new(),
            padding: String::new(),
        };
        self.run(|transaction, context| {
            let report = Report::check(&request, context)?;
            publish(transaction, &report, context)
        })
    }

    fn keys(&mut self, count: u32) -> Vec<PublishedKey> {
        let today = self.now.interval().day_start();
        (1..=count)
            .map(|back| PublishedKey::of(&TemporaryExposureKey::generate(today.minus(144 * back), &mut self.rng)))
            .collect()
    }
}

#[test]
fn a_report_becomes_a_batch_without_network_threads_and_clock() {
    let mut inline = Inline::new();
    let keys = inline.keys(3);
    assert_eq!(inline.reported(keys).unwrap().inserted_exposures, 3);
    assert_eq!(inline.run(|transaction, context| plan(transaction, context, true)).unwrap(), 1);
    let batch = inline.run(|transaction, context| load_unwritten(transaction, context)).unwrap().unwrap();
    assert_eq!(batch.len(), 10);
    assert!(!batch.file(&inline.secrets.exports).unwrap().is_empty());
    assert_eq!(inline.run(|transaction, context| index(transaction, context.now)).unwrap(), "");
    inline.run(|transaction, context| mark_written(transaction, batch.number, context.now)).unwrap();
    assert_eq!(inline.run(|transaction, context| index(transaction, context.now)).unwrap(), format!("{}\n", batch.name));
}

#[test]
fn the_index_ends_before_the_first_file_that_is_not_written() {
    let mut inline = Inline::new();
    for _ in 0..3 {
        let keys = inline.keys(2);
        inline.reported(keys).unwrap();
        inline.run(|transaction, context| plan(transaction, context, true)).unwrap();
    }
    let mut text = |number| {
        inline.run(|transaction, context| mark_written(transaction, number, context.now)).unwrap();
        inline.run(|transaction, context| index(transaction, context.now)).unwrap()
    };
    assert_eq!(text(2), "", "the second is written, the first is not");
    let both = text(1);
    let numbers: Vec<&str> = both.lines().map(|name| &name[..13]).collect();
    assert_eq!(numbers, ["keys/00000001", "keys/00000002"]);
}

#[test]
fn a_batch_comes_only_when_it_is_due() {
    let mut inline = Inline::new();
    assert_eq!(inline.run(|transaction, context| plan(transaction, context, false)).unwrap(), 0);
    let keys = inline.keys(2);
    inline.reported(keys).unwrap();
    let period = std::time::Duration::from_secs(u64::from(inline.policy.batch_period_s));
    inline.now = inline.now.after(period / 2);
    assert_eq!(inline.run(|transaction, context| plan(transaction, context, false)).unwrap(), 0);
    inline.now = inline.now.after(period / 2);
    assert_eq!(inline.run(|transaction, context| plan(transaction, context, false)).unwrap(), 1);
}

#[test]
fn a_new_database_gives_its_files_other_names() {
    let [before, after] = [1, 2].map(|seed| {
        let mut inline = Inline::new();
        inline.rng = ChaCha20Rng::seed_from_u64(seed);
        let keys = inline.keys(3);
        inline.reported(keys).unwrap();
        inline.run(|transaction, context| plan(transaction, context, true)).unwrap();
        let mut name = || inline.run(|transaction, context| load_unwritten(transaction, context)).unwrap().unwrap().name;
        let first = name();
        assert_eq!(first, name(), "kept until the file is written");
        first
    });
    assert!(before.starts_with("keys/00000001-") && after.starts_with("keys/00000001-"), "{before} {after}");
    assert_ne!(before, after);
}

#[test]
fn a_day_without_reports_ends_with_a_file_of_made_up_keys() {
    let mut inline = Inline::new();
    let mut planned = Vec::new();
    for _ in 0..24 {
        planned.push(inline.run(|transaction, context| plan(transaction, context, false)).unwrap());
        inline.now = inline.now.after(std::time::Duration::from_secs(2 * 3600));
    }
    let quiet: Vec<usize> = (0..planned.len()).filter(|at| planned[*at] > 0).collect();
    assert_eq!(quiet, [10, 20], "every twenty hours, one each: {planned:?}");
    let batch = inline.run(|transaction, context| load_unwritten(transaction, context)).unwrap().unwrap();
    assert_eq!(batch.len(), 10);
    let rows = inline.run(|transaction, _| {
        transaction
            .query("SELECT max(rolling_start + rolling_period), min(rolling_start) FROM diagnosis_key WHERE batch = 1", &[])
    });
    let planned_at = Timestamp::from_unix_s(LAUNCH).after(std::time::Duration::from_secs(20 * 3600));
    let (rows, today) = (rows.unwrap(), i64::from(planned_at.date().first_interval().number()));
    assert!(rows[0].integer(0).unwrap() <= today, "no key that is still held back");
    assert!(rows[0].integer(1).unwrap() >= today - 14 * 144, "nor one that is too old");
}

#[test]
fn a_refused_rule_leaves_nothing() {
    let mut inline = Inline::new();
    let refused: Result<(), RuleError> = inline.run(|transaction, context| {
        let request = Issue { test_type: TestType::Likely, onset: None, tested: None, is_short: false };
        issue(transaction, &request, context)?;
        Err(Refusal::CodeInvalid.into())
    });
    assert!(matches!(refused, Err(RuleError::Refused(Refusal::CodeInvalid))));
    let rows = inline.run(|transaction, _| transaction.query("SELECT count(*) FROM code", &[])).unwrap();
    assert_eq!(rows[0].integer(0).unwrap(), 0);
}

#[test]
fn days_that_cannot_be_are_refused_when_a_code_is_asked_for() {
    let mut inline = Inline::new();
    let today = inline.now.date();
    for (onset, is_good) in
        [(today, true), (today.minus(28), true), (today.minus(29), false), (date(i64::from(today.days()) + 1), false)]
    {
        let request = Issue { test_type: TestType::Confirmed, onset: Some(onset), tested: None, is_short: false };
        let given = inline.run(|transaction, context| issue(transaction, &request, context));
        assert_eq!(given.is_ok(), is_good, "{onset}");
    }
}

#[test]
fn what_is_sealed_is_unsealed_only_whole_and_only_here() {
    let here = Secrets::ephemeral(&mut ChaCha20Rng::seed_from_u64(1)).unwrap();
    let there = Secrets::ephemeral(&mut ChaCha20Rng::seed_from_u64(2)).unwrap();
    let sealed = here.seal(b"owner").unwrap();
    assert_eq!(sealed, here.seal(b"owner").unwrap(), "a repeat gets the same");
    assert_eq!(here.unseal(&sealed).unwrap(), b"owner");
    assert_eq!(there.unseal(&sealed), None);
    for at in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[at] ^= 1;
        assert_eq!(here.unseal(&flipped), None);
        assert_eq!(here.unseal(&sealed[..at]), None);
    }
}
