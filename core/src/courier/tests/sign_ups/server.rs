//! A waiting list as a phone sees it.

use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::super::waitlist::*;
use super::super::super::wire::IDEMPOTENCY_KEY_HEADER;
use super::super::super::*;

pub(super) const BULLETIN_PATH: &str = "/bulletin.txt";

/// What happens to a request, in order; afterwards all goes well.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    Well,
    /// It does not arrive.
    Lost,
    /// It arrives, and the answer is lost.
    AnswerLost,
    Offline,
    /// 503, and when to come again.
    Busy(Option<u64>),
    /// It does not arrive, and this comes back.
    Says(u16, Vec<u8>),
    /// It arrives, and the receipt in the answer is this one.
    Receipt(String),
}

/// One request on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) operation: Option<String>,
    pub(super) body: Vec<u8>,
    pub(super) at: Timestamp,
}

pub(super) struct SignedUp {
    pub(super) receipt: String,
    pub(super) form: Form,
    pub(super) place: u64,
    pub(super) state: State,
    pub(super) reason: &'static str,
    hash: [u8; 32],
    secret_hash: SecretHash,
}

pub(super) struct Waitlist {
    pub(super) key: OpeningKey,
    pub(super) signer: ReceiptSigner,
    pub(super) fates: Vec<Fate>,
    pub(super) seen: Vec<Seen>,
    pub(super) people: BTreeMap<OperationId, SignedUp>,
    /// The file of the bulletin, where there is one.
    pub(super) bulletin: Option<Vec<u8>>,
    corrections: BTreeMap<OperationId, ([u8; 32], String)>,
}

/// A key for receipts, from a seed (PKCS#8 of RFC 8410).
pub(super) fn signer(id: &str, seed: u8) -> ReceiptSigner {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    ReceiptSigner::from_pkcs8(id, &[&head[..], &[seed; 32]].concat()).unwrap()
}

pub(super) fn opening_key(id: &str) -> OpeningKey {
    OpeningKey::generate(id, &mut ChaCha20Rng::seed_from_u64(id.bytes().map(u64::from).sum()))
}

fn says(status: u16, body: &impl serde::Serialize) -> Response {
    Response { status, headers: Vec::new(), body: serde_json::to_vec(body).unwrap() }
}

pub(super) fn refusal(code: ErrorCode) -> Vec<u8> {
    serde_json::to_vec(&ErrorResponse { code, error: "no".into() }).unwrap()
}

fn refuses(status: u16, code: ErrorCode) -> Response {
    Response { status, headers: Vec::new(), body: refusal(code) }
}

impl Waitlist {
    pub(super) fn new() -> Self {
        let (key, signer) = (opening_key("v1"), signer("r1", 1));
        let (people, corrections) = (BTreeMap::new(), BTreeMap::new());
        Self { key, signer, fates: Vec::new(), seen: Vec::new(), people, bulletin: None, corrections }
    }

    /// As an app knows it.
    pub(super) fn described(&self) -> WaitlistServer {
        let json = serde_json::json!({
            "url": "https://list.example/", "key_id": self.key.id(), "public_key": self.key.public_text(),
            "receipt_keys": [
                {"key_id": "r0", "public_key": signer("r0", 9).public_text()},
                {"key_id": self.signer.id(), "public_key": self.signer.public_text()},
            ],
            "form": {"name": "optional", "birth_year": "optional"},
        });
        serde_json::from_value(json).unwrap()
    }

