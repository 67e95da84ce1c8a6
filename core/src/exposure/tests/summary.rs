use super::*;
use crate::exposure::configuration::{
    ConfigurationError, ExposureConfiguration, ExposureParameters, Infectiousness, InfectiousnessWeights, ReportTypeWeights,
};
use crate::exposure::summary::{Scores, daily_summaries};
use crate::exposure::windows::{ExposureWindow, ScanInstance};
use crate::time::Date;

const DAY: Date = Date::from_days(18_557);

fn window(report_type: ReportType, infectiousness: Infectiousness, scans: &[(u8, u16)]) -> ExposureWindow {
    let instance = |&(typical_attenuation_db, seconds_since_last_scan)| ScanInstance {
        typical_attenuation_db,
        min_attenuation_db: 0, // counts nowhere
        seconds_since_last_scan,
    };
    ExposureWindow {
        date: DAY,
        report_type,
        infectiousness,
        calibration_confidence: CalibrationConfidence::High,
        scan_instances: scans.iter().map(instance).collect(),
    }
}

/// Weights that a double holds exactly.
fn parameters() -> ExposureParameters {
    ExposureParameters {
        attenuation_thresholds_db: [50, 60, 70],
        bucket_weights: [2.0, 1.0, 0.5, 0.25],
        report_type_weights: ReportTypeWeights {
            confirmed_test: 1.0,
            confirmed_clinical_diagnosis: 0.5,
            self_report: 0.25,
            recursive: 0.125,
        },
        infectiousness_weights: InfectiousnessWeights { standard: 1.0, high: 2.5 },
        ..ExposureParameters::default()
    }
}

fn summaries(windows: &[ExposureWindow], parameters: ExposureParameters) -> Vec<crate::exposure::summary::DailySummary> {
    daily_summaries(windows, &ExposureConfiguration::new(parameters).unwrap(), DAY)
}

fn scores(maximum_score: f64, score_sum: f64, weighted_duration_sum_s: f64) -> Scores {
    Scores { maximum_score, score_sum, weighted_duration_sum_s }
}

use Infectiousness::{High, Standard};
use ReportType::{ConfirmedClinicalDiagnosis, ConfirmedTest, Recursive, Revoked, SelfReport, Unknown};

#[test]
fn fifteen_minutes_with_all_weights_one_are_900() {
    // The example in the documentation of DailySummariesConfig.
    let ones = ExposureParameters {
        bucket_weights: [1.0; 4],
        infectiousness_weights: InfectiousnessWeights { standard: 1.0, high: 1.0 },
        ..ExposureParameters::default()
    };
    let days = summaries(&[window(ConfirmedTest, Standard, &[(40, 300), (60, 300), (99, 300)])], ones);
    assert_eq!(days[0].overall, scores(900.0, 900.0, 900.0));
}

#[test]
fn a_threshold_belongs_to_the_nearer_bucket() {
    for (attenuation, expected) in
        [(0, 200.0), (50, 200.0), (51, 100.0), (60, 100.0), (61, 50.0), (70, 50.0), (71, 25.0), (255, 25.0)]
    {
        let days = summaries(&[window(ConfirmedTest, Standard, &[(attenuation, 100)])], parameters());
        assert_eq!(days[0].overall.weighted_duration_sum_s, expected, "{attenuation} dB");
    }
}

#[test]
fn scores_add_up_by_day_and_report_type() {
    let mut day_before = window(ConfirmedTest, Standard, &[(55, 60)]);
    day_before.date = DAY.minus(1);
    let windows = [
        window(ConfirmedTest, High, &[(45, 100), (65, 200)]),       // 300 s, 750
        window(ConfirmedTest, Standard, &[(55, 100)]),              // 100 s, 100
        window(ConfirmedClinicalDiagnosis, Standard, &[(55, 300)]), // 300 s, 150
        window(SelfReport, Standard, &[(45, 200)]),                 // 400 s, 100
        window(Recursive, High, &[(75, 400)]),                      // 100 s, 31.25
        day_before,
    ];
    let days = summaries(&windows, parameters());
    assert_eq!(days.iter().map(|day| day.date).collect::<Vec<_>>(), [DAY.minus(1), DAY]);
    assert_eq!(days[1].overall, scores(750.0, 1131.25, 1200.0));
    let by_type: Vec<_> = days[1].by_report_type.iter().map(|(report_type, scores)| (*report_type, *scores)).collect();
    assert_eq!(
        by_type,
        [
            (ConfirmedTest, scores(750.0, 850.0, 400.0)),
            (ConfirmedClinicalDiagnosis, scores(150.0, 150.0, 300.0)),
            (SelfReport, scores(100.0, 100.0, 400.0)),
            (Recursive, scores(31.25, 31.25, 100.0)),
        ]
    );
    assert_eq!(days[0].overall, scores(60.0, 60.0, 60.0));
}

