//! Crowds to try a radio in: who is where, with which phone. A scene's [`Person`] goes to [`Air::add_device`](super::Air::add_device); the track is the truth.
//!
//! | scene | size | what people do |
//! | --- | --- | --- |
//! | [`dense_room`] | one person a square metre, a square | stand, and every 3 to 8 minutes shift their place by up to a metre |
//! | [`tram`] | rows of 0.8 m, four seats and one standing place, 2.4 m wide; a stop every 400 m | come from their houses, ride 1 to 8 stops, go home |
//! | [`street`] | 200 m, two pavements of 2 m, 8 m of road between them | walk up and down at 0.8 to 1.6 m/s |

use std::time::Duration;

use super::SimError;
use super::model::{Carried, DeviceModel, in_range};
use super::noise::Noise;
use super::track::{Journey, Position, Track};
use crate::time::Timestamp;

/// The most people that a scene has.
pub const MAX_PEOPLE: u32 = 100_000;

/// The longest time that a scene lasts, in days.
pub const MAX_DAYS: u32 = 31;

/// Somebody with a phone.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// The phone.
    pub model: DeviceModel,
    /// The way that the person goes.
    pub track: Track,
}

/// A party of `people` in a room of as many square metres, for some time from `start`.
///
/// # Errors
/// [`SimError::Parameter`] without people, with more than [`MAX_PEOPLE`], or for longer than [`MAX_DAYS`];
/// [`SimError::TrackOrder`] where `start` is so late that time ends.
pub fn dense_room(people: u32, start: Timestamp, time: Duration, seed: u64) -> Result<Vec<Person>, SimError> {
    const PITCH_M: f64 = 1.0;
    check(people, time)?;
    let (noise, end) = (Noise::new(seed), start.after(time));
    let columns = people.isqrt().max(1);
    let person = |i: u32| {
        let luck = noise.of(u64::from(i));
        let (x, y) = (f64::from(i % columns) * PITCH_M, f64::from(i / columns) * PITCH_M);
        let spot = |n: u64| {
            let luck = luck.of(n);
            Position::new(x + luck.of(0).between(-0.4, 0.4), y + luck.of(1).between(-0.4, 0.4))
        };
        let mut journey = Journey::new(start, spot(0));
        for n in 1.. {
            journey.stay(milliseconds(luck.of(n).of(2), 180_000, 480_000));
            if journey.now() >= end {
                break;
            }
            journey.walk(spot(n), 0.5);
        }
        Ok(Person { model: phone(luck), track: journey.track()? })
    };
    (0..people).map(person).collect()
}

/// A tram line on which `people` ride within some time from `start`: the first tram leaves its first stop after 5 minutes, and needs 80 s from stop to stop.
///
/// # Errors
/// As [`dense_room`]; [`SimError::Position`] where the tram would drive farther than positions reach, after some 55 hours.
pub fn tram(people: u32, start: Timestamp, time: Duration, seed: u64) -> Result<Vec<Person>, SimError> {
    check(people, time)?;
    let first_stop = Duration::from_secs(300);
    let noise = Noise::new(seed);
    let stops = u32::try_from(time.saturating_sub(first_stop).as_secs() / 80).unwrap_or(u32::MAX).max(2);
    let mut riders: Vec<(u32, u32)> = (0..people).map(|i| (noise.of(u64::from(i)).of(1).below(stops - 1), i)).collect();
    riders.sort_unstable();
    // The stop from which each place is free again. Whoever gets on takes the first free place.
    let mut free_from: Vec<u32> = Vec::new();
    let mut everybody = Vec::with_capacity(riders.len());
    for (on, i) in riders {
        let luck = noise.of(u64::from(i));
        let off = (on + 1 + luck.of(2).below(8)).min(stops - 1);
        let place = free_from.iter().position(|free| *free <= on).unwrap_or(free_from.len());
        free_from.resize(free_from.len().max(place + 1), 0);
        free_from[place] = off;
        let ride = Ride { line_starts: start.after(first_stop), on, off, place };
        everybody.push((i, Person { model: phone(luck), track: ride.track(start, luck)? }));
    }
    everybody.sort_unstable_by_key(|(i, _)| *i);
    Ok(everybody.into_iter().map(|(_, person)| person).collect())
}

