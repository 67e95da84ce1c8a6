//! More people than can be served, for a while: how many get a receipt meanwhile, and how soon everything is as usual afterwards.
//!
//! ```text
//! measuring   1,000 people within a second: as many receipts a second as there can be, the server held down by a slow disk and a small batch;
//!             everybody is opened and confirmed before more come
//! overload    so many times as many people come, for a minute; who is refused comes again as the Pacer says
//! afterwards  the disk is as fast as it was; half as many people come as could be served before, for half a minute
//! ```
//!
//! Who comes for the first time in the last part finds out whether everything is normal. Goals: a goodput of 80 %, everybody through 60 s after the end,
//! normal after 10 s.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::findings::Findings;
use super::person::Outcome;
use super::scene::{Arrival, Scene};
use super::server::Own;
use super::{CrowdArgs, catch_up, setup, sign_up};
use crate::slow_disk::SlowDisk;
use crate::{BAD, GOOD};

/// The server is held down: so much longer takes a synchronisation of its disk ...
pub(super) const SLOW: Duration = Duration::from_millis(150);

/// ... and so many people are in a transaction.
pub(super) const BATCH: u32 = 32;

/// Who measures what the server can do: for a few seconds there is more than enough to do.
const MEASURED: u32 = 1_000;

/// The most people that are played: a disk that is not slow would ask for millions.
const MOST_PEOPLE: f64 = 190_000.0;

/// The part of what can be served that comes afterwards.
const USUAL: f64 = 0.5;

/// A newcomer who gets a receipt at the first attempt within this time has noticed nothing.
const NORMAL: Duration = Duration::from_secs(1);

const GOODPUT_GOAL: f64 = 0.8;
const WAITING_GOAL_S: f64 = 60.0;
const NORMAL_GOAL_S: f64 = 10.0;

/// What became of an overload. Rates are people in a second.
#[derive(Debug, Serialize)]
pub(super) struct Overload {
    factor: u32,
    for_s: f64,
    /// The most that can be acknowledged.
    capacity: f64,
    offered: f64,
    /// Acknowledged while it lasted, without its first sixth.
    goodput: f64,
    goodput_share: f64,
    /// The last receipt of those who came while it lasted, counted from its end, in seconds. Nothing where somebody has none.
    through_after_s: Option<f64>,
    /// From then on every newcomer got a receipt at once, counted from its end, in seconds.
    normal_after_s: f64,
    /// Who came first after its end.
    newcomers: usize,
}

/// Plays an overload in this folder.
///
/// # Errors
/// Where the server cannot be held down, or what a crowd needs is not there.
pub(super) async fn run(args: &CrowdArgs, factor: u32, folder: &Path) -> anyhow::Result<Findings> {
    let slow = SlowDisk::new(folder, args.slow_disk.as_deref(), args.server.database.as_deref(), SLOW)?;
    let mut own = Own::start(setup(args, folder, Some(Arc::clone(&slow)))?)?;
    let database = args.server.database(folder);

    let measuring = folder.join("measuring");
    fs::create_dir(&measuring).with_context(|| format!("{} cannot be made", measuring.display()))?;
    let scene = Scene::new(MEASURED, 0, Arrival::Within(Duration::from_secs(1)), Some(1))?;
    let (measured, _) = sign_up(args, &scene, &measuring, Some(&mut own), database.clone()).await?;
    ensure!(
        measured.proof.acknowledged == MEASURED as usize && measured.proof.is_good(),
        "what the server can do cannot be measured: somebody got no receipt, or lost something: {:?}",
        measured.proof
    );
    // Proved again alone, they would be lost: the backend is not theirs.
    fs::remove_dir_all(&measuring).with_context(|| format!("{} cannot be removed", measuring.display()))?;
    let capacity = rate(measured.times.acknowledged);
    slow.set(Duration::ZERO)?;
    if let Some(database) = &database {
        ensure!(catch_up(database).await?, "the server does not open the forms of those who came first");
    }

    let (lasts, rest) = (*args.overload_for, *args.overload_for / 2);
    let offered = capacity * f64::from(factor);
    let newcomers = capacity * USUAL * rest.as_secs_f64();
    let people = offered * lasts.as_secs_f64() + newcomers;
    ensure!(
        people <= MOST_PEOPLE,
        "the server does {capacity:.0} people a second; so many cannot be overloaded from this machine"
    );
    // Those who wait between two attempts hold no connection, so a process plays more of them than it has descriptors.
    let scene = Scene {
        people: people as u32,
        parts: args.procs.unwrap_or(2),
        arrival: Arrival::Overload { lasts, rest, share: newcomers / people },
    };
    let (mut findings, outcomes) = sign_up(args, &scene, folder, Some(&mut own), database).await?;
    own.end()?;
    findings.overload = Some(Overload::new(factor, lasts, capacity, &outcomes));
    Ok(findings)
}

