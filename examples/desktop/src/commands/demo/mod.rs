//! `vigie demo`: a few days of a small town, and whether the right people are warned.
//!
//! The radios, clocks and positions are simulated; keys, store, key file, matching, exposure and tracer are the real ones. What the phones say is
//! held against the [truth] of positions and minutes.

mod town;
mod truth;

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use tempfile::NamedTempFile;
use vigie::diagnosis::{self, DiagnosisKey, ReportType, SigningKey};
use vigie::encounters::calibration::{Calibration, CalibrationConfidence};
use vigie::exposure::{ExposureConfiguration, ExposureParameters};
use vigie::keys::TemporaryExposureKey;
use vigie::radio::sim::{Air, AirModel, DeviceModel};
use vigie::time::Timestamp;
use vigie::tracer::simulation::{Phone, Simulation};
use vigie::tracer::{Config, Event};

use crate::output::{BAD, GOOD, Output, QUIET};
use crate::progress::Progress;
use town::Person;
use truth::{Relation, Truth};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// 22 October 2020, the day on which TousAntiCovid was released, at midnight UTC.
const START: Timestamp = Timestamp::from_unix_s(1_603_324_800);

/// Phones are switched on when it is the first day by all their clocks.
const SWITCH_ON: Duration = Duration::from_secs(600);

/// The test comes back at 21:00 on the last day.
const DIAGNOSIS: Duration = Duration::from_secs(21 * 3600);

/// A key is published when it cannot be sent again: 2 hours after its end, and a quarter of an hour for the authority.
const PUBLICATION: Duration = Duration::from_secs(135 * 60);

/// What to play.
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoArgs {
    /// All chance comes from this number: the same seed is the same town
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How many people live in the town
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(2..=200))]
    people: u32,

    /// How many days are played
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=6))]
    days: u32,

    /// Write one JSON document instead of text
    #[arg(long)]
    json: bool,
}

impl Default for DemoArgs {
    fn default() -> Self {
        Self { seed: 1, people: 24, days: 3, json: false }
    }
}

