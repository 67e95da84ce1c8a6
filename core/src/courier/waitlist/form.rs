//! The form of a sign-up: what a person fills in, how it is checked, on the device before it is sealed and by the authority after it is opened.
//!
//! ```text
//! national number   Luxembourg: 13 digits, YYYYMMDD, a number, Luhn's digit over the first 11, Verhoeff's digit over the first 11; or any, 4 to 32 letters and digits
//! name              1 to 100 characters
//! birth year        1900 to the present year
//! contact           an e-mail address, or a telephone number with its country: + and 8 to 15 digits
//! consent           must be given
//! ```
//!
//! Which of them are asked for is configuration; number, contact and consent always are: without them nobody could be told apart, told or asked.
//! Sources: ITU-T E.164 (telephone numbers), RFC 5321 (lengths of addresses).

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// The longest name, in characters and in bytes.
const MAX_NAME: usize = 100;
const MAX_NAME_BYTES: usize = 200;

/// The longest address, in bytes, and the longest part before its `@`.
const MAX_EMAIL: usize = 254;
const MAX_LOCAL: usize = 64;

/// The first year in which somebody who signs up can have been born.
const FIRST_YEAR: u16 = 1900;

/// A field of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Field {
    /// The national number.
    NationalNumber,
    /// The name.
    Name,
    /// The year of birth.
    BirthYear,
    /// Where the person can be reached.
    Contact,
    /// The consent.
    Consent,
}

impl Field {
    /// Its name in JSON, and the reason of a rejection.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NationalNumber => "national_number",
            Self::Name => "name",
            Self::BirthYear => "birth_year",
            Self::Contact => "contact",
            Self::Consent => "consent",
        }
    }

    /// The field with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let fields = [Self::NationalNumber, Self::Name, Self::BirthYear, Self::Contact, Self::Consent];
        fields.into_iter().find(|field| field.as_str() == name)
    }
}

/// What is wrong with a form. The text never repeats what was filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", text(*.0))]
pub struct FormError(
    /// The field.
    pub Field,
);

const fn text(field: Field) -> &'static str {
    match field {
        Field::NationalNumber => "the national number has a typing mistake: please compare it with your card",
        Field::Name => "the name is missing, or has more than 100 characters",
        Field::BirthYear => "the year of birth is missing, or cannot be",
        Field::Contact => "no e-mail address, and no telephone number with its country: somebody@example.org, +352 621 000 000",
        Field::Consent => "nobody is put on the list without consent",
    }
}

/// How national numbers look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberFormat {
    /// 13 digits with two check digits.
    Luxembourg,
    /// 4 to 32 letters and digits.
    #[default]
    Any,
}

/// Whether a field is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It must be filled in.
    #[default]
    Required,
    /// It may be left empty.
    Optional,
    /// It is not asked for, and must be empty.
    Absent,
}

/// Which fields there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FormRules {
    /// How national numbers look.
    pub national_number: NumberFormat,
    /// Whether the name is asked for.
    pub name: Presence,
    /// Whether the year of birth is asked for.
    pub birth_year: Presence,
}

/// A language in which the person is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// French.
    #[serde(rename = "fr")]
    French,
    /// German.
    #[serde(rename = "de")]
    German,
    /// Portuguese.
    #[serde(rename = "pt")]
    Portuguese,
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
}

/// Where a person can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact<'a> {
    /// An e-mail address.
    Email(&'a str),
    /// A telephone number, with `+`.
    Phone(&'a str),
}

/// A form. `Debug` shows nothing of it; who is done with it wipes it.
#[derive(Clone, PartialEq, Eq, Default, Zeroize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// The national number.
    pub national_number: String,
    /// The name; empty where it is not given.
    #[serde(default)]
    pub name: String,
    /// The year of birth.
    #[serde(default)]
    pub birth_year: Option<u16>,
    /// An e-mail address or a telephone number.
    pub contact: String,
    /// Whether the person agrees.
    pub consent: bool,
    /// In which language the person is written to.
    #[serde(default)]
    #[zeroize(skip)]
    pub language: Language,
}

