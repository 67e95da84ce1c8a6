//! Key files: what is matched, and who is alerted.

use super::*;
use crate::encounters::recorder::Recorder;

#[test]
fn own_identifiers_are_never_recorded_and_own_published_keys_never_match() {
    let mut device = Device::new();
    device.tracer().start();
    device.run(2 * MINUTE);
    let key = device.tracer().release_keys().unwrap().remove(0);
    device.run(2 * MINUTE);
    device.restart();
    let relayed = sighting(&key, device.clock.now(), -50);
    let mut of_now = relayed;
    of_now.frame = device.sent().last().unwrap().0;
    device.tracer().record(&[relayed, of_now]).unwrap();
    device.tracer().stop().unwrap();
    assert!(device.tracer().lock().store().unwrap().identifiers().unwrap().is_empty());

    // As if it had been heard before the key was known.
    let mut recorder = Recorder::new(Calibration::default());
    recorder.hear(&relayed, &mut ChaCha20Rng::seed_from_u64(1));
    let encounters = recorder.flush(&mut ChaCha20Rng::seed_from_u64(1));
    device.tracer().lock().store().unwrap().add_encounters(&encounters).unwrap();
    let file = device.publish("own", &[diagnosis(&key, ReportType::ConfirmedTest)]);
    assert!(device.check(&file).assessment.windows.is_empty());
}

/// Likely, confirmed, revoked: with a restart or an interruption after every step.
#[test]
fn an_alert_is_raised_once_and_goes_when_its_key_is_revoked() {
    let mut device = Device::new();
    device.meet(&somebody(1));
    device.meet(&somebody(2));
    device.clock.advance(DAY);
    let (one, two) = (somebody(1), somebody(2));
    use ReportType::{ConfirmedClinicalDiagnosis as Likely, ConfirmedTest as Confirmed, Revoked};
    // Files in order: what they say of somebody 1 and 2; alerts raised, withdrawn, and standing after them.
    let table: [(&[DiagnosisKey], usize, usize, usize); 7] = [
        (&[diagnosis(&one, Likely)], 1, 0, 1),
        (&[diagnosis(&one, Confirmed)], 0, 0, 1),
        (&[diagnosis(&one, Confirmed), diagnosis(&two, Likely)], 1, 0, 2),
        (&[diagnosis(&one, Revoked)], 0, 1, 1),
        (&[diagnosis(&one, Confirmed), diagnosis(&two, Likely), diagnosis(&one, Confirmed)], 0, 0, 1),
        (&[diagnosis(&two, Revoked)], 0, 1, 0),
        (&[diagnosis(&two, Confirmed)], 0, 0, 0),
    ];
    for (n, (keys, raised, withdrawn, standing)) in table.into_iter().enumerate() {
        device.events();
        let file = device.publish(&format!("file{n}"), keys);
        let events = device.check_with_restarts(&file);
        assert_eq!(events.iter().filter(|e| matches!(e, Event::AlertRaised(_))).count(), raised, "step {n}");
        assert_eq!(events.iter().filter(|e| matches!(e, Event::AlertWithdrawn(_))).count(), withdrawn, "step {n}");
        for _ in 0..2 {
            assert_eq!(device.tracer().alerts().unwrap().len(), standing, "step {n}");
            assert!(matches!(device.check(&file).files[0].status, FileStatus::AlreadyMatched));
            device.restart();
            assert!(device.events().is_empty(), "nothing is raised again");
        }
    }
}

#[test]
fn a_check_that_is_stopped_after_every_key_goes_on_and_doubles_nothing() {
    let mut device = Device::new();
    device.meet(&somebody(1));
    device.clock.advance(DAY);
    let strangers = (2..20).map(|n| diagnosis(&somebody(n), ReportType::ConfirmedTest));
    let keys: Vec<_> = strangers.chain([diagnosis(&somebody(1), ReportType::ConfirmedTest)]).collect();
    let file = device.publish("file", &keys);
    let events = device.check_with_restarts(&file);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::AlertRaised(_))).count(), 1);
    assert_eq!(device.tracer().assessment().unwrap().windows.len(), 1);
}

#[test]
fn a_file_that_cannot_be_believed_blocks_no_other() {
    let device = Device::new();
    device.meet(&somebody(1));
    device.clock.advance(DAY);
    let good = device.publish("good", &[diagnosis(&somebody(1), ReportType::ConfirmedTest)]);
    let forged = device.dir.path().join("forged");
    let other = SigningKey::generate().unwrap();
    let keys = [diagnosis(&somebody(2), ReportType::ConfirmedTest)];
    std::fs::write(&forged, crate::diagnosis::write_export(&Default::default(), &keys, &[], &other).unwrap()).unwrap();
    let missing = device.dir.path().join("missing");
    let report = device.tracer().check(&[forged, missing, good], |_| ControlFlow::Continue(())).unwrap();
    let refused = |n: usize| matches!(report.files[n].status, FileStatus::Refused(_));
    assert_eq!((refused(0), refused(1), refused(2)), (true, true, false));
    assert_eq!(report.assessment.windows.len(), 1);
}

#[test]
fn older_traffic_is_matched_with_files_that_were_checked_once_they_are_forgotten() {
    let device = Device::new();
    let key = somebody(1);
    device.meet(&key);
    let file = device.publish("file", &[diagnosis(&key, ReportType::ConfirmedTest)]);
    let before = device.check(&file).assessment.days;

    // A recording of the hour before arrives.
    device.clock.jump_to(start_time().before(60 * MINUTE));
    device.meet(&key);
    device.clock.jump_to(start_time());
    let unchanged = device.check(&file);
    assert!(matches!(unchanged.files[0].status, FileStatus::AlreadyMatched));
    assert_eq!(unchanged.assessment.days, before);

    device.tracer().forget_checked_files().unwrap();
    let again = device.check(&file);
    assert!(matches!(again.files[0].status, FileStatus::Matched { .. }));
    assert_eq!(again.assessment.days[0].overall.score_sum, 2.0 * before[0].overall.score_sum);

    device.tracer().forget_checked_files().unwrap();
    assert_eq!(device.check(&file).assessment.days, again.assessment.days, "nothing counts twice");
}

#[test]
fn a_check_that_is_stopped_opens_no_further_file() {
    let device = Device::new();
    let keys = [diagnosis(&somebody(1), ReportType::ConfirmedTest), diagnosis(&somebody(2), ReportType::ConfirmedTest)];
    let files = [device.publish("one", &keys), device.publish("two", &keys[..1])];
    let report = device.tracer().check(&files, after_each_key).unwrap();
    assert!(report.files.iter().all(|file| matches!(file.status, FileStatus::Unfinished)), "{report:?}");
}
