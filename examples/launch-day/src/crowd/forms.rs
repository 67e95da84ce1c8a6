//! Who signs up: people with their forms, made and sealed before the clock starts, and written to a file for all that one process plays.
//!
//! ```text
//! file     for each person: recovery code (21 bytes), length of the request (4 bytes, big endian), the request that is sent, once or often
//! ```
//!
//! The file is synchronised before anybody sends anything, as an app's store is: who is acknowledged can always show for what.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use vigie::courier::waitlist::{
    Form, FormRules, Language, MAX_WAITLIST_BODY, OperationId, Presence, RecoveryCode, SealingKey, SignUpRequest,
};

/// Symbols of a recovery code.
const CODE: usize = 21;

/// The year in which they sign up.
const YEAR: u16 = 2021;

/// A person, as the file has them.
pub(super) struct Person {
    pub(super) operation: OperationId,
    /// What is sent: the same bytes each time.
    pub(super) body: Bytes,
}

impl Person {
    /// What a receipt must vouch for.
    ///
    /// # Errors
    /// Where the body is no request.
    pub(super) fn form_hash(&self) -> anyhow::Result<[u8; 32]> {
        let request: SignUpRequest = serde_json::from_slice(&self.body).context("what was sent is no sign-up")?;
        Ok(request.form.hash(self.operation, &request.secret_hash))
    }
}

/// A file of people that is being written.
pub(super) struct Writer(BufWriter<File>);

impl Writer {
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn new(path: &Path) -> anyhow::Result<Self> {
        let file = File::create_new(path).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self(BufWriter::with_capacity(1 << 20, file)))
    }

    /// Has the person with this number fill in a form, and seals it.
    ///
    /// # Errors
    /// Where the list asks for something else, or the file cannot be written.
    pub(super) fn add(&mut self, number: u32, rules: &FormRules, key: &SealingKey, rng: &mut ChaCha20Rng) -> anyhow::Result<()> {
        let form = form(number, rules)?;
        let code = RecoveryCode::generate(rng);
        let form = key.seal(&form, code.operation_id(), rng).context("a form cannot be sealed")?;
        let body = serde_json::to_vec(&SignUpRequest { form, secret_hash: code.secret().hash() })?;
        self.0.write_all(code.as_str().as_bytes())?;
        self.0.write_all(&u32::try_from(body.len())?.to_be_bytes())?;
        self.0.write_all(&body)?;
        Ok(())
    }

    /// It is on the disk afterwards.
    ///
    /// # Errors
    /// Where it is not.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.0.into_inner().context("the forms cannot be written")?.sync_all().context("the forms cannot be written")
    }
}

/// Reads such a file.
///
/// # Errors
/// Where it is none.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Person>> {
    let cannot = || format!("{} cannot be read", path.display());
    let mut file = BufReader::new(File::open(path).with_context(cannot)?);
    let mut people = Vec::new();
    loop {
        let mut code = [0; CODE];
        match file.read(&mut code[..1])? {
            0 => return Ok(people),
            _ => file.read_exact(&mut code[1..]).with_context(cannot)?,
        }
        let code = RecoveryCode::parse(std::str::from_utf8(&code).with_context(cannot)?).with_context(cannot)?;
        let mut length = [0; 4];
        file.read_exact(&mut length).with_context(cannot)?;
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length <= MAX_WAITLIST_BODY, "{}: a request is too long", path.display());
        let mut body = vec![0; length];
        file.read_exact(&mut body).with_context(cannot)?;
        people.push(Person { operation: code.operation_id(), body: body.into() });
    }
}

/// What this person fills in, checked as an app checks it.
fn form(number: u32, rules: &FormRules) -> anyhow::Result<Form> {
    let asked = |presence| presence != Presence::Absent;
    let (year, month, day) = (1930 + number / 372_000 % 70, 1 + number / 31_000 % 12, 1 + number / 1_000 % 31);
    // The last two digits may be check digits: the pair that fits is taken.
    for check in 0..100 {
        let form = Form {
            national_number: format!("{year}{month:02}{day:02}{:03}{check:02}", number % 1_000),
            name: if asked(rules.name) { format!("Person {number}") } else { String::new() },
            birth_year: asked(rules.birth_year).then_some(year as u16),
            contact: format!("person{number}@example.org"),
            consent: true,
            language: Language::French,
        };
        let form = form.canonical();
        if form.check(rules, YEAR).is_ok() {
            return Ok(form);
        }
    }
    bail!("this waiting list asks for something that the crowd does not know")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use vigie::courier::waitlist::{NumberFormat, OpeningKey};

    use super::*;

    #[test]
    fn everybody_fills_in_a_form_that_is_good_and_their_own() {
        for national_number in [NumberFormat::Any, NumberFormat::Luxembourg] {
            let rules = FormRules { national_number, name: Presence::Absent, ..FormRules::default() };
            let numbers: HashSet<String> =
                (0..200_000).step_by(97).map(|number| form(number, &rules).unwrap().national_number).collect();
            assert_eq!(numbers.len(), 200_000_usize.div_ceil(97));
        }
    }

    #[test]
    fn what_is_read_is_what_was_written_and_opens_for_the_authority() {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let opening = OpeningKey::generate("v1", &mut rng);
        let sealing = SealingKey::new("v1", &opening.public_text()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forms");
        let mut writer = Writer::new(&path).unwrap();
        for number in 0..3 {
            writer.add(number, &FormRules::default(), &sealing, &mut rng).unwrap();
        }
        writer.finish().unwrap();
        let people = read(&path).unwrap();
        assert_eq!(people.len(), 3);
        for (number, person) in (0..).zip(&people) {
            let request: SignUpRequest = serde_json::from_slice(&person.body).unwrap();
            assert_eq!(opening.open(&request.form, person.operation).unwrap(), form(number, &FormRules::default()).unwrap());
        }
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(read(&path).is_err(), "one that was cut is none");
    }
}
