//! `vigie report`: a diagnosis, confirmed by a code, on its way to the servers.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Serialize;
use vigie::courier::{Refusal, ReportDetails, ReportId, ReportState, ReportStatus, VerificationCode};
use vigie::time::{Clock, Date, SystemClock, Timestamp};
use vigie::tracer::{Config, Event, Tracer};
use zeroize::Zeroizing;

use super::correspondence::{Correspondence, Turn};
use super::ending::Ending;
use super::standing::{Report, Told, is_waiting};
use crate::failure::{Advise, NO, warn};
use crate::output::{CAUTION, Output, QUIET};
use crate::servers::ServerArgs;
use crate::store;

/// Whoever stands before the screen waits this long for an answer, and for the next attempt.
const PATIENCE: Duration = Duration::from_secs(10);

/// A report that was refused goes on as a decoy, for at most so many requests, so that nobody on the way sees how it ended.
const TAIL: usize = 2;

/// The longest code that is read from stdin, in bytes: more than any code has.
const MAX_CODE: u64 = 1024;

/// The longest time from the first symptoms to a report; deployed servers drop what is older.
const MAX_ONSET_DAYS: u32 = 28;

const REPORT_HELP: &str = "\
Other users of this computer see the arguments of a program: with - the code is read from stdin.

Without --store it is the store of `vigie run`. One store serves one `vigie` at a time: end `vigie run` before, and start it again with --server.

Examples:

  vigie report - --server client.json
  vigie report 4F7K-... --server https://keys.example --symptom-onset 2020-10-20
  vigie report --withdraw

Exit codes: 0 published (or withdrawn), 1 not yet published, or not (the answer says why), 2 not done";

/// Report a diagnosis with the code that the health authority gave
///
/// Today's key ends, and the keys of the last 14 days are kept for the server in one step; from then on nothing is lost, whatever becomes of the
/// network. Where the server is not reached the report waits, and `vigie run` or `vigie sync` sends it. A typing mistake is told before anything
/// is opened or sent.
#[derive(Debug, Args)]
#[command(after_help = REPORT_HELP, mut_arg("server", |arg| arg.required_unless_present("withdraw")))]
pub(crate) struct ReportArgs {
    /// The code; dashes and spaces do not matter; - reads it from stdin
    #[arg(value_name = "CODE", required_unless_present = "withdraw", num_args = 1..)]
    code: Vec<String>,

    /// The store with the keys; it must be there
    #[arg(long, value_name = "DB")]
    store: Option<PathBuf>,

    #[command(flatten)]
    servers: ServerArgs,

    /// The day on which symptoms began, such as 2020-10-20
    #[arg(long, value_name = "YYYY-MM-DD")]
    symptom_onset: Option<Onset>,

    /// You were abroad in the last 14 days
    #[arg(long)]
    traveler: bool,

    /// Take back a report whose keys have not been sent; uses no network
    #[arg(long, conflicts_with_all = ["code", "server", "symptom_onset", "traveler"])]
    withdraw: bool,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A day as it is given on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Onset(Date);

impl FromStr for Onset {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let day = format!("{text}T00:00:00Z").parse::<Timestamp>().map(Timestamp::date).ok();
        day.filter(|day| day.to_string() == text).map(Self).ok_or("a day is written as in 2020-10-20")
    }
}

#[derive(Serialize)]
struct Answer {
    report: Report,
    /// Whether it went on with an earlier report, which needed a new code.
    goes_on: bool,
}