/// One person's way on the tram.
struct Ride {
    line_starts: Timestamp,
    on: u32,
    off: u32,
    place: usize,
}

impl Ride {
    const STOP_EVERY_M: f64 = 400.0;
    const STOP_EVERY: Duration = Duration::from_secs(80);
    const STANDS: Duration = Duration::from_secs(20);

    fn track(&self, start: Timestamp, luck: Noise) -> Result<Track, SimError> {
        let mut journey = Journey::new(start, Self::house(self.on, luck.of(3)));
        // Ready at the stop up to 3 minutes before the tram comes; the last walk takes at most 2 minutes.
        let wait = milliseconds(luck.of(4), 0, 180_000);
        journey.stay_until(self.arrives(self.on).before(wait + Duration::from_secs(120)));
        journey.go(Self::platform(self.on, luck.of(5)), Duration::from_secs(120));
        journey.stay_until(self.arrives(self.on)).go(self.seat(self.on), Duration::from_secs(10));
        for stop in self.on..self.off {
            journey.stay_until(self.arrives(stop).after(Self::STANDS));
            journey.go(self.seat(stop + 1), Self::STOP_EVERY - Self::STANDS);
        }
        journey.go(Self::platform(self.off, luck.of(6)), Duration::from_secs(10));
        journey.walk(Self::house(self.off, luck.of(7)), 1.3);
        journey.track()
    }

    fn arrives(&self, stop: u32) -> Timestamp {
        self.line_starts.after(Self::STOP_EVERY * stop)
    }

    /// Where the place is when the tram stands at a stop.
    fn seat(&self, stop: u32) -> Position {
        const ACROSS_M: [f64; 5] = [0.0, 0.5, 1.9, 2.4, 1.2];
        let across = ACROSS_M[self.place % ACROSS_M.len()];
        Position::new(f64::from(stop) * Self::STOP_EVERY_M + (self.place / ACROSS_M.len()) as f64 * 0.8, across)
    }

    fn platform(stop: u32, luck: Noise) -> Position {
        let x = f64::from(stop) * Self::STOP_EVERY_M;
        Position::new(x + luck.of(0).between(0.0, 20.0), luck.of(1).between(-5.0, -2.0))
    }

    /// Somewhere in the quarter of 100 m by 70 m beside a stop, no nearer than 60 m.
    fn house(stop: u32, luck: Noise) -> Position {
        let x = f64::from(stop) * Self::STOP_EVERY_M;
        Position::new(x + luck.of(0).between(-50.0, 50.0), luck.of(1).between(-130.0, -60.0))
    }
}

/// `people` who walk up and down a street, each on one pavement at a speed of their own, for some time from `start`.
///
/// # Errors
/// As [`dense_room`].
pub fn street(people: u32, start: Timestamp, time: Duration, seed: u64) -> Result<Vec<Person>, SimError> {
    const LENGTH_M: f64 = 200.0;
    check(people, time)?;
    let (noise, end) = (Noise::new(seed), start.after(time));
    let person = |i: u32| {
        let luck = noise.of(u64::from(i));
        let pavement = if luck.of(1).happens(0.5) { 0.0 } else { 10.0 };
        let y = pavement + luck.of(2).between(0.0, 2.0);
        let (speed, mut eastward) = (luck.of(3).between(0.8, 1.6), luck.of(4).happens(0.5));
        let mut journey = Journey::new(start, Position::new(luck.of(5).between(0.0, LENGTH_M), y));
        while journey.now() < end {
            journey.walk(Position::new(if eastward { LENGTH_M } else { 0.0 }, y), speed);
            eastward = !eastward;
        }
        Ok(Person { model: phone(luck), track: journey.track()? })
    };
    (0..people).map(person).collect()
}

fn check(people: u32, time: Duration) -> Result<(), SimError> {
    in_range("the number of people", f64::from(people), 1.0..=f64::from(MAX_PEOPLE))?;
    in_range("the time of a scene in days", time.as_secs_f64() / 86_400.0, 0.0..=f64::from(MAX_DAYS))
}

