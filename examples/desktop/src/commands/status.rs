//! `vigie status`: how reports and key lists stand, and what is kept. Nothing is sent.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use vigie::courier::{self, KeyListStatus};
use vigie::exposure::Alert;
use vigie::store::Store;
use vigie::time::{Clock, SystemClock, Timestamp};

use super::keys::count;
use super::outcome::risk_name;
use super::standing::{List, Report, second};
use crate::failure::Advise;
use crate::output::{BAD, Output};
use crate::servers::{self, ServerArgs};
use crate::store;

const STATUS_HELP: &str = "\
Without --store it is the store of `vigie run`, whose view shows the same; one store serves one `vigie` at a time. Key lists are shown for the \
servers of a file client.json.

Exit codes: 0 said, 2 not said";

/// Say how reports and key lists stand, and what is kept; uses no network
#[derive(Debug, Args)]
#[command(after_help = STATUS_HELP)]
pub(crate) struct StatusArgs {
    /// The store; it must be there
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
    reports: Vec<Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lists: Option<Vec<List>>,
    alerts: Vec<Warning>,
    encounters: u64,
    own_keys: usize,
}

#[derive(Serialize)]
struct Warning {
    date: String,
    risk_level: &'static str,
    raised_at: String,
    is_acknowledged: bool,
}

impl From<Alert> for Warning {
    fn from(alert: Alert) -> Self {
        Self {
            date: alert.date.to_string(),
            risk_level: risk_name(alert.level),
            raised_at: second(alert.raised_at),
            is_acknowledged: alert.acknowledged,
        }
    }
}

/// Looks and says.
pub(crate) fn run(args: StatusArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let path = store::path(args.store.as_deref())?;
    store::must_exist(&path)?;
    let servers = args.servers.server.as_ref().map(|address| address.read_here(&path)).transpose()?;
    let now = SystemClock.now();
    let store =
        store::open(&path, now).advise("one store serves one `vigie` at a time; the view of `vigie run` shows how it stands")?;
    let lists = servers.map(|servers| {
        let urls: Vec<_> = servers.key_lists.iter().map(|list| list.index_url.clone()).collect();
        let known = servers::courier(servers, &path).lists(&store, now)?;
        Ok::<_, vigie::store::StoreError>(urls.iter().map(|url| list(url, &known)).collect())
    });
    let answer = (|| {
        let lists = lists.transpose()?;
        answer(&store, lists, now)
    })()
    .with_context(|| format!("{} cannot be read", path.display()))?;
    if args.json {
        out.json(&answer)?;
    } else {
        write(&mut out.text(), &answer)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(index_url: &str, known: &[KeyListStatus]) -> List {
    known.iter().find(|list| list.index_url == index_url).map_or_else(|| List::unseen(index_url), List::from)
}

fn answer(store: &Store, lists: Option<Vec<List>>, now: Timestamp) -> Result<Answer, vigie::store::StoreError> {
    Ok(Answer {
        reports: courier::reports(store)?.iter().map(|report| Report::of(report, now)).collect(),
        lists,
        alerts: store.alerts()?.into_iter().map(Warning::from).collect(),
        encounters: store.count_encounters(Timestamp::from_unix_ms(i64::MIN)..Timestamp::from_unix_ms(i64::MAX))?,
        own_keys: store.own_keys()?.len(),
    })
}

fn write(to: &mut impl Write, answer: &Answer) -> io::Result<()> {
    if answer.reports.is_empty() {
        writeln!(to, "no report in the last 14 days")?;
    }
    for report in &answer.reports {
        let style = report.style;
        writeln!(to, "{style}{}{style:#}", report.dated())?;
    }
    for list in answer.lists.iter().flatten() {
        writeln!(to, "{}: {list}", list.index_url)?;
    }
    if answer.alerts.is_empty() {
        writeln!(to, "no warning")?;
    }
    for Warning { date, risk_level, raised_at, .. } in &answer.alerts {
        writeln!(to, "{BAD}warning:{BAD:#} risk {risk_level} for {date}, since {raised_at}")?;
    }
    writeln!(to, "{} encounters and {} are kept", answer.encounters, count(answer.own_keys))
}