/// Receipts in a second, without the first and the last fifth of them.
fn rate(mut acknowledged: Vec<f64>) -> f64 {
    acknowledged.sort_by(f64::total_cmp);
    let count = acknowledged.len();
    let (first, last) = (count / 5, (count - count / 5).saturating_sub(1));
    match (acknowledged.get(first), acknowledged.get(last)) {
        (Some(begun), Some(ended)) if ended > begun => (last - first) as f64 / (ended - begun),
        _ => 0.0,
    }
}

impl Overload {
    fn new(factor: u32, lasts: Duration, capacity: f64, outcomes: &[Outcome]) -> Self {
        let seconds = |us: u64| us as f64 / 1e6;
        let end = lasts.as_secs_f64();
        let begun = end / 6.0;
        let receipt = |outcome: &Outcome| outcome.acknowledged.as_ref().map(|(at, ..)| seconds(*at));
        let meanwhile = outcomes.iter().filter_map(receipt).filter(|at| (begun..end).contains(at)).count();
        let (crowd, newcomers): (Vec<&Outcome>, Vec<&Outcome>) =
            outcomes.iter().partition(|outcome| seconds(outcome.arrived_us) < end);
        let through: Option<Vec<f64>> = crowd.iter().map(|outcome| receipt(outcome)).collect();
        let has_noticed = |outcome: &&&Outcome| {
            !outcome.failed.is_empty()
                || receipt(outcome).is_none_or(|at| at - seconds(outcome.arrived_us) > NORMAL.as_secs_f64())
        };
        let noticed = newcomers.iter().filter(has_noticed).map(|outcome| seconds(outcome.arrived_us) - end);
        let goodput = meanwhile as f64 / (end - begun);
        Self {
            factor,
            for_s: end,
            capacity,
            offered: crowd.len() as f64 / end,
            goodput,
            goodput_share: goodput / capacity,
            through_after_s: through.map(|all| all.into_iter().fold(0.0, |last, at| f64::max(last, at - end))),
            normal_after_s: noticed.fold(0.0, f64::max),
            newcomers: newcomers.len(),
        }
    }

    pub(super) fn tell(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let Self { factor, for_s, capacity, offered, goodput, goodput_share, .. } = self;
        writeln!(out, "  {:<42} {capacity:>10.0}", "people a second, at most")?;
        writeln!(out, "  {:<42} {offered:>10.0}  {factor} times as many, for {for_s} s", "people a second who came")?;
        writeln!(out, "  {:<42} {goodput:>10.0}", "people a second who got a receipt")?;
        let through = self.through_after_s.map_or("never".to_owned(), |after| format!("{after:.1} s"));
        for (name, value, is_kept) in [
            ("that is, at least 80 %", format!("{:.1} %", 100.0 * goodput_share), *goodput_share >= GOODPUT_GOAL),
            ("all through after it, at most 60 s", through, self.through_after_s.is_some_and(|after| after <= WAITING_GOAL_S)),
            ("normal after it, at most 10 s", format!("{:.1} s", self.normal_after_s), self.normal_after_s <= NORMAL_GOAL_S),
        ] {
            let (style, word) = if is_kept { (GOOD, "kept") } else { (BAD, "MISSED") };
            writeln!(out, "  {name:<42} {value:>10}  {style}{word}{style:#}")?;
        }
        writeln!(out)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(arrived_s: f64, failed: usize, acknowledged_s: Option<f64>) -> Outcome {
        let us = |seconds: f64| (seconds * 1e6) as u64;
        Outcome {
            arrived_us: us(arrived_s),
            failed: vec![(us(arrived_s), 503); failed],
            acknowledged: acknowledged_s.map(|at| (us(at), 201, String::new())),
            due_us: None,
        }
    }

    #[test]
    fn goodput_is_counted_in_people_and_newcomers_say_when_everything_is_normal() {
        let minute = Duration::from_secs(60);
        // One each second, of two who come; the other is through a minute later.
        let crowd = (0..60).flat_map(|second| {
            let at = f64::from(second);
            [outcome(at, 0, Some(at + 0.5)), outcome(at, 3, Some(at + 60.0))]
        });
        let newcomers = [outcome(61.0, 1, Some(63.0)), outcome(64.0, 0, Some(66.0)), outcome(70.0, 0, Some(70.5))];
        let all: Vec<Outcome> = crowd.chain(newcomers).collect();
        let found = Overload::new(2, minute, 1.0, &all);
        assert_eq!((found.offered, found.goodput, found.goodput_share), (2.0, 1.0, 1.0));
        assert_eq!((found.through_after_s, found.normal_after_s, found.newcomers), (Some(59.0), 4.0, 3));
        let lost = [all, vec![outcome(5.0, 9, None)]].concat();
        assert_eq!(Overload::new(2, minute, 1.0, &lost).through_after_s, None);
    }

    #[test]
    fn the_rate_is_that_of_the_middle() {
        let steady: Vec<f64> = (0..100).map(|number| 3.0 + f64::from(number) / 50.0).collect();
        assert!((rate(steady) - 50.0).abs() < 1e-9);
        assert_eq!((rate(Vec::new()), rate(vec![1.0])), (0.0, 0.0));
    }
}
