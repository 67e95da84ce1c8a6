//! The form as a person fills it in: at the terminal, question by question, or as a JSON document.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use vigie::courier::waitlist::{Field, Form, FormError, FormRules, Language, NumberFormat, Presence};
use vigie::time::Timestamp;
use zeroize::Zeroizing;

use crate::failure::Advise;
use crate::files;
use crate::output::{BAD, QUIET};

/// The longest document, and the longest answer to a question, in bytes: more than any form has.
const MAX_FORM: u64 = 8_192;
const MAX_LINE: u64 = 1_024;

/// Reads the document, `-` is stdin, and checks it. What is wrong is named, and nothing of it repeated.
pub(super) fn read(path: &Path, rules: &FormRules, now: Timestamp) -> anyhow::Result<Zeroizing<Form>> {
    let json = if path == Path::new("-") {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FORM as usize + 1));
        io::stdin().lock().take(MAX_FORM + 1).read_to_end(&mut bytes).context("no form can be read from stdin")?;
        bytes
    } else {
        files::read(path, MAX_FORM)?
    };
    let advice =
        "it has the members national_number, name, birth_year, contact, consent and language; nothing was opened or sent";
    if json.len() as u64 > MAX_FORM {
        return Err(anyhow!("the form has more than {MAX_FORM} bytes")).advise(advice);
    }
    // The error of the JSON itself may repeat what was filled in.
    let form: Form = serde_json::from_slice(&json)
        .map_err(|error| anyhow!("the form cannot be read: line {}, column {}", error.line(), error.column()))
        .advise(advice)?;
    let form = Zeroizing::new(Zeroizing::new(form).canonical());
    form.check(rules, year(now)).context("the form is not complete").advise("mend that; nothing was opened or sent")?;
    Ok(form)
}

/// Asks for each field, and once more for one that is wrong.
pub(super) fn ask(
    rules: &FormRules,
    now: Timestamp,
    from: &mut impl BufRead,
    to: &mut impl Write,
) -> anyhow::Result<Zeroizing<Form>> {
    let mut form = Zeroizing::new(Form::default());
    let number = match rules.national_number {
        NumberFormat::Luxembourg => "National number (13 digits)",
        NumberFormat::Any => "National number",
    };
    form.national_number = question(number, Presence::Required, from, to)?;
    form.name = question("First name and name", rules.name, from, to)?;
    form.birth_year = birth_year(rules.birth_year, from, to)?;
    form.contact = question("E-mail address, or telephone number with its country (+352 ...)", Presence::Required, from, to)?;
    form.language = language(from, to)?;
    form.consent = consent(from, to)?;
    loop {
        let checked = form.canonical().check(rules, year(now));
        let Err(FormError(field)) = checked else { return Ok(Zeroizing::new(form.canonical())) };
        writeln!(to, "{BAD}{}{BAD:#}", FormError(field))?;
        match field {
            Field::NationalNumber => form.national_number = question(number, Presence::Required, from, to)?,
            Field::Name => form.name = question("First name and name", rules.name, from, to)?,
            Field::BirthYear => form.birth_year = birth_year(rules.birth_year, from, to)?,
            Field::Contact => form.contact = question("E-mail address or telephone number", Presence::Required, from, to)?,
            // Who does not agree is not asked again.
            _ => {
                return Err(anyhow!(FormError(field))).advise("nothing was opened or sent");
            }
        }
    }
}

/// A line of what is typed, without its end; an error where there is none.
pub(super) fn line(from: &mut impl BufRead) -> anyhow::Result<Zeroizing<String>> {
    let mut typed = Zeroizing::new(String::with_capacity(MAX_LINE as usize));
    let read = from.take(MAX_LINE).read_line(&mut typed).context("what was typed cannot be read")?;
    if read == 0 {
        return Err(anyhow!("nothing more was typed")).advise("nothing was opened or sent; begin again");
    }
    Ok(Zeroizing::new(typed.trim().to_owned()))
}

fn question(text: &str, presence: Presence, from: &mut impl BufRead, to: &mut impl Write) -> anyhow::Result<String> {
    if presence == Presence::Absent {
        return Ok(String::new());
    }
    let may_be_empty = if presence == Presence::Optional { " (may be left empty)" } else { "" };
    write!(to, "{text}{QUIET}{may_be_empty}{QUIET:#}: ")?;
    to.flush()?;
    Ok(std::mem::take(&mut *line(from)?))
}

