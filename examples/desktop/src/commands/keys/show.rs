//! `vigie keys show`: what a key file says of itself.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use vigie::diagnosis::ExportError;

use super::Contents;
use crate::failure::NO;
use crate::output::{BAD, CAUTION, Output};

/// Show what a key file says of itself, without checking who signed it
///
/// The file is a ZIP of export.bin and export.sig, as health authorities publish them. Region, times, signers and the number of keys are shown,
/// never a key. Anybody can write such a file: whether it is genuine is for `vigie keys verify` to say.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 it is a key file, 1 it is none, 2 it cannot be read")]
pub(crate) struct ShowArgs {
    /// The key file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    path: String,
    verified: bool,
    reason: Option<String>,
    #[serde(flatten)]
    contents: Option<Contents>,
}

/// Shows it.
pub(crate) fn run(args: ShowArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let contents = super::open(&args.file)?.and_then(|export| export.unverified_summary());
    let contents = contents.map(|summary| Contents::from(&summary));
    let code = if contents.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(NO) };
    let path = args.file.display().to_string();
    if args.json {
        let reason = contents.as_ref().err().map(ExportError::to_string);
        out.json(&Answer { path, verified: false, reason, contents: contents.ok() })?;
        return Ok(code);
    }
    let mut text = out.text();
    match contents {
        Ok(contents) => {
            writeln!(text, "{path}: {CAUTION}not verified{CAUTION:#}, this is what it says of itself")?;
            contents.write(&mut text)?;
        }
        Err(e) => writeln!(text, "{path}: {BAD}no key file{BAD:#}: {e}")?,
    }
    Ok(code)
}
