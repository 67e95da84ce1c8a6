//! What a person does who reports: a code is verified, turned into a certificate for her keys, and the keys are published.
//!
//! The bodies are those of `vigie::courier::wire`, as long as the library's own; nothing is waited for between them.

use std::cell::RefCell;

use anyhow::{Context, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vigie::courier::wire::{
    API_KEY_HEADER, CertificateRequest, CertificateResponse, HMAC_KEY_LEN, IDEMPOTENCY_KEY_HEADER, PLAIN_HEADER, PublishRequest,
    PublishResponse, PublishedKey, VerifyRequest, VerifyResponse, keys_hmac,
};
use vigie::keys::TemporaryExposureKey;
use vigie::time::EnIntervalNumber;

use super::connection::Connection;

/// Keys of a report: one for each of the last days that have ended.
pub(super) const KEYS: u32 = 13;

/// Intervals of a day.
const DAY: u32 = 144;

/// Bytes of the first two bodies, as the library pads them.
const SMALL_BODY: usize = 4096;

/// Bytes of a publish.
const LARGE_BODY: usize = 12_288;

/// Everybody who reports to one server.
pub(super) struct People {
    pub(super) api_key: String,
    pub(super) health_authority_id: String,
    pub(super) admin_token: String,
    /// The first interval of today.
    pub(super) today: EnIntervalNumber,
    pub(super) rng: RefCell<ChaCha20Rng>,
}

impl People {
    /// Asks for a code, as a health authority does.
    pub(super) async fn code(&self, connection: &mut Connection) -> anyhow::Result<String> {
        let request = json!({ "testType": "confirmed" }).to_string().into_bytes();
        let answer = connection.post("/api/issue", &[(API_KEY_HEADER, &self.admin_token)], request).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        answer["code"].as_str().map(str::to_owned).context("the server gave no code")
    }

    /// Puts what was reported into files, now.
    pub(super) async fn publish_now(&self, connection: &mut Connection) -> anyhow::Result<()> {
        let headers = [(API_KEY_HEADER, self.admin_token.as_str())];
        connection.post("/api/publish-now", &headers, Vec::new()).await.map(drop).context("nothing can be published")
    }

    /// A whole report.
    pub(super) async fn report(&self, connection: &mut Connection, code: &str) -> anyhow::Result<()> {
        let (keys, hmac_key) = self.keys();
        let accept = vec!["confirmed".to_owned(), "likely".to_owned()];
        let request = VerifyRequest { code: code.to_owned(), accept, padding: String::new() };
        let filled = |padding| VerifyRequest { padding, ..request.clone() };
        let verified: VerifyResponse = self.ask(connection, "/api/verify", filled, SMALL_BODY).await?;

        let ekeyhmac = BASE64_STANDARD.encode(keys_hmac(&keys, &hmac_key));
        let filled = |padding| CertificateRequest { token: verified.token.clone(), ekeyhmac: ekeyhmac.clone(), padding };
        let certified: CertificateResponse = self.ask(connection, "/api/certificate", filled, SMALL_BODY).await?;

        let filled = |padding| PublishRequest {
            temporary_exposure_keys: keys.clone(),
            health_authority_id: self.health_authority_id.clone(),
            verification_payload: certified.certificate.clone(),
            hmac_key: BASE64_STANDARD.encode(hmac_key),
            symptom_onset_interval: 0,
            traveler: false,
            revision_token: String::new(),
            padding,
        };
        let published: PublishResponse = self.ask(connection, "/v1/publish", filled, LARGE_BODY).await?;
        ensure!(published.inserted_exposures == i64::from(KEYS), "/v1/publish: not every key was taken");
        Ok(())
    }

    /// Keys of a new phone, and the key of their HMAC.
    fn keys(&self) -> (Vec<PublishedKey>, [u8; HMAC_KEY_LEN]) {
        let mut rng = self.rng.borrow_mut();
        let day = |back: u32| EnIntervalNumber::new(self.today.number().saturating_sub(back * DAY));
        let keys = (1..=KEYS).map(|back| PublishedKey::of(&TemporaryExposureKey::generate(day(back), &mut *rng))).collect();
        let mut hmac_key = [0; HMAC_KEY_LEN];
        rng.fill_bytes(&mut hmac_key);
        (keys, hmac_key)
    }

    /// One step: a request of about `length` bytes, and its answer.
    async fn ask<T: Serialize, A: DeserializeOwned>(
        &self,
        connection: &mut Connection,
        path: &str,
        filled: impl Fn(String) -> T,
        length: usize,
    ) -> anyhow::Result<A> {
        let bare = serde_json::to_vec(&filled(String::new()))?.len();
        let (padding, operation) = {
            let mut rng = self.rng.borrow_mut();
            let mut noise = vec![0; length.saturating_sub(bare) / 4 * 3];
            rng.fill_bytes(&mut noise);
            (BASE64_STANDARD.encode(noise), format!("{:032x}", rng.next_u64()))
        };
        let headers = [(API_KEY_HEADER, self.api_key.as_str()), (IDEMPOTENCY_KEY_HEADER, &operation), (PLAIN_HEADER, "1")];
        let answer: Bytes =
            connection.post(path, &headers, serde_json::to_vec(&filled(padding))?).await.with_context(|| path.to_owned())?;
        serde_json::from_slice(&answer).with_context(|| format!("{path}: the answer is not the JSON of this call"))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn each_phone_has_keys_of_its_own_for_whole_days_that_have_ended() {
        let people = People {
            api_key: String::new(),
            health_authority_id: String::new(),
            admin_token: String::new(),
            today: EnIntervalNumber::new(2_671_200),
            rng: RefCell::new(ChaCha20Rng::seed_from_u64(1)),
        };
        let ((first, hmac_key), (second, other)) = (people.keys(), people.keys());
        assert_eq!(first.len(), 13);
        assert_eq!(first[0].rolling_start_number, 2_671_200 - 144);
        assert_eq!(first[12].rolling_start_number, 2_671_200 - 13 * 144);
        assert!(first.iter().all(|key| key.rolling_period == 144));
        assert!(first.iter().all(|key| second.iter().all(|of_other| key.key != of_other.key)));
        assert_ne!(hmac_key, other);
    }
}
