//! `launch-day` itself: a small crowd, a real backend, a kill, and a proof that notices what is wrong.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::panic,
    reason = "clippy.toml allows them in tests, and does not see that helpers of an integration test are tests"
)]

#[path = "../../backend/tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use rusqlite::Connection;
use serde_json::Value;

/// Whether there is a backend; says so where there is none.
fn has_backend() -> bool {
    let backend = cargo_bin("launch-day").with_file_name(format!("vigie-backend{}", std::env::consts::EXE_SUFFIX));
    if !backend.is_file() {
        eprintln!("skipped: vigie-backend is not built (cargo build -p vigie-backend)");
    }
    backend.is_file()
}

fn run(arguments: &[&str]) -> Output {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(cargo_bin("launch-day"));
    let output = command.args(arguments).env("TMPDIR", temporary.path()).stdin(Stdio::null()).output().unwrap();
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "nothing is left");
    output
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Runs it, and gives its exit code and what it found.
fn found(arguments: &[&str]) -> (Option<i32>, Value) {
    let ran = run(arguments);
    let found = serde_json::from_slice(&ran.stdout);
    (ran.status.code(), found.unwrap_or_else(|_| panic!("{}", text(ran.stderr))))
}

/// The counts that must be 0.
fn wrongs(found: &Value) -> [u64; 5] {
    ["lost", "half", "changed_receipts", "places_twice", "out_of_order"].map(|member| found[member].as_u64().unwrap())
}

/// A crowd of 40 in a new folder, all of them acknowledged.
fn kept(folder: &Path) -> String {
    let kept = folder.join("crowd").to_str().unwrap().to_owned();
    let (code, found) = found(&["--people", "40", "--in", "100ms", "--keep", &kept, "--json"]);
    assert_eq!((code, found["acknowledged"].as_u64(), wrongs(&found)), (Some(0), Some(40), [0; 5]), "{found}");
    kept
}

/// Breaks the database of such a crowd, and proves it again.
fn broken(statements: &str) -> (Option<i32>, [u64; 5], Value) {
    let folder = tempfile::tempdir().unwrap();
    let kept = kept(folder.path());
    let database = Connection::open(Path::new(&kept).join("backend/backend.sqlite")).unwrap();
    database.execute_batch(statements).unwrap();
    drop(database);
    let (code, found) = found(&["prove", &kept, "--json"]);
    (code, wrongs(&found), found)
}

#[test]
fn after_a_kill_nothing_is_lost_half_changed_or_given_twice() {
    if !has_backend() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("minute.svg");
    // Who fails five times comes again after ten minutes: nobody waits for them here.
    let arguments = ["--people", "500", "--in", "1s", "--kill-at", "0.5", "--procs", "2", "--longest", "40s", "--json", "--plot"];
    let (code, found) = found(&[&arguments[..], &[plot.to_str().unwrap()]].concat());
    assert_eq!((code, wrongs(&found)), (Some(0), [0; 5]), "{found}");
    let count = |member: &str| found[member].as_u64().unwrap();
    assert_eq!(count("acknowledged") + count("gave_up"), 500, "{found}");
    assert_eq!(count("asked_again"), count("acknowledged"));
    // Who was committed and killed before the answer, and never came again, is in the database alone.
    assert!((count("acknowledged")..=500).contains(&count("sign_ups")), "{found}");
    assert!(count("acknowledged") > 400 && found["connections_held"].is_null(), "{found}");
    assert_eq!(found["ready_s"].as_array().unwrap().len(), 1);
    assert!(
        found["statuses"]
            .as_object()
            .unwrap()
            .keys()
            .all(|status| ["200", "201", "503", "no connection", "no answer"].contains(&&**status))
    );
    assert!(found["first_ack_s"].as_f64().unwrap() <= found["last_ack_s"].as_f64().unwrap());
    if cfg!(target_os = "linux") {
        assert!(found["server_rss_mib"].as_f64().unwrap() > 1.0 && found["server_cpu_s"].as_f64().unwrap() > 0.0);
    }
    let plot = fs::read_to_string(plot).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("got a receipt") && plot.len() < 100_000);
}

#[test]
fn those_who_are_all_connected_before_are_all_answered() {
    if !has_backend() {
        return;
    }
    let (code, found) = found(&["--people", "300", "--in", "hold", "--json"]);
    assert_eq!((code, found["acknowledged"].as_u64(), found["gave_up"].as_u64()), (Some(0), Some(300), Some(0)), "{found}");
    assert_eq!(found["statuses"], serde_json::json!({"201": 300}));
    assert_eq!(found["connections_held"].as_u64(), cfg!(target_os = "linux").then_some(300));
}

