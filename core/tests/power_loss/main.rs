//! What the store says it has kept is there after a loss of power, at any moment.
//!
//! A VFS between SQLite and the disk records every write, truncation, deletion and sync while the store works. Each moment of that record then
//! becomes disks as they may look when the power goes: what was synced is there; of the rest every 512-byte sector may be old, new or noise.
//! Each is opened with [`Store::open`] and must hold exactly the state that was last acknowledged, or the one that was being written.
//! Killing a process shows none of this: what it has written, the system keeps.

// Helpers of a test, and a VFS of the system that has every method.
#![allow(clippy::unwrap_used)]

mod disk;
mod sealing;
mod vfs;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use vfs::{Fault, Op};
use vigie::beacon::Frame;
use vigie::diagnosis::ReportType;
use vigie::encounters::calibration::Calibration;
use vigie::encounters::{Encounter, Packet};
use vigie::exposure::Alert;
use vigie::exposure::RiskLevel;
use vigie::exposure::{Contact, Exposure, ExposureId};
use vigie::keys::schedule::{self, OwnKey};
use vigie::radio::{MeasuredBy, Rssi};
use vigie::store::{Changes, FileProgress, Opened, OutboxEntry, Store, StoreError};
use vigie::time::{ClockState, Timestamp};

const START: Timestamp = Timestamp::from_unix_s(1_603_389_600);

/// The recorder is one for the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// All that a store holds.
#[derive(Debug, Clone, PartialEq)]
struct Content {
    own_keys: Vec<OwnKey>,
    encounters: Vec<Option<Encounter>>,
    exposures: Vec<Exposure>,
    alerts: Vec<Alert>,
    progress: Vec<Option<FileProgress>>,
    clock: Option<ClockState>,
    outbox: Vec<OutboxEntry>,
    note: Option<Vec<u8>>,
}

impl Content {
    fn of(store: &Store) -> Result<Self, StoreError> {
        let ids = store.identifiers()?;
        Ok(Self {
            own_keys: store.own_keys()?,
            encounters: ids.into_iter().map(|stored| store.encounter(stored.encounter)).collect::<Result<_, _>>()?,
            exposures: store.exposures()?,
            alerts: store.alerts()?,
            progress: (0..4).map(|file| store.file_progress(&[file; 32])).collect::<Result<_, _>>()?,
            clock: store.clock_state()?,
            outbox: store.outbox()?,
            note: store.note("note")?,
        })
    }
}

fn at(step: u64) -> Timestamp {
    START.after(Duration::from_secs(step * 6 * 3600))
}

fn some_packets(step: u64, rng: &mut ChaCha20Rng) -> Vec<Packet> {
    let packet = |i| Packet { at: at(step).after(Duration::from_millis(270 * i)), rssi: Rssi(-60 - (i % 9) as i8) };
    (0..1 + rng.next_u64() % 12).map(packet).collect()
}

fn some_encounter(step: u64, rng: &mut ChaCha20Rng) -> Encounter {
    let mut frame = [0; Frame::LEN];
    rng.fill_bytes(&mut frame);
    Encounter {
        frame: Frame::from_service_data(&frame).unwrap(),
        packets: some_packets(step, rng),
        measured_by: MeasuredBy::Us,
        seconds_since_last_scan: Some(240),
        calibration: Calibration::default(),
    }
}

fn some_exposure(id: u8, step: u64, rng: &mut ChaCha20Rng) -> Exposure {
    Exposure {
        id: ExposureId([id; 16]),
        report_type: Some(ReportType::ConfirmedTest),
        days_since_onset: None,
        contacts: vec![Contact {
            transmit_power: 12,
            packets: some_packets(step, rng),
            measured_by: MeasuredBy::Us,
            seconds_since_last_scan: None,
            calibration: Calibration { transmit_power: (step % 5) as i8, ..Calibration::default() },
        }],
    }
}

fn some_operation(step: u64, rng: &mut ChaCha20Rng) -> OutboxEntry {
    let mut content = vec![0; 2_000 + step as usize];
    rng.fill_bytes(&mut content);
    OutboxEntry { id: step as i64, made_at: at(step), due: Some(at(step)), attempts: 0, content: content.into() }
}

