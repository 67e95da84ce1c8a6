//! Certificates: JSON Web Tokens with ES256, signed by the verification server and read by the key server.
//!
//! ```text
//! base64url({"alg":"ES256","kid":"v1","typ":"JWT"}) "." base64url(claims) "." base64url(r ++ s)
//! ```
//!
//! Source: RFC 7515 (JWS), RFC 7519 (JWT), RFC 7518 3.4 (ES256). Only this form is read: another `alg`, `none` among them, an unknown `kid` or a fourth part
//! is refused before any signature is looked at. Written here on ring, since the crates of this field read the machine's clock by themselves, or bring a
//! second cryptographic library.

use anyhow::{Context, anyhow};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use pkcs8::SecretDocument;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use vigie::time::Timestamp;

use crate::keys::{NamedPem, signing_index};

/// The longest certificate that is looked at, in bytes. Ours have 500.
const MAX_LENGTH: usize = 4096;

/// How far the clocks of two servers may be apart, in seconds.
const SKEW_S: i64 = 60;

/// What a certificate says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The verification server.
    pub iss: String,
    /// The key server.
    pub aud: String,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// Until when it is good, in seconds since 1970.
    pub exp: i64,
    /// From when it is good, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The HMAC over the keys, base64.
    pub tekmac: String,
    /// `confirmed`, `likely` or `negative`.
    #[serde(rename = "reportType")]
    pub report_type: String,
    /// The interval in which symptoms began; 0 where nobody knows.
    #[serde(rename = "symptomOnsetInterval", default, skip_serializing_if = "is_zero")]
    pub symptom_onset_interval: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    typ: String,
}

/// The keys of certificates: the newest signs, all are accepted.
pub struct CertificateKeys {
    keys: Vec<(String, EcdsaKeyPair)>,
    signing: usize,
    random: SystemRandom,
}

impl CertificateKeys {
    pub(crate) fn new(pems: Vec<NamedPem>) -> anyhow::Result<Self> {
        let signing = signing_index(&pems).context("no certificate key signs")?;
        let random = SystemRandom::new();
        let pair = |named: &NamedPem| {
            let refused = || anyhow!("certificate-{} is no P-256 key in PKCS#8", named.version);
            let (_, document) = SecretDocument::from_pem(named.pem.trim()).map_err(|_| refused())?;
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_bytes(), &random);
            Ok((named.version.clone(), pair.map_err(|_| refused())?))
        };
        let keys = pems.iter().map(pair).collect::<anyhow::Result<_>>()?;
        Ok(Self { keys, signing, random })
    }

    /// A certificate.
    ///
    /// # Errors
    /// [`ring::error::Unspecified`] where the operating system gives no random bytes.
    pub fn sign(&self, claims: &Claims) -> Result<String, ring::error::Unspecified> {
        let (kid, pair) = &self.keys[self.signing];
        let header = Header { alg: "ES256".into(), kid: kid.clone(), typ: "JWT".into() };
        let part = |json: Result<Vec<u8>, serde_json::Error>| json.map(|json| BASE64_URL_SAFE_NO_PAD.encode(json));
        let (Ok(header), Ok(claims)) = (part(serde_json::to_vec(&header)), part(serde_json::to_vec(claims))) else {
            return Err(ring::error::Unspecified);
        };
        let message = format!("{header}.{claims}");
        let signature = pair.sign(&self.random, message.as_bytes())?;
        Ok(format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a certificate says, where it is one of ours, for this issuer and audience, and valid at `now`.
    pub fn verify(&self, certificate: &str, issuer: &str, audience: &str, now: Timestamp) -> Option<Claims> {
        if certificate.len() > MAX_LENGTH {
            return None;
        }
        let (message, signature) = certificate.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let header: Header = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let (_, pair) = self.keys.iter().find(|(kid, _)| header.alg == "ES256" && *kid == header.kid)?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public_key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
        public_key.verify(message.as_bytes(), &signature).ok()?;
        let claims: Claims = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let now = now.unix_s();
        let is_in_time = now < claims.exp && claims.iat <= now + SKEW_S && claims.nbf.is_none_or(|nbf| nbf <= now + SKEW_S);
        (claims.iss == issuer && claims.aud == audience && is_in_time).then_some(claims)
    }
}
