//! `vigie run`: this computer as a tracing device.
//!
//! ```text
//! radio --tap--> tracer --news--> model --> screen            Ctrl-C, q --> stop, write, close
//!                  ^                 |  --> plain lines
//!        key files-+                 +----> JSON
//!          servers-+
//! ```
//!
//! Data goes one way; back goes the wish to pause, and to end.

mod finder;
mod help;
mod key_folder;
mod lines;
mod live;
mod model;
mod nearby;
mod notice;
mod screen;
mod view;

#[cfg(test)]
mod tests;

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use vigie::beacon::ServiceUuid;
use vigie::radio::Radio;
use vigie::time::{Clock, SystemClock};
use vigie::tracer::{Config, Scanning};

use super::calibration::CalibrationArgs;
use super::ending::Ending;
use crate::failure::Advise;
use crate::output::Output;
use crate::servers::ServerArgs;
use crate::{files, store};
use lines::Lines;
use live::{Live, Wanted};
use model::{Model, News, Setup};
use nearby::Nearby;
use notice::{Notice, Started};

/// Trace with this computer's Bluetooth adapter, until Ctrl-C
///
/// Sends a rotating identifier, keeps what it hears of others, and checks key files as they arrive: in a folder, or from servers, to which it also
/// brings reports. Tracing needs no network and never waits for it. Where Bluetooth or network are off or missing, it says so and goes on by itself when they come.
#[derive(Debug, Args)]
#[command(after_help = help::short(), after_long_help = help::long())]
pub(crate) struct RunArgs {
    /// The adapter, such as hci0; the system's first where none is named
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,

    /// Another adapter to send with
    #[arg(long, value_name = "NAME")]
    advertise_adapter: Option<String>,

    /// The service to send under and to listen for
    #[arg(long, value_name = "UUID", default_value_t)]
    service_uuid: ServiceUuid,

    /// Send as a phone that cannot send service data: others connect to read the identifier
    #[arg(long)]
    connectable: bool,

    /// Listen all the time, in place of 4 s every 3.5 to 5 minutes as a phone does
    #[arg(long)]
    continuous: bool,

    /// The store to keep keys and encounters in; see below for the default
    #[arg(long, value_name = "DB")]
    store: Option<PathBuf>,

    /// A folder into which signed key files come; each is checked as it arrives
    #[arg(long, value_name = "DIR", requires = "public_keys")]
    keys: Option<PathBuf>,

    /// An authority's P-256 public key: a PEM file, or its SubjectPublicKeyInfo in base64; may be given several times
    #[arg(long = "public-key", value_name = "KEY", requires = "keys")]
    public_keys: Vec<String>,

    #[command(flatten)]
    servers: ServerArgs,

    #[command(flatten)]
    calibration: CalibrationArgs,

    /// Print lines in place of the full-screen view
    #[arg(long, conflicts_with = "json")]
    plain: bool,

    /// Print events as JSON, one a line
    #[arg(long)]
    json: bool,
}

/// In what way it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    View,
    Lines(Lines),
}

