//! The clock: identifiers belong to ten minutes of it, and others refuse those that are two hours off.

use std::time::Duration;

use vigie::time::Timestamp;

use super::finding::Finding;

/// 1 November 2026: this version is newer.
const RELEASED: Timestamp = Timestamp::from_unix_s(1_793_491_200);
/// 1 January 2100: nobody will run it then.
const TOO_LATE: Timestamp = Timestamp::from_unix_s(4_102_444_800);
/// A clock that is set by a time server goes back by less than this.
const MAX_BACK: Duration = Duration::from_secs(600);

const SET_IT: &str =
    "let a time server set it: sudo timedatectl set-ntp true\n(or by hand: sudo date --utc --set '2026-11-22 18:00')";

/// What is known of the time.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) now: Timestamp,
    /// When the store was last in use.
    pub(super) store_last_seen: Option<Timestamp>,
    /// Whether the clock follows a time server.
    pub(super) is_synchronised: Option<bool>,
}

pub(super) fn finding(facts: &Facts) -> Finding {
    let now = Timestamp::from_unix_s(facts.now.unix_s());
    if now < RELEASED {
        return Finding::bad("clock", format!("it shows {now}, which is before this program was made"), SET_IT);
    }
    if now > TOO_LATE {
        return Finding::bad("clock", format!("it shows {now}, which cannot be"), SET_IT);
    }
    if let Some(seen) = facts.store_last_seen.filter(|seen| now.after(MAX_BACK) < *seen) {
        let found = format!("it shows {now}, but the store was in use at {seen}: one of the two was wrong");
        return Finding::bad("clock", found, SET_IT);
    }
    match facts.is_synchronised {
        Some(true) => Finding::ok("clock", format!("it shows {now}, and follows a time server")),
        Some(false) => {
            let found =
                format!("it shows {now}, and follows no time server; more than two hours off, nobody believes what is sent");
            Finding::caution("clock", found, SET_IT)
        }
        None => Finding::ok("clock", format!("it shows {now}; whether it follows a time server is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn at(now: &str) -> Facts {
        Facts { now: now.parse().unwrap(), store_last_seen: None, is_synchronised: Some(true) }
    }

    #[test]
    fn every_state_of_the_clock_is_told() {
        let noon = "2026-11-22T12:00:00Z";
        let seen = |seen: &str| Facts { store_last_seen: Some(seen.parse().unwrap()), ..at(noon) };
        for (facts, state, found) in [
            (at(noon), State::Ok, "follows a time server"),
            (Facts { is_synchronised: None, ..at(noon) }, State::Ok, "is not known"),
            (Facts { is_synchronised: Some(false), ..at(noon) }, State::Caution, "follows no time server"),
            (at("1970-01-01T00:00:12Z"), State::Bad, "before this program was made"),
            (at("2026-10-31T23:59:59Z"), State::Bad, "before this program was made"),
            (at("2100-01-01T00:00:01Z"), State::Bad, "cannot be"),
            (seen("2026-11-22T11:00:00Z"), State::Ok, "follows"),
            (seen("2026-11-22T12:09:59Z"), State::Ok, "follows"),
            (seen("2026-11-22T12:10:01Z"), State::Bad, "the store was in use at 2026-11-22T12:10:01Z"),
        ] {
            let told = finding(&facts);
            assert_eq!((told.about, told.state), ("clock", state), "{facts:?}");
            assert!(told.found.contains(found), "{}", told.found);
            assert_eq!(told.next.is_some_and(|next| next.contains("timedatectl")), state != State::Ok, "{facts:?}");
        }
    }
}