impl Form {
    /// The form as it is meant: without spaces around and inside numbers, addresses in small letters where that changes nothing. Two forms that say the
    /// same are the same afterwards.
    pub fn canonical(&self) -> Self {
        let compact = |text: &str| -> String { text.chars().filter(|c| !c.is_whitespace() && !"-./()".contains(*c)).collect() };
        let contact = if self.contact.contains('@') {
            email(&self.contact)
        } else {
            compact(&self.contact).replacen("00", "+", prefix(&self.contact))
        };
        Self {
            national_number: compact(&self.national_number).to_ascii_uppercase(),
            name: self.name.split_whitespace().collect::<Vec<_>>().join(" "),
            birth_year: self.birth_year,
            contact,
            consent: self.consent,
            language: self.language,
        }
    }

    /// Checks a [canonical](Self::canonical) form. `year` is the present one.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self, rules: &FormRules, year: u16) -> Result<(), FormError> {
        self.mistakes(rules, year).next().map_or(Ok(()), |field| Err(FormError(field)))
    }

    /// All fields of a [canonical](Self::canonical) form that are wrong, in the order in which they are asked for. `year` is the present one.
    pub fn mistakes(&self, rules: &FormRules, year: u16) -> impl Iterator<Item = Field> + use<> {
        let is_year = self.birth_year.is_none_or(|born| (FIRST_YEAR..=year).contains(&born));
        [
            (Field::NationalNumber, is_number(&self.national_number, rules.national_number)),
            (Field::Name, is_present(rules.name, !self.name.is_empty()) && is_name(&self.name)),
            (Field::BirthYear, is_present(rules.birth_year, self.birth_year.is_some()) && is_year),
            (Field::Contact, self.reached_by().is_some()),
            (Field::Consent, self.consent),
        ]
        .into_iter()
        .filter_map(|(field, is_good)| (!is_good).then_some(field))
    }

    /// Where the person can be reached; nothing where the field is wrong.
    pub fn reached_by(&self) -> Option<Contact<'_>> {
        if is_email(&self.contact) {
            return Some(Contact::Email(&self.contact));
        }
        let digits = self.contact.strip_prefix('+')?;
        let is_phone = (8..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
        is_phone.then_some(Contact::Phone(&self.contact))
    }

    /// As it is sealed.
    pub(super) fn to_json(&self) -> Vec<u8> {
        // Only maps with keys that are no text fail, and there are none.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From what was opened.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Form(..)")
    }
}

/// How many zeros in pairs a telephone number begins with: `00352` is `+352`.
fn prefix(contact: &str) -> usize {
    usize::from(contact.trim_start().starts_with("00"))
}

/// The part behind the `@` is the same in small letters; the part before it may not be.
fn email(contact: &str) -> String {
    match contact.trim().rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.to_ascii_lowercase()),
        None => String::new(),
    }
}

/// Whether it looks like an address. Whether it is one, the mail shows.
fn is_email(contact: &str) -> bool {
    let Some((local, domain)) = contact.rsplit_once('@') else { return false };
    let is_local = (1..=MAX_LOCAL).contains(&local.len())
        && local.bytes().all(|byte| byte.is_ascii_graphic() && !b"@,;:<>()[]\\\"".contains(&byte))
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..");
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    is_local && contact.len() <= MAX_EMAIL && domain.contains('.') && domain.split('.').all(is_label)
}

fn is_present(presence: Presence, is_there: bool) -> bool {
    match presence {
        Presence::Required => is_there,
        Presence::Optional => true,
        Presence::Absent => !is_there,
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES && name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control)
}

fn is_number(number: &str, format: NumberFormat) -> bool {
    match format {
        NumberFormat::Any => (4..=32).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        NumberFormat::Luxembourg => {
            number.len() == 13
                && number.bytes().all(|byte| byte.is_ascii_digit())
                && luhn(&number.as_bytes()[..12])
                && verhoeff(number[..11].bytes().chain(number[12..].bytes()))
        }
    }
}

/// Whether the last digit is Luhn's of those before it.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let value = u32::from(digit - b'0') << (at % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether the last digit is Verhoeff's of those before it: multiplication in the dihedral group of the pentagon.
fn verhoeff(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    const PERMUTATION: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let sum = digits.rev().enumerate().fold(0, |sum, (at, digit)| {
        let permuted = (0..at % 8).fold(digit - b'0', |value, _| PERMUTATION[usize::from(value)]);
        dihedral(sum, permuted)
    });
    sum == 0
}

