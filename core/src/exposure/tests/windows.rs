use super::*;
use crate::exposure::assess;
use crate::exposure::configuration::{ExposureConfiguration, ExposureParameters, Infectiousness};
use crate::exposure::windows::{ExposureWindow, ScanInstance, windows_of};

/// Typical and minimum attenuation and seconds of each instance, window by window.
fn cut(contacts: Vec<Contact>) -> Vec<Vec<(u8, u8, u16)>> {
    let exposure = exposure(1, Some(ReportType::ConfirmedTest), Some(0), contacts);
    let of = |i: &ScanInstance| (i.typical_attenuation_db, i.min_attenuation_db, i.seconds_since_last_scan);
    windows_of(&exposure, &ExposureConfiguration::default()).iter().map(|w| w.scan_instances.iter().map(of).collect()).collect()
}

/// A contact of one packet at each of these seconds.
fn packets(seconds: impl IntoIterator<Item = i64>) -> Vec<Contact> {
    seconds.into_iter().map(|s| contact(&[(s * 1000, 50)], Some(60))).collect()
}

#[test]
fn an_instance_has_the_rounded_mean_and_the_minimum() {
    for (attenuations, expected) in [
        (&[50u8][..], (50, 50, 240)),
        (&[50, 51], (51, 50, 240)),     // 50.5
        (&[50, 50, 51], (50, 50, 240)), // 50.33
        (&[60, 40, 70], (57, 40, 240)), // 56.67
        (&[127, 127], (127, 127, 240)),
    ] {
        let contact = contact(&attenuations.iter().map(|a| (0, *a)).collect::<Vec<_>>(), Some(240));
        assert_eq!(cut(vec![contact]), [[expected]], "{attenuations:?}");
    }
}

#[test]
fn a_silence_of_more_than_25_5_seconds_starts_a_new_instance() {
    let instances = |ms| cut(vec![contact(&[(0, 50)], Some(240)), contact(&[(ms, 50)], Some(240))]).concat().len();
    assert_eq!((instances(25_499), instances(25_500), instances(25_501)), (1, 1, 2));
}

#[test]
fn an_instance_is_cut_at_the_60th_second() {
    assert_eq!(cut(packets((0..60).step_by(10))).concat().len(), 1);
    let three_minutes = cut(packets((0..=180).step_by(10))).concat();
    assert_eq!(three_minutes.len(), 4);
    assert_eq!(three_minutes.iter().map(|i| i.2).sum::<u16>(), 240, "a minute each, the first stands for the one before it");
}

#[test]
fn a_window_has_at_most_30_minutes() {
    // Instances of 5 s every 5 minutes: the one that ends at 30:00 still belongs, the one that ends a millisecond later does not.
    let with_last = |end_ms| {
        let mut contacts: Vec<_> = (0..6).map(|i| contact(&[(i * 300_000, 50), (i * 300_000 + 5_000, 50)], Some(300))).collect();
        contacts.push(contact(&[(1_795_000, 50), (end_ms, 50)], Some(295)));
        cut(contacts).iter().map(Vec::len).collect::<Vec<_>>()
    };
    assert_eq!(with_last(1_800_000), [7]);
    assert_eq!(with_last(1_800_001), [6, 1]);
    let day_long = cut(packets((0..36_000).step_by(120)));
    assert_eq!(day_long.len(), 19, "300 instances, 16 in each but the last");
}

#[test]
fn a_window_does_not_cross_midnight() {
    let midnight = 12 * 3600;
    let contacts = packets([midnight - 120, midnight - 1, midnight, midnight + 120]);
    let windows = windows_of(&exposure(1, Some(ReportType::ConfirmedTest), Some(0), contacts), &ExposureConfiguration::default());
    let days: Vec<_> = windows.iter().map(|w| (w.date.to_string(), w.scan_instances.len())).collect();
    // The packet at midnight belongs to the scan that began before.
    assert_eq!(days, [("2020-10-22".to_owned(), 2), ("2020-10-23".to_owned(), 1)]);
}

#[test]
fn seconds_since_the_last_scan_are_at_most_300_and_120_where_there_was_none() {
    for (said, expected) in [(Some(0), 0), (Some(299), 299), (Some(300), 300), (Some(301), 300), (Some(65_535), 300), (None, 120)]
    {
        assert_eq!(cut(vec![contact(&[(0, 50)], said)]), [[(50, 50, expected)]], "{said:?}");
    }
}

#[test]
fn packets_of_a_scan_that_came_in_pieces_are_one_instance() {
    let pieces = vec![contact(&[(10_000, 60)], Some(240)), contact(&[(0, 50), (250, 40)], Some(200))];
    assert_eq!(cut(pieces), [[(50, 40, 200)]], "the seconds are those of the first");
}

