//! From matched encounters to exposure windows, daily summaries and a risk level ("ExposureWindow" mode, v2).
//!
//! ```text
//! Exposure --windows--> ExposureWindow --summary--> DailySummary --risk--> Assessment --alert--> AlertChanges
//! all that was heard    at most 30 min  scores of a day                 level, reasons     what to raise or withdraw
//! of one diagnosis key
//! ```
//!
//! Everything after [`Exposure`] is computed anew from what is stored, so that other parameters change the past, too.

mod alert;
mod configuration;
mod risk;
mod summary;
mod windows;

use std::cmp::Ordering;
use std::fmt;

use ring::hmac;

use crate::diagnosis::ReportType;
use crate::encounters::calibration::Calibration;
use crate::encounters::{Encounter, Packet};
use crate::keys::TemporaryExposureKey;
use crate::radio::MeasuredBy;
use crate::time::Timestamp;

pub use alert::{Alert, AlertChanges, alert_changes};
pub use configuration::{
    ConfigurationError, ExposureConfiguration, ExposureParameters, Infectiousness, InfectiousnessWeights, ReportTypeWeights,
};
pub use risk::{Assessment, DayExplanation, RiskLevel, assess};
pub use summary::{DailySummary, Scores, daily_summaries};
pub use windows::{ExposureWindow, ScanInstance, windows_of};

/// Names a diagnosis key without being one: a keyed hash, under a secret of the store, of the key and its rolling start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExposureId(pub [u8; 16]);

impl ExposureId {
    /// The name of `key` in the store that has this `secret`.
    ///
    /// ```text
    /// first 16 bytes of HMAC-SHA256(secret, "vigie exposure" ++ key (16 bytes) ++ rolling start (u32, little-endian))
    /// ```
    ///
    /// The period is left out: a key that comes again, revised and shortened, is the same exposure.
    pub fn of(key: &TemporaryExposureKey, secret: &[u8; 32]) -> Self {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
        context.update(b"vigie exposure");
        context.update(key.as_bytes());
        context.update(&key.rolling_start().number().to_le_bytes());
        let mut id = [0; 16];
        id.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        Self(id)
    }
}

impl fmt::Debug for ExposureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExposureId(..)")
    }
}

/// All that was heard of one diagnosis key. Neither the key nor an identifier is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// Which key it was.
    pub id: ExposureId,
    /// How the diagnosis came about, where the file said it.
    pub report_type: Option<ReportType>,
    /// Days since the onset of symptoms, where the file said it.
    pub days_since_onset: Option<i8>,
    /// What was heard, in order of time.
    pub contacts: Vec<Contact>,
}

/// An encounter that matched, without its identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The sender's power in dBm, decrypted and in the range that a radio can have.
    pub transmit_power: i8,
    /// As in the encounter.
    pub packets: Vec<Packet>,
    /// As in the encounter.
    pub measured_by: MeasuredBy,
    /// As in the encounter.
    pub seconds_since_last_scan: Option<u16>,
    /// As in the encounter.
    pub calibration: Calibration,
}

impl Exposure {
    /// What two files, or two runs, know of the same key: in whatever order and however often they come, the result is one.
    ///
    /// What is said of the diagnosis is taken from the side with the stronger [`ReportType`]: test before doctor before warning passed on
    /// before own word before nothing; a revocation is final. A contact that both know counts once. Both must have the same `id`.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        debug_assert_eq!(self.id, other.id, "exposures of two keys are not one");
        if other.diagnosis() > self.diagnosis() {
            (self.report_type, self.days_since_onset) = (other.report_type, other.days_since_onset);
        }
        self.contacts.extend(other.contacts);
        self.contacts.sort_by(|a, b| b.precedence(a));
        // Of several with the same beginning the greatest stays, whichever side it came from.
        self.contacts.dedup_by_key(|contact| contact.beginning());
        self.contacts.reverse();
        self
    }

    fn diagnosis(&self) -> (u8, Option<ReportType>, Option<i8>) {
        let rank = match self.report_type {
            None | Some(ReportType::Unknown) => 0,
            Some(ReportType::SelfReport) => 1,
            Some(ReportType::Recursive) => 2,
            Some(ReportType::ConfirmedClinicalDiagnosis) => 3,
            Some(ReportType::ConfirmedTest) => 4,
            Some(ReportType::Revoked) => 5,
        };
        (rank, self.report_type, self.days_since_onset)
    }
}

impl Contact {
    /// The contact that `encounter` was, once `key` is known to have made its identifier.
    ///
    /// `None` where the metadata holds no power that a radio can have (anybody can change them on the way), or where there is no packet.
    pub fn from_encounter(encounter: &Encounter, key: &TemporaryExposureKey) -> Option<Self> {
        let metadata = key.decrypt_metadata(&encounter.frame.rpi, encounter.frame.aem);
        let transmit_power = metadata.transmit_power()?;
        (!encounter.packets.is_empty()).then(|| Self {
            transmit_power,
            packets: encounter.packets.clone(),
            measured_by: encounter.measured_by,
            seconds_since_last_scan: encounter.seconds_since_last_scan,
            calibration: encounter.calibration,
        })
    }

    /// What makes it the same contact when it comes again.
    fn beginning(&self) -> (Option<Timestamp>, bool) {
        (self.packets.first().map(|packet| packet.at), self.measured_by == MeasuredBy::Peer)
    }

    /// A total order by time; after the beginning it only has to be the same on every side.
    fn precedence(&self, other: &Self) -> Ordering {
        let rest = |c: &Self| (c.packets.len(), c.transmit_power, c.seconds_since_last_scan, c.calibration);
        let (mine, others) = (self.beginning(), other.beginning());
        mine.cmp(&others).then_with(|| rest(self).cmp(&rest(other))).then_with(|| self.packets.cmp(&other.packets))
    }
}

#[cfg(test)]
mod tests;
