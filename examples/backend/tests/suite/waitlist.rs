//! The waiting list over HTTP, as it takes people in.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};
use vigie::courier::waitlist::{Form, OperationId, Receipt, ReceiptKey, RecoveryCode, SealingKey};

use vigie_backend::waitlist::Role;

use crate::phone::{Answer, Backend};
use crate::place::Place;

struct Person {
    code: RecoveryCode,
    body: String,
    form_hash: [u8; 32],
}

fn form(number: &str) -> Form {
    Form {
        national_number: number.into(),
        name: "Ada King".into(),
        birth_year: Some(1950),
        contact: "ada@example.org".into(),
        consent: true,
        ..Form::default()
    }
}

fn description(backend: &Backend) -> Value {
    serde_json::from_slice(&std::fs::read(backend.data.path().join("client.json")).unwrap()).unwrap()
}

fn sealing(backend: &Backend) -> SealingKey {
    let waitlist = &description(backend)["waitlist"];
    SealingKey::new(waitlist["key_id"].as_str().unwrap(), waitlist["public_key"].as_str().unwrap()).unwrap()
}

fn person(backend: &Backend, number: u64) -> Person {
    let rng = &mut ChaCha20Rng::seed_from_u64(number);
    let code = RecoveryCode::generate(rng);
    let sealed = sealing(backend).seal(&form(&format!("{number:06}")), code.operation_id(), rng).unwrap();
    let secret_hash = code.secret().hash();
    let form_hash = sealed.hash(code.operation_id(), &secret_hash);
    Person { body: json!({ "form": sealed, "secret_hash": secret_hash }).to_string(), code, form_hash }
}

fn receipt(backend: &Backend, answer: &Answer) -> Receipt {
    let keys = &description(backend)["waitlist"]["receipt_keys"];
    ReceiptKey::new(keys[0]["public_key"].as_str().unwrap()).unwrap().verify(answer.text("receipt")).unwrap()
}

async fn sign_up(backend: &Backend, operation: OperationId, body: &str) -> Answer {
    backend.post("/v1/waitlist", &[("idempotency-key", &operation.to_string())], body.to_owned()).await
}

pub(crate) async fn who_signs_up_gets_a_receipt_and_the_same_one_for_ever(place: &Place) {
    let mut backend = Backend::start(place).await;
    let people: Vec<Person> = (0..3).map(|number| person(&backend, number)).collect();
    let mut receipts = Vec::new();
    for (number, person) in people.iter().enumerate() {
        let answer = sign_up(&backend, person.code.operation_id(), &person.body).await;
        assert_eq!(answer.status, 201, "{}", answer.json);
        let said = receipt(&backend, &answer);
        assert_eq!(
            (said.place, said.operation_id, said.form_hash),
            (number as u64 + 1, person.code.operation_id(), person.form_hash)
        );
        receipts.push(answer.text("receipt").to_owned());
    }
    backend.restart().await;
    for (person, first) in people.iter().zip(&receipts) {
        let again = sign_up(&backend, person.code.operation_id(), &person.body).await;
        assert_eq!((again.status, again.text("receipt")), (200, first.as_str()));
    }
    let reused = sign_up(&backend, people[0].code.operation_id(), &people[1].body).await;
    assert_eq!((reused.status, reused.code()), (422, "operation_reused"));
    let next = sign_up(&backend, person(&backend, 9).code.operation_id(), &person(&backend, 9).body).await;
    assert_eq!(receipt(&backend, &next).place, 4, "what was refused has taken no place");
}

pub(crate) async fn while_there_is_no_database_everybody_is_told_when_to_come_again(place: &Place) {
    let Some(database) = place.postgresql() else { return };
    let backend = Backend::start(place).await;
    let ada = person(&backend, 1);
    database.stop();
    let told = sign_up(&backend, ada.code.operation_id(), &ada.body).await;
    assert_eq!((told.status, told.code()), (503, "busy"), "{}", told.json);
    assert!(told.retry_after_s.is_some_and(|seconds| (1..=36).contains(&seconds)), "{:?}", told.retry_after_s);
    let secret = ada.code.secret();
    let asked = json!({ "operation_id": ada.code.operation_id(), "secret": secret }).to_string();
    let told = backend.post("/v1/waitlist/status", &[], asked.clone()).await;
    assert_eq!((told.status, told.retry_after_s.is_some()), (503, true), "{}", told.json);
    let told = backend.verify("12345678", "k").await;
    assert_eq!((told.status, told.retry_after_s.is_some()), (503, true), "{}", told.json);
    database.start_again();
    assert_eq!(sign_up(&backend, ada.code.operation_id(), &ada.body).await.status, 201);
    assert_eq!(backend.post("/v1/waitlist/status", &[], asked).await.status, 200);
}

pub(crate) async fn a_receiver_takes_in_what_only_the_opener_can_read(place: &Place) {
    if place.postgresql().is_none() {
        return;
    }
    let opener = Backend::with(place, |config| config.role = Role::Open).await;
    let receiver = Backend::with(place, |config| {
        // What an operator copies.
        let [from, to] = [opener.data.path(), &config.data].map(|data| data.join("keys"));
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        config.database.clone_from(&opener.config.database);
        config.role = Role::Receive;
    })
    .await;
    assert!(reqwest::get(opener.url("/health")).await.is_err(), "who opens serves nobody");
    assert!(opener.data.path().join("open").is_dir() && !receiver.data.path().join("open").exists());

    let ada = person(&receiver, 1);
    assert_eq!(sign_up(&receiver, ada.code.operation_id(), &ada.body).await.status, 201);
    let stands = async || {
        let asked = json!({ "operation_id": ada.code.operation_id(), "secret": ada.code.secret() }).to_string();
        receiver.post("/v1/waitlist/status", &[], asked).await.text("state").to_owned()
    };
    let is_confirmed = async {
        while stands().await != "processed" || vigie_backend::waitlist::outbox(opener.data.path()).unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_confirmed).await.unwrap();
    assert!(!receiver.data.path().join("mail").exists());
}

