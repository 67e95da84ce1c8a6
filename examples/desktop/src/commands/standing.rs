//! How reports and key lists stand, and what servers told, in words and for machines. No key, code, token or operation is in any.

use std::fmt;

use anstyle::Style;
use serde::Serialize;
use vigie::courier::{KeyListStatus, News, Refusal, ReportState, ReportStatus};
use vigie::time::Timestamp;

use super::keys::count;
use crate::output::{BAD, CAUTION, GOOD, shown};

/// Characters of an address or a name from a server that are shown.
const LONGEST: usize = 200;

/// A report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    made_at: String,
    pub(super) state: &'static str,
    until: Option<String>,
    keys: Option<u32>,
    ahead_s: Option<i64>,
    reason: Option<String>,
    #[serde(skip)]
    words: String,
    #[serde(skip)]
    pub(super) style: Style,
}

impl Report {
    pub(super) fn of(report: &ReportStatus, now: Timestamp) -> Self {
        Self::new(report.made_at, &report.state, now)
    }

    pub(super) fn new(made_at: Timestamp, state: &ReportState, now: Timestamp) -> Self {
        let (name, style, words) = words(state, now);
        let mut report =
            Self { made_at: second(made_at), state: name, until: None, keys: None, ahead_s: None, reason: None, words, style };
        match state {
            ReportState::WaitingUntil(at) => report.until = Some(second(*at)),
            ReportState::Done { keys } => report.keys = Some(*keys),
            ReportState::SetClock { ahead_s } => report.ahead_s = Some(*ahead_s),
            ReportState::Refused(Refusal::NoKeys) => report.reason = Some("no_keys".to_owned()),
            ReportState::Refused(Refusal::Server { code }) => report.reason = Some(shown(code, LONGEST)),
            _ => {}
        }
        report
    }

    /// With the time at which it was made.
    pub(super) fn dated(&self) -> String {
        format!("report of {}: {self}", self.made_at)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// The name of a state, its style, and what it means.
fn words(state: &ReportState, now: Timestamp) -> (&'static str, Style, String) {
    match state {
        ReportState::WaitingForNetwork => ("waiting_for_network", CAUTION, "waits for a network".to_owned()),
        ReportState::WaitingUntil(at) if *at > now => ("waiting", CAUTION, format!("waits until {}", second(*at))),
        ReportState::WaitingUntil(_) => ("waiting", CAUTION, "is on its way".to_owned()),
        ReportState::SetClock { ahead_s } => {
            let clock = clock(*ahead_s);
            ("waiting_for_clock", CAUTION, format!("waits for the clock of this computer, which is {clock}: set it"))
        }
        ReportState::NeedsNewCode => {
            ("needs_new_code", BAD, "needs another code: this one is wrong, too old or used up; the keys are kept".to_owned())
        }
        ReportState::Done { keys } => ("published", GOOD, format!("published, {} taken", count(*keys as usize))),
        ReportState::Refused(Refusal::NoKeys) => {
            ("refused", BAD, "refused: this device has sent nothing in the last 14 days that could be published".to_owned())
        }
        ReportState::Refused(Refusal::Server { code }) => {
            ("refused", BAD, format!("refused by the server: {}", shown(code, LONGEST)))
        }
        _ => ("unknown", CAUTION, "stands in a way that this program does not know".to_owned()),
    }
}

/// Whether a report is neither through nor in need of a person.
pub(super) fn is_waiting(report: &ReportStatus) -> bool {
    report.is_open() && report.state != ReportState::NeedsNewCode
}

/// A key list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct List {
    pub(super) index_url: String,
    #[serde(serialize_with = "as_seconds")]
    pub(super) seen_at: Option<Timestamp>,
    #[serde(serialize_with = "as_seconds")]
    pub(super) next_poll: Option<Timestamp>,
    #[serde(serialize_with = "as_seconds")]
    pub(super) server_asks_for: Option<Timestamp>,
    #[serde(serialize_with = "as_seconds")]
    pub(super) newest: Option<Timestamp>,
    pub(super) applied: usize,
    pub(super) refused: usize,
    pub(super) waiting: usize,
}

impl List {
    /// One that was never asked for.
    pub(super) fn unseen(index_url: &str) -> Self {
        let index_url = shown(index_url, LONGEST);
        Self {
            index_url,
            seen_at: None,
            next_poll: None,
            server_asks_for: None,
            newest: None,
            applied: 0,
            refused: 0,
            waiting: 0,
        }
    }
}

impl From<&KeyListStatus> for List {
    fn from(list: &KeyListStatus) -> Self {
        Self {
            index_url: shown(&list.index_url, LONGEST),
            seen_at: list.seen_at,
            next_poll: Some(list.next_poll),
            server_asks_for: list.server_asks_for,
            newest: list.newest,
            applied: list.done,
            refused: list.refused,
            waiting: list.waiting,
        }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { applied, refused, waiting, .. } = self;
        match self.seen_at {
            Some(at) => write!(f, "seen {}; {applied} files applied, {refused} refused, {waiting} waiting", second(at))?,
            None => f.write_str("not seen yet")?,
        }
        if let Some(newest) = self.newest {
            write!(f, "; the newest is of {}", second(newest))?;
        }
        self.next_poll.map_or(Ok(()), |at| write!(f, "; asked for again {}", second(at)))
    }
}

/// What an answer of a server brought, beside key files.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Told {
    /// A report stands otherwise than before.
    ReportChanged(Report),
    /// Somebody has taken files away.
    KeyListLostFiles { index_url: String, files: usize },
    /// Nothing has come for more than a day.
    KeyListIsStale { index_url: String, newest: String },
    /// The others are not affected.
    ListedFileRefused { index_url: String, file: String },
    /// There is a new bulletin.
    Bulletin { serial: u64 },
    /// What came in its place cannot be it; the one before stays.
    BulletinRefused { reason: String },
    /// This computer's clock, or the server's, is wrong.
    ServerClockDiffers { ahead_s: i64 },
}

