//! What should not come in, and how it is refused.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vigie::courier::{VerificationCode, wire};
use vigie_backend::keys::Secrets;

use crate::phone::{Answer, Backend, keys};
use crate::place::Place;

const MARK: &str = "p3rs0nal";

fn is_refused(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{what}");
    assert!(!answer.text("error").is_empty(), "{what}");
    let mut without_padding = answer.json.clone();
    without_padding["padding"] = Value::Null;
    assert!(!without_padding.to_string().contains(MARK), "{what} is repeated: {without_padding}");
    assert!(answer.text("padding").len() >= 1024, "{what}: a refusal is as long as an answer");
}

pub(crate) async fn what_is_wrong_is_refused_with_its_code_and_not_repeated(place: &Place) {
    let backend = Backend::start(place).await;
    let long = format!(r#"{{"code":"{MARK}","padding":"{}"}}"#, "A".repeat(64_000));
    for path in ["/api/verify", "/api/certificate", "/v1/publish"] {
        let code = if path == "/v1/publish" { "bad_request" } else { "unparsable_request" };
        is_refused(&backend.post(path, &[], long.clone()).await, 413, code, "a long body");
        for (body, what) in [
            (String::new(), "nothing"),
            (MARK.to_owned(), "no JSON"),
            (format!(r#"{{"{MARK}":1}}"#), "an unknown member"),
            (format!(r#"{{"code":["{MARK}"],"token":["{MARK}"]}}"#), "another type"),
            ("[".repeat(60_000), "JSON that is deep"),
            (format!("{{\"code\":\"{MARK}\u{0}\"}}\n"), "a control character"),
        ] {
            is_refused(&backend.post(path, &[], body).await, 400, code, what);
        }
    }
    let verify = |code: &str| json!({ "code": code }).to_string();
    is_refused(&backend.post("/api/verify", &[], verify(MARK)).await, 400, "code_not_found", "a foreign code");
    let long_key = "k".repeat(256);
    let answer = backend.post("/api/verify", &[("idempotency-key", &long_key)], verify("12345678")).await;
    is_refused(&answer, 400, "unparsable_request", "a long idempotency key");
    for (token, hmac, code) in [
        (MARK, "AAAA", "hmac_invalid"),
        (MARK, "%%%", "hmac_invalid"),
        (MARK, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "token_invalid"),
        ("", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "token_invalid"),
    ] {
        let body = json!({ "token": token, "ekeyhmac": hmac }).to_string();
        is_refused(&backend.post("/api/certificate", &[], body).await, 400, code, code);
    }
    let wrong_key = backend.http.post(backend.url("/api/verify")).header("x-api-key", MARK).body("{}").send().await.unwrap();
    assert_eq!(wrong_key.status(), 401);
    assert!(!wrong_key.text().await.unwrap().contains(MARK));
}

pub(crate) async fn certificates_that_others_made_are_refused(place: &Place) {
    let backend = Backend::start(place).await;
    let reported = keys(1, 3, &backend.clock);
    let good = backend.report("confirmed", &reported, &[7; 32], "").await;
    let certificate = good["verificationPayload"].as_str().unwrap().to_owned();
    let [header, claims, signature] = certificate.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let encoded = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let parsed: vigie_backend::jwt::Claims = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let stranger = Secrets::ephemeral(&mut ChaCha20Rng::seed_from_u64(1)).unwrap();
    let none = encoded(json!({"alg": "none", "kid": "v1"}));
    let hs256 = encoded(json!({"alg": "HS256", "kid": "v1"}));
    let unknown = encoded(json!({"alg": "ES256", "kid": "v9"}));
    let likely = encoded(
        json!({"iss": parsed.iss, "aud": parsed.aud, "iat": parsed.iat, "exp": parsed.exp, "tekmac": parsed.tekmac, "reportType": "negative"}),
    );
    for (forged, what) in [
        (format!("{none}.{claims}."), "alg none"),
        (format!("{none}.{claims}.{signature}"), "alg none with a signature"),
        (format!("{hs256}.{claims}.{signature}"), "a symmetric algorithm"),
        (format!("{unknown}.{claims}.{signature}"), "an unknown key id"),
        (format!("{header}.{likely}.{signature}"), "other claims"),
        (format!("{header}.{claims}"), "two parts"),
        (format!("{certificate}.{signature}"), "four parts"),
        (stranger.certificates.sign(&parsed).unwrap(), "another key under the same id"),
        (String::new(), "nothing"),
        ("A".repeat(20_000), "a long one"),
    ] {
        let mut request = good.clone();
        request["verificationPayload"] = json!(forged);
        let answer = backend.publish(&request).await;
        is_refused(&answer, 401, "health_authority_verification_certificate_invalid", what);
    }
    let mut other_keys = good.clone();
    other_keys["temporaryExposureKeys"] = serde_json::to_value(keys(2, 3, &backend.clock)).unwrap();
    assert_eq!(backend.publish(&other_keys).await.code(), "health_authority_verification_certificate_invalid");
    let mut other_authority = good.clone();
    other_authority["healthAuthorityID"] = json!(MARK);
    is_refused(&backend.publish(&other_authority).await, 401, "unknown_health_authority_id", "another authority");
    backend.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(backend.publish(&good).await.code(), "health_authority_verification_certificate_invalid", "expired");
    backend.clock.jump_to(vigie::time::Timestamp::from_unix_ms(crate::phone::LAUNCH));
    assert_eq!(backend.publish(&good).await.status, 200, "and the good one was good");
}

pub(crate) async fn keys_that_cannot_be_are_dropped(place: &Place) {
    let backend = Backend::start(place).await;
    let good = keys(1, 3, &backend.clock);
    let today = good[0].rolling_start_number;
    let changed = |change: &dyn Fn(&mut wire::PublishedKey)| {
        let mut key = keys(9, 1, &backend.clock).remove(0);
        change(&mut key);
        key
    };
    let cases: [(&str, wire::PublishedKey); 9] = [
        ("the future", changed(&|key| key.rolling_start_number = today + 144)),
        ("too old", changed(&|key| key.rolling_start_number = today - 16 * 144)),
        ("weak", changed(&|key| key.key = BASE64_STANDARD.encode([9; 16]))),
        ("short", changed(&|key| key.key = BASE64_STANDARD.encode([9, 8, 7]))),
        ("no base64", changed(&|key| key.key = MARK.to_owned())),
        ("a long period", changed(&|key| key.rolling_period = 145)),
        ("a negative start", changed(&|key| key.rolling_start_number = -1)),
        ("a high risk", changed(&|key| key.transmission_risk = 9)),
        ("twice", good[1].clone()),
    ];
    for (at, (what, bad)) in cases.iter().enumerate() {
        let hmac_key = [at as u8 + 1; 32];
        if *what != "twice" {
            let alone = backend.report("confirmed", std::slice::from_ref(bad), &hmac_key, "").await;
            is_refused(&backend.publish(&alone).await, 400, "bad_request", what);
        }
        let backend = Backend::start(place).await;
        let request = backend.report("confirmed", &[&good[..], std::slice::from_ref(bad)].concat(), &hmac_key, "").await;
        let answer = backend.publish(&request).await;
        assert_eq!(
            (answer.status, answer.code(), answer.json["insertedExposures"].as_i64()),
            (200, "partial_failure", Some(3)),
            "{what}"
        );
        assert_eq!(backend.publish(&request).await.code(), "partial_failure", "a repeat says it again");
        if place.is_slow() {
            break;
        }
    }
    let many: Vec<_> = (0..31).flat_map(|phone| keys(phone, 1, &backend.clock)).collect();
    is_refused(&backend.publish(&backend.report("confirmed", &many, &[40; 32], "").await).await, 400, "bad_request", "31 keys");
    let four = &backend.report("confirmed", &many[..4], &[41; 32], "").await;
    assert_eq!(backend.publish(four).await.json["insertedExposures"], 3, "at most three with the same beginning");
    let mut weak = backend.report("confirmed", &keys(50, 1, &backend.clock), &[42; 32], "").await;
    weak["hmacKey"] = json!(BASE64_STANDARD.encode([1; 15]));
    is_refused(&backend.publish(&weak).await, 400, "bad_request", "a short HMAC key");
}

pub(crate) async fn only_wrong_codes_count_and_a_right_one_passes(place: &Place) {
    let backend = Backend::with(place, |config| {
        config.policy.has_short_codes = true;
        config.wrong_codes.short = std::num::NonZeroU32::new(13).unwrap();
    })
    .await;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut wrong = || json!({ "code": VerificationCode::generate(&mut rng).as_str() }).to_string();
    for _ in 0..10 {
        assert_eq!(backend.post("/api/verify", &[], wrong()).await.code(), "code_not_found");
    }
    let answer = backend.post("/api/verify", &[], wrong()).await;
    is_refused(&answer, 429, "quota_exceeded", "the eleventh wrong code");
    assert_eq!(backend.verify(&backend.code("confirmed").await, "a").await.status, 200, "a right code always passes");
    // Nobody but a trusted proxy is believed.
    let forged = [("forwarded", "for=192.0.2.1")];
    assert_eq!(backend.post("/api/verify", &forged, wrong()).await.code(), "quota_exceeded");

    let short = backend.issue(json!({ "testType": "confirmed", "short": true })).await.text("code").to_owned();
    assert_eq!(short.len(), 8);
    for guess in 0..14 {
        let body = json!({ "code": format!("{:08}", (short.parse::<u32>().unwrap() + 1 + guess) % 100_000_000) }).to_string();
        backend.post("/api/verify", &[], body).await;
    }
    assert_eq!(backend.verify(&short, "b").await.code(), "quota_exceeded", "short codes are closed to everybody");
    assert_eq!(backend.verify(&backend.code("confirmed").await, "c").await.status, 200, "and long ones are not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_code_is_good_for_an_hour_and_only_where_there_are_any() {
    let place = Place::sqlite();
    let backend = Backend::with(&place, |config| config.policy.has_short_codes = true).await;
    let codes = [0, 1].map(|_| backend.issue(json!({ "testType": "confirmed", "short": true })));
    let [first, second] = codes;
    let (first, second) = (first.await, second.await);
    assert_eq!(backend.verify(first.text("code"), "a").await.status, 200);
    backend.clock.advance(Duration::from_secs(3600));
    assert_eq!(backend.verify(second.text("code"), "b").await.code(), "code_expired");
    let without = Backend::start(&place).await;
    assert_eq!(without.issue(json!({ "testType": "confirmed", "short": true })).await.code(), "bad_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_is_told_so_and_others_are_served_meanwhile() {
    let backend = Backend::with(&Place::sqlite(), |config| config.sender_time = Duration::from_millis(400)).await;
    let address = backend.url("").trim_start_matches("http://").to_owned();
    let mut slow_body = TcpStream::connect(&address).await.unwrap();
    let head = "POST /v1/publish HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    slow_body.write_all(head.as_bytes()).await.unwrap();
    let mut slow_head = TcpStream::connect(&address).await.unwrap();
    slow_head.write_all(b"POST /v1/publish HTT").await.unwrap();
    assert_eq!(backend.verify(&backend.code("confirmed").await, "a").await.status, 200);
    let mut answer = vec![0; 12];
    slow_body.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    let mut rest = Vec::new();
    slow_head.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn administration_needs_its_token_and_counts_in_steps_of_ten() {
    let backend = Backend::start(&Place::sqlite()).await;
    let url = |path: &str| format!("http://{}{path}", backend.admin_address());
    for path in ["/api/issue", "/api/publish-now"] {
        assert_eq!(backend.http.post(url(path)).body("{}").send().await.unwrap().status(), 401);
        let apps = backend.http.post(url(path)).header("x-api-key", backend.secret("api-key")).body("{}");
        assert_eq!(apps.send().await.unwrap().status(), 401, "the apps' key is no admin's");
        assert_eq!(backend.http.post(backend.url(path)).body("{}").send().await.unwrap().status(), 404, "not where apps call");
    }
    for _ in 0..19 {
        backend.code("confirmed").await;
    }
    let metrics = async || {
        let request = backend.http.get(url("/metrics")).bearer_auth(backend.secret("admin-token"));
        request.send().await.unwrap().text().await.unwrap()
    };
    assert!(metrics().await.contains("vigie_codes_issued_total 10\n"));
    backend.code("confirmed").await;
    assert!(metrics().await.contains("vigie_codes_issued_total 20\n"));
}