fn birth_year(presence: Presence, from: &mut impl BufRead, to: &mut impl Write) -> anyhow::Result<Option<u16>> {
    loop {
        let typed = Zeroizing::new(question("Year of birth", presence, from, to)?);
        match typed.parse() {
            Ok(year) => return Ok(Some(year)),
            Err(_) if typed.is_empty() => return Ok(None),
            Err(_) => writeln!(to, "{BAD}{}{BAD:#}", FormError(Field::BirthYear))?,
        }
    }
}

fn language(from: &mut impl BufRead, to: &mut impl Write) -> anyhow::Result<Language> {
    loop {
        let typed = question("Language of letters to you: fr, de, pt or en", Presence::Optional, from, to)?;
        match typed.to_ascii_lowercase().as_str() {
            "fr" => return Ok(Language::French),
            "de" => return Ok(Language::German),
            "pt" => return Ok(Language::Portuguese),
            "en" | "" => return Ok(Language::English),
            _ => writeln!(to, "{BAD}one of fr, de, pt and en; without an answer it is en{BAD:#}")?,
        }
    }
}

fn consent(from: &mut impl BufRead, to: &mut impl Write) -> anyhow::Result<bool> {
    writeln!(
        to,
        "The form goes to the health authority, sealed so that nobody on the way can read it, and is used for the waiting list alone."
    )?;
    let typed = question("Do you agree? Type yes", Presence::Required, from, to)?;
    Ok(typed.eq_ignore_ascii_case("yes"))
}

/// The present year.
fn year(now: Timestamp) -> u16 {
    now.date().to_string().get(..4).and_then(|year| year.parse().ok()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_603_364_400);
    const RULES: FormRules =
        FormRules { national_number: NumberFormat::Luxembourg, name: Presence::Required, birth_year: Presence::Optional };

    fn typed(text: &str) -> (anyhow::Result<Zeroizing<Form>>, String) {
        let mut asked = anstream::StripStream::new(Vec::new());
        let form = ask(&RULES, NOW, &mut text.as_bytes(), &mut asked);
        (form, String::from_utf8(asked.into_inner()).unwrap())
    }

    #[test]
    fn who_answers_each_question_has_a_form_and_only_what_is_wrong_is_asked_again() {
        let text = "1893 1201 05731\nAda King\nlong ago\n\nada\nFR\nyes\n1893 1201 05732\n ada@Example.ORG \n";
        let (form, asked) = typed(text);
        let form = form.unwrap();
        assert_eq!((form.national_number.as_str(), form.contact.as_str()), ("1893120105732", "ada@example.org"));
        assert_eq!((form.birth_year, form.language, form.consent), (None, Language::French, true));
        for part in ["typing mistake", "the year of birth is missing, or cannot be", "no e-mail address", "(may be left empty)"] {
            assert!(asked.contains(part), "{part} is not in {asked}");
        }
        assert_eq!(asked.matches("First name").count(), 1);
    }

    #[test]
    fn who_does_not_agree_or_goes_away_signs_up_for_nothing() {
        let (form, _) = typed("1893120105732\nAda\n\nada@example.org\n\nno\n");
        assert!(form.map(drop).unwrap_err().chain().any(|cause| cause.to_string().contains("without consent")));
        assert!(typed("1893120105732\nAda\n").0.is_err());
    }

    #[test]
    fn a_document_is_bounded_and_no_error_repeats_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("form.json");
        let read_this = |json: &str| {
            std::fs::write(&path, json).unwrap();
            read(&path, &RULES, NOW)
        };
        let good = r#"{"national_number":"1893120105732","name":"Ada","contact":"ada@example.org","consent":true}"#;
        assert_eq!(read_this(good).unwrap().name, "Ada");
        for (json, part) in [
            (good.replace("true", "\"SECRET\""), "line 1, column"),
            (good.replace("name", "SECRET"), "line 1, column"),
            (good.replace("05732", "SECRET"), "typing mistake"),
            (good.replace("true", "false"), "without consent"),
            (" ".repeat(9_000), "more than 8192 bytes"),
        ] {
            let error = read_this(&json).map(drop).unwrap_err();
            let said: Vec<_> = error.chain().map(ToString::to_string).collect();
            assert!(said.iter().any(|text| text.contains(part)), "{said:?}");
            assert!(said.iter().all(|text| !text.contains("SECRET")), "{said:?}");
        }
    }
}
