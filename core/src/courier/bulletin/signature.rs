//! The line that signs a bulletin: made by the authority, verified by the app.
//!
//! A key as it is needed here comes out of `openssl genpkey -algorithm ed25519`. Source: RFC 8032; ring verifies as written there.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use pkcs8::SecretDocument;
use pkcs8::der::pem::LineEnding;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Bulletin, BulletinError, MAX_BULLETIN};

/// What begins the line.
const FORMAT: &str = "v1";

/// The longest line: format, key id of 64 characters, signature of 88, spaces.
const MAX_LINE: usize = 200;

/// A key that vouches for bulletins.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BulletinKey {
    /// Its name in signatures.
    pub key_id: String,
    /// The Ed25519 public key: 32 bytes as base64.
    #[serde(deserialize_with = "key_bytes")]
    pub public_key: [u8; 32],
}

fn key_bytes<'a, D: serde::Deserializer<'a>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let bytes = BASE64_STANDARD.decode(String::deserialize(deserializer)?).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| serde::de::Error::custom("an Ed25519 public key is 32 bytes as base64"))
}

/// Verifies a file, and only then reads it. Its time is not looked at: [`Bulletin::check_time`] does that.
///
/// # Errors
/// [`BulletinError`]: too long, unsigned, signed by somebody else, unreadable, implausible, or for another region.
pub fn verify(file: &[u8], keys: &[BulletinKey], region: &str) -> Result<Bulletin, BulletinError> {
    if file.len() > MAX_BULLETIN {
        return Err(BulletinError::TooLong { limit: MAX_BULLETIN });
    }
    let (key_id, signature, document) = split(file).ok_or(BulletinError::Unsigned)?;
    let mut candidates = keys.iter().filter(|key| key.key_id == key_id).peekable();
    candidates.peek().ok_or(BulletinError::UnknownKey)?;
    let is_by = |key: &BulletinKey| UnparsedPublicKey::new(&ED25519, key.public_key).verify(document, &signature).is_ok();
    if !candidates.any(is_by) {
        return Err(BulletinError::WrongSignature);
    }
    let bulletin = Bulletin::from_json(document)?;
    if bulletin.region != region {
        return Err(BulletinError::OtherRegion { expected: region.to_string(), found: bulletin.region });
    }
    Ok(bulletin)
}

/// What was signed: all behind the first line.
pub(super) fn document(file: &[u8]) -> &[u8] {
    file.iter().position(|byte| *byte == b'\n').map_or(&[], |end| &file[end + 1..])
}

/// Key id, signature and document.
fn split(file: &[u8]) -> Option<(&str, Vec<u8>, &[u8])> {
    let end = file.iter().take(MAX_LINE).position(|byte| *byte == b'\n')?;
    let mut words = std::str::from_utf8(&file[..end]).ok()?.split(' ');
    let (format, key_id, signature) = (words.next()?, words.next()?, words.next()?);
    let is_signed = format == FORMAT && words.next().is_none();
    let signature = BASE64_STANDARD.decode(signature).ok().filter(|_| is_signed)?;
    Some((key_id, signature, &file[end + 1..]))
}

/// A key that signs bulletins. Wiped when dropped; `Debug` shows nothing of it.
pub struct BulletinSigner {
    document: SecretDocument,
    public_key: [u8; 32],
}

impl BulletinSigner {
    /// A new key; its randomness is the operating system's.
    ///
    /// # Errors
    /// [`SignerError`] where the operating system gives no random bytes.
    pub fn generate() -> Result<Self, SignerError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| SignerError)?;
        Self::from_document(SecretDocument::try_from(document.as_ref()).map_err(|_| SignerError)?)
    }

    /// A key from the text of a PEM file (`-----BEGIN PRIVATE KEY-----`, not encrypted).
    ///
    /// # Errors
    /// [`SignerError`] for anything else.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, SignerError> {
        match SecretDocument::from_pem(pem.trim()) {
            Ok(("PRIVATE KEY", document)) => Self::from_document(document),
            _ => Err(SignerError),
        }
    }

    /// The same text again, wiped when dropped.
    ///
    /// # Errors
    /// [`SignerError`], which cannot happen with a key that was made.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, SignerError> {
        self.document.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|_| SignerError)
    }

    /// The key with which its signatures are verified.
    pub fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    /// The file of a document: its signature in the first line, and its exact bytes. Nothing is checked: [`Bulletin::from_json`] does that.
    ///
    /// # Errors
    /// [`SignerError`], which cannot happen with a key that was made.
    pub fn sign(&self, key_id: &str, document: &[u8]) -> Result<Vec<u8>, SignerError> {
        let signature = key_pair(&self.document)?.sign(document);
        let line = format!("{FORMAT} {key_id} {}\n", BASE64_STANDARD.encode(signature));
        Ok([line.as_bytes(), document].concat())
    }

    fn from_document(document: SecretDocument) -> Result<Self, SignerError> {
        let public_key = key_pair(&document)?.public_key().as_ref().try_into().map_err(|_| SignerError)?;
        Ok(Self { document, public_key })
    }
}

/// Not a key that can sign bulletins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key as PKCS#8, such as openssl genpkey -algorithm ed25519 makes")]
pub struct SignerError;

impl fmt::Debug for BulletinSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulletinSigner").finish_non_exhaustive()
    }
}

/// OpenSSL leaves the public half out, and ring wants to be told that this is meant.
fn key_pair(document: &SecretDocument) -> Result<Ed25519KeyPair, SignerError> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.as_bytes()).map_err(|_| SignerError)
}
