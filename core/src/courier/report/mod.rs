//! A report of a diagnosis on its way: three steps, each repeated with the same bytes until its answer is stored.
//!
//! ```text
//! Verify ------ token ------> Certificate ------ certificate ------> Publish ------ revision token ------> Ended: done
//!    |  code_invalid, ..           |  token_expired, ..                 |  certificate invalid: once more to Certificate
//!    v                             v                                    v
//! Ended: needs a new code       Ended: needs a new code              Ended: refused
//! ```
//!
//! Each step has an operation id of its own. A server that knows it repeats its answer; a deployed one that does not refuses a used code or
//! token, and then the app asks for a new code: keys and consent are still here. What was refused goes on as a decoy through the steps that are
//! left, so that nobody on the way sees how it ended.
//!
//! A decoy is the same machine with random content. Bodies are filled up to a size that does not depend on what is in them.

mod answers;
mod decoy;
mod sending;

use serde::{Deserialize, Serialize};

use base64::prelude::{BASE64_STANDARD, Engine};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::code::VerificationCode;
use super::servers::Servers;
use super::transport::{Destination, Request};
use super::wire::{
    API_KEY_HEADER, CHAFF_HEADER, CertificateRequest, HMAC_KEY_LEN, IDEMPOTENCY_KEY_HEADER, PLAIN_HEADER, PublishRequest,
    PublishedKey, VerifyRequest, keys_hmac,
};
use crate::time::EnIntervalNumber;

use answers::Verdict;
use decoy::next_decoy;
#[cfg(test)]
pub(super) use sending::send_decoy;
pub use sending::{make_report, report_again, reports, withdraw_report};

/// Bodies of the first two steps have at least this length, and up to a quarter more.
const SMALL_BODY: usize = 4_096;

/// The body of a publish: 30 keys, a certificate and a revision token fit into it with 1 KiB of padding.
const LARGE_BODY: usize = 12_288;

/// The least padding, in characters, as servers ask for it.
const MIN_PADDING: usize = 1_024;

/// An answer to a report, in bytes: far more than any server pads to.
const MAX_ANSWER: u64 = 256 * 1024;

/// Where a report stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    Verify,
    Certificate,
    Publish,
    Ended,
}

/// Why a report cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// The server does not take this kind of test, these keys or this revision. The word is the interface's.
    Server {
        /// `invalid_test_type`, `bad_request` and so on.
        code: String,
    },
    /// Nothing was sent by this device in the last 14 days that a server would take.
    NoKeys,
}

/// How a report ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    NeedsNewCode,
    Refused(Refusal),
    Done { keys: u32 },
}

/// A report, with all that is needed to repeat it. Kept in the outbox as JSON.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) step: Step,
    pub(super) is_decoy: bool,
    pub(super) outcome: Option<Outcome>,
    /// The clock seemed to be ahead by so many seconds when the server refused keys as from the future.
    pub(super) clock_ahead_s: Option<i64>,
    /// The last attempt found no network.
    pub(super) is_offline: bool,
    pub(super) keys: Vec<PublishedKey>,
    symptom_onset: Option<u32>,
    traveler: bool,
    /// Of the present step, as it is sent.
    operation: String,
    body: String,
    hmac_key: String,
    token: String,
    pub(super) renewals: u32,
    /// Its keys were on the way to the server: whether they arrived is known by an answer alone.
    pub(super) may_be_published: bool,
}

/// What a person says of a diagnosis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportDetails {
    /// The interval in which symptoms began, where there were any.
    pub symptom_onset: Option<EnIntervalNumber>,
    /// Whether the person was abroad in the last 14 days.
    pub traveler: bool,
}