pub(crate) async fn its_owner_sees_corrects_and_withdraws_a_sign_up_and_nobody_else(place: &Place) {
    let backend = Backend::start(place).await;
    let (ada, eve) = (person(&backend, 1), person(&backend, 2));
    let first = sign_up(&backend, ada.code.operation_id(), &ada.body).await;
    let ask = async |path: &str, code: &RecoveryCode, secret: &RecoveryCode| {
        let body = json!({ "operation_id": code.operation_id(), "secret": secret.secret() });
        backend.post(path, &[], body.to_string()).await
    };
    let stands = ask("/v1/waitlist/status", &ada.code, &ada.code).await;
    assert_eq!((stands.status, stands.text("receipt")), (200, first.text("receipt")));
    let unknown = ask("/v1/waitlist/status", &eve.code, &eve.code).await;
    let stranger = ask("/v1/waitlist/status", &ada.code, &eve.code).await;
    assert_eq!((stranger.status, &stranger.json), (404, &unknown.json), "a wrong secret is answered as if there were no sign-up");
    assert_eq!(ask("/v1/waitlist/withdraw", &ada.code, &eve.code).await.status, 404);

    let own = OperationId([5; 16]);
    let sealed = sealing(&backend).seal(&form("000001"), own, &mut ChaCha20Rng::seed_from_u64(5)).unwrap();
    let body = json!({ "operation_id": ada.code.operation_id(), "secret": ada.code.secret(), "form": sealed }).to_string();
    let correct = async || backend.post("/v1/waitlist/correct", &[("idempotency-key", &own.to_string())], body.clone()).await;
    let corrected = correct().await;
    assert_eq!((corrected.status, receipt(&backend, &corrected).place), (201, 1));
    let again = correct().await;
    assert_eq!((again.status, again.text("receipt")), (200, corrected.text("receipt")));

    for _ in 0..2 {
        let gone = ask("/v1/waitlist/withdraw", &ada.code, &ada.code).await;
        assert_eq!((gone.status, gone.text("state")), (200, "withdrawn"));
    }
    assert_eq!(ask("/v1/waitlist/status", &ada.code, &ada.code).await.text("state"), "withdrawn");
    assert_eq!(sign_up(&backend, ada.code.operation_id(), &ada.body).await.text("receipt"), first.text("receipt"));
}

pub(crate) async fn what_is_no_sign_up_is_refused_and_not_repeated(place: &Place) {
    const MARK: &str = "p3rs0nal";
    let backend = Backend::start(place).await;
    let good = person(&backend, 1);
    let operation = good.code.operation_id();
    let with = |pointer: &str, value: Value| {
        let mut body: Value = serde_json::from_str(&good.body).unwrap();
        *body.pointer_mut(pointer).unwrap() = value;
        body.to_string()
    };
    for (body, status, code) in [
        (String::new(), 400, "bad_request"),
        (MARK.to_owned(), 400, "bad_request"),
        ("[".repeat(4_000), 400, "bad_request"),
        ("x".repeat(4_097), 413, "bad_request"),
        (with("/form/sealed", json!("AAAA")), 400, "bad_request"),
        (with("/form/encapsulated", json!(MARK)), 400, "bad_request"),
        (with("/secret_hash", json!("AAAA")), 400, "bad_request"),
        (with("/form/key_id", json!(MARK)), 409, "unknown_key"),
        (with("/form/key_id", json!("")), 400, "bad_request"),
    ] {
        let answer = sign_up(&backend, operation, &body).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{body}");
        assert!(!answer.json.to_string().contains(MARK), "{}", answer.json);
    }
    for id in ["", "1", &"0".repeat(31), &"g".repeat(32), &"A".repeat(32)] {
        let answer = backend.post("/v1/waitlist", &[("idempotency-key", id)], good.body.clone()).await;
        assert_eq!((answer.status, answer.code()), (400, "bad_request"), "{id}");
    }
    let first = sign_up(&backend, operation, &good.body).await;
    assert_eq!((first.status, receipt(&backend, &first).place), (201, 1), "nothing of all that was stored");
}

pub(crate) async fn an_operator_sees_figures_and_nobody_without_the_token_does(place: &Place) {
    let backend = Backend::start(place).await;
    for number in 1..=3 {
        let person = person(&backend, number);
        assert_eq!(sign_up(&backend, person.code.operation_id(), &person.body).await.status, 201);
    }
    let url = |path: &str| format!("http://{}{path}", backend.admin_address());
    assert_eq!(backend.http.get(url("/api/operations")).send().await.unwrap().status(), 401);
    let request = backend.http.get(url("/api/operations")).header("x-api-key", backend.secret("admin-token"));
    let text = request.send().await.unwrap().text().await.unwrap();
    let figures: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&figures["sign_ups"], &figures["failed"]), (&json!(3), &json!(0)), "{text}");
    assert!(figures.as_object().unwrap().values().all(Value::is_u64), "numbers alone: {text}");
    let page = backend.http.get(url("/")).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe-inline"), "{policy}");
    let html = page.text().await.unwrap();
    assert!(!html.contains("<style") && !html.contains("style=") && !html.contains("onclick"), "nothing inline");
}
