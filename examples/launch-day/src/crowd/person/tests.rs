//! Who plays a person waits as the library's courier makes one wait: both get the same answers and the same chance.

use hyper::HeaderMap;
use rand::SeedableRng;
use vigie::courier::waitlist::{Form, OpeningKey, ReceiptSigner, RecoveryCode, SIGN_UP_PATH};
use vigie::courier::{Context, Courier, Next, Response, Servers, TransportError};
use vigie::store::Store;

use super::*;

const START: Timestamp = Timestamp::from_unix_s(1_605_000_000);

/// So long an attempt takes, whatever becomes of it.
const TAKES: Duration = Duration::from_millis(300);

/// More than all attempts take.
const LONGEST: Duration = Duration::from_secs(10 * 3_600);

/// What becomes of an attempt.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// A status, and when to come again, where that is said.
    Says(u16, Option<u64>),
    NoAnswer,
    NoConnection,
}

impl Fate {
    /// As the crowd's own connection tells it.
    fn told(self) -> Result<Answer, u16> {
        let (status, again) = match self {
            Self::Says(status, again) => (StatusCode::from_u16(status).unwrap(), again),
            Self::NoAnswer => return Err(NO_ANSWER),
            Self::NoConnection => return Err(NO_CONNECTION),
        };
        let headers: HeaderMap = again.map(|seconds| (header::RETRY_AFTER, seconds.into())).into_iter().collect();
        Ok(Answer { status, retry_after: retry_after(&headers), body: Bytes::new() })
    }

    /// As the library's HTTP client tells it. `Offline` is for a device without a network, which nobody in the crowd is.
    fn carried(self) -> Result<Response, TransportError> {
        match self {
            Self::Says(status, again) => {
                let headers = again.map(|seconds| ("retry-after".to_owned(), seconds.to_string())).into_iter().collect();
                Ok(Response { status, headers, body: Vec::new() })
            }
            Self::NoAnswer => Err(TransportError::TimedOut),
            Self::NoConnection => Err(TransportError::Failed { reason: "connection refused".to_owned() }),
        }
    }
}

/// When a person of the crowd makes attempts, from the start.
fn of_the_crowd(fates: &[Fate], seed: u64) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (start, mut fates, mut times) = (Instant::now(), fates.iter(), Vec::new());
        let attempt = async || {
            // As the library counts it.
            times.push(START.after(start.elapsed()).since(START));
            tokio::time::sleep(TAKES).await;
            fates.next().copied().unwrap_or(Fate::Says(201, None)).told()
        };
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let outcome = repeat(attempt, (start, START), Duration::ZERO, LONGEST, &mut rng).await;
        assert!(outcome.acknowledged.is_some() && outcome.failed.len() + 1 == times.len(), "{outcome:?}");
        times
    })
}

/// A waiting list, and nothing else that anything could be sent to.
fn servers(rng: &mut ChaCha20Rng) -> Servers {
    let der = [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &[7; 32]].concat();
    let json = serde_json::json!({
        "verification_url": "https://verify.example", "api_key": "key", "publish_url": "https://keys.example/v1/publish",
        "health_authority_id": "lu", "key_lists": [], "public_keys": [],
        "waitlist": {
            "url": "https://list.example", "key_id": "v1", "public_key": OpeningKey::generate("v1", rng).public_text(),
            "receipt_keys": [{"key_id": "r1", "public_key": ReceiptSigner::from_pkcs8("r1", &der).unwrap().public_text()}],
            "form": {"name": "absent", "birth_year": "absent"},
        },
    });
    let mut servers = Servers::from_json(json.to_string().as_bytes()).unwrap();
    // No decoy in between.
    servers.decoy_mean_s = u64::MAX / 1_000;
    servers
}

/// When the library's courier makes attempts, from the start. Chance is that of the crowd where it says when the next one is, and another's elsewhere.
fn of_the_courier(fates: &[Fate], seed: u64) -> Vec<Duration> {
    let (mut rng, mut others) = (ChaCha20Rng::seed_from_u64(seed), ChaCha20Rng::seed_from_u64(!seed));
    let mut courier = Courier::new(servers(&mut others), "nothing is fetched".into());
    let mut store = Store::in_memory(&mut others).unwrap();
    let form = Form { national_number: "19800101".into(), contact: "ada@example.org".into(), consent: true, ..Form::default() };
    let code = RecoveryCode::generate(&mut others);
    courier.sign_up(&mut Context { store: &mut store, now: START, rng: &mut others }, &form, &code).unwrap();
    let (mut now, mut fates, mut times) = (START, fates.iter(), Vec::new());
    loop {
        match courier.next(&mut Context { store: &mut store, now, rng: &mut others }).unwrap() {
            Next::Wait(wait) => now = now.after(wait),
            Next::Match(_) => unreachable!("there are no key lists"),
            Next::Send(errand) => {
                assert!(errand.request.url.ends_with(SIGN_UP_PATH));
                times.push(now.since(START));
                let Some(fate) = fates.next() else { return times };
                now = now.after(TAKES);
                courier.answered(&mut Context { store: &mut store, now, rng: &mut rng }, *errand, fate.carried()).unwrap();
            }
        }
    }
}

#[test]
fn a_person_of_the_crowd_waits_as_long_as_the_librarys_courier_makes_one_wait() {
    let refused = Fate::Says(503, Some(7));
    let courses = [
        vec![refused, Fate::NoAnswer, Fate::NoConnection],
        vec![Fate::NoConnection, refused, refused, Fate::Says(500, None), Fate::NoAnswer, Fate::NoConnection, refused],
        vec![Fate::Says(408, None), Fate::Says(429, Some(7)), Fate::Says(503, None), Fate::Says(503, Some(0))],
    ];
    for seed in 0..200 {
        for fates in &courses {
            assert_eq!(of_the_crowd(fates, seed), of_the_courier(fates, seed), "{seed}: {fates:?}");
        }
    }
}

#[test]
fn what_is_refused_for_good_is_not_repeated() {
    let is_final = |status| is_final(StatusCode::from_u16(status).unwrap());
    assert!([400, 404, 409, 413, 422].into_iter().all(is_final));
    assert!(![200, 201, 408, 425, 429, 500, 503].into_iter().any(is_final));
}
