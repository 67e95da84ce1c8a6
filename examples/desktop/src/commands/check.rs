//! `vigie check`: key files against what was heard.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use vigie::exposure::{Assessment, DailySummary, ExposureWindow, Infectiousness, ScanInstance};
use vigie::time::{Clock, ManualClock, SystemClock, Timestamp};
use vigie::tracer::{CheckReport, Config, FileReport, FileStatus};

use super::calibration::confidence_name;
use super::outcome::{advice, outcome, risk_name, status};
use crate::failure::NO;
use crate::keys_json::report_type_name;
use crate::output::{Output, QUIET};
use crate::progress::Progress;
use crate::{files, store};

const CHECK_HELP: &str = "\
A file is matched once; the answer is of all files that were ever checked with this store.

Examples:

  vigie check --store store.db --public-key public.pem keys.zip
  vigie check --store store.db --public-key public.pem --now 2020-10-22T18:00:00Z --json *.zip

Exit codes: 0 all files are valid, whatever the risk, 1 some are not (the others count), 2 not checked";

/// Match signed key files against what was heard, and say whether that is a risk
///
/// Files are believed if one of the public keys signed them. A file that is not valid is refused, with nothing of it applied, and blocks no other.
/// Days are judged as of the latest packet in the store, or of the time given: what was more than 14 days before is no risk any more.
#[derive(Debug, Args)]
#[command(after_help = CHECK_HELP)]
pub(crate) struct CheckArgs {
    /// The store with what was heard; it must be there
    #[arg(long, value_name = "DB")]
    store: PathBuf,

    /// An authority's P-256 public key: a PEM file, or its SubjectPublicKeyInfo in base64; may be given several times
    #[arg(long = "public-key", value_name = "KEY", required = true)]
    public_keys: Vec<String>,

    /// The key files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The time to check at, such as 2020-10-22T18:00:00Z, in place of the latest packet's
    #[arg(long, value_name = "RFC3339")]
    now: Option<Timestamp>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    files: Vec<File>,
    #[serde(flatten)]
    risk: Risk,
}

/// What follows from all files that were ever checked.
#[derive(Serialize)]
pub(super) struct Risk {
    windows: Vec<Window>,
    days: Vec<Day>,
    risk_level: &'static str,
}

#[derive(Serialize)]
struct File {
    path: String,
    status: &'static str,
    keys: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Window {
    date: String,
    report_type: &'static str,
    infectiousness: &'static str,
    calibration_confidence: &'static str,
    scan_instances: Vec<Scan>,
}

#[derive(Serialize)]
struct Scan {
    typical_attenuation_db: u8,
    min_attenuation_db: u8,
    seconds_since_last_scan: u16,
}

#[derive(Serialize)]
struct Day {
    date: String,
    maximum_score: f64,
    score_sum: f64,
    weighted_duration_sum_s: f64,
}

/// Checks them.
pub(crate) fn run(args: CheckArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let mut config = Config::default();
    config.authority_keys = args.public_keys.iter().map(|key| files::public_key(key)).collect::<Result<_, _>>()?;
    // A slip of the pen is told before anything is done.
    args.files.iter().try_for_each(|file| files::open(file).map(drop))?;
    store::must_exist(&args.store)?;

    let now = match args.now {
        Some(now) => now,
        None => latest_packet(&args.store)?,
    };
    let tracer = store::open_tracer(config, &args.store, ManualClock::new(now))?;
    let report = {
        let mut bar: Option<(usize, u64, Progress)> = None;
        tracer.check(&args.files, |at| {
            if at.keys == 0 {
                return ControlFlow::Continue(());
            }
            let (file, done, progress) = bar.get_or_insert_with(|| (0, 0, Progress::of_steps(at.keys, "matching keys")));
            if *file != at.files_done {
                (*file, *done, *progress) = (at.files_done, 0, Progress::of_steps(at.keys, "matching keys"));
            }
            progress.advance(at.keys_done.saturating_sub(*done));
            *done = at.keys_done;
            ControlFlow::Continue(())
        })
    };
    let report = report.with_context(|| format!("{} cannot be checked", args.store.display()))?;

    if args.json {
        out.json(&Answer::from(&report))?;
    } else {
        write(&mut out.text(), &report)?;
    }
    let is_refused = |file: &FileReport| matches!(file.status, FileStatus::Refused(_));
    Ok(if report.files.iter().any(is_refused) { ExitCode::from(NO) } else { ExitCode::SUCCESS })
}

/// "Now" for recorded traffic.
fn latest_packet(path: &Path) -> anyhow::Result<Timestamp> {
    let today = SystemClock.now();
    let latest = store::open(path, today)?.latest_packet().with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(latest.unwrap_or(today))
}

fn write(to: &mut impl Write, report: &CheckReport) -> io::Result<()> {
    for file in &report.files {
        let (style, word, rest) = outcome(file);
        writeln!(to, "{}: {style}{word}{style:#}{rest}", file.path.display())?;
    }
    write_risk(to, &report.assessment)
}

/// For people: each day that counts, the risk, and what to do.
pub(super) fn write_risk(to: &mut impl Write, assessment: &Assessment) -> io::Result<()> {
    let Assessment { explanation, risk_level, .. } = assessment;
    for day in explanation {
        writeln!(to, "{day}")?;
    }
    let (style, next) = advice(*risk_level);
    writeln!(to, "{style}risk: {}{style:#}", risk_name(*risk_level))?;
    writeln!(to, "{QUIET}next:{QUIET:#} {next}")
}

impl From<&CheckReport> for Answer {
    fn from(report: &CheckReport) -> Self {
        Self { files: report.files.iter().map(File::from).collect(), risk: Risk::from(&report.assessment) }
    }
}

impl From<&Assessment> for Risk {
    fn from(assessment: &Assessment) -> Self {
        Self {
            windows: assessment.windows.iter().map(Window::from).collect(),
            days: assessment.days.iter().map(Day::from).collect(),
            risk_level: risk_name(assessment.risk_level),
        }
    }
}

impl From<&FileReport> for File {
    fn from(file: &FileReport) -> Self {
        let (status, reason) = status(file);
        Self { path: file.path.display().to_string(), status, keys: file.keys, reason }
    }
}

impl From<&ExposureWindow> for Window {
    fn from(window: &ExposureWindow) -> Self {
        let scan = |scan: &ScanInstance| Scan {
            typical_attenuation_db: scan.typical_attenuation_db,
            min_attenuation_db: scan.min_attenuation_db,
            seconds_since_last_scan: scan.seconds_since_last_scan,
        };
        Self {
            date: window.date.to_string(),
            report_type: report_type_name(window.report_type),
            infectiousness: match window.infectiousness {
                Infectiousness::None => "none",
                Infectiousness::Standard => "standard",
                Infectiousness::High => "high",
            },
            calibration_confidence: confidence_name(window.calibration_confidence),
            scan_instances: window.scan_instances.iter().map(scan).collect(),
        }
    }
}

impl From<&DailySummary> for Day {
    fn from(day: &DailySummary) -> Self {
        let scores = &day.overall;
        Self {
            date: day.date.to_string(),
            maximum_score: scores.maximum_score,
            score_sum: scores.score_sum,
            weighted_duration_sum_s: scores.weighted_duration_sum_s,
        }
    }
}