/// One thing that a tracer does with its store. The same step does the same again.
fn take_step(store: &mut Store, step: u64) -> Result<(), StoreError> {
    let rng = &mut ChaCha20Rng::seed_from_u64(step);
    let now = at(step);
    match step % 8 {
        0 | 4 => store.keep_sending(&schedule::next_sending(&store.own_keys()?, now.interval(), rng)),
        // An answer: the next request, and a note that comes with it; an older operation goes.
        5 if step % 16 == 13 => {
            let mut changed = store.outbox()?;
            for entry in &mut changed {
                let content = some_operation(step, rng).content;
                // A sign-up's date is renewed with each attempt.
                (entry.made_at, entry.attempts, entry.content) = (now, entry.attempts + 1, content);
            }
            let dropped = if changed.len() > 3 { vec![changed[0].id] } else { Vec::new() };
            let notes = vec![("note".to_string(), vec![step as u8; 900])];
            store.keep_changes(&Changes { changed, dropped, notes, ..Changes::default() })
        }
        1 | 5 => {
            let batch: Vec<_> = (0..1 + rng.next_u64() % 7).map(|_| some_encounter(step, rng)).collect();
            store.add_encounters(&batch)
        }
        2 => {
            let progress = FileProgress { keys_done: step, complete: step.is_multiple_of(3) };
            let found = [some_exposure(step as u8, step, rng), some_exposure((step / 2) as u8, step, rng)];
            store.record_matches(&[(step / 8 % 4) as u8; 32], progress, &found, now)
        }
        3 => {
            let exposure = ExposureId([step as u8; 16]);
            let alert = Alert { exposure, date: now.date(), raised_at: now, acknowledged: false, level: RiskLevel::Low };
            store.update_alerts(&[alert], &[ExposureId([(step as u8).wrapping_sub(16); 16])])
        }
        // A report: how keys end, and what is to be sent, together.
        6 if step % 16 == 6 => {
            let release = schedule::release(&store.own_keys()?, now.interval(), now.interval(), rng);
            let made = vec![some_operation(step, rng)];
            store.keep_changes(&Changes { release: Some(&release), made, ..Changes::default() })
        }
        6 => store.acknowledge_alert(ExposureId([(step as u8).wrapping_sub(3); 16])),
        _ if step % 40 == 39 => store.erase_expired(now).map(drop),
        _ => store.set_clock_state(ClockState { last_seen: now, doubt: None }),
    }
}

fn directory() -> tempfile::TempDir {
    // In memory where there is such a place: thousands of images are written.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn open(path: &Path) -> Result<(Store, Opened), StoreError> {
    Store::open(path, START, &mut ChaCha20Rng::seed_from_u64(u64::MAX))
}

/// What a store did, and what it held in between.
struct Record {
    before: BTreeMap<String, Vec<u8>>,
    ops: Vec<Op>,
    /// After how many operations each state was acknowledged.
    acknowledged: Vec<(usize, Content)>,
}

fn record(steps: u64) -> Record {
    vfs::register();
    let dir = directory();
    let path = dir.path().join("store");
    vfs::watch(dir.path(), None);
    let mut store = open(&path).unwrap().0;
    let before = files_in(dir.path());
    vfs::forget();
    let mut acknowledged = vec![(0, Content::of(&store).unwrap())];
    for step in 0..steps {
        take_step(&mut store, step).unwrap();
        acknowledged.push((vfs::recorded(), Content::of(&store).unwrap()));
    }
    drop(store);
    Record { before, ops: vfs::unwatch().0, acknowledged }
}

/// What a disk would keep of a directory: the shared memory is none of it.
fn files_in(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).filter_map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (!name.ends_with("-shm")).then(|| (name, std::fs::read(entry.path()).unwrap()))
    });
    files.collect()
}

/// Makes a directory hold these files and nothing else.
fn lay_out(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (name, content) in files {
        std::fs::write(dir.join(name), content).unwrap();
    }
}

