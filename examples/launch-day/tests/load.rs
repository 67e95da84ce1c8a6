//! `launch-day load` with a real backend, which `cargo test --workspace` builds beside it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "clippy.toml allows them in tests, and does not see that helpers of an integration test are tests"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::cargo_bin;

/// Whether there is a backend to measure; says so where there is none.
fn has_backend() -> bool {
    let backend = cargo_bin("launch-day").with_file_name(format!("vigie-backend{}", std::env::consts::EXE_SUFFIX));
    if !backend.is_file() {
        eprintln!("skipped: vigie-backend is not built (cargo build -p vigie-backend)");
    }
    backend.is_file()
}

fn load(temporary: &Path) -> Command {
    let mut command = Command::new(cargo_bin("launch-day"));
    command.args(["load", "--connections", "2"]).env("TMPDIR", temporary).stdin(Stdio::null());
    command
}

fn ran(arguments: &[&str]) -> Output {
    let temporary = tempfile::tempdir().unwrap();
    let output = load(temporary.path()).args(arguments).output().unwrap();
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "nothing is left");
    output
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn every_report_and_download_is_counted() {
    if !has_backend() {
        return;
    }
    let ran = ran(&["--reports", "5", "--downloads", "4", "--json", "--nginx=/no/such/nginx"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(ran.stderr));
    let found: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let done: Vec<(&str, u64)> = found["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            assert!(row["failed"] == 0 && row["per_second"].as_f64().unwrap() > 0.0, "{row}");
            assert!(row["p50_ms"].as_f64().unwrap() <= row["p99_ms"].as_f64().unwrap());
            (row["name"].as_str().unwrap().split(" of ").next().unwrap(), row["done"].as_u64().unwrap())
        })
        .collect();
    let (single, grouped) = (" (1 request a transaction)", "");
    let reports = |how| [(format!("codes{how}"), 5), (format!("reports{how}"), 5)];
    let downloads = [("key list".to_owned(), 4), ("key file".to_owned(), 4)];
    let expected = [reports(single), reports(grouped), downloads].concat();
    assert_eq!(done, expected.iter().map(|(name, done)| (name.as_str(), *done)).collect::<Vec<_>>());
    assert!(found["times"].as_f64().unwrap() > 0.0);
    assert!(found["skipped"][0].as_str().unwrap().contains("there is no program `/no/such/nginx`"), "{found}");
    if cfg!(target_os = "linux") {
        let memory = |member: &str| found[member].as_u64().unwrap();
        assert!(
            memory("memory_at_the_end_kib") >= memory("memory_after_reports_kib") && memory("memory_after_reports_kib") > 1024
        );
    }
}

#[test]
fn downloads_through_nginx_are_rows_of_their_own() {
    if !has_backend() {
        return;
    }
    if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
        // `.ci/run` (CI) installs it.
        assert!(std::env::var_os("CI").is_none(), "not to be skipped: there is no nginx");
        eprintln!("skipped: there is no `nginx` (Debian: nginx-light)");
        return;
    }
    let ran = ran(&["--reports", "2", "--downloads", "4", "--json", "--nginx"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(ran.stderr));
    let found: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let rows = found["rows"].as_array().unwrap();
    for what in ["key list of ", "key file of "] {
        let is_wanted = |name: &str| name.starts_with(what) && name.ends_with(" (through nginx)");
        let row = rows.iter().find(|row| is_wanted(row["name"].as_str().unwrap())).unwrap();
        assert_eq!((row["done"].as_u64(), row["failed"].as_u64()), (Some(4), Some(0)), "{row}");
    }
    assert_eq!(found["skipped"], serde_json::json!([]));
}

#[test]
fn too_small_a_gain_is_code_1_and_told() {
    if !has_backend() {
        return;
    }
    let ran = ran(&["--reports", "2", "--downloads", "1", "--at-least", "1000000"]);
    assert_eq!(ran.status.code(), Some(1));
    let told = text(ran.stdout);
    assert!(told.contains("fewer than 1000000 times") && !told.contains('\u{1b}'), "{told}");
    assert!(ran.stderr.is_empty(), "no progress where there is no terminal");
}

#[cfg(unix)]
#[test]
fn ended_early_it_leaves_nothing_behind() {
    if !has_backend() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let mut running =
        load(temporary.path()).args(["--reports", "100000"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let is_serving = || {
        let folder = fs::read_dir(temporary.path()).unwrap().next();
        folder.is_some_and(|folder| folder.unwrap().path().join("backend/client.json").is_file())
    };
    while !is_serving() {
        assert!(running.try_wait().unwrap().is_none(), "it has ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Command::new("kill").args(["-TERM", &running.id().to_string()]).status().unwrap();
    let ended = running.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(text(ended.stderr).contains("ended before everything was measured"));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    // The backend waited for it, and its command line named the folder.
    let left = Command::new("pgrep").args(["-f", temporary.path().to_str().unwrap()]).output();
    assert!(left.is_err() || left.unwrap().stdout.is_empty(), "the backend still runs");
}

#[test]
fn what_cannot_be_measured_is_said_with_the_next_step() {
    let refused = |arguments: &[&str]| {
        let ran = ran(arguments);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
        text(ran.stderr)
    };
    assert!(refused(&["--backend", "/no/such/backend"]).contains("name the backend's with --backend"));
    assert!(refused(&["--database", "postgres://db.example.org/x"]).contains("load goes to no other machine"));
    assert!(refused(&["--reports", "0"]).contains("1..=100000"));
    assert!(refused(&["--slow-fsync", "5ms", "--slow-disk", "x"]).contains("--database"));
    if !has_backend() {
        return;
    }
    assert!(refused(&["--database", "postgres://127.0.0.1:1/x"]).contains("PostgreSQL cannot be used"));
    let fast = ["--slow-fsync", "5ms", "--database", "postgres://127.0.0.1:1/x"];
    assert!(refused(&fast).contains("PostgreSQL has a disk of its own"));
    let empty = tempfile::tempdir().unwrap();
    let none = [&fast[..], &["--slow-disk", empty.path().to_str().unwrap()]].concat();
    assert!(refused(&none).contains("make one with `launch-day slow-disk"));
}
