//! The receipt of a sign-up: what the authority has committed, signed, so that the person can show it and the device can believe it.
//!
//! ```text
//! receipt    base64url(JSON) "." base64url(proof)
//! proof      Ed25519 signature, 64 bytes; then none to five hashes, 32 bytes each
//! signed     "vigie waitlist receipt v1" root
//! root       of a Merkle tree over the receipts that were signed together: the leaf, hashed with one hash of the proof after the other
//! leaf       SHA-256(0, JSON)
//! node       SHA-256(1, the smaller of two hashes, the larger)
//! ```
//!
//! A crowd shares signatures as it shares transactions: one for up to 32 people, and each receipt stands for itself all the same. A receipt claims no
//! position in its tree, so that the order of two hashes need not be told. Nothing is learned from the hashes of others: each is over an operation id,
//! which nobody guesses. The exact bytes are verified before they are parsed. Source: RFC 8032; RFC 9162, section 2.1, for leaves and nodes that cannot be
//! mistaken for each other.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use ring::digest::{Context, SHA256};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::wire::{OperationId, base64_array};
use crate::time::Timestamp;

/// What such a signature is for, and nothing else.
const PURPOSE: &str = "vigie waitlist receipt v1";

/// The longest receipt that is read, in bytes: four times what one has at most.
const MAX_RECEIPT: usize = 2_048;

/// Receipts that share a signature at most. It costs as much as making a hundred nodes, so more would save little, and make every proof longer.
const MAX_TOGETHER: usize = 32;

/// Hashes in a proof at most.
const MAX_HEIGHT: usize = MAX_TOGETHER.ilog2() as usize;

const SIGNATURE_LEN: usize = 64;
const HASH_LEN: usize = 32;

type Hash = [u8; HASH_LEN];

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

/// What a receipt says. Names and order of the fields are signed, and proofs are kept without them: they never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
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

    /// As it is shown and sent, with the proof that [`ReceiptSigner::prove`] gave for it; the same for the same arguments.
    pub fn to_text(&self, proof: &[u8]) -> String {
        format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(self.content()), BASE64_URL_SAFE_NO_PAD.encode(proof))
    }

    fn content(&self) -> Vec<u8> {
        // Only maps with keys that are no text fail, and there are none.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn leaf(content: &[u8]) -> Hash {
    hash(&[&[0], content])
}

fn node(one: &Hash, other: &Hash) -> Hash {
    hash(&[&[1], one.min(other), one.max(other)])
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn signed(root: &Hash) -> Vec<u8> {
    [PURPOSE.as_bytes(), root].concat()
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
        let (content, proof) = receipt.split_once('.').ok_or(ReceiptError::Form)?;
        let decode = |text| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| ReceiptError::Form);
        let (content, proof) = (decode(content)?, decode(proof)?);
        let (signature, path) = proof.split_at_checked(SIGNATURE_LEN).ok_or(ReceiptError::Form)?;
        let (path, []) = path.as_chunks() else { return Err(ReceiptError::Form) };
        if path.len() > MAX_HEIGHT {
            return Err(ReceiptError::Form);
        }
        let root = path.iter().fold(leaf(&content), |root, other| node(&root, other));
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(&signed(&root), signature).map_err(|_| ReceiptError::Signature)?;
        serde_json::from_slice(&content).map_err(|_| ReceiptError::Form)
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

    /// Signs receipts, together; a proof for each, in their order. They are to have this key's id.
    pub fn prove(&self, receipts: &[Receipt]) -> Vec<Vec<u8>> {
        receipts.chunks(MAX_TOGETHER).flat_map(|together| self.prove_tree(together)).collect()
    }

    /// Signs a receipt alone, with this key's id; its proof.
    pub fn prove_one(&self, receipt: &Receipt) -> Vec<u8> {
        self.prove(std::slice::from_ref(receipt)).concat()
    }

    fn prove_tree(&self, receipts: &[Receipt]) -> Vec<Vec<u8>> {
        let mut level: Vec<Hash> = receipts.iter().map(|receipt| leaf(&receipt.content())).collect();
        let mut paths = vec![Vec::new(); receipts.len()];
        let mut height = 0;
        while level.len() > 1 {
            for (at, path) in paths.iter_mut().enumerate() {
                // The last of an odd number has none beside it, and goes up as it is.
                if let Some(other) = level.get((at >> height) ^ 1) {
                    path.extend_from_slice(other);
                }
            }
            level = level.chunks(2).map(|pair| if let [one, other] = pair { node(one, other) } else { pair[0] }).collect();
            height += 1;
        }
        let [root] = level[..] else { return Vec::new() };
        let signature = self.key.sign(&signed(&root));
        paths.iter().map(|path| [signature.as_ref(), path].concat()).collect()
    }

    /// A receipt that is signed alone, as text; the same for the same arguments.
    pub fn sign(&self, operation_id: OperationId, place: u64, received_s: i64, form_hash: [u8; 32]) -> String {
        let receipt = Receipt { key_id: self.id.clone(), operation_id, place, received_s, form_hash };
        receipt.to_text(&self.prove_one(&receipt))
    }
}

