//! A server under test with a clock of its own, and the phones that call it.

use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};
use tempfile::TempDir;
use vigie::courier::wire::{self, PublishedKey};
use vigie::diagnosis::{DiagnosisKey, PublicKey, SignedExport};
use vigie::keys::TemporaryExposureKey;
use vigie::time::{Clock, EnIntervalNumber, ManualClock, Timestamp};
use vigie_backend::config::Config;
use vigie_backend::waitlist::Opener;
use vigie_backend::{Server, database::Postgres, database::Sqlite, database::Transaction};

use crate::place::Place;

/// 22 October 2020, 18:00, in milliseconds.
pub(crate) const LAUNCH: i64 = 1_603_389_600_000;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) length: usize,
    /// In how many seconds to come again.
    pub(crate) retry_after_s: Option<u64>,
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) fn text(&self, member: &str) -> &str {
        self.json[member].as_str().unwrap_or_default()
    }

    /// The word of a refusal, of either server.
    pub(crate) fn code(&self) -> &str {
        if self.json["errorCode"].is_string() { self.text("errorCode") } else { self.text("code") }
    }
}

/// A published file.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) keys: Vec<DiagnosisKey>,
    pub(crate) revised: Vec<DiagnosisKey>,
}

/// A server under test.
pub(crate) struct Backend {
    server: Option<Server>,
    pub(crate) config: Config,
    pub(crate) clock: ManualClock,
    pub(crate) data: TempDir,
    pub(crate) http: reqwest::Client,
}

impl Backend {
    pub(crate) async fn start(place: &Place) -> Self {
        Self::with(place, |_| {}).await
    }

    pub(crate) async fn with(place: &Place, change: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = place.config(data.path()).await;
        change(&mut config);
        let clock = ManualClock::new(Timestamp::from_unix_ms(LAUNCH));
        install_provider();
        let mut backend = Self { server: None, config, clock, data, http: reqwest::Client::new() };
        backend.restart().await;
        backend
    }

