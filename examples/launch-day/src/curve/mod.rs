//! `launch-day curve`: millions of phones that install the app by a launch curve, and the requests that reach the origin in the first days.
//!
//! ```text
//! installation   at any moment of its day; what its person waits for goes at once (a sign-up), and is tried again as the Pacer says
//! polls          at the phone's own moment of each period, first in the period after the installation
//! ```
//!
//! The server answers at once, or fails at once while it is down; so no phone changes what another one sees, and they are played one after the other: the
//! memory is that of one phone and of a counter for each second. Nothing stands before the origin that would answer in its place.

mod plot;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use vigie::courier::pacer::{Failure, Network, POLL_PERIOD, Pacer, Period, Work};
use vigie::time::Timestamp;

use crate::QUIET;
use crate::progress::Progress;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR_S: usize = 3_600;

/// What is watched.
const HOURS: usize = 72;

/// Midnight UTC of the first day.
const START: Timestamp = Timestamp::from_unix_s(1_604_966_400);

/// See what reaches the origin when millions install the app within days
///
/// Each phone asks when the library's Pacer says so: what its person waits for at once, polls every 4 h at its own moment. Requests are counted in each
/// second of the first three days.
#[derive(Debug, Clone, Args)]
pub(crate) struct CurveArgs {
    /// How many phones there are in the end
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u32).range(1_000..=50_000_000))]
    phones: u32,

    /// Installations on each day from the first on; only how they compare with each other matters. By default those of Italy's Immuni, 1 to 3 June 2020
    /// (iOS and Android, from the store's figures published by its makers)
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [309_652, 659_916, 413_991])]
    installs: Vec<u32>,

    /// The server goes down so many hours after the first midnight
    #[arg(long, value_name = "HOURS", requires = "down_for", value_parser = clap::value_parser!(u16).range(0..72))]
    down_at: Option<u16>,

    /// For so many minutes
    #[arg(long, value_name = "MINUTES", requires = "down_at", value_parser = clap::value_parser!(u16).range(1..=1_440))]
    down_for: Option<u16>,

    /// All chance comes from this number
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Draw requests over time; what has that name is overwritten
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,

    /// Write one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    phones: u32,
    seed: u64,
    hours: Vec<Hour>,
    /// The most requests in a second, and in which.
    highest_per_second: u32,
    highest_at_s: usize,
    requests: u64,
    /// People who had no answer at the end.
    waiting: u32,
}

/// Requests in a second, over an hour.
#[derive(Debug, PartialEq, Serialize)]
struct Hour {
    hour: usize,
    /// Installed at its end.
    phones: u32,
    people_per_second: f64,
    polls_per_second: f64,
    /// In the fullest second.
    highest_per_second: u32,
}

impl Hour {
    fn requests_per_second(&self) -> f64 {
        self.people_per_second + self.polls_per_second
    }
}

