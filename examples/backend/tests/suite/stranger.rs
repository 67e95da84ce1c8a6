//! Nobody learns who is on the waiting list: all that a stranger can see, with the number of somebody who is on it and with any other.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};
use vigie::courier::waitlist::{
    CORRECT_PATH, CorrectRequest, Form, OperationId, SIGN_UP_PATH, STATUS_PATH, SealingKey, Secret, SignUpRequest, StatusRequest,
    WITHDRAW_PATH,
};

use crate::phone::{Backend, DAY};
use crate::place::Place;

const VICTIM: &str = "1893120105732";
const NOBODY: &str = "1950010112345";

pub(crate) fn form(national_number: &str, contact: &str) -> Form {
    Form {
        national_number: national_number.into(),
        name: "Ada King".into(),
        birth_year: Some(1950),
        contact: contact.into(),
        consent: true,
        ..Form::default()
    }
}

/// People who sign up, each with an operation and a secret of their own.
pub(crate) struct People {
    key: SealingKey,
    rng: ChaCha20Rng,
    last: u8,
}

impl People {
    pub(crate) fn new(backend: &Backend) -> Self {
        let client: Value = serde_json::from_slice(&std::fs::read(backend.data.path().join("client.json")).unwrap()).unwrap();
        let text = |member: &str| client["waitlist"][member].as_str().unwrap().to_owned();
        let key = SealingKey::new(&text("key_id"), &text("public_key")).unwrap();
        Self { key, rng: ChaCha20Rng::seed_from_u64(1), last: 0 }
    }

    fn operation(&mut self) -> OperationId {
        self.last += 1;
        OperationId([self.last; 16])
    }

    /// The operation, what was sent, and all that the answer shows.
    async fn send(&mut self, backend: &Backend, form: &Form) -> (OperationId, String, String) {
        let operation = self.operation();
        let form = self.key.seal(form, operation, &mut self.rng).unwrap();
        let request = SignUpRequest { form, secret_hash: secret(operation).hash() };
        let body = serde_json::to_string(&request).unwrap();
        let seen = seen(backend, SIGN_UP_PATH, Some(operation), body.clone()).await;
        (operation, body, seen)
    }

    pub(crate) async fn sign_up(&mut self, backend: &Backend, form: &Form) -> OperationId {
        let (operation, _, seen) = self.send(backend, form).await;
        assert!(seen.starts_with("201"), "{seen}");
        operation
    }
}

fn secret(operation: OperationId) -> Secret {
    Secret([operation.0[0]; 32])
}

/// All that an answer shows: status, headers, length, and the JSON with what its receipt says. Left out are the date, which is the machine's, and what
/// nobody can foresee: the hash of the sealed bytes and the proof that it was signed.
async fn seen(backend: &Backend, path: &str, operation: Option<OperationId>, body: String) -> String {
    let mut request = backend.http.post(backend.url(path)).body(body);
    if let Some(operation) = operation {
        request = request.header("idempotency-key", operation.to_string());
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let mut headers: Vec<String> = response
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let bytes = response.bytes().await.unwrap();
    let mut json: Value = serde_json::from_slice(&bytes).unwrap();
    if let Some(receipt) = json["receipt"].as_str() {
        let (content, proof) = receipt.split_once('.').unwrap();
        let mut said: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(content).unwrap()).unwrap();
        said["form_hash"] = json!(said["form_hash"].as_str().unwrap().len());
        said["proof"] = json!(proof.len());
        json["receipt"] = said;
    }
    format!("{status} {headers:?} {} {json}", bytes.len())
}

/// What a stranger sees, in this order.
struct Stranger<'a> {
    backend: &'a Backend,
    mine: Vec<OperationId>,
    seen: Vec<String>,
    read: Vec<String>,
}