impl Report {
    /// A report of these keys, to be sent with this code.
    pub(super) fn new(
        keys: Vec<PublishedKey>,
        details: ReportDetails,
        code: &VerificationCode,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Self {
        let mut report = Self {
            step: Step::Verify,
            is_decoy: false,
            outcome: None,
            clock_ahead_s: None,
            is_offline: false,
            keys,
            symptom_onset: details.symptom_onset.map(EnIntervalNumber::number),
            traveler: details.traveler,
            operation: String::new(),
            body: String::new(),
            hmac_key: String::new(),
            token: String::new(),
            renewals: 0,
            may_be_published: false,
        };
        report.begin(code, rng);
        report
    }

    /// Begins anew with another code. Keys and consent stay.
    pub(super) fn begin(&mut self, code: &VerificationCode, rng: &mut (impl CryptoRng + ?Sized)) {
        let accept = ["confirmed", "likely"].map(String::from).to_vec();
        let request = VerifyRequest { code: code.as_str().to_string(), accept, padding: String::new() };
        (self.outcome, self.clock_ahead_s, self.token, self.renewals) = (None, None, String::new(), 0);
        self.enter(Step::Verify, &request, |request, padding| request.padding = padding, SMALL_BODY, rng);
    }

    /// From the bytes of the outbox; `None` where they are not a report.
    pub(super) fn decode(content: &[u8]) -> Option<Self> {
        serde_json::from_slice(content).ok()
    }

    /// To the bytes of the outbox. What has ended keeps no secret.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Only maps with keys that are no text fail, and there are none.
        Zeroizing::new(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The present step, as it is sent, each time the same.
    pub(super) fn request(&self, servers: &Servers) -> Request {
        let url = match self.step {
            Step::Verify => format!("{}/api/verify", servers.verification_url),
            Step::Certificate => format!("{}/api/certificate", servers.verification_url),
            Step::Publish | Step::Ended => servers.publish_url.clone(),
        };
        let headers = vec![
            ("content-type", "application/json".to_string()),
            ("accept", "application/json".to_string()),
            (API_KEY_HEADER, servers.api_key.clone()),
            (IDEMPOTENCY_KEY_HEADER, self.operation.clone()),
            (if self.is_decoy { CHAFF_HEADER } else { PLAIN_HEADER }, "1".to_string()),
        ];
        let body = Some(self.body.clone().into_bytes());
        Request { url, headers, body, destination: Destination::Memory { limit: MAX_ANSWER } }
    }

    fn enter_certificate(&mut self, rng: &mut (impl CryptoRng + ?Sized)) {
        // A certificate that is renewed is for the same keys under the same HMAC key: another one is refused for good.
        if self.hmac_key.is_empty() {
            let mut key = [0; HMAC_KEY_LEN];
            rng.fill_bytes(&mut key);
            self.hmac_key = BASE64_STANDARD.encode(key);
        }
        let hmac_key = BASE64_STANDARD.decode(&self.hmac_key).unwrap_or_default();
        let ekeyhmac = BASE64_STANDARD.encode(keys_hmac(&self.keys, &hmac_key));
        let request = CertificateRequest { token: self.token.clone(), ekeyhmac, padding: String::new() };
        self.enter(Step::Certificate, &request, |request, padding| request.padding = padding, SMALL_BODY, rng);
    }

    fn enter_publish(&mut self, certificate: String, authority: &str, revision_token: &str, rng: &mut (impl CryptoRng + ?Sized)) {
        let request = PublishRequest {
            temporary_exposure_keys: self.keys.clone(),
            health_authority_id: authority.to_string(),
            verification_payload: certificate,
            hmac_key: self.hmac_key.clone(),
            symptom_onset_interval: self.symptom_onset.map_or(0, i64::from),
            traveler: self.traveler,
            revision_token: revision_token.to_string(),
            padding: String::new(),
        };
        // Kept before its first byte is sent.
        self.may_be_published = true;
        self.enter(Step::Publish, &request, |request, padding| request.padding = padding, LARGE_BODY, rng);
    }

    /// The revision token that goes with the publish in flight is for other keys: without one, the server says whether it has these.
    fn publish_without_token(&mut self, rng: &mut (impl CryptoRng + ?Sized)) -> bool {
        let Ok(mut request) = serde_json::from_str::<PublishRequest>(&self.body) else { return false };
        if request.revision_token.is_empty() {
            return false;
        }
        (request.revision_token, request.padding) = (String::new(), String::new());
        self.enter(Step::Publish, &request, |request, padding| request.padding = padding, LARGE_BODY, rng);
        true
    }

    /// Makes the bytes of a step, once. `length` and up to a quarter more is the length of its body, whatever is in it.
    fn enter<T: Serialize + Clone>(
        &mut self,
        step: Step,
        request: &T,
        pad: impl FnOnce(&mut T, String),
        length: usize,
        rng: &mut (impl CryptoRng + ?Sized),
    ) {
        let mut operation = [0; 16];
        rng.fill_bytes(&mut operation);
        let bare = serde_json::to_string(request).unwrap_or_default().len();
        let target = length + rng.next_u64() as usize % (length / 4);
        let mut padded = request.clone();
        // 4 less, because base64 comes in fours: spaces behind the JSON make the length exact.
        pad(&mut padded, filler(target.saturating_sub(bare + 4).max(MIN_PADDING), rng));
        self.step = step;
        self.operation = operation.iter().map(|byte| format!("{byte:02x}")).collect();
        self.body = serde_json::to_string(&padded).unwrap_or_default();
        // Content that does not fit is as long as the next whole kibibyte.
        let length = if self.body.len() <= target { target } else { self.body.len().next_multiple_of(1_024) };
        self.body.extend(std::iter::repeat_n(' ', length - self.body.len()));
    }
}

/// Random base64 of this length, or up to 3 less.
fn filler(length: usize, rng: &mut (impl CryptoRng + ?Sized)) -> String {
    let mut bytes = vec![0; length / 4 * 3];
    rng.fill_bytes(&mut bytes);
    BASE64_STANDARD.encode(bytes)
}