impl fmt::Debug for ReceiptSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiptSigner({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A key from a seed (PKCS#8 of RFC 8410).
    fn signer(seed: u8) -> ReceiptSigner {
        let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        ReceiptSigner::from_pkcs8("v1", &[&head[..], &[seed; 32]].concat()).unwrap()
    }

    fn receipt(place: u64) -> Receipt {
        Receipt { key_id: "v1".into(), operation_id: OperationId([place as u8; 16]), place, received_s: 1, form_hash: [9; 32] }
    }

    /// Computed also with Python's hashlib and signed with OpenSSL. Proofs are kept: whatever makes others, breaks every receipt that was given.
    #[test]
    fn receipts_are_these_very_bytes() {
        let receipts = [receipt(1), receipt(2), receipt(3)];
        let proofs = signer(1).prove(&receipts);
        assert_eq!(
            String::from_utf8(receipts[0].content()).unwrap(),
            r#"{"key_id":"v1","operation_id":"01010101010101010101010101010101","place":1,"received_s":1,"form_hash":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk="}"#
        );
        let proofs: Vec<String> = proofs.iter().map(|proof| BASE64_URL_SAFE_NO_PAD.encode(proof)).collect();
        assert_eq!(
            proofs,
            [
                "50de0qKJu9TAn_tGEgkbkrhhj8zftr6gbXBSNZBAtlOXA1-gi_5VI8EJGNy92RX9nN3sqeUNxGz44phXQ-MdBngXRCSJDaRI-Hv64gHJ6z8GbqHfgCl5wm9v79BJfySFjJ-yw6XpjgXf7ViubS4Qzm38F3YhCsMGvKFAwhes9TE",
                "50de0qKJu9TAn_tGEgkbkrhhj8zftr6gbXBSNZBAtlOXA1-gi_5VI8EJGNy92RX9nN3sqeUNxGz44phXQ-MdBkzSsmmwMnAQaa8_6eI6MTLb8BsP7QOvepY2k7TtifjijJ-yw6XpjgXf7ViubS4Qzm38F3YhCsMGvKFAwhes9TE",
                "50de0qKJu9TAn_tGEgkbkrhhj8zftr6gbXBSNZBAtlOXA1-gi_5VI8EJGNy92RX9nN3sqeUNxGz44phXQ-MdBgMRJngVyC1393fdDjS7rQO0sBzxGlxjHDlGb09ycPOR",
            ]
        );
    }

    #[test]
    fn a_receipt_is_the_same_for_ever_and_says_what_was_signed() {
        let signer = signer(1);
        let sign = || signer.sign(OperationId([7; 16]), 12_345, 1_619_013_600, [9; 32]);
        assert_eq!(sign(), sign());
        let receipt = ReceiptKey::new(&signer.public_text()).unwrap().verify(&sign()).unwrap();
        assert_eq!((receipt.place, receipt.operation_id, receipt.form_hash), (12_345, OperationId([7; 16]), [9; 32]));
        assert_eq!(receipt.received_at().unix_s(), 1_619_013_600);
    }

    #[test]
    fn each_receipt_of_a_crowd_stands_for_itself_and_few_signatures_serve_all() {
        let signer = signer(1);
        let key = ReceiptKey::new(&signer.public_text()).unwrap();
        for count in [1_u64, 2, 3, 5, 31, 32, 33, 34, 100] {
            let receipts: Vec<Receipt> = (1..=count).map(receipt).collect();
            let proofs = signer.prove(&receipts);
            assert_eq!(proofs.len(), receipts.len());
            for (receipt, proof) in receipts.iter().zip(&proofs) {
                assert_eq!(key.verify(&receipt.to_text(proof)).as_ref(), Ok(receipt));
                assert!(proof.len() <= SIGNATURE_LEN + MAX_HEIGHT * HASH_LEN);
                for other in proofs.iter().filter(|other| *other != proof) {
                    assert_eq!(key.verify(&receipt.to_text(other)), Err(ReceiptError::Signature));
                }
            }
            let signatures: HashSet<&[u8]> = proofs.iter().map(|proof| &proof[..SIGNATURE_LEN]).collect();
            assert_eq!(signatures.len() as u64, count.div_ceil(MAX_TOGETHER as u64));
        }
        assert!(signer.prove(&[]).is_empty());
    }

    /// A node has 64 bytes behind its mark; they are no receipt, whoever finds words for them.
    #[test]
    fn what_is_inside_a_tree_is_no_receipt() {
        let signer = signer(1);
        let leaves: Vec<Hash> = (0..2).map(|byte| leaf(&[byte])).collect();
        let signature = signer.key.sign(&signed(&node(&leaves[0], &leaves[1])));
        let content = [leaves[0].min(leaves[1]), leaves[0].max(leaves[1])].concat();
        let text = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(content), BASE64_URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(ReceiptKey::new(&signer.public_text()).unwrap().verify(&text), Err(ReceiptError::Signature));
    }

    #[test]
    fn what_was_changed_cut_or_signed_by_another_is_no_receipt() {
        let signer_here = signer(1);
        let key = ReceiptKey::new(&signer_here.public_text()).unwrap();
        let together = [receipt(1), receipt(2), receipt(3)];
        let proof = signer_here.prove(&together).swap_remove(0);
        let receipt = together[0].to_text(&proof);
        assert!(key.verify(&receipt).is_ok());
        for more in [&[0; 32][..], &[0; 4 * 32], &[0]] {
            assert!(key.verify(&together[0].to_text(&[&proof, more].concat())).is_err(), "{}", more.len());
        }
        assert_eq!(ReceiptKey::new(&signer(2).public_text()).unwrap().verify(&receipt), Err(ReceiptError::Signature));
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
