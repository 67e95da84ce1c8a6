//! The truth: from positions and minutes alone. It knows nothing of radio, keys or risk.

use std::time::Duration;

use vigie::radio::sim::Track;
use vigie::time::Timestamp;

/// At most this far, for at least [`CONTACT_TIME`] without a break, is a contact.
pub(super) const CONTACT_M: f64 = 2.0;
/// See [`CONTACT_M`].
pub(super) const CONTACT_TIME: Duration = Duration::from_secs(15 * 60);
/// Who never came nearer is a stranger.
pub(super) const STRANGER_M: f64 = 5.0;

const STEP: Duration = Duration::from_secs(5);

/// What two people were to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// Within 2 m for 15 minutes or more.
    Contact,
    /// Neither: not judged.
    Between,
    /// Never within 5 m.
    Stranger,
}

/// What was between two people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Truth {
    pub(super) relation: Relation,
    /// The longest time within 2 m without a break.
    pub(super) near: Duration,
    /// The nearest that they came, in metres.
    pub(super) nearest_m: f64,
}

/// Follows two people through the time and looks how near they come.
pub(super) fn between(one: &Track, other: &Track, from: Timestamp, to: Timestamp) -> Truth {
    let (mut nearest_m, mut near, mut run) = (f64::INFINITY, Duration::ZERO, Duration::ZERO);
    let mut at = from;
    while at < to {
        let metres = one.at(at).distance_to(other.at(at));
        nearest_m = nearest_m.min(metres);
        run = if metres <= CONTACT_M { run + STEP } else { Duration::ZERO };
        near = near.max(run);
        at = at.after(STEP);
    }
    let relation = if near >= CONTACT_TIME {
        Relation::Contact
    } else if nearest_m > STRANGER_M {
        Relation::Stranger
    } else {
        Relation::Between
    };
    Truth { relation, near, nearest_m }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vigie::radio::sim::{Journey, Position};

    fn relation(metres: f64, minutes: u64) -> Relation {
        let start = Timestamp::from_unix_s(1_603_324_800);
        let one = Track::still(Position::new(0.0, 0.0)).unwrap();
        let mut journey = Journey::new(start, Position::new(100.0, 0.0));
        journey.go(Position::new(metres, 0.0), Duration::from_millis(1)).stay(Duration::from_secs(60 * minutes));
        journey.go(Position::new(100.0, 0.0), Duration::from_millis(1));
        between(&one, &journey.track().unwrap(), start, start.after(Duration::from_secs(86_400))).relation
    }

    #[test]
    fn truth_is_metres_and_minutes() {
        assert_eq!(relation(1.0, 16), Relation::Contact);
        assert_eq!(relation(1.0, 14), Relation::Between);
        assert_eq!(relation(3.0, 600), Relation::Between);
        assert_eq!(relation(5.5, 600), Relation::Stranger);
    }
}
