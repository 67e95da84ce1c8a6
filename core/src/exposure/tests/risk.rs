use super::*;
use crate::exposure::alert::{Alert, AlertChanges, alert_changes};
use crate::exposure::configuration::{ExposureConfiguration, ExposureParameters};
use crate::exposure::risk::{Assessment, RiskLevel, assess};
use crate::time::Date;

fn today() -> Date {
    at(0).date()
}

/// Somebody near from noon on for so many minutes, heard every 2 minutes with this attenuation.
fn near(id: u8, report_type: ReportType, minutes: i64, attenuation: u8) -> Exposure {
    let contacts = (0..minutes / 2).map(|i| contact(&[(i * 120_000, attenuation)], Some(120))).collect();
    exposure(id, Some(report_type), Some(0), contacts)
}

fn look(exposures: &[Exposure]) -> Assessment {
    assess(exposures, &ExposureConfiguration::default(), today(), &mut rng())
}

const TEST: ReportType = ReportType::ConfirmedTest;

#[test]
fn a_level_begins_at_its_score() {
    for (exposures, expected) in [
        (vec![], RiskLevel::None),
        (vec![near(1, TEST, 4, 60)], RiskLevel::None),
        (vec![near(1, TEST, 6, 60)], RiskLevel::Low),
        (vec![near(1, TEST, 14, 60)], RiskLevel::Low),
        (vec![near(1, TEST, 16, 60)], RiskLevel::High),
        (vec![near(1, TEST, 600, 80)], RiskLevel::None), // far away all day
        (vec![near(1, TEST, 8, 60), near(2, TEST, 8, 60)], RiskLevel::High), // the day counts, not the person
        (vec![near(1, ReportType::Revoked, 60, 40)], RiskLevel::None),
    ] {
        assert_eq!(look(&exposures).risk_level, expected, "{exposures:?}");
    }
    let exact = exposure(1, Some(TEST), Some(0), (0..3).map(|i| contact(&[(i * 300_000, 60)], Some(300))).collect());
    assert_eq!(look(&[exact]).risk_level, RiskLevel::High, "900 s are 15 minutes");
}

#[test]
fn the_explanation_says_day_minutes_and_nearness() {
    let mut mixed = near(1, TEST, 14, 60);
    mixed.contacts.push(contact(&[(3_600_000, 50)], Some(300)));
    let far = near(3, TEST, 40, 90);
    let next_day = |mut exposure: Exposure| {
        exposure
            .contacts
            .iter_mut()
            .flat_map(|c| &mut c.packets)
            .for_each(|p| p.at = p.at.after(std::time::Duration::from_secs(86_400)));
        exposure
    };
    let brief = exposure(4, Some(TEST), Some(0), vec![contact(&[(0, 50)], Some(20))]);
    for (exposures, expected) in [
        (
            vec![mixed.clone()],
            "On 2020-10-22 you were near somebody who later reported, for about 19 minutes, most of it within about 2 metres.",
        ),
        (
            vec![mixed, near(2, TEST, 30, 50)],
            "On 2020-10-22 you were near people who later reported, for about 49 minutes, most of it very close together.",
        ),
        (
            vec![near(2, TEST, 30, 70)],
            "On 2020-10-22 you were near somebody who later reported, for about 30 minutes, most of it a few metres apart.",
        ),
        (
            vec![next_day(far)],
            "On 2020-10-23 you were near somebody who later reported, for about 40 minutes, most of it farther apart than a few metres.",
        ),
        (
            vec![brief],
            "On 2020-10-22 you were near somebody who later reported, for about 1 minute, most of it very close together.",
        ),
    ] {
        let said: Vec<_> = look(&exposures).explanation.iter().map(ToString::to_string).collect();
        assert_eq!(said, [expected]);
    }
}

#[test]
fn only_exposures_that_add_to_a_day_of_the_alert_level_alert() {
    let contact = near(1, TEST, 16, 60);
    let stranger = near(2, TEST, 60, 90); // weight 0
    let added = near(3, TEST, 2, 60);
    let mut other_day = near(4, TEST, 8, 60);
    other_day
        .contacts
        .iter_mut()
        .flat_map(|c| &mut c.packets)
        .for_each(|p| p.at = p.at.before(std::time::Duration::from_secs(86_400)));
    let exposures = [contact, stranger, added, other_day];
    let alerting = look(&exposures).alerting;
    assert_eq!(alerting, [(ExposureId([1; 16]), today(), RiskLevel::High), (ExposureId([3; 16]), today(), RiskLevel::High)]);

    let early =
        ExposureConfiguration::new(ExposureParameters { alert_level: RiskLevel::Low, ..ExposureParameters::default() }).unwrap();
    let alerting = assess(&exposures, &early, today(), &mut rng()).alerting;
    assert_eq!(alerting.iter().filter(|a| a.2 == RiskLevel::Low).count(), 1);
    let always =
        ExposureConfiguration::new(ExposureParameters { alert_level: RiskLevel::None, ..ExposureParameters::default() }).unwrap();
    assert!(assess(&[near(1, TEST, 2, 60)], &always, today(), &mut rng()).alerting.is_empty(), "no risk is no reason");
}

