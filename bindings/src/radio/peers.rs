//! Which peers were connected to, and what they said: nobody is connected to twice while its answer still counts.

use std::fmt;
use std::num::NonZero;
use std::time::Duration;

use lru::LruCache;
use vigie::beacon::{Frame, Rssi};
use vigie::time::Timestamp;

/// Peers that are remembered; beyond it those go that were silent for longest.
const MAX_PEERS: NonZero<usize> = NonZero::new(4_096).expect("is not zero");

/// What a peer said over a connection counts for so long: an identifier lives for 10 minutes at least.
const EXCHANGE_PERIOD: Duration = Duration::from_secs(600);

/// A device that shows the service alone.
pub(super) struct Peer {
    /// The system's name for it.
    pub(super) name: String,
    pub(super) rssi: Rssi,
    pub(super) at: Timestamp,
}

pub(super) struct Peers(LruCache<String, Asked>);

struct Asked {
    frame: Option<Frame>,
    /// On the clock that counts sleep.
    until: Duration,
}

impl Peers {
    pub(super) fn new() -> Self {
        Self(LruCache::new(MAX_PEERS))
    }

    /// What a peer said, if it did; `None` where it is to be asked.
    pub(super) fn known(&mut self, name: &str, now: Duration) -> Option<Option<Frame>> {
        self.0.get(name).filter(|asked| now < asked.until).map(|asked| asked.frame)
    }

    /// A peer is being asked, or was.
    pub(super) fn asked(&mut self, name: &str, frame: Option<Frame>, now: Duration) {
        self.0.put(name.to_owned(), Asked { frame, until: now + EXCHANGE_PERIOD });
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("known", &self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use vigie::keys::{AssociatedEncryptedMetadata, RollingProximityIdentifier};

    use super::*;

    #[test]
    fn a_peer_is_asked_once_in_ten_minutes() {
        let (mut peers, start) = (Peers::new(), Duration::from_secs(1));
        assert_eq!(peers.known("a", start), None);
        let frame = Frame { rpi: RollingProximityIdentifier([1; 16]), aem: AssociatedEncryptedMetadata([2; 4]) };
        peers.asked("a", Some(frame), start);
        assert_eq!(peers.known("a", start + EXCHANGE_PERIOD - Duration::from_millis(1)), Some(Some(frame)));
        assert_eq!(peers.known("a", start + EXCHANGE_PERIOD), None);
        assert_eq!(peers.known("b", start), None);
    }

    #[test]
    fn those_that_come_and_go_are_forgotten() {
        let (mut peers, start) = (Peers::new(), Duration::from_secs(1));
        (0..=MAX_PEERS.get()).for_each(|number| peers.asked(&number.to_string(), None, start));
        assert_eq!(peers.known("0", start), None);
        assert_eq!(peers.known("1", start), Some(None));
    }
}
