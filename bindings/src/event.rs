//! What an app is told.

use vigie::courier::News;

use crate::check::Alert;
use crate::radio::RadioProblem;
use crate::report::Report;
use crate::status::{Tracing, count};
use crate::waitlist::SignUp;

/// A part of the library that works in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Task {
    /// Radio and store.
    Tracing,
    /// Servers.
    Correspondence,
}

/// Something an app may want to show or to act upon. An app that takes none loses the oldest of more than 1,000; status and alerts still say all that matters.
#[derive(Debug, Clone, PartialEq, uniffi::Enum)]
pub enum Event {
    /// Tracing was started or stopped.
    TracingChanged {
        /// How it is now.
        tracing: Tracing,
    },
    /// Identifier and device address have changed.
    Rotated {
        /// Whether the key is a new one.
        is_new_key: bool,
    },
    /// The radio has failed, or another cause has come; tracing goes on trying.
    RadioFailed {
        /// Why.
        problem: RadioProblem,
    },
    /// The radio works again.
    RadioResumed,
    /// The wall clock did not go as time did, or the device was off for more than a day. Identifiers are changed; where it is another hour now, nothing is
    /// erased for a day.
    ClockJumped {
        /// Seconds by which it is ahead of what was expected; negative where it is behind.
        ahead_s: i64,
    },
    /// An exposure calls for a warning. Raised once for one exposure; `Tracer::alerts` keeps it.
    AlertRaised {
        /// The warning.
        alert: Alert,
    },
    /// The diagnosis behind an alert was withdrawn, or other parameters weigh it less.
    AlertWithdrawn {
        /// The warning.
        alert: Alert,
    },
    /// The store was damaged and was begun anew, with what could be salvaged.
    StoreRecovered {
        /// Own keys that were salvaged.
        own_keys: u32,
        /// Alerts that were salvaged.
        alerts: u32,
    },
    /// The key vault has lost its key: own keys, and what was on its way to servers, were sealed with it and are gone. Tracing goes on with new keys;
    /// encounters and alerts are kept.
    KeysLost,
    /// A report stands otherwise than before.
    ReportChanged {
        /// The report.
        report: Report,
    },
    /// A sign-up for the waiting list stands otherwise than before.
    SignUpChanged {
        /// The sign-up.
        sign_up: SignUp,
    },
    /// A receipt was given that does not vouch for a sign-up. It is not believed, and tried again. Told once.
    ReceiptNotBelieved {
        /// The sign-up.
        id: i64,
    },
    /// There is a new bulletin.
    BulletinChanged {
        /// Its serial number.
        serial: u64,
    },
    /// What came in the place of a bulletin is refused; the one that was kept stays.
    BulletinRefused,
    /// A server has taken away key files, its newest one is more than a day old, or one cannot be used. The others are not affected.
    KeyListSuspicious {
        /// The address of its index.
        index_url: String,
    },
    /// The clock of this device differs from a server's. It is never set by this, and no key changes its day.
    ClockDiffers {
        /// Seconds that this device is ahead; negative where it is behind.
        ahead_s: i64,
    },
    /// Everything was erased.
    Erased,
    /// A part of the library failed in a way that nobody thought of, and was started again. Worth a report to its authors.
    Restarted {
        /// Which part.
        task: Task,
    },
    /// Something that this version has no word for.
    Other,
}

impl From<vigie::tracer::Event> for Event {
    fn from(event: vigie::tracer::Event) -> Self {
        use vigie::tracer::Event as E;
        match event {
            E::TracingChanged(tracing) => Self::TracingChanged { tracing: tracing.into() },
            E::Rotated { is_new_key } => Self::Rotated { is_new_key },
            E::RadioFailed(problem) => Self::RadioFailed { problem: (&problem).into() },
            E::RadioResumed => Self::RadioResumed,
            E::ClockJumped(jump) => Self::ClockJumped { ahead_s: jump.found.unix_s().saturating_sub(jump.expected.unix_s()) },
            E::AlertRaised(alert) => Self::AlertRaised { alert: alert.into() },
            E::AlertWithdrawn(alert) => Self::AlertWithdrawn { alert: alert.into() },
            E::StoreRecovered { own_keys, alerts } => Self::StoreRecovered { own_keys: count(own_keys), alerts: count(alerts) },
            E::KeysLost => Self::KeysLost,
            E::Courier(news) => news.into(),
            E::Erased => Self::Erased,
            E::Restarted(task) => Self::Restarted { task: task.into() },
            _ => Self::Other,
        }
    }
}

impl From<News> for Event {
    fn from(news: News) -> Self {
        match news {
            News::Report(report) => Self::ReportChanged { report: report.into() },
            News::SignUp(sign_up) => Self::SignUpChanged { sign_up: sign_up.into() },
            News::ReceiptNotBelieved { id } => Self::ReceiptNotBelieved { id: id.0 },
            News::Bulletin { serial } => Self::BulletinChanged { serial },
            News::BulletinRefused { .. } => Self::BulletinRefused,
            News::ListLostFiles { index_url, .. } | News::ListIsStale { index_url, .. } | News::FileRefused { index_url, .. } => {
                Self::KeyListSuspicious { index_url }
            }
            News::ClockDiffers { ahead_s } => Self::ClockDiffers { ahead_s },
            _ => Self::Other,
        }
    }
}

impl From<vigie::tracer::Task> for Task {
    fn from(task: vigie::tracer::Task) -> Self {
        match task {
            vigie::tracer::Task::Tracing => Self::Tracing,
            vigie::tracer::Task::Correspondence => Self::Correspondence,
        }
    }
}
