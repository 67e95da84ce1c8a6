use std::collections::HashSet;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::keys::AssociatedEncryptedMetadata;
use crate::radio::Rssi;

const START: i64 = 1_603_375_200_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(START + ms)
}

fn frame(number: u64) -> Frame {
    let mut rpi = [0; 16];
    rpi[..8].copy_from_slice(&number.to_le_bytes());
    Frame { rpi: RollingProximityIdentifier(rpi), aem: AssociatedEncryptedMetadata([0; 4]) }
}

fn sighting(number: u64, ms: i64) -> Sighting {
    Sighting { frame: frame(number), rssi: Rssi(-60), measured_by: MeasuredBy::Us, at: at(ms) }
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(11)
}

/// Everything that a new recorder makes of these packets.
fn record(sightings: impl IntoIterator<Item = Sighting>) -> Vec<Encounter> {
    let (mut recorder, mut rng) = (Recorder::new(Calibration::default()), rng());
    let mut encounters = Vec::new();
    for sighting in sightings {
        recorder.hear(&sighting, &mut rng);
        encounters.extend(recorder.take_finished(sighting.at, &mut rng));
    }
    encounters.extend(recorder.flush(&mut rng));
    encounters
}

/// Seconds since the last scan of each scan that is inferred from packets at these times (ms).
fn inferred(times: &[i64]) -> Vec<Option<u16>> {
    let mut scans = Scans::default();
    let mut numbers = Vec::new();
    let mut seconds = Vec::new();
    for ms in times {
        let scan = scans.of_packet(at(*ms));
        if numbers.last() != Some(&scan.number) {
            numbers.push(scan.number);
            seconds.push(scan.seconds_since_last);
        }
    }
    seconds
}

#[test]
fn a_silence_of_more_than_25_5_seconds_ends_an_inferred_scan() {
    assert_eq!(inferred(&[0, 25_500, 51_000]), [None]);
    assert_eq!(inferred(&[0, 25_501]), [None, Some(25)]);
    assert_eq!(inferred(&[0, 4_000, 240_000, 244_000, 480_999]), [None, Some(240), Some(240)]);
    assert_eq!(inferred(&[0, 299_999, 3_600_000]), [None, Some(299), Some(300)], "at most 5 minutes");
}

#[test]
fn listening_without_end_is_cut_every_minute() {
    assert_eq!(inferred(&[0, 20_000, 40_000, 59_999]), [None]);
    let every_20_s: Vec<_> = (0..=9).map(|i| i * 20_000).collect();
    assert_eq!(inferred(&every_20_s), [None, Some(60), Some(60), Some(60)]);

    let mut announced = Scans::default();
    announced.started(at(0));
    let late = announced.of_packet(at(605_000));
    assert_eq!((late.number, late.seconds_since_last), (1, Some(60)), "it listened all the time, so only the last minute is new");
    assert_eq!(announced.of_packet(at(659_999)).number, 1);
    assert_eq!(announced.of_packet(at(660_000)).number, 2);
}

#[test]
fn announced_scans_count_even_where_they_heard_nobody() {
    let mut scans = Scans::default();
    for start in [0, 200_000, 410_500] {
        scans.started(at(start));
        scans.ended(at(start + 4_000));
    }
    assert_eq!(scans.of_packet(at(414_400)).seconds_since_last, Some(210));
    assert_eq!(scans.of_packet(at(415_000)).number, 2, "what comes late still belongs to it");
    assert_eq!(scans.running(at(415_000)), None);
}

#[test]
fn a_clock_that_jumps_starts_a_new_scan_and_never_fails() {
    assert_eq!(inferred(&[100_000, 99_000, 101_000]), [None], "a little disorder is none");
    assert_eq!(inferred(&[100_000, 74_499]), [None, None]);
    let mut rng = rng();
    let mut recorder = Recorder::new(Calibration::default());
    for ms in [0, i64::MAX, i64::MIN, -1, 1, i64::MAX - 1, 0] {
        let at = Timestamp::from_unix_ms(ms);
        recorder.hear(&Sighting { at, ..sighting(1, 0) }, &mut rng);
        recorder.take_finished(at, &mut rng);
        recorder.scan_started(at);
        recorder.hear(&Sighting { at, ..sighting(1, 0) }, &mut rng);
        recorder.scan_ended(at);
        recorder.take_finished(at, &mut rng);
    }
}

#[test]
fn packets_come_out_in_order_of_time() {
    let encounters = record([sighting(1, 900), sighting(1, 300), sighting(1, 600)]);
    let times: Vec<_> = encounters.iter().flat_map(|e| &e.packets).map(|p| p.at).collect();
    assert_eq!(times.len(), 3);
    let last = encounters.last().unwrap();
    assert!(last.packets.is_sorted());
}

