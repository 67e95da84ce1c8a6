//! How much may be written: what a person can meet in an hour, and not what an attacker can send.
//!
//! A token bucket, counted in bytes of the database. In any hour at most 4 MB (full bucket) + 14.4 MB (refill) = 18.4 MB are spent. A device
//! in a crowd of 500 that listens without pause needs about 6 KB/s, one that scans as a phone does 0.5 KB/s.

use crate::time::Timestamp;

const FULL: u64 = 4_000_000;
const REFILL_PER_MS: u64 = 4;

/// Only what was heard more than once may spend the lower half: identifiers that come once and never again are an attacker's, or somebody's
/// who passes by.
const RESERVE: u64 = FULL / 2;

/// An encounter of one packet, and each packet more. The store needs 41.6 to 43 bytes and at most 3 (gaps below 16 s); `tests/flood.rs` holds them
/// against it.
const FIRST_PACKET: u64 = 45;
const MORE_PACKETS: u64 = 4;

#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
    filled: Option<Timestamp>,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { left: FULL, filled: None }
    }

    pub(super) fn refill(&mut self, now: Timestamp) {
        let passed = self.filled.map_or(0, |filled| now.since(filled).as_millis());
        let gained = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(REFILL_PER_MS);
        self.left = self.left.saturating_add(gained).min(FULL);
        self.filled = Some(now);
    }

    /// Whether an encounter of so many packets may be written; if so, it is paid.
    pub(super) fn pay(&mut self, packets: usize, is_repeated: bool) -> bool {
        let cost = FIRST_PACKET + MORE_PACKETS * (packets.saturating_sub(1) as u64);
        let reserve = if is_repeated { 0 } else { RESERVE };
        let affordable = self.left >= reserve + cost;
        if affordable {
            self.left -= cost;
        }
        affordable
    }
}
