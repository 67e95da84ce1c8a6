//! Alerts: raised once for one exposure, gone when it no longer is one.

use std::collections::BTreeMap;

use super::risk::{self, Assessment, RiskLevel};
use super::{Exposure, ExposureConfiguration, ExposureId};
use crate::time::{Date, Timestamp};

/// That the user is to be told, or was told, of an exposure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Which exposure.
    pub exposure: ExposureId,
    /// The day of the contact.
    pub date: Date,
    /// The risk level of that day when the alert was raised.
    pub level: RiskLevel,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// Whether the user has seen it.
    pub acknowledged: bool,
}

/// What is to be done with the alerts that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlertChanges {
    /// To keep and to show.
    pub raise: Vec<Alert>,
    /// To remove: the key was revoked, or does not alert any more.
    pub withdraw: Vec<ExposureId>,
}

/// What `exposures` and what follows from them change in the alerts that are kept.
///
/// An alert is withdrawn where its exposure is there and does not alert any more, whatever today is: revoked, or weighed in another way. One
/// whose exposure is not there (lost with a damaged store) stays, and so does one that only looks too old by a clock that may be wrong.
/// An alert that stands is left as it is, acknowledged or not, whatever its day or level has become. An exposure of several days is raised
/// for the day of the highest level, of equal ones the latest.
pub fn alert_changes(
    existing: &[Alert],
    exposures: &[Exposure],
    configuration: &ExposureConfiguration,
    assessment: &Assessment,
    now: Timestamp,
) -> AlertChanges {
    let mut alerting: BTreeMap<ExposureId, (RiskLevel, Date)> = BTreeMap::new();
    for (exposure, date, level) in &assessment.alerting {
        let worst = alerting.entry(*exposure).or_insert((*level, *date));
        *worst = (*worst).max((*level, *date));
    }
    let stands = |exposure: &ExposureId| existing.iter().any(|alert| alert.exposure == *exposure);
    // No day is too old on day 0.
    let of_any_age = risk::alerting(exposures, configuration, Date::from_days(0));
    let alerts_no_more = |id: &ExposureId| {
        exposures.iter().any(|exposure| exposure.id == *id) && of_any_age.iter().all(|(alerting, ..)| alerting != id)
    };
    let withdraw = existing.iter().map(|alert| alert.exposure).filter(alerts_no_more).collect();
    let raise = alerting.iter().filter(|(exposure, _)| !stands(exposure)).map(|(exposure, (level, date))| Alert {
        exposure: *exposure,
        date: *date,
        level: *level,
        raised_at: now,
        acknowledged: false,
    });
    AlertChanges { raise: raise.collect(), withdraw }
}
