//! From a code to a file that warns.

use std::time::Duration;

use serde_json::json;
use vigie::diagnosis::ReportType;

use crate::phone::{Backend, DAY, has, keys};
use crate::place::Place;

pub(crate) async fn a_report_becomes_a_signed_file(place: &Place) {
    let backend = Backend::start(place).await;
    let issued = backend.issue(json!({"testType": "confirmed", "symptomDate": "2020-10-20", "testDate": "2020-10-21"})).await;
    let verified = backend.verify(issued.text("code"), "one").await;
    assert_eq!((verified.status, verified.text("testtype")), (200, "confirmed"));
    assert_eq!((verified.text("symptomDate"), verified.text("testDate")), ("2020-10-20", "2020-10-21"));

    let reported = keys(1, 5, &backend.clock);
    let request = backend.report("confirmed", &reported, &[7; 32], "").await;
    let answer = backend.publish(&request).await;
    assert_eq!((answer.status, answer.json["insertedExposures"].as_i64()), (200, Some(5)), "{:?}", answer.json);
    assert_eq!(answer.code(), "");
    assert!(!answer.text("revisionToken").is_empty());

    assert_eq!(backend.publish_now().await, 1);
    let files = backend.files().await;
    assert_eq!(files.len(), 1);
    assert_eq!((files[0].keys.len(), files[0].revised.len()), (500, 0), "a small batch is filled up");
    assert!(reported[1..].iter().all(|key| has(&files[0].keys, key)));
    assert!(files[0].keys.iter().all(|key| key.report_type == Some(ReportType::ConfirmedTest)));
    assert!(files[0].keys.is_sorted_by_key(|key| *key.key.as_bytes()), "the order tells nothing");
    assert_eq!(backend.publish_now().await, 0, "nothing is published twice");
}

pub(crate) async fn a_key_is_held_back_until_two_hours_after_its_end(place: &Place) {
    let backend = Backend::start(place).await;
    let reported = keys(1, 3, &backend.clock);
    let request = backend.report("confirmed", &reported, &[7; 32], "").await;
    backend.publish(&request).await;
    backend.publish_now().await;
    assert!(!has(&backend.files().await[0].keys, &reported[0]), "it is 18:00, and the key is good until midnight");
    backend.clock.advance(Duration::from_secs(8 * 3600 - 60));
    assert_eq!(backend.publish_now().await, 0);
    backend.clock.advance(Duration::from_secs(60));
    assert_eq!(backend.publish_now().await, 1);
    let files = backend.files().await;
    assert!(has(&files[1].keys, &reported[0]) && !has(&files[1].keys, &reported[1]));
    assert!(files[0].name < files[1].name, "the oldest comes first");
}

pub(crate) async fn a_report_is_revised_only_by_its_device_and_only_once(place: &Place) {
    let backend = Backend::start(place).await;
    let reported = keys(1, 3, &backend.clock);
    let first = backend.publish(&backend.report("likely", &reported[1..], &[1; 32], "").await).await;
    let other = backend.publish(&backend.report("likely", &keys(2, 2, &backend.clock), &[2; 32], "").await).await;
    backend.publish_now().await;

    let without = backend.report("confirmed", &reported, &[3; 32], "").await;
    assert_eq!(backend.publish(&without).await.code(), "missing_revision_token");
    let foreign = backend.report("confirmed", &reported, &[3; 32], other.text("revisionToken")).await;
    assert_eq!(backend.publish(&foreign).await.code(), "invalid_revision_token");
    let mut shorter = reported[1].clone();
    shorter.rolling_period = 100;
    let shorter = backend.report("confirmed", &[shorter], &[6; 32], first.text("revisionToken")).await;
    assert_eq!(backend.publish(&shorter).await.code(), "invalid_revision_token", "the same key with another time");
    let right = backend.report("confirmed", &reported, &[3; 32], first.text("revisionToken")).await;
    let answer = backend.publish(&right).await;
    assert_eq!((answer.status, answer.json["insertedExposures"].as_i64()), (200, Some(3)), "{:?}", answer.json);
    assert_eq!(answer.text("revisionToken"), first.text("revisionToken"), "a device keeps its token");

    backend.publish_now().await;
    let file = backend.files().await.remove(1);
    assert!(reported[1..].iter().all(|key| has(&file.revised, key)));
    assert!(file.revised.iter().all(|key| key.report_type == Some(ReportType::ConfirmedTest)));
    let again = backend.report("negative", &reported[1..], &[4; 32], first.text("revisionToken")).await;
    assert_eq!(backend.publish(&again).await.code(), "key_already_revised");
    // Of three keys one is not published yet, and nothing of a refused report is taken.
    let all = backend.report("likely", &reported[..1], &[5; 32], first.text("revisionToken")).await;
    assert_eq!(backend.publish(&all).await.code(), "invalid_report_type_transition");
}

