//! `vigie replay`: recorded traffic, as if the radio had just heard it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Serialize;
use vigie::beacon::ServiceUuid;
use vigie::encounters::calibration::Calibration;
use vigie::radio::Sighting;
use vigie::time::{Clock, ManualClock, Timestamp};
use vigie::tracer::{Config, Tracer};

use super::calibration::{Calibrated, CalibrationArgs};
use crate::capture::{Capture, CaptureError, CaptureStats, Skipped};
use crate::failure::warn;
use crate::files;
use crate::output::{CAUTION, GOOD, Output, QUIET};
use crate::progress::Progress;
use crate::store;

const CAPTURE_HELP: &str = "\
The capture, told by its content:

  a table     unix_seconds,rssi_dbm,service_data_hex
              1596096000.25,-61,8be6cd371c5c891604bfbe49df84509672033874
  a btsnoop   of `btmon -w` or of Android's developer options: datalinks 1001, 1002 and 2001

The model is looked up in a table with the columns

  oem,device,model,rssi_correction,tx_power,confidence

For a model that the table does not have, the mean of its manufacturer stands in where it is given as
manufacturer/model, else the mean of all. Without a table it is the mean of Google's 551 models.

Examples:

  vigie replay walk.csv --store store.db
  vigie replay btsnoop_hci.log --store store.db --service-uuid 0xFD6F
  vigie replay walk.csv --store store.db --calibration models.csv --model samsung/SM-G973F

Exit codes: 0 replayed (a warning says where the file ends within a record), 2 not, or not to its end";

/// Feed recorded traffic into a store, as if it were heard at the time of the recording
///
/// The time is that of the capture; this computer's clock is not asked, and nothing is erased for its age. The store is made where there is none.
/// Replaying a capture again adds no exposure, and key files that were checked before are matched again by the next `vigie check`.
#[derive(Debug, Args)]
#[command(after_help = CAPTURE_HELP)]
pub(crate) struct ReplayArgs {
    /// The recorded traffic
    #[arg(value_name = "CAPTURE")]
    capture: PathBuf,

    /// The store to keep it in
    #[arg(long, value_name = "DB")]
    store: PathBuf,

    /// The service whose frames are taken from a btsnoop capture; the phone systems' own is 0xFD6F
    #[arg(long, value_name = "UUID", default_value_t)]
    service_uuid: ServiceUuid,