#[test]
fn windows_below_the_minimum_score_are_left_out() {
    let windows = [window(ConfirmedTest, Standard, &[(55, 99)]), window(ConfirmedTest, Standard, &[(55, 100)])];
    let with = |minimum_window_score| summaries(&windows, ExposureParameters { minimum_window_score, ..parameters() });
    assert_eq!(with(0.0)[0].overall, scores(100.0, 199.0, 199.0));
    assert_eq!(with(100.0)[0].overall, scores(100.0, 100.0, 100.0));
    assert!(with(100.5).is_empty(), "a day of which nothing is left is left out");
}

#[test]
fn days_older_than_the_threshold_are_left_out() {
    let windows: Vec<_> =
        (0..5).map(|age| ExposureWindow { date: DAY.minus(age), ..window(ConfirmedTest, Standard, &[(55, 60)]) }).collect();
    let days =
        |threshold| summaries(&windows, ExposureParameters { days_since_exposure_threshold: threshold, ..parameters() }).len();
    assert_eq!((days(0), days(1), days(3), days(4)), (5, 2, 4, 5));
    let before = daily_summaries(&windows, &ExposureConfiguration::default(), DAY.minus(30));
    assert_eq!(before.len(), 5, "a clock that is behind hides nothing");
}

#[test]
fn what_must_not_be_shown_does_not_count() {
    let hidden = [
        window(Revoked, High, &[(45, 300)]),
        window(Unknown, High, &[(45, 300)]),
        window(ConfirmedTest, Infectiousness::None, &[(45, 300)]),
    ];
    assert!(summaries(&hidden, parameters()).is_empty());
}

#[test]
fn parameters_outside_their_range_are_refused_by_name() {
    let refused = |change: fn(&mut ExposureParameters)| {
        let mut parameters = ExposureParameters::default();
        change(&mut parameters);
        ExposureConfiguration::new(parameters).unwrap_err().to_string()
    };
    for (found, expected) in [
        (refused(|p| p.attenuation_thresholds_db = [55, 55, 70]), "attenuation_thresholds_db must increase; found 55 before 55"),
        (refused(|p| p.bucket_weights[3] = 2.6), "bucket_weights is 2.6, allowed is 0 to 2.5"),
        (refused(|p| p.bucket_weights[0] = f64::NAN), "bucket_weights is NaN, allowed is 0 to 2.5"),
        (refused(|p| p.report_type_weights.self_report = -0.1), "report_type_weights.self_report is -0.1, allowed is 0 to 2.5"),
        (refused(|p| p.infectiousness_weights.high = 3.0), "infectiousness_weights.high is 3, allowed is 0 to 2.5"),
        (refused(|p| p.low_risk_score = 900.0), "low_risk_score, high_risk_score must increase; found 900 before 900"),
        (refused(|p| p.report_type_when_missing = Revoked), "report_type_when_missing is Revoked, which is never shown"),
    ] {
        assert_eq!(found, expected);
    }
    assert!(refused(|p| p.minimum_window_score = -1.0).starts_with("minimum_window_score is -1"));
    assert!(refused(|p| p.high_risk_score = f64::INFINITY).starts_with("high_risk_score is inf"));
    assert!(refused(|p| p.low_risk_score = 0.0).starts_with("low_risk_score is 0"));
    let edge =
        ExposureParameters { bucket_weights: [2.5, 0.0, 2.5, 0.0], attenuation_thresholds_db: [0, 1, 255], ..parameters() };
    assert!(ExposureConfiguration::new(edge).is_ok());
    assert_eq!(ExposureConfiguration::new(ExposureParameters::default()), Ok(ExposureConfiguration::default()));
    assert!(matches!(
        ExposureConfiguration::new(ExposureParameters { low_risk_score: f64::NAN, ..parameters() }),
        Err(ConfigurationError::OutOfRange { field: "low_risk_score", .. })
    ));
}
