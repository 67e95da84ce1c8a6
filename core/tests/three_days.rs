//! Three days of 50 phones, each with a whole tracer, on simulated air: contacts are found, strangers never, and after 14 days nothing is left.
//!
//! The truth comes from positions alone. Five hamlets lie 1 km from each other, far beyond what a radio reaches (50 m); in each live ten people,
//! who sit with one another, or alone, three times a day.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may stop anywhere, and says what it measured")]

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use vigie::diagnosis::{DiagnosisKey, ExportHeader, ReportType, SigningKey, write_export};
use vigie::keys::TemporaryExposureKey;
use vigie::radio::sim::{Air, AirModel, Carried, DeviceModel, Journey, Position, SimDevice, TraceEvent, Track};
use vigie::time::Timestamp;
use vigie::tracer::simulation::Simulation;
use vigie::tracer::{Config, FileStatus};

const HAMLETS: usize = 5;
const PEOPLE: usize = 10;
const PHONES: usize = HAMLETS * PEOPLE;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// 22 October 2020, midnight.
const START: Timestamp = Timestamp::from_unix_s(1_603_324_800);

/// Near enough, for long enough.
const CONTACT_M: f64 = 2.0;
const CONTACT_TIME: Duration = Duration::from_secs(15 * 60);

/// Who never came nearer is a stranger: the radio's range, and what two people walk between two looks.
const STRANGER_M: f64 = 100.0;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Relation {
    Contact,
    /// Neither: not judged.
    Between,
    Stranger,
}

fn between(one: &SimDevice, other: &SimDevice, end: Timestamp) -> Relation {
    const STEP: Duration = Duration::from_secs(10);
    let (mut at, mut nearest, mut together, mut is_contact) = (START, f64::INFINITY, Duration::ZERO, false);
    while at < end {
        let distance = one.distance_to(other, at);
        nearest = nearest.min(distance);
        together = if distance <= CONTACT_M { together + STEP } else { Duration::ZERO };
        is_contact |= together >= CONTACT_TIME;
        at = at.after(STEP);
    }
    match () {
        () if is_contact => Relation::Contact,
        () if nearest > STRANGER_M => Relation::Stranger,
        () => Relation::Between,
    }
}

/// The ways of all people of a hamlet through three days: in the morning, after noon and in the evening some sit in twos or threes at tables 80 m apart, for
/// a while that may be too short for a contact, or some metres from each other.
fn hamlet(number: usize, rng: &mut ChaCha20Rng) -> Vec<Track> {
    let east = 1_000.0 * number as f64;
    let home = |person: usize| Position::new(east, 80.0 * person as f64);
    let mut journeys: Vec<_> = (0..PEOPLE).map(|person| Journey::new(START, home(person))).collect();
    for hour in (0..3).flat_map(|day| [9, 14, 19].map(|hour| 24 * day + hour)) {
        let begin = START.after(HOUR * hour);
        let mut people: Vec<_> = (0..PEOPLE).collect();
        people.shuffle(rng);
        let mut table = 0.0;
        while !people.is_empty() {
            let company = people.split_off(people.len().saturating_sub(rng.random_range(1..=3)));
            let apart = if rng.random_ratio(1, 3) { rng.random_range(3.0..8.0) } else { rng.random_range(0.5..1.5) };
            let time = MINUTE * rng.random_range(5..90);
            for (person, seat) in company.into_iter().zip(0..) {
                // Nobody of three at a table sits farther than this from another.
                let angle = std::f64::consts::FRAC_PI_3 * f64::from(seat);
                let offset = if seat == 0 { (0.0, 0.0) } else { (apart * angle.cos(), apart * angle.sin()) };
                let journey = &mut journeys[person];
                journey.stay_until(begin).walk(Position::new(east + 200.0 + offset.0, table + offset.1), 1.4);
                journey.stay(time).walk(home(person), 1.4);
            }
            table += 80.0;
        }
    }
    journeys.into_iter().map(|journey| journey.track().unwrap()).collect()
}

struct Town {
    simulation: Simulation,
    air: Air,
    authority: SigningKey,
    dir: tempfile::TempDir,
}

