//! `vigie sync`: once to the servers and back: reports go, key files come and are matched.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use vigie::courier::{KeyListStatus, News, TIMEOUT};
use vigie::exposure::Assessment;
use vigie::time::{Clock, SystemClock, Timestamp};
use vigie::tracer::{Config, Event, Tracer};

use super::check::{Risk, write_risk};
use super::correspondence::{Correspondence, Turn};
use super::ending::Ending;
use super::standing::{List, Report, Told};
use crate::failure::{Advise, FAILED, NO, warn};
use crate::output::{BAD, CAUTION, GOOD, Output};
use crate::progress::Progress;
use crate::servers::ServerArgs;
use crate::store;

const SYNC_HELP: &str = "\
Without --store it is the store of `vigie run`, which does the same by itself with --server. One store serves one `vigie` at a time.

A report that failed before goes when its time has come, so that a server that comes back is not overrun; `vigie status` says when that is.

Example:

  vigie sync --server client.json

Exit codes: 0 all key lists were seen and their files are valid, whatever the risk, 1 some files are not valid or still wait (the others count), \
2 not done, or a key list was not reached";

/// Send waiting reports, fetch the key lists, and say whether there is a risk
///
/// Asks for the key lists at once, because somebody waits for them. Files that are new are fetched and matched; a file that cannot be used blocks no
/// other. Ctrl-C ends it; what has come until then counts, and the next time it goes on from there.
#[derive(Debug, Args)]
#[command(after_help = SYNC_HELP, mut_arg("server", |arg| arg.required(true)))]
pub(crate) struct SyncArgs {
    /// The store with what was heard; it must be there
    #[arg(long, value_name = "DB")]
    store: Option<PathBuf>,

    #[command(flatten)]
    servers: ServerArgs,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    lists: Vec<Given>,
    /// Those that stand otherwise than before.
    reports: Vec<Report>,
    #[serde(flatten)]
    risk: Risk,
}

/// What a list gave this time.
#[derive(Serialize)]
struct Given {
    was_reached: bool,
    newly_applied: usize,
    newly_refused: usize,
    #[serde(flatten)]
    list: List,
}

/// Asks and sends.
pub(crate) fn run(args: SyncArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let path = store::path(args.store.as_deref())?;
    store::must_exist(&path)?;
    let servers = args.servers.require(&path)?;
    let tracer = Arc::new(
        store::open_tracer(Config::default(), &path, SystemClock)
            .advise("one store serves one `vigie` at a time; `vigie run --server` does the same by itself")?,
    );
    servers.connect(&tracer, &path);
    let ending = Ending::listen()?;

    let cannot = || format!("{} cannot be used", path.display());
    let began = SystemClock.now();
    tracer.sync_now().with_context(cannot)?;
    let (given, reports) = correspond(&tracer, &ending, began)?;
    let assessment = tracer.assessment().with_context(cannot)?;
    let code = exit_code(&given);
    if args.json {
        out.json(&Answer { lists: given, reports, risk: Risk::from(&assessment) })?;
    } else {
        write(&mut out.text(), &given, &reports, &assessment)?;
    }
    Ok(code)
}

/// Until nothing is due any more.
fn correspond(tracer: &Arc<Tracer>, ending: &Ending, began: Timestamp) -> anyhow::Result<(Vec<Given>, Vec<Report>)> {
    let read = || tracer.key_lists().context("how the key lists stand cannot be read");
    let mut counts = Counts::new(read()?);
    let mut reports = Vec::new();
    let mut correspondence = Correspondence::start(tracer, ending)?;
    loop {
        let turn = correspondence.turn(TIMEOUT)?;
        tell(tracer, &mut reports)?;
        match turn {
            Turn::Done => counts.update(read()?),
            Turn::Nothing(_) | Turn::Ended => break,
            // A transport ends by itself; a large file may take it longer.
            Turn::Late => {}
        }
    }
    Ok((counts.given(began), reports))
}