#[test]
#[cfg(target_os = "linux")]
fn several_processes_hold_all_and_idle_connections_are_held_with_them() {
    if !has_backend() {
        return;
    }
    let arguments = ["--people", "200", "--in", "hold", "--processes", "2", "--procs", "2", "--idle", "101", "--json"];
    let (code, found) = found(&arguments);
    // 50 beside each of the two parts. A process of the backend that began late brings sockets of its own.
    assert!(code == Some(0) && found["connections_held"].as_u64() >= Some(300), "{found}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_backend_that_cannot_hold_all_is_not_started_upon() {
    use std::os::unix::fs::PermissionsExt;
    if !has_backend() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let few = folder.path().join("few");
    let backend = cargo_bin("launch-day").with_file_name("vigie-backend");
    fs::write(&few, format!("#!/bin/sh\nulimit -n 140\nexec {} \"$@\"\n", backend.display())).unwrap();
    fs::set_permissions(&few, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = run(&["--people", "300", "--in", "hold", "--backend", few.to_str().unwrap()]);
    let told = text(ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("of 300 connections") && told.contains("--processes 3"), "{told}");

    let launch_day = format!("ulimit -n 120; exec {} --people 300 --in hold", cargo_bin("launch-day").display());
    let ran = Command::new("sh").args(["-c", &launch_day]).stdin(Stdio::null()).output().unwrap();
    let told = text(ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("with more --procs") && told.contains("a process of the crowd did not begin"), "{told}");
}

#[test]
fn idle_connections_and_one_address_for_all_keep_nobody_out() {
    if !has_backend() {
        return;
    }
    let (code, found) = found(&["--people", "400", "--in", "1s", "--idle", "600", "--one-address", "--json"]);
    assert_eq!((code, wrongs(&found), found["acknowledged"].as_u64()), (Some(0), [0; 5], Some(400)), "{found}");
    assert_eq!(found["statuses"], serde_json::json!({"201": 400}));
}

#[test]
fn after_an_overload_everybody_has_a_receipt_and_newcomers_were_counted() {
    if !has_backend() || !cfg!(target_os = "linux") {
        return;
    }
    overloaded(&[]);
}

#[test]
#[cfg(target_os = "linux")]
fn postgresql_is_overloaded_like_anything_else_where_its_disk_is_slow() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    // PostgreSQL is somebody else.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let slow = folder.path().join("disk");
    let made = run(&["slow-disk", slow.to_str().unwrap()]);
    assert_eq!(made.status.code(), Some(0), "{}", text(made.stderr));
    let said = text(made.stdout);
    let environment: Vec<(&str, &str)> =
        said.lines().next().unwrap().split(' ').filter_map(|word| word.split_once('=')).collect();
    let Some(server) = common::Postgresql::start_with(&environment) else { return };
    if !has_backend() {
        return;
    }
    let url = server.new_database();
    assert!(text(run(&["--overload", "2", "--database", &url]).stderr).contains("PostgreSQL has a disk of its own"));
    let own = ["--database", &url, "--slow-disk", slow.to_str().unwrap()];
    assert_eq!(overloaded(&own)["database"], "PostgreSQL");
    let url = server.new_database();
    let own = ["--database", &url, "--slow-disk", slow.to_str().unwrap()];
    let (code, few) = found(&[&["--people", "20", "--in", "100ms", "--slow-fsync", "5ms", "--json"], &own[..]].concat());
    assert_eq!((code, few["slow_fsync_ms"].as_f64(), few["acknowledged"].as_u64()), (Some(0), Some(5.0), Some(20)), "{few}");
    assert_eq!(fs::read_to_string(slow.join("slow-disk.us")).unwrap(), "0", "as fast as it was");
    drop(server);
    let Some(fast) = common::Postgresql::start() else { return };
    let url = fast.new_database();
    let ran = run(&["--slow-fsync", "1s", "--database", &url, "--slow-disk", slow.to_str().unwrap()]);
    assert!(ran.status.code() == Some(2) && text(ran.stderr).contains("its disk is not slow"));
}

/// A short overload, which everybody gets through, held down by a disk that is really slow.
fn overloaded(arguments: &[&str]) -> Value {
    let (code, found) = found(&[&["--overload", "6", "--overload-for", "3s", "--json"], arguments].concat());
    assert_eq!((code, wrongs(&found)), (Some(0), [0; 5]), "{found}");
    assert_eq!((found["acknowledged"].as_u64(), found["gave_up"].as_u64()), (found["people"].as_u64(), Some(0)), "{found}");
    let statuses = found["statuses"].as_object().unwrap();
    assert!(statuses.keys().all(|status| ["200", "201", "503"].contains(&&**status)), "{found}");
    let overload = |member: &str| found["overload"][member].as_f64().unwrap();
    // 32 people in a transaction, which takes 150 ms at least.
    assert!(overload("capacity") < 32.0 / 0.15 * 1.2, "{found}");
    assert!(overload("offered") > (overload("factor") - 1.0) * overload("capacity") && overload("newcomers") > 0.0, "{found}");
    assert!(overload("goodput") > 0.0 && overload("through_after_s") > 0.0, "{found}");
    found
}

/// Until the backend has taken in so many.
fn wait_for(url: &str, people: i64) {
    let count = || {
        let mut database = postgres::Client::connect(url, postgres::NoTls).ok()?;
        database.query_one("SELECT count(*) FROM sign_up", &[]).ok()?.try_get::<_, i64>(0).ok()
    };
    let begun = Instant::now();
    while count().is_none_or(|count| count < people) {
        assert!(begun.elapsed() < Duration::from_secs(120), "there are not {people} sign-ups");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_database_that_is_killed_and_started_in_the_middle_loses_halves_and_changes_nothing() {
    let Some(server) = common::Postgresql::start() else { return };
    if !has_backend() {
        return;
    }
    let url = server.new_database();
    let mut command = Command::new(cargo_bin("launch-day"));
    command.args(["--people", "1500", "--in", "6s", "--longest", "2m", "--json", "--database", &url]);
    let running = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for people in [200, 600] {
        wait_for(&url, people);
        server.restart();
    }
    let ended = running.wait_with_output().unwrap();
    let found: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{}", text(ended.stderr)));
    assert_eq!((ended.status.code(), wrongs(&found), &found["database"]), (Some(0), [0; 5], &"PostgreSQL".into()), "{found}");
    let count = |member: &str| found[member].as_u64().unwrap();
    assert_eq!(count("acknowledged") + count("gave_up"), 1_500, "{found}");
    assert!(count("acknowledged") >= 1_400 && count("sign_ups") >= count("acknowledged"), "{found}");
    assert!(found["statuses"].as_object().unwrap().keys().all(|status| ["200", "201", "503"].contains(&&**status)), "{found}");
}

#[test]
fn the_straightforward_handler_is_there_to_compare_with() {
    if !has_backend() {
        return;
    }
    let ran = run(&["--people", "20", "--straightforward"]);
    let told = text(ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{told}");
    assert!(
        told.contains("one request a transaction") && told.ends_with("nothing was lost, half, changed or given twice.\n"),
        "{told}"
    );
}

#[test]
fn a_kept_crowd_is_proved_again_and_a_deleted_sign_up_is_lost() {
    if !has_backend() {
        return;
    }
    let (code, wrongs, found) = broken("");
    assert_eq!((code, wrongs), (Some(0), [0; 5]), "{found}");
    // Asked again, the server takes it in anew: another place, so another receipt. Its task is left.
    let (code, wrongs, found) = broken("DELETE FROM sign_up WHERE place = 7");
    assert_eq!((code, wrongs), (Some(1), [1, 1, 1, 0, 0]), "{found}");
    let (code, wrongs, found) = broken("DELETE FROM sign_up WHERE place = 7; DELETE FROM task WHERE place = 7");
    assert_eq!((code, wrongs), (Some(1), [1, 0, 1, 0, 0]), "{found}");
}

#[test]
fn a_deleted_task_is_half_a_registration() {
    if !has_backend() {
        return;
    }
    let (code, wrongs, found) = broken("DELETE FROM task WHERE place IN (3, 4)");
    assert_eq!((code, wrongs), (Some(1), [0, 2, 0, 0, 0]), "{found}");
}

#[test]
fn another_place_is_a_changed_receipt() {
    if !has_backend() {
        return;
    }
    // The last one: another would also be out of order, where the crowd did not come within one second of the clock.
    let move_one = "UPDATE sign_up SET place = 1000 WHERE place = (SELECT max(place) FROM sign_up);
        UPDATE task SET place = 1000 WHERE place = (SELECT max(place) FROM task)";
    let (code, wrongs, found) = broken(move_one);
    assert_eq!((code, wrongs), (Some(1), [0, 0, 1, 0, 0]), "{found}");
}

#[test]
fn a_place_that_two_have_is_noticed_and_so_is_one_out_of_order() {
    if !has_backend() {
        return;
    }
    // Without the key that forbids it.
    let double = "CREATE TABLE other AS SELECT * FROM sign_up; DROP TABLE sign_up; ALTER TABLE other RENAME TO sign_up;
        UPDATE sign_up SET place = 8, received_s = (SELECT received_s FROM sign_up WHERE place = 8) WHERE place = 9;
        UPDATE task SET place = 8 WHERE place = 9";
    let (code, wrongs, found) = broken(double);
    assert_eq!((code, wrongs), (Some(1), [0, 0, 1, 1, 0]), "{found}");
    let (code, wrongs, found) = broken("UPDATE sign_up SET received_s = received_s - 100 WHERE place = 20");
    assert_eq!((code, wrongs), (Some(1), [0, 0, 1, 0, 1]), "{found}");
}

#[test]
fn a_place_before_that_of_somebody_who_was_acknowledged_earlier_is_out_of_order() {
    if !has_backend() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kept = kept(folder.path());
    let path = Path::new(&kept).join("outcomes.0");
    let mut outcomes: Vec<Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    // As if time had gone backwards, and slowly.
    let turned = |us: &Value| Value::from(100 * (60_000_000 - us.as_u64().unwrap()));
    for outcome in &mut outcomes {
        let (arrived, acknowledged) = (turned(&outcome["arrived_us"]), turned(&outcome["acknowledged"][0]));
        (outcome["arrived_us"], outcome["acknowledged"][0]) = (acknowledged, arrived);
    }
    fs::write(&path, serde_json::to_vec(&outcomes).unwrap()).unwrap();
    let (code, found) = found(&["prove", &kept, "--json"]);
    assert_eq!((code, &wrongs(&found)[..4]), (Some(1), &[0; 4][..]), "{found}");
    assert!(found["out_of_order"].as_u64().unwrap() > 0, "{found}");
}

#[test]
fn what_cannot_be_done_is_said_with_the_next_step() {
    let refused = |arguments: &[&str]| {
        let ran = run(arguments);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
        text(ran.stderr)
    };
    assert!(refused(&["--people", "25000", "--procs", "1"]).contains("let more play them with --procs"));
    assert!(refused(&["--in", "soon"]).contains("write it as 1s or 60s"));
    assert!(refused(&["--server", "http://192.0.2.1:1"]).contains("load goes to no other machine"));
    assert!(refused(&["--server", "http://127.0.0.1:1"]).contains("is the backend running?"));
    assert!(refused(&["--server", "/no/such/client.json"]).contains("cannot be read"));
    assert!(refused(&["--server", "http://127.0.0.1:1", "--kill-at", "1"]).contains("cannot be used with"));
    assert!(refused(&["prove", "/"]).contains("is no folder of a crowd"));
    assert!(refused(&["--overload", "2", "--people", "9"]).contains("cannot be used with"));
    assert!(refused(&["--overload", "2", "--overload-for", "1h"]).contains("write it as 60s"));
    assert!(refused(&["--overload", "11"]).contains("11"));
    assert!(refused(&["--slow-disk", "x", "--database", "postgres://127.0.0.1/x"]).contains("--slow-fsync"));
    assert!(refused(&["--slow-disk", "x", "--slow-fsync", "5ms"]).contains("--database"));
    let folder = tempfile::tempdir().unwrap();
    assert!(refused(&["slow-disk", folder.path().join("a b").to_str().unwrap()]).contains("name another folder"));
    assert!(refused(&["--people", "1", "pacing"]).contains("cannot be used with"));
}

#[test]
fn a_launch_is_told_hour_by_hour_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("launch.svg");
    let ran = run(&["curve", "--phones", "20000", "--plot", plot.to_str().unwrap()]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(ran.stderr));
    let told = text(ran.stdout);
    assert!(
        told.contains("309652 : 659916 : 413991") && told.lines().filter(|line| line.starts_with("   ")).count() >= 72,
        "{told}"
    );
    assert!(fs::read_to_string(plot).unwrap().contains("<polyline"));
    let ran = run(&["curve", "--installs", "0,0"]);
    assert!(ran.status.code() == Some(2) && text(ran.stderr).contains("such as 300000,650000,400000"));
}
