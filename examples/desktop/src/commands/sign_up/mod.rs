//! `vigie sign-up`: the waiting list. A person signs up, sees how it stands, corrects and withdraws.

mod form;
mod standing;

use std::io::{self, IsTerminal, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde::Serialize;
use vigie::courier::waitlist::{self, Form, FormRules, RecoveryCode, SignUpId, SignUpState, SignUpStatus};
use vigie::time::{Clock, SystemClock};
use vigie::tracer::{Config, Event, Tracer};
use zeroize::Zeroizing;

use self::standing::{is_waiting, is_well};
use super::correspondence::{Correspondence, Turn};
use super::ending::Ending;
use super::standing::Told;
use crate::failure::{Advise, NO, warn};
use crate::output::{CAUTION, Output, QUIET};
use crate::servers::{Known, ServerArgs};
use crate::store;

pub(super) use self::standing::SignUp;

/// Whoever stands before the screen waits this long for an answer, and for the next attempt.
const PATIENCE: Duration = Duration::from_secs(10);

/// Holds for everybody, so that it tells nobody anything.
const EARLIER: &str = "if you signed up before, your earlier number counts";

const SIGN_UP_HELP: &str = "\
The form is a JSON document with national_number, name, birth_year, contact (an e-mail address, or a telephone number with its country), consent (true) \
and language (fr, de, pt or en); without --form each is asked for at the terminal. The recovery code is shown before anything is sent: with it the \
sign-up can be seen, corrected and withdrawn, here and on any other device. With --json there are two documents: the code, then how it stands.

Without --store it is the store of `vigie run`. One store serves one `vigie` at a time.

Examples:

  vigie sign-up --server client.json
  vigie sign-up --server client.json --form form.json
  vigie sign-up list
  vigie sign-up correct 1 --server client.json --form form.json

Exit codes: 0 received (or withdrawn), 1 not yet, or not taken (the answer says why), 2 not done";

/// Sign somebody up for the waiting list, see how it stands, correct it, withdraw it
///
/// The form is checked, sealed to the authority's key and kept in one step; from then on nothing is lost, whatever becomes of the network. Where the
/// server is not reached the sign-up waits, and `vigie run` or `vigie sync` sends it. It counts once, however often it is sent. Several people can sign
/// up on one device.
#[derive(Debug, Args)]
#[command(after_help = SIGN_UP_HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct SignUpArgs {
    #[command(subcommand)]
    what: Option<What>,

    #[command(flatten)]
    new: NewArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say how the sign-ups of this device stand; uses no network, but with --server, where the waiting list is asked first
    List(ListArgs),
    /// Take up a sign-up that was made elsewhere, with its recovery code
    Recover(RecoverArgs),
    /// Put another form in the place of the one that was sent; the place on the list stays
    Correct(CorrectArgs),
    /// Withdraw a sign-up
    Withdraw(WithdrawArgs),
    /// Show the recovery code and the receipt of a sign-up; uses no network
    Show(OneArgs),
    /// Remove a sign-up from this device alone; uses no network
    Forget(OneArgs),
}

/// Where it is kept, and how it is said.
#[derive(Debug, Args)]
struct Place {
    /// The store
    #[arg(long, value_name = "DB")]
    store: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct NewArgs {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    servers: ServerArgs,

    /// The form as a JSON document; - reads it from stdin
    #[arg(long, value_name = "FILE")]
    form: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    servers: ServerArgs,
}

#[derive(Debug, Args)]
#[command(mut_arg("server", |arg| arg.required(true)))]
struct RecoverArgs {
    /// The recovery code; dashes and spaces do not matter; - reads it from stdin
    #[arg(value_name = "CODE", required = true, num_args = 1..)]
    code: Vec<String>,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    servers: ServerArgs,
}

#[derive(Debug, Args)]
#[command(mut_arg("server", |arg| arg.required(true)))]
struct CorrectArgs {
    /// Its number in `vigie sign-up list`
    #[arg(value_name = "NUMBER")]
    number: usize,