    pub(super) fn exchange_at(&mut self, request: &Request, now: Timestamp) -> Result<Response, TransportError> {
        let header = |name: &str| request.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.clone());
        let path = request.url.strip_prefix("https://list.example").unwrap().to_string();
        if path == BULLETIN_PATH {
            let body = self.bulletin.clone().ok_or(TransportError::Offline)?;
            return Ok(Response { status: 200, headers: Vec::new(), body });
        }
        let (operation, body) = (header(IDEMPOTENCY_KEY_HEADER), request.body.clone().unwrap());
        assert!(body.len() <= MAX_WAITLIST_BODY);
        self.seen.push(Seen { path: path.clone(), operation: operation.clone(), body: body.clone(), at: now });
        let fate = if self.fates.is_empty() { Fate::Well } else { self.fates.remove(0) };
        match fate {
            Fate::Lost => Err(TransportError::TimedOut),
            Fate::Offline => Err(TransportError::Offline),
            Fate::Busy(again) => {
                let headers = again.map(|again| ("retry-after".to_string(), again.to_string())).into_iter().collect();
                Ok(Response { headers, ..refuses(503, ErrorCode::Busy) })
            }
            Fate::Says(status, body) => Ok(Response { status, headers: Vec::new(), body }),
            Fate::Well => Ok(self.answer(&path, operation.as_deref(), &body, now)),
            Fate::AnswerLost => {
                self.answer(&path, operation.as_deref(), &body, now);
                Err(TransportError::TimedOut)
            }
            Fate::Receipt(receipt) => {
                let mut answer = self.answer(&path, operation.as_deref(), &body, now);
                let mut content: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
                content["receipt"] = receipt.into();
                answer.body = serde_json::to_vec(&content).unwrap();
                Ok(answer)
            }
        }
    }

    fn answer(&mut self, path: &str, operation: Option<&str>, body: &[u8], now: Timestamp) -> Response {
        let operation = operation.map(|text| OperationId::parse(text).unwrap());
        match path {
            SIGN_UP_PATH => self.sign_up(operation.unwrap(), serde_json::from_slice(body).unwrap(), now),
            CORRECT_PATH => self.correct(operation.unwrap(), &serde_json::from_slice(body).unwrap(), now),
            STATUS_PATH | WITHDRAW_PATH => {
                assert_eq!(operation, None);
                let request: StatusRequest = serde_json::from_slice(body).unwrap();
                let known = self.people.get_mut(&request.operation_id);
                let Some(person) = known.filter(|person| person.secret_hash == request.secret.hash()) else {
                    return refuses(404, ErrorCode::UnknownOperation);
                };
                if path == WITHDRAW_PATH {
                    person.state = State::Withdrawn;
                }
                let (receipt, state, reason) = (person.receipt.clone(), person.state, person.reason.to_string());
                says(200, &StatusResponse { receipt, state, reason })
            }
            other => panic!("nobody asks for {other}"),
        }
    }

    fn sign_up(&mut self, operation: OperationId, request: SignUpRequest, now: Timestamp) -> Response {
        let hash = request.form.hash(operation, &request.secret_hash);
        match self.people.get(&operation) {
            Some(person) if person.hash == hash => return says(200, &SignUpResponse { receipt: person.receipt.clone() }),
            Some(_) => return refuses(422, ErrorCode::OperationReused),
            None if request.form.key_id != self.key.id() => return refuses(409, ErrorCode::UnknownKey),
            None => {}
        }
        let place = 10 * (self.people.len() as u64 + 1);
        let receipt = self.signer.sign(operation, place, now.unix_s(), hash);
        let (form, secret_hash) = (self.key.open(&request.form, operation).unwrap(), request.secret_hash);
        let (state, reason) = (State::Received, "");
        self.people.insert(operation, SignedUp { receipt: receipt.clone(), form, place, state, reason, hash, secret_hash });
        says(201, &SignUpResponse { receipt })
    }

    fn correct(&mut self, operation: OperationId, request: &CorrectRequest, now: Timestamp) -> Response {
        let Some(person) = self.people.get_mut(&request.operation_id) else {
            return refuses(404, ErrorCode::UnknownOperation);
        };
        let hash = request.form.hash(operation, &request.secret.hash());
        match self.corrections.get(&operation) {
            Some((known, receipt)) if *known == hash => return says(200, &SignUpResponse { receipt: receipt.clone() }),
            Some(_) => return refuses(422, ErrorCode::OperationReused),
            None if request.form.key_id != self.key.id() => return refuses(409, ErrorCode::UnknownKey),
            None => {}
        }
        person.form = self.key.open(&request.form, operation).unwrap();
        (person.state, person.reason) = (State::Received, "");
        let receipt = self.signer.sign(operation, person.place, now.unix_s(), hash);
        self.corrections.insert(operation, (hash, receipt.clone()));
        says(201, &SignUpResponse { receipt })
    }

    /// The only one who signed up.
    pub(super) fn only(&mut self) -> &mut SignedUp {
        assert_eq!(self.people.len(), 1);
        self.people.values_mut().next().unwrap()
    }

    pub(super) fn count(&self, path: &str) -> usize {
        self.seen.iter().filter(|seen| seen.path == path).count()
    }

    /// All requests of this kind are the same, byte for byte.
    pub(super) fn assert_same_bytes(&self, path: &str) {
        let mut sent = self.seen.iter().filter(|seen| seen.path == path).map(|seen| (&seen.operation, &seen.body));
        let first = sent.next().unwrap();
        assert!(sent.all(|next| next == first));
    }
}
