//! The authority's side: a signing key, and key files made with it.
//!
//! A key as it is needed here comes out of
//!
//! ```sh
//! openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out private.pem
//! openssl pkey -in private.pem -pubout -out public.pem
//! ```
//!
//! Nothing here decides when a key may be published: whoever publishes holds each back until its end plus 2 hours, and pads a small batch
//! ([`pad_with_made_up_keys`]), so that it does not tell how few people reported.

use std::fmt;
use std::io::{Cursor, Write};

use pkcs8::SecretDocument;
use pkcs8::der::pem::LineEnding;
use prost::Message;
use rand_core::CryptoRng;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use zeroize::Zeroizing;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::export::check_limit;
use super::proto::{
    self, ExportHeader, HeaderMessage, KEYS, KeyMessage, MAGIC, REVISED_KEYS, SignatureInfoMessage, SignatureListMessage,
    SignatureMessage,
};
use super::public_key::MAX_KEY_TEXT;
use super::{DiagnosisKey, ExportError, MAX_EXPORT_BIN, PublicKey};
use crate::keys::TemporaryExposureKey;

/// A P-256 key that signs key files. Wiped when dropped; `Debug` shows the public half.
///
/// While it signs, ring holds the number itself on the stack, and does not wipe that.
pub struct SigningKey {
    /// PKCS#8 version 1 with the public key inside, accepted by ring.
    document: SecretDocument,
    public_key: PublicKey,
}

impl SigningKey {
    /// A new key. Its randomness is the operating system's, as ring takes no other: two runs with one seed have different signatures over equal files.
    ///
    /// # Errors
    /// [`ExportError::Io`] where the operating system gives no random bytes.
    pub fn generate() -> Result<Self, ExportError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).map_err(no_random)?;
        Self::from_document(SecretDocument::try_from(document.as_ref()).map_err(|e| refused(&e))?)
    }

    /// A key from the text of a PEM file (`-----BEGIN PRIVATE KEY-----`, not encrypted).
    ///
    /// # Errors
    /// [`ExportError::PrivateKey`] for anything else; the error holds nothing of the text but its label.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, ExportError> {
        check_limit("length of a private key's text in bytes", pem.len() as u64, MAX_KEY_TEXT)?;
        let (label, document) = SecretDocument::from_pem(pem.trim()).map_err(|e| refused(&e))?;
        if label != "PRIVATE KEY" {
            return Err(refused(&format_args!("a PEM file of another kind: {label}")));
        }
        Self::from_document(document)
    }

    /// The same text again, wiped when dropped.
    ///
    /// # Errors
    /// [`ExportError::PrivateKey`], which cannot happen with a key that was made.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, ExportError> {
        self.document.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|e| refused(&e))
    }

    /// The key with which its signatures are verified.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn from_document(document: SecretDocument) -> Result<Self, ExportError> {
        let pair = key_pair(&document)?;
        Ok(Self { public_key: PublicKey::from_point(pair.public_key().as_ref())?, document })
    }

    /// A signature over `message`, ASN.1 DER.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ExportError> {
        let signature = key_pair(&self.document)?.sign(&SystemRandom::new(), message).map_err(no_random)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

fn key_pair(document: &SecretDocument) -> Result<EcdsaKeyPair, ExportError> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_bytes(), &SystemRandom::new()).map_err(|e| refused(&e))
}

fn refused(found: &dyn fmt::Display) -> ExportError {
    ExportError::PrivateKey { found: found.to_string() }
}

fn no_random(_: ring::error::Unspecified) -> ExportError {
    std::io::Error::other("the system gives no random bytes").into()
}

/// A key file: `keys` and `revised_keys` ordered by value, so that their order tells nothing about who reported, signed with `signing_key`.
///
/// [`ExportHeader::signatures`] goes into the file; its first one, if any, is the name of `signing_key`. The same arguments make the same
/// `export.bin`, and so the same [`ExportId`](super::ExportId); signatures differ each time.
///
/// # Errors
/// [`ExportError::Limit`] where the file would be one that [`SignedExport::read`](super::SignedExport::read) refuses; make it several files then.
pub fn write_export(
    header: &ExportHeader,
    keys: &[DiagnosisKey],
    revised_keys: &[DiagnosisKey],
    signing_key: &SigningKey,
) -> Result<Vec<u8>, ExportError> {
    let mut bin = MAGIC.to_vec();
    bin.extend(HeaderMessage::from(header).encode_to_vec());
    append_keys(KEYS, keys, &mut bin)?;
    append_keys(REVISED_KEYS, revised_keys, &mut bin)?;
    check_limit("size of an entry of the key file in bytes", bin.len() as u64, MAX_EXPORT_BIN)?;
    proto::scan(&bin)?;

    let signature = SignatureMessage {
        signature_info: header.signatures.first().map(SignatureInfoMessage::from),
        batch_num: Some(header.batch_num),
        batch_size: Some(header.batch_size),
        signature: signing_key.sign(&bin)?,
    };
    let sig = SignatureListMessage { signatures: vec![signature] }.encode_to_vec();
    pack(&[("export.bin", &bin), ("export.sig", &sig)])
}

fn append_keys(tag: u32, keys: &[DiagnosisKey], bin: &mut Vec<u8>) -> Result<(), ExportError> {
    let mut ordered: Vec<&DiagnosisKey> = keys.iter().collect();
    ordered.sort_by_key(|key| (key.key.as_bytes(), key.key.rolling_start()));
    for key in ordered {
        prost::encoding::message::encode(tag, &KeyMessage::try_from(key)?, bin);
    }
    Ok(())
}

/// A ZIP archive whose bytes follow from its content alone: no time, no owner.
pub(super) fn pack(entries: &[(&str, &[u8])]) -> Result<Vec<u8>, ExportError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::DEFAULT)
        .unix_permissions(0o644);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(*name, options)?;
        zip.write_all(content)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// Adds keys that nobody had until there are `minimum`, so that a small batch does not tell how few people reported.
///
/// Each takes times, report type and onset from one of the real ones at random, and differs from it in nothing but the random 16 bytes. An empty
/// batch stays empty: there is nothing to hide in it, and nothing to imitate.
pub fn pad_with_made_up_keys(keys: &mut Vec<DiagnosisKey>, minimum: usize, rng: &mut (impl CryptoRng + ?Sized)) {
    let real = keys.len();
    while real > 0 && keys.len() < minimum {
        // The bias of this remainder is below 2^-32 for every list that fits into a file.
        let model = keys[(rng.next_u64() % real as u64) as usize].clone();
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        let (start, period) = (model.key.rolling_start().number(), model.key.rolling_period());
        // Only 16 equal bytes are refused; then the next ones are taken.
        if let Ok(key) = TemporaryExposureKey::new(&bytes, i64::from(start), i64::from(period)) {
            keys.push(DiagnosisKey { key, ..model });
        }
    }
}
