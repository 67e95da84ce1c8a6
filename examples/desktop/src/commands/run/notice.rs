//! What is told as it happens: a line for people (`Display`), an object for machines (`Serialize`). No identifier, key or address is in any.

use std::fmt;

use anstyle::Style;
use serde::Serialize;
use vigie::exposure::{Assessment, RiskLevel};
use vigie::time::Timestamp;
use vigie::tracer::{Event, FileReport, Tracing};

use super::nearby::Device;
use crate::commands::outcome::{Cause, advice, outcome, risk_name, status};
use crate::commands::standing::{List, Report, Told};
use crate::output::{BAD, CAUTION, GOOD, QUIET, shown};

/// Characters of a reason or a name from outside that are shown.
const LONGEST: usize = 200;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Notice {
    /// It begins.
    Started(Started),
    /// The user began, paused or ended tracing.
    TracingChanged { tracing: &'static str },
    /// Identifier and address are new.
    IdentifierChanged { is_new_key: bool },
    /// The radio does not do what it should.
    RadioFailed { reason: String },
    /// It does again.
    RadioResumed,
    /// What the radio does less well than it should has changed.
    RadioLimited { limits: Vec<String> },
    /// Somebody is near.
    DeviceAppeared(NearDevice),
    /// Somebody was not heard for a while.
    DeviceGone { device: u64 },
    /// Many came or went at once.
    DevicesChanged { appeared: usize, gone: usize, near: usize },
    /// The wall clock was set.
    ClockJumped { expected: String, found: String },
    /// A key file was checked.
    KeyFile(KeyFile),
    /// The folder with key files, or its files, cannot be read.
    KeysFailed { reason: String },
    /// They can be read again.
    KeysResumed,
    /// What follows from all files so far has changed.
    Exposures(Exposures),
    /// Somebody is to be warned.
    AlertRaised { date: String, risk_level: &'static str },
    /// No more.
    AlertWithdrawn { date: String },
    /// The store was damaged, and begun anew.
    StoreRecovered { own_keys: usize, alerts: usize },
    /// The store refused something; it is tried again.
    StoreFailed { reason: String },
    /// The address of the servers does not give them yet.
    ServersAbsent { reason: String },
    /// It has given them.
    ServersFound,
    /// How it stands.
    Status(Summary),
    /// It is about to end.
    Stopping,
    /// All is written.
    Stopped(Stopped),
    /// A server told.
    #[serde(untagged)]
    Server(Told),
}

/// What is being done, with what.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Started {
    pub(super) version: &'static str,
    pub(super) adapter: Option<String>,
    pub(super) advertise_adapter: Option<String>,
    pub(super) service_uuid: String,
    pub(super) is_connectable: bool,
    pub(super) is_continuous: bool,
    pub(super) store: String,
    pub(super) keys: Option<String>,
    pub(super) server: Option<String>,
}

/// A device by its running number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct NearDevice {
    pub(super) device: u64,
    pub(super) nearness: &'static str,
    pub(super) attenuation_db: u8,
    pub(super) rssi_dbm: i8,
}

impl NearDevice {
    pub(super) fn of(device: &Device, nearness: &'static str) -> Self {
        let Device { number, attenuation_db, rssi_dbm, .. } = *device;
        Self { device: number, nearness, attenuation_db, rssi_dbm }
    }
}

/// What became of a key file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct KeyFile {
    file: String,
    pub(super) status: &'static str,
    keys: u64,
    reason: Option<String>,
    #[serde(skip)]
    words: String,
    #[serde(skip)]
    style: Style,
}

impl From<&FileReport> for KeyFile {
    fn from(report: &FileReport) -> Self {
        let name = report.path.file_name().unwrap_or_default().to_string_lossy();
        let (style, word, rest) = outcome(report);
        let (status, reason) = status(report);
        Self { file: shown(&name, LONGEST), status, keys: report.keys, reason, words: format!("{word}{rest}"), style }
    }
}

/// The risk, and each day that made it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Exposures {
    #[serde(rename = "risk_level", serialize_with = "as_name")]
    pub(super) level: RiskLevel,
    pub(super) days: Vec<ExposedDay>,
}

impl Default for Exposures {
    fn default() -> Self {
        Self { level: RiskLevel::None, days: Vec::new() }
    }
}

