//! `vigie keys verify`: whether a key file is genuine, and what is in it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use vigie::diagnosis::{ExportError, VerifiedExport};
use vigie::time::Date;

use super::Contents;
use crate::failure::NO;
use crate::files;
use crate::keys_json::report_type_name;
use crate::output::{BAD, GOOD, Output};

/// Verify a key file with the authority's public key, and show what is in it
///
/// The file is valid if one of its signatures was made over the whole of its content with the key given here, and if the content is well formed to
/// its last byte. What the file says about its signer is not signed, and decides nothing.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 valid, 1 not valid (the reason is said), 2 the file or the public key cannot be read")]
pub(crate) struct VerifyArgs {
    /// The key file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The authority's P-256 public key: a PEM file, or its SubjectPublicKeyInfo in base64
    #[arg(long, value_name = "KEY")]
    public_key: String,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    path: String,
    valid: bool,
    /// Why it is not valid.
    reason: Option<String>,
    /// What the file says of itself, where that can be read; to be believed only if it is valid.
    #[serde(flatten)]
    contents: Option<Contents>,
    #[serde(flatten)]
    keys: Option<Keys>,
}

/// The keys of a verified file, counted.
#[derive(Debug, Default, Serialize)]
struct Keys {
    id: String,
    usable_keys: usize,
    refused_keys: usize,
    /// Why the first of them was refused.
    first_refusal: Option<String>,
    /// Of the usable ones.
    report_types: BTreeMap<&'static str, usize>,
    /// The first UTC day for which a key is good.
    first_day: Option<String>,
    /// The last such day.
    last_day: Option<String>,
}

/// Verifies it.
pub(crate) fn run(args: VerifyArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let public_key = files::public_key(&args.public_key)?;
    let export = super::open(&args.file)?;
    let contents = export.as_ref().ok().and_then(|export| export.unverified_summary().ok()).as_ref().map(Contents::from);
    let verified = export.and_then(|export| export.verify(&[public_key]));

    let answer = Answer {
        path: args.file.display().to_string(),
        valid: verified.is_ok(),
        reason: verified.as_ref().err().map(ExportError::to_string),
        contents,
        keys: verified.ok().as_ref().map(Keys::count),
    };
    if args.json {
        out.json(&answer)?;
    } else {
        answer.write(&mut out.text())?;
    }
    Ok(if answer.valid { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

impl Keys {
    fn count(export: &VerifiedExport) -> Self {
        let mut counted = Self { id: export.id().to_string(), ..Self::default() };
        let mut days: Option<(Date, Date)> = None;
        for exported in export.keys() {
            match exported.key {
                Ok(key) => {
                    counted.usable_keys += 1;
                    *counted.report_types.entry(key.report_type.map_or("not-said", report_type_name)).or_default() += 1;
                    let (first, last) = (key.key.rolling_start().date(), key.key.end().minus(1).date());
                    days = Some(days.map_or((first, last), |(f, l)| (f.min(first), l.max(last))));
                }
                Err(refused) => {
                    counted.refused_keys += 1;
                    counted.first_refusal.get_or_insert_with(|| refused.to_string());
                }
            }
        }
        counted.first_day = days.map(|(first, _)| first.to_string());
        counted.last_day = days.map(|(_, last)| last.to_string());
        counted
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        if let (Some(first), Some(last)) = (&self.first_day, &self.last_day) {
            writeln!(to, "  days       {first} to {last}")?;
        }
        for (report_type, keys) in &self.report_types {
            writeln!(to, "  reported   {keys} {report_type}")?;
        }
        if let Some(reason) = &self.first_refusal {
            writeln!(to, "  refused    {} ({reason})", self.refused_keys)?;
        }
        writeln!(to, "  SHA-256    {}", self.id)
    }
}

impl Answer {
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match &self.reason {
            None => writeln!(to, "{}: {GOOD}valid{GOOD:#}, signed with this key", self.path)?,
            Some(reason) => writeln!(to, "{}: {BAD}not valid{BAD:#}: {reason}", self.path)?,
        }
        if let (false, Some(_)) = (self.valid, &self.contents) {
            writeln!(to, "What it says of itself, without anybody vouching for it:")?;
        }
        self.contents.as_ref().map_or(Ok(()), |contents| contents.write(to))?;
        self.keys.as_ref().map_or(Ok(()), |keys| keys.write(to))
    }
}
