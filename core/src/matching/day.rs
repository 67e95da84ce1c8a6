//! What was heard around one UTC day, as the hot loop asks for it: a filter that says "surely not" of nearly every identifier, and a sorted
//! table that answers the rest.
//!
//! Both hold against whoever chooses the identifiers that are stored, which is everybody with a radio. With three bits for each identifier in a
//! filter of at least 32, a tenth of what is asked can pass and no more, however they are chosen (left to chance, one in 400 to 2,000). The
//! table is searched by halving, so no choice makes a crowded corner, and an identifier stored a thousand times at a wrong hour is passed over at once.

use std::ops::Range;

use super::StoredIdentifier;
use crate::time::{Date, EnIntervalNumber, INTERVALS_PER_DAY};

/// Least size of the filter. With fewer, more identifiers go the slow way; with more, a usual day's filter no longer fits the fastest cache.
const BITS_PER_IDENTIFIER: usize = 32;

/// How far apart the clocks of two devices may be, in intervals: 2 hours.
pub(super) const TOLERANCE: u32 = 12;

/// The identifiers heard from [`TOLERANCE`] before a UTC day to [`TOLERANCE`] after it: all that a key can match on that day.
pub(super) struct Day {
    date: Date,
    part: Range<u32>,
    /// A Bloom filter whose bits for one identifier stand in one word: one look at the memory. Its length is a power of two.
    filter: Vec<u64>,
    /// In order of identifier and interval.
    identifiers: Vec<StoredIdentifier>,
}

impl Day {
    /// All that was heard around `date`, at least one identifier.
    pub(super) fn new(date: Date, mut identifiers: Vec<StoredIdentifier>) -> Self {
        identifiers.shrink_to_fit();
        identifiers.sort_unstable();
        let words = (identifiers.len() * BITS_PER_IDENTIFIER / 64).next_power_of_two();
        let mut filter = vec![0; words];
        let (mut first, mut last) = (u32::MAX, 0);
        for stored in &identifiers {
            let (word, bits) = place(&stored.rpi.0, words);
            bits.iter().for_each(|bit| filter[word] |= 1 << bit);
            first = first.min(stored.interval.number());
            last = last.max(stored.interval.number());
        }
        let start = date.first_interval().number();
        let offset = |interval: u32| interval.saturating_sub(start).min(INTERVALS_PER_DAY);
        let part = offset(first.saturating_sub(TOLERANCE))..offset(last.saturating_add(TOLERANCE + 1));
        Self { date, part, filter, identifiers }
    }

    pub(super) fn date(&self) -> Date {
        self.date
    }

    /// The part of the day outside which no identifier can match, because nothing was heard near it: offsets from the day's start.
    pub(super) fn part(&self) -> Range<u32> {
        self.part.clone()
    }

    /// Calls `candidate` with the position of each of these identifiers that may be stored.
    #[inline]
    pub(super) fn candidates(&self, identifiers: &[[u8; 16]], mut candidate: impl FnMut(usize)) {
        for (chunk, base) in identifiers.chunks(64).zip((0..).step_by(64)) {
            // Nearly all fail, but those that pass the first bit are where no processor can guess: so 64 are asked without a branch.
            let mut passed = 0_u64;
            for rpi in chunk {
                let (word, [bit, ..]) = place(rpi, self.filter.len());
                passed = passed << 1 | (self.filter[word] >> bit & 1);
            }
            while passed != 0 {
                let position = chunk.len() - 1 - passed.trailing_zeros() as usize;
                let (word, bits) = place(&chunk[position], self.filter.len());
                if bits.iter().all(|bit| self.filter[word] >> bit & 1 == 1) {
                    candidate(base + position);
                }
                passed &= passed - 1;
            }
        }
    }

    /// Calls `found` for each time that `rpi`, the identifier of `interval`, was heard within the tolerance.
    pub(super) fn matches(&self, rpi: &[u8; 16], interval: EnIntervalNumber, mut found: impl FnMut(&StoredIdentifier)) {
        let (earliest, latest) = (interval.minus(TOLERANCE), interval.plus(TOLERANCE));
        let from = self.identifiers.partition_point(|stored| {
            looks::count();
            (&stored.rpi.0, stored.interval) < (rpi, earliest)
        });
        for stored in &self.identifiers[from..] {
            looks::count();
            if stored.rpi.0 != *rpi || stored.interval > latest {
                break;
            }
            found(stored);
        }
    }
}

/// Where an identifier stands in a filter of `words` (a power of two): the word, and its bits there. Identifiers are noise already: no hash is needed.
#[inline(always)]
fn place(rpi: &[u8; 16], words: usize) -> (usize, [u64; 3]) {
    let &[a, b, c, d, e, f, g, h, ..] = rpi;
    let noise = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let word = (noise >> 32) as usize & (words - 1);
    (word, [noise & 63, noise >> 6 & 63, noise >> 12 & 63])
}

/// How often the table was looked at, for the tests that bound it: time says nothing on a loaded machine.
pub(super) mod looks {
    #[cfg(test)]
    thread_local!(pub(crate) static COUNT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

    #[inline(always)]
    pub(super) fn count() {
        #[cfg(test)]
        COUNT.set(COUNT.get() + 1);
    }
}
