//! What is erased is searched for, byte by byte, in all files; and each step is left out once, to see that the search finds it then.

use std::collections::HashSet;
use std::path::Path;

use rand_core::Rng;
use rusqlite::params;

use super::super::tests::*;
use super::*;
use crate::keys::schedule::Release;

/// All 16 bytes that name or were a secret, of what expires at [`NOW`] and of what does not.
#[derive(Default)]
struct Traces {
    expired: HashSet<[u8; 16]>,
    kept: HashSet<[u8; 16]>,
}

impl Traces {
    fn of(&mut self, old: bool, bytes: [u8; 16]) {
        if old {
            self.expired.insert(bytes)
        } else {
            self.kept.insert(bytes)
        };
    }
}

/// A store with a past: old and new rows side by side in each table, that came in any order and grew until pages were split and moved.
///
/// Most of what SQLite moves it overwrites where it was; contacts of very different length are where it leaves copies behind.
fn churned(path: &Path) -> (Store, Traces) {
    let (mut store, mut traces, rng) = (open(path), Traces::default(), &mut rng(5));
    let (mut heard, mut met) = (Vec::new(), Vec::new());
    for _ in 0..1000 {
        let old = rng.next_u32() % 2 == 0;
        let at = NOW.before(days(if old { 16 } else { 1 }));
        let encounter = some_encounter(at, 1 + u64::from(rng.next_u32() % 90), rng);
        traces.of(old, encounter.frame.rpi.0);
        heard.push(encounter);
        let mut exposure = some_exposure(at, rng);
        traces.of(old, exposure.id.0);
        exposure.contacts[0].packets = some_encounter(at, 1 + u64::from(rng.next_u32() % 300), rng).packets;
        met.push(exposure);
    }
    for exposure in met.iter().take(200) {
        let sending = some_sending(exposure.contacts[0].packets[0].at, rng);
        traces.of(sending.own.is_expired(NOW.interval()), *sending.own.key.as_bytes());
        store.keep_release(&Release { keys: vec![], successor: Some(sending.own.key.clone()) }).unwrap();
        store.keep_sending(&sending).unwrap();
    }
    heard.chunks(50).for_each(|batch| store.add_encounters(batch).unwrap());
    met.chunks(50).for_each(|found| store.record_matches(&[6; 32], HALF, found, NOW.before(days(16))).unwrap());
    for exposure in &mut met {
        let first = exposure.contacts[0].packets[0];
        exposure.contacts[0].packets = some_encounter(first.at, 1 + u64::from(rng.next_u32() % 300), rng).packets;
    }
    met.chunks(50).for_each(|found| store.record_matches(&[7; 32], HALF, found, NOW).unwrap());
    let alerts: Vec<_> = met.iter().map(|exposure| some_alert(exposure, exposure.contacts[0].packets[0].at)).collect();
    store.update_alerts(&alerts, &[]).unwrap();
    (store, traces)
}

/// How many of these are in any file beside the database, in it, or in its log.
fn found(path: &Path, traces: &HashSet<[u8; 16]>) -> usize {
    let files = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let contents: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    let windows = contents.iter().flat_map(|content| content.windows(16));
    let first_bytes: HashSet<_> = traces.iter().map(|trace| [trace[0], trace[1]]).collect();
    let likely = windows.filter(|w| first_bytes.contains(&[w[0], w[1]]));
    likely.filter_map(|window| traces.get(window)).collect::<HashSet<_>>().len()
}

fn delete(store: &mut Store) {
    store.write_sealed(|tx, seal| delete_expired(tx, seal, NOW, &kept_until(NOW))).unwrap();
}

/// A connection of another program that is in the middle of reading.
fn reader(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("BEGIN").unwrap();
    let _: i64 = conn.query_row("SELECT count(*) FROM encounters", [], |row| row.get(0)).unwrap();
    conn
}