impl Stranger<'_> {
    /// Asks how the own sign-ups stand, and reads the mails that came since.
    async fn look(&mut self) {
        for operation in self.mine.clone() {
            let request = StatusRequest { operation_id: operation, secret: secret(operation) };
            self.seen.push(seen(self.backend, STATUS_PATH, None, serde_json::to_string(&request).unwrap()).await);
        }
        let mut mails = mails_to(self.backend, "stranger");
        mails.retain(|(id, _)| !self.read.contains(id));
        self.read.extend(mails.iter().map(|(id, _)| id.clone()));
        let mut texts: Vec<String> = mails.iter().map(|(id, mail)| mail.replace(id, &"x".repeat(id.len()))).collect();
        texts.sort();
        self.seen.push(format!("{texts:?}"));
    }

    /// A round of opening, then one of mails.
    async fn round(&mut self) {
        self.look().await;
        self.backend.opener().open().await.unwrap();
        self.look().await;
        self.backend.opener().send().await.unwrap();
        self.look().await;
    }
}

/// Mails in the folder to addresses that begin so: id and text.
fn mails_to(backend: &Backend, begin: &str) -> Vec<(String, String)> {
    let ids = vigie_backend::waitlist::outbox(backend.data.path()).unwrap();
    let read = |id: String| {
        let text = std::fs::read_to_string(backend.data.path().join(format!("mail/{id}.eml"))).unwrap();
        (id, text)
    };
    ids.into_iter().map(read).filter(|(_, text)| text.contains(&format!("\r\nTo: {begin}"))).collect()
}

/// All that a stranger sees who signs up with this number, also before the victim does if asked; and the mails to the victim.
async fn observe(place: &Place, number: &str, is_around: bool) -> (Vec<String>, Vec<String>) {
    let backend = Backend::with(place, |config| config.waitlist_round = DAY).await;
    let mut people = People::new(&backend);
    let mut stranger = Stranger { backend: &backend, mine: Vec::new(), seen: Vec::new(), read: Vec::new() };
    if is_around {
        let (operation, _, seen) = people.send(&backend, &form(number, "stranger@example.org")).await;
        stranger.mine.push(operation);
        stranger.seen.push(seen);
        stranger.round().await;
    }
    people.sign_up(&backend, &form(VICTIM, "victim@example.org")).await;
    stranger.round().await;
    let (operation, body, answer) = people.send(&backend, &form(number, "stranger@example.org")).await;
    stranger.mine.push(operation);
    stranger.seen.push(answer);
    stranger.seen.push(seen(&backend, SIGN_UP_PATH, Some(operation), body).await);
    stranger.round().await;
    for contact in ["stranger-too@example.org", "nobody"] {
        let correction = people.operation();
        let form = people.key.seal(&form(number, contact), correction, &mut people.rng).unwrap();
        let request = CorrectRequest { operation_id: operation, secret: secret(operation), form };
        let answer = seen(&backend, CORRECT_PATH, Some(correction), serde_json::to_string(&request).unwrap()).await;
        stranger.seen.push(answer);
        stranger.round().await;
    }
    for _ in 0..2 {
        backend.clock.advance(DAY);
        stranger.round().await;
    }
    let request = StatusRequest { operation_id: operation, secret: secret(operation) };
    let withdrawn = seen(&backend, WITHDRAW_PATH, None, serde_json::to_string(&request).unwrap()).await;
    stranger.seen.push(withdrawn);
    stranger.round().await;
    let victims = mails_to(&backend, "victim").into_iter().map(|(_, mail)| mail).collect();
    (stranger.seen, victims)
}

pub(crate) async fn nobody_learns_who_is_on_the_list(place: &Place) {
    for is_around in [false, true] {
        let (with, victims) = observe(place, VICTIM, is_around).await;
        let (without, others) = observe(place, NOBODY, is_around).await;
        assert_eq!(with.len(), without.len());
        for (with, without) in with.iter().zip(&without) {
            assert_eq!(with, without);
        }
        let all = with.join("\n");
        for part in ["201 [", "200 [", "received", "processed", "rejected", "withdrawn", "your earlier number counts"] {
            assert!(all.contains(part), "{part} was not even seen");
        }
        let notices = |mails: &[String]| mails.iter().filter(|mail| mail.contains("another sign-up")).count();
        assert_eq!((victims.len(), notices(&victims)), (2, 1), "the victim is told, once");
        assert_eq!((others.len(), notices(&others)), (1, 0));
    }
}
