//! What is known at one moment, and what of it is new. Pure: news come in with the time at which they came, [notices](Notice) go out, and the
//! screen draws what is here.

use std::collections::VecDeque;
use std::time::Duration;

use vigie::exposure::{Assessment, ExposureConfiguration};
use vigie::time::Timestamp;
use vigie::tracer::{CheckReport, Event, Scanning, Status, Tracing};

use super::nearby::Device;
use super::notice::{Exposures, KeyFile, NearDevice, Notice, Started, Stopped, Summary, nearness, tracing_name};
use crate::commands::bulletin::Sheet;
use crate::commands::outcome::risk_name;
use crate::commands::standing::{List, Report};

/// Messages that are kept for the screen.
const MAX_MESSAGES: usize = 100;

/// The least time between two summaries.
const SUMMARY_PERIOD: Duration = Duration::from_secs(60);

/// Where more devices come or go at once, they are told of in one notice.
const MAX_TOLD: usize = 8;

/// What comes from the tracer, the radio's tap, the folder with key files and the servers.
#[derive(Debug)]
pub(super) enum News {
    /// The tracer tells.
    Told(Event),
    /// How it stands, and who is near, the nearest first.
    Seen(Box<Status>, Vec<Device>),
    /// What follows from the files that were checked before.
    Assessed(Box<Assessment>),
    /// How far the present file is matched, of how many keys.
    Checking { keys_done: u64, keys: u64 },
    /// Files were checked.
    Checked(Box<CheckReport>),
    /// The folder with key files cannot be read, or its files cannot be checked; `None` where they can again.
    KeysFailed(Option<String>),
    /// How key lists and reports stand.
    Corresponded { lists: Vec<List>, reports: Vec<Report> },
    /// The bulletin that holds.
    Bulletin(Box<Sheet>),
    /// The address of the servers has not given them, for this reason; it is asked again.
    ServersAbsent(String),
    /// It has.
    ServersFound,
    /// The store refused.
    StoreFailed(String),
    /// The user wants it to end.
    Stopping,
}

/// What does not change.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) started: Started,
    pub(super) scanning: Scanning,
    pub(super) exposure: ExposureConfiguration,
    /// Whether the radio has the half that hears, and the one that sends.
    pub(super) hears: bool,
    pub(super) sends: bool,
}

/// How it stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Starting,
    Tracing,
    /// The radio does not do what it should.
    Trouble,
    Paused,
    Stopping,
}

/// Key files so far.
#[derive(Debug, Default)]
pub(super) struct KeyFiles {
    pub(super) matched: u64,
    pub(super) refused: u64,
    /// Percent of the present file.
    pub(super) checking: Option<u64>,
    pub(super) problem: Option<String>,
}

/// All that can be shown.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) setup: Setup,
    pub(super) now: Timestamp,
    pub(super) status: Option<Status>,
    pub(super) devices: Vec<Device>,
    pub(super) exposures: Exposures,
    pub(super) key_files: KeyFiles,
    /// Of the servers; empty without any.
    pub(super) key_lists: Vec<List>,
    /// Those of the last 14 days, the latest last.
    pub(super) reports: Vec<Report>,
    pub(super) bulletin: Option<Sheet>,
    /// The latest last.
    pub(super) messages: VecDeque<(Timestamp, Notice)>,
    store_problem: Option<String>,
    summary_due: Timestamp,
    is_stopping: bool,
}

impl Model {
    /// The first notice says what begins.
    pub(super) fn new(setup: Setup, now: Timestamp) -> (Self, Vec<Notice>) {
        let mut notices = vec![Notice::Started(setup.started.clone())];
        notices.extend(missing_half(&setup).map(|reason| Notice::RadioFailed { reason: reason.into() }));
        let mut model = Self {
            setup,
            now,
            status: None,
            devices: Vec::new(),
            exposures: Exposures::default(),
            key_files: KeyFiles::default(),
            key_lists: Vec::new(),
            reports: Vec::new(),
            bulletin: None,
            messages: VecDeque::new(),
            store_problem: None,
            summary_due: now.after(SUMMARY_PERIOD),
            is_stopping: false,
        };
        model.remember(&notices);
        (model, notices)
    }

