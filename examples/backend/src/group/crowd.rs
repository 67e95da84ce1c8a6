//! Whether people come faster than one by one, and how many of them were turned away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A transaction of more than this is one of a crowd.
pub(super) const CROWD: usize = 32;

/// So long after its last such transaction a crowd counts as there.
pub(super) const CROWD_STAYS: Duration = Duration::from_secs(1);

/// Those who were turned away within this time count as still to come. It is as long as they are told to stay away at most, so that in a long overload
/// each is counted about once.
pub const AWAY: Duration = Duration::from_secs(36);

/// The people who come, as far as it is known.
#[derive(Clone)]
pub(super) struct Crowd {
    started: Instant,
    /// When a transaction was one of a crowd last, in milliseconds since then; 0 where there was none.
    pub(super) last_ms: Arc<AtomicU64>,
    away: Arc<Mutex<Away>>,
}

/// Who was turned away, in windows of [`AWAY`].
#[derive(Default)]
struct Away {
    window: u64,
    in_it: u64,
    before_it: u64,
}

impl Away {
    fn go_to(&mut self, window: u64) {
        if window > self.window {
            self.before_it = if window == self.window + 1 { self.in_it } else { 0 };
            (self.window, self.in_it) = (window, 0);
        }
    }
}

impl Crowd {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), last_ms: Arc::default(), away: Arc::default() }
    }

    /// No moment is 0.
    pub(super) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }

    pub(super) fn seen(&self, now_ms: u64) {
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(super) fn is_there(&self, now_ms: u64) -> bool {
        let last = self.last_ms.load(Ordering::Relaxed);
        last > 0 && now_ms.saturating_sub(last) < CROWD_STAYS.as_millis() as u64
    }

    /// Somebody is told to come again.
    pub(super) fn turn_away(&self, now_ms: u64) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.go_to(now_ms / AWAY.as_millis() as u64);
        away.in_it += 1;
    }

    /// How many were told within the last [`AWAY`], if they came evenly.
    pub(super) fn turned_away(&self, now_ms: u64) -> u64 {
        let length = AWAY.as_millis() as u64;
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.go_to(now_ms / length);
        away.in_it + away.before_it * (length - now_ms % length) / length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_turned_away_counts_for_as_long_as_they_stay_away() {
        let (crowd, length) = (Crowd::new(), AWAY.as_millis() as u64);
        for at in (0..length).step_by(length as usize / 100) {
            crowd.turn_away(10 * length + at);
        }
        let all = crowd.turned_away(11 * length - 1);
        assert_eq!(all, 100);
        assert_eq!((crowd.turned_away(11 * length), crowd.turned_away(11 * length + length / 4)), (all, 3 * all / 4));
        crowd.turn_away(11 * length + length / 2);
        assert_eq!(crowd.turned_away(11 * length + length / 2), all / 2 + 1);
        assert_eq!(crowd.turned_away(20 * length), 0);
    }
}