pub(crate) fn run(args: &CurveArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.installs.len() <= 365 && args.installs.iter().any(|count| *count > 0),
        "--installs has up to 365 numbers of which one is not 0, such as 300000,650000,400000"
    );
    let findings = play(args);
    if let Some(path) = &args.plot {
        plot::write(&findings, args.installs.len(), path)?;
    }
    if args.json {
        let mut stdout = std::io::stdout().lock();
        serde_json::to_writer_pretty(&mut stdout, &findings)?;
        writeln!(stdout)?;
    } else {
        tell(&findings, args, &mut anstream::stdout())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Requests and installations in each second.
struct Counts {
    people: Vec<u32>,
    polls: Vec<u32>,
    installed: Vec<u32>,
    waiting: u32,
}

fn play(args: &CurveArgs) -> Findings {
    let none = || vec![0; HOURS * HOUR_S];
    let mut counts = Counts { people: none(), polls: none(), installed: none(), waiting: 0 };
    let down = args.down_at.zip(args.down_for).map_or(START..START, |(at, minutes)| {
        let from = START.after(Duration::from_secs(u64::from(at) * 3_600));
        from..from.after(Duration::from_secs(u64::from(minutes) * 60))
    });
    let mut rng = ChaCha20Rng::seed_from_u64(args.seed);
    let mut progress = Progress::of_steps(u64::from(args.phones), "phones");
    let all: u64 = args.installs.iter().map(|count| u64::from(*count)).sum();
    let (mut day, mut until) = (0, u64::from(args.installs[0]));
    for number in 0..args.phones {
        // In the order of their days, as many on each as the curve says.
        while u64::from(number) * all >= until * u64::from(args.phones) && day + 1 < args.installs.len() {
            day += 1;
            until += u64::from(args.installs[day]);
        }
        let installed = START.after(DAY * day as u32 + DAY.mul_f64(rng.random()));
        phone(installed, &down, &mut counts, &mut rng);
        if number % 65_536 == 0 {
            progress.reach(u64::from(number));
        }
    }
    found(args, &counts)
}

/// Plays a phone from its installation to the end.
fn phone(installed: Timestamp, down: &std::ops::Range<Timestamp>, counts: &mut Counts, rng: &mut ChaCha20Rng) {
    let Some(second) = second(installed) else { return };
    counts.installed[second] += 1;
    let poll = Work::Poll(Period::new(POLL_PERIOD, rng.next_u64()));
    let mut pacer = Pacer::default();
    // What is due: when, and how often it has failed.
    let mut polls = (Pacer::first(poll, installed), 0);
    let mut person = Some((Pacer::first(Work::Person, installed), 0));
    loop {
        let person_first = person.filter(|(at, _)| *at <= polls.0);
        let (work, (now, attempts)) = person_first.map_or((poll, polls), |person| (Work::Person, person));
        let Some(second) = self::second(now) else { break };
        let next = match pacer.permit(work, Network::Free, Duration::ZERO, now, rng) {
            Err(later) => Some((later, attempts)),
            Ok(()) => {
                let counted = if work == Work::Person { &mut counts.people } else { &mut counts.polls };
                counted[second] += 1;
                if down.contains(&now) {
                    Some((pacer.failed(work, attempts + 1, Failure::Server(None), now, rng), attempts + 1))
                } else {
                    pacer.answered(now);
                    (work != Work::Person).then(|| (Pacer::first(work, now), 0))
                }
            }
        };
        match next {
            Some(next) if work != Work::Person => polls = next,
            next => person = next,
        }
    }
    counts.waiting += u32::from(person.is_some());
}

/// Since the start; nothing after what is watched.
fn second(at: Timestamp) -> Option<usize> {
    let second = at.since(START).as_secs() as usize;
    (second < HOURS * HOUR_S).then_some(second)
}

fn found(args: &CurveArgs, counts: &Counts) -> Findings {
    let sum = |counts: &[u32]| counts.iter().map(|count| u64::from(*count)).sum::<u64>();
    let all: Vec<u32> = counts.people.iter().zip(&counts.polls).map(|(people, polls)| people + polls).collect();
    let mut phones = 0;
    let hours = (0..HOURS)
        .map(|hour| {
            let seconds = hour * HOUR_S..(hour + 1) * HOUR_S;
            phones += sum(&counts.installed[seconds.clone()]) as u32;
            Hour {
                hour,
                phones,
                people_per_second: sum(&counts.people[seconds.clone()]) as f64 / HOUR_S as f64,
                polls_per_second: sum(&counts.polls[seconds.clone()]) as f64 / HOUR_S as f64,
                highest_per_second: all[seconds].iter().copied().max().unwrap_or_default(),
            }
        })
        .collect();
    let (highest_at_s, highest) = all.iter().copied().enumerate().max_by_key(|(_, count)| *count).unwrap_or_default();
    Findings {
        phones: args.phones,
        seed: args.seed,
        hours,
        highest_per_second: highest,
        highest_at_s,
        requests: sum(&all),
        waiting: counts.waiting,
    }
}

fn tell(findings: &Findings, args: &CurveArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let days: Vec<String> = args.installs.iter().map(u32::to_string).collect();
    let Findings { phones, seed, highest_per_second, requests, .. } = findings;
    writeln!(out, "{phones} phones install the app as {} on the first days. Seed {seed}.", days.join(" : "))?;
    if let (Some(at), Some(minutes)) = (args.down_at, args.down_for) {
        writeln!(out, "The server is down for {minutes} min from hour {at} on.")?;
    }
    writeln!(
        out,
        "{QUIET}Phones and server are simulated; when a phone asks is said by the library's own Pacer. Nothing stands before the origin.{QUIET:#}\n"
    )?;
    writeln!(
        out,
        "  {:>4} {:>10} {:>10} {:>10} {:>10} {:>15}",
        "hour", "phones", "people/s", "polls/s", "requests/s", "fullest second"
    )?;
    for hour in &findings.hours {
        let Hour { people_per_second: people, polls_per_second: polls, highest_per_second: highest, .. } = hour;
        let both = hour.requests_per_second();
        writeln!(out, "  {:>4} {:>10} {people:>10.1} {polls:>10.1} {both:>10.1} {highest:>15}", hour.hour, hour.phones)?;
    }
    let at = Duration::from_secs(findings.highest_at_s as u64);
    writeln!(
        out,
        "\n{requests} requests; at most {highest_per_second} in a second, {} after the start.",
        humantime::format_duration(at)
    )?;
    if findings.waiting > 0 {
        writeln!(out, "{} people still wait at the end.", findings.waiting)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn few() -> CurveArgs {
        CurveArgs { phones: 40_000, installs: vec![1, 2, 1], down_at: None, down_for: None, seed: 1, plot: None, json: false }
    }

    #[test]
    fn every_phone_installs_on_its_day_asks_at_once_and_polls_six_times_a_day() {
        let found = play(&few());
        let phones: Vec<u32> = [23, 47, 71].map(|hour| found.hours[hour].phones).to_vec();
        assert_eq!(phones, [10_000, 30_000, 40_000]);
        let people: f64 = found.hours.iter().map(|hour| hour.people_per_second * 3_600.0).sum();
        assert_eq!(people.round(), 40_000.0);
        assert_eq!(found.waiting, 0);
        let last = found.hours[71].polls_per_second * 4.0 * 3_600.0;
        assert!((38_500.0..41_500.0).contains(&last), "40,000 in 4 h: {last}");
    }

    #[test]
    fn while_the_server_is_down_people_try_again_and_afterwards_all_are_through() {
        let found = play(&CurveArgs { down_at: Some(30), down_for: Some(60), ..few() });
        let [before, during, after, later] = [29, 30, 31, 32].map(|hour| found.hours[hour].people_per_second);
        assert!(
            during > 3.0 * before && after > before && (0.8..1.25).contains(&(later / before)),
            "{before} {during} {after} {later}"
        );
        let people: f64 = found.hours.iter().map(|hour| hour.people_per_second * 3_600.0).sum();
        assert!(people > 42_000.0 && found.waiting == 0, "those who failed came again");
    }

    #[test]
    fn the_same_seed_is_the_same_launch() {
        let hours = [1, 1, 2].map(|seed| play(&CurveArgs { seed, ..few() }).hours);
        assert_eq!(hours[0], hours[1]);
        assert_ne!(hours[0], hours[2]);
    }
}