pub(crate) fn run(args: &DemoArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let outcome = play(args, calibrated, |start| start)?;
    if args.json {
        out.json(&outcome)?;
    } else {
        tell(&outcome, args, &mut out.text())?;
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
    keys_published: usize,
    keys_of_patient: usize,
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
    let mut rng = ChaCha20Rng::seed_from_u64(args.seed);
    let authority = SigningKey::generate()?;
    let people = town::people(args.people, args.days, START, &mut rng)?;
    let mut simulation = settle(&people, &authority, calibration, &mut rng)?;
    let diagnosis = START.after(DAY * (args.days - 1) + DIAGNOSIS);
    let mut progress = Progress::of_steps(u64::from(args.days) * 24, "hours in the town");
    while simulation.now() < diagnosis {
        simulation.run_until(simulation.now().after(HOUR).min(diagnosis))?;
        progress.advance(1);
    }

    let patient = rng.random_range(0..people.len());
    let released = simulation.phones()[patient].tracer.release_keys()?;
    let keys_of_patient = released.len();
    simulation.run_until(diagnosis.after(PUBLICATION))?;
    let mut keys = diagnosis_keys(&released, args.days, published_start);
    diagnosis::pad_with_made_up_keys(&mut keys, 10 * keys_of_patient, &mut rng);
    let file = publish(&keys, &authority, simulation.now())?;

    let (mut rotations, mut encounters) = (0, 0);
    for phone in simulation.phones() {
        encounters += phone.tracer.status()?.encounters;
        rotations += std::iter::from_fn(|| phone.tracer.next_event()).filter(|e| matches!(e, Event::Rotated { .. })).count();
    }
    let mut everybody = look(&simulation, &people, patient, file.path())?;
    // Nobody is a contact of oneself: the own keys never match.
    let own = everybody.remove(patient);
    everybody.sort_by(|a, b| a.nearest_m.total_cmp(&b.nearest_m));
    Ok(Outcome {
        patient: own.name,
        days: (0..args.days).map(|day| START.after(DAY * day).date().to_string()).collect(),
        rotations,
        encounters,
        keys_published: keys.len(),
        keys_of_patient,
        agrees: !own.warned && everybody.iter().all(|verdict| verdict.is_right != Some(false)),
        everybody,
    })
}

/// Gives everybody a phone that traces.
fn settle(
    people: &[Person],
    authority: &SigningKey,
    calibration: impl Fn(&DeviceModel) -> Calibration,
    rng: &mut ChaCha20Rng,
) -> anyhow::Result<Simulation> {
    let exposure = exposure_configuration()?;
    let mut simulation = Simulation::new(Air::new(AirModel::default(), START.after(SWITCH_ON), rng.next_u64())?);
    for person in people {
        let device = simulation.add_device(person.model, person.track.clone())?;
        let mut config = Config::default();
        config.calibration = calibration(&person.model);
        config.exposure = exposure.clone();
        config.authority_keys = vec![authority.public_key().clone()];
        let number = simulation.add_phone(device, config, ChaCha20Rng::from_rng(rng))?;
        simulation.phones()[number].tracer.start();
    }
    Ok(simulation)
}

/// What the patient's keys are published with.
fn diagnosis_keys(released: &[TemporaryExposureKey], days: u32, published_start: impl Fn(i64) -> i64) -> Vec<DiagnosisKey> {
    // The latest day on which all days of the town are infectious ones.
    let onset = START.date().days() + (days - 1).min(2);
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

/// Every phone checks the list; what it says is held against the truth.
fn look(simulation: &Simulation, people: &[Person], patient: usize, file: &Path) -> anyhow::Result<Vec<Verdict>> {
    let alert_level = exposure_configuration()?.alert_level;
    let told = |(person, phone): (&Person, &Phone)| {
        let report = phone.tracer.check(&[file], |_| ControlFlow::Continue(()))?;
        let warned = !phone.tracer.alerts()?.is_empty();
        let truth = truth::between(&people[patient].track, &person.track, START, simulation.now());
        let reasons = report.assessment.explanation.iter().filter(|day| day.level >= alert_level);
        Ok(verdict(person, truth, warned, reasons.map(ToString::to_string).collect()))
    };
    people.iter().zip(simulation.phones()).map(told).collect()
}

/// What this town's health authority counts: what is as strong as within about 2 m, by phones in pockets. Body and pocket take 14 dB in all,
/// so 1 m is at 54 dB, 2 m at 60 and 5 m at 68.
fn exposure_configuration() -> anyhow::Result<ExposureConfiguration> {
    let parameters = ExposureParameters {
        attenuation_thresholds_db: [55, 65, 75],
        bucket_weights: [1.0, 1.0, 0.0, 0.0],
        ..Default::default()
    };
    Ok(ExposureConfiguration::new(parameters)?)
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

fn verdict(person: &Person, truth: Truth, warned: bool, explanation: Vec<String>) -> Verdict {
    let (relation, is_right) = match truth.relation {
        Relation::Contact => ("contact", Some(warned)),
        Relation::Between => ("between", None),
        Relation::Stranger => ("stranger", Some(!warned)),
    };
    Verdict {
        name: person.name.clone(),
        relation,
        minutes_within_2_m: truth.near.as_secs() / 60,
        nearest_m: truth.nearest_m,
        warned,
        explanation,
        is_right,
    }
}

fn tell(outcome: &Outcome, args: &DemoArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let Outcome { patient, days, everybody, .. } = outcome;
    let (first, last) = (days.first().map_or("", String::as_str), days.last().map_or("", String::as_str));
    writeln!(out, "A small town: {} people with a phone in the pocket, {first} to {last}, seed {}.", args.people, args.seed)?;
    writeln!(
        out,
        "{QUIET}The radios, clocks and ways are simulated; keys, store, key list, matching and warning are the real ones.{QUIET:#}\n"
    )?;
    writeln!(out, "  {:>7} times a phone changed identifier and address", outcome.rotations)?;
    writeln!(out, "  {:>7} encounters were kept, each on the phone that heard it", outcome.encounters)?;
    writeln!(out, "  {last} 21:00  {patient} tests positive and releases {} keys.", outcome.keys_of_patient)?;
    writeln!(
        out,
        "  {last} 23:15  The health authority signs a list: these and {} made-up ones.",
        outcome.keys_published - outcome.keys_of_patient
    )?;
    writeln!(out, "  Every phone verifies the list and looks for itself.\n")?;

    let strangers = everybody.iter().filter(|v| v.relation == "stranger" && v.is_right == Some(true)).count();
    writeln!(out, "  {:<8} {:<9} {:>14} {:>9}  warned", "who", "truth", "within 2 m", "nearest")?;
    for verdict in everybody.iter().filter(|v| v.relation != "stranger" || v.is_right == Some(false)) {
        let style = match verdict.is_right {
            Some(true) => GOOD,
            Some(false) => BAD,
            None => QUIET,
        };
        let (minutes, warned) = (format!("{} min", verdict.minutes_within_2_m), if verdict.warned { "yes" } else { "no" });
        let nearest = format!("{:.1} m", verdict.nearest_m);
        writeln!(out, "  {:<8} {:<9} {minutes:>14} {nearest:>9}  {style}{warned}{style:#}", verdict.name, verdict.relation)?;
        for line in &verdict.explanation {
            writeln!(out, "           {QUIET}{line}{QUIET:#}")?;
        }
    }
    if strangers > 0 {
        writeln!(out, "  and {strangers} strangers, who never came within 5 m: {GOOD}none warned{GOOD:#}")?;
    }

    let count = |relation: &str, warned: bool| everybody.iter().filter(|v| v.relation == relation && v.warned == warned).count();
    writeln!(out)?;
    writeln!(
        out,
        "{} of {} contacts (2 m, 15 min) were warned; {} of {} strangers were. {} between are not judged.",
        count("contact", true),
        count("contact", true) + count("contact", false),
        count("stranger", true),
        count("stranger", true) + count("stranger", false),
        count("between", true) + count("between", false),
    )?;
    writeln!(
        out,
        "{QUIET}Between is nearer than 5 m, but not 2 m for 15 min: there strength cannot tell, and some are warned.{QUIET:#}"
    )?;
    let is_judged = everybody.iter().any(|verdict| verdict.is_right.is_some());
    let (style, statement) = match (outcome.agrees, is_judged) {
        (true, true) => (GOOD, "Warning and truth agree."),
        (true, false) => {
            (QUIET, "Nobody was a contact or a stranger, so there is nothing to judge: try another seed, or more people.")
        }
        (false, _) => (BAD, "Warning and truth DISAGREE."),
    };
    writeln!(out, "{style}{statement}{style:#}")?;
    Ok(())
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
