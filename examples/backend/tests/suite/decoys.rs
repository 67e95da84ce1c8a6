//! Decoys are answered, and change nothing.

use serde_json::json;

use crate::phone::{Backend, keys};
use crate::place::Place;

/// Real answers differ in so many bytes: a day of symptoms, a token in another base64.
const TOLERANCE: usize = 8;

pub(crate) async fn a_decoy_uses_nothing_up(place: &Place) {
    let backend = Backend::start(place).await;
    let code = backend.code("confirmed").await;
    let body = json!({ "code": code, "accept": ["confirmed"] }).to_string();
    let mut lengths = Vec::new();
    for _ in 0..30 {
        let answer = backend.post("/api/verify", &[("x-chaff", "1")], body.clone()).await;
        assert_eq!((answer.status, answer.text("token")), (200, ""));
        assert!(answer.json["padding"].is_string());
        lengths.push(answer.length);
    }
    let mut before_any_real = vec![("/api/verify", lengths)];
    for path in ["/api/certificate", "/v1/publish"] {
        let mut lengths = Vec::new();
        for _ in 0..30 {
            lengths.push(backend.post(path, &[("x-chaff", "1")], "no JSON").await.length);
        }
        before_any_real.push((path, lengths));
    }
    let real = backend.verify(&code, "a").await;
    assert_eq!(real.status, 200, "neither used up nor limited");
    let bare = real.length - real.text("padding").len();
    let mut lengths = Vec::new();
    for _ in 0..8 {
        lengths.push(backend.post("/api/verify", &[("x-chaff", "1")], "no JSON").await.length);
    }
    assert!(lengths.iter().all(|length| (bare + 1368..=bare + 2732).contains(length)), "{lengths:?}");
    assert!(lengths.iter().any(|length| *length != lengths[0]), "each with padding of its own");

    let certified = backend.certificate(real.text("token"), &[7; 32]).await;
    let request = backend.report("confirmed", &keys(1, 3, &backend.clock), &[7; 32], "").await;
    for path in ["/api/certificate", "/v1/publish"] {
        let answer = backend.post(path, &[("x-chaff", "1")], request.to_string()).await;
        assert_eq!((answer.status, answer.text("revisionToken")), (200, ""));
    }
    assert_eq!(backend.publish_now().await, 0);

    let published = backend.publish(&request).await;
    for ((path, lengths), real) in before_any_real.into_iter().zip([real, certified, published]) {
        assert_eq!(real.status, 200, "{path}");
        let bare = real.length - real.text("padding").len();
        let plausible = bare + 1368 - TOLERANCE..=bare + 2732 + TOLERANCE;
        assert!(lengths.iter().all(|length| plausible.contains(length)), "{path}: {bare} bytes and padding, and not {lengths:?}");
    }
}
