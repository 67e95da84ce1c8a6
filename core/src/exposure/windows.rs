//! Exposure windows: half hours near one person, which is all that an app may see of them.
//!
//! - All packets of one key, in order of time, are cut into scan instances: a silence of more than 25.5 s ([`SCAN_GAP`]) starts a new one, and
//!   so does the 60th second ([`MAX_SCAN`], for devices that never stop listening).
//! - Scan instances are put into windows, each whole: one that ends more than 30 minutes after the window's start, or begins on
//!   another UTC day, opens the next.
//! - Revoked keys, keys of unknown report type and keys of somebody who was not infectious give no window.
//!
//! Source: Exposure Notification API, "ExposureWindow" mode, v2; release notes v1.7 for the last point. The published reference implementation
//! opens a window at the first packet 30 minutes after the last began, in the middle of a scan if need be, and it may cross midnight.

use std::time::Duration;

use super::Exposure;
use super::configuration::{ExposureConfiguration, Infectiousness};
use crate::diagnosis::ReportType;
use crate::encounters::calibration::CalibrationConfidence;
use crate::encounters::recorder::{MAX_SCAN, MAX_SECONDS_SINCE_LAST_SCAN, SCAN_GAP};
use crate::radio::MeasuredBy;
use crate::time::{Date, Timestamp};

/// No window is longer.
pub(super) const MAX_WINDOW: Duration = Duration::from_secs(30 * 60);

/// What stands in for the seconds since the last scan where there was none.
pub(super) const DEFAULT_SECONDS_SINCE_LAST_SCAN: u16 = 120;

/// The least by which two instances must overlap before the second is cut, in seconds: the length of a scan, within which a packet may come
/// early or late.
const SCAN_S: u16 = 17;

/// Up to half an hour near somebody who reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposureWindow {
    /// The UTC day.
    pub date: Date,
    /// How the diagnosis came about; never unknown or revoked.
    pub report_type: ReportType,
    /// How infectious the other person was; never none.
    pub infectiousness: Infectiousness,
    /// How sure the attenuations are: the lowest confidence among the scans.
    pub calibration_confidence: CalibrationConfidence,
    /// What was heard, in order of time, at least one.
    pub scan_instances: Vec<ScanInstance>,
}

/// What one scan heard of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanInstance {
    /// The mean of the attenuations, rounded, in dB.
    pub typical_attenuation_db: u8,
    /// The least of them, in dB.
    pub min_attenuation_db: u8,
    /// Seconds since the device scanned before, heard somebody or not; 0 to 300, 120 where it had not scanned before.
    pub seconds_since_last_scan: u16,
}

/// The windows of one exposure, in order of time. What an app gets to see is [`Assessment::windows`](super::Assessment::windows).
pub fn windows_of(exposure: &Exposure, configuration: &ExposureConfiguration) -> Vec<ExposureWindow> {
    let report_type = exposure.report_type.unwrap_or(configuration.report_type_when_missing);
    let infectiousness = configuration.infectiousness(exposure.days_since_onset);
    if matches!(report_type, ReportType::Unknown | ReportType::Revoked) || infectiousness == Infectiousness::None {
        return Vec::new();
    }
    let mut windows: Vec<ExposureWindow> = Vec::new();
    let mut window_start = Timestamp::default();
    for Heard { start, end, confidence, instance } in scan_instances(exposure) {
        match windows.last_mut().filter(|window| window.date == start.date() && end.since(window_start) <= MAX_WINDOW) {
            Some(window) => {
                window.calibration_confidence = window.calibration_confidence.min(confidence);
                window.scan_instances.push(instance);
            }
            None => {
                window_start = start;
                windows.push(ExposureWindow {
                    date: start.date(),
                    report_type,
                    infectiousness,
                    calibration_confidence: confidence,
                    scan_instances: vec![instance],
                });
            }
        }
    }
    windows
}

/// A scan instance with the time that no app gets to see.
struct Heard {
    start: Timestamp,
    end: Timestamp,
    confidence: CalibrationConfidence,
    instance: ScanInstance,
}

/// One packet of a contact.
struct Sample {
    at: Timestamp,
    attenuation: u8,
    measured_by: MeasuredBy,
    seconds_since_last_scan: Option<u16>,
    confidence: CalibrationConfidence,
}

fn scan_instances(exposure: &Exposure) -> Vec<Heard> {
    let mut samples = samples(exposure);
    samples.sort_by_key(|sample| sample.at);
    let mut heard: Vec<Heard> = Vec::new();
    let mut rest = samples.as_slice();
    while let Some(first) = rest.first() {
        let belongs = |pair: &&[Sample]| pair[1].at.since(pair[0].at) <= SCAN_GAP && pair[1].at.since(first.at) < MAX_SCAN;
        let length = 1 + rest.windows(2).take_while(belongs).count();
        let (scan, next) = rest.split_at(length);
        let before = heard.last().map(|before| first.at.since(before.start));
        heard.extend(summarize(scan, before));
        rest = next;
    }
    heard
}

fn samples(exposure: &Exposure) -> Vec<Sample> {
    let samples = exposure.contacts.iter().flat_map(|contact| {
        contact.packets.iter().map(|packet| Sample {
            at: packet.at,
            attenuation: contact.calibration.attenuation(contact.transmit_power, packet.rssi, contact.measured_by),
            measured_by: contact.measured_by,
            seconds_since_last_scan: contact.seconds_since_last_scan,
            confidence: contact.calibration.confidence_of(contact.measured_by),
        })
    });
    samples.collect()
}

/// One instance of the packets of a scan; `before` is the time since the same person's instance before it began.
fn summarize(scan: &[Sample], before: Option<Duration>) -> Option<Heard> {
    let (start, end) = (scan.first()?.at, scan.last()?.at);
    // What the peer measured helps out only where we heard nothing ourselves.
    let by = if scan.iter().any(|sample| sample.measured_by == MeasuredBy::Us) { MeasuredBy::Us } else { MeasuredBy::Peer };
    let samples: Vec<_> = scan.iter().filter(|sample| sample.measured_by == by).collect();
    let (sum, count) = samples.iter().fold((0u64, 0u64), |(sum, count), sample| (sum + u64::from(sample.attenuation), count + 1));
    let instance = ScanInstance {
        // Half up, as the reference implementation rounds.
        typical_attenuation_db: u8::try_from((2 * sum + count) / (2 * count)).unwrap_or(u8::MAX),
        min_attenuation_db: samples.iter().map(|sample| sample.attenuation).min()?,
        seconds_since_last_scan: seconds(samples.first()?, before),
    };
    Some(Heard { start, end, confidence: samples.iter().map(|sample| sample.confidence).min()?, instance })
}

/// The seconds for which an instance stands.
fn seconds(first: &Sample, before: Option<Duration>) -> u16 {
    let before = before.map_or(u16::MAX, |time| u16::try_from(time.as_secs()).unwrap_or(u16::MAX));
    let said = match first.seconds_since_last_scan {
        Some(seconds) => seconds.min(MAX_SECONDS_SINCE_LAST_SCAN),
        // When the peer scans nobody knows, but it writes after each scan.
        None if first.measured_by == MeasuredBy::Peer && before <= MAX_SECONDS_SINCE_LAST_SCAN => before,
        None => DEFAULT_SECONDS_SINCE_LAST_SCAN,
    };
    // Where the same person was heard twice within that time, by two sides or in one long scan, it must not count twice.
    if before.saturating_add(SCAN_S) < said { before } else { said }
}
