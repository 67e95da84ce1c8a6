//! An answer that was lost is given again, also after a restart; and nothing else is.

use std::time::Duration;

use serde_json::json;
use vigie::courier::wire;
use vigie_backend::database::Value as Stored;

use crate::phone::{Backend, DAY, keys};
use crate::place::Place;

pub(crate) async fn a_code_is_exchanged_again_only_under_its_idempotency_key(place: &Place) {
    let mut backend = Backend::start(place).await;
    let code = backend.code("confirmed").await;
    let first = backend.verify(&code, "a").await;
    assert_eq!(first.status, 200);
    for _ in 0..2 {
        assert_eq!(backend.verify(&code, "a").await.text("token"), first.text("token"));
        assert_eq!(backend.verify(&code, "b").await.code(), "code_invalid");
        let body = json!({ "code": code, "accept": [] }).to_string();
        assert_eq!(backend.post("/api/verify", &[], body).await.code(), "code_invalid", "without the header");
        backend.restart().await;
        // The code ends meanwhile: its receipt does not.
        backend.clock.advance(DAY);
    }
    let code = backend.code("confirmed").await;
    let body = json!({ "code": code }).to_string();
    assert_eq!(backend.post("/api/verify", &[], body.clone()).await.status, 200);
    assert_eq!(backend.post("/api/verify", &[], body).await.code(), "code_invalid", "as deployed servers do");
    assert_eq!(backend.verify(&code, "c").await.code(), "code_invalid");
}

pub(crate) async fn a_token_is_certified_again_only_for_its_hmac(place: &Place) {
    let mut backend = Backend::start(place).await;
    let token = backend.verify(&backend.code("likely").await, "a").await.text("token").to_owned();
    let first = claims(backend.certificate(&token, &[1; 32]).await.text("certificate"));
    assert_eq!(
        (&first["reportType"], &first["tekmac"]),
        (&json!("likely"), &json!("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="))
    );
    for _ in 0..2 {
        backend.clock.advance(Duration::from_secs(600));
        backend.restart().await;
        let mut again = claims(backend.certificate(&token, &[1; 32]).await.text("certificate"));
        assert!(again["exp"].as_i64() > first["exp"].as_i64(), "with a new end");
        for member in ["exp", "iat"] {
            again[member] = first[member].clone();
        }
        assert_eq!(again, first);
        assert_eq!(backend.certificate(&token, &[2; 32]).await.code(), "token_expired");
    }
    backend.clock.advance(2 * DAY);
    assert_eq!(backend.certificate(&token, &[1; 32]).await.status, 200, "what was begun in time can be ended");
    let unused = backend.verify(&backend.code("likely").await, "b").await.text("token").to_owned();
    backend.clock.advance(2 * DAY);
    assert_eq!(backend.certificate(&unused, &[1; 32]).await.code(), "token_expired");
}

fn claims(certificate: &str) -> serde_json::Value {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
    let part = certificate.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

pub(crate) async fn a_report_is_answered_again_as_it_was_at_first(place: &Place) {
    let mut backend = Backend::start(place).await;
    let reported = keys(1, 4, &backend.clock);
    let mut request = backend.report("confirmed", &reported, &[7; 32], "").await;
    let first = backend.publish(&request).await;
    for round in 0..3 {
        request["padding"] = json!("B".repeat(4 * round));
        let again = backend.publish(&request).await;
        assert_eq!(again.status, 200);
        for member in ["revisionToken", "insertedExposures", "code"] {
            assert_eq!(again.json[member], first.json[member], "round {round}");
        }
        backend.restart().await;
        // The certificate is good for a quarter of an hour.
        backend.clock.advance(DAY);
    }
    let changed = backend.report("confirmed", &keys(2, 3, &backend.clock), &[7; 32], "").await;
    assert_eq!(backend.publish(&changed).await.status, 200, "other keys are another report");
    request["hmacKey"] = json!("CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=");
    assert_eq!(backend.publish(&request).await.code(), "health_authority_verification_certificate_invalid");
    // The same keys under the same HMAC key with a certificate that says something else are no repeat.
    let withdrawn = backend.report("negative", &reported, &[7; 32], first.text("revisionToken")).await;
    assert_eq!(backend.publish(&withdrawn).await.json["insertedExposures"], 4);
    assert_eq!(backend.publish(&withdrawn).await.json["insertedExposures"], 4);
}

pub(crate) async fn nothing_that_is_kept_for_repeats_shows_what_was_sent(place: &Place) {
    let backend = Backend::start(place).await;
    let code = backend.code("confirmed").await;
    let token = backend.verify(&code, "my-idempotency-key").await.text("token").to_owned();
    let reported = keys(1, 2, &backend.clock);
    let hmac = wire::keys_hmac(&reported, &[7; 32]);
    let certificate = backend.certificate(&token, &hmac).await.text("certificate").to_owned();
    let mut request = backend.report("confirmed", &reported, &[7; 32], "").await;
    request["verificationPayload"] = json!(certificate);
    let revision_token = backend.publish(&request).await.text("revisionToken").to_owned();
    let statements = [
        "SELECT code_hash FROM code",
        "SELECT token_hash FROM token",
        "SELECT hmac_hash FROM token WHERE hmac_hash IS NOT NULL",
        "SELECT repeat_hash FROM code WHERE repeat_hash IS NOT NULL",
        "SELECT report_hash FROM report",
        "SELECT owner_hash FROM diagnosis_key",
    ];
    let stored: Vec<Vec<u8>> = backend
        .look(move |transaction| {
            let mut found = Vec::new();
            for statement in statements {
                let rows = transaction.query(statement, &[] as &[Stored]).unwrap();
                assert!(!rows.is_empty(), "{statement}");
                found.extend(rows.iter().map(|row| row.bytes(0).unwrap().to_vec()));
            }
            found
        })
        .await;
    assert!(stored.iter().all(|hash| hash.len() == 32));
    let distinct: std::collections::HashSet<_> = stored.iter().collect();
    assert_eq!(distinct.len(), stored.len(), "no two of them can be compared");
    for secret in [code.as_bytes(), token.as_bytes(), b"my-idempotency-key", &hmac, revision_token.as_bytes(), &[7; 32]] {
        assert!(
            stored.iter().all(|hash| !hash.windows(secret.len().min(32)).any(|part| part == &secret[..secret.len().min(32)]))
        );
    }
}
