//! The operator's commands for the waiting list, as they are typed.
#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, and does not see that helpers of an integration test are tests"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use vigie::courier::waitlist::{Form, FormRules, OperationId, Presence, Secret};
use vigie::time::{Clock, SystemClock};
use vigie_backend::config::Config;
use vigie_backend::rules::{self, SignUp};

fn run(data: &Path, args: &[&str], input: &str) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_vigie-backend"));
    program.args(args).arg("--data").arg(data).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Three sign-ups, opened: two of the same number with addresses that differ.
fn fill(data: &Path) {
    let mut opened = vigie_backend::open(&Config::new(data)).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let now = SystemClock.now();
    let signer = std::sync::Arc::clone(opened.waitlist.signer());
    for (byte, number, contact) in [(1, "1234", "a@example.org"), (2, "5678", "b@example.org"), (3, "1234", "c@example.org")] {
        let operation = OperationId([byte; 16]);
        let form = Form { national_number: number.into(), contact: contact.into(), consent: true, ..Form::default() };
        let form = opened.waitlist.sealing().seal(&form, operation, &mut rng).unwrap();
        let secret_hash = Secret([byte; 32]).hash();
        let sign_up = SignUp { operation, form, secret_hash, repeat_hash: None };
        opened.database.run(|transaction| rules::receive(transaction, &[&sign_up], &signer, now)).unwrap();
    }
    let opening = opened.waitlist.opening.as_ref().unwrap();
    let form = FormRules { name: Presence::Optional, birth_year: Presence::Optional, ..FormRules::default() };
    opened
        .database
        .run(|transaction| {
            let tasks = rules::load_tasks(transaction, 10)?;
            let findings: Vec<_> = tasks.iter().filter_map(|task| rules::open_form(task, opening, &form, 2021)).collect();
            rules::settle(transaction, &tasks, &findings, opening, now)
        })
        .unwrap();
}

#[test]
fn an_operator_sees_conflicts_and_forgets_people_by_place_operation_and_number() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    fill(data);
    let shown = run(data, &["conflicts"], "");
    assert!(text(&shown.stdout).starts_with("places 1, 3\n"), "{shown:?}");
    assert!(["a@example.org", "c@example.org"].iter().all(|address| text(&shown.stdout).contains(address)));
    assert!(!text(&shown.stderr).contains('@'), "a log names nobody");
    let json: serde_json::Value = serde_json::from_slice(&run(data, &["conflicts", "--json"], "").stdout).unwrap();
    assert_eq!(json[0][1], serde_json::json!({ "place": 3, "address": "c@example.org" }));

    // As a server that runs beside it.
    let _beside = vigie_backend::open(&Config::new(data)).unwrap();
    let forgotten = run(data, &["forget", "--number"], " 12-34 \n");
    assert_eq!(
        text(&forgotten.stdout),
        "erased: sign-ups 2, corrections 0, hashes of number and address 2, mails 3 (files 0)\n",
        "{forgotten:?}"
    );
    assert!(text(&run(data, &["forget", "--operation", &"02".repeat(16)], "").stdout).starts_with("erased: sign-ups 1,"));
    assert_eq!(text(&run(data, &["conflicts"], "").stdout), "numbers with several addresses: 0\n");
    for (args, input) in
        [(&["forget", "--number"][..], "1234\n"), (&["forget", "--place", "99"], ""), (&["forget", "--number"], "")]
    {
        let refused = run(data, args, input);
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(!text(&refused.stderr).contains("1234"));
    }
    assert_eq!(run(data, &["forget"], "").status.code(), Some(2), "nobody is named");
}

#[test]
fn where_forms_cannot_be_opened_no_key_is_made_and_no_address_shown() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    fill(data);
    std::fs::remove_dir_all(data.join("open")).unwrap();
    let shown = run(data, &["conflicts"], "");
    assert!(text(&shown.stdout).starts_with("places 1, 3\n") && !text(&shown.stdout).contains('@'), "{shown:?}");
    let refused = run(data, &["forget", "--number"], "1234\n");
    assert!(!refused.status.success() && text(&refused.stderr).contains("run this where forms are opened"), "{refused:?}");
    assert!(run(data, &["forget", "--place", "1"], "").status.success());
    assert!(!data.join("open").exists());
}
