//! What goes over the wire for a report: the JSON of the deployed verification and key servers (v1).
//!
//! ```text
//! device                                        server
//! POST /api/verify       VerifyRequest      ->  VerifyResponse       code -> token
//! POST /api/certificate  CertificateRequest ->  CertificateResponse  token + HMAC of the keys -> certificate
//! POST /v1/publish       PublishRequest     ->  PublishResponse      keys + HMAC key + certificate -> revision token
//! ```
//!
//! Sources: google/exposure-notifications-server `pkg/api/v1/exposure_types.go`, google/exposure-notifications-verification-server
//! `pkg/api/api.go` and its `docs/api.md`. Both sides are here: our client speaks what our reference backend reads. Requests refuse members that
//! they do not know, as deployed servers do; answers may have more than we know.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use rand_core::CryptoRng;
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::keys::{KeyError, TemporaryExposureKey};

/// The largest body that a server takes, in bytes.
pub const MAX_BODY: usize = 64_000;

/// The most keys in one report.
pub const MAX_KEYS: usize = 30;

/// Bytes of the key under which a device binds its keys to the certificate; servers ask for at least 16.
pub const HMAC_KEY_LEN: usize = 32;

/// Marks a decoy; its value is `1`.
pub const CHAFF_HEADER: &str = "x-chaff";

/// A real request carries this instead, so that it is as long: also where HTTP/2 compresses headers, since both names take 41 bits of the
/// Huffman code of RFC 7541, appendix B.
pub const PLAIN_HEADER: &str = "x-plain";

/// The operation id of a step: a server answers a repeat as it answered first.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";

/// The key that says which app is asking.
pub const API_KEY_HEADER: &str = "x-api-key";

/// A code, asked for what it is worth.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// The code.
    pub code: String,
    /// Types of test that the app can handle: `confirmed`, `likely`, `negative`.
    #[serde(default)]
    pub accept: Vec<String>,
    /// Random, not content.
    #[serde(default)]
    pub padding: String,
}

/// What a code is worth.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct VerifyResponse {
    /// The type of test.
    #[serde(default)]
    pub testtype: String,
    /// The onset of symptoms, `YYYY-MM-DD`, where the health authority knows it.
    #[serde(rename = "symptomDate", default, skip_serializing_if = "Option::is_none")]
    pub symptom_date: Option<String>,
    /// The day of the test, `YYYY-MM-DD`.
    #[serde(rename = "testDate", default, skip_serializing_if = "Option::is_none")]
    pub test_date: Option<String>,
    /// What the certificate is asked for with. Good for a day on deployed servers.
    #[serde(default)]
    pub token: String,
    /// Random, not content.
    #[serde(default)]
    pub padding: String,
}

/// A token, to be turned into a certificate for certain keys.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// From [`VerifyResponse`].
    pub token: String,
    /// [`keys_hmac`] in base64.
    pub ekeyhmac: String,
    /// Random, not content.
    #[serde(default)]
    pub padding: String,
}

/// A certificate.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct CertificateResponse {
    /// A JWT, ES256.
    #[serde(default)]
    pub certificate: String,
    /// Random, not content.
    #[serde(default)]
    pub padding: String,
}

/// What the verification server says when it refuses.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// For a person who reads a log; may be in any language.
    #[serde(default)]
    pub error: String,
    /// One of the fixed words of the interface.
    #[serde(rename = "errorCode", default)]
    pub error_code: String,
    /// Random, not content.
    #[serde(default)]
    pub padding: String,
}

/// One key of a report.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishedKey {
    /// 16 bytes, base64.
    pub key: String,
    /// Its first interval.
    pub rolling_start_number: i64,
    /// How many intervals it is good for; 0 or absent is 144.
    #[serde(default)]
    pub rolling_period: i64,
    /// 0 to 8.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub transmission_risk: i64,
}

/// A report.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishRequest {
    /// At most [`MAX_KEYS`].
    pub temporary_exposure_keys: Vec<PublishedKey>,
    /// The health authority behind the certificate.
    #[serde(rename = "healthAuthorityID")]
    pub health_authority_id: String,
    /// The certificate.
    #[serde(default)]
    pub verification_payload: String,
    /// Base64, at least 16 bytes.
    #[serde(default)]
    pub hmac_key: String,
    /// The interval in which symptoms began.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub symptom_onset_interval: i64,
    /// Whether the person was abroad.
    #[serde(default)]
    pub traveler: bool,
    /// As the server gave it with the last report; empty before the first.
    #[serde(default)]
    pub revision_token: String,
    /// Random, not content.
    #[serde(default)]
    pub padding: String,
}