/// How one disk was judged; `Err` says what is wrong.
fn judge(record: &Record, moment: usize, files: &BTreeMap<String, Vec<u8>>, dir: &Path) -> Result<(), String> {
    lay_out(dir, files);
    let path = dir.join("store");
    let (mut store, opened) = open(&path).map_err(|e| format!("does not open: {e}"))?;
    if opened != Opened::Existing {
        return Err(format!("opened as {opened:?}"));
    }
    let content = Content::of(&store).map_err(|e| format!("cannot be read: {e}"))?;
    let last = record.acknowledged.partition_point(|(ops, _)| *ops <= moment) - 1;
    let written = record.acknowledged[last..].iter().take(2);
    if !written.clone().any(|(_, state)| *state == content) {
        return Err(format!("holds neither the state after step {last} nor the next one"));
    }
    let erasure = store.erase_expired(at(last as u64)).map_err(|e| format!("does not go on: {e}"))?;
    // Searching takes long, so not on every disk.
    if moment.is_multiple_of(32) && expired_keys(record, last).any(|key| holds(dir, &key)) {
        return Err(format!("an erased key is still there after the erasure was {erasure:?}"));
    }
    drop(store);
    let conn = rusqlite::Connection::open(&path).unwrap();
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap_or_else(|e| e.to_string());
    if verdict == "ok" { Ok(()) } else { Err(verdict) }
}

/// Own keys that existed and had expired when step `last` was done.
fn expired_keys(record: &Record, last: usize) -> impl Iterator<Item = [u8; 16]> {
    let now = at(last as u64).interval();
    let before = &record.acknowledged[last.saturating_sub(40)].1.own_keys;
    before.iter().filter(move |own| own.is_expired(now)).map(|own| *own.key.as_bytes())
}

fn holds(dir: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

fn violations(record: &Record, images: usize, syncs_count: bool) -> Vec<String> {
    let dir = directory();
    let mut found = Vec::new();
    for image in 0..images {
        let moment = 1 + image * (record.ops.len() - 1) / images;
        let files = disk::after(&record.before, &record.ops[..moment], image as u64, syncs_count);
        if let Err(violation) = judge(record, moment, &files, dir.path()) {
            found.push(format!("operation {moment}, image {image}: {violation}"));
        }
    }
    found
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes_and_the_judge_sees_what_missing_syncs_would_lose() {
    let _guard = ONE_AT_A_TIME.lock();
    let record = record(320);
    let erased = (0..320).filter_map(|step| expired_keys(&record, step).next()).count();
    assert!(erased > 10, "the erasures had work to do: {erased}");
    let found = violations(&record, 2_100, true);
    assert!(found.is_empty(), "{} of 2,100 images: {:#?}", found.len(), &found[..found.len().min(5)]);
    // The same with synchronous=OFF, which is: no sync at all.
    let found = violations(&record, 200, false);
    assert!(found.len() > 50, "without syncs only {} of 200 images show a loss", found.len());
}

#[test]
fn each_input_output_call_may_fail_and_the_same_step_again_succeeds() {
    let _guard = ONE_AT_A_TIME.lock();
    vfs::register();
    const STEPS: [u64; 12] = [0, 1, 2, 3, 4, 6, 11, 18, 5, 8, 79, 81];
    let run = |fault: Option<Fault>| {
        let dir = directory();
        let path = dir.path().join("store");
        vfs::watch(dir.path(), fault);
        let mut errors = 0;
        let mut again = |error: StoreError| {
            errors += 1;
            assert!(errors < 3, "{fault:?}: {error}");
            assert_ne!(error, StoreError::Corrupt, "{fault:?}: a failing disk is not a damaged database");
        };
        let mut store = loop {
            match open(&path) {
                Ok((store, opened)) => {
                    assert!(!matches!(opened, Opened::Recovered { .. }), "{fault:?}");
                    break store;
                }
                Err(e) => again(e),
            }
        };
        for step in STEPS {
            while let Err(e) = take_step(&mut store, step) {
                again(e);
            }
        }
        drop(store);
        let calls = vfs::unwatch().1;
        let (store, opened) = open(&path).unwrap();
        assert_eq!(opened, Opened::Existing, "{fault:?}");
        (Content::of(&store).unwrap(), calls, errors)
    };
    let (expected, calls, errors) = run(None);
    println!("{calls} calls");
    assert_eq!(errors, 0);
    let mut reported = 0;
    for full in [false, true] {
        for at in 0..calls {
            let (content, _, errors) = run(Some(Fault { at, full }));
            assert!(content == expected, "call {at}, full: {full}");
            reported += errors;
        }
    }
    assert!(reported > calls, "{reported} errors were reported in {} runs", 2 * calls);
}