impl Town {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let air = Air::new(AirModel::default(), START, seed).unwrap();
        assert!(AirModel::default().range_m < STRANGER_M);
        air.record_trace(true);
        let mut simulation = Simulation::new(air.clone());
        let authority = SigningKey::generate().unwrap();
        let tracks: Vec<_> = (0..HAMLETS).flat_map(|number| hamlet(number, &mut rng)).collect();
        for track in tracks {
            let model = DeviceModel {
                carried: Carried::Pocket,
                clock_ppm: rng.random_range(-40..=40),
                clock_offset_ms: rng.random_range(-90_000..=90_000),
                ..DeviceModel::default()
            };
            let mut config = Config::default();
            config.authority_keys = vec![authority.public_key().clone()];
            let device = simulation.add_device(model, track).unwrap();
            let phone = simulation.add_phone(device, config, ChaCha20Rng::from_rng(&mut rng)).unwrap();
            simulation.phones()[phone].tracer.start();
        }
        Self { simulation, air, authority, dir: tempfile::tempdir().unwrap() }
    }

    /// Lets everybody live until `end`, and gives what was sent meanwhile.
    fn live_until(&mut self, end: Timestamp) -> Vec<TraceEvent> {
        let mut sent = Vec::new();
        while self.simulation.now() < end {
            self.simulation.run_until(self.simulation.now().after(HOUR).min(end)).unwrap();
            sent.extend(self.air.take_trace().into_iter().filter(|event| matches!(event, TraceEvent::Sends { .. })));
        }
        sent
    }

    fn publish(&self, name: &str, keys: &[TemporaryExposureKey]) -> PathBuf {
        let diagnosis = |key: &TemporaryExposureKey| DiagnosisKey {
            key: key.clone(),
            report_type: Some(ReportType::ConfirmedTest),
            days_since_onset: Some(0),
            transmission_risk: 0,
        };
        // The region makes it another file, though its keys were in one before.
        let header = ExportHeader { region: name.into(), ..ExportHeader::default() };
        let keys: Vec<_> = keys.iter().map(diagnosis).collect();
        let path = self.dir.path().join(name);
        std::fs::write(&path, write_export(&header, &keys, &[], &self.authority).unwrap()).unwrap();
        path
    }

    /// How many windows a phone knows of when it has checked this file too.
    fn check(&self, phone: usize, file: &Path) -> usize {
        let report = self.simulation.phones()[phone].tracer.check(&[file], |_| ControlFlow::Continue(())).unwrap();
        assert!(matches!(report.files[0].status, FileStatus::Matched { refused_keys: 0 }), "{report:?}");
        report.assessment.windows.len()
    }

    fn alerts(&self) -> usize {
        self.simulation.phones().iter().map(|phone| phone.tracer.alerts().unwrap().len()).sum()
    }
}

/// Somebody of each hamlet reports, one after the other. Whoever was in contact gets windows, who was a stranger gets none.
fn report_and_check(town: &Town, keys: &[Vec<TemporaryExposureKey>], end: Timestamp) {
    let mut windows = [0; PHONES];
    let (mut contacts, mut strangers) = (0, 0);
    for reporter in (0..HAMLETS).map(|hamlet| hamlet * PEOPLE + hamlet) {
        let file = town.publish(&format!("R{reporter}"), &keys[reporter]);
        for phone in (0..PHONES).filter(|phone| *phone != reporter) {
            let before = std::mem::replace(&mut windows[phone], town.check(phone, &file));
            let is_found = windows[phone] > before;
            let devices = [phone, reporter].map(|number| &town.simulation.phones()[number].device);
            match between(devices[0], devices[1], end) {
                Relation::Contact => {
                    assert!(is_found, "phone {phone} was in contact with {reporter}");
                    contacts += 1;
                }
                Relation::Stranger => {
                    assert!(!is_found, "phone {phone} never was near {reporter}");
                    strangers += 1;
                }
                Relation::Between => {}
            }
        }
    }
    println!("{contacts} contacts found, {strangers} strangers not, {} alerts", town.alerts());
    assert!(contacts >= 10 && strangers >= 200, "the town is worth the test");
}

fn assert_nothing_is_sent_twice(sent: &[TraceEvent]) {
    let (mut identifiers, mut addresses) = (HashSet::new(), HashSet::new());
    for event in sent {
        let TraceEvent::Sends { address, frame, .. } = event else { continue };
        assert!(identifiers.insert(frame.rpi), "an identifier was sent in two rotations");
        assert!(addresses.insert(*address), "an address was used in two rotations");
    }
    println!("{} rotations", sent.len());
    assert!(sent.len() > PHONES * 3 * 72, "they rotate");
}

#[test]
fn contacts_are_found_strangers_never_match_and_after_14_days_nothing_is_left() {
    let mut town = Town::new(3);
    let evening = START.after(2 * DAY + 22 * HOUR);
    let mut sent = town.live_until(evening);
    let keys: Vec<_> = town.simulation.phones().iter().map(|phone| phone.tracer.release_keys().unwrap()).collect();
    sent.extend(town.live_until(START.after(3 * DAY - HOUR)));
    assert_nothing_is_sent_twice(&sent);
    town.simulation.phones().iter().for_each(|phone| phone.tracer.stop().unwrap());
    // A key is held back until 2 hours after its end.
    town.live_until(START.after(3 * DAY + HOUR));
    report_and_check(&town, &keys, evening);
    assert!(town.alerts() > 0);

    // Every identifier that anybody heard is one of these keys': while they match nothing, nothing is kept.
    let all = keys.concat();
    let lonely = |town: &Town, file: PathBuf| (0..PHONES).filter(|phone| town.check(*phone, &file) == 0).count();
    sleep_until(&mut town, START.after(16 * DAY + 23 * HOUR));
    let file = town.publish("16", &all);
    assert!(lonely(&town, file) < PHONES / 2, "the third day is kept for 14 days");
    sleep_until(&mut town, START.after(17 * DAY + 2 * HOUR));
    let file = town.publish("17", &all);
    assert_eq!(lonely(&town, file), PHONES, "nothing that was heard is left, and nothing that was found");
    assert_eq!(town.alerts(), 0);
    for phone in town.simulation.phones() {
        let status = phone.tracer.status().unwrap();
        assert_eq!((status.own_keys, status.erasure_is_pending), (0, false));
    }
}

fn sleep_until(town: &mut Town, end: Timestamp) {
    town.air.advance_to(end);
    town.simulation.run_until(end.after(MINUTE)).unwrap();
}