#[test]
fn what_expired_is_in_no_file_any_more_and_the_rest_is_as_it_was() {
    let (_dir, path) = place();
    let (mut store, traces) = churned(&path);
    assert_eq!(found(&path, &traces.expired), traces.expired.len(), "the search finds what is there");
    let kept = store.own_keys().unwrap().into_iter().filter(|own| !own.is_expired(NOW.interval())).collect::<Vec<_>>();
    assert_eq!(store.erase_expired(NOW).unwrap(), Erasure::Done);
    assert_eq!(found(&path, &traces.expired), 0);
    assert_eq!(found(&path, &traces.kept), traces.kept.len());
    assert_eq!(store.own_keys().unwrap(), kept);
    assert_eq!(store.erase_expired(NOW).unwrap(), Erasure::Nothing);
    assert_eq!(store.erase_expired(NOW.after(days(30))).unwrap(), Erasure::Done);
    assert_eq!(found(&path, &traces.kept), 0);
    assert_eq!((store.exposures().unwrap().len(), store.alerts().unwrap().len()), (0, 0));
    assert_eq!(store.file_progress(&[7; 32]).unwrap(), None);
}

#[test]
fn without_vacuum_bytes_stay() {
    let (_dir, path) = place();
    let (mut store, traces) = churned(&path);
    delete(&mut store);
    set_step(&store.conn, Step::TruncateLog).unwrap();
    assert_eq!(store.finish_erasure().unwrap(), Erasure::Done);
    assert_ne!(found(&path, &traces.expired), 0);
}

#[test]
fn without_the_last_truncation_bytes_stay() {
    let (_dir, path) = place();
    let (mut store, traces) = churned(&path);
    delete(&mut store);
    assert!(truncate_log(&store.conn).unwrap());
    store.conn.execute_batch("VACUUM").unwrap();
    assert_ne!(found(&path, &traces.expired), 0);
    assert!(truncate_log(&store.conn).unwrap());
    assert_eq!(found(&path, &traces.expired), 0);
}

#[test]
fn without_secure_delete_bytes_stay_where_vacuum_finds_no_room() {
    let left = |leave_out: bool| {
        let (_dir, path) = place();
        let (mut store, mut traces, rng) = (open(&path), Traces::default(), &mut rng(5));
        if leave_out {
            store.conn.pragma_update(None, "secure_delete", "OFF").unwrap();
        }
        for _ in 0..300 {
            let sending = some_sending(NOW.before(days(16)), rng);
            traces.of(true, *sending.own.key.as_bytes());
            store.keep_sending(&sending).unwrap();
        }
        delete(&mut store);
        assert!(truncate_log(&store.conn).unwrap());
        found(&path, &traces.expired)
    };
    assert_eq!(left(false), 0);
    assert_ne!(left(true), 0);
}

#[test]
fn a_reader_holds_the_erasure_up_and_it_goes_on_after_a_restart() {
    let (_dir, path) = place();
    let (mut store, traces) = churned(&path);
    let reader = reader(&path);
    assert_eq!(store.erase_expired(NOW).unwrap(), Erasure::Pending);
    assert_ne!(found(&path, &traces.expired), 0, "who does not look at the column `busy` would say that it is done");
    assert_eq!(store.own_keys().unwrap().iter().filter(|own| own.is_expired(NOW.interval())).count(), 0);
    let length = std::fs::metadata(files::sibling(&path, "-wal")).unwrap().len();
    assert_eq!(store.erase_expired(NOW).unwrap(), Erasure::Pending);
    assert_eq!(std::fs::metadata(files::sibling(&path, "-wal")).unwrap().len(), length, "waiting costs no room");
    drop(store);
    let mut store = open(&path);
    assert_eq!(store.finish_erasure().unwrap(), Erasure::Pending);
    drop(reader);
    assert_eq!(store.finish_erasure().unwrap(), Erasure::Done);
    assert_eq!(found(&path, &traces.expired), 0);
    assert_eq!(store.finish_erasure().unwrap(), Erasure::Nothing);
}

