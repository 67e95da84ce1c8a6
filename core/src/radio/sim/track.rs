//! Where somebody is at every moment: straight lines between points that have a time.

use std::sync::Arc;
use std::time::Duration;

use super::SimError;
use crate::time::Timestamp;

/// Positions lie within this many metres of the origin, in each direction.
pub const FARTHEST_M: f64 = 1_000_000.0;

/// A place on the ground, in metres from an arbitrary origin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// Metres to the east.
    pub x_m: f64,
    /// Metres to the north.
    pub y_m: f64,
}

impl Position {
    /// The place `x_m` metres east and `y_m` metres north of the origin.
    pub const fn new(x_m: f64, y_m: f64) -> Self {
        Self { x_m, y_m }
    }

    /// Metres between two places.
    pub fn distance_to(self, other: Self) -> f64 {
        self.square_to(other).sqrt()
    }

    pub(super) fn square_to(self, other: Self) -> f64 {
        let (dx, dy) = (self.x_m - other.x_m, self.y_m - other.y_m);
        dx * dx + dy * dy
    }
}

/// A way through space and time. Before its first point somebody stands there, after its last one too. Clones share the points.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    points: Arc<[(Timestamp, Position)]>,
    fastest_m_per_ms: f64,
}

impl Track {
    /// Somebody who stays.
    ///
    /// # Errors
    /// [`SimError::Position`] where it is not a place.
    pub fn still(position: Position) -> Result<Self, SimError> {
        Self::through(vec![(Timestamp::default(), position)])
    }

    /// A way through these points, at constant speed from each to the next.
    ///
    /// # Errors
    /// [`SimError::EmptyTrack`] without a point, [`SimError::Position`] for one that is not finite or farther than [`FARTHEST_M`],
    /// [`SimError::TrackOrder`] where a point is not later than the one before.
    pub fn through(points: Vec<(Timestamp, Position)>) -> Result<Self, SimError> {
        if points.is_empty() {
            return Err(SimError::EmptyTrack);
        }
        for (_, p) in &points {
            let fits = |m: f64| m.abs() <= FARTHEST_M;
            if !(fits(p.x_m) && fits(p.y_m)) {
                return Err(SimError::Position { x_m: p.x_m, y_m: p.y_m });
            }
        }
        let mut fastest_m_per_ms = 0.0_f64;
        for leg in points.windows(2) {
            let [(from, a), (to, b)] = leg else { continue };
            let ms = milliseconds(*from, *to);
            if ms <= 0.0 {
                return Err(SimError::TrackOrder { before: *from, found: *to });
            }
            fastest_m_per_ms = fastest_m_per_ms.max(a.distance_to(*b) / ms);
        }
        Ok(Self { points: points.into(), fastest_m_per_ms })
    }

    /// Where somebody on this way is at `t`.
    pub fn at(&self, t: Timestamp) -> Position {
        let next = self.points.partition_point(|(at, _)| *at <= t);
        let before = next.checked_sub(1).and_then(|i| self.points.get(i));
        match (before, self.points.get(next)) {
            (Some((from, a)), Some((to, b))) if a != b => {
                let part = milliseconds(*from, t) / milliseconds(*from, *to);
                Position::new(a.x_m + (b.x_m - a.x_m) * part, a.y_m + (b.y_m - a.y_m) * part)
            }
            (Some((_, here)), _) | (None, Some((_, here))) => *here,
            (None, None) => unreachable!("a track has a point"),
        }
    }

    /// The farthest that anybody on it gets in `ms` milliseconds, in metres.
    pub(super) fn farthest_in(&self, ms: f64) -> f64 {
        self.fastest_m_per_ms * ms
    }
}

fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    to.unix_ms().saturating_sub(from.unix_ms()) as f64
}

/// Makes a [`Track`] in the words of somebody who goes through a day.
#[derive(Debug, Clone)]
pub struct Journey {
    points: Vec<(Timestamp, Position)>,
    now: Timestamp,
    here: Position,
}

impl Journey {
    /// Begins at a place and a time.
    pub fn new(start: Timestamp, at: Position) -> Self {
        Self { points: vec![(start, at)], now: start, here: at }
    }

