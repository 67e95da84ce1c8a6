//! The program as a user runs it.
#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, and does not see that helpers of an integration test are tests"
)]

use std::fs;
use std::process::Output;

use assert_cmd::Command;

fn run(arguments: &[&str]) -> Output {
    let few = ["pacing", "--devices", "20000"];
    Command::cargo_bin("launch-day").unwrap().args(few).args(arguments).output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn it_ends_with_a_plain_statement_and_code_0() {
    let ran = run(&[]);
    assert_eq!(ran.status.code(), Some(0));
    let told = text(ran.stdout);
    assert!(told.ends_with("Every promise is kept.\n"), "{told}");
    assert!(!told.contains('\u{1b}'));
    assert!(ran.stderr.is_empty(), "no progress where there is no terminal");
}

#[test]
fn another_cap_breaks_the_promise_and_changes_the_plot() {
    let folder = tempfile::tempdir().unwrap();
    let [usual, hour] = ["usual.svg", "hour.svg"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    assert_eq!(run(&["--plot", &usual]).status.code(), Some(0));
    let ran = run(&["--poll-retry-cap", "1h", "--plot", &hour, "--json"]);
    assert_eq!(ran.status.code(), Some(1));
    let findings: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(findings["all_kept"], false);
    assert!(findings["promises"][1]["measured"]["times_normal"].as_f64().unwrap() > 2.0);

    let [usual, hour] = [usual, hour].map(|path| fs::read_to_string(path).unwrap());
    assert!(usual.starts_with("<svg") && usual.contains("<polyline") && usual.len() < 60_000);
    assert_ne!(usual, hour);
}

#[test]
fn a_plot_that_cannot_be_written_is_told_with_the_next_step() {
    let ran = run(&["--plot", "/no/such/folder/plot.svg"]);
    assert_eq!(ran.status.code(), Some(2));
    let told = text(ran.stderr);
    assert!(told.contains("plot.svg cannot be written; name another file with --plot"), "{told}");
}

#[test]
fn days_that_cannot_be_are_refused() {
    for arguments in [["--outage", "0"], ["--outage", "721"], ["--people", "0"], ["--poll-retry-cap", "1s"], ["--seed", "minus"]]
    {
        assert_eq!(run(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}