#[test]
fn time_in_which_both_sides_heard_each_other_counts_once() {
    let peer = |ms: i64| Contact { measured_by: MeasuredBy::Peer, ..contact(&[(ms, 80)], None) };
    let ours = |ms: i64| contact(&[(ms, 50)], Some(240));
    let seconds = |contacts| cut(contacts).concat().iter().map(|i| i.2).collect::<Vec<_>>();
    assert_eq!(cut(vec![ours(0), peer(100)]), [[(50, 50, 240)]], "our own measurement is the better one");
    assert_eq!(seconds(vec![ours(0), peer(100_000), ours(240_000)]), [240, 100, 140]);
    assert_eq!(
        seconds(vec![peer(0), peer(200_000), peer(3_600_000)]),
        [120, 200, 120],
        "the peer's scans are known by its writing"
    );
    assert_eq!(seconds(vec![ours(0), ours(236_000)]), [240, 240], "a packet a little early is no overlap");
}

#[test]
fn the_lowest_confidence_of_a_window_is_its_own() {
    let mut less_sure = contact(&[(120_000, 50)], Some(120));
    less_sure.calibration.confidence = CalibrationConfidence::Low;
    let windows = windows_of(
        &exposure(1, Some(ReportType::ConfirmedTest), Some(0), vec![contact(&[(0, 50)], None), less_sure]),
        &ExposureConfiguration::default(),
    );
    assert_eq!(windows.iter().map(|w| w.calibration_confidence).collect::<Vec<_>>(), [CalibrationConfidence::Low]);
}

/// Report type and infectiousness of the window of an exposure with these properties; `None` where it has none.
fn window(
    report_type: Option<ReportType>,
    days: Option<i8>,
    parameters: ExposureParameters,
) -> Option<(ReportType, Infectiousness)> {
    let configuration = ExposureConfiguration::new(parameters).unwrap();
    let exposure = exposure(1, report_type, days, vec![contact(&[(0, 50)], None)]);
    windows_of(&exposure, &configuration).first().map(|w: &ExposureWindow| (w.report_type, w.infectiousness))
}

#[test]
fn what_a_key_does_not_say_is_taken_from_the_configuration() {
    use Infectiousness::{High, Standard};
    use ReportType::*;
    let own = || ExposureParameters {
        report_type_when_missing: SelfReport,
        infectiousness_when_missing: Standard,
        ..ExposureParameters::default()
    };
    for (report_type, days, expected) in [
        (None, None, Some((SelfReport, Standard))),
        (Some(ConfirmedTest), Some(0), Some((ConfirmedTest, High))),
        (Some(Recursive), Some(-3), Some((Recursive, Standard))),
        (Some(ConfirmedTest), Some(-14), None), // not infectious
        (Some(ConfirmedTest), Some(14), None),
        (Some(ConfirmedTest), Some(15), Some((ConfirmedTest, Standard))), // outside the table
        (Some(ConfirmedTest), Some(-15), Some((ConfirmedTest, Standard))),
        (Some(ConfirmedTest), Some(i8::MIN), Some((ConfirmedTest, Standard))),
        (Some(ConfirmedTest), Some(i8::MAX), Some((ConfirmedTest, Standard))),
        (Some(Unknown), Some(0), None),
        (Some(Revoked), Some(0), None),
    ] {
        assert_eq!(window(report_type, days, own()), expected, "{report_type:?} {days:?}");
    }
    let none = ExposureParameters { infectiousness_when_missing: Infectiousness::None, ..own() };
    assert_eq!(window(Some(ConfirmedTest), None, none), None);
}

#[test]
fn windows_are_handed_out_in_random_order() {
    let exposures: Vec<_> =
        (0..20).map(|i| exposure(i, Some(ReportType::ConfirmedTest), Some(0), vec![contact(&[(0, 40 + i)], None)])).collect();
    let order = |seed| {
        let today = crate::time::Date::from_days(0);
        let windows = assess(&exposures, &ExposureConfiguration::default(), today, &mut ChaCha20Rng::seed_from_u64(seed)).windows;
        windows.iter().map(|w| w.scan_instances[0].min_attenuation_db).collect::<Vec<_>>()
    };
    let mut sorted = order(1);
    assert_ne!(order(1), order(2));
    assert_eq!(order(1), order(1));
    sorted.sort_unstable();
    assert_eq!(sorted, (40..60).collect::<Vec<_>>());
}

#[test]
fn an_empty_exposure_and_impossible_times_give_no_panic() {
    assert!(cut(vec![]).is_empty());
    let mut odd = contact(&[(0, 50); 4], None);
    for (packet, ms) in odd.packets.iter_mut().zip([i64::MIN, -1, 0, i64::MAX]) {
        packet.at = Timestamp::from_unix_ms(ms);
    }
    assert_eq!(cut(vec![odd, Contact { packets: vec![], ..contact(&[], None) }]).len(), 3);
}
