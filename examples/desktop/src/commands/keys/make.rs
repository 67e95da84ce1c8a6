//! `vigie keys make`: a signed key file, made of own keys.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use vigie::diagnosis::{DiagnosisKey, ExportHeader, ReportType, SignatureInfo, SigningKey, write_export};
use vigie::time::{Clock, SystemClock, Timestamp};

use super::{count, free_from};
use crate::failure::Advise;
use crate::files::{self, Access};
use crate::keys_json;
use crate::output::{CAUTION, GOOD, Output, QUIET};

/// What the file is said to cover, up to now.
const PERIOD: Duration = Duration::from_secs(24 * 3600);

const JSON_HELP: &str = r#"The keys:

  {"temporaryExposureKeys": [
    {"key": "Fy/EgOWYSQw0F3YEM5sVQw==", "rollingStartNumber": 2649980, "rollingPeriod": 144,
     "transmissionRisk": 0, "reportType": "confirmed_test", "daysSinceOnset": 0}
  ]}

  key                 16 bytes in base64
  rollingStartNumber  the first ten-minute interval since 1970 for which it was used
  rollingPeriod       intervals for which it was used, 1 to 144; 144 if it is not said
  transmissionRisk    0 to 8 (deprecated); 0 if it is not said
  reportType          confirmed_test, confirmed_clinical_diagnosis, self_report or revoked;
                      confirmed_test if it is not said; revoked ones are listed as revised
  daysSinceOnset      days from the onset of symptoms to the day of the key, -14 to 14;
                      0 if it is not said

A private key, and the public key that belongs to it:

  openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out private.pem
  openssl pkey -in private.pem -pubout -out public.pem

Exit codes: 0 made, 2 not made"#;

/// Make a signed key file of own keys, as a health authority does with those reported to it
///
/// A key is held back until its end plus 2 hours, so that nobody can send its identifiers again. A small file tells how few people reported: an
/// authority adds made-up keys, this program does not.
#[derive(Debug, Args)]
#[command(after_help = JSON_HELP)]
pub(crate) struct MakeArgs {
    /// The keys, as JSON
    #[arg(long, value_name = "FILE.json")]
    keys: PathBuf,

    /// The P-256 private key to sign with: PKCS#8 in a PEM file, not encrypted
    #[arg(long, value_name = "PEM")]
    private_key: PathBuf,

    /// The key file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Where the keys are of, by custom a country code
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    region: String,

    /// The name of the signing key's owner, by custom a mobile country code
    #[arg(long, value_name = "TEXT", default_value = "vigie")]
    key_id: String,

    /// Which of its keys it is
    #[arg(long, value_name = "TEXT", default_value = "v1")]
    key_version: String,

    /// The time to publish at, such as 2020-10-22T18:00:00Z, in place of this computer's
    #[arg(long, value_name = "RFC3339")]
    now: Option<Timestamp>,

    /// Publish keys that should still be held back. For trials: their identifiers can be sent again
    #[arg(long)]
    no_embargo: bool,

    /// Overwrite the key file
    #[arg(long)]
    force: bool,
}

/// Makes it.
pub(crate) fn run(args: MakeArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let now = args.now.unwrap_or_else(|| SystemClock.now());
    let json = files::read(&args.keys, keys_json::MAX_BYTES)?;
    let keys = keys_json::parse(&json).with_context(|| format!("{} cannot be used", args.keys.display()))?;
    let signing_key = files::signing_key(&args.private_key)?;

    let (published, held): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| args.no_embargo || free_from(&key.key) <= now);
    let Some(next) = held.iter().map(|key| free_from(&key.key)).min() else {
        return publish(&args, published, &signing_key, now, out);
    };
    if published.is_empty() {
        return Err(anyhow!("all {} keys are held back, the first until {next}", held.len()))
            .advise("wait until then; for a trial: --no-embargo");
    }
    let code = publish(&args, published, &signing_key, now, out)?;
    writeln!(out.text(), "{CAUTION}held back{CAUTION:#} {}, the first until {next}", count(held.len()))?;
    Ok(code)
}

fn publish(
    args: &MakeArgs,
    keys: Vec<DiagnosisKey>,
    signing_key: &SigningKey,
    now: Timestamp,
    out: &Output,
) -> anyhow::Result<ExitCode> {
    if keys.is_empty() {
        return Err(anyhow!("{} has no keys", args.keys.display())).advise("a key file is made of one key or more");
    }
    let header = ExportHeader {
        start: now.before(PERIOD),
        end: now,
        region: args.region.clone(),
        batch_num: 1,
        batch_size: 1,
        signatures: vec![SignatureInfo::new(&args.key_id, &args.key_version)],
    };
    let (revised, new): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.report_type == Some(ReportType::Revoked));
    let export = write_export(&header, &new, &revised, signing_key).context("the key file cannot be made")?;
    files::write(&args.out, &export, Access::Everybody, args.force)?;

    let (path, public_key) = (args.out.display(), signing_key.public_key());
    let mut text = out.text();
    writeln!(text, "{GOOD}made{GOOD:#} {path} of {}", count(new.len() + revised.len()))?;
    writeln!(text, "{QUIET}to verify it:{QUIET:#} vigie keys verify {path} --public-key {public_key}")?;
    Ok(ExitCode::SUCCESS)
}