/// A phone as people have them: of six models, two thirds of them in pockets, with a clock that is a little wrong.
fn phone(luck: Noise) -> DeviceModel {
    /// Transmit power and RSSI correction of Galaxy A40, A51, S10, Pixel 4, Moto G3, OnePlus 6 (Google's calibration table, 14 December 2020).
    const MODELS: [(i8, i8); 6] = [(-23, 2), (-28, 2), (-29, 2), (-30, 8), (-21, 5), (-23, 3)];
    let luck = luck.of(u64::MAX);
    let (transmit_power, rssi_correction) = MODELS[luck.of(0).below(MODELS.len() as u32) as usize];
    let carried = if luck.of(1).happens(2.0 / 3.0) { Carried::Pocket } else { Carried::Open };
    DeviceModel {
        transmit_power,
        rssi_correction,
        carried,
        scan_duty: 1.0,
        // A crystal of a phone keeps within 20 millionths; a network sets the clock to a second or two.
        clock_ppm: luck.of(2).below(41) as i32 - 20,
        clock_offset_ms: i64::from(luck.of(3).below(4001)) - 2000,
    }
}

/// Between `from` and `to` milliseconds.
fn milliseconds(luck: Noise, from: u32, to: u32) -> Duration {
    Duration::from_millis(u64::from(from + luck.below(to - from)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radio::sim::Position;

    const START: Timestamp = Timestamp::from_unix_s(1_600_000_000);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_dense_room_has_one_person_a_square_metre() {
        let time = seconds(3600);
        let people = dense_room(100, START, time, 5).unwrap();
        for minute in 0..60 {
            let at = START.after(seconds(60 * minute));
            for person in &people {
                let Position { x_m, y_m } = person.track.at(at);
                assert!((-0.4..=9.4).contains(&x_m) && (-0.4..=9.4).contains(&y_m));
            }
        }
        assert!(people.iter().all(|p| p.track.at(START) != p.track.at(START.after(time))), "everybody moves");
    }

    #[test]
    fn tram_riders_sit_apart_and_leave() {
        let time = seconds(1800);
        let people = tram(80, START, time, 6).unwrap();
        // A tram stands at its stop 5 in seconds 10 to 20 after its arrival; then everybody is in a place.
        let at = START.after(seconds(300 + 5 * 80 + 15));
        let aboard: Vec<_> = people.iter().map(|p| p.track.at(at)).filter(|p| (0.0..=2.4).contains(&p.y_m)).collect();
        assert!(aboard.len() > 10, "{} aboard", aboard.len());
        for (i, a) in aboard.iter().enumerate() {
            assert!(a.x_m >= 2000.0);
            assert!(aboard[..i].iter().all(|b| a.distance_to(*b) > 0.45), "two on one seat");
        }
        let end = START.after(seconds(7200));
        assert!(people.iter().all(|p| p.track.at(START).y_m <= -60.0 && p.track.at(end).y_m <= -60.0), "from home, and home");
    }

    #[test]
    fn people_walk_on_the_pavements_at_a_walking_pace() {
        for person in street(60, START, seconds(1800), 7).unwrap() {
            for second in 0..1800 {
                let [a, b] = [second, second + 1].map(|s| person.track.at(START.after(seconds(s))));
                assert!((0.0..=200.0).contains(&a.x_m));
                assert!((0.0..=2.0).contains(&a.y_m) || (10.0..=12.0).contains(&a.y_m));
                assert!(a.distance_to(b) < 1.6 + 1e-3);
            }
            assert!(person.track.farthest_in(1000.0) > 0.8 - 1e-3);
        }
    }

    #[test]
    fn scenes_that_cannot_be_are_refused() {
        for scene in [dense_room, tram, street] {
            for (people, time) in [(0, seconds(60)), (MAX_PEOPLE + 1, seconds(60)), (1, Duration::MAX)] {
                assert!(matches!(scene(people, START, time, 0), Err(SimError::Parameter { .. })));
            }
            assert_eq!(scene(1, START, Duration::ZERO, 0).map(|people| people.len()), Ok(1));
            let _ = scene(3, Timestamp::from_unix_ms(i64::MAX), seconds(3600), 0);
        }
    }
}