    /// The time that has been reached.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Stays for some time.
    pub fn stay(&mut self, time: Duration) -> &mut Self {
        self.stay_until(self.now.after(time))
    }

    /// Stays until `t`; goes on at once where that is past.
    pub fn stay_until(&mut self, t: Timestamp) -> &mut Self {
        self.now = self.now.max(t);
        self
    }

    /// Goes straight to a place within some time, at least a millisecond.
    pub fn go(&mut self, to: Position, time: Duration) -> &mut Self {
        if self.points.last().is_none_or(|(at, _)| *at < self.now) {
            self.points.push((self.now, self.here));
        }
        self.now = self.now.after(time.max(Duration::from_millis(1)));
        self.here = to;
        self.points.push((self.now, to));
        self
    }

    /// Walks straight to a place, in metres a second. At a speed that is not above 0 nobody ever arrives.
    pub fn walk(&mut self, to: Position, metres_per_s: f64) -> &mut Self {
        let time = if metres_per_s > 0.0 {
            Duration::from_millis((self.here.distance_to(to) / metres_per_s * 1000.0) as u64)
        } else {
            Duration::MAX
        };
        self.go(to, time)
    }

    /// The way that was gone.
    ///
    /// # Errors
    /// As [`Track::through`].
    pub fn track(self) -> Result<Track, SimError> {
        Track::through(self.points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: i64) -> Timestamp {
        Timestamp::from_unix_s(seconds)
    }

    #[test]
    fn a_track_goes_straight_between_its_points_and_stands_still_outside() {
        let track = Track::through(vec![(s(10), Position::new(0.0, 0.0)), (s(20), Position::new(10.0, -20.0))]).unwrap();
        for (at, x, y) in [(0, 0.0, 0.0), (10, 0.0, 0.0), (15, 5.0, -10.0), (20, 10.0, -20.0), (99, 10.0, -20.0)] {
            assert_eq!(track.at(s(at)), Position::new(x, y), "at {at} s");
        }
        assert!((track.farthest_in(1000.0) - 500.0_f64.sqrt() / 10.0).abs() < 1e-12);
        let _ = (track.at(Timestamp::from_unix_ms(i64::MIN)), track.at(Timestamp::from_unix_ms(i64::MAX)));
    }

    #[test]
    fn what_is_no_way_is_refused() {
        let here = Position::new(0.0, 0.0);
        assert_eq!(Track::through(vec![]), Err(SimError::EmptyTrack));
        assert_eq!(Track::through(vec![(s(1), here), (s(1), here)]), Err(SimError::TrackOrder { before: s(1), found: s(1) }));
        for bad in [f64::NAN, f64::INFINITY, 1e7] {
            assert!(matches!(Track::still(Position::new(bad, 0.0)), Err(SimError::Position { .. })));
            assert!(matches!(Track::still(Position::new(0.0, bad)), Err(SimError::Position { .. })));
        }
    }

    #[test]
    fn a_journey_is_the_track_of_its_words() {
        let mut journey = Journey::new(s(0), Position::new(0.0, 0.0));
        journey.stay(Duration::from_secs(10)).walk(Position::new(0.0, 14.0), 1.4).stay_until(s(5)).stay_until(s(30));
        journey.go(Position::new(100.0, 14.0), Duration::from_secs(10));
        assert_eq!(journey.now(), s(40));
        let track = journey.track().unwrap();
        for (at, x, y) in [(10, 0.0, 0.0), (15, 0.0, 7.0), (20, 0.0, 14.0), (30, 0.0, 14.0), (35, 50.0, 14.0), (50, 100.0, 14.0)]
        {
            assert_eq!(track.at(s(at)), Position::new(x, y), "at {at} s");
        }
    }

    #[test]
    fn a_journey_that_never_arrives_goes_no_further() {
        for speed in [0.0, -1.0, f64::NAN] {
            let mut journey = Journey::new(s(0), Position::new(0.0, 0.0));
            journey.walk(Position::new(1.0, 0.0), speed).walk(Position::new(2.0, 0.0), 1.0);
            assert!(matches!(journey.track(), Err(SimError::TrackOrder { .. })), "at {speed} m/s");
        }
    }
}