#[test]
fn a_reader_that_comes_during_vacuum_holds_it_up_as_well() {
    let (_dir, path) = place();
    let (mut store, traces) = churned(&path);
    delete(&mut store);
    let reader = reader(&path);
    store.conn.execute_batch("VACUUM").unwrap();
    set_step(&store.conn, Step::TruncateLog).unwrap();
    assert_eq!(store.erase_expired(NOW).unwrap(), Erasure::Pending);
    assert_ne!(found(&path, &traces.expired), 0);
    drop(reader);
    drop(store);
    let mut store = open(&path);
    assert_eq!(store.erase_expired(NOW).unwrap(), Erasure::Done);
    assert_eq!(found(&path, &traces.expired), 0);
}

#[test]
fn erasing_everything_leaves_no_byte_and_a_new_store() {
    let (_dir, path) = place();
    let (mut store, mut traces) = churned(&path);
    traces.expired.extend(traces.kept.drain());
    let secret = *store.secret().unwrap().as_bytes();
    traces.expired.extend([*secret.first_chunk().unwrap(), *secret.last_chunk().unwrap()]);
    store.set_clock_state(super::super::ClockState { last_seen: NOW, doubt: None }).unwrap();
    std::fs::write(files::set_aside_path(&path, NOW.unix_s()), secret).unwrap();
    std::fs::write(files::sibling(&files::set_aside_path(&path, NOW.unix_s()), "-wal"), secret).unwrap();
    let reader = reader(&path);
    assert_eq!(store.erase_everything(&mut rng(77)).unwrap(), Erasure::Pending);
    drop(reader);
    assert_eq!(store.finish_erasure().unwrap(), Erasure::Done);
    assert_eq!(found(&path, &traces.expired), 0);
    assert_ne!(*store.secret().unwrap().as_bytes(), secret);
    assert_eq!((store.own_keys().unwrap(), store.clock_state().unwrap()), (vec![], None));
    let tables =
        TABLES.map(|table| store.conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)));
    assert!(tables.into_iter().all(|rows| rows == Ok(0)));
    let all: i64 = store.conn.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |row| row.get(0)).unwrap();
    assert_eq!(all, TABLES.len() as i64 + 1, "a table that nobody erases");
}

#[test]
fn databases_set_aside_are_overwritten_after_14_days() {
    let (_dir, path) = place();
    let mut store = open(&path);
    let aside = |age| files::set_aside_path(&path, NOW.before(days(age)).unix_s());
    for age in [0, 14, 15, 16] {
        std::fs::write(aside(age), [1; 5000]).unwrap();
    }
    // A second name shows what becomes of the content.
    let witness = path.with_file_name("witness");
    std::fs::hard_link(aside(16), &witness).unwrap();
    let other = files::sibling(&path, "-set-aside-notes");
    std::fs::write(&other, "not ours").unwrap();
    assert_eq!(store.erase_expired(NOW).unwrap(), Erasure::Done);
    assert_eq!([0, 14, 15, 16].map(|age| aside(age).exists()), [true, true, false, false]);
    assert_eq!(std::fs::read(&witness).unwrap(), [0; 5000]);
    assert!(other.exists());
}

#[test]
fn expiry_is_after_14_whole_days() {
    let mut store = Store::in_memory(&mut rng(1)).unwrap();
    let midnight = NOW.date().minus(14).first_interval().start();
    let heard = [0, 1].map(|ms| some_encounter(midnight.before(std::time::Duration::from_millis(ms)), 1, &mut rng(2)));
    store.add_encounters(&heard).unwrap();
    assert_eq!(store.erase_expired(NOW).unwrap(), Erasure::Done);
    assert_eq!(store.identifiers().unwrap().len(), 1);
    assert_eq!(store.latest_packet().unwrap(), Some(midnight));
    store.conn.execute("UPDATE encounters SET time = ?", params![NOW.after(days(1)).unix_ms()]).unwrap();
    assert_eq!(store.erase_expired(NOW).unwrap(), Erasure::Nothing);
    store.conn.execute("UPDATE encounters SET time = ?", params![i64::MAX]).unwrap();
    assert_eq!(store.erase_expired(NOW).unwrap(), Erasure::Done, "left by a clock that was wrong");
}
