//! `vigie news`: the bulletin of the health authority, fetched, or as it was kept.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use vigie::courier::{News, TIMEOUT};
use vigie::time::{Clock, SystemClock, Timestamp};
use vigie::tracer::{Config, Event, Tracer};

use super::bulletin::{Sheet, span, users_language};
use super::correspondence::{Correspondence, Turn};
use super::ending::Ending;
use super::standing::Told;
use crate::failure::{Advise, NO, warn};
use crate::output::{CAUTION, Output, QUIET};
use crate::servers::{self, ServerArgs};
use crate::store;

const NEWS_HELP: &str = "\
Without --server nothing is fetched: the bulletin is shown that was kept. Without --store it is the store of `vigie run`, whose view shows the same; \
one store serves one `vigie` at a time.

Exit codes: 0 there is a bulletin, with its age, 1 there is none, or what came was refused (the one that was kept is shown), 2 not done";

/// Columns of text and of a figure's curve.
const COLUMNS: usize = 100;
const CURVE: usize = 60;

/// Show the bulletin of the health authority: figures, advice, notices
#[derive(Debug, Args)]
#[command(after_help = NEWS_HELP)]
pub(crate) struct NewsArgs {
    /// The store that keeps the bulletin; it must be there
    #[arg(long, value_name = "DB")]
    store: Option<PathBuf>,

    #[command(flatten)]
    servers: ServerArgs,

    /// The language of the advice, such as fr or pt-BR [default: the system's]
    #[arg(long, value_name = "TAG")]
    language: Option<String>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    /// Whether the server said just now what the latest is.
    was_reached: bool,
    /// Why what came in its place was refused.
    refused: Option<String>,
    bulletin: Option<Sheet>,
}

/// Fetches and shows it.
pub(crate) fn run(args: NewsArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let path = store::path(args.store.as_deref())?;
    store::must_exist(&path)?;
    let is_asked = args.servers.server.is_some();
    let known = if is_asked {
        args.servers.require(&path)?
    } else {
        let kept = servers::kept(&path).context("this store knows no servers").advise("name them: --server client.json")?;
        kept.known().context("the servers that were kept cannot be used").advise("name them: --server client.json")?
    };
    let has_bulletin = known.has_bulletin();
    let tracer = store::open_tracer(Config::default(), &path, SystemClock)
        .advise("one store serves one `vigie` at a time; the view of `vigie run` shows the bulletin")?;
    let tracer = Arc::new(tracer);
    known.connect(&tracer, &path);

    let began = SystemClock.now();
    let refused = if is_asked && has_bulletin { fetch(&tracer, began)? } else { None };
    let kept = tracer.bulletin();
    let language = args.language.unwrap_or_else(users_language);
    let was_reached = is_asked && kept.as_ref().is_some_and(|kept| kept.seen_at >= began);
    let answer = Answer { was_reached, refused, bulletin: kept.map(|kept| Sheet::of(&kept, &language)) };
    if args.json {
        out.json(&answer)?;
    } else {
        tell(&answer, is_asked, has_bulletin)?;
        if let Some(sheet) = &answer.bulletin {
            write(&mut out.text(), sheet, SystemClock.now())?;
        }
    }
    let is_good = answer.bulletin.is_some() && answer.refused.is_none();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// Until the server has answered, or cannot. Why what came was refused, if it was.
fn fetch(tracer: &Arc<Tracer>, began: Timestamp) -> anyhow::Result<Option<String>> {
    tracer.fetch_bulletin_now().context("the store cannot be used")?;
    let ending = Ending::listen()?;
    let mut correspondence = Correspondence::start(tracer, &ending)?;
    let mut refused = None;
    loop {
        let turn = correspondence.turn(TIMEOUT)?;
        while let Some(event) = tracer.next_event() {
            let Event::Courier(news) = event else { continue };
            if let News::BulletinRefused { reason } = &news {
                refused = Some(reason.to_string());
            } else if let Some(told) = Told::of(&news, SystemClock.now()).filter(|_| !matches!(news, News::Bulletin { .. })) {
                warn(&told.to_string())?;
            }
        }
        let is_seen = tracer.bulletin().is_some_and(|kept| kept.seen_at >= began);
        if is_seen || refused.is_some() || turn != Turn::Done {
            return Ok(refused);
        }
    }
}

/// What is worth a word beside the bulletin.
fn tell(answer: &Answer, is_asked: bool, has_bulletin: bool) -> io::Result<()> {
    let kept = if answer.bulletin.is_some() { "; this is the one that was kept" } else { "" };
    match &answer.refused {
        Some(reason) => warn(&format!("what the server gave as its bulletin is refused: {reason}{kept}")),
        None if !has_bulletin => warn("these servers have no bulletin"),
        None if is_asked && !answer.was_reached => warn(&format!("the server was not reached{kept}")),
        None if answer.bulletin.is_none() => warn("no bulletin was seen yet; --server fetches it"),
        None => Ok(()),
    }
}

fn write(to: &mut impl Write, sheet: &Sheet, now: Timestamp) -> io::Result<()> {
    let Sheet { serial, region, issued_at, seen_at, .. } = sheet;
    let (age, seen) = (span(now.since(*issued_at)), span(now.since(*seen_at)));
    writeln!(to, "{QUIET}bulletin {serial} for {region}, {age} old, seen {seen} ago{QUIET:#}")?;
    if sheet.wants_newer_program {
        writeln!(to, "{CAUTION}there is a newer version of this program; tracing goes on with this one{CAUTION:#}")?;
    }
    for figure in &sheet.figures {
        writeln!(to, "\n{}\n  {}", figure.latest(), figure.sparkline(CURVE))?;
    }
    for piece in &sheet.advice {
        writeln!(to, "\n{}", piece.title)?;
        for paragraph in &piece.paragraphs {
            let options = textwrap::Options::new(COLUMNS)
                .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit)
                .initial_indent("  ")
                .subsequent_indent("  ");
            writeln!(to, "{}", textwrap::fill(paragraph, options))?;
        }
    }
    Ok(())
}