/// Applies changes as the store does.
fn apply(alerts: &mut Vec<Alert>, changes: AlertChanges) {
    alerts.retain(|alert| !changes.withdraw.contains(&alert.exposure));
    alerts.extend(changes.raise);
}

#[test]
fn an_alert_is_raised_once_and_goes_with_the_revocation() {
    let mut alerts = Vec::new();
    let step = |alerts: &mut Vec<Alert>, exposures: &[Exposure]| {
        let changes = alert_changes(alerts, exposures, &ExposureConfiguration::default(), &look(exposures), at(0));
        apply(alerts, changes.clone());
        (changes.raise.len(), changes.withdraw.len())
    };
    let likely = near(1, ReportType::ConfirmedClinicalDiagnosis, 30, 60);
    let confirmed = likely.clone().merge(exposure(1, Some(TEST), Some(1), vec![]));
    let revoked = confirmed.clone().merge(exposure(1, Some(ReportType::Revoked), None, vec![]));
    let again = revoked.clone().merge(likely.clone());

    assert_eq!(step(&mut alerts, &[near(1, TEST, 4, 60)]), (0, 0));
    assert_eq!(step(&mut alerts, std::slice::from_ref(&likely)), (1, 0));
    alerts[0].acknowledged = true;
    assert_eq!(step(&mut alerts, std::slice::from_ref(&likely)), (0, 0), "once");
    assert_eq!(step(&mut alerts, &[confirmed]), (0, 0));
    assert!(alerts[0].acknowledged, "what the user has seen stays seen");
    assert_eq!(step(&mut alerts, std::slice::from_ref(&revoked)), (0, 1));
    assert_eq!(step(&mut alerts, &[again]), (0, 0), "a revocation is final");
    assert_eq!(step(&mut alerts, &[revoked, near(2, TEST, 30, 60)]), (1, 0));
    assert_eq!(step(&mut alerts, &[]), (0, 0), "what is not there any more withdraws nothing");
}

#[test]
fn an_alert_that_only_looks_too_old_stands() {
    let recent = ExposureParameters { days_since_exposure_threshold: 3, ..ExposureParameters::default() };
    let configuration = ExposureConfiguration::new(recent).unwrap();
    let exposures = [near(1, TEST, 30, 60)];
    let changes = |existing: &[Alert], today| {
        alert_changes(existing, &exposures, &configuration, &assess(&exposures, &configuration, today, &mut rng()), at(0))
    };
    let raised = changes(&[], today()).raise;
    assert_eq!(raised.len(), 1);
    assert_eq!(changes(&raised, Date::from_days(today().days() + 5_000)), AlertChanges::default());
}

#[test]
fn an_exposure_of_two_days_is_one_alert_for_the_worse_day() {
    let mut assessment = look(&[]);
    let id = ExposureId([5; 16]);
    assessment.alerting = vec![
        (id, Date::from_days(9), RiskLevel::Low),
        (id, Date::from_days(7), RiskLevel::High),
        (id, Date::from_days(6), RiskLevel::High),
    ];
    let changes = alert_changes(&[], &[], &ExposureConfiguration::default(), &assessment, at(0));
    let expected =
        Alert { exposure: id, date: Date::from_days(7), level: RiskLevel::High, raised_at: at(0), acknowledged: false };
    assert_eq!(changes, AlertChanges { raise: vec![expected], withdraw: vec![] });
}

#[test]
fn windows_of_an_assessment_are_all_there() {
    let exposures = [near(1, TEST, 90, 60), near(2, ReportType::Revoked, 90, 60), near(3, TEST, 20, 60)];
    let assessment = look(&exposures);
    // A window of 30 minutes has 15 instances and the one that begins with the 30th.
    assert_eq!(assessment.windows.iter().map(|w| w.scan_instances.len()).sum::<usize>(), 55);
    assert_eq!(assessment.windows.len(), 4);
    assert_eq!(assessment.days.len(), 1);
}