/// A day on which something counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ExposedDay {
    pub(super) date: String,
    pub(super) risk_level: &'static str,
    pub(super) minutes: u64,
    pub(super) nearness: &'static str,
    pub(super) explanation: String,
    pub(super) cause: Cause,
}

impl From<&Assessment> for Exposures {
    fn from(assessment: &Assessment) -> Self {
        let day = |(summary, explained): (_, &vigie::exposure::DayExplanation)| ExposedDay {
            date: explained.date.to_string(),
            risk_level: risk_name(explained.level),
            minutes: explained.minutes(),
            nearness: nearness(explained.nearness()),
            explanation: explained.to_string(),
            cause: Cause::of(summary, assessment),
        };
        Self { level: assessment.risk_level, days: assessment.days.iter().zip(&assessment.explanation).map(day).collect() }
    }
}

/// How it stands, once a minute.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) tracing: &'static str,
    pub(super) is_sending: bool,
    pub(super) is_listening: bool,
    pub(super) radio_problem: Option<String>,
    pub(super) seconds_to_next_identifier: Option<u64>,
    pub(super) devices: Vec<NearDevice>,
    pub(super) encounters_today: u64,
    pub(super) encounters: u64,
    pub(super) own_keys: usize,
    pub(super) key_files_matched: u64,
    pub(super) key_files_refused: u64,
    pub(super) key_lists: Vec<List>,
    pub(super) reports: Vec<Report>,
    pub(super) risk_level: &'static str,
}

/// What was kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Stopped {
    pub(super) encounters_today: u64,
    pub(super) encounters: u64,
    pub(super) own_keys: usize,
    pub(super) store: String,
}

impl Notice {
    /// Reasons and names may come from outside.
    pub(super) fn because(reason: impl fmt::Display) -> String {
        shown(&reason.to_string(), LONGEST)
    }

    /// What the tracer tells; `None` for what is shown in another way.
    pub(super) fn of(event: &Event, now: Timestamp) -> Option<Self> {
        Some(match event {
            Event::TracingChanged(tracing) => Self::TracingChanged { tracing: tracing_name(*tracing) },
            Event::Rotated { is_new_key } => Self::IdentifierChanged { is_new_key: *is_new_key },
            Event::RadioFailed(error) => Self::RadioFailed { reason: Self::because(error) },
            Event::RadioResumed => Self::RadioResumed,
            Event::ClockJumped(jump) => Self::ClockJumped { expected: jump.expected.to_string(), found: jump.found.to_string() },
            Event::AlertRaised(alert) => Self::AlertRaised { date: alert.date.to_string(), risk_level: risk_name(alert.level) },
            Event::AlertWithdrawn(alert) => Self::AlertWithdrawn { date: alert.date.to_string() },
            Event::StoreRecovered { own_keys, alerts } => Self::StoreRecovered { own_keys: *own_keys, alerts: *alerts },
            Event::Courier(news) => Self::Server(Told::of(news, now)?),
            _ => return None,
        })
    }