impl Told {
    /// `None` for what this program does not know.
    pub(super) fn of(news: &News, now: Timestamp) -> Option<Self> {
        let url = |index_url: &String| shown(index_url, LONGEST);
        Some(match news {
            News::Report(report) => Self::ReportChanged(Report::of(report, now)),
            News::ListLostFiles { index_url, files } => Self::KeyListLostFiles { index_url: url(index_url), files: *files },
            News::ListIsStale { index_url, newest } => {
                Self::KeyListIsStale { index_url: url(index_url), newest: second(*newest) }
            }
            News::FileRefused { index_url, path } => {
                Self::ListedFileRefused { index_url: url(index_url), file: shown(path, LONGEST) }
            }
            News::Bulletin { serial } => Self::Bulletin { serial: *serial },
            News::BulletinRefused { reason } => Self::BulletinRefused { reason: shown(&reason.to_string(), LONGEST) },
            News::ClockDiffers { ahead_s } => Self::ServerClockDiffers { ahead_s: *ahead_s },
            _ => return None,
        })
    }

    pub(super) fn style(&self) -> Style {
        match self {
            Self::ReportChanged(report) => report.style,
            Self::ListedFileRefused { .. } | Self::BulletinRefused { .. } => BAD,
            Self::Bulletin { .. } => GOOD,
            Self::KeyListLostFiles { .. } | Self::KeyListIsStale { .. } | Self::ServerClockDiffers { .. } => CAUTION,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReportChanged(report) => write!(f, "report: {report}"),
            Self::KeyListLostFiles { index_url, files } => {
                write!(f, "{index_url}: {files} files have gone from it before their time")
            }
            Self::KeyListIsStale { index_url, newest } => {
                write!(f, "{index_url}: its newest file is of {newest}; its server has stopped, or somebody holds it back")
            }
            Self::ListedFileRefused { index_url, file } => write!(f, "{index_url}: {file} cannot be used"),
            Self::Bulletin { serial } => write!(f, "bulletin {serial} has come"),
            Self::BulletinRefused { reason } => write!(f, "what came as a bulletin is refused: {reason}"),
            Self::ServerClockDiffers { ahead_s } => {
                write!(f, "by a server's clock, that of this computer is {}; set whichever is wrong", clock(*ahead_s))
            }
        }
    }
}

/// `7 minutes ahead`.
fn clock(ahead_s: i64) -> String {
    let minutes = ahead_s.unsigned_abs().div_ceil(60);
    format!("about {minutes} minutes {}", if ahead_s < 0 { "behind" } else { "ahead" })
}

fn as_seconds<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(second).serialize(serializer)
}

/// Nobody wants to read milliseconds.
pub(in crate::commands) fn second(at: Timestamp) -> String {
    Timestamp::from_unix_s(at.unix_s()).to_string()
}

#[cfg(test)]
mod tests {
    use vigie::courier::bulletin::BulletinError;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_603_364_400_250);

    #[test]
    fn each_state_has_its_word_for_machines_and_says_to_people_what_is_missing() {
        let later = Timestamp::from_unix_s(1_603_364_460);
        for (state, name, part) in [
            (ReportState::WaitingForNetwork, "waiting_for_network", "waits for a network"),
            (ReportState::WaitingUntil(later), "waiting", "waits until 2020-10-22T11:01:00Z"),
            (ReportState::WaitingUntil(NOW), "waiting", "is on its way"),
            (ReportState::SetClock { ahead_s: 3_601 }, "waiting_for_clock", "about 61 minutes ahead: set it"),
            (ReportState::NeedsNewCode, "needs_new_code", "needs another code"),
            (ReportState::Done { keys: 1 }, "published", "published, 1 key taken"),
            (ReportState::Refused(Refusal::NoKeys), "refused", "has sent nothing"),
            (ReportState::Refused(Refusal::Server { code: "bad\u{1b}[2J".into() }), "refused", "by the server: bad\\u{1b}[2J"),
        ] {
            let report = Report::new(NOW, &state, NOW);
            assert_eq!(report.state, name);
            assert!(report.dated().starts_with("report of 2020-10-22T11:00:00Z: ") && report.dated().contains(part), "{report}");
        }
        let json = serde_json::to_value(Report::new(NOW, &ReportState::WaitingUntil(later), NOW)).unwrap();
        let expected = serde_json::json!({
            "made_at": "2020-10-22T11:00:00Z", "state": "waiting", "until": "2020-10-22T11:01:00Z",
            "keys": null, "ahead_s": null, "reason": null,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_a_server_names_drives_no_terminal_and_what_it_tells_has_a_next_step_or_a_cause() {
        let index_url = "https://keys.example/\u{1b}]0;x".to_owned();
        for (news, part) in [
            (News::ListLostFiles { index_url: index_url.clone(), files: 2 }, "2 files have gone"),
            (
                News::ListIsStale { index_url: index_url.clone(), newest: NOW },
                "its server has stopped, or somebody holds it back",
            ),
            (News::FileRefused { index_url, path: "a\u{7}.zip".into() }, "a\\u{7}.zip cannot be used"),
            (News::Bulletin { serial: 7 }, "bulletin 7 has come"),
            (News::BulletinRefused { reason: BulletinError::Unsigned }, "refused: it is not signed"),
            (News::ClockDiffers { ahead_s: -600 }, "about 10 minutes behind; set whichever is wrong"),
        ] {
            let told = Told::of(&news, NOW).unwrap().to_string();
            assert!(told.contains(part) && !told.contains(char::is_control), "{told}");
        }
    }
}
