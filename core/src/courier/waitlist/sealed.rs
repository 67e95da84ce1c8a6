//! A form, sealed to the authority's key: HPKE in base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM.
//!
//! ```text
//! info         "vigie waitlist form v1"
//! aad          operation id (16 bytes), then the key id as ASCII
//! plaintext    JSON of the form, spaces up to 1,024 bytes
//! SealedForm   key id, encapsulated key (32 bytes), sealed form (1,040 bytes)
//! ```
//!
//! All sealed forms have one length, so that nobody on the way learns how long a name is. A form that was sealed for one operation opens for no other.
//!
//! Source: RFC 9180.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use hpke::aead::AesGcm128;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal_with_rng};
use rand_core::CryptoRng;
use ring::digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::form::Form;
use super::wire::{OperationId, SecretHash, base64_array, base64_bytes};

const INFO: &[u8] = b"vigie waitlist form v1";

/// The length of a form before it is sealed, in bytes: twice what the longest can be.
const PLAIN_LEN: usize = 1_024;

/// The length of a sealed form, in bytes.
pub const SEALED_LEN: usize = PLAIN_LEN + 16;

/// The longest id of a key, in bytes.
const MAX_KEY_ID: usize = 64;

/// Why a form cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The text of a key is not 32 bytes in base64, its id is empty or too long, or it is a point that no honest key is.
    #[error("the key of the waiting list cannot be used")]
    Key,
    /// The form is longer than any that was checked.
    #[error("the form is too long")]
    TooLong,
    /// Not sealed to this key for this operation, or changed on the way.
    #[error("the form cannot be opened")]
    Opening,
    /// What was sealed is no form.
    #[error("what was sealed is no form")]
    Content,
}

/// A sealed form, as it is kept and sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedForm {
    /// Which key opens it.
    pub key_id: String,
    /// The sender's part of the key agreement.
    #[serde(with = "base64_array")]
    pub encapsulated: [u8; 32],
    /// [`SEALED_LEN`] bytes.
    #[serde(with = "base64_bytes")]
    pub sealed: Vec<u8>,
}

impl SealedForm {
    /// Whether it has the lengths that every sealed form has.
    pub fn is_well_formed(&self) -> bool {
        self.sealed.len() == SEALED_LEN && is_key_id(&self.key_id)
    }

    /// What a receipt vouches for: SHA-256 of the operation id, the hash of the secret, the encapsulated key, the sealed form and the key id.
    pub fn hash(&self, operation: OperationId, secret: &SecretHash) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [&operation.0[..], &secret.0, &self.encapsulated, &self.sealed, self.key_id.as_bytes()] {
            context.update(part);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }
}

impl fmt::Debug for SealedForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedForm(..)")
    }
}

/// The authority's public key for forms. As text: 32 bytes in base64.
#[derive(Clone)]
pub struct SealingKey {
    id: String,
    key: <X25519HkdfSha256 as Kem>::PublicKey,
}

impl SealingKey {
    /// From its id (1 to 64 printable ASCII characters) and its text.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub fn new(id: &str, text: &str) -> Result<Self, SealError> {
        let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| SealError::Key)?;
        let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&bytes).map_err(|_| SealError::Key)?;
        if is_key_id(id) { Ok(Self { id: id.to_owned(), key }) } else { Err(SealError::Key) }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key: 32 bytes in base64.
    pub fn to_text(&self) -> String {
        BASE64_STANDARD.encode(self.key.to_bytes())
    }

    /// Seals a form for this operation.
    ///
    /// # Errors
    /// [`SealError::TooLong`], and [`SealError::Key`] for a key that no honest authority has.
    pub fn seal(
        &self,
        form: &Form,
        operation: OperationId,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<SealedForm, SealError> {
        let json = Zeroizing::new(form.to_json());
        let mut plain = Zeroizing::new([b' '; PLAIN_LEN]);
        plain.get_mut(..json.len()).ok_or(SealError::TooLong)?.copy_from_slice(&json);
        let aad = aad(operation, &self.id);
        let mut rng = rng;
        let (encapsulated, sealed) = single_shot_seal_with_rng::<AesGcm128, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &self.key,
            INFO,
            &*plain,
            &aad,
            &mut rng,
        )
        .map_err(|_| SealError::Key)?;
        let encapsulated = encapsulated.to_bytes().into();
        Ok(SealedForm { key_id: self.id.clone(), encapsulated, sealed })
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.id)
    }
}

/// The authority's private key for forms. Wiped when dropped.
pub struct OpeningKey {
    id: String,
    key: <X25519HkdfSha256 as Kem>::PrivateKey,
}

impl OpeningKey {
    /// A new one, from 32 random bytes.
    pub fn generate(id: &str, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        let (key, _) = X25519HkdfSha256::derive_keypair(&*seed);
        Self { id: id.to_owned(), key }
    }

