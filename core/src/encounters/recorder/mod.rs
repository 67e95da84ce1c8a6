//! Sightings in, encounters out: a state machine without a clock.
//!
//! Calls come in this order: [`Recorder::add_own_identifiers`]; then, again and again, [`Recorder::scan_started`], [`Recorder::hear`],
//! [`Recorder::scan_ended`], and every second or so [`Recorder::take_finished`]. Traffic without scan information (a recorded capture) leaves
//! the two announcements out: then a silence of more than [`SCAN_GAP`] ends a scan.
//!
//! Anybody can send anything, so memory and output are bounded, and what is dropped is chosen so that an attacker has to pay for it:
//!
//! - Identifiers being heard fill a table of 8,192 places. When it is full, of four random ones that goes which was heard least often.
//!   A phone sends four packets a second and is heard again before its place is lost; whoever sends each identifier once only replaces its own.
//! - What may be written is a budget of bytes, spent on what was heard most often first, and half of it is kept for what was heard again.
//!   To be heard again means packets at least 0.2 s apart: a burst counts once.
//! - At most 32 packets of an encounter are kept. Of a longer one it is every second, fourth, ... packet, evenly in time, so the mean
//!   attenuation stays; the minimum may be missed.
//! - A frame whose metadata somebody changed is another frame. At most 4 of one identifier come out.

mod budget;
mod scan;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use indexmap::IndexMap;
use rand::seq::SliceRandom;
use rand_core::CryptoRng;

use super::calibration::Calibration;
use super::{Encounter, Packet};
use crate::beacon::Frame;
use crate::keys::RollingProximityIdentifier;
use crate::radio::{MeasuredBy, Sighting};
use crate::time::Timestamp;
use budget::Budget;
use scan::Scans;

pub use scan::{MAX_SCAN, MAX_SECONDS_SINCE_LAST_SCAN, SCAN_GAP};

/// A running scan is handed out in pieces this often: so much a crash costs.
pub const HAND_OUT: Duration = Duration::from_secs(10);

/// With more, memory grows (0.6 KB each at worst); with fewer, a flood has its way sooner.
const MAX_HEARD: usize = 8_192;

/// A phone is heard about 16 times in a scan of 4 s.
const MAX_PACKETS: usize = 32;

/// Packets closer than this count as one beat. Phones send every 200 to 270 ms.
const BEAT: Duration = Duration::from_millis(200);

const MAX_VARIANTS: u8 = 4;

/// Turns sightings into encounters.
#[derive(Debug)]
pub struct Recorder {
    calibration: Calibration,
    own: HashSet<RollingProximityIdentifier>,
    scans: Scans,
    heard: IndexMap<Source, Track>,
    budget: Budget,
    /// The latest time seen, and when the running scan was last handed out.
    now: Timestamp,
    handed_out: Option<Timestamp>,
}

/// What becomes one encounter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Source {
    frame: Frame,
    measured_by: MeasuredBy,
    /// The scan that heard it; `None` where the other side did.
    scan: Option<u32>,
}

impl Recorder {
    /// A recorder that has heard nothing, for a device with this calibration.
    pub fn new(calibration: Calibration) -> Self {
        Self {
            calibration,
            own: HashSet::new(),
            scans: Scans::default(),
            heard: IndexMap::new(),
            budget: Budget::new(),
            now: Timestamp::default(),
            handed_out: None,
        }
    }

    /// Identifiers of this device, of past keys and of a new one before it is sent: whoever relays them is not heard.
    pub fn add_own_identifiers(&mut self, own: impl IntoIterator<Item = RollingProximityIdentifier>) {
        self.own.extend(own);
    }

    /// Whether an identifier is this device's own.
    pub fn is_own(&self, rpi: &RollingProximityIdentifier) -> bool {
        self.own.contains(rpi)
    }

    /// The radio begins to listen.
    pub fn scan_started(&mut self, at: Timestamp) {
        self.scans.started(at);
    }

    /// The radio stops. What it heard until then may still come.
    pub fn scan_ended(&mut self, at: Timestamp) {
        self.scans.ended(at);
    }

    /// A packet was heard. Own identifiers and packets without a valid strength are ignored.
    pub fn hear(&mut self, sighting: &Sighting, rng: &mut (impl CryptoRng + ?Sized)) {
        let Sighting { frame, rssi, measured_by, at } = *sighting;
        if !rssi.is_valid() || self.is_own(&frame.rpi) {
            return;
        }
        self.now = at;
        let scan = (measured_by == MeasuredBy::Us).then(|| self.scans.of_packet(at));
        let source = Source { frame, measured_by, scan: scan.map(|scan| scan.number) };
        let packet = Packet { at, rssi };
        if let Some(track) = self.heard.get_mut(&source) {
            return track.add(packet);
        }
        if self.heard.len() >= MAX_HEARD {
            self.drop_one(rng);
        }
        self.heard.insert(source, Track::new(packet, scan.and_then(|scan| scan.seconds_since_last)));
    }

