//! A small town: who lives there, with which phone, and where everybody is at what time.
//!
//! Everybody sleeps at home, works, has lunch, works again and meets somebody or nobody in the evening. At each of these a person sits alone, with
//! somebody at one table, or not far from somebody; who with whom is drawn anew each time. Tables are 60 m apart and houses 150 m, so that who
//! is near is so on purpose, or rides past.

use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{CryptoRng, RngExt};
use vigie::radio::sim::{Carried, DeviceModel, Journey, Position, SimError, Track};
use vigie::time::Timestamp;

const NAMES: [&str; 24] = [
    "Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo", "Ines", "Jan", "Kim", "Leo", "Mia", "Nils", "Olga", "Paul",
    "Rosa", "Sam", "Tess", "Uli", "Vera", "Willy", "Yara", "Zoe",
];

/// Phones with very different radios: RSSI correction and transmit power as in Google's calibration table of 14 December 2020 (CC-BY-4.0),
/// for Pixel 4, SM-T580, Pixel 3a XL and SM-G850F. A strength means nothing without them: the second and the last differ by 29 dB.
const MODELS: [(i8, i8); 4] = [(8, -30), (-12, -22), (2, -28), (17, -33)];

const TABLE_PITCH_M: f64 = 60.0;
const HOUSE_PITCH_M: f64 = 150.0;
const BICYCLE_M_PER_S: f64 = 5.0;

/// A part of a day.
struct Part {
    /// When it begins, in minutes after midnight.
    begin: u64,
    /// For how many minutes everybody sits.
    minutes: u64,
    /// Metres east of the houses.
    east_m: f64,
    /// How many of ten people have company.
    company_of_ten: usize,
}

/// Work, lunch, work, evening.
const PARTS: [Part; 4] = [
    Part { begin: 8 * 60, minutes: 220, east_m: 1_200.0, company_of_ten: 3 },
    Part { begin: 12 * 60, minutes: 55, east_m: 1_800.0, company_of_ten: 6 },
    Part { begin: 13 * 60, minutes: 230, east_m: 1_200.0, company_of_ten: 3 },
    Part { begin: 18 * 60, minutes: 80, east_m: 2_400.0, company_of_ten: 6 },
];

/// Somebody of the town.
pub(super) struct Person {
    pub(super) name: String,
    pub(super) model: DeviceModel,
    pub(super) track: Track,
}

/// Where two people who share a table sit, in metres from each other, and for how much of the time.
enum Company {
    /// Face to face, all the time.
    AtOneTable,
    /// At the next table, all the time: neither near nor far.
    NextTable,
    /// Face to face for a few minutes: too short to count.
    Briefly,
}

/// Everybody's way through `days` days from `start`, a midnight.
pub(super) fn people(count: u32, days: u32, start: Timestamp, rng: &mut impl CryptoRng) -> Result<Vec<Person>, SimError> {
    let homes: Vec<_> =
        (0..count).map(|i| Position::new(f64::from(i % 6) * HOUSE_PITCH_M, f64::from(i / 6) * HOUSE_PITCH_M)).collect();
    let mut journeys: Vec<_> = homes.iter().map(|home| Journey::new(start, *home)).collect();
    for day in 0..days {
        let midnight = start.after(Duration::from_secs(86_400) * day);
        for part in &PARTS {
            seat_everybody(&mut journeys, part, midnight, rng);
        }
        for (journey, home) in journeys.iter_mut().zip(&homes) {
            journey.walk(*home, BICYCLE_M_PER_S);
        }
    }
    let person = |(i, journey): (usize, Journey)| {
        let (rssi_correction, transmit_power) = MODELS[i % MODELS.len()];
        let model = DeviceModel {
            transmit_power,
            rssi_correction,
            carried: Carried::Pocket,
            clock_ppm: rng.random_range(-40..=40),
            clock_offset_ms: rng.random_range(-90_000..=90_000),
            ..DeviceModel::default()
        };
        let round = if i < NAMES.len() { String::new() } else { format!(" {}", i / NAMES.len() + 1) };
        Ok(Person { name: format!("{}{round}", NAMES[i % NAMES.len()]), model, track: journey.track()? })
    };
    journeys.into_iter().enumerate().map(person).collect()
}

/// Sends everybody to a table of the place, alone or in company, until the time is over.
fn seat_everybody(journeys: &mut [Journey], part: &Part, midnight: Timestamp, rng: &mut impl CryptoRng) {
    let begin = midnight.after(Duration::from_secs(60 * part.begin));
    let time = Duration::from_secs(60 * part.minutes);
    let mut order: Vec<_> = (0..journeys.len()).collect();
    order.shuffle(rng);
    let with_company = order.len() * part.company_of_ten / 10 / 2 * 2;
    let mut tables =
        (0..u32::MAX).map(|n| Position::new(part.east_m + f64::from(n % 5) * TABLE_PITCH_M, f64::from(n / 5) * TABLE_PITCH_M));
    let (pairs, alone) = order.split_at(with_company);
    for (pair, table) in pairs.chunks_exact(2).zip(tables.by_ref()) {
        let company = match rng.random_range(0..10) {
            0..6 => Company::AtOneTable,
            6..8 => Company::NextTable,
            _ => Company::Briefly,
        };
        let apart = if matches!(company, Company::NextTable) { rng.random_range(3.0..4.5) } else { rng.random_range(0.7..1.4) };
        sit(&mut journeys[pair[0]], table, begin, time, rng);
        let stays = if matches!(company, Company::Briefly) { Duration::from_secs(rng.random_range(120..420)) } else { time };
        sit(&mut journeys[pair[1]], Position::new(table.x_m + apart, table.y_m), begin, stays, rng);
    }
    for (person, table) in alone.iter().zip(tables) {
        sit(&mut journeys[*person], table, begin, time, rng);
    }
}

fn sit(journey: &mut Journey, seat: Position, begin: Timestamp, time: Duration, rng: &mut impl CryptoRng) {
    journey.stay_until(begin.after(Duration::from_secs(rng.random_range(0..300))));
    journey.walk(seat, BICYCLE_M_PER_S);
    journey.stay_until(begin.after(time));
}
