//! The operator's commands for the waiting list. They show people at the terminal of whoever may see them, and never log one.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use vigie::courier::waitlist::Form;
use vigie::time::{Clock, SystemClock};
use vigie_backend::database::Transaction;
use vigie_backend::rules::{self, Conflict, RuleError};
use vigie_backend::waitlist::{self, Opening, Role};
use vigie_backend::{Opened, open};
use zeroize::Zeroizing;

use crate::cli::{Cli, ConflictsArgs, ForgetArgs};

/// The longest line that is read, in bytes: several times the longest national number.
const MAX_LINE: u64 = 200;

/// How often the journal is tried to be emptied while the server reads.
const TRIES: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Opens with the private key where this machine has it, and makes none where it has not.
fn open_here(cli: &Cli) -> anyhow::Result<(vigie_backend::config::Config, Opened)> {
    let mut config = cli.options.config()?;
    ensure!(config.data.is_dir(), "there is no folder {}: name it with --data", config.data.display());
    config.role = if config.data.join("open").is_dir() { Role::Both } else { Role::Receive };
    let opened = open(&config)?;
    Ok((config, opened))
}

pub(crate) fn forget(cli: &Cli, args: &ForgetArgs) -> anyhow::Result<()> {
    let (config, mut opened) = open_here(cli)?;
    let number = if args.number { Some(read_number()?) } else { None };
    let opening = opened.waitlist.opening.as_ref();
    if number.is_some() && opening.is_none() {
        bail!("a number is found with the keys in {} alone: run this where forms are opened", config.data.join("open").display());
    }
    let now = SystemClock.now();
    let forgotten = opened.database.run(|transaction| {
        let places = match (args.place, args.operation, &number, opening) {
            (Some(place), ..) => vec![place],
            (_, Some(operation), ..) => rules::places_of_operation(transaction, operation)?,
            (_, _, Some(number), Some(opening)) => rules::places_of_number(transaction, number, opening)?,
            _ => Vec::new(),
        };
        Ok::<_, RuleError>(rules::forget(transaction, &places, now)?)
    })?;
    let files = match waitlist::remove(&config.data, &forgotten.mails) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).context("mails in the folder cannot be removed"),
        removed => removed.unwrap_or_default(),
    };
    // Also where nothing was found: the journal may have what an earlier call erased.
    purge(&mut opened)?;
    ensure!(!forgotten.places.is_empty(), "nothing was erased: there is no such sign-up");
    writeln!(
        anstream::stdout(),
        "erased: sign-ups {}, corrections {}, hashes of number and address {}, mails {} (files {files})",
        forgotten.places.len(),
        forgotten.corrections,
        forgotten.opened,
        forgotten.mails.len(),
    )
    .context("it is erased, but that cannot be shown")
}

/// From stdin: no history of commands has it.
fn read_number() -> anyhow::Result<Zeroizing<String>> {
    let input = std::io::stdin();
    if input.is_terminal() {
        write!(anstream::stderr(), "national number: ")?;
    }
    let mut line = Zeroizing::new(String::new());
    input.lock().take(MAX_LINE).read_line(&mut line).context("the national number cannot be read from stdin")?;
    let form = Zeroizing::new(Form { national_number: line.to_string(), ..Form::default() }.canonical());
    ensure!(!form.national_number.is_empty(), "no national number came from stdin");
    Ok(Zeroizing::new(form.national_number.clone()))
}

fn purge(opened: &mut Opened) -> anyhow::Result<()> {
    for _ in 0..TRIES {
        if opened.database.purge()? {
            return Ok(());
        }
        thread::sleep(LOOK_AGAIN);
    }
    bail!("erased, but the database's journal is being read, and has it still: run the command again when less is going on")
}

/// A sign-up in a conflict.
#[derive(Serialize)]
struct Entry {
    place: u64,
    /// Nothing without the private key.
    address: Option<String>,
}

pub(crate) fn conflicts(cli: &Cli, args: &ConflictsArgs) -> anyhow::Result<()> {
    let (_, mut opened) = open_here(cli)?;
    let conflicts = opened.database.run(|transaction: &mut dyn Transaction| rules::conflicts(transaction))?;
    let opening = opened.waitlist.opening.as_ref();
    let shown: Vec<Vec<Entry>> = conflicts.iter().map(|conflict| entries(conflict, opening)).collect();
    let mut to = anstream::stdout();
    if args.json {
        return writeln!(to, "{}", serde_json::to_string(&shown)?).context("the list cannot be shown");
    }
    for conflict in &shown {
        let places: Vec<String> = conflict.iter().map(|entry| entry.place.to_string()).collect();
        writeln!(to, "places {}", places.join(", "))?;
        for entry in conflict {
            writeln!(to, "  {:>10}  {}", entry.place, entry.address.as_deref().unwrap_or("(no key to open it here)"))?;
        }
    }
    writeln!(to, "numbers with several addresses: {}", shown.len()).context("the list cannot be shown")
}

fn entries(conflict: &Conflict, opening: Option<&Opening>) -> Vec<Entry> {
    let address = |operation, form: &Option<_>| {
        let form = opening?.open(form.as_ref()?, operation)?;
        // A form that waits to be opened again may have anything in it, also what moves a terminal's cursor.
        form.reached_by().map(|_| form.contact.clone())
    };
    conflict.0.iter().map(|(place, operation, form)| Entry { place: *place, address: address(*operation, form) }).collect()
}