    /// Encounters of the scans that have ended, and every [`HAND_OUT`] those of the running one, in order of time.
    pub fn take_finished(&mut self, now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> Vec<Encounter> {
        self.now = now;
        // A clock that went back makes it due, too.
        if !self.handed_out.is_some_and(|last| last <= now && now.since(last) < HAND_OUT) {
            return self.flush(rng);
        }
        let running = self.scans.running(now);
        let is_due = |source: &Source| source.scan.is_some() && source.scan != running;
        if !self.heard.keys().any(is_due) {
            return Vec::new();
        }
        let (due, kept) =
            std::mem::take(&mut self.heard).into_iter().partition::<IndexMap<_, _>, _>(|(source, _)| is_due(source));
        self.heard = kept;
        self.select(due, rng)
    }

    /// Encounters of everything that was heard: before the end.
    pub fn flush(&mut self, rng: &mut (impl CryptoRng + ?Sized)) -> Vec<Encounter> {
        self.handed_out = Some(self.now);
        let due = std::mem::take(&mut self.heard);
        self.select(due, rng)
    }

    /// Of four random ones that which was heard least.
    fn drop_one(&mut self, rng: &mut (impl CryptoRng + ?Sized)) {
        let random = rng.next_u64();
        let picks = (0..4).map(|i| usize::from((random >> (16 * i)) as u16) % MAX_HEARD);
        let rank = |index: &usize| self.heard.get_index(*index).map_or(0, |(_, track)| track.rank());
        if let Some(index) = picks.min_by_key(rank) {
            self.heard.swap_remove_index(index);
        }
    }

    /// What the budget allows of `due`, those heard most often first and else at random.
    fn select(&mut self, due: IndexMap<Source, Track>, rng: &mut (impl CryptoRng + ?Sized)) -> Vec<Encounter> {
        self.budget.refill(self.now);
        let mut due: Vec<_> = due.into_iter().collect();
        due.shuffle(rng);
        due.sort_by_key(|(_, track)| Reverse(track.rank()));
        let mut variants = HashMap::new();
        due.retain(|(source, track)| {
            let variants = variants.entry((source.frame.rpi, source.measured_by, source.scan)).or_insert(0u8);
            *variants = variants.saturating_add(1);
            *variants <= MAX_VARIANTS && self.budget.pay(track.packets.len(), track.rank() > 0)
        });
        let mut encounters: Vec<_> = due.into_iter().map(|(source, track)| track.finish(source, self.calibration)).collect();
        encounters.sort_by_key(|encounter| encounter.packets.first().map(|packet| packet.at));
        encounters
    }
}

/// What was heard so far of one source.
#[derive(Debug)]
struct Track {
    packets: Vec<Packet>,
    seconds_since_last_scan: Option<u16>,
    /// Every so many packets one is kept.
    stride: u32,
    count: u32,
    /// Packets at least [`BEAT`] apart.
    beats: u32,
    last_beat: Timestamp,
}

impl Track {
    fn new(packet: Packet, seconds_since_last_scan: Option<u16>) -> Self {
        Self { packets: vec![packet], seconds_since_last_scan, stride: 1, count: 1, beats: 1, last_beat: packet.at }
    }

    fn add(&mut self, packet: Packet) {
        if packet.at.since(self.last_beat) >= BEAT {
            self.beats = self.beats.saturating_add(1);
            self.last_beat = packet.at;
        }
        if self.count.is_multiple_of(self.stride) {
            if self.packets.len() == MAX_PACKETS {
                let mut is_even = false;
                self.packets.retain(|_| {
                    is_even = !is_even;
                    is_even
                });
                self.stride = self.stride.saturating_mul(2);
            }
            self.packets.push(packet);
        }
        self.count = self.count.wrapping_add(1);
    }

    /// How often it was heard, as a power of two: within one rank chance decides, so that a little more gains an attacker nothing.
    fn rank(&self) -> u32 {
        self.beats.ilog2()
    }

    fn finish(mut self, source: Source, calibration: Calibration) -> Encounter {
        self.packets.sort();
        Encounter {
            frame: source.frame,
            packets: self.packets,
            measured_by: source.measured_by,
            seconds_since_last_scan: self.seconds_since_last_scan,
            calibration,
        }
    }
}

#[cfg(test)]
mod tests;
