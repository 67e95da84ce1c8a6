//! Advertisements in HCI events.
//!
//! ```text
//! event:            0x3E (LE Meta), length (1), subevent (1), number of reports (1), reports
//! LE Advertising Report (0x02), each report:
//! offset  length  meaning
//! 0       1       kind
//! 1       7       address type, address
//! 8       1       length n of the data
//! 9       n       data
//! 9 + n   1       RSSI, i8, dBm; 127: not available
//! LE Extended Advertising Report (0x0D), each report:
//! 0       2       kind; bit 3 scan response, bits 5..6 status: 0 complete, 1 more to come, 2 the rest is lost
//! 2       7       address type, address
//! 9       2       primary and secondary PHY
//! 11      1       advertising SID
//! 12      1       transmit power
//! 13      1       RSSI
//! 14      9       interval, direct address type, direct address
//! 23      1       length n of the data
//! 24      n       data
//! ```
//!
//! Source: Core Specification v5.4, vol 4, part E, 7.7.65.2 and 7.7.65.13. The crate bt-hci parses them.

use std::borrow::Cow;
use std::collections::VecDeque;

use bt_hci::FromHciBytes;
use bt_hci::event::le::{LeAdvertisingReport, LeEventKind, LeEventPacket, LeExtendedAdvertisingReport};
use bt_hci::event::{EventKind, EventPacket};
use bt_hci::param::{AddrKind, BdAddr, LeExtAdvDataStatus, LeExtAdvReport, LeExtAdvReports};
use vigie::beacon::{Frame, MAX_ADVERTISING_DATA, ServiceUuid};
use vigie::radio::{MeasuredBy, Rssi, Sighting};
use vigie::time::Timestamp;

use super::CaptureStats;

/// Advertisements in parts that may wait for their rest at one time. Controllers join far fewer; the oldest gives way.
const MAX_CHAINS: usize = 32;

/// Bytes of an extended report before its data.
const EXTENDED_REPORT_HEAD: usize = 24;

/// Finds the frames in events.
pub(super) struct Advertisements {
    service: ServiceUuid,
    chains: Vec<Chain>,
}

/// An extended advertisement of which more is to come.
struct Chain {
    set: (AddrKind, BdAddr, u8, bool),
    data: Vec<u8>,
}

/// The event is not what HCI allows.
struct Malformed;

impl From<bt_hci::FromHciBytesError> for Malformed {
    fn from(_: bt_hci::FromHciBytesError) -> Self {
        Self
    }
}

impl Advertisements {
    pub(super) fn new(service: ServiceUuid) -> Self {
        Self { service, chains: Vec::new() }
    }

    /// Adds the frames in one event to `found`.
    pub(super) fn take(&mut self, event: &[u8], at: Timestamp, found: &mut VecDeque<Sighting>, stats: &mut CaptureStats) {
        if self.try_take(event, at, found, stats).is_err() {
            stats.skipped.malformed_records += 1;
        }
    }

    /// To be called after the last event: what waits for its rest waits in vain.
    pub(super) fn end(&mut self, stats: &mut CaptureStats) {
        for _ in self.chains.drain(..) {
            lose(stats);
        }
    }

    fn try_take(
        &mut self,
        event: &[u8],
        at: Timestamp,
        found: &mut VecDeque<Sighting>,
        stats: &mut CaptureStats,
    ) -> Result<(), Malformed> {
        let (event, _) = EventPacket::from_hci_bytes(event)?;
        let le = (event.kind == EventKind::Le).then(|| LeEventPacket::from_hci_bytes(event.data));
        match le {
            Some(Ok((LeEventPacket { kind: LeEventKind::LeAdvertisingReport, data }, _))) => {
                for report in LeAdvertisingReport::from_hci_bytes(data)?.0.reports.iter() {
                    let report = report?;
                    found.extend(self.frame(report.data, report.rssi, at, stats));
                }
            }
            Some(Ok((LeEventPacket { kind: LeEventKind::LeExtendedAdvertisingReport, data }, _))) => {
                let (event, _) = LeExtendedAdvertisingReport::from_hci_bytes(data)?;
                check_lengths(&event.reports)?;
                for report in event.reports.iter() {
                    let report = report?;
                    if let Some(data) = self.join(&report, stats) {
                        found.extend(self.frame(&data, report.rssi, at, stats));
                    }
                }
            }
            _ => stats.skipped.other_records += 1,
        }
        Ok(())
    }

    /// The frame in a whole advertisement.
    fn frame(&self, data: &[u8], rssi: i8, at: Timestamp, stats: &mut CaptureStats) -> Option<Sighting> {
        stats.advertisements += 1;
        let rssi = Rssi(rssi);
        let reason = match Frame::from_advertisement(data, self.service) {
            Ok(Some(frame)) if rssi.is_valid() => {
                stats.frames += 1;
                return Some(Sighting { frame, rssi, measured_by: MeasuredBy::Us, at });
            }
            Ok(Some(_)) => &mut stats.skipped.without_rssi,
            Ok(None) => &mut stats.skipped.other_advertisements,
            Err(_) => &mut stats.skipped.malformed_advertisements,
        };
        *reason += 1;
        None
    }

    /// The data of an advertisement, once its last part is there.
    fn join<'a>(&mut self, report: &LeExtAdvReport<'a>, stats: &mut CaptureStats) -> Option<Cow<'a, [u8]>> {
        let set = (report.addr_kind, report.addr, report.adv_sid, report.event_kind.scan_response());
        let begun = self.chains.iter().position(|chain| chain.set == set).map(|i| self.chains.remove(i).data);
        let data = match begun {
            Some(mut data) => {
                // One byte over the limit is enough for the parser to refuse it.
                let space = (MAX_ADVERTISING_DATA + 1).saturating_sub(data.len());
                data.extend(report.data.iter().take(space));
                Cow::Owned(data)
            }
            None => Cow::Borrowed(report.data),
        };
        match report.event_kind.data_status() {
            LeExtAdvDataStatus::Complete => return Some(data),
            LeExtAdvDataStatus::IncompleteMoreExpected => {
                if self.chains.len() == MAX_CHAINS {
                    self.chains.remove(0);
                    lose(stats);
                }
                self.chains.push(Chain { set, data: data.into_owned() });
            }
            _ => lose(stats),
        }
        None
    }
}

fn lose(stats: &mut CaptureStats) {
    stats.advertisements += 1;
    stats.skipped.incomplete_advertisements += 1;
}

/// Refuses reports that are not whole: bt-hci 0.11 panics where one ends after its tenth byte.
fn check_lengths(reports: &LeExtAdvReports<'_>) -> Result<(), Malformed> {
    let mut rest: &[u8] = &reports.bytes;
    for _ in 0..reports.num_reports {
        let (head, tail) = rest.split_at_checked(EXTENDED_REPORT_HEAD).ok_or(Malformed)?;
        let length = head.last().copied().map_or(0, usize::from);
        rest = tail.get(length..).ok_or(Malformed)?;
    }
    Ok(())
}