/// Traces until it is to end.
pub(crate) fn run(args: RunArgs, is_verbose: bool, out: &Output) -> anyhow::Result<ExitCode> {
    let (calibration, _) = args.calibration.load()?;
    let mut config = Config::default();
    config.calibration = calibration;
    config.authority_keys = args.public_keys.iter().map(|key| files::public_key(key)).collect::<Result<_, _>>()?;
    config.scanning = if args.continuous { Scanning::Continuous } else { Scanning::Periodic };
    if let Some(folder) = args.keys.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(anyhow!("there is no folder {}", folder.display()))
            .advise("make the folder first, and put key files into it");
    }
    config.service = args.service_uuid;
    let store = store::path_to_make(args.store.as_deref())?;
    // Tracing waits for no server: what has to be fetched is fetched when it runs.
    let known = args.servers.server.as_ref().map(|address| address.known_here(&store)).transpose()?.flatten();

    let ending = Ending::listen()?;
    let radio = open_radio(&args)?;
    let setup = Setup {
        started: args.started(&store),
        scanning: config.scanning,
        exposure: config.exposure.clone(),
        hears: radio.scanner.is_some(),
        sends: radio.advertiser.is_some(),
    };
    let nearby = Arc::new(Mutex::new(Nearby::new(calibration, config.scanning)));
    let tracer = store::open_tracing(config, &store, nearby::tapped(radio, &nearby), SystemClock)
        .advise("look at the name and at who may write there; one store serves one `vigie` at a time")?;
    let has_kept = known.is_some();
    if let Some(known) = known {
        known.connect(&tracer, &store);
    }
    let servers = args.servers.server.clone().map(|address| Wanted { address, has_kept, store: store.clone() });
    let live = Live::start(tracer, nearby, args.keys.as_deref(), servers)?;

    let (mut model, first) = Model::new(setup, SystemClock.now());
    let shown = args.shown(is_verbose);
    let showed = match shown {
        Shown::View => view::show(&live, &mut model, &ending, out.has_colors()),
        Shown::Lines(lines) => print(lines, first, &live, &mut model, &ending, out),
    };
    // Whatever became of the terminal, what was heard is written.
    let finished = live.finish().with_context(|| format!("the last encounters were not kept in {}", store.display()));
    let last = model.stopped(&finished?);
    let lines = if let Shown::Lines(lines) = shown { lines } else { Lines::People };
    let told = showed.and_then(|()| Ok(lines.write(&mut out.text(), SystemClock.now(), &last)?));
    // Who closes a terminal window ends the program and takes the terminal away.
    if !ending.is_wanted() {
        told?;
    }
    if ending.has_panicked() {
        bail!("a part of the program failed, and it has ended; what was heard until then is kept");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what is told, until it is to end.
fn print(lines: Lines, first: Vec<Notice>, live: &Live, model: &mut Model, ending: &Ending, out: &Output) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_millis(250);
    let mut text = out.text();
    let mut notices = first;
    loop {
        for notice in &notices {
            lines.write(&mut text, SystemClock.now(), notice)?;
        }
        if ending.has_come() {
            break;
        }
        notices = live.news(PATIENCE).map_or_else(Vec::new, |news| model.take(news, SystemClock.now()));
    }
    for notice in model.take(News::Stopping, SystemClock.now()) {
        lines.write(&mut text, SystemClock.now(), &notice)?;
    }
    Ok(())
}

impl RunArgs {
    fn started(&self, store: &Path) -> Started {
        Started {
            version: env!("CARGO_PKG_VERSION"),
            adapter: self.adapter.clone(),
            advertise_adapter: self.advertise_adapter.clone(),
            service_uuid: self.service_uuid.to_string(),
            is_connectable: self.connectable,
            is_continuous: self.continuous,
            store: store.display().to_string(),
            keys: self.keys.as_ref().map(|keys| keys.display().to_string()),
            server: self.servers.server.as_ref().map(ToString::to_string),
        }
    }

    /// The view needs a terminal for itself: what --verbose says would be written across it.
    fn shown(&self, is_verbose: bool) -> Shown {
        let is_capable = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let has_terminal = stdin().is_terminal() && stdout().is_terminal() && is_capable;
        match () {
            () if self.json => Shown::Lines(Lines::Machines),
            () if self.plain || !has_terminal || (is_verbose && stderr().is_terminal()) => Shown::Lines(Lines::People),
            () => Shown::View,
        }
    }
}

#[cfg(feature = "ble")]
fn open_radio(args: &RunArgs) -> anyhow::Result<Radio> {
    use vigie::radio::ble::{self, Form, Options};
    let options = Options {
        adapter: args.adapter.clone(),
        advertise_adapter: args.advertise_adapter.clone(),
        service: args.service_uuid,
        form: if args.connectable { Form::Connectable } else { Form::Frame },
    };
    ble::open(options, Arc::new(SystemClock)).context("the radio cannot be used")
}

#[cfg(not(feature = "ble"))]
fn open_radio(_: &RunArgs) -> anyhow::Result<Radio> {
    Err(anyhow!("this program was built without Bluetooth"))
        .advise("build it with its default features: cargo build -p vigie-desktop")
}
