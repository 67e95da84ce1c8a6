//! The receipt of a sign-up: what the authority has committed, signed, so that the person can show it and the device can believe it.
//!
//! ```text
//! receipt   base64url(JSON) "." base64url(Ed25519 signature over the bytes of that JSON)
//! ```
//!
//! Ed25519 is deterministic: a server that lost nothing gives the same receipt for ever, without keeping it. The exact bytes are verified before they are
//! parsed. Source: RFC 8032.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::wire::{OperationId, base64_array};
use crate::time::Timestamp;

/// What such a signature is for, and nothing else.
const PURPOSE: &str = "vigie waitlist receipt v1";

/// The longest receipt that is read, in bytes: three times what one has.
const MAX_RECEIPT: usize = 2_048;

/// Why a receipt is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// No receipt at all.
    #[error("this is no receipt")]
    Form,
    /// Not signed by this authority, or changed.
    #[error("the receipt was not signed by this authority")]
    Signature,
    /// The text of a key is not what it should be.
    #[error("the key of receipts cannot be used")]
    Key,
}

/// What a receipt says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    purpose: String,
    /// Which key has signed it.
    pub key_id: String,
    /// For which operation.
    pub operation_id: OperationId,
    /// The log number of the sign-up: who signed up earlier has a smaller one. Numbers may have gaps.
    pub place: u64,
    /// When it was committed, in seconds since 1970.
    pub received_s: i64,
    /// [`SealedForm::hash`](super::SealedForm::hash) of what was received.
    #[serde(with = "base64_array")]
    pub form_hash: [u8; 32],
}

impl Receipt {
    /// When it was committed.
    pub fn received_at(&self) -> Timestamp {
        Timestamp::from_unix_s(self.received_s)
    }
}

/// The authority's public key for receipts. As text: 32 bytes in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptKey([u8; 32]);

impl ReceiptKey {
    /// From its text.
    ///
    /// # Errors
    /// [`ReceiptError::Key`].
    pub fn new(text: &str) -> Result<Self, ReceiptError> {
        let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| ReceiptError::Key)?;
        bytes.try_into().map(Self).map_err(|_| ReceiptError::Key)
    }

    /// What a receipt says, if this key has signed it.
    ///
    /// # Errors
    /// [`ReceiptError::Form`] and [`ReceiptError::Signature`].
    pub fn verify(&self, receipt: &str) -> Result<Receipt, ReceiptError> {
        if receipt.len() > MAX_RECEIPT {
            return Err(ReceiptError::Form);
        }
        let (content, signature) = receipt.split_once('.').ok_or(ReceiptError::Form)?;
        let decode = |text| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| ReceiptError::Form);
        let (content, signature) = (decode(content)?, decode(signature)?);
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&content, &signature).map_err(|_| ReceiptError::Signature)?;
        let receipt: Receipt = serde_json::from_slice(&content).map_err(|_| ReceiptError::Form)?;
        if receipt.purpose == PURPOSE { Ok(receipt) } else { Err(ReceiptError::Form) }
    }
}

/// The authority's private key for receipts.
pub struct ReceiptSigner {
    id: String,
    key: Ed25519KeyPair,
}

impl ReceiptSigner {
    /// From its id and PKCS#8 (DER).
    ///
    /// # Errors
    /// [`ReceiptError::Key`].
    pub fn from_pkcs8(id: &str, der: &[u8]) -> Result<Self, ReceiptError> {
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| ReceiptError::Key)?;
        Ok(Self { id: id.to_owned(), key })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key: 32 bytes in base64.
    pub fn public_text(&self) -> String {
        BASE64_STANDARD.encode(self.key.public_key())
    }

    /// A receipt; the same for the same arguments.
    pub fn sign(&self, operation_id: OperationId, place: u64, received_s: i64, form_hash: [u8; 32]) -> String {
        let receipt = Receipt { purpose: PURPOSE.into(), key_id: self.id.clone(), operation_id, place, received_s, form_hash };
        // Only maps with keys that are no text fail, and there are none.
        let content = serde_json::to_vec(&receipt).unwrap_or_default();
        let signature = self.key.sign(&content);
        format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(&content), BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

impl fmt::Debug for ReceiptSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiptSigner({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    fn signer() -> ReceiptSigner {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        ReceiptSigner::from_pkcs8("v1", pkcs8.as_ref()).unwrap()
    }

    #[test]
    fn a_receipt_is_the_same_for_ever_and_says_what_was_signed() {
        let signer = signer();
        let sign = || signer.sign(OperationId([7; 16]), 12_345, 1_619_013_600, [9; 32]);
        assert_eq!(sign(), sign());
        let receipt = ReceiptKey::new(&signer.public_text()).unwrap().verify(&sign()).unwrap();
        assert_eq!((receipt.place, receipt.operation_id, receipt.form_hash), (12_345, OperationId([7; 16]), [9; 32]));
        assert_eq!(receipt.received_at().unix_s(), 1_619_013_600);
    }

    #[test]
    fn what_was_changed_cut_or_signed_by_another_is_no_receipt() {
        let signer_here = signer();
        let key = ReceiptKey::new(&signer_here.public_text()).unwrap();
        let receipt = signer_here.sign(OperationId([7; 16]), 1, 2, [9; 32]);
        assert_eq!(ReceiptKey::new(&signer().public_text()).unwrap().verify(&receipt), Err(ReceiptError::Signature));
        for at in 0..receipt.len() {
            let mut wrong = receipt.clone().into_bytes();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            assert!(key.verify(std::str::from_utf8(&wrong).unwrap()).is_err(), "{at}");
            assert!(key.verify(&receipt[..at]).is_err(), "{at}");
        }
        for nonsense in ["", ".", "..", "AA.AA", &"A".repeat(MAX_RECEIPT + 1)] {
            assert!(key.verify(nonsense).is_err());
        }
    }
}
