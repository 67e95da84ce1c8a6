use vigie::courier::pacer::Pacing;

use super::crowd::{AFTER, BEFORE, Course, Scene};
use super::promises::{Findings, Measure};
use super::*;

/// A fiftieth of the million, which scatters seven times as much: see `promises`.
fn few() -> Scene {
    Scene { devices: 20_000, people: 1, outage: Duration::from_secs(3_600), pacing: Pacing::default(), seed: 1 }
}

fn found(scene: Scene) -> Findings {
    promises::judge(&scene, &crowd::play(scene, |_| ()))
}

/// Whether each promise is kept: load during and after, a tenth, all, people.
fn kept(findings: &Findings) -> Vec<bool> {
    findings.promises.iter().map(|promise| promise.is_kept).collect()
}

#[test]
fn every_promise_is_kept_whatever_the_seed() {
    for seed in 1..=5 {
        let findings = found(Scene { seed, ..few() });
        assert!(findings.all_kept, "{findings:#?}");
        assert!((4_700..5_300).contains(&findings.missed_a_poll), "a quarter of them: {}", findings.missed_a_poll);
        assert!((80.0..88.0).contains(&findings.normal_per_minute), "20,000 in 240 min, and 1 %");
    }
}

#[test]
fn polls_tried_again_within_an_hour_break_the_load_and_catch_up_sooner() {
    let findings = found(Scene { pacing: Pacing { poll_retry_cap: Duration::from_secs(3_600), ..Pacing::default() }, ..few() });
    assert_eq!(kept(&findings), [false, false, true, true, true], "{findings:#?}");
}

#[test]
fn polls_that_wait_for_a_day_break_the_tenth_and_nothing_else() {
    let findings = found(Scene { pacing: Pacing { poll_retry_cap: Duration::from_secs(86_400), ..Pacing::default() }, ..few() });
    assert_eq!(kept(&findings), [true, true, false, true, true], "{findings:#?}");
}

#[test]
fn people_tried_again_within_an_hour_wait_too_long() {
    let findings = found(Scene { pacing: Pacing { person_retry_cap: Duration::from_secs(3_600), ..Pacing::default() }, ..few() });
    assert_eq!(kept(&findings), [true, true, true, true, false], "{findings:#?}");
}

#[test]
fn the_same_seed_is_the_same_day() {
    let loads = [1, 1, 2].map(|seed| found(Scene { seed, ..few() }).load);
    assert_eq!(loads[0], loads[1]);
    assert_ne!(loads[0], loads[2]);
}

#[test]
fn a_minute_too_full_a_device_too_late_and_a_person_still_waiting_are_seen() {
    let scene = Scene { devices: 1_000_000, ..few() };
    let minutes = crowd::minutes(BEFORE + scene.outage + AFTER);
    let good = || Course { requests: vec![4_000; minutes], missed: 10, caught_up: vec![Duration::ZERO; 10], ..Course::default() };
    let judged = |course: Course| kept(&promises::judge(&scene, &course));
    assert_eq!(judged(good()), [true; 5]);

    let mut course = good();
    course.requests[crowd::minutes(BEFORE)] = 4_801;
    assert_eq!(judged(course), [false, true, true, true, true]);
    let mut course = good();
    course.requests[minutes - 1] = 4_801;
    assert_eq!(judged(course), [true, false, true, true, true]);
    let late = [vec![Duration::from_secs(4 * 3_600 + 1)], vec![Duration::ZERO; 9]].concat();
    assert_eq!(judged(Course { caught_up: late, ..good() }), [true, true, true, false, true]);
    assert_eq!(judged(Course { missed: 11, ..good() }), [true, true, true, false, true]);
    assert_eq!(judged(Course { waiting: 1, ..good() }), [true, true, true, true, false]);
    assert_eq!(judged(Course { last_person: Duration::from_millis(900_001), ..good() }), [true, true, true, true, false]);
}

#[test]
fn a_number_is_told_with_its_unit() {
    let told =
        [Measure::TimesNormal(1.1644), Measure::Share(0.1056), Measure::Seconds(899), Measure::Never].map(|m| m.to_string());
    assert_eq!(told, ["1.164 x", "10.56 %", "14m 59s", "not yet"]);
}

#[test]
fn caps_that_cannot_be_are_refused() {
    assert_eq!(*cap("9h 30m").unwrap(), Duration::from_secs(34_200));
    for text in ["", "9", "-1h", "1s", "8days", "99999999999999999999h"] {
        assert!(cap(text).is_err(), "{text}");
    }
}