    #[command(flatten)]
    calibration: CalibrationArgs,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Heard so close together, sightings reach the tracer in one call.
const BATCH: Duration = Duration::from_secs(1);

/// However many may be heard in that time.
const MAX_BATCH: usize = 8_192;

/// Feeds a tracer with the times of the capture.
struct Player {
    tracer: Tracer,
    clock: ManualClock,
    /// Never empty.
    batch: Vec<Sighting>,
    kept_before: u64,
}

#[derive(Debug, Serialize)]
struct Answer {
    path: String,
    store: String,
    service_uuid: String,
    #[serde(flatten)]
    read: CaptureStats,
    /// How many were added to the store.
    encounters: u64,
    /// The earliest and the latest frame.
    from: Option<String>,
    to: Option<String>,
    calibration: Option<Calibrated>,
    warning: Option<String>,
}

/// Replays it.
pub(crate) fn run(args: ReplayArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let (calibration, calibrated) = args.calibration.load()?;
    let file = files::open(&args.capture)?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    let reader = Progress::of_bytes(bytes, "replaying").reading(file);
    let cannot = format!("{} cannot be replayed", args.capture.display());
    let mut capture = Capture::new(reader, args.service_uuid).with_context(|| cannot.clone())?;

    let (mut span, mut encounters) = (None, 0);
    let end = match capture.next() {
        None => None,
        Some(Err(error)) => Some(error),
        Some(Ok(first)) => {
            let mut player = Player::open(&args.store, calibration, first)?;
            let played = player.play(&mut capture, span.insert((first.at, first.at)));
            encounters = player.finish(&args.store)?;
            played?
        }
    };
    let warning = match end {
        None => None,
        Some(CaptureError::Cut { .. }) => end.map(|cut| cut.to_string()),
        Some(error) => {
            let frames = capture.stats().frames;
            return Err(error)
                .context(format!("{cannot} to its end; what came before is kept: {frames} frames, {encounters} encounters"));
        }
    };
    let answer = Answer {
        path: args.capture.display().to_string(),
        store: args.store.display().to_string(),
        service_uuid: args.service_uuid.to_string(),
        read: capture.stats().clone(),
        encounters,
        from: span.map(|(from, _)| from.to_string()),
        to: span.map(|(_, to)| to.to_string()),
        calibration: calibrated,
        warning,
    };
    // The bar goes first.
    drop(capture);
    if let Some(warning) = &answer.warning {
        warn(warning)?;
    }
    if args.json {
        out.json(&answer)?;
    } else {
        answer.write(&mut out.text(), args.service_uuid)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Player {
    fn open(path: &Path, calibration: Calibration, first: Sighting) -> anyhow::Result<Self> {
        let kept_before = count(path, first.at)?;
        let mut config = Config::default();
        config.calibration = calibration;
        let clock = ManualClock::new(first.at);
        let tracer = store::open_tracer(config, path, clock.clone())?;
        // First of all, so that no crash leaves traffic in the store that no file is matched with.
        tracer.forget_checked_files()?;
        Ok(Self { tracer, clock, batch: vec![first], kept_before })
    }

    /// Plays all of it, and widens the span to its times; the error is the capture's, with which it ends.
    fn play(
        &mut self,
        capture: &mut Capture<impl Read>,
        span: &mut (Timestamp, Timestamp),
    ) -> anyhow::Result<Option<CaptureError>> {
        for item in capture {
            let sighting = match item {
                Ok(sighting) => sighting,
                Err(error) => return Ok(Some(error)),
            };
            *span = (span.0.min(sighting.at), span.1.max(sighting.at));
            let fits = |first: &Sighting| sighting.at.since(first.at) < BATCH && first.at.since(sighting.at) < BATCH;
            if self.batch.len() >= MAX_BATCH || !self.batch.first().is_some_and(fits) {
                self.record()?;
            }
            self.batch.push(sighting);
        }
        Ok(None)
    }

    fn record(&mut self) -> anyhow::Result<()> {
        if let Some(last) = self.batch.last() {
            if last.at < self.clock.now() {
                self.clock.jump_to(last.at);
            }
            self.clock.advance_to(last.at);
        }
        self.tracer.record(&self.batch)?;
        self.batch.clear();
        Ok(())
    }

    /// Keeps what is still under way, and says how many encounters were added.
    fn finish(mut self, path: &Path) -> anyhow::Result<u64> {
        self.record()?;
        self.tracer.stop()?;
        let (now, kept_before) = (self.clock.now(), self.kept_before);
        drop(self);
        Ok(count(path, now)?.saturating_sub(kept_before))
    }
}

/// How many encounters are in the store.
fn count(path: &Path, now: Timestamp) -> anyhow::Result<u64> {
    let of_all_times = Timestamp::from_unix_ms(i64::MIN)..Timestamp::from_unix_ms(i64::MAX);
    store::open(path, now)?.count_encounters(of_all_times).map_err(|e| anyhow!(e))
}

impl Answer {
    fn write(&self, to: &mut impl Write, service: ServiceUuid) -> std::io::Result<()> {
        let (path, store) = (&self.path, &self.store);
        match self.encounters {
            0 => writeln!(to, "{path}: {CAUTION}nothing to keep{CAUTION:#}")?,
            encounters => writeln!(to, "{GOOD}replayed{GOOD:#} {path}: {encounters} encounters kept in {store}")?,
        }
        if let (Some(from), Some(until)) = (&self.from, &self.to) {
            writeln!(to, "  heard           {from} to {until}")?;
        }
        writeln!(to, "  records         {}", self.read.records)?;
        writeln!(to, "  advertisements  {}", self.read.advertisements)?;
        writeln!(to, "  frames          {}", self.read.frames)?;
        for (count, what) in reasons(&self.read.skipped) {
            writeln!(to, "  skipped         {count} {what}")?;
        }
        if let Some(calibrated) = &self.calibration {
            writeln!(to, "  calibration     {calibrated}")?;
        }
        if self.read.frames == 0 && self.read.skipped.other_advertisements > 0 {
            let phones = ServiceUuid::EXPOSURE_NOTIFICATION;
            let other = if service == phones { ServiceUuid::default() } else { phones };
            writeln!(to, "{QUIET}next:{QUIET:#} no frame is of service {service}; try --service-uuid {other}")?;
        } else if self.encounters > 0 {
            writeln!(to, "{QUIET}next:{QUIET:#} vigie check --store {store} --public-key KEY FILE...")?;
        }
        Ok(())
    }
}

/// What was skipped, in words.
fn reasons(skipped: &Skipped) -> impl Iterator<Item = (u64, &'static str)> {
    [
        (skipped.other_records, "records of other kinds"),
        (skipped.shortened_records, "shortened records"),
        (skipped.malformed_records, "malformed records"),
        (skipped.other_advertisements, "advertisements of other services"),
        (skipped.malformed_advertisements, "malformed advertisements"),
        (skipped.without_rssi, "frames without a signal strength"),
        (skipped.incomplete_advertisements, "incomplete advertisements"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
}
