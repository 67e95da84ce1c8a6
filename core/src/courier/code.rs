//! Codes with which a health authority confirms a diagnosis.
//!
//! ```text
//! written     XXXX-XXXX-XXXX-XXXX       16 symbols of Crockford's base 32, the last one a check symbol
//! symbol      5 bits: 0123456789ABCDEFGHJKMNPQRSTVWXYZ
//! check       c_16 = sum of a^i * c_i, i = 1..15, in GF(32) with x^5 + x^2 + 1, a = x
//! ```
//!
//! 75 random bits cannot be guessed. As the factors differ and none is zero, one wrong symbol and two that are exchanged are always noticed, on the
//! device, before anything is sent. Source of the alphabet: Crockford, "Base 32", whose rules for reading apply (`O` is 0, `I` and `L` are 1).
//!
//! Deployed servers also give short codes of digits, and long ones of other alphabets: those carry no check, and are taken as they are.

use std::fmt;

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Symbols of a code of ours.
const LENGTH: usize = 16;

/// Symbols of the longest foreign code that is taken: twice what deployed servers can be configured to give.
const MAX_FOREIGN: usize = 256;

/// Symbols of the shortest foreign code, as deployed servers have it.
const MIN_FOREIGN: usize = 6;

/// Why something is no code. The text never repeats what was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// Too short, too long, or with something else than letters and digits.
    #[error("a code has 16 letters and digits, or is one of 6 to 8 digits; dashes and spaces do not matter")]
    Form,
    /// A symbol is wrong, or two were exchanged.
    #[error("the code has a typing mistake; please compare it with the one that you were given")]
    Check,
}

/// A code that was checked as far as a device can. Wiped when dropped; `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct VerificationCode(String);

impl VerificationCode {
    /// A new one, of 75 random bits.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(generate(LENGTH, rng))
    }

    /// Reads what somebody typed: small letters, dashes and spaces are welcome.
    ///
    /// # Errors
    /// [`CodeError`]; nothing is to be sent then.
    pub fn parse(typed: &str) -> Result<Self, CodeError> {
        if typed.len() > 2 * MAX_FOREIGN {
            return Err(CodeError::Form);
        }
        let compact: String = typed.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
        if !compact.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(CodeError::Form);
        }
        if compact.len() == LENGTH && compact.bytes().any(|b| b.is_ascii_alphabetic()) {
            return checked(&compact).map(Self).ok_or(CodeError::Check);
        }
        if (MIN_FOREIGN..=MAX_FOREIGN).contains(&compact.len()) { Ok(Self(compact)) } else { Err(CodeError::Form) }
    }

    /// As it goes to the server: without dashes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a person reads it: in groups of four.
    pub fn grouped(&self) -> String {
        grouped(&self.0, 4)
    }
}

impl fmt::Debug for VerificationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerificationCode(..)")
    }
}

/// So many random symbols, the last one a check symbol. Up to 31 the factors of the check differ.
pub(super) fn generate(length: usize, rng: &mut (impl CryptoRng + ?Sized)) -> String {
    let mut symbols = vec![0; length];
    rng.fill_bytes(&mut symbols);
    symbols.iter_mut().for_each(|symbol| *symbol &= 31);
    if let Some((check, rest)) = symbols.split_last_mut() {
        *check = check_symbol(rest);
    }
    text(&symbols)
}

/// The same symbols as they are meant; nothing where one is wrong, or two were exchanged.
pub(super) fn checked(compact: &str) -> Option<String> {
    let symbols: Vec<u8> = compact.bytes().map(value).collect::<Option<_>>()?;
    let (check, rest) = symbols.split_last()?;
    (check_symbol(rest) == *check).then(|| text(&symbols))
}

/// Symbols in groups of this length.
pub(super) fn grouped(symbols: &str, group: usize) -> String {
    let mut text = String::new();
    for (at, symbol) in symbols.chars().enumerate() {
        if at > 0 && at % group == 0 {
            text.push('-');
        }
        text.push(symbol);
    }
    text
}

fn text(symbols: &[u8]) -> String {
    symbols.iter().map(|symbol| char::from(ALPHABET[usize::from(*symbol)])).collect()
}

fn value(symbol: u8) -> Option<u8> {
    let symbol = match symbol.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    ALPHABET.iter().position(|candidate| *candidate == symbol).map(|at| at as u8)
}

/// Horner's rule: the first symbol is multiplied most often.
fn check_symbol(symbols: &[u8]) -> u8 {
    symbols.iter().fold(0, |sum, symbol| times_x(sum ^ symbol))
}

/// Multiplies by x in GF(32), modulo x^5 + x^2 + 1.
fn times_x(element: u8) -> u8 {
    let doubled = element << 1;
    if doubled & 32 == 0 { doubled } else { doubled ^ 0b10_0101 }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn code() -> VerificationCode {
        VerificationCode::generate(&mut ChaCha20Rng::seed_from_u64(3))
    }

    #[test]
    fn what_was_given_out_can_be_typed_in_small_letters_with_dashes_and_mistaken_letters() {
        let code = code();
        assert_eq!(code.as_str().len(), 16);
        for typed in
            [code.grouped().to_lowercase(), format!(" {} ", code.as_str()), code.as_str().replace('0', "o").replace('1', "l")]
        {
            assert_eq!(VerificationCode::parse(&typed), Ok(code.clone()));
        }
    }

    #[test]
    fn every_wrong_symbol_and_every_exchange_of_two_is_noticed() {
        let good: Vec<u8> = code().as_str().bytes().collect();
        let parse = |symbols: &[u8]| VerificationCode::parse(std::str::from_utf8(symbols).unwrap());
        for at in 0..16 {
            for wrong in ALPHABET.iter().filter(|symbol| **symbol != good[at]) {
                let mut symbols = good.clone();
                symbols[at] = *wrong;
                assert_eq!(parse(&symbols), Err(CodeError::Check));
            }
            for other in (at + 1..16).filter(|other| good[*other] != good[at]) {
                let mut symbols = good.clone();
                symbols.swap(at, other);
                assert_eq!(parse(&symbols), Err(CodeError::Check), "{at} and {other}");
            }
        }
    }

    #[test]
    fn foreign_codes_are_taken_as_they_are_and_nonsense_is_not() {
        assert_eq!(VerificationCode::parse("1234 5678").unwrap().as_str(), "12345678");
        assert_eq!(VerificationCode::parse("abcdefghij0123456789").unwrap().as_str(), "abcdefghij0123456789");
        for typed in ["", "12345", "1234567\u{e9}", "12345678;", &"a".repeat(257), &" ".repeat(10_000)] {
            assert_eq!(VerificationCode::parse(typed), Err(CodeError::Form));
        }
    }
}