    /// Takes news, and gives what of it is to be told.
    pub(super) fn take(&mut self, news: News, now: Timestamp) -> Vec<Notice> {
        self.now = now;
        let notices = match news {
            News::Told(event) => Notice::of(&event, now).into_iter().collect(),
            News::Seen(status, devices) => self.see(*status, devices),
            News::Assessed(assessment) => self.assess(&assessment).into_iter().collect(),
            News::Checking { keys_done, keys } => {
                self.key_files.checking = Some(100 * keys_done / keys.max(1));
                Vec::new()
            }
            News::Checked(report) => self.check(&report),
            News::KeysFailed(reason) => self.keys_failed(reason).into_iter().collect(),
            News::Corresponded { lists, reports } => {
                (self.key_lists, self.reports) = (lists, reports);
                Vec::new()
            }
            News::Bulletin(sheet) => {
                self.bulletin = Some(*sheet);
                Vec::new()
            }
            News::ServersAbsent(reason) => vec![Notice::ServersAbsent { reason }],
            News::ServersFound => vec![Notice::ServersFound],
            News::StoreFailed(reason) => {
                let is_new = self.store_problem.as_ref() != Some(&reason);
                self.store_problem = Some(reason.clone());
                is_new.then_some(Notice::StoreFailed { reason }).into_iter().collect()
            }
            News::Stopping => {
                self.is_stopping = true;
                vec![Notice::Stopping]
            }
        };
        self.remember(&notices);
        notices
    }

    /// How it stands.
    pub(super) fn condition(&self) -> Condition {
        match &self.status {
            _ if self.is_stopping => Condition::Stopping,
            Some(status) if status.tracing == Tracing::Paused => Condition::Paused,
            _ if self.problem().is_some() => Condition::Trouble,
            Some(status) if status.tracing == Tracing::Running && (status.is_sending || status.is_listening) => {
                Condition::Tracing
            }
            // A device that only hears is silent from one scan to the next.
            Some(status) if status.tracing == Tracing::Running && !self.setup.sends => Condition::Tracing,
            _ => Condition::Starting,
        }
    }

    /// Why it does not do what it should.
    pub(super) fn problem(&self) -> Option<String> {
        let radio = self.status.as_ref().and_then(|status| status.radio_problem.as_ref()).map(Notice::because);
        radio.or_else(|| self.store_problem.clone()).or_else(|| missing_half(&self.setup).map(str::to_owned))
    }

    /// What works less well than it should.
    pub(super) fn remarks(&self) -> Vec<String> {
        let Some(status) = &self.status else { return Vec::new() };
        let mut remarks: Vec<_> = status.radio_limits.iter().map(ToString::to_string).collect();
        if self.bulletin.as_ref().is_some_and(|sheet| sheet.wants_newer_program) {
            remarks.push("there is a newer version of this program; tracing goes on with this one".into());
        }
        if !status.clock_is_trusted {
            remarks.push("the clock has leapt: for a day nothing is erased, so that a wrong clock erases nothing".into());
        }
        if status.erasure_is_pending {
            remarks.push("another program reads the store: what was erased is still on the disk until it ends".into());
        }
        remarks
    }