pub(crate) async fn what_is_withdrawn_before_it_was_published_never_is(place: &Place) {
    let backend = Backend::start(place).await;
    let (early, late) = (keys(1, 3, &backend.clock), keys(2, 3, &backend.clock));
    let early_answer = backend.publish(&backend.report("confirmed", &early, &[1; 32], "").await).await;
    backend.publish_now().await;
    let late_answer = backend.publish(&backend.report("confirmed", &late, &[2; 32], "").await).await;
    for (keys, answer, hmac_key) in [(&early, &early_answer, [3; 32]), (&late, &late_answer, [4; 32])] {
        let request = backend.report("negative", keys, &hmac_key, answer.text("revisionToken")).await;
        assert_eq!(backend.publish(&request).await.json["insertedExposures"], 3);
    }
    backend.clock.advance(DAY);
    backend.publish_now().await;
    let files = backend.files().await;
    assert_eq!(files.len(), 2);
    assert!(early[1..].iter().all(|key| has(&files[1].revised, key)));
    assert_eq!(files[1].revised.len(), 2);
    assert!(files[1].revised.iter().all(|key| key.report_type == Some(ReportType::Revoked)));
    assert!(files.iter().all(|file| late.iter().all(|key| !has(&file.keys, key) && !has(&file.revised, key))));
    assert!(files.iter().all(|file| !has(&file.keys, &early[0])));
    let unknown = backend.report("negative", &keys(3, 2, &backend.clock), &[5; 32], "").await;
    let answer = backend.publish(&unknown).await;
    assert_eq!((answer.code(), answer.json["insertedExposures"].as_i64()), ("partial_failure", Some(0)));
}

pub(crate) async fn types_of_test_are_given_to_those_who_can_handle_them(place: &Place) {
    let backend = Backend::start(place).await;
    for (test, accept, status, word) in [
        ("likely", json!(["confirmed"]), 412, "unsupported_test_type"),
        ("negative", json!(["confirmed", "likely"]), 412, "unsupported_test_type"),
        ("confirmed", json!(["positive"]), 400, "invalid_test_type"),
        ("confirmed", json!(["user-report"]), 412, "unsupported_test_type"),
        ("confirmed", json!(["likely"]), 200, ""),
        ("negative", json!([]), 200, ""),
    ] {
        let code = backend.code(test).await;
        let body = json!({ "code": code, "accept": accept }).to_string();
        let answer = backend.post("/api/verify", &[], body).await;
        assert_eq!((answer.status, answer.code()), (status, word), "{test} for {accept}");
        let expected = if status == 200 { "code_invalid" } else { "" };
        assert_eq!(backend.verify(&code, "later").await.code(), expected, "a refused code is not used up");
    }
}

pub(crate) async fn a_large_batch_is_several_files(place: &Place) {
    let backend = Backend::with(place, |config| (config.policy.maximum_keys, config.policy.minimum_keys) = (10, 4)).await;
    for phone in 0..8 {
        let request = backend.report("confirmed", &keys(phone, 4, &backend.clock), &[7; 32], "").await;
        backend.publish(&request).await;
    }
    assert_eq!(backend.publish_now().await, 3);
    let files = backend.files().await;
    assert_eq!(files.iter().map(|file| file.keys.len()).collect::<Vec<_>>(), [10, 10, 4]);
}

pub(crate) async fn after_fourteen_days_nothing_is_left(place: &Place) {
    let backend = Backend::start(place).await;
    backend.publish(&backend.report("confirmed", &keys(1, 3, &backend.clock), &[7; 32], "").await).await;
    for _ in 0..2 {
        backend.publish_now().await;
        backend.clock.advance(DAY);
    }
    assert_eq!(backend.files().await.len(), 2);
    backend.clock.advance(12 * DAY);
    backend.publish_now().await;
    assert_eq!(backend.files().await.len(), 2, "the first one left the index, and one of made-up keys ends the quiet days");
    backend.clock.advance(3 * DAY);
    backend.publish_now().await;
    let counts = backend
        .look(|transaction| {
            ["code", "token", "report", "diagnosis_key WHERE is_made_up = 0 OR batch <= 2", "batch WHERE number <= 2"]
                .map(|table| transaction.query(&format!("SELECT count(*) FROM {table}"), &[]).unwrap()[0].integer(0).unwrap())
        })
        .await;
    assert_eq!(counts, [0; 5], "codes, tokens, reports, keys, batches");
}
