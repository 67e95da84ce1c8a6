//! The command line: what can be asked of `vigie`, and how it explains itself.

use clap::{Parser, Subcommand};

use crate::commands::check::CheckArgs;
use crate::commands::demo::DemoArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::keys::KeysCommand;
use crate::commands::news::NewsArgs;
use crate::commands::replay::ReplayArgs;
use crate::commands::report::ReportArgs;
use crate::commands::run::RunArgs;
use crate::commands::status::StatusArgs;
use crate::commands::sync::SyncArgs;

const EXIT_CODES: &str = "\
Exit codes:
  0  done, and the answer is yes
  1  done, and the answer is no (a file is not valid)
  2  not done: wrong use, or input that cannot be read (the reason is on stderr)

NO_COLOR=1 switches colours off, as --color never does.";

/// Contact tracing at a terminal.
///
/// Vigie is contact tracing by Bluetooth as phones do it (Exposure Notification v1.2). Files can stand in the place of servers: only --server uses the network.
#[derive(Debug, Parser)]
#[command(name = "vigie", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) color: colorchoice_clap::Color,

    /// Tell on stderr what is being done; never identifiers, keys or addresses
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play a few days of a small town and see who is warned (also without any command)
    ///
    /// Radios, clocks and ways are simulated; keys, store, key list, matching and warning are the real ones. Truth is metres and minutes alone:
    /// within 2 m for 15 minutes is a contact, never within 5 m a stranger; what lies between is listed and not judged. With --server the keys go
    /// through a real backend over HTTP.
    Demo(DemoArgs),
    Run(RunArgs),
    Report(ReportArgs),
    Sync(SyncArgs),
    News(NewsArgs),
    Status(StatusArgs),
    Doctor(DoctorArgs),
    Replay(ReplayArgs),
    Check(CheckArgs),
    /// Hand out own keys; make key files, verify them, look into them
    #[command(subcommand)]
    Keys(KeysCommand),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