/// Warns of what is wrong, and collects reports that stand otherwise.
fn tell(tracer: &Tracer, reports: &mut Vec<Report>) -> anyhow::Result<()> {
    while let Some(event) = tracer.next_event() {
        let Event::Courier(news) = event else { continue };
        if let News::Report(report) = &news {
            reports.push(Report::of(report, SystemClock.now()));
        } else if let Some(told) = Told::of(&news, SystemClock.now()) {
            warn(&told.to_string())?;
        }
    }
    Ok(())
}

/// What each list gave so far. Files that are old go from a list, so that only what comes from one look to the next can be counted.
struct Counts {
    lists: Vec<KeyListStatus>,
    applied: Vec<usize>,
    refused: Vec<usize>,
    progress: Option<(usize, Progress)>,
}

impl Counts {
    fn new(lists: Vec<KeyListStatus>) -> Self {
        let zeros = vec![0; lists.len()];
        Self { lists, applied: zeros.clone(), refused: zeros, progress: None }
    }

    fn update(&mut self, lists: Vec<KeyListStatus>) {
        for (at, (before, now)) in self.lists.iter().zip(&lists).enumerate() {
            self.applied[at] += now.done.saturating_sub(before.done);
            self.refused[at] += now.refused.saturating_sub(before.refused);
        }
        let waiting: usize = lists.iter().map(|list| list.waiting).sum();
        let before = self.progress.as_ref().map_or(0, |(waiting, _)| *waiting);
        match &mut self.progress {
            Some((left, progress)) if waiting <= before => {
                progress.advance((*left - waiting) as u64);
                *left = waiting;
            }
            _ => self.progress = Some((waiting, Progress::of_steps(waiting as u64, "fetching and matching key files"))),
        }
        self.lists = lists;
    }

    fn given(self, began: Timestamp) -> Vec<Given> {
        let given = |(at, list): (usize, &KeyListStatus)| Given {
            was_reached: list.seen_at.is_some_and(|seen| seen >= began),
            newly_applied: self.applied[at],
            newly_refused: self.refused[at],
            list: List::from(list),
        };
        self.lists.iter().enumerate().map(given).collect()
    }
}

fn exit_code(given: &[Given]) -> ExitCode {
    if given.iter().any(|given| !given.was_reached) {
        return ExitCode::from(FAILED);
    }
    let is_incomplete = |given: &Given| given.newly_refused > 0 || given.list.waiting > 0;
    if given.iter().any(is_incomplete) { ExitCode::from(NO) } else { ExitCode::SUCCESS }
}

fn write(to: &mut impl Write, given: &[Given], reports: &[Report], assessment: &Assessment) -> io::Result<()> {
    for Given { was_reached, newly_applied, newly_refused, list } in given {
        write!(to, "{}: ", list.index_url)?;
        if !was_reached {
            if let Some(at) = list.server_asks_for {
                let at = super::standing::second(at);
                writeln!(to, "{BAD}not reached{BAD:#}; its server wants to be left alone until {at}, and is not asked before")?;
                continue;
            }
            let again = list.next_poll.map(super::standing::second).unwrap_or_default();
            writeln!(to, "{BAD}not reached{BAD:#}; it is asked again by the next vigie sync, or by vigie run at {again}")?;
            continue;
        }
        write!(to, "{GOOD}{newly_applied} new files applied{GOOD:#}, {} in all", list.applied)?;
        if *newly_refused > 0 {
            write!(to, "; {BAD}{newly_refused} refused{BAD:#}")?;
        }
        if list.waiting > 0 {
            write!(to, "; {CAUTION}{} waiting{CAUTION:#}: the next vigie sync goes on with them", list.waiting)?;
        }
        writeln!(to)?;
    }
    for report in reports {
        writeln!(to, "{}", report.dated())?;
    }
    write_risk(to, assessment)
}
