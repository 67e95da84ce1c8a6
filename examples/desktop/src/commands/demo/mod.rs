//! `vigie demo`: a few days of a small town, and whether the right people are warned.
//!
//! The radios, clocks and positions are simulated; keys, store, key file, matching, exposure and tracer are the real ones. What the phones say is
//! held against the [truth] of positions and minutes. With `--server` the keys go through a real [backend].

mod backend;
mod life;
mod story;
mod town;
mod truth;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tempfile::NamedTempFile;
use url::Url;
use vigie::diagnosis::{self, DiagnosisKey, ReportType, SigningKey};
use vigie::encounters::calibration::{Calibration, CalibrationConfidence};
use vigie::keys::TemporaryExposureKey;
use vigie::radio::sim::DeviceModel;
use vigie::time::Timestamp;

use crate::output::Output;
use crate::servers::{self, ServerArgs};
use crate::store;
use backend::Served;
use life::Life;

/// 22 October 2020, the day on which TousAntiCovid was released, at midnight UTC.
const START: Timestamp = Timestamp::from_unix_s(1_603_324_800);

/// A key is published when it cannot be sent again: 2 hours after its end, and a quarter of an hour for the authority.
const PUBLICATION: Duration = Duration::from_secs(135 * 60);

const DEMO_HELP: &str = "\
With --server the town's last day is yesterday, so that no key is held back any more. The health authority's part is done as an administrator of the \
backend does it: a code is issued, and a list is published at once. That takes the admin token.

Example, with `cargo run --release -p vigie-backend` in another terminal:

  vigie demo --server http://127.0.0.1:8080

Exit codes: 0 warning and truth agree, 1 they do not, 2 not done";

/// What to play.
#[derive(Debug, Clone, Args)]
#[command(after_help = DEMO_HELP)]
pub(crate) struct DemoArgs {
    /// All chance of the town comes from this number: the same seed is the same town (with --server, with other keys)
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How many people live in the town
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(2..=200))]
    people: u32,

    /// How many days are played
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=6))]
    days: u32,

    #[command(flatten)]
    servers: ServerArgs,

    /// Where the backend serves its administrators [default: http://127.0.0.1:8081]
    #[arg(long, value_name = "URL", requires = "server", value_parser = servers::parse_url)]
    admin: Option<Url>,

    /// The file with the backend's admin token [default: keys/admin-token beside client.json, or in vigie-data where --server is an address]
    #[arg(long, value_name = "FILE", requires = "server")]
    admin_token: Option<PathBuf>,

    /// Write one JSON document instead of text
    #[arg(long)]
    json: bool,
}

impl Default for DemoArgs {
    fn default() -> Self {
        let servers = ServerArgs { server: None };
        Self { seed: 1, people: 24, days: 3, servers, admin: None, admin_token: None, json: false }
    }
}