    /// From its id and its text, as [`to_text`](Self::to_text) gives it.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub fn new(id: &str, text: &str) -> Result<Self, SealError> {
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(text.trim()).map_err(|_| SealError::Key)?);
        let key = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&bytes).map_err(|_| SealError::Key)?;
        if is_key_id(id) { Ok(Self { id: id.to_owned(), key }) } else { Err(SealError::Key) }
    }

    /// The private key: 32 bytes in base64.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(self.key.to_bytes()))
    }

    /// The public key: 32 bytes in base64.
    pub fn public_text(&self) -> String {
        BASE64_STANDARD.encode(X25519HkdfSha256::sk_to_pk(&self.key).to_bytes())
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Opens a form that was sealed for this operation. It is not checked: see [`Form::check`].
    ///
    /// # Errors
    /// [`SealError::Opening`] and [`SealError::Content`].
    pub fn open(&self, sealed: &SealedForm, operation: OperationId) -> Result<Form, SealError> {
        if sealed.key_id != self.id || !sealed.is_well_formed() {
            return Err(SealError::Opening);
        }
        let encapsulated =
            <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&sealed.encapsulated).map_err(|_| SealError::Opening)?;
        let aad = aad(operation, &self.id);
        let plain = single_shot_open::<AesGcm128, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.key,
            &encapsulated,
            INFO,
            &sealed.sealed,
            &aad,
        )
        .map_err(|_| SealError::Opening)?;
        Form::from_json(&Zeroizing::new(plain)).ok_or(SealError::Content)
    }
}

fn is_key_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_KEY_ID && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn aad(operation: OperationId, key_id: &str) -> Vec<u8> {
    [&operation.0[..], key_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    const OPERATION: OperationId = OperationId([5; 16]);

    fn keys(seed: u64) -> (OpeningKey, SealingKey) {
        let opening = OpeningKey::generate("v1", &mut ChaCha20Rng::seed_from_u64(seed));
        let sealing = SealingKey::new("v1", &opening.public_text()).unwrap();
        (opening, sealing)
    }

    fn form(name: &str) -> Form {
        Form {
            national_number: "1234".into(),
            name: name.into(),
            contact: "a@example.org".into(),
            consent: true,
            ..Form::default()
        }
    }

    #[test]
    fn a_sealed_form_opens_to_the_same_and_has_the_same_length_whatever_is_in_it() {
        let (opening, sealing) = keys(1);
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        for name in ["", "x", &"\u{e9}".repeat(100), &"\"".repeat(100)] {
            let sealed = sealing.seal(&form(name), OPERATION, &mut rng).unwrap();
            assert!(sealed.is_well_formed());
            let again = OpeningKey::new("v1", &opening.to_text()).unwrap();
            assert_eq!(again.open(&sealed, OPERATION).unwrap(), form(name));
        }
        assert_eq!(sealing.seal(&form(&"x".repeat(1_000)), OPERATION, &mut rng), Err(SealError::TooLong));
    }

    #[test]
    fn it_opens_with_no_other_key_for_no_other_operation_and_not_when_a_bit_has_changed() {
        let (opening, sealing) = keys(1);
        let sealed = sealing.seal(&form("Ada"), OPERATION, &mut ChaCha20Rng::seed_from_u64(2)).unwrap();
        assert_eq!(keys(3).0.open(&sealed, OPERATION), Err(SealError::Opening));
        assert_eq!(opening.open(&sealed, OperationId([6; 16])), Err(SealError::Opening));
        assert_eq!(opening.open(&SealedForm { key_id: "v2".into(), ..sealed.clone() }, OPERATION), Err(SealError::Opening));
        for at in 0..32 {
            let mut wrong = sealed.clone();
            wrong.encapsulated[at] ^= 1;
            assert_eq!(opening.open(&wrong, OPERATION), Err(SealError::Opening));
        }
        for at in (0..SEALED_LEN).step_by(13) {
            let mut wrong = sealed.clone();
            wrong.sealed[at] ^= 0x80;
            assert_eq!(opening.open(&wrong, OPERATION), Err(SealError::Opening));
        }
        assert_eq!(opening.open(&SealedForm { sealed: Vec::new(), ..sealed }, OPERATION), Err(SealError::Opening));
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        for text in ["", "AAAA", "!", &BASE64_STANDARD.encode([1; 33])] {
            assert_eq!(SealingKey::new("v1", text).err(), Some(SealError::Key));
            assert_eq!(OpeningKey::new("v1", text).err(), Some(SealError::Key));
        }
        let text = keys(1).0.public_text();
        for id in ["", "a b", &"x".repeat(65)] {
            assert_eq!(SealingKey::new(id, &text).err(), Some(SealError::Key));
        }
        // A point of small order: whoever knows that could read everything.
        let small = SealingKey::new("v1", &BASE64_STANDARD.encode([0; 32]));
        let sealed = small.and_then(|key| key.seal(&form("Ada"), OPERATION, &mut ChaCha20Rng::seed_from_u64(1)));
        assert_eq!(sealed.err(), Some(SealError::Key));
    }
}