    /// How it looks where there are colours.
    pub(super) fn style(&self) -> Style {
        match self {
            Self::RadioFailed { .. } | Self::AlertRaised { .. } | Self::StoreFailed { .. } | Self::KeysFailed { .. } => BAD,
            Self::RadioLimited { limits } if !limits.is_empty() => CAUTION,
            Self::ClockJumped { .. } | Self::StoreRecovered { .. } | Self::ServersAbsent { .. } => CAUTION,
            Self::ServersFound | Self::RadioResumed | Self::KeysResumed | Self::AlertWithdrawn { .. } => GOOD,
            Self::KeyFile(file) => file.style,
            Self::Server(told) => told.style(),
            Self::Exposures(exposures) => advice(exposures.level).0,
            Self::IdentifierChanged { .. } | Self::Status(_) => QUIET,
            _ => Style::new(),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(started) => started.fmt(f),
            Self::TracingChanged { tracing } => write!(f, "tracing: {tracing}"),
            Self::IdentifierChanged { is_new_key: false } => f.write_str("identifier and address have changed"),
            Self::IdentifierChanged { is_new_key: true } => f.write_str("identifier and address have changed, with a new key"),
            Self::RadioFailed { reason } => write!(f, "radio: {reason}"),
            Self::RadioResumed => f.write_str("radio: works again"),
            Self::RadioLimited { limits } if limits.is_empty() => f.write_str("radio: has no limits any more"),
            Self::RadioLimited { limits } => write!(f, "radio: {}", limits.join("; ")),
            Self::DeviceAppeared(device) => device.fmt(f),
            Self::DeviceGone { device } => write!(f, "device {device} is gone"),
            Self::DevicesChanged { appeared, gone, near } => {
                write!(f, "{appeared} devices have come and {gone} have gone, {near} are near")
            }
            Self::ClockJumped { expected, found } => write!(f, "the clock was set: it shows {found} instead of {expected}"),
            Self::KeyFile(file) => write!(f, "{}: {}", file.file, file.words),
            Self::KeysFailed { reason } => write!(f, "key files: {reason}"),
            Self::KeysResumed => f.write_str("key files: can be read again"),
            Self::Exposures(exposures) => exposures.fmt(f),
            Self::AlertRaised { date, risk_level } => write!(f, "warning: risk {risk_level} for {date}"),
            Self::AlertWithdrawn { date } => write!(f, "the warning for {date} is withdrawn"),
            Self::StoreRecovered { own_keys, alerts } => write!(
                f,
                "the store was damaged and begun anew; {own_keys} own keys and {alerts} alerts were saved, what was heard is lost"
            ),
            Self::StoreFailed { reason } => write!(f, "store: {reason}; tried again"),
            Self::ServersAbsent { reason } => {
                write!(f, "servers: {reason}; tracing does not need them, and they are asked again")
            }
            Self::ServersFound => f.write_str("servers: found"),
            Self::Status(summary) => summary.fmt(f),
            Self::Stopping => f.write_str("stopping: what was heard is being written"),
            Self::Stopped(stopped) => stopped.fmt(f),
            Self::Server(told) => told.fmt(f),
        }
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let adapter = self.adapter.as_deref().unwrap_or("the first adapter");
        write!(f, "starting on {adapter}")?;
        if let Some(other) = &self.advertise_adapter {
            write!(f, ", sending on {other}")?;
        }
        let duty = if self.is_continuous { "without end" } else { "for 4 s every 3.5 to 5 minutes" };
        write!(f, ", service {}; listens {duty}; keeps encounters in {}", self.service_uuid, self.store)?;
        match (&self.keys, &self.server) {
            (None, None) => return f.write_str("; checks no key files"),
            (Some(keys), _) => write!(f, "; checks the key files in {keys}")?,
            (None, Some(_)) => {}
        }
        self.server.as_ref().map_or(Ok(()), |server| write!(f, "; talks to the servers of {}", shown(server, LONGEST)))
    }
}

impl fmt::Display for NearDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {}: {}, {} dB ({} dBm)", self.device, self.nearness, self.attenuation_db, self.rssi_dbm)
    }
}

impl fmt::Display for Exposures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "risk: {}", risk_name(self.level))?;
        for day in &self.days {
            write!(f, "; {} ({})", day.explanation.trim_end_matches('.'), day.cause)?;
        }
        write!(f, "; next: {}", advice(self.level).1)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.tracing, if self.is_sending { "sends" } else { "does not send" })?;
        if let Some(problem) = &self.radio_problem {
            write!(f, " ({problem})")?;
        }
        write!(f, "; {} near", self.devices.len())?;
        if let Some(nearest) = self.devices.first() {
            write!(f, ", the nearest {} at {} dB", nearest.nearness, nearest.attenuation_db)?;
        }
        write!(f, "; {} encounters today; risk {}", self.encounters_today, self.risk_level)
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { encounters_today, encounters, store, .. } = self;
        write!(f, "stopped: {encounters_today} encounters of today and {encounters} in all are kept in {store}")
    }
}

/// What the user asked for, in a word.
pub(super) fn tracing_name(tracing: Tracing) -> &'static str {
    match tracing {
        Tracing::Stopped => "stopped",
        Tracing::Running => "running",
        Tracing::Paused => "paused",
    }
}

/// The name of a bucket of attenuation.
pub(super) fn nearness(bucket: usize) -> &'static str {
    ["immediate", "near", "medium"].get(bucket).copied().unwrap_or("far")
}

fn as_name<S: serde::Serializer>(level: &RiskLevel, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(risk_name(*level))
}
