//! Diagnosis keys against the identifiers that were heard: which encounters were with somebody who reported.
//!
//! ```text
//! match:  stored = RPI_i of the key,  rolling_start <= i < rolling_start + rolling_period,  |heard - i| <= 12 intervals (2 hours)
//! ```
//!
//! Source: Exposure Notification Cryptography Specification v1.2.1, "matching values". An identifier that is replayed outside the 2 hours is no match.
//!
//! Nearly nothing matches: 100,000 keys make 14,400,000 identifiers, and a handful was heard here. So all is built for "no":
//!
//! 1. What was heard is laid out by UTC days, as keys are. A part of a key's life near which nothing was heard is not even derived.
//! 2. Keys are taken in the order of their days, so that one day's filter stays in the processor's fastest cache.
//! 3. Identifier keys are derived several at a time, identifiers a day at a time.
//! 4. The filter answers for nearly every identifier, the day's sorted table for the rest, with the 2 hours.
//!
//! An identifier that was heard costs about 50 bytes (twice that for a moment while they are laid out), a key 8 bytes while its batch is matched.
//! Nothing of a key is kept, and nothing here knows files, the store, or what a match means.

mod day;
mod derivation;

use std::collections::BTreeMap;

use crate::diagnosis::DiagnosisKey;
use crate::encounters::EncounterId;
use crate::keys::{RollingProximityIdentifier, TemporaryExposureKey};
use crate::time::{Date, EnIntervalNumber, INTERVALS_PER_DAY};
use day::{Day, TOLERANCE};
use derivation::{Identifiers, KeyDerivation, LANES};

/// How many keys are put in order at a time. With fewer, a day's turn is not worth its filter's way into the cache; an index has 16 bits.
const BATCH: usize = 1 << 15;

/// An identifier as the store gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredIdentifier {
    /// What was heard.
    pub rpi: RollingProximityIdentifier,
    /// When it was heard, by this device's clock.
    pub interval: EnIntervalNumber,
    /// In which encounter.
    pub encounter: EncounterId,
}

/// An encounter with somebody who reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match {
    /// Which of the keys given: its index.
    pub key: usize,
    /// The encounter.
    pub encounter: EncounterId,
    /// For which interval the key made the identifier; it was heard at most 12 intervals before or after.
    pub interval: EnIntervalNumber,
}

/// All identifiers that were heard, ready to be held against any number of keys.
pub struct Matcher {
    /// Those days around which something was heard, in order. Not a table from the first to the last: a clock may have stood anywhere.
    days: Vec<Day>,
}

/// The part of a key's life that lies in one day, for a day around which something was heard.
struct Piece {
    /// Index of the day.
    day: u32,
    /// Index of the key in its batch.
    key: u16,
    /// Offsets of intervals from the start of the day.
    from: u8,
    to: u8,
}

impl Matcher {
    /// Lays out what was heard.
    pub fn new(identifiers: impl IntoIterator<Item = StoredIdentifier>) -> Self {
        let mut days = BTreeMap::<Date, Vec<StoredIdentifier>>::new();
        for stored in identifiers {
            let (first, last) = (stored.interval.minus(TOLERANCE).date(), stored.interval.plus(TOLERANCE).date());
            days.entry(first).or_default().push(stored);
            if last != first {
                days.entry(last).or_default().push(stored);
            }
        }
        Self { days: days.into_iter().map(|(date, identifiers)| Day::new(date, identifiers)).collect() }
    }

    /// Calls `found` once for each pair of a key and an encounter that match, in no particular order.
    ///
    /// It is fast with thousands of keys at a time, which it can take in the order of their days.
    pub fn find(&self, keys: &[DiagnosisKey], mut found: impl FnMut(Match)) {
        let mut derivation = KeyDerivation::new();
        let mut pieces = Vec::new();
        for (batch, first_key) in keys.chunks(BATCH).zip((0..).step_by(BATCH)) {
            pieces.clear();
            for (index, key) in batch.iter().enumerate() {
                self.cut(&key.key, index as u16, &mut pieces);
            }
            pieces.sort_unstable_by_key(|piece| piece.day);
            for pieces in pieces.chunk_by(|a, b| a.day == b.day) {
                let day = &self.days[pieces[0].day as usize];
                find_in_day(day, batch, pieces, &mut derivation, |key, encounter, interval| {
                    found(Match { key: first_key + key, encounter, interval });
                });
            }
        }
    }

    /// Cuts a key's life at midnight, UTC (ours end there anyway, others' need not), and adds the parts that can match to `pieces`.
    fn cut(&self, key: &TemporaryExposureKey, index: u16, pieces: &mut Vec<Piece>) {
        let mut start = key.rolling_start();
        while start < key.end() {
            let date = start.date();
            let from = start.number() % INTERVALS_PER_DAY;
            let to = INTERVALS_PER_DAY.min(from + (key.end().number() - start.number()));
            if let Ok(day) = self.days.binary_search_by_key(&date, Day::date) {
                let part = self.days[day].part();
                let (from, to) = (from.max(part.start), to.min(part.end));
                if from < to {
                    pieces.push(Piece { day: day as u32, key: index, from: from as u8, to: to as u8 });
                }
            }
            start = start.plus(to - from);
        }
    }
}

fn find_in_day(
    day: &Day,
    keys: &[DiagnosisKey],
    pieces: &[Piece],
    derivation: &mut KeyDerivation,
    mut found: impl FnMut(usize, EncounterId, EnIntervalNumber),
) {
    let mut identifiers = Identifiers::of_day(day.date());
    let midnight = day.date().first_interval();
    for pieces in pieces.chunks(LANES) {
        let teks = pieces.iter().map(|piece| keys[usize::from(piece.key)].key.as_bytes());
        for (piece, rpik) in pieces.iter().zip(derivation.identifier_keys(teks)) {
            let rpis = identifiers.derive(rpik, usize::from(piece.from)..usize::from(piece.to));
            day.candidates(rpis, |position| {
                let interval = midnight.plus(u32::from(piece.from) + position as u32);
                day.matches(&rpis[position], interval, |stored| found(usize::from(piece.key), stored.encounter, interval));
            });
        }
    }
}

#[cfg(test)]
mod tests;