    /// Ends it in order.
    pub(crate) async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown().await;
        }
    }

    /// Ends it in order, and starts it again on the same data.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.server = Some(Server::start(self.config.clone(), Arc::new(self.clock.clone())).await.unwrap());
    }

    /// Another instance on the same data.
    pub(crate) async fn beside(&self) -> Server {
        Server::start(self.config.clone(), Arc::new(self.clock.clone())).await.unwrap()
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// What opens and confirms sign-ups.
    pub(crate) fn opener(&self) -> &Opener {
        self.server().opener().unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server().public_address())
    }

    pub(crate) fn admin_address(&self) -> std::net::SocketAddr {
        self.server().admin_address()
    }

    pub(crate) fn secret(&self, name: &str) -> String {
        std::fs::read_to_string(self.data.path().join("keys").join(name)).unwrap()
    }

    /// Calls as an app does.
    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
        let mut request = self.http.post(self.url(path)).header("x-api-key", self.secret("api-key")).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    }

    pub(crate) async fn issue(&self, request: Value) -> Answer {
        let url = format!("http://{}/api/issue", self.server().admin_address());
        answer(self.http.post(url).bearer_auth(self.secret("admin-token")).body(request.to_string())).await
    }

    pub(crate) async fn code(&self, test_type: &str) -> String {
        self.issue(json!({ "testType": test_type })).await.text("code").to_owned()
    }

    pub(crate) async fn verify(&self, code: &str, idempotency_key: &str) -> Answer {
        let body = json!({ "code": code, "accept": ["confirmed", "likely", "negative"], "padding": "AAAA" });
        self.post("/api/verify", &[("idempotency-key", idempotency_key)], body.to_string()).await
    }

    pub(crate) async fn certificate(&self, token: &str, hmac: &[u8]) -> Answer {
        let body = json!({ "token": token, "ekeyhmac": BASE64_STANDARD.encode(hmac), "padding": "AAAA" });
        self.post("/api/certificate", &[], body.to_string()).await
    }

    pub(crate) async fn publish(&self, request: &Value) -> Answer {
        self.post("/v1/publish", &[], request.to_string()).await
    }

    /// A certified report of these keys.
    pub(crate) async fn report(&self, test_type: &str, keys: &[PublishedKey], hmac_key: &[u8], revision_token: &str) -> Value {
        let code = self.code(test_type).await;
        let token = self.verify(&code, &code).await.text("token").to_owned();
        let certificate = self.certificate(&token, &wire::keys_hmac(keys, hmac_key)).await.text("certificate").to_owned();
        assert!(!certificate.is_empty());
        json!({
            "temporaryExposureKeys": keys, "healthAuthorityID": "org.example", "verificationPayload": certificate,
            "hmacKey": BASE64_STANDARD.encode(hmac_key), "revisionToken": revision_token, "padding": "AAAA",
        })
    }

    pub(crate) async fn publish_now(&self) -> usize {
        self.server().publish_now().await.unwrap()
    }

    /// What an app downloads, each file verified with the keys of `client.json`.
    pub(crate) async fn files(&self) -> Vec<File> {
        let client: Value = serde_json::from_slice(&std::fs::read(self.data.path().join("client.json")).unwrap()).unwrap();
        let keys: Vec<PublicKey> =
            client["public_keys"].as_array().unwrap().iter().map(|key| key["pem"].as_str().unwrap().parse().unwrap()).collect();
        let list = &client["key_lists"][0];
        let index = self.http.get(list["index_url"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(index.headers()["cache-control"], "public, max-age=300");
        let index = index.error_for_status().unwrap().text().await.unwrap();
        let mut files = Vec::new();
        for name in index.lines() {
            let url = format!("{}{name}", list["base_url"].as_str().unwrap());
            let response = self.http.get(url).send().await.unwrap().error_for_status().unwrap();
            assert_eq!(response.headers()["cache-control"], "public, max-age=1209600, immutable");
            let zip = response.bytes().await.unwrap();
            let export = SignedExport::read(std::io::Cursor::new(zip)).unwrap().verify(&keys).unwrap();
            let (revised, keys): (Vec<_>, Vec<_>) = export.keys().partition(|exported| exported.is_revised);
            let sound = |exported: Vec<vigie::diagnosis::ExportedKey>| exported.into_iter().map(|e| e.key.unwrap()).collect();
            files.push(File { name: name.to_owned(), keys: sound(keys), revised: sound(revised) });
        }
        files
    }

    /// Looks into the database as somebody would who stole it.
    pub(crate) async fn look<T: Send + 'static>(&self, look: impl Fn(&mut dyn Transaction) -> T + Send + 'static) -> T {
        let (url, path) = (self.config.database.clone(), self.data.path().join("backend.sqlite"));
        let work = move || {
            let mut database: Box<dyn vigie_backend::database::Database> = match url {
                Some(url) => Box::new(Postgres::connect(&url).unwrap()),
                None => Box::new(Sqlite::open(&path).unwrap()),
            };
            database.run(|transaction| Ok::<_, vigie_backend::database::DatabaseError>(look(transaction))).unwrap()
        };
        tokio::task::spawn_blocking(work).await.unwrap()
    }
}

/// The client of the tests wants one, also where it only speaks HTTP.
pub(crate) fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let retry_after = response.headers().get(reqwest::header::RETRY_AFTER).map(|value| value.to_str().unwrap().parse().unwrap());
    let bytes = response.bytes().await.unwrap();
    Answer { status, length: bytes.len(), retry_after_s: retry_after, json: serde_json::from_slice(&bytes).unwrap_or_default() }
}

/// The keys of a phone: today's, and those of the days before.
pub(crate) fn keys(phone: u64, days: u32, now: &ManualClock) -> Vec<PublishedKey> {
    let mut rng = ChaCha20Rng::seed_from_u64(phone);
    let today = now.now().interval().day_start();
    let day = |back: u32| PublishedKey::of(&TemporaryExposureKey::generate(EnIntervalNumber::minus(today, back * 144), &mut rng));
    (0..days).map(day).collect()
}

/// Whether a file has this key.
pub(crate) fn has(keys: &[DiagnosisKey], key: &PublishedKey) -> bool {
    keys.iter().any(|found| BASE64_STANDARD.encode(found.key.as_bytes()) == key.key)
}
