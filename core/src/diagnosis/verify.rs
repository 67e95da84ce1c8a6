//! From a signed file to its keys: the signature first, then the structure, then one key after the other.
//!
//! A file is accepted if any of its signatures was made over the whole of `export.bin` with any accepted key. What a signature says of itself
//! (key id, algorithm, batch) is not signed and decides nothing: the key alone does.

use std::fmt;

use prost::Message;

use super::export::{SignedExport, check_limit};
use super::proto::{self, ExportSummary, Field, Fields, KeyFields, MAX_SIGNATURES, SignatureListMessage};
use super::{DiagnosisKey, ExportError, PublicKey, RefusedKey};

/// Names a key file: SHA-256 of its `export.bin`. The same keys packed or signed again have the same name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExportId(pub [u8; 32]);

impl fmt::Display for ExportId {
    /// Hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ExportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExportId({self})")
    }
}

/// A key file for which an accepted key vouches, and that is well formed to its last byte.
#[derive(Clone)]
pub struct VerifiedExport {
    bin: Vec<u8>,
    id: ExportId,
    summary: ExportSummary,
}

impl SignedExport {
    /// Accepts the file where it is signed with one of `keys` and well formed.
    ///
    /// # Errors
    /// [`ExportError::NotSigned`] where no signature fits; others where signatures or content are malformed or exceed a limit.
    pub fn verify(self, keys: &[PublicKey]) -> Result<VerifiedExport, ExportError> {
        let signatures = SignatureListMessage::decode(&*self.sig)
            .map_err(|reason| ExportError::Protobuf { part: "export.sig", reason })?
            .signatures;
        check_limit("signatures of a file", signatures.len() as u64, MAX_SIGNATURES)?;
        if !signatures.iter().any(|s| keys.iter().any(|key| key.verifies(&self.bin, &s.signature))) {
            return Err(ExportError::NotSigned { signatures: signatures.len(), public_keys: keys.len() });
        }
        let summary = proto::scan(&self.bin)?;
        let mut id = ExportId([0; 32]);
        id.0.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &self.bin).as_ref());
        Ok(VerifiedExport { bin: self.bin, id, summary })
    }
}

impl VerifiedExport {
    /// The file's name, by which it is matched once.
    pub fn id(&self) -> ExportId {
        self.id
    }

    /// What the file says of itself.
    pub fn summary(&self) -> &ExportSummary {
        &self.summary
    }

    /// How many keys [`keys`](Self::keys) goes through, new and revised ones.
    pub fn key_count(&self) -> usize {
        self.summary.keys + self.summary.revised_keys
    }

    /// All keys in the order of the file, which never changes. To go on at key `n`, `keys().skip(n)` passes the first ones over without decoding them.
    pub fn keys(&self) -> Keys<'_> {
        let fields = Fields(proto::message(&self.bin).unwrap_or_default());
        Keys { fields, left: self.key_count() }
    }
}

impl fmt::Debug for VerifiedExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedExport").field("id", &self.id).field("summary", &self.summary).finish_non_exhaustive()
    }
}

/// A key of a verified file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedKey {
    /// The key, or why it is left out.
    pub key: Result<DiagnosisKey, RefusedKey>,
    /// Whether the file lists it as revised: it was published before, and its report type now replaces the earlier one.
    pub is_revised: bool,
}

/// Goes through the keys of a [`VerifiedExport`] without allocating.
pub struct Keys<'a> {
    fields: Fields<'a>,
    left: usize,
}

impl<'a> Keys<'a> {
    fn next_message(&mut self) -> Option<(&'a [u8], bool)> {
        // The whole file was found well formed when it was verified, so there is no error to come.
        let key = self.fields.by_ref().map_while(Result::ok).find_map(|field| match field {
            Field::Key { message, is_revised } => Some((message, is_revised)),
            Field::Other(_) => None,
        })?;
        self.left -= 1;
        Some(key)
    }
}

impl Iterator for Keys<'_> {
    type Item = ExportedKey;

    fn next(&mut self) -> Option<ExportedKey> {
        let (message, is_revised) = self.next_message()?;
        Some(ExportedKey { key: KeyFields::decode(message).ok()?.to_key(), is_revised })
    }

    fn nth(&mut self, n: usize) -> Option<ExportedKey> {
        for _ in 0..n {
            self.next_message()?;
        }
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Keys<'_> {}

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("left", &self.left).finish_non_exhaustive()
    }
}
