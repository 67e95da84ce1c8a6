//! `vigie doctor`: whether this machine can trace, what it would do less well than it should, and what to do about it.
//!
//! Facts are gathered first, by looking alone; what follows from them is told by pure functions: `bluetooth`, `clock`, `store`.

#[cfg(all(feature = "ble", target_os = "linux"))]
mod bluetooth;
mod clock;
mod finding;
mod store;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use vigie::time::{Clock, SystemClock};

use crate::failure::NO;
use crate::output::Output;
use finding::{Finding, State};

const DOCTOR_HELP: &str = "\
Nothing is changed: no service is started, no adapter switched on, no store made or opened for writing.

Examples:

  vigie doctor
  vigie doctor --adapter hci0 --advertise-adapter hci1 --store store.db --json

Exit codes: 0 all is well, or well enough to trace (cautions), 1 something has to be done first, 2 wrong use";

/// Say whether this computer can trace, and what to do where it cannot
///
/// Looks at the Bluetooth adapter, bluetoothd and its options, permissions, the clock, the store and the disk. Each line says what was found; where
/// something is amiss, the next line says what to do. No address and no identifier is shown.
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_HELP)]
pub(crate) struct DoctorArgs {
    /// The adapter to listen with, such as hci0; otherwise the first
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,

    /// Another adapter to send with
    #[arg(long, value_name = "NAME")]
    advertise_adapter: Option<String>,

    /// The store to look at; otherwise the user's, as `vigie run` has it
    #[arg(long, value_name = "DB")]
    store: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    state: State,
    findings: &'a [Finding],
}

/// Looks at everything.
pub(crate) fn run(args: DoctorArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let (mut findings, is_synchronised) = bluetooth_findings(&args);
    let store = store::Facts::gather(args.store);
    let facts = clock::Facts { now: SystemClock.now(), store_last_seen: store.last_seen(), is_synchronised };
    findings.push(clock::finding(&facts));
    findings.extend(store::findings(&store));

    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
    if args.json {
        out.json(&Answer { state: worst, findings: &findings })?;
    } else {
        write(&mut out.text(), &findings, worst)?;
    }
    Ok(if worst == State::Bad { ExitCode::from(NO) } else { ExitCode::SUCCESS })
}

/// What is found of Bluetooth, and whether the clock follows a time server, which the same message bus tells.
#[cfg(all(feature = "ble", target_os = "linux"))]
fn bluetooth_findings(args: &DoctorArgs) -> (Vec<Finding>, Option<bool>) {
    use vigie::radio::ble::{Options, survey};
    let options =
        Options { adapter: args.adapter.clone(), advertise_adapter: args.advertise_adapter.clone(), ..Options::default() };
    let survey = survey(&options);
    (bluetooth::findings(&survey, &options), survey.is_clock_synchronised)
}

/// What is known of Bluetooth before it is used.
#[cfg(not(all(feature = "ble", target_os = "linux")))]
fn bluetooth_findings(_args: &DoctorArgs) -> (Vec<Finding>, Option<bool>) {
    let finding = if cfg!(feature = "ble") {
        Finding::caution(
            "bluetooth",
            "on this system Vigie listens and does not send, and how Bluetooth stands is only known when it is used",
            "start `vigie run`: it says what is missing; to send, use Linux with BlueZ",
        )
    } else {
        Finding::bad(
            "bluetooth",
            "this program was built without Bluetooth",
            "build it anew with the feature `ble`, which is a default: cargo build --release -p vigie-desktop",
        )
    };
    (vec![finding], None)
}

fn write(to: &mut impl Write, findings: &[Finding], worst: State) -> io::Result<()> {
    findings.iter().try_for_each(|finding| finding.write(to))?;
    let style = worst.style();
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let told = match worst {
        State::Ok => "all is well".to_owned(),
        State::Caution => format!("Vigie can trace; {} may be better (caution)", things(count(State::Caution))),
        State::Bad => format!(
            "{} to be done first (bad)",
            if count(State::Bad) == 1 { "1 thing has".to_owned() } else { format!("{} things have", count(State::Bad)) }
        ),
    };
    writeln!(to, "\n{style}{told}{style:#}")
}

fn things(count: usize) -> String {
    if count == 1 { "1 thing".to_owned() } else { format!("{count} things") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(findings: &[Finding]) -> String {
        let worst = findings.iter().map(|finding| finding.state).max().unwrap();
        let mut text = anstream::StripStream::new(Vec::new());
        write(&mut text, findings, worst).unwrap();
        String::from_utf8(text.into_inner()).unwrap()
    }

    #[test]
    fn findings_read_without_colours_and_each_that_is_not_ok_has_its_next_step() {
        let ok = Finding::ok("clock", "it is noon");
        let caution = Finding::caution("privacy", "is off", "add the line\n  Privacy = device");
        let bad = Finding::bad("adapter", "there is none", "plug one in");
        assert_eq!(told(std::slice::from_ref(&ok)), "ok       clock: it is noon\n\nall is well\n");
        assert_eq!(
            told(&[ok.clone(), caution.clone()]),
            "ok       clock: it is noon\n\
             caution  privacy: is off\n         next: add the line\n           Privacy = device\n\n\
             Vigie can trace; 1 thing may be better (caution)\n"
        );
        assert!(
            told(&[ok, caution, bad])
                .ends_with("bad      adapter: there is none\n         next: plug one in\n\n1 thing has to be done first (bad)\n")
        );
    }
}