/// Elements 0 to 4 are rotations, 5 to 9 reflections.
const fn dihedral(a: u8, b: u8) -> u8 {
    match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a - 5 + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: FormRules =
        FormRules { national_number: NumberFormat::Luxembourg, name: Presence::Required, birth_year: Presence::Optional };

    fn form() -> Form {
        Form {
            national_number: "1893 1201 05732".into(),
            name: "  Ada   King ".into(),
            birth_year: Some(1950),
            contact: " ada@Example.ORG ".into(),
            consent: true,
            language: Language::French,
        }
    }

    #[test]
    fn a_form_is_good_however_it_was_typed() {
        let form = form().canonical();
        assert_eq!((form.national_number.as_str(), form.name.as_str()), ("1893120105732", "Ada King"));
        assert_eq!(form.check(&RULES, 2021), Ok(()));
        assert_eq!(form.reached_by(), Some(Contact::Email("ada@example.org")));
        let phone = Form { contact: "00352 (621) 00-00-00".into(), ..form.clone() }.canonical();
        assert_eq!(phone.reached_by(), Some(Contact::Phone("+352621000000")));
        assert_eq!(Form::from_json(&form.to_json()), Some(form));
    }

    #[test]
    fn every_wrong_digit_and_every_exchange_of_neighbours_in_a_luxembourg_number_is_noticed() {
        let good = b"1893120105732";
        assert!(is_number(std::str::from_utf8(good).unwrap(), NumberFormat::Luxembourg));
        for at in 0..13 {
            for digit in (b'0'..=b'9').filter(|digit| *digit != good[at]) {
                let mut wrong = *good;
                wrong[at] = digit;
                assert!(!is_number(std::str::from_utf8(&wrong).unwrap(), NumberFormat::Luxembourg), "digit {at}");
            }
            if at < 12 && good[at] != good[at + 1] {
                let mut wrong = *good;
                wrong.swap(at, at + 1);
                assert!(!is_number(std::str::from_utf8(&wrong).unwrap(), NumberFormat::Luxembourg), "digits {at} and {}", at + 1);
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = form().canonical();
        let check = |form: Form| form.canonical().check(&RULES, 2021).map_err(|error| error.0);
        assert_eq!(check(Form { national_number: "1893120105731".into(), ..good.clone() }), Err(Field::NationalNumber));
        assert_eq!(check(Form { name: " ".into(), ..good.clone() }), Err(Field::Name));
        assert_eq!(check(Form { name: "x".repeat(101), ..good.clone() }), Err(Field::Name));
        assert_eq!(check(Form { birth_year: Some(2022), ..good.clone() }), Err(Field::BirthYear));
        assert_eq!(check(Form { birth_year: None, ..good.clone() }), Ok(()));
        for contact in [
            "",
            "ada",
            "ada@",
            "@example.org",
            "a b@example.org",
            "a@b",
            "a@-b.c",
            "+12",
            "621000000",
            "a@b.c\r\nBcc: x@y.z",
            "+0123456789",
        ] {
            assert_eq!(check(Form { contact: contact.into(), ..good.clone() }), Err(Field::Contact), "{contact}");
        }
        assert_eq!(check(Form { consent: false, ..good.clone() }), Err(Field::Consent));
        let none: Vec<Field> = Form::default().mistakes(&RULES, 2021).collect();
        assert_eq!(none, [Field::NationalNumber, Field::Name, Field::Contact, Field::Consent], "all at once");
        let rules = FormRules { name: Presence::Absent, ..RULES };
        assert_eq!(good.check(&rules, 2021), Err(FormError(Field::Name)), "what is not asked for is not taken");
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_checked_without_harm_and_fits_when_it_is_good(number: String, name: String, contact: String, year: Option<u16>) {
            let form = Form { national_number: number, name, birth_year: year, contact, consent: true, language: Language::English };
            let form = form.canonical();
            let _ = form.check(&RULES, 2021);
            prop_assert_eq!(form.canonical(), form.clone());
            if form.check(&FormRules { national_number: NumberFormat::Any, name: Presence::Optional, birth_year: Presence::Optional }, 2021).is_ok() {
                prop_assert!(form.to_json().len() <= 1_024);
            }
        }
    }
}
