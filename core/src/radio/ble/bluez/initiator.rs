//! What the address of our connections has said of us.
//!
//! With `Privacy = device` the kernel connects from a resolvable private address that lives for 15 minutes, and changes it only when a scan begins
//! while nothing is being sent: that is, when the identifier changes, if the address is old enough then. Whoever is told two identifiers from one
//! address knows that they are one person's, so under one address at most one is told. Whether an earlier run of this program has told one is not
//! known, so at first none is. Reading what others serve says nothing of us and goes on.

use std::fs;
use std::time::Duration;

use crate::beacon::Frame;

/// The kernel's own lifetime of a resolvable private address (`HCI_DEFAULT_RPA_TIMEOUT`).
const LIFETIME: Duration = Duration::from_secs(900);

/// Timers of the kernel are not exact.
const MARGIN: Duration = Duration::from_secs(1);

/// For how long an adapter's private address lives: the kernel says so to root alone, to others it is the default.
pub(super) fn lifetime(adapter: &str) -> Duration {
    let said = fs::read_to_string(format!("/sys/kernel/debug/bluetooth/{adapter}/rpa_timeout"));
    said.ok().and_then(|text| text.trim().parse().ok()).map_or(LIFETIME, Duration::from_secs)
}

/// What was told from the present address.
#[derive(Debug, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Unknown,
    Nothing,
    Frame(Frame),
}

/// The address of our connections.
#[derive(Debug, Default)]
pub(super) struct Initiator {
    told: Told,
    /// The latest time at which it may have been taken.
    taken: Duration,
}

impl Initiator {
    /// A scan has begun while nothing was sent: the address is another one now if its time was over. `now` is the time since an arbitrary origin.
    pub(super) fn may_have_changed(&mut self, now: Duration, lifetime: Duration) {
        if now.saturating_sub(self.taken) >= lifetime.saturating_add(MARGIN) {
            self.told = Told::Nothing;
        }
        self.taken = now;
    }

    /// The frame, where it may be told from the present address; then it has been.
    pub(super) fn tell(&mut self, frame: Frame) -> Option<Frame> {
        let may_tell = self.told == Told::Nothing || self.told == Told::Frame(frame);
        may_tell.then(|| {
            self.told = Told::Frame(frame);
            frame
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_tells_one_identifier() {
        let (a, b) = (Frame::from_service_data(&[1; 20]).unwrap(), Frame::from_service_data(&[2; 20]).unwrap());
        let s = Duration::from_secs;
        let mut initiator = Initiator::default();
        assert_eq!(initiator.tell(a), None, "what was told before the start is not known");
        initiator.may_have_changed(s(850), LIFETIME);
        assert_eq!(initiator.tell(a), None, "it may be the same address");
        initiator.may_have_changed(s(1_751), LIFETIME);
        assert_eq!((initiator.tell(a), initiator.tell(a), initiator.tell(b)), (Some(a), Some(a), None));
        initiator.may_have_changed(s(2_600), LIFETIME);
        assert_eq!(initiator.tell(b), None, "it may still be the address that told another one");
        initiator.may_have_changed(s(3_501), LIFETIME);
        assert_eq!(initiator.tell(b), Some(b));
    }
}