pub(crate) fn run(args: &DemoArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let outcome = match &args.servers.server {
        Some(server) => backend::play(args, server)?,
        None => play(args, calibrated, |start| start)?,
    };
    if args.json {
        out.json(&outcome)?;
    } else {
        story::tell(&outcome, args, &mut out.text())?;
    }
    Ok(if outcome.agrees { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// How it ended.
#[derive(Debug, Serialize)]
struct Outcome {
    /// Who tested positive.
    patient: String,
    days: Vec<String>,
    rotations: usize,
    encounters: u64,
    /// Those that the patient's phone released or the server took, and without a server made-up ones, too.
    keys_published: usize,
    keys_of_patient: usize,
    /// How the keys went through a server, where they did.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Served>,
    everybody: Vec<Verdict>,
    /// Whether every contact and no stranger was warned.
    agrees: bool,
}

/// What one person was told, beside what was.
#[derive(Debug, Serialize)]
struct Verdict {
    name: String,
    relation: &'static str,
    minutes_within_2_m: u64,
    nearest_m: f64,
    warned: bool,
    explanation: Vec<String>,
    /// `None` where the truth does not judge.
    is_right: Option<bool>,
}

/// Plays the days, the report and the check. What each phone believes of its radio and what becomes of the published keys' start are arguments,
/// so that a test can break them and see the outcome change.
fn play(
    args: &DemoArgs,
    calibration: impl Fn(&DeviceModel) -> Calibration,
    published_start: impl Fn(i64) -> i64,
) -> anyhow::Result<Outcome> {
    let authority = SigningKey::generate()?;
    let mut life = Life::begin(args, START, &[authority.public_key().clone()], calibration, Ok)?;
    life.live_until(life.diagnosis())?;
    let released = life.patient().tracer.release_keys()?;
    life.live_until(life.diagnosis().after(PUBLICATION))?;

    let mut keys = diagnosis_keys(&released, args.days, published_start);
    diagnosis::pad_with_made_up_keys(&mut keys, 10 * released.len(), &mut store::random_source()?);
    let file = publish(&keys, &authority, life.now())?;
    for phone in life.phones() {
        phone.tracer.check(&[file.path()], |_| ControlFlow::Continue(()))?;
    }
    Ok(Outcome { keys_published: keys.len(), keys_of_patient: released.len(), ..life.outcome()? })
}

/// What the patient's keys are published with.
fn diagnosis_keys(released: &[TemporaryExposureKey], days: u32, published_start: impl Fn(i64) -> i64) -> Vec<DiagnosisKey> {
    let onset = life::onset(START, days).days();
    let published = |key: &TemporaryExposureKey| DiagnosisKey {
        key: shifted(key, &published_start),
        report_type: Some(ReportType::ConfirmedTest),
        days_since_onset: i8::try_from(i64::from(key.rolling_start().date().days()) - i64::from(onset)).ok(),
        transmission_risk: 0,
    };
    released.iter().map(published).collect()
}

fn publish(keys: &[DiagnosisKey], authority: &SigningKey, now: Timestamp) -> anyhow::Result<NamedTempFile> {
    let header = diagnosis::ExportHeader {
        start: START,
        end: now,
        region: "TOWN".into(),
        batch_num: 1,
        batch_size: 1,
        signatures: vec![diagnosis::SignatureInfo::new("000", "v1")],
    };
    let file = NamedTempFile::new().context("the key list needs a temporary file")?;
    std::fs::write(file.path(), diagnosis::write_export(&header, keys, &[], authority)?)?;
    Ok(file)
}

/// What the health authority's table says of a phone.
fn calibrated(model: &DeviceModel) -> Calibration {
    Calibration {
        rssi_correction: model.rssi_correction,
        transmit_power: model.transmit_power,
        confidence: CalibrationConfidence::High,
    }
}

fn shifted(key: &TemporaryExposureKey, published_start: impl Fn(i64) -> i64) -> TemporaryExposureKey {
    let start = published_start(i64::from(key.rolling_start().number()));
    TemporaryExposureKey::new(key.as_bytes(), start, i64::from(key.rolling_period())).unwrap_or_else(|_| key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demonstration_agrees_and_warns_somebody() {
        let outcome = play(&DemoArgs::default(), calibrated, |start| start).unwrap();
        assert!(outcome.agrees, "{outcome:#?}");
        assert!(outcome.everybody.iter().any(|v| v.relation == "contact" && v.warned));
        assert!(outcome.everybody.iter().any(|v| v.relation == "stranger"));
    }

    #[test]
    fn it_notices_when_calibration_is_broken() {
        let uncalibrated = |_: &DeviceModel| Calibration { rssi_correction: 0, transmit_power: 0, ..Calibration::default() };
        assert!(!play(&DemoArgs::default(), uncalibrated, |start| start).unwrap().agrees);
    }

    #[test]
    fn it_notices_when_matching_is_broken() {
        assert!(!play(&DemoArgs::default(), calibrated, |start| start + 1_000).unwrap().agrees);
    }
}
