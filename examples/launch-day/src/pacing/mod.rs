//! `launch-day pacing`: devices that poll, a server that is down for a while, and whether the pacing keeps what it promises.
//!
//! The [crowd] and its server are simulated; what says when each device asks is the library's own `Pacer`. The [promises] are judged by what the server
//! counts and by when everybody has an answer; the [plot] shows it.

mod crowd;
mod plot;
mod promises;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use vigie::courier::pacer::{PERSON_RETRY_CAP, POLL_RETRY_CAP, Pacing};

use crate::progress::Progress;
use crate::{BAD, GOOD, QUIET};
use crowd::Scene;
use promises::{Findings, Promise};

const LONGEST_CAP: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const SHORTEST_CAP: Duration = Duration::from_secs(10);

/// Take the server away from a crowd that polls every 4 h, and count what it gets
///
/// Each device asks when the library's Pacer says so. Kept must be: at most 1.2 times the normal requests a minute, while the server is down and after;
/// an hour after it is back a tenth of those who missed a poll has caught up, after 4 h all; what a person waits for is through within 15 min.
#[derive(Debug, Clone, Args)]
pub(crate) struct PacingArgs {
    /// How many devices there are
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10_000..=10_000_000))]
    devices: u32,

    /// For how many minutes the server is down
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=720))]
    outage: u32,

    /// All chance comes from this number: the same seed is the same day
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// For each hundred polls, so many requests that a person waits for
    #[arg(long, value_name = "PERCENT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    people: u32,

    /// Try a poll that failed again within this time
    #[arg(long, value_name = "TIME", default_value_t = POLL_RETRY_CAP.into(), value_parser = cap)]
    poll_retry_cap: humantime::Duration,

    /// Try what a person waits for again within this time
    #[arg(long, value_name = "TIME", default_value_t = PERSON_RETRY_CAP.into(), value_parser = cap)]
    person_retry_cap: humantime::Duration,

    /// Draw requests over time; what has that name is overwritten
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,

    /// Write one JSON document instead of text
    #[arg(long)]
    json: bool,
}

fn cap(text: &str) -> Result<humantime::Duration, String> {
    let time: humantime::Duration = text.parse().map_err(|e| format!("{e}; write it as 9h 30m, 15m or 40s"))?;
    if (SHORTEST_CAP..=LONGEST_CAP).contains(&time) { Ok(time) } else { Err("it must be from 10 seconds to 7 days".into()) }
}

impl PacingArgs {
    fn scene(&self) -> Scene {
        Scene {
            devices: self.devices,
            people: self.people,
            outage: Duration::from_secs(u64::from(self.outage) * 60),
            pacing: Pacing { poll_retry_cap: *self.poll_retry_cap, person_retry_cap: *self.person_retry_cap },
            seed: self.seed,
        }
    }
}

pub(crate) fn run(args: &PacingArgs) -> anyhow::Result<ExitCode> {
    let scene = args.scene();
    let mut progress = Progress::of_steps(scene.minutes() as u64, "minutes of the day");
    let course = crowd::play(scene, |minute| progress.reach(minute as u64));
    drop(progress);
    let findings = promises::judge(&scene, &course);
    if let Some(path) = &args.plot {
        plot::write(&findings, path)?;
    }
    if args.json {
        let mut stdout = std::io::stdout().lock();
        serde_json::to_writer_pretty(&mut stdout, &findings)?;
        writeln!(stdout)?;
    } else {
        tell(&findings, args, &mut anstream::stdout())?;
    }
    Ok(if findings.all_kept { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn tell(findings: &Findings, args: &PacingArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let Findings { devices, outage_minutes, seed, missed_a_poll, bin_minutes, .. } = findings;
    writeln!(out, "{devices} devices poll every 4 h; the server is down for {outage_minutes} min. Seed {seed}.")?;
    writeln!(out, "For each hundred polls a person waits for {} more, all the time.", args.people)?;
    writeln!(
        out,
        "{QUIET}The crowd and the server are simulated; when a device asks is said by the library's own Pacer.{QUIET:#}\n"
    )?;
    writeln!(out, "  {:>8.0} requests a minute are normal (the hour before)", findings.normal_per_minute)?;
    writeln!(out, "  {missed_a_poll:>8} devices missed a poll\n")?;
    writeln!(out, "  {:<52} {:>12} {:>8}", "since the server went down", "measured", "promised")?;
    for Promise { name, measured, limit, is_kept, .. } in &findings.promises {
        let (style, word) = if *is_kept { (GOOD, "kept") } else { (BAD, "BROKEN") };
        writeln!(out, "  {name:<52} {measured:>12} {limit:>8}  {style}{word}{style:#}")?;
    }
    writeln!(out)?;
    if *bin_minutes > 1 {
        let chance = findings.promises.iter().map(|promise| promise.chance).fold(0.0, f64::max);
        writeln!(
            out,
            "{QUIET}So few scatter: they are counted over {bin_minutes} min, and up to {chance:.2} beyond 1.2 is taken for chance.{QUIET:#}"
        )?;
    }
    let broken = findings.promises.iter().filter(|promise| !promise.is_kept).count();
    if broken == 0 {
        writeln!(out, "{GOOD}Every promise is kept.{GOOD:#}")?;
    } else {
        writeln!(out, "{BAD}{broken} of {} promises are BROKEN.{BAD:#}", findings.promises.len())?;
    }
    Ok(())
}