    /// Nearness as the health authority's buckets have it.
    pub(super) fn nearness(&self, device: &Device) -> &'static str {
        nearness(self.setup.exposure.bucket(device.attenuation_db))
    }

    /// How far back curves go: a device that listens without end has points enough for a shorter time.
    pub(super) fn curve_length(&self) -> Duration {
        match self.setup.scanning {
            Scanning::Periodic => Duration::from_secs(20 * 60),
            Scanning::Continuous => Duration::from_secs(5 * 60),
        }
    }

    /// What was kept, for the last word.
    pub(super) fn stopped(&self, status: &Status) -> Notice {
        Notice::Stopped(Stopped {
            encounters_today: status.encounters_today,
            encounters: status.encounters,
            own_keys: status.own_keys,
            store: self.setup.started.store.clone(),
        })
    }

    fn see(&mut self, status: Status, devices: Vec<Device>) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.store_problem = None;
        let limits_before = self.status.as_ref().map_or(&[][..], |before| &before.radio_limits);
        if status.radio_limits != limits_before {
            let limits = status.radio_limits.iter().map(ToString::to_string).collect();
            notices.push(Notice::RadioLimited { limits });
        }
        notices.extend(self.changed_devices(&devices));
        (self.status, self.devices) = (Some(status), devices);
        // A clock that was set back must not silence the summaries until then.
        if self.now >= self.summary_due || self.summary_due.since(self.now) > SUMMARY_PERIOD {
            self.summary_due = self.now.after(SUMMARY_PERIOD);
            notices.extend(self.summary());
        }
        notices
    }

    fn changed_devices(&self, devices: &[Device]) -> Vec<Notice> {
        let is_in = |devices: &[Device], number| devices.iter().any(|device| device.number == number);
        let appeared: Vec<_> = devices.iter().filter(|device| !is_in(&self.devices, device.number)).collect();
        let gone: Vec<_> = self.devices.iter().filter(|device| !is_in(devices, device.number)).collect();
        if appeared.len() + gone.len() > MAX_TOLD {
            return vec![Notice::DevicesChanged { appeared: appeared.len(), gone: gone.len(), near: devices.len() }];
        }
        let gone = gone.into_iter().map(|device| Notice::DeviceGone { device: device.number });
        gone.chain(appeared.into_iter().map(|device| Notice::DeviceAppeared(NearDevice::of(device, self.nearness(device)))))
            .collect()
    }

    fn assess(&mut self, assessment: &Assessment) -> Option<Notice> {
        let exposures = Exposures::from(assessment);
        let is_new = exposures != self.exposures;
        self.exposures = exposures;
        is_new.then(|| Notice::Exposures(self.exposures.clone()))
    }

    fn check(&mut self, report: &CheckReport) -> Vec<Notice> {
        let files: Vec<_> = report.files.iter().map(KeyFile::from).collect();
        for file in &files {
            match file.status {
                "matched" | "already_matched" => self.key_files.matched += 1,
                "refused" => self.key_files.refused += 1,
                _ => {}
            }
        }
        self.key_files.checking = None;
        let files = files.into_iter().map(Notice::KeyFile);
        files.chain(self.assess(&report.assessment)).collect()
    }

    fn keys_failed(&mut self, reason: Option<String>) -> Option<Notice> {
        self.key_files.checking = None;
        if self.key_files.problem == reason {
            return None;
        }
        self.key_files.problem.clone_from(&reason);
        Some(reason.map_or(Notice::KeysResumed, |reason| Notice::KeysFailed { reason }))
    }

    fn summary(&self) -> Option<Notice> {
        let status = self.status.as_ref()?;
        Some(Notice::Status(Summary {
            tracing: tracing_name(status.tracing),
            is_sending: status.is_sending,
            is_listening: status.is_listening,
            radio_problem: self.problem(),
            seconds_to_next_identifier: status.next_rotation.map(|time| time.as_secs()),
            devices: self.devices.iter().map(|device| NearDevice::of(device, self.nearness(device))).collect(),
            encounters_today: status.encounters_today,
            encounters: status.encounters,
            own_keys: status.own_keys,
            key_files_matched: self.key_files.matched,
            key_files_refused: self.key_files.refused,
            key_lists: self.key_lists.clone(),
            reports: self.reports.clone(),
            risk_level: risk_name(self.exposures.level),
        }))
    }

    /// For the screen, which shows all the time what a summary says, and exposures.
    fn remember(&mut self, notices: &[Notice]) {
        let news = notices.iter().filter(|notice| !matches!(notice, Notice::Status(_) | Notice::Exposures(_)));
        self.messages.extend(news.map(|notice| (self.now, notice.clone())));
        let surplus = self.messages.len().saturating_sub(MAX_MESSAGES);
        self.messages.drain(..surplus);
    }
}

/// Says which half of the radio this system does not have.
fn missing_half(setup: &Setup) -> Option<&'static str> {
    match (setup.hears, setup.sends) {
        (true, true) => None,
        (true, false) => Some("this system can listen but not send: others do not hear this device"),
        (false, true) => Some("this system can send but not listen: nobody is heard"),
        (false, false) => Some("this system can neither send nor listen over Bluetooth"),
    }
}