#[test]
fn own_identifiers_and_invalid_strengths_are_not_recorded() {
    let (mut recorder, mut rng) = (Recorder::new(Calibration::default()), rng());
    recorder.add_own_identifiers([frame(1).rpi]);
    recorder.add_own_identifiers([frame(2).rpi]);
    assert!(recorder.is_own(&frame(1).rpi) && !recorder.is_own(&frame(3).rpi));
    for number in 1..=3 {
        recorder.hear(&sighting(number, 0), &mut rng);
    }
    // Somebody relays our identifier with other metadata, or claims to have measured us.
    let tampered = Frame { aem: AssociatedEncryptedMetadata([9; 4]), ..frame(1) };
    recorder.hear(&Sighting { frame: tampered, measured_by: MeasuredBy::Peer, ..sighting(1, 5) }, &mut rng);
    for rssi in [127, 21, -128] {
        recorder.hear(&Sighting { rssi: Rssi(rssi), ..sighting(4, 10) }, &mut rng);
    }
    let encounters = recorder.flush(&mut rng);
    assert_eq!(encounters.iter().map(|e| e.frame).collect::<Vec<_>>(), [frame(3)]);
}

#[test]
fn what_the_peer_measured_is_kept_apart_and_starts_no_scan() {
    let peer = |ms| Sighting { measured_by: MeasuredBy::Peer, ..sighting(1, ms) };
    let encounters = record([sighting(1, 0), peer(100_000), sighting(1, 200_000)]);
    let seen: Vec<_> = encounters.iter().map(|e| (e.measured_by, e.seconds_since_last_scan)).collect();
    assert_eq!(seen, [(MeasuredBy::Us, None), (MeasuredBy::Peer, None), (MeasuredBy::Us, Some(200))]);
}

#[test]
fn a_running_scan_is_handed_out_every_ten_seconds_and_a_finished_one_at_once() {
    let (mut recorder, mut rng) = (Recorder::new(Calibration::default()), rng());
    recorder.scan_started(at(0));
    assert!(recorder.take_finished(at(0), &mut rng).is_empty());
    recorder.hear(&sighting(1, 1_000), &mut rng);
    assert!(recorder.take_finished(at(9_999), &mut rng).is_empty());
    assert_eq!(recorder.take_finished(at(10_000), &mut rng).len(), 1);
    recorder.hear(&sighting(1, 11_000), &mut rng);
    recorder.scan_ended(at(12_000));
    assert_eq!(recorder.take_finished(at(12_000), &mut rng).len(), 1);
    assert!(recorder.take_finished(at(12_001), &mut rng).is_empty());
    assert!(recorder.flush(&mut rng).is_empty());
}

/// Bytes that the store needs, as the budget counts them.
fn cost(encounters: &[Encounter]) -> usize {
    encounters.iter().map(|e| 45 + 4 * (e.packets.len() - 1)).sum()
}

/// What came of a flood.
struct Outcome {
    encounters: Vec<Encounter>,
    /// Bytes for the seconds flooded.
    bytes: usize,
    most_heard: usize,
}

const REAL: u64 = u64::MAX;

/// `seconds` of 10,000 packets a second from `attack` (packet number to frame), with a phone that is near from second 20 for 5 minutes and
/// sends four times a second, of which one in three gets lost.
fn flood(seconds: i64, attack: impl Fn(u64) -> Frame) -> Outcome {
    let (mut recorder, mut rng) = (Recorder::new(Calibration::default()), rng());
    let mut outcome = Outcome { encounters: Vec::new(), bytes: 0, most_heard: 0 };
    for tenth_ms in 0..seconds * 10_000 {
        let ms = tenth_ms / 10;
        recorder.hear(&Sighting { frame: attack(tenth_ms as u64), ..sighting(0, ms) }, &mut rng);
        if tenth_ms % 2_500 == 0 && (20_000..320_000).contains(&ms) && rng.next_u32() % 3 > 0 {
            recorder.hear(&sighting(REAL, ms), &mut rng);
        }
        if tenth_ms % 10_000 == 0 {
            outcome.most_heard = outcome.most_heard.max(recorder.heard.len());
            outcome.keep(recorder.take_finished(at(ms), &mut rng));
        }
    }
    outcome.keep(recorder.flush(&mut rng));
    outcome
}

impl Outcome {
    fn keep(&mut self, encounters: Vec<Encounter>) {
        self.bytes += cost(&encounters);
        self.encounters.extend(encounters.into_iter().filter(|e| e.frame.rpi == frame(REAL).rpi));
    }

    /// In how many pieces of 10 s the phone was found, of `of`, and that nothing outgrew its bounds.
    fn found(&self, seconds: i64) -> usize {
        assert!(self.bytes <= 4_000_000 + seconds as usize * 4_000, "{} bytes", self.bytes);
        assert!(self.most_heard <= MAX_HEARD);
        let pieces: HashSet<_> = self.encounters.iter().map(|e| e.packets[0].at.unix_s() / 10).collect();
        pieces.len()
    }
}

