//! `vigie keys`: own keys handed out, key files made of them, what is in one, and whether it is genuine.

mod make;
mod release;
mod show;
mod verify;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use serde::Serialize;
use vigie::diagnosis::{ExportError, ExportSummary, SignatureInfo, SignedExport};
use vigie::keys::TemporaryExposureKey;
use vigie::time::Timestamp;

use crate::files;
use crate::output::{Output, shown};

/// Characters of a text from a key file that are shown.
const SHOWN: usize = 60;

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    Show(show::ShowArgs),
    Verify(verify::VerifyArgs),
    Release(release::ReleaseArgs),
    Make(make::MakeArgs),
}

/// Does it.
pub(crate) fn run(command: KeysCommand, out: &Output) -> anyhow::Result<ExitCode> {
    match command {
        KeysCommand::Show(args) => show::run(args, out),
        KeysCommand::Verify(args) => verify::run(args, out),
        KeysCommand::Release(args) => release::run(args, out),
        KeysCommand::Make(args) => make::run(args, out),
    }
}

/// Unpacks a key file. The outer error is the system's, where there is no answer; the inner one is the file's fault, and an answer.
fn open(path: &Path) -> anyhow::Result<Result<SignedExport, ExportError>> {
    match SignedExport::read(files::open(path)?) {
        Err(ExportError::Io { reason }) => Err(anyhow!(reason)).with_context(|| format!("{} cannot be read", path.display())),
        other => Ok(other),
    }
}

/// How long after its end a key stays secret: phones accept identifiers up to 2 hours late, and so long somebody could send them again.
const EMBARGO: Duration = Duration::from_secs(2 * 3600);

/// When a key may be published.
fn free_from(key: &TemporaryExposureKey) -> Timestamp {
    key.end().start().after(EMBARGO)
}

pub(super) fn count(keys: usize) -> String {
    if keys == 1 { "1 key".to_owned() } else { format!("{keys} keys") }
}

/// What a key file says of itself.
#[derive(Debug, Serialize)]
struct Contents {
    region: String,
    start: String,
    end: String,
    batch_num: i32,
    batch_size: i32,
    signatures: Vec<Signer>,
    keys: usize,
    revised_keys: usize,
}

#[derive(Debug, Serialize)]
struct Signer {
    key_id: String,
    key_version: String,
    algorithm: String,
}

impl From<&ExportSummary> for Contents {
    fn from(summary: &ExportSummary) -> Self {
        let header = &summary.header;
        let signer = |info: &SignatureInfo| Signer {
            key_id: info.key_id.clone(),
            key_version: info.key_version.clone(),
            algorithm: info.algorithm.clone(),
        };
        Self {
            region: header.region.clone(),
            start: header.start.to_string(),
            end: header.end.to_string(),
            batch_num: header.batch_num,
            batch_size: header.batch_size,
            signatures: header.signatures.iter().map(signer).collect(),
            keys: summary.keys,
            revised_keys: summary.revised_keys,
        }
    }
}

impl Contents {
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let region = if self.region.is_empty() { "not said".to_owned() } else { shown(&self.region, SHOWN) };
        writeln!(to, "  region     {region}")?;
        writeln!(to, "  received   {} to {}", self.start, self.end)?;
        writeln!(to, "  batch      {} of {}", self.batch_num, self.batch_size)?;
        for signer in &self.signatures {
            let (id, version) = (shown(&signer.key_id, SHOWN), shown(&signer.key_version, SHOWN));
            writeln!(to, "  signed by  {id}, key {version}, by its own account")?;
        }
        writeln!(to, "  keys       {} new, {} revised", self.keys, self.revised_keys)
    }
}