    #[command(flatten)]
    new: NewArgs,
}

#[derive(Debug, Args)]
#[command(mut_arg("server", |arg| arg.required(true)))]
struct WithdrawArgs {
    /// Its number in `vigie sign-up list`
    #[arg(value_name = "NUMBER")]
    number: usize,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    servers: ServerArgs,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// Its number in `vigie sign-up list`
    #[arg(value_name = "NUMBER")]
    number: usize,

    #[command(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct Answer {
    sign_up: SignUp,
}

#[derive(Serialize)]
struct Listed {
    number: usize,
    #[serde(flatten)]
    sign_up: SignUp,
}

/// Signs up, or does what is asked for with a sign-up.
pub(crate) fn run(args: SignUpArgs, out: &Output) -> anyhow::Result<ExitCode> {
    match args.what {
        None => sign_up(&args.new, out),
        Some(What::List(args)) => list(&args, out),
        Some(What::Recover(args)) => recover(&args, out),
        Some(What::Correct(args)) => correct(&args, out),
        Some(What::Withdraw(args)) => withdraw(&args, out),
        Some(What::Show(args)) => show(&args, out),
        Some(What::Forget(args)) => forget(&args, out),
    }
}

fn sign_up(args: &NewArgs, out: &Output) -> anyhow::Result<ExitCode> {
    // Before anything is opened, kept or sent.
    let (servers, rules) = with_waitlist(&args.servers, &store::path(args.place.store.as_deref())?)?;
    let form = args.fill(&rules, out)?;
    let code = RecoveryCode::generate(&mut store::random_source()?);
    show_code(&code, args, out)?;

    let path = store::path_to_make(args.place.store.as_deref())?;
    let tracer = open(servers, &path)?;
    let ending = Ending::listen()?;
    let id = tracer.sign_up(&form, &code).context("nobody was signed up")?;
    drop(form);
    finish(&tracer, id, &ending, &args.place, out)
}

fn recover(args: &RecoverArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let typed = match args.code.as_slice() {
        [dash] if dash == "-" => form::line(&mut stdin().lock())?,
        words => Zeroizing::new(words.concat()),
    };
    let code = RecoveryCode::parse(&typed)
        .context("this is not a recovery code")
        .advise("type it as it was written down; nothing was opened or sent")?;
    let (servers, _) = with_waitlist(&args.servers, &store::path(args.place.store.as_deref())?)?;
    let path = store::path_to_make(args.place.store.as_deref())?;
    let tracer = open(servers, &path)?;
    let ending = Ending::listen()?;
    let id = tracer.recover_sign_up(&code).context("nothing was recovered")?;
    finish(&tracer, id, &ending, &args.place, out)
}

fn correct(args: &CorrectArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let path = existing(&args.new.place)?;
    let (servers, rules) = with_waitlist(&args.new.servers, &path)?;
    let form = args.new.fill(&rules, out)?;
    let tracer = open(servers, &path)?;
    let ending = Ending::listen()?;
    let id = numbered(&tracer.sign_ups().context("the sign-ups cannot be read")?, args.number)?;
    tracer.correct_sign_up(id, &form).context("nothing was corrected").advise("vigie sign-up list says how it stands")?;
    drop(form);
    finish(&tracer, id, &ending, &args.new.place, out)
}

fn withdraw(args: &WithdrawArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let path = existing(&args.place)?;
    let (servers, _) = with_waitlist(&args.servers, &path)?;
    let tracer = open(servers, &path)?;
    let ending = Ending::listen()?;
    let id = numbered(&tracer.sign_ups().context("the sign-ups cannot be read")?, args.number)?;
    tracer.withdraw_sign_up(id).context("nothing was withdrawn")?;
    finish(&tracer, id, &ending, &args.place, out)
}

fn list(args: &ListArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let path = existing(&args.place)?;
    let sign_ups = if args.servers.server.is_some() {
        let tracer = open(with_waitlist(&args.servers, &path)?.0, &path)?;
        let ending = Ending::listen()?;
        for sign_up in tracer.sign_ups().context("the sign-ups cannot be read")? {
            tracer.ask_sign_up(sign_up.id).context("nothing was asked")?;
        }
        send(&tracer, &ending, |_| false)?;
        tracer.sign_ups().context("the sign-ups cannot be read")?
    } else {
        let store = store::open(&path, SystemClock.now()).advise(ONE_AT_A_TIME)?;
        waitlist::sign_ups(&store).with_context(|| format!("{} cannot be read", path.display()))?
    };
    let now = SystemClock.now();
    let listed = sign_ups.iter().enumerate().map(|(at, sign_up)| Listed { number: at + 1, sign_up: SignUp::of(sign_up, now) });
    let listed: Vec<Listed> = listed.collect();
    if args.place.json {
        out.json(&serde_json::json!({ "sign_ups": listed }))?;
    } else {
        write_list(&mut out.text(), &listed)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &OneArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let path = existing(&args.place)?;
    let store = store::open(&path, SystemClock.now()).advise(ONE_AT_A_TIME)?;
    let cannot = || format!("{} cannot be read", path.display());
    let id = numbered(&waitlist::sign_ups(&store).with_context(cannot)?, args.number)?;
    let papers = waitlist::sign_up_papers(&store, id).with_context(cannot)?.context("the sign-up is not there any more")?;
    let code = Zeroizing::new(papers.recovery_code.grouped());
    if args.place.json {
        out.json(&serde_json::json!({ "recovery_code": *code, "receipt": papers.receipt }))?;
    } else {
        let mut to = out.text();
        writeln!(to, "recovery code: {}", *code)?;
        writeln!(to, "receipt: {}", papers.receipt.as_deref().unwrap_or("none yet"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn forget(args: &OneArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let path = existing(&args.place)?;
    let tracer = store::open_tracer(Config::default(), &path, SystemClock).advise(ONE_AT_A_TIME)?;
    let id = numbered(&tracer.sign_ups().context("the sign-ups cannot be read")?, args.number)?;
    let is_forgotten = tracer.forget_sign_up(id).context("nothing was forgotten")?;
    if args.place.json {
        out.json(&serde_json::json!({ "is_forgotten": is_forgotten }))?;
    } else {
        writeln!(out.text(), "it is forgotten here; what the waiting list has of it, stays there")?;
    }
    Ok(ExitCode::SUCCESS)
}

const ONE_AT_A_TIME: &str = "one store serves one `vigie` at a time: end `vigie run` first, and start it again afterwards";

impl NewArgs {
    /// The form: from the document, or from the person at the terminal.
    fn fill(&self, rules: &FormRules, out: &Output) -> anyhow::Result<Zeroizing<Form>> {
        let now = SystemClock.now();
        match &self.form {
            Some(path) => form::read(path, rules, now),
            None if stdin().is_terminal() && stdout().is_terminal() => {
                form::ask(rules, now, &mut stdin().lock(), &mut out.text())
            }
            None => Err(anyhow!("there is no terminal to ask for the form")).advise("give it as a document: --form FILE.json"),
        }
    }
}

/// Shows the recovery code, and where somebody looks, waits until it is written down.
fn show_code(code: &RecoveryCode, args: &NewArgs, out: &Output) -> anyhow::Result<()> {
    let grouped = Zeroizing::new(code.grouped());
    if args.place.json {
        out.json(&serde_json::json!({ "recovery_code": *grouped }))?;
        return Ok(());
    }
    let mut to = out.text();
    writeln!(to, "recovery code: {CAUTION}{}{CAUTION:#}", *grouped)?;
    writeln!(to, "{QUIET}write it down: with it alone the sign-up can be seen, corrected and withdrawn elsewhere{QUIET:#}")?;
    if args.form.is_none() {
        write!(to, "Press Enter when you have: ")?;
        to.flush()?;
        form::line(&mut stdin().lock())?;
    }
    Ok(())
}

/// The servers that were named, and what their waiting list asks for.
fn with_waitlist(servers: &ServerArgs, store: &Path) -> anyhow::Result<(Known, FormRules)> {
    let servers = servers.require(store)?;
    let Some(rules) = servers.form_rules() else {
        return Err(anyhow!("these servers have no waiting list")).advise("use the client.json of an authority that has one");
    };
    Ok((servers, rules))
}

fn existing(place: &Place) -> anyhow::Result<PathBuf> {
    let path = store::path(place.store.as_deref())?;
    store::must_exist(&path)?;
    Ok(path)
}

fn open(servers: Known, path: &Path) -> anyhow::Result<Arc<Tracer>> {
    let tracer = Arc::new(store::open_tracer(Config::default(), path, SystemClock).advise(ONE_AT_A_TIME)?);
    servers.connect(&tracer, path);
    Ok(tracer)
}

fn numbered(sign_ups: &[SignUpStatus], number: usize) -> anyhow::Result<SignUpId> {
    let found = number.checked_sub(1).and_then(|at| sign_ups.get(at));
    let sign_up =
        found.with_context(|| format!("there is no sign-up {number}")).advise("vigie sign-up list gives their numbers")?;
    Ok(sign_up.id)
}

/// Sends what is due, as far as that goes while somebody waits, and says how it stands.
fn finish(tracer: &Arc<Tracer>, id: SignUpId, ending: &Ending, place: &Place, out: &Output) -> anyhow::Result<ExitCode> {
    let find = |tracer: &Tracer| {
        let sign_ups = tracer.sign_ups().context("how the sign-up stands cannot be read")?;
        sign_ups.into_iter().find(|sign_up| sign_up.id == id).context("the sign-up is not there any more")
    };
    send(tracer, ending, |tracer| find(tracer).is_ok_and(|sign_up| !is_waiting(&sign_up)))?;
    let status = find(tracer)?;
    let sign_up = SignUp::of(&status, SystemClock.now());
    if place.json {
        out.json(&Answer { sign_up })?;
    } else {
        write(&mut out.text(), &status, &sign_up)?;
    }
    Ok(if is_well(&status) { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// Until it is done, or nothing is due for long.
fn send(tracer: &Arc<Tracer>, ending: &Ending, is_done: impl Fn(&Tracer) -> bool) -> anyhow::Result<()> {
    let mut correspondence = Correspondence::start(tracer, ending)?;
    loop {
        let turn = correspondence.turn(PATIENCE)?;
        while let Some(event) = tracer.next_event() {
            if let Event::Courier(news) = event
                && let Some(told @ (Told::ServerClockDiffers { .. } | Told::ReceiptNotBelieved)) =
                    Told::of(&news, SystemClock.now())
            {
                warn(&told.to_string())?;
            }
        }
        if is_done(tracer) {
            return Ok(());
        }
        match turn {
            Turn::Done => {}
            Turn::Nothing(wait) if wait <= PATIENCE && correspondence.rest(wait) == Turn::Done => {}
            Turn::Nothing(_) | Turn::Late | Turn::Ended => return Ok(()),
        }
    }
}

fn write(to: &mut impl Write, status: &SignUpStatus, sign_up: &SignUp) -> io::Result<()> {
    let style = sign_up.style;
    writeln!(to, "sign-up: {style}{sign_up}{style:#}")?;
    let next = match status.state {
        SignUpState::Received { .. } | SignUpState::Processed { .. } => {
            writeln!(to, "{EARLIER}")?;
            return Ok(());
        }
        SignUpState::Withdrawn => return Ok(()),
        SignUpState::NeedsForm => "vigie sign-up correct takes the form once more, under the same recovery code",
        SignUpState::Rejected(_) => "vigie sign-up correct takes another form; vigie sign-up list --server asks how it stands",
        _ => {
            writeln!(to, "{CAUTION}nothing is lost{CAUTION:#}: it is kept, sealed, and counts once however often it is sent")?;
            "vigie run --server sends it by itself, and so does vigie sync when that time has come"
        }
    };
    writeln!(to, "{QUIET}next:{QUIET:#} {next}")
}

fn write_list(to: &mut impl Write, listed: &[Listed]) -> io::Result<()> {
    if listed.is_empty() {
        return writeln!(to, "nobody has signed up on this device");
    }
    for Listed { number, sign_up } in listed {
        let style = sign_up.style;
        writeln!(to, "{number}  {style}{}{style:#}", sign_up.dated())?;
    }
    writeln!(to, "{EARLIER}")
}
