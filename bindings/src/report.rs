//! Reports of a diagnosis, and what comes from servers.

use std::time::SystemTime;

use vigie::courier::{self, Refusal};
use vigie::time::Timestamp;

use crate::status::count;

/// What a person says of a diagnosis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, uniffi::Record)]
pub struct ReportDetails {
    /// When symptoms began, where there were any.
    #[uniffi(default = None)]
    pub symptom_onset: Option<SystemTime>,
    /// Whether the person was abroad in the last 14 days.
    #[uniffi(default = false)]
    pub traveler: bool,
}

/// A report, for an app to show.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Report {
    /// Its name on this device.
    pub id: i64,
    /// When the user made it.
    pub made_at: SystemTime,
    /// How it stands.
    pub state: ReportState,
}

/// How a report stands, for an app to show.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum ReportState {
    /// It goes as soon as there is a network.
    WaitingForNetwork,
    /// It is sent at this time, unless that is past: then it is on its way.
    WaitingUntil {
        /// When.
        at: SystemTime,
    },
    /// The clock of this device is ahead, and the server takes no keys from the future: the user should set it. It is tried again.
    SetClock {
        /// Seconds that it is ahead.
        ahead_s: i64,
    },
    /// The code was wrong, is too old, or was used up by an answer that got lost. Keys and consent are kept: ask for another code, and
    /// `Tracer::report_again`.
    NeedsNewCode,
    /// The keys are published.
    Done {
        /// How many of them the server has taken.
        keys: u32,
    },
    /// It cannot be done.
    Refused {
        /// Why.
        reason: ReportRefusal,
    },
}

/// Why a report cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum ReportRefusal {
    /// The server does not take it.
    Server {
        /// The interface's word: `invalid_test_type`, `bad_request` and so on.
        code: String,
    },
    /// Nothing was sent by this device in the last 14 days.
    NoKeys,
}

/// A key list, for an app to show.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct KeyListStatus {
    /// The address of its index.
    pub index_url: String,
    /// When its index was last seen.
    pub seen_at: Option<SystemTime>,
    /// When it is asked for next.
    pub next_poll: SystemTime,
    /// Until when the newest file reaches that was applied.
    pub newest: Option<SystemTime>,
    /// Files that are still to be fetched or applied.
    pub waiting: u32,
    /// Files that were applied.
    pub done: u32,
    /// Files that cannot be used.
    pub refused: u32,
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct SyncReport {
    /// How the key lists stand now.
    pub key_lists: Vec<KeyListStatus>,
    /// Whether it was cancelled before it had done all that was due.
    pub was_cancelled: bool,
}

/// What the network costs the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Network {
    /// Nothing is known, or nothing is to be saved.
    Free,
    /// Polls wait for another network, up to a day: for metered networks, where the user wants it.
    Quiet,
}

impl ReportDetails {
    pub(crate) fn for_core(self) -> courier::ReportDetails {
        let interval = |at: SystemTime| {
            let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Timestamp::from_unix_s(i64::try_from(since.as_secs()).unwrap_or(i64::MAX)).interval()
        };
        courier::ReportDetails { symptom_onset: self.symptom_onset.map(interval), traveler: self.traveler }
    }
}

impl From<courier::ReportStatus> for Report {
    fn from(report: courier::ReportStatus) -> Self {
        Self { id: report.id.0, made_at: report.made_at.into(), state: report.state.into() }
    }
}

impl From<courier::ReportState> for ReportState {
    fn from(state: courier::ReportState) -> Self {
        use courier::ReportState as S;
        match state {
            S::WaitingForNetwork => Self::WaitingForNetwork,
            S::WaitingUntil(at) => Self::WaitingUntil { at: at.into() },
            S::SetClock { ahead_s } => Self::SetClock { ahead_s },
            S::NeedsNewCode => Self::NeedsNewCode,
            S::Done { keys } => Self::Done { keys },
            S::Refused(Refusal::Server { code }) => Self::Refused { reason: ReportRefusal::Server { code } },
            S::Refused(Refusal::NoKeys) => Self::Refused { reason: ReportRefusal::NoKeys },
            _ => Self::Refused { reason: ReportRefusal::Server { code: "unknown".into() } },
        }
    }
}

impl From<courier::KeyListStatus> for KeyListStatus {
    fn from(list: courier::KeyListStatus) -> Self {
        Self {
            index_url: list.index_url,
            seen_at: list.seen_at.map(Into::into),
            next_poll: list.next_poll.into(),
            newest: list.newest.map(Into::into),
            waiting: count(list.waiting),
            done: count(list.done),
            refused: count(list.refused),
        }
    }
}

impl From<Network> for courier::pacer::Network {
    fn from(network: Network) -> Self {
        match network {
            Network::Free => Self::Free,
            Network::Quiet => Self::Quiet,
        }
    }
}