/// Reports.
pub(crate) fn run(args: ReportArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let path = store::path(args.store.as_deref())?;
    if args.withdraw {
        return withdraw(&args, &path, out);
    }
    // Before anything is opened, fetched or sent.
    let code = args.code()?;
    let details = args.details(SystemClock.now().date())?;
    store::must_exist(&path)?;
    let servers = args.servers.require(&path)?;

    let tracer = Arc::new(open(Config::default(), &path)?);
    servers.connect(&tracer, &path);
    let ending = Ending::listen()?;
    let (id, goes_on) = begin(&tracer, &code, details)?;
    if goes_on && !args.json {
        writeln!(
            out.text(),
            "an earlier report needed a new code: it goes on, with its keys and with what was said of the diagnosis then"
        )?;
    }
    let report = send(&tracer, id, &ending)?;
    let answer = Answer { report: Report::of(&report, SystemClock.now()), goes_on };
    if args.json {
        out.json(&answer)?;
    } else {
        write(&mut out.text(), &report, &answer.report, &path)?;
    }
    Ok(if matches!(report.state, ReportState::Done { .. }) { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

impl ReportArgs {
    fn code(&self) -> anyhow::Result<VerificationCode> {
        let typed = Zeroizing::new(match self.code.as_slice() {
            [dash] if dash == "-" => {
                let mut typed = String::with_capacity(MAX_CODE as usize);
                let mut first_line = io::BufReader::new(io::stdin().lock().take(MAX_CODE));
                io::BufRead::read_line(&mut first_line, &mut typed).context("no code can be read from stdin")?;
                typed
            }
            words => words.concat(),
        });
        VerificationCode::parse(&typed)
            .context("this is not a code")
            .advise("type it as it was given to you; nothing was opened or sent, and the code is as good as before")
    }

    fn details(&self, today: Date) -> anyhow::Result<ReportDetails> {
        let symptom_onset = self.symptom_onset.map(|Onset(day)| day);
        if symptom_onset.is_some_and(|day| day > today || day < today.minus(MAX_ONSET_DAYS)) {
            return Err(anyhow!("symptoms began in the last {MAX_ONSET_DAYS} days, or --symptom-onset has a slip in it"))
                .advise("look at year and month; leave it out where there were no symptoms");
        }
        Ok(ReportDetails { symptom_onset: symptom_onset.map(Date::first_interval), traveler: self.traveler })
    }
}

fn open(config: Config, path: &Path) -> anyhow::Result<Tracer> {
    store::open_tracer(config, path, SystemClock)
        .advise("one store serves one `vigie` at a time: end `vigie run` first, and start it again afterwards")
}

/// Makes a report, or goes on with one that needs a new code, which is the other half of what is given back.
fn begin(tracer: &Tracer, code: &VerificationCode, details: ReportDetails) -> anyhow::Result<(ReportId, bool)> {
    let cannot = "nothing was reported";
    let Some(open) = tracer.reports().context(cannot)?.into_iter().find(ReportStatus::is_open) else {
        return Ok((tracer.report(code, details).context(cannot)?, false));
    };
    if !tracer.report_again(open.id, code).context(cannot)? {
        let open = Report::of(&open, SystemClock.now());
        return Err(anyhow!("an earlier report is not through: it {open}"))
            .advise("vigie sync sends it; vigie report --withdraw takes it back, as long as its keys have not been sent");
    }
    Ok((open.id, true))
}

/// Sends it, as far as that goes while somebody waits.
fn send(tracer: &Arc<Tracer>, id: ReportId, ending: &Ending) -> anyhow::Result<ReportStatus> {
    let mut correspondence = Correspondence::start(tracer, ending)?;
    let mut left = TAIL;
    loop {
        let turn = correspondence.turn(PATIENCE)?;
        while let Some(event) = tracer.next_event() {
            if let Event::Courier(news) = event
                && let Some(told @ Told::ServerClockDiffers { .. }) = Told::of(&news, SystemClock.now())
            {
                warn(&told.to_string())?;
            }
        }
        let report = find(tracer, id)?;
        match turn {
            Turn::Done if is_waiting(&report) => {}
            Turn::Done if left > 0 => left -= 1,
            Turn::Nothing(wait) if is_waiting(&report) && wait <= PATIENCE && correspondence.rest(wait) == Turn::Done => {}
            _ => return Ok(report),
        }
    }
}

fn find(tracer: &Tracer, id: ReportId) -> anyhow::Result<ReportStatus> {
    let reports = tracer.reports().context("how the report stands cannot be read")?;
    reports.into_iter().find(|report| report.id == id).context("the report is not there any more")
}

fn write(to: &mut impl Write, status: &ReportStatus, report: &Report, path: &Path) -> io::Result<()> {
    let style = report.style;
    writeln!(to, "report: {style}{report}{style:#}")?;
    let next = match &status.state {
        ReportState::Done { .. } => return Ok(()),
        ReportState::NeedsNewCode => "ask for another code, and give it to vigie report",
        ReportState::Refused(Refusal::NoKeys) => {
            "use the store of the device that was traced; the code was not sent, and is as good as before"
        }
        ReportState::Refused(_) => "ask the health authority",
        _ => {
            writeln!(to, "{CAUTION}nothing is lost{CAUTION:#}: the report and its keys are kept in {}", path.display())?;
            "vigie run --server sends it by itself, and so does vigie sync when that time has come"
        }
    };
    writeln!(to, "{QUIET}next:{QUIET:#} {next}")
}

fn withdraw(args: &ReportArgs, path: &Path, out: &Output) -> anyhow::Result<ExitCode> {
    store::must_exist(path)?;
    let tracer = open(Config::default(), path)?;
    let reports = tracer.reports().with_context(|| format!("{} cannot be read", path.display()))?;
    let Some(open) = reports.into_iter().find(ReportStatus::is_open) else {
        return Err(anyhow!("there is no report that could be withdrawn")).advise("vigie status says how reports stand");
    };
    let is_withdrawn = tracer.withdraw_report(open.id).context("nothing was withdrawn")?;
    if args.json {
        out.json(&serde_json::json!({ "is_withdrawn": is_withdrawn }))?;
    } else if is_withdrawn {
        writeln!(out.text(), "the report is withdrawn: none of its keys was sent")?;
    } else {
        writeln!(out.text(), "the report is {CAUTION}not withdrawn{CAUTION:#}: its keys may have been sent")?;
    }
    Ok(if is_withdrawn { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(code: &[&str], symptom_onset: Option<&str>) -> ReportArgs {
        ReportArgs {
            code: code.iter().map(ToString::to_string).collect(),
            store: None,
            servers: ServerArgs { server: None },
            symptom_onset: symptom_onset.map(|day| day.parse().unwrap()),
            traveler: true,
            withdraw: false,
            json: false,
        }
    }

    #[test]
    fn a_code_in_groups_is_one_code_and_no_part_of_a_wrong_one_is_repeated() {
        assert_eq!(args(&["1234", "5678"], None).code().unwrap().as_str(), "12345678");
        let error = args(&["SECRET-CODE-WRONGX"], None).code().map(|_| ()).unwrap_err();
        assert!(error.chain().all(|cause| !cause.to_string().contains("SECRET")), "{error:?}");
    }

    #[test]
    fn the_onset_of_symptoms_is_a_day_of_the_last_four_weeks() {
        let today = "2020-10-22T11:00:00Z".parse::<Timestamp>().unwrap().date();
        let onset = |day| args(&[], Some(day)).details(today).map(|details| details.symptom_onset.unwrap().start().to_string());
        assert_eq!(onset("2020-10-22").unwrap(), "2020-10-22T00:00:00Z");
        assert_eq!(onset("2020-09-24").unwrap(), "2020-09-24T00:00:00Z");
        assert!(onset("2020-10-23").is_err() && onset("2020-09-23").is_err() && onset("2019-10-22").is_err());
        assert_eq!(args(&[], None).details(today).unwrap(), ReportDetails { symptom_onset: None, traveler: true });
        for text in ["", "today", "22.10.2020", "2020-10-22T00:00:00Z", "2020-13-01", "2020-02-30", "2020-1-1"] {
            assert!(text.parse::<Onset>().is_err(), "{text}");
        }
    }
}
