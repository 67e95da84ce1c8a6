//! Who is connected to next, and when: connections take the radio from listening, so they may take only a small part of its time.
//!
//! A state machine without a clock. False peers can make connections last as long as they are allowed to; they cost their turn, and listening
//! loses no more than [`SHARE`] of its time to all of them together.

use std::collections::VecDeque;
use std::time::Duration;

use crate::beacon::Rssi;

/// One part in so many of the time in which it listens may go into connections.
const SHARE: u32 = 20;

/// What may be saved up: one long connection at once.
const MAX_SAVED: Duration = Duration::from_secs(2);

/// Who comes later is taken when it is heard again.
const MAX_WAITING: usize = 64;

/// Who was not heard for so long has gone, or has another address. Where not every packet is told, one in 10.5 s is.
const FRESH: Duration = Duration::from_secs(12);

/// Somebody who waits.
#[derive(Debug)]
struct Waiting<Id> {
    id: Id,
    rssi: Rssi,
    heard: Duration,
}

/// Peers that wait for their turn, of a kind that has an identity.
#[derive(Debug)]
pub(super) struct Turns<Id> {
    waiting: VecDeque<Waiting<Id>>,
    saved: Duration,
    owed: Duration,
    /// Until when savings are counted.
    counted: Duration,
}

impl<Id: PartialEq> Turns<Id> {
    /// Nobody waits; `now` is the time since an arbitrary origin.
    pub(super) fn new(now: Duration) -> Self {
        Self { waiting: VecDeque::new(), saved: MAX_SAVED, owed: Duration::ZERO, counted: now }
    }

    /// A peer was heard, so strongly.
    pub(super) fn add(&mut self, id: Id, rssi: Rssi, now: Duration) {
        if let Some(known) = self.waiting.iter_mut().find(|waiting| waiting.id == id) {
            (known.rssi, known.heard) = (rssi, now);
            return;
        }
        self.forget_gone(now);
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(Waiting { id, rssi, heard: now });
        }
    }

    /// Whose turn it is; `None` where nobody waits, or listening has a right to the time.
    pub(super) fn next(&mut self, now: Duration) -> Option<(Id, Rssi)> {
        self.count(now);
        if !self.owed.is_zero() {
            return None;
        }
        self.forget_gone(now);
        self.waiting.pop_front().map(|waiting| (waiting.id, waiting.rssi))
    }

    /// In what time somebody's turn may come; `None` where nobody waits.
    pub(super) fn wait(&mut self, now: Duration) -> Option<Duration> {
        self.count(now);
        (!self.waiting.is_empty()).then(|| self.owed * SHARE)
    }

    /// A connection has kept the radio from listening for so long.
    pub(super) fn charge(&mut self, time: Duration) {
        self.owed += time.saturating_sub(self.saved);
        self.saved = self.saved.saturating_sub(time);
    }

    fn forget_gone(&mut self, now: Duration) {
        self.waiting.retain(|waiting| now.saturating_sub(waiting.heard) < FRESH);
    }

    fn count(&mut self, now: Duration) {
        let earned = now.saturating_sub(self.counted) / SHARE;
        self.counted = now;
        self.saved = (self.saved + earned.saturating_sub(self.owed)).min(MAX_SAVED);
        self.owed = self.owed.saturating_sub(earned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Rssi = Rssi(-60);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn peers_come_in_the_order_in_which_they_were_heard_with_their_latest_strength() {
        let mut turns = Turns::new(s(0));
        turns.add('a', NEAR, s(0));
        turns.add('b', NEAR, s(0));
        turns.add('a', Rssi(-50), s(0));
        assert_eq!(turns.next(s(0)), Some(('a', Rssi(-50))));
        assert_eq!(turns.next(s(0)), Some(('b', NEAR)));
        assert_eq!((turns.next(s(0)), turns.wait(s(0))), (None, None));
    }

    #[test]
    fn twenty_peers_that_stall_take_one_part_in_twenty_of_the_time() {
        let mut turns = Turns::new(s(0));
        let (mut now, mut taken) = (Duration::ZERO, Duration::ZERO);
        while now < s(3600) {
            (0..20).for_each(|peer| turns.add(peer, NEAR, now));
            if turns.next(now).is_some() {
                now += s(9);
                taken += s(9);
                turns.charge(s(9));
            } else {
                now += turns.wait(now).unwrap().max(Duration::from_millis(1));
            }
        }
        assert!(taken <= now / SHARE + MAX_SAVED + s(9), "{taken:?} of {now:?}");
        assert!(taken >= s(150), "and no less than they may: {taken:?}");
    }

    #[test]
    fn who_waits_is_bounded() {
        let mut turns = Turns::new(s(0));
        (0..1000).for_each(|peer| turns.add(peer, NEAR, s(0)));
        assert_eq!(turns.waiting.len(), MAX_WAITING);
        turns.add(1000, NEAR, FRESH);
        assert_eq!(turns.next(FRESH), Some((1000, NEAR)), "the others have gone");
    }
}