/// What became of a report.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishResponse {
    /// To be sent with the next report.
    #[serde(default)]
    pub revision_token: String,
    /// Keys taken or revised.
    #[serde(default)]
    pub inserted_exposures: i64,
    /// For a person who reads a log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// One of the fixed words of the interface; empty where all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// Random, not content.
    #[serde(default)]
    pub padding: String,
    /// What was dropped or mended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl PublishedKey {
    /// A key of this device.
    pub fn of(key: &TemporaryExposureKey) -> Self {
        Self {
            key: BASE64_STANDARD.encode(key.as_bytes()),
            rolling_start_number: i64::from(key.rolling_start().number()),
            rolling_period: i64::from(key.rolling_period()),
            transmission_risk: 0,
        }
    }

    /// The key, checked. What a device may say beyond that (how old, how many) is the server's matter.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::Length`] with 0 bytes where it is no base64.
    pub fn parse(&self) -> Result<TemporaryExposureKey, KeyError> {
        let bytes = BASE64_STANDARD.decode(&self.key).map_err(|_| KeyError::Length { found: 0 })?;
        let period = if self.rolling_period == 0 { 144 } else { self.rolling_period };
        TemporaryExposureKey::new(&bytes, self.rolling_start_number, period)
    }

    /// `base64(key).start.period`, and `.risk` where that is not 0.
    fn segment(&self) -> String {
        let base = format!("{}.{}.{}", self.key, self.rolling_start_number, self.rolling_period);
        if self.transmission_risk == 0 { base } else { format!("{base}.{}", self.transmission_risk) }
    }
}

/// HMAC-SHA256 over the keys, in the order of their text: what a certificate is made for.
pub fn keys_hmac(keys: &[PublishedKey], hmac_key: &[u8]) -> [u8; 32] {
    let mut segments: Vec<String> = keys.iter().map(PublishedKey::segment).collect();
    segments.sort_unstable();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, hmac_key), segments.join(",").as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// `length` random bytes and up to as many more, in base64: the size of what carries it tells nothing.
pub fn padding(length: usize, rng: &mut (impl CryptoRng + ?Sized)) -> String {
    let more = rng.next_u64() as usize % (length + 1);
    let mut bytes = vec![0; length + more];
    rng.fill_bytes(&mut bytes);
    BASE64_STANDARD.encode(bytes)
}

/// Keys, codes, tokens and certificates never go to a log: these have no derived `Debug`.
macro_rules! without_content {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

without_content!(
    VerifyRequest,
    VerifyResponse,
    CertificateRequest,
    CertificateResponse,
    PublishedKey,
    PublishRequest,
    PublishResponse
);

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn key(byte: u8, start: u32, period: i64, risk: i64) -> PublishedKey {
        let mut bytes = [byte; 16];
        bytes[0] = 0;
        PublishedKey {
            key: BASE64_STANDARD.encode(bytes),
            rolling_start_number: i64::from(start),
            rolling_period: period,
            transmission_risk: risk,
        }
    }

    #[test]
    fn the_hmac_is_over_the_sorted_segments_joined_by_commas() {
        let keys = [key(9, 2_642_976, 144, 0), key(1, 2_642_832, 100, 3)];
        let text = "AAEBAQEBAQEBAQEBAQEBAQ==.2642832.100.3,AAkJCQkJCQkJCQkJCQkJCQ==.2642976.144";
        let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef"), text.as_bytes());
        assert_eq!(keys_hmac(&keys, b"0123456789abcdef"), expected.as_ref());
        let exchanged = [keys[1].clone(), keys[0].clone()];
        assert_eq!(keys_hmac(&exchanged, b"0123456789abcdef"), expected.as_ref());
    }

    #[test]
    fn members_have_the_names_of_the_deployed_interface_and_unknown_ones_are_refused() {
        let request = PublishRequest {
            temporary_exposure_keys: vec![key(9, 2_642_976, 144, 0)],
            health_authority_id: "lu.example".into(),
            verification_payload: "jwt".into(),
            hmac_key: "aGs=".into(),
            symptom_onset_interval: 2_642_000,
            traveler: false,
            revision_token: String::new(),
            padding: "cA==".into(),
        };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(
            text,
            r#"{"temporaryExposureKeys":[{"key":"AAkJCQkJCQkJCQkJCQkJCQ==","rollingStartNumber":2642976,"rollingPeriod":144}],"healthAuthorityID":"lu.example","verificationPayload":"jwt","hmacKey":"aGs=","symptomOnsetInterval":2642000,"traveler":false,"revisionToken":"","padding":"cA=="}"#
        );
        assert!(serde_json::from_str::<PublishRequest>(&text).is_ok());
        assert!(serde_json::from_str::<PublishRequest>(&text.replace("\"traveler\"", "\"name\"")).is_err());
        assert!(serde_json::from_str::<VerifyRequest>(r#"{"code":"12345678","accept":["confirmed"],"operation":1}"#).is_err());
    }

    #[test]
    fn padding_is_one_to_two_times_its_length() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let lengths: Vec<usize> = (0..500).map(|_| BASE64_STANDARD.decode(padding(1024, &mut rng)).unwrap().len()).collect();
        assert!(lengths.iter().all(|length| (1024..=2048).contains(length)));
        assert!(lengths.iter().any(|length| *length < 1100) && lengths.iter().any(|length| *length > 1950));
    }
}
