//! What the store's tests share, and the tests of keeping and giving back.

mod look;
mod migration;
mod opening;
mod recovery;
mod sealing;
mod size;
mod vault;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::beacon::Frame;
use crate::diagnosis::ReportType;
use crate::encounters::calibration::{Calibration, CalibrationConfidence};
use crate::encounters::{Encounter, Packet};
use crate::exposure::Alert;
use crate::exposure::RiskLevel;
use crate::exposure::{Contact, Exposure, ExposureId};
use crate::keys::TemporaryExposureKey;
use crate::keys::schedule::{OwnKey, Release, Sending, next_sending, release};
use crate::radio::{MeasuredBy, Rssi};
pub(crate) use vault::TestVault;

/// 22 October 2020, 18:00 UTC.
pub(super) const NOW: Timestamp = Timestamp::from_unix_s(1_603_389_600);

pub(super) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub(super) fn days(n: u64) -> Duration {
    Duration::from_secs(86_400 * n)
}

/// A directory that goes away, and the path of a database in it.
pub(super) fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vigie.db");
    (dir, path)
}

pub(super) fn open(path: &Path) -> Store {
    open_at(path, NOW).unwrap().0
}

pub(super) fn open_at(path: &Path, now: Timestamp) -> Result<(Store, Opened), StoreError> {
    Store::open(path, now, &mut rng(u64::MAX))
}

pub(super) fn some_sending(at: Timestamp, rng: &mut ChaCha20Rng) -> Sending {
    let key = TemporaryExposureKey::generate(at.interval().day_start(), rng);
    let interval = at.interval();
    Sending { own: OwnKey { key, highest_sent: Some(interval) }, interval, is_new_key: true }
}

pub(super) fn some_encounter(at: Timestamp, packets: u64, rng: &mut ChaCha20Rng) -> Encounter {
    let mut frame = [0; Frame::LEN];
    rng.fill_bytes(&mut frame);
    let packet = |i| Packet { at: at.after(Duration::from_millis(260 * i)), rssi: Rssi(-70 + (i % 7) as i8) };
    Encounter {
        frame: Frame::from_service_data(&frame).unwrap(),
        packets: (0..packets).map(packet).collect(),
        measured_by: MeasuredBy::Us,
        seconds_since_last_scan: Some(270),
        calibration: Calibration { rssi_correction: -3, transmit_power: -25, confidence: CalibrationConfidence::Medium },
    }
}

pub(super) fn some_exposure(at: Timestamp, rng: &mut ChaCha20Rng) -> Exposure {
    let mut id = [0; 16];
    rng.fill_bytes(&mut id);
    let encounter = some_encounter(at, 20, rng);
    Exposure {
        id: ExposureId(id),
        report_type: Some(ReportType::ConfirmedTest),
        days_since_onset: Some(-2),
        contacts: vec![Contact {
            transmit_power: -20,
            packets: encounter.packets,
            measured_by: MeasuredBy::Peer,
            seconds_since_last_scan: None,
            calibration: encounter.calibration,
        }],
    }
}

pub(super) fn some_alert(exposure: &Exposure, at: Timestamp) -> Alert {
    Alert { exposure: exposure.id, date: at.date(), raised_at: at, acknowledged: false, level: RiskLevel::High }
}

pub(super) const HALF: FileProgress = FileProgress { keys_done: 4096, complete: false };

#[test]
fn a_store_may_go_to_another_thread() {
    fn is_send(_: &impl Send) {}
    is_send(&Store::in_memory(&mut rng(1)).unwrap());
}

#[test]
fn own_keys_come_back_in_the_order_in_which_they_were_made() {
    let (_dir, path) = place();
    let mut store = open(&path);
    let (mut expected, rng) = (Vec::new(), &mut rng(1));
    for day in [0, 1, 0, 9] {
        let sending = some_sending(NOW.before(days(day)), rng);
        store.keep_sending(&sending).unwrap();
        expected.push(sending.own);
    }
    assert_eq!(store.own_keys().unwrap(), expected);
    drop(store);
    assert_eq!(open(&path).own_keys().unwrap(), expected, "after a restart");
}

