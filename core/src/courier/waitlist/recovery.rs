//! The recovery code of a sign-up, for a person to write down before anything is sent.
//!
//! ```text
//! written     XXXXXXX-XXXXXXX-XXXXXXX   20 symbols of Crockford's base 32 (100 random bits) and a check symbol, as in codes of a diagnosis
//! derived     HKDF-SHA256, no salt, the 20 symbols as ASCII; info "vigie waitlist operation v1": 16 bytes, "vigie waitlist secret v1": 32 bytes
//! ```

use std::fmt;

use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::wire::{OperationId, Secret};
use crate::courier::code;

/// Symbols of a code, with the check symbol.
const LENGTH: usize = 21;

/// Symbols that are written together.
const GROUP: usize = 7;

/// Why something is no recovery code. The text never repeats what was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryCodeError {
    /// Too short, too long, or with something else than letters and digits.
    #[error("a recovery code has 21 letters and digits; dashes and spaces do not matter")]
    Form,
    /// A symbol is wrong, or two were exchanged.
    #[error("the recovery code has a typing mistake; please compare it with what you have written down")]
    Check,
}

/// A recovery code. Wiped when dropped; `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryCode(String);

impl RecoveryCode {
    /// A new one, of 100 random bits.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(code::generate(LENGTH, rng))
    }

    /// Reads what somebody typed: small letters, dashes and spaces are welcome.
    ///
    /// # Errors
    /// [`RecoveryCodeError`].
    pub fn parse(typed: &str) -> Result<Self, RecoveryCodeError> {
        if typed.len() > 4 * LENGTH {
            return Err(RecoveryCodeError::Form);
        }
        let compact: String = typed.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
        if compact.len() != LENGTH || !compact.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(RecoveryCodeError::Form);
        }
        code::checked(&compact).map(Self).ok_or(RecoveryCodeError::Check)
    }

    /// As a person reads it: in groups of seven.
    pub fn grouped(&self) -> String {
        code::grouped(&self.0, GROUP)
    }

    /// Without dashes, as it is kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Names the sign-up.
    pub fn operation_id(&self) -> OperationId {
        let mut id = [0; 16];
        self.derive(b"vigie waitlist operation v1", &mut id);
        OperationId(id)
    }

    /// Shows that the sign-up is one's own.
    pub fn secret(&self) -> Secret {
        let mut secret = Secret([0; 32]);
        self.derive(b"vigie waitlist secret v1", &mut secret.0);
        secret
    }

    fn derive(&self, info: &[u8], output: &mut [u8]) {
        let kdf = Hkdf::<Sha256>::new(None, &self.0.as_bytes()[..LENGTH - 1]);
        // Fails from 8,160 bytes on.
        let _ = kdf.expand(info, output);
    }
}

/// As it is kept.
pub(super) mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use zeroize::Zeroizing;

    use super::RecoveryCode;

    pub(in super::super) fn serialize<S: Serializer>(code: &RecoveryCode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(code.as_str())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RecoveryCode, D::Error> {
        let text = Zeroizing::<String>::deserialize(deserializer)?;
        RecoveryCode::parse(&text).map_err(D::Error::custom)
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode(..)")
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn what_was_written_down_is_read_and_names_the_same_sign_up_and_no_other() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (code, other) = (RecoveryCode::generate(&mut rng), RecoveryCode::generate(&mut rng));
        let typed = code.grouped().to_lowercase();
        assert_eq!(typed.len(), 23);
        let read = RecoveryCode::parse(&typed).unwrap();
        assert_eq!((read.operation_id(), read.secret().hash()), (code.operation_id(), code.secret().hash()));
        assert_ne!(code.operation_id(), other.operation_id());
        assert_ne!(
            code.secret().0[..16],
            code.operation_id().0,
            "the id, which everybody on the way sees, says nothing of the secret"
        );
    }

    #[test]
    fn what_is_derived_never_changes() {
        let code = RecoveryCode::parse("0123456789ABCDEFGHJKJ").unwrap();
        // Computed with HMAC-SHA256 of Python's standard library, after RFC 5869.
        assert_eq!(code.operation_id().to_string(), "00fc208d08ecf578b3020644a186365d");
        let secret: String = code.secret().0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(secret, "9f56234d6f52a3ab4f8219866239bf6c429f29a4d175cdb79912c565196f6894");
    }

    #[test]
    fn mistakes_are_noticed() {
        let code = RecoveryCode::generate(&mut ChaCha20Rng::seed_from_u64(2)).grouped().replace('-', "");
        for at in 0..LENGTH {
            let mut wrong = code.clone().into_bytes();
            wrong[at] = if wrong[at] == b'7' { b'8' } else { b'7' };
            assert_eq!(RecoveryCode::parse(std::str::from_utf8(&wrong).unwrap()), Err(RecoveryCodeError::Check));
        }
        for typed in ["", "1234", &code[1..], &format!("{code}0"), &"a-".repeat(1000), "\u{e9}23456789012345678901"] {
            assert_eq!(RecoveryCode::parse(typed), Err(RecoveryCodeError::Form));
        }
    }
}
