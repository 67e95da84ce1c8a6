//! Under which service the radio sends, and which ones it hears.
//!
//! The app is built with one service; a bulletin may name another. From then on the radio sends under the new one, and hears the one before for 14
//! more days: so long there are phones around that have not seen the bulletin. It is kept in the store, so that it holds from the first moment after
//! a restart, whatever becomes of servers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::beacon::ServiceUuid;
use crate::time::Timestamp;

/// How long a service is heard that is not the present one any more.
pub(super) const HEARD_AFTERWARDS: Duration = Duration::from_secs(14 * 86_400);

/// Services that are heard beside the present one, at most: each costs the adapter a filter.
const MAX_BEFORE: usize = 3;

/// The note in the store.
pub(super) const NOTE: &str = "services";

/// What is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Services {
    /// That of the app.
    built_in: u16,
    /// Under which is sent.
    present: u16,
    /// Those before, the latest last, and until when each is heard, in milliseconds since 1970.
    before: Vec<(u16, i64)>,
}

impl Services {
    pub(super) fn new(built_in: ServiceUuid) -> Self {
        Self { built_in: built_in.0, present: built_in.0, before: Vec::new() }
    }

    /// What was kept, for an app with this service: a new version of it may have another one.
    pub(super) fn resume(kept: Option<Self>, built_in: ServiceUuid, now: Timestamp) -> Self {
        let mut services = kept.unwrap_or_else(|| Self::new(built_in));
        if services.built_in != built_in.0 {
            services.built_in = built_in.0;
            services.change(None, now);
        }
        services.forget_old(now);
        services
    }

    /// Takes what a bulletin names; where it names none, it is the app's own.
    pub(super) fn change(&mut self, named: Option<ServiceUuid>, now: Timestamp) {
        let present = named.map_or(self.built_in, |named| named.0);
        if present == self.present {
            return;
        }
        self.before.retain(|(service, _)| *service != present);
        self.before.push((self.present, now.after(HEARD_AFTERWARDS).unix_ms()));
        let surplus = self.before.len().saturating_sub(MAX_BEFORE);
        self.before.drain(..surplus);
        self.present = present;
    }

    /// Lets go what has had its time. A time that is further ahead than any can be was set by a clock that was wrong.
    pub(super) fn forget_old(&mut self, now: Timestamp) {
        let latest = now.after(HEARD_AFTERWARDS).unix_ms();
        self.before.iter_mut().for_each(|(_, until)| *until = latest.min(*until));
        self.before.retain(|(_, until)| *until > now.unix_ms());
    }

    /// Under which is sent.
    pub(super) fn sent(&self) -> ServiceUuid {
        ServiceUuid(self.present)
    }

    /// Those that are heard, the present one first.
    pub(super) fn heard(&self) -> Vec<ServiceUuid> {
        let before = self.before.iter().map(|(service, _)| *service);
        std::iter::once(self.present).chain(before).map(ServiceUuid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_605_000_000);
    const A: ServiceUuid = ServiceUuid(0xFD64);
    const B: ServiceUuid = ServiceUuid(0xFD65);
    const C: ServiceUuid = ServiceUuid(0xFD66);

    #[test]
    fn the_one_before_is_heard_for_fourteen_days_and_not_sent_under() {
        let mut services = Services::new(A);
        services.change(Some(B), NOW);
        assert_eq!((services.sent(), services.heard()), (B, vec![B, A]));
        services.change(Some(B), NOW.after(HEARD_AFTERWARDS / 2));
        services.forget_old(NOW.after(HEARD_AFTERWARDS - Duration::from_secs(1)));
        assert_eq!(services.heard(), [B, A], "the same bulletin again does not begin it anew");
        services.forget_old(NOW.after(HEARD_AFTERWARDS));
        assert_eq!(services.heard(), [B]);
    }

    #[test]
    fn there_and_back_again_both_are_heard() {
        let mut services = Services::new(A);
        services.change(Some(B), NOW);
        services.change(None, NOW);
        assert_eq!((services.sent(), services.heard()), (A, vec![A, B]));
    }

    #[test]
    fn a_new_version_of_the_app_with_another_service_hears_the_old_one_too() {
        let services = Services::resume(Some(Services::new(A)), C, NOW);
        assert_eq!((services.sent(), services.heard()), (C, vec![C, A]));
        let mut named = Services::new(A);
        named.change(Some(B), NOW);
        assert_eq!(Services::resume(Some(named.clone()), A, NOW), named, "a restart changes nothing");
    }

    #[test]
    fn many_changes_and_wrong_clocks_are_bounded() {
        let mut services = Services::new(A);
        (0..100).for_each(|number| services.change(Some(ServiceUuid(number)), NOW.after(HEARD_AFTERWARDS * 100)));
        assert_eq!(services.heard().len(), 1 + MAX_BEFORE);
        services.forget_old(NOW);
        assert_eq!(services.heard().len(), 1 + MAX_BEFORE);
        services.forget_old(NOW.after(HEARD_AFTERWARDS));
        assert_eq!(services.heard().len(), 1, "a clock that was years ahead keeps them no longer than 14 days");
    }
}