#[test]
fn an_interval_that_was_sent_is_never_kept_again_and_never_lowered() {
    let mut store = Store::in_memory(&mut rng(1)).unwrap();
    let rng = &mut rng(2);
    let mut sending = some_sending(NOW, rng);
    store.keep_sending(&sending).unwrap();
    let sent = sending.interval;
    for earlier in [0, 1, 7] {
        sending.interval = sent.minus(earlier);
        assert_eq!(store.keep_sending(&sending), Err(StoreError::AlreadySent { found: sending.interval, sent }));
    }
    sending.interval = sent.plus(2);
    store.keep_sending(&sending).unwrap();
    assert_eq!(store.own_keys().unwrap()[0].highest_sent, Some(sent.plus(2)));
    let next = next_sending(&store.own_keys().unwrap(), sent, rng);
    assert_eq!((next.interval, next.is_new_key), (sent.plus(3), false));
}

#[test]
fn a_release_ends_keys_and_brings_the_successor_and_twice_is_once() {
    let mut store = Store::in_memory(&mut rng(1)).unwrap();
    let rng = &mut rng(2);
    store.keep_sending(&some_sending(NOW.before(days(1)), rng)).unwrap();
    store.keep_sending(&some_sending(NOW, rng)).unwrap();
    let release = release(&store.own_keys().unwrap(), NOW.interval(), NOW.interval(), rng);
    for _ in 0..2 {
        store.keep_release(&release).unwrap();
        let kept = store.own_keys().unwrap();
        assert_eq!(kept.len(), 3);
        assert_eq!((&kept[0].key, &kept[1].key), (&release.keys[0], &release.keys[1]));
        assert_eq!(kept[2], OwnKey { key: release.successor.clone().unwrap(), highest_sent: None });
    }
    let longer = Release { keys: vec![some_sending(NOW, &mut self::rng(2)).own.key], successor: None };
    store.keep_release(&longer).unwrap();
    assert_eq!(store.own_keys().unwrap().len(), 3, "no key is made longer, none comes back");
}

#[test]
fn encounters_come_back_as_they_were() {
    let mut store = Store::in_memory(&mut rng(1)).unwrap();
    let rng = &mut rng(2);
    let mut encounters: Vec<_> = [1, 2, 40, 1200].map(|packets| some_encounter(NOW, packets, rng)).into();
    encounters[1].measured_by = MeasuredBy::Peer;
    encounters[1].seconds_since_last_scan = None;
    encounters[1].calibration = Calibration::default();
    encounters[2].packets[39].at = NOW.after(days(100_000));
    encounters[2].packets[3].rssi = Rssi(127);
    encounters[3].packets[0].at = Timestamp::from_unix_ms(-5);
    store.add_encounters(&encounters).unwrap();
    store.add_encounters(&[Encounter { packets: vec![], ..encounters[0].clone() }]).unwrap();
    let identifiers = store.identifiers().unwrap();
    let kept: Vec<_> = identifiers.iter().map(|stored| store.encounter(stored.encounter).unwrap().unwrap()).collect();
    assert_eq!(kept, encounters);
    for (stored, encounter) in identifiers.iter().zip(&encounters) {
        assert_eq!((stored.rpi, stored.interval), (encounter.frame.rpi, encounter.packets[0].at.interval()));
    }
    assert_eq!(store.encounter(crate::encounters::EncounterId(99)).unwrap(), None);
    assert_eq!(store.count_encounters(NOW..NOW.after(days(9))).unwrap(), 3);
    assert_eq!(store.latest_packet().unwrap(), Some(NOW.after(days(100_000))));
}

#[test]
fn packets_that_are_cut_anywhere_are_damage_and_no_panic() {
    let encounter = some_encounter(NOW, 30, &mut rng(1));
    let (first, bytes) = codec::encode_packets(&encounter.packets).unwrap();
    assert_eq!(codec::decode_packets(first, &bytes).unwrap(), encounter.packets);
    let cuts: Vec<_> = (0..bytes.len()).map(|cut| codec::decode_packets(first, &bytes[..cut])).collect();
    assert!(cuts.iter().filter(|cut| cut.is_ok()).count() < 30);
    assert_eq!(codec::decode_packets(first, &[]), Err(StoreError::Corrupt));
    assert_eq!(codec::decode_packets(first, &[0xFF; 40]), Err(StoreError::Corrupt), "a number without end");
}

