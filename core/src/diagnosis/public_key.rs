//! The health authority's public key: a point of P-256, given as SubjectPublicKeyInfo in PEM or in base64.
//!
//! Source: RFC 5480 (elliptic curve keys in SubjectPublicKeyInfo), RFC 7468 (PEM).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pkcs8::der::asn1::{AnyRef, BitStringRef};
use pkcs8::der::{Decode, Encode};
use pkcs8::{AlgorithmIdentifierRef, Document, ObjectIdentifier, SubjectPublicKeyInfoRef};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::ExportError;
use super::export::check_limit;

/// The longest text of a key that is looked at, in bytes. A P-256 key has below 250.
pub(super) const MAX_KEY_TEXT: u64 = 4096;

const ID_EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// A key with which signatures of key files are verified.
///
/// ```
/// # use vigie::diagnosis::PublicKey;
/// let google_sample: PublicKey =
///     "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE49JY6kekDgxj3Crm4y6kEHdfoKQFSNDM4mV9cgDb+e5nOAw0GeRoRThCu9/wX5wDT2QloFoOjl2pGZHI0f3C3w==".parse()?;
/// # Ok::<(), vigie::diagnosis::ExportError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    /// An uncompressed point: 4, x, y.
    point: [u8; 65],
}

impl PublicKey {
    /// Whether `signature` (ASN.1 DER) was made over `message` with this key.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point).verify(message, signature).is_ok()
    }

    pub(super) fn from_point(point: &[u8]) -> Result<Self, ExportError> {
        match <[u8; 65]>::try_from(point) {
            Ok(point) if point[0] == 4 => Ok(Self { point }),
            _ => Err(refused(format_args!("a point of {} bytes, not an uncompressed one of 65", point.len()))),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, ExportError> {
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|e| refused(format_args!("other DER: {e}")))?;
        let (algorithm, curve) = info.algorithm.oids().map_err(|e| refused(format_args!("other parameters: {e}")))?;
        if (algorithm, curve) != (ID_EC_PUBLIC_KEY, Some(P_256)) {
            let curve = curve.map_or_else(|| "none".to_string(), |c| c.to_string());
            return Err(refused(format_args!("algorithm {algorithm} with parameter {curve}")));
        }
        Self::from_point(info.subject_public_key.as_bytes().unwrap_or_default())
    }

    fn to_der(&self) -> pkcs8::der::Result<Vec<u8>> {
        let algorithm = AlgorithmIdentifierRef { oid: ID_EC_PUBLIC_KEY, parameters: Some(AnyRef::from(&P_256)) };
        SubjectPublicKeyInfoRef { algorithm, subject_public_key: BitStringRef::from_bytes(&self.point)? }.to_der()
    }
}

impl FromStr for PublicKey {
    type Err = ExportError;

    /// From the text of a PEM file (`-----BEGIN PUBLIC KEY-----`), or from the base64 inside it.
    fn from_str(text: &str) -> Result<Self, ExportError> {
        check_limit("length of a public key's text in bytes", text.len() as u64, MAX_KEY_TEXT)?;
        if text.contains("-----BEGIN") {
            let (label, der) = Document::from_pem(text.trim()).map_err(|e| refused(format_args!("other PEM: {e}")))?;
            if label != "PUBLIC KEY" {
                return Err(refused(format_args!("a PEM file of a {label}")));
            }
            return Self::from_der(der.as_bytes());
        }
        let base64: String = text.split_ascii_whitespace().collect();
        let der = STANDARD.decode(base64).map_err(|e| refused(format_args!("other text: {e}")))?;
        Self::from_der(&der)
    }
}

impl fmt::Display for PublicKey {
    /// SubjectPublicKeyInfo in base64, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.to_der().map_err(|_| fmt::Error)?))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

fn refused(found: fmt::Arguments<'_>) -> ExportError {
    ExportError::PublicKey { found: found.to_string() }
}
