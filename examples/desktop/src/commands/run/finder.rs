//! Finds the servers while tracing runs already: on launch day, when the address of client.json gives nothing, or nonsense, for hours.
//!
//! ```text
//! address --- client.json ---> kept beside the store, connected
//!     ^--- 503, silence, a login page: again within 30 s, then each 10 to 15 minutes, no sooner than Retry-After
//! ```

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use vigie::courier::pacer::{Pacer, Work};
use vigie::time::{Clock, SystemClock, Timestamp};
use vigie::tracer::Tracer;

use super::model::News;
use super::notice::Notice;
use crate::servers::{Absent, Address, Known, transport};

/// How often is looked whether it is to end, or the time has come.
const LOOK: Duration = Duration::from_millis(200);

/// Looks for the servers of an address.
pub(super) struct Finder {
    pub(super) tracer: Weak<Tracer>,
    pub(super) address: Address,
    pub(super) store: PathBuf,
    /// The servers are connected as they were kept: asked once, whether they have changed meanwhile.
    pub(super) has_kept: bool,
    pub(super) ends: Arc<AtomicBool>,
    pub(super) to: SyncSender<News>,
}

impl Finder {
    /// Until they are found, it is to end, or nobody wants to know.
    pub(super) fn run(self) {
        let (mut pacer, mut attempts) = (Pacer::default(), 0);
        let Ok(mut rng) = ChaCha20Rng::try_from_rng(&mut SysRng) else { return };
        loop {
            let absent = match self.ask() {
                Ok(known) => return self.connect(known),
                Err(absent) => absent,
            };
            if self.has_kept {
                // They are used as they were kept.
                return;
            }
            attempts += 1;
            let again = pacer.failed(Work::Person, attempts, absent.failure(), SystemClock.now(), &mut rng);
            if self.to.send(News::ServersAbsent(Notice::because(&absent))).is_err() || !self.rest_until(again) {
                return;
            }
        }
    }

    fn ask(&self) -> Result<Known, Absent> {
        self.address.fetch(transport().map_err(Absent::Nonsense)?)
    }

    fn connect(self, known: Known) {
        let Some(tracer) = self.tracer.upgrade() else { return };
        known.connect(&tracer, &self.store);
        drop(tracer);
        // Where nobody wants to know any more, it ends.
        let _ = self.to.send(News::ServersFound);
    }

    /// `false` where it is to end. A clock that is set back keeps it waiting no longer than it was to wait.
    fn rest_until(&self, again: Timestamp) -> bool {
        let mut left = again.since(SystemClock.now());
        while !left.is_zero() {
            if self.ends.load(Ordering::Acquire) || self.tracer.strong_count() == 0 {
                return false;
            }
            thread::sleep(left.min(LOOK));
            left = left.saturating_sub(LOOK).min(again.since(SystemClock.now()));
        }
        true
    }
}
