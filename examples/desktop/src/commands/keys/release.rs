//! `vigie keys release`: own keys as JSON, for whoever publishes them.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use vigie::diagnosis::DiagnosisKey;
use vigie::time::{Clock, SystemClock};
use vigie::tracer::Config;

use super::{count, free_from};
use crate::failure::Advise;
use crate::files::{self, Access};
use crate::output::{CAUTION, GOOD, Output, QUIET};
use crate::{keys_json, store};

const RELEASE_HELP: &str = "\
Whoever has these keys can tell where their owner was heard: give them only to who publishes them.
They stay in the store until they are 14 days old, and can be handed out again.

Example:

  vigie keys release --store store.db --out mine.json
  vigie keys make --keys mine.json --private-key private.pem --out keys.zip

Exit codes: 0 handed out, 2 not handed out";

/// Hand out the own keys of the last 14 days, after a positive test
///
/// Today's key ends with the current ten minutes; what is sent afterwards is of a new key. The file can be read by its owner alone.
#[derive(Debug, Args)]
#[command(after_help = RELEASE_HELP)]
pub(crate) struct ReleaseArgs {
    /// The store with the keys; it must be there
    #[arg(long, value_name = "DB")]
    store: PathBuf,

    /// The file to write
    #[arg(long, value_name = "FILE.json")]
    out: PathBuf,

    /// Overwrite the file
    #[arg(long)]
    force: bool,
}

/// Hands them out.
pub(crate) fn run(args: ReleaseArgs, out: &Output) -> anyhow::Result<ExitCode> {
    store::must_exist(&args.store)?;
    let path = args.out.display();
    if !args.force && args.out.exists() {
        // Looked at once more when it is written; here so that no key ends for nothing.
        return Err(std::io::Error::from(ErrorKind::AlreadyExists))
            .with_context(|| format!("{path} cannot be written"))
            .advise("choose another name, or --force to overwrite it");
    }
    let tracer = store::open_tracer(Config::default(), &args.store, SystemClock)?;
    let keys = tracer.release_keys().with_context(|| format!("no key of {} was handed out", args.store.display()))?;
    let Some(last_end) = keys.iter().map(free_from).max() else {
        return Err(anyhow!("{} has no key of which something was sent in the last 14 days", args.store.display()))
            .advise("use the store of the device that was traced");
    };
    let keys: Vec<_> = keys
        .into_iter()
        .map(|key| DiagnosisKey { key, report_type: None, days_since_onset: None, transmission_risk: 0 })
        .collect();
    let json = keys_json::format(&keys).context("the keys cannot be written as JSON")?;
    files::write(&args.out, &json, Access::Owner, args.force)
        .context("today's key has ended; no key is lost: all are still in the store, and are handed out by the next release")?;

    let mut text = out.text();
    writeln!(text, "{GOOD}handed out{GOOD:#} {} to {path}", count(keys.len()))?;
    if last_end > SystemClock.now() {
        writeln!(
            text,
            "{CAUTION}held back{CAUTION:#} by whoever publishes them: the last until {last_end}, 2 hours after its end"
        )?;
    }
    writeln!(text, "{QUIET}next:{QUIET:#} vigie keys make --keys {path} --private-key PEM --out FILE")?;
    Ok(ExitCode::SUCCESS)
}