#[test]
fn a_file_is_matched_once_and_the_same_key_from_two_files_is_one_exposure() {
    let (_dir, path) = place();
    let mut store = open(&path);
    let rng = &mut rng(2);
    let first = some_exposure(NOW, rng);
    let mut second = first.clone();
    second.report_type = Some(ReportType::Revoked);
    second.contacts[0].packets = some_encounter(NOW.after(days(1)), 3, rng).packets;
    assert_eq!(store.file_progress(&[1; 32]).unwrap(), None);
    store.record_matches(&[1; 32], HALF, std::slice::from_ref(&first), NOW).unwrap();
    assert_eq!(store.file_progress(&[1; 32]).unwrap(), Some(HALF));
    let all = FileProgress { keys_done: 5000, complete: true };
    store.record_matches(&[1; 32], all, &[], NOW).unwrap();
    for _ in 0..2 {
        store.record_matches(&[2; 32], all, &[second.clone()], NOW).unwrap();
    }
    drop(store);
    let mut store = open(&path);
    assert_eq!(store.exposures().unwrap(), [first.merge(second)]);
    assert_eq!(store.file_progress(&[1; 32]).unwrap(), Some(all));
    store.forget_file_marks().unwrap();
    assert_eq!(store.file_progress(&[1; 32]).unwrap(), None);
}

#[test]
fn exposures_come_in_order_of_time_whatever_their_names() {
    let mut store = Store::in_memory(&mut rng(1)).unwrap();
    let rng = &mut rng(2);
    let found: Vec<_> = (0..20).map(|day| some_exposure(NOW.before(days(day)), rng)).collect();
    store.record_matches(&[1; 32], HALF, &found, NOW).unwrap();
    assert!(store.exposures().unwrap().iter().eq(found.iter().rev()));
}

#[test]
fn alerts_are_raised_seen_and_withdrawn() {
    let mut store = Store::in_memory(&mut rng(1)).unwrap();
    let rng = &mut rng(2);
    let alerts: Vec<_> = (0..3).map(|day| some_alert(&some_exposure(NOW, rng), NOW.after(days(day)))).collect();
    store.update_alerts(&alerts, &[]).unwrap();
    store.acknowledge_alert(alerts[1].exposure).unwrap();
    store.update_alerts(&[], &[alerts[0].exposure, alerts[0].exposure]).unwrap();
    store.acknowledge_alert(alerts[0].exposure).unwrap();
    let seen = Alert { acknowledged: true, ..alerts[1].clone() };
    assert_eq!(store.alerts().unwrap(), [seen, alerts[2].clone()]);
}

#[test]
fn the_clock_is_remembered_and_the_secret_stays() {
    let (_dir, path) = place();
    let mut store = open(&path);
    assert_eq!(store.clock_state().unwrap(), None);
    let clock = ClockState { last_seen: NOW, doubt: Some(ClockDoubt { ahead_ms: -5, since: NOW.before(days(1)) }) };
    store.set_clock_state(clock).unwrap();
    let secret = store.secret().unwrap();
    assert_eq!(format!("{secret:?} {store:?}"), format!("StoreSecret(..) Store {{ path: Some({path:?}), .. }}"));
    drop(store);
    let store = open(&path);
    assert_eq!((store.clock_state().unwrap(), store.secret().unwrap().as_bytes()), (Some(clock), secret.as_bytes()));
}

#[test]
fn a_full_disk_is_said_and_what_was_kept_stays() {
    let mut store = Store::in_memory(&mut rng(1)).unwrap();
    let rng = &mut rng(2);
    store.keep_sending(&some_sending(NOW, rng)).unwrap();
    let kept = store.own_keys().unwrap();
    let pages: i64 = store.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let _: i64 = store.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0)).unwrap();
    let many: Vec<_> = (0..500).map(|_| some_encounter(NOW, 1, rng)).collect();
    assert_eq!(store.add_encounters(&many), Err(StoreError::DiskFull));
    assert_eq!((store.identifiers().unwrap().len(), store.own_keys().unwrap()), (0, kept));
}
