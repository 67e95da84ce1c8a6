//! What goes over the wire for the waiting list: JSON, both sides.
//!
//! ```text
//! POST /v1/waitlist           Idempotency-Key: operation id   SignUpRequest    -> 201, repeated 200: SignUpResponse
//! POST /v1/waitlist/correct   Idempotency-Key: a new one      CorrectRequest   -> 201, repeated 200: SignUpResponse with the old place
//! POST /v1/waitlist/withdraw                                  StatusRequest    -> 200: StatusResponse
//! POST /v1/waitlist/status                                    StatusRequest    -> 200: StatusResponse
//! refused                                                     400, 404, 409, 413, 422, 503 with Retry-After: ErrorResponse
//! ```
//!
//! The operation id and the secret are in headers and bodies, never in an address, which logs and caches keep.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::sealed::SealedForm;

/// Where sign-ups go, below the address of the waiting list.
pub const SIGN_UP_PATH: &str = "/v1/waitlist";
/// Where corrections go.
pub const CORRECT_PATH: &str = "/v1/waitlist/correct";
/// Where withdrawals go.
pub const WITHDRAW_PATH: &str = "/v1/waitlist/withdraw";
/// Where it is asked how a sign-up stands.
pub const STATUS_PATH: &str = "/v1/waitlist/status";

/// The largest body that the waiting list takes, in bytes: twice what a sealed form has.
pub const MAX_WAITLIST_BODY: usize = 4_096;

/// The longest answer that is read, in bytes.
pub const MAX_WAITLIST_ANSWER: u64 = 8_192;

/// Names an operation: 16 bytes, 32 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub [u8; 16]);

impl OperationId {
    /// From its text.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut id = [0; 16];
        if digits.len() != 32 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(id))
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperationId(..)")
    }
}

impl Serialize for OperationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OperationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("an operation id has 32 hexadecimal digits"))
    }
}

/// Shows that a sign-up is one's own. Wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(#[serde(with = "base64_array")] pub [u8; 32]);

impl Secret {
    /// What the server is given at first.
    pub fn hash(&self) -> SecretHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &self.0).as_ref());
        SecretHash(hash)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// SHA-256 of a [`Secret`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(#[serde(with = "base64_array")] pub [u8; 32]);

/// Signs somebody up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignUpRequest {
    /// The form.
    pub form: SealedForm,
    /// Who knows the secret behind it may ask, correct and withdraw.
    pub secret_hash: SecretHash,
}

/// It is committed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignUpResponse {
    /// A [`Receipt`](super::Receipt), signed.
    pub receipt: String,
}

/// Puts another form in the place of the one that was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorrectRequest {
    /// The sign-up.
    pub operation_id: OperationId,
    /// Shows that it is one's own.
    pub secret: Secret,
    /// The new form, sealed for the correction's own operation id.
    pub form: SealedForm,
}

/// Asks how a sign-up stands, or withdraws it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusRequest {
    /// The sign-up.
    pub operation_id: OperationId,
    /// Shows that it is one's own.
    pub secret: Secret,
}

/// How a sign-up stands for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Committed, not yet opened.
    Received,
    /// Opened, and in order.
    Processed,
    /// Refused for a reason that the form alone shows.
    Rejected,
    /// Withdrawn by the person, or erased.
    Withdrawn,
}

/// How a sign-up stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusResponse {
    /// The receipt of the sign-up.
    pub receipt: String,
    /// How it stands.
    pub state: State,
    /// With `rejected`: the field of the form that is wrong, or `form` where it cannot be read at all. Else empty.
    #[serde(default)]
    pub reason: String,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400, 408, 413: not what this interface says.
    BadRequest,
    /// 404: no such sign-up, or the secret is another's.
    UnknownOperation,
    /// 409: sealed to a key that is not, or no longer, taken.
    UnknownKey,
    /// 422: this operation id was used for other bytes. Nothing was stored.
    OperationReused,
    /// 503: too much is waiting, or the database is away. Nothing was stored, as far as the server knows; a repeat finds out.
    Busy,
    /// 500: nobody knows; a repeat finds out.
    Failed,
    /// A word of a later version.
    #[serde(other)]
    Other,
}

/// A refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// For a machine.
    pub code: ErrorCode,
    /// For a developer. Never repeats what was sent.
    pub error: String,
}

/// Fixed numbers of bytes as base64.
pub(super) mod base64_array {
    use base64::prelude::{BASE64_STANDARD, Engine};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<const N: usize, S: Serializer>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(in super::super) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; N], D::Error> {
        let bytes = BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(|_| D::Error::custom("not base64"))?;
        bytes.try_into().map_err(|_| D::Error::custom(format_args!("not {N} bytes in base64")))
    }
}

/// Bytes as base64.
pub(super) mod base64_bytes {
    use base64::prelude::{BASE64_STANDARD, Engine};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(|_| D::Error::custom("not base64"))
    }
}