/// The whole hour with `VIGIE_LONG=1` (under a minute in a release build), else a minute, in which the table overflows but not yet the budget.
fn flood_seconds() -> i64 {
    if std::env::var_os("VIGIE_LONG").is_some() { 3_600 } else { 60 }
}

fn pieces(seconds: i64) -> usize {
    (seconds.min(320) - 20) as usize / 10
}

#[test]
fn a_flood_of_fresh_identifiers_hides_nobody_and_stays_within_20_mb_an_hour() {
    let seconds = flood_seconds();
    let outcome = flood(seconds, frame);
    println!("{seconds} s of fresh identifiers: {} bytes", outcome.bytes);
    assert!(outcome.bytes > 2_000_000, "some of it is kept");
    assert!(outcome.found(seconds) >= pieces(seconds), "{} of {}", outcome.found(seconds), pieces(seconds));
    let heard: usize = outcome.encounters.iter().map(|e| e.packets.len()).sum();
    assert!(heard >= pieces(seconds) * 20, "{heard} packets of about 27 in each 10 s");
}

#[test]
fn a_flood_of_pairs_hides_nobody() {
    let seconds = flood_seconds();
    // Each identifier comes twice, 0.25 s apart.
    let outcome = flood(seconds, |packet| frame((packet / 5_000) * 2_500 + packet % 2_500));
    assert!(outcome.found(seconds) >= pieces(seconds), "{} of {}", outcome.found(seconds), pieces(seconds));
}

#[test]
fn a_flood_of_one_identifier_is_thinned_evenly() {
    let outcome = flood(60, |_| frame(7));
    assert!(outcome.bytes < 7 * (45 + 4 * 31) * 3, "{} bytes", outcome.bytes);
    assert_eq!(outcome.found(60), pieces(60));

    let one = record((0..9_000).map(|ms| sighting(7, ms)));
    let packets = &one.last().unwrap().packets;
    assert!((16..=32).contains(&packets.len()));
    let steps: HashSet<_> = packets.windows(2).map(|w| w[1].at.since(w[0].at)).collect();
    assert_eq!(steps.len(), 1, "evenly in time: {steps:?}");
}

#[test]
fn a_flood_of_variants_of_one_identifier_does_not_hide_it() {
    let variant =
        |packet: u64| Frame { aem: AssociatedEncryptedMetadata((packet as u32 | 1 << 31).to_le_bytes()), ..frame(REAL) };
    let outcome = flood(60, variant);
    let (real, forged): (Vec<_>, Vec<_>) = outcome.encounters.iter().partition(|e| e.frame == frame(REAL));
    assert_eq!(real.len(), pieces(60));
    assert!(real.iter().all(|e| e.packets.len() > 15));
    assert!(forged.len() <= 3 * 7 + 2 * 4, "{}", forged.len());
}

#[test]
fn a_crowd_is_recorded_whole() {
    // 500 phones for half an hour, scanned for 4 s every 2 minutes.
    let (mut recorder, mut rng) = (Recorder::new(Calibration::default()), rng());
    let mut count = 0;
    for scan in 0..15 {
        let start = scan * 120_000;
        recorder.scan_started(at(start));
        for packet in 0..16 {
            for phone in 0..500 {
                recorder.hear(&sighting(phone, start + packet * 250), &mut rng);
            }
        }
        recorder.scan_ended(at(start + 4_000));
        let encounters = recorder.take_finished(at(start + 4_000), &mut rng);
        count += encounters.iter().filter(|e| e.packets.len() == 16).count();
    }
    assert_eq!(count, 15 * 500);
}

#[test]
fn a_flood_leaves_enough_for_the_crowd_after_it() {
    let (mut recorder, mut rng) = (Recorder::new(Calibration::default()), rng());
    // As many as the table holds, until all that strangers may have is spent.
    for piece in 0..14 {
        for number in 0..8_192 {
            recorder.hear(&sighting(piece * 8_192 + number, piece as i64 * 10_000), &mut rng);
        }
        recorder.take_finished(at(piece as i64 * 10_000), &mut rng);
    }
    for packet in 0..16 {
        for phone in 0..500 {
            recorder.hear(&sighting(u64::MAX - phone, 131_000 + packet * 250), &mut rng);
        }
    }
    assert_eq!(recorder.flush(&mut rng).len(), 500);
}

#[test]
fn same_seed_same_encounters() {
    let run = || flood(12, frame).bytes;
    assert_eq!(run(), run());
    let noise = |seed| {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let sightings: Vec<_> = (0..20_000).map(|i| sighting(u64::from(rng.next_u32() % 30_000), i)).collect();
        record(sightings)
    };
    assert_eq!(noise(1), noise(1));
}
