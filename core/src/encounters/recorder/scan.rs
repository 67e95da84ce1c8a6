//! Which scan a packet belongs to, and how long after the one before it that began.
//!
//! Who drives a radio announces its scans; recorded traffic says nothing of them, and they are inferred from its silences.

use std::time::Duration;

use crate::time::Timestamp;

/// A silence longer than this ends a scan: 1.5 times 17 s, a scan of 4 s and the 13 s in which an adapter may still deliver.
/// With more, two scans of an eager phone would be one; with less, a scan in which somebody was heard badly would be two.
pub const SCAN_GAP: Duration = Duration::from_millis(25_500);

/// No scan is longer. A computer listens without end; half an hour of that would otherwise be one scan instance, which counts 5 minutes at most.
pub const MAX_SCAN: Duration = Duration::from_secs(60);

/// The most that a scan says of the time before it, in seconds (ExposureWindow mode, `secondsSinceLastScan`).
pub const MAX_SECONDS_SINCE_LAST_SCAN: u16 = 300;

/// How the end of a scan is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It will be announced.
    Announced,
    /// It was announced.
    Reached,
    /// Nobody announces anything: a silence ends it.
    Inferred,
}

/// One scan of this device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan {
    /// Tells it from the scans around it.
    pub(super) number: u32,
    /// As in an encounter.
    pub(super) seconds_since_last: Option<u16>,
    start: Timestamp,
    /// The latest thing known of it.
    last: Timestamp,
    end: End,
}

/// The scans of this device, of which the latest is remembered.
#[derive(Debug, Default)]
pub(super) struct Scans {
    latest: Option<Scan>,
}

impl Scans {
    pub(super) fn started(&mut self, at: Timestamp) {
        self.begin(at, End::Announced);
    }

    pub(super) fn ended(&mut self, at: Timestamp) {
        if let Some(scan) = &mut self.latest {
            scan.end = End::Reached;
            scan.last = scan.last.max(at);
        }
    }

    /// The scan in which a packet was heard at `at`.
    pub(super) fn of_packet(&mut self, at: Timestamp) -> Scan {
        match self.latest {
            // A few packets in the wrong order are nothing; a clock that was set back is.
            Some(scan) if at < scan.last.before(SCAN_GAP) => self.begin(at, End::Inferred),
            Some(scan) if scan.end == End::Announced => self.continue_listening(scan, at),
            Some(scan) if at.since(scan.last) <= SCAN_GAP && at.since(scan.start) < MAX_SCAN => {
                let scan = Scan { last: scan.last.max(at), ..scan };
                *self.latest.insert(scan)
            }
            _ => self.begin(at, End::Inferred),
        }
    }

    /// The number of the scan that still runs at `now`.
    pub(super) fn running(&self, now: Timestamp) -> Option<u32> {
        let scan = self.latest?;
        let runs = match scan.end {
            End::Announced => true,
            End::Reached => false,
            End::Inferred => now.since(scan.last) <= SCAN_GAP && scan.last.since(now) <= SCAN_GAP,
        };
        runs.then_some(scan.number)
    }

    fn begin(&mut self, at: Timestamp, end: End) -> Scan {
        let seconds_since_last = self.latest.filter(|before| before.start <= at).map(|before| {
            let seconds = at.since(before.start).as_secs();
            u16::try_from(seconds).map_or(MAX_SECONDS_SINCE_LAST_SCAN, |s| s.min(MAX_SECONDS_SINCE_LAST_SCAN))
        });
        let number = self.latest.map_or(0, |before| before.number.wrapping_add(1));
        *self.latest.insert(Scan { number, seconds_since_last, start: at, last: at, end })
    }

    /// A radio that never stops is cut on the minute of its start, whether or not somebody was heard in the minute before.
    fn continue_listening(&mut self, scan: Scan, at: Timestamp) -> Scan {
        let pieces = at.since(scan.start).as_secs() / MAX_SCAN.as_secs();
        let mut scan = Scan { last: scan.last.max(at), ..scan };
        if pieces > 0 {
            scan.number = scan.number.wrapping_add(1);
            scan.seconds_since_last = Some(MAX_SCAN.as_secs() as u16);
            scan.start = scan.start.after(Duration::from_secs(pieces.saturating_mul(MAX_SCAN.as_secs())));
        }
        *self.latest.insert(scan)
    }
}
